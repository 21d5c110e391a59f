/* gnuplot as a child process. Knows no figures. Test: tests/test_report.c */
#include "results/plot.h"

#include "base/fsio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child: quiet, and without the user's settings. */
static void become_gnuplot(const char *argument)
{
	int null = open("/dev/null", O_RDWR);
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
	}
	char *argv[] = {(char[]){"gnuplot"}, (char[]){"-d"}, (char *)(uintptr_t)argument, NULL};
	execvp("gnuplot", argv);
	_exit(127);
}

/* The exit status of `gnuplot -d argument`; 127: it is not there. */
static int run_gnuplot(const char *argument)
{
	int status;
	pid_t pid = fork();
	if (pid < 0)
		return 127;
	if (!pid)
		become_gnuplot(argument);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 127;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}

bool plot_available(void)
{
	return run_gnuplot("--version") == 0;
}

void plot_text(struct plot *p, const char *text)
{
	fputc('\'', p->file);
	for (; *text; text++) {
		if (*text == '\'')
			fputc('\'', p->file);
		fputc((unsigned char)*text < ' ' ? ' ' : *text, p->file);
	}
	fputc('\'', p->file);
}

int plot_begin(struct plot *p, const char *dir, const char *name, int width, int height, struct err *e)
{
	*p = (struct plot){0};
	snprintf(p->path, sizeof p->path, "%s/%s.svg", dir, name);
	p->file = open_memstream(&p->text, &p->n_bytes);
	if (!p->file)
		return err_run(e, "%s: out of memory", p->path);
	fprintf(p->file, "set encoding utf8\nset terminal svg noenhanced dynamic size %d,%d font 'sans-serif,13' linewidth 1.2 name '",
		width, height);
	for (const char *at = name; *at; at++) /* prefix of ids inside the figure */
		fputc(*at == '-' ? '_' : *at, p->file);
	fputs("'\nset output ", p->file);
	plot_text(p, p->path);
	fputs("\nset border 3 linecolor rgb 'black' linewidth 0.8\nset tics nomirror out scale 0.6\n"
	      "set grid linecolor rgb '#999999' linewidth 0.4 dashtype 3\nset key noautotitle\n", p->file);
	return 0;
}

static int write_script(struct plot *p, char *script, size_t n, struct err *e)
{
	bool bad = ferror(p->file) != 0;
	bad |= fclose(p->file) != 0;
	p->file = NULL;
	snprintf(script, n, "%s.gnuplot", p->path);
	if (bad)
		return err_run(e, "%s: out of memory", script);
	return fsio_write_file(script, p->text, p->n_bytes, e);
}

int plot_end(struct plot *p, struct err *e)
{
	char script[2100];
	int rc = write_script(p, script, sizeof script, e);
	free(p->text);
	if (rc < 0)
		return -1;
	int status = run_gnuplot(script);
	if (status)
		return err_run(e, "%s: gnuplot ended with status %d; try it by hand", script, status);
	return fsio_remove_tree(script, e);
}

static const char *const colors[] = {"#1f83c4", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#a6761d"};
enum { N_COLORS = sizeof colors / sizeof *colors };

const char *plot_color(int i)
{
	return colors[(i % N_COLORS + N_COLORS) % N_COLORS];
}

int plot_dash(int i)
{
	static const int dashes[] = {1, 4, 5}; /* 2 is the teacher's, 3 the masks' */
	return dashes[i < 0 ? 0 : i / N_COLORS % 3];
}

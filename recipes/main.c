/* The program: finds the verb, prints errors, chooses the exit status. Nothing else prints errors. */
#include "base/log.h"
#include "base/suggest.h"
#include "recipes/run.h"
#include "recipes/verbs.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void usage(FILE *f)
{
	fprintf(f, "espalier: a smaller language model out of a larger one, and what was lost\n\nespalier VERB ...\n\n");
	for (const struct cli_verb *v = verbs; v->name; v++)
		fprintf(f, "  %-9s %-11s %s\n", v->name, v->positional, v->doc);
	fprintf(f, "\nespalier VERB --help tells a verb's options; espalier --version names versions and the machine.\n");
}

static const struct cli_verb *find_verb(const char *name, struct err *e)
{
	const char *names[32];
	size_t n = 0;
	for (const struct cli_verb *v = verbs; v->name; v++) {
		if (!strcmp(v->name, name))
			return v;
		names[n++] = v->name;
	}
	const char *near = suggest_nearest(name, names, n);
	err_user(e, "unknown verb '%s'%s%s%s; see espalier --help", name, near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
	return NULL;
}

static int fail(const struct err *e)
{
	fflush(stdout);
	log_status_end();
	fprintf(stderr, "espalier: %s\n", e->line);
	return (int)e->status;
}

/* What was printed has arrived, else the run failed. */
static int finish(struct err *e)
{
	if (!fflush(stdout) && !ferror(stdout))
		return 0;
	err_run(e, "standard output: could not be written, the disk may be full");
	return fail(e);
}

/* OpenMP's threads spin where they wait for each other. Beside any other busy process that costs most of the speed, and
 * a short spin is as fast on an idle machine (README, Speed). The library reads its settings before main: hence once more. */
static void spin_shortly(char **argv)
{
	if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
		return;
	setenv("GOMP_SPINCOUNT", "1000", 1);
	execv("/proc/self/exe", argv); /* comes back only where that can't be: then they spin */
}

int main(int argc, char **argv)
{
	static struct cli_args args;
	struct err e = {ERR_RUN, ""};
	spin_shortly(argv);
	signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like a full disk, not the end */
	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(argc < 2 ? stderr : stdout);
		return argc < 2 ? ERR_USER : finish(&e);
	}
	if (!strcmp(argv[1], "--version")) {
		char text[1024];
		version_describe(text, sizeof text);
		fputs(text, stdout);
		return finish(&e);
	}
	const struct cli_verb *v = find_verb(argv[1], &e);
	if (!v || cli_parse(&args, v, argc - 2, argv + 2, &e) < 0)
		return fail(&e);
	if (args.help) {
		cli_help(stdout, v);
		return finish(&e);
	}
	if (v->call(&args, &e) < 0)
		return fail(&e);
	return finish(&e);
}

/* The program as its users see it: started, watched, killed; directories of runs compared. Needs ESPALIER, the path of the
 * program, in the environment; everything happens in a directory of its own, which is the working directory. */
#ifndef TESTS_PROGRAM_H
#define TESTS_PROGRAM_H

#include "tests/testing.h"

#include "base/json.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct outcome {
	int status; /* exit status, or 128 + signal */
	char *out, *err;
};

static inline char *program_text(const char *path)
{
	struct err e;
	char *text;
	assert_ok(fsio_read_file(path, 1 << 26, &text, NULL, &e), &e);
	return text;
}

static inline void outcome_release(struct outcome *o)
{
	free(o->out);
	free(o->err);
	*o = (struct outcome){0};
}

/* line: words between single blanks. file_limit: bytes that a file may have, 0: any. */
static inline pid_t program_start(const char *line, size_t file_limit)
{
	const char *program = getenv("ESPALIER");
	char copy[2048], *argv[64] = {"espalier"};
	int argc = 1;
	if (!program)
		fail_msg("ESPALIER is not set: the path of the program (ctest sets it)");
	snprintf(copy, sizeof copy, "%s", line);
	for (char *word = strtok(copy, " "); word && argc < 63; word = strtok(NULL, " "))
		argv[argc++] = word;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child)
		return child;
	if (file_limit)
		setrlimit(RLIMIT_FSIZE, &(struct rlimit){file_limit, file_limit});
	dup2(open("stdout.txt", O_WRONLY | O_CREAT | O_TRUNC, 0666), 1);
	dup2(open("stderr.txt", O_WRONLY | O_CREAT | O_TRUNC, 0666), 2);
	execv(program, argv);
	_exit(127);
}

static inline struct outcome program_wait(pid_t child)
{
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	return (struct outcome){WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), program_text("stdout.txt"), program_text("stderr.txt")};
}

static inline struct outcome program_run(const char *line)
{
	return program_wait(program_start(line, 0));
}

static inline void program_expect(const struct outcome *o, int status, const char *line)
{
	if (o->status != status)
		fail_msg("espalier %s: exit status %d, expected %d\n%s%s", line, o->status, status, o->out, o->err);
}

/* A command that must succeed and whose output does not matter. */
static inline void program_must(const char *line)
{
	struct outcome o = program_run(line);
	program_expect(&o, 0, line);
	outcome_release(&o);
}

/* A command that must fail: this status, nothing on stdout, one error, with these words in it. */
static inline void program_refuses(const char *line, int status, const char *words)
{
	struct outcome o = program_run(line);
	program_expect(&o, status, line);
	const char *error = strstr(o.err, "espalier: ");
	if (!error || !strstr(error, words) || strstr(error + 1, "\nespalier: ") || *o.out)
		fail_msg("espalier %s\nstdout: %s\nstderr: %s\nexpected one error with: %s", line, o.out, o.err, words);
	outcome_release(&o);
}

/* ---- directories ---- */

enum { TREE_MAX = 600 };
struct tree { /* the files below a directory, sorted, relative to it */
	char *paths[TREE_MAX];
	int n;
};

static inline void tree_walk(struct tree *t, const char *root, const char *below)
{
	char path[2048];
	snprintf(path, sizeof path, "%s%s%s", root, *below ? "/" : "", below);
	DIR *d = opendir(path);
	for (struct dirent *entry; d && (entry = readdir(d));) {
		struct stat s;
		char relative[1024];
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(relative, sizeof relative, "%s%s%s", below, *below ? "/" : "", entry->d_name);
		snprintf(path, sizeof path, "%s/%s", root, relative);
		if (stat(path, &s) < 0)
			continue; /* gone meanwhile */
		if (S_ISDIR(s.st_mode))
			tree_walk(t, root, relative);
		else if (t->n < TREE_MAX)
			t->paths[t->n++] = strdup(relative);
	}
	if (d)
		closedir(d);
}

static inline int tree_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline void tree_open(struct tree *t, const char *root)
{
	t->n = 0;
	tree_walk(t, root, "");
	qsort(t->paths, (size_t)t->n, sizeof *t->paths, tree_order);
}

static inline void tree_close(struct tree *t)
{
	while (t->n)
		free(t->paths[--t->n]);
}

static inline bool ends_in(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);
	return n >= m && !strcmp(text + n - m, end);
}

/* What clocks say is exempt: these keys go, wherever they stand. */
static inline void drop_timings(json_t *v)
{
	static const char *const keys[] = {"seconds", "tokens_per_s", "started"};
	const char *key;
	json_t *child;
	size_t i;
	for (size_t k = 0; json_is_object(v) && k < sizeof keys / sizeof *keys; k++)
		json_object_del(v, keys[k]);
	json_object_foreach(v, key, child)
		drop_timings(child);
	json_array_foreach(v, i, child)
		drop_timings(child);
}

/* Without the column tokens_per_s. */
static inline void drop_rates(char *csv)
{
	int column = 0, drop = -1;
	char *to = csv;
	const char *cell = csv;
	for (const char *c = csv;; c++) {
		if (*c && *c != ',' && *c != '\n')
			continue;
		if (drop < 0 && c - cell == 12 && !strncmp(cell, "tokens_per_s", 12))
			drop = column;
		size_t n = (size_t)(c - cell);
		if (column != drop)
			memmove(to, cell, n), to += n;
		if (*c)
			*to++ = *c;
		column = *c == '\n' ? 0 : column + 1;
		cell = c + 1;
		if (!*c)
			break;
	}
	*to = '\0';
}

/* The bytes of a file of a run that must repeat. Caller frees. */
static inline char *repeatable(const char *root, const char *relative, size_t *n)
{
	char path[2048], *text;
	struct err e;
	snprintf(path, sizeof path, "%s/%s", root, relative);
	assert_ok(fsio_read_file(path, 1 << 26, &text, n, &e), &e);
	if (ends_in(relative, "report.md") || ends_in(relative, "report.html") || !strcmp(relative, "lock") || ends_in(relative, "/lock"))
		*n = 0; /* their figures stand in report.json too */
	else if (ends_in(relative, "metrics.csv") || ends_in(relative, "masks.csv")) {
		drop_rates(text);
		*n = strlen(text);
	} else if (ends_in(relative, ".json") && !ends_in(relative, "tokenizer.json")) {
		json_t *v;
		assert_ok(json_parse(text, *n, path, &v, &e), &e);
		drop_timings(v);
		free(text);
		text = json_dumps(v, JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
		*n = strlen(text);
		json_decref(v);
	}
	return text;
}

/* Two runs hold the same files with the same bits. below: only that part of them. */
static inline void trees_are_equal(const char *a, const char *b)
{
	struct tree ta, tb;
	tree_open(&ta, a);
	tree_open(&tb, b);
	for (int i = 0; i < ta.n || i < tb.n; i++) {
		if (i >= ta.n || i >= tb.n || strcmp(ta.paths[i], tb.paths[i]))
			fail_msg("%s has %s where %s has %s", a, i < ta.n ? ta.paths[i] : "nothing", b, i < tb.n ? tb.paths[i] : "nothing");
		size_t na, nb;
		char *one = repeatable(a, ta.paths[i], &na), *two = repeatable(b, tb.paths[i], &nb);
		if (na != nb || memcmp(one, two, na))
			fail_msg("%s differs between %s and %s", ta.paths[i], a, b);
		free(one);
		free(two);
	}
	tree_close(&ta);
	tree_close(&tb);
}

/* Name, size, inode and time of change of every file but the lock and what we redirect: equal before and after says that nothing was written. Caller frees. */
static inline char *fingerprint(const char *root)
{
	struct tree t;
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	tree_open(&t, root);
	for (int i = 0; i < t.n; i++) {
		struct stat s;
		char path[2048];
		snprintf(path, sizeof path, "%s/%s", root, t.paths[i]);
		if (strcmp(t.paths[i], "lock") && strcmp(t.paths[i], "stdout.txt") && strcmp(t.paths[i], "stderr.txt") && stat(path, &s) == 0)
			fprintf(f, "%s %lld %llu %lld.%09ld\n", t.paths[i], (long long)s.st_size, (unsigned long long)s.st_ino,
				(long long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
	}
	tree_close(&t);
	fclose(f);
	return text;
}

/* Bytes of metrics and of caches' records written so far: how far a run is, without a clock. */
static inline size_t progress_of(const char *root)
{
	struct tree t;
	size_t sum = 0;
	tree_open(&t, root);
	for (int i = 0; i < t.n; i++) {
		struct stat s;
		char path[2048];
		snprintf(path, sizeof path, "%s/%s", root, t.paths[i]);
		bool counts = ends_in(path, "/records") || (ends_in(path, "/metrics.csv") && !strstr(path, "/result/"));
		if (counts && stat(path, &s) == 0)
			sum += (size_t)s.st_size;
	}
	tree_close(&t);
	return sum;
}

/* Starts the run and kills it once it has written `more` bytes more (progress_of) and some moments have passed. */
static inline int run_and_kill(const char *command, const char *dir, size_t more, unsigned moments, int how)
{
	size_t goal = progress_of(dir) + more;
	int status;
	pid_t child = program_start(command, 0), ended = 0;
	while (!(ended = waitpid(child, &status, WNOHANG)) && progress_of(dir) < goal)
		usleep(300);
	for (; !ended && moments; moments--)
		if (!(ended = waitpid(child, &status, WNOHANG)))
			usleep(100);
	if (!ended) {
		kill(child, how);
		assert_int_equal(waitpid(child, &status, 0), child);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#endif

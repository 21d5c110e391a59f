/* The command line from tables: a verb has positional arguments and options; the parser and `--help` read the same rows.
 * Test: tests/test_cli.c */
#ifndef RECIPES_CLI_H
#define RECIPES_CLI_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct cli_option {
	const char *name;     /* "--out" */
	const char *value;    /* "DIR"; NULL: a flag */
	const char *fallback; /* shown and used when absent; NULL: none */
	bool required, repeats;
	const char *doc;
};
struct cli_args;
struct cli_verb {
	const char *name;
	const char *positional; /* "RECIPE", "DIR…": as usage shows it */
	int min_positional, max_positional;
	const struct cli_option *options; /* ends with a NULL name */
	const char *doc;
	int (*call)(const struct cli_args *, struct err *);
};
enum { CLI_MAX = 256 };
struct cli_args {
	const struct cli_verb *verb;
	const char *positional[CLI_MAX];
	int n_positional;
	struct {
		const struct cli_option *option;
		const char *value;
	} given[CLI_MAX];
	int n_given;
	bool help;
};
/* argv past the verb. Unknown options get "did you mean"; err_user. --name VALUE and --name=VALUE both work. */
int cli_parse(struct cli_args *, const struct cli_verb *, int argc, char **argv, struct err *);
void cli_help(FILE *, const struct cli_verb *);

/* Value of an option: given, else its fallback, else NULL. */
const char *cli_get(const struct cli_args *, const char *name);
bool cli_has(const struct cli_args *, const char *name);
/* All values of a repeated option into out[max]; returns how many. */
int cli_all(const struct cli_args *, const char *name, const char **out, int max);
int cli_int(const struct cli_args *, const char *name, int64_t min, int64_t max, int64_t *out, struct err *);
int cli_real(const struct cli_args *, const char *name, double min, double max, double *out, struct err *);

#endif

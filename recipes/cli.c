#include "recipes/cli.h"

#include "base/suggest.h"
#include "recipes/keys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct cli_option *find_option(const struct cli_verb *v, const char *name, size_t n)
{
	for (const struct cli_option *o = v->options; o->name; o++)
		if (strlen(o->name) == n && !strncmp(o->name, name, n))
			return o;
	return NULL;
}

static int unknown_option(const struct cli_verb *v, const char *name, struct err *e)
{
	const char *names[32];
	size_t n = 0;
	for (const struct cli_option *o = v->options; o->name && n < 32; o++)
		names[n++] = o->name;
	const char *near = suggest_nearest(name, names, n);
	return err_user(e, "%s: unknown option %s%s%s%s; see espalier %s --help", v->name, name, near ? ", did you mean " : "",
			near ? near : "", near ? "?" : "", v->name);
}

static int take_option(struct cli_args *a, int argc, char **argv, int *i, struct err *e)
{
	const char *word = argv[*i], *equals = strchr(word, '=');
	const struct cli_option *o = find_option(a->verb, word, equals ? (size_t)(equals - word) : strlen(word));
	if (!o)
		return unknown_option(a->verb, word, e);
	if (!o->value && equals)
		return err_user(e, "%s: %s takes no value", a->verb->name, o->name);
	if (!o->repeats && cli_has(a, o->name))
		return err_user(e, "%s: %s is given twice", a->verb->name, o->name);
	if (o->value && !equals && *i + 1 >= argc)
		return err_user(e, "%s: %s expects %s", a->verb->name, o->name, o->value);
	if (a->n_given == CLI_MAX)
		return err_user(e, "%s: too many options", a->verb->name);
	a->given[a->n_given].option = o;
	a->given[a->n_given++].value = !o->value ? "" : equals ? equals + 1 : argv[++*i];
	return 0;
}

static int check_complete(const struct cli_args *a, struct err *e)
{
	const struct cli_verb *v = a->verb;
	if (a->n_positional < v->min_positional || a->n_positional > v->max_positional)
		return err_user(e, "%s: expected %s, found %d argument%s; see espalier %s --help", v->name, v->positional, a->n_positional,
				a->n_positional == 1 ? "" : "s", v->name);
	for (const struct cli_option *o = v->options; o->name; o++)
		if (o->required && !cli_has(a, o->name))
			return err_user(e, "%s: %s %s is missing; see espalier %s --help", v->name, o->name, o->value, v->name);
	return 0;
}

int cli_parse(struct cli_args *a, const struct cli_verb *v, int argc, char **argv, struct err *e)
{
	bool only_positional = false;
	memset(a, 0, sizeof *a);
	a->verb = v;
	for (int i = 0; i < argc; i++) {
		const char *word = argv[i];
		if (!only_positional && (!strcmp(word, "--help") || !strcmp(word, "-h"))) {
			a->help = true;
			return 0;
		}
		if (!only_positional && !strcmp(word, "--"))
			only_positional = true;
		else if (!only_positional && word[0] == '-' && word[1]) {
			if (take_option(a, argc, argv, &i, e) < 0)
				return -1;
		} else if (a->n_positional == CLI_MAX)
			return err_user(e, "%s: too many arguments", v->name);
		else
			a->positional[a->n_positional++] = word;
	}
	return check_complete(a, e);
}

void cli_help(FILE *f, const struct cli_verb *v)
{
	fprintf(f, "espalier %s %s%s\n\n%s\n", v->name, v->positional, v->options->name ? " [options]" : "", v->doc);
	for (const struct cli_option *o = v->options; o->name; o++) {
		char head[64];
		snprintf(head, sizeof head, "%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
		fprintf(f, "%s  %-26s %s", o == v->options ? "\n" : "", head, o->doc);
		if (o->fallback)
			fprintf(f, " (default %s)", o->fallback);
		fprintf(f, "%s%s\n", o->required ? " (required)" : "", o->repeats ? " (may be repeated)" : "");
	}
}

bool cli_has(const struct cli_args *a, const char *name)
{
	for (int i = 0; i < a->n_given; i++)
		if (!strcmp(a->given[i].option->name, name))
			return true;
	return false;
}

const char *cli_get(const struct cli_args *a, const char *name)
{
	for (int i = 0; i < a->n_given; i++)
		if (!strcmp(a->given[i].option->name, name))
			return a->given[i].value;
	const struct cli_option *o = find_option(a->verb, name, strlen(name));
	BUG_ON(!o);
	return o->fallback;
}

int cli_all(const struct cli_args *a, const char *name, const char **out, int max)
{
	int n = 0;
	for (int i = 0; i < a->n_given && n < max; i++)
		if (!strcmp(a->given[i].option->name, name))
			out[n++] = a->given[i].value;
	return n;
}

int cli_int(const struct cli_args *a, const char *name, int64_t min, int64_t max, int64_t *out, struct err *e)
{
	const char *text = cli_get(a, name);
	if (count_parse(text, out) < 0 || *out < min || *out > max)
		return err_user(e, "%s: %s: expected an integer from %lld to %lld, found %s", a->verb->name, name, (long long)min, (long long)max, text);
	return 0;
}

int cli_real(const struct cli_args *a, const char *name, double min, double max, double *out, struct err *e)
{
	const char *text = cli_get(a, name);
	char *end;
	*out = strtod(text, &end);
	if (!*text || *end || !isfinite(*out) || *out < min || *out > max)
		return err_user(e, "%s: %s: expected a number from %g to %g, found %s", a->verb->name, name, min, max, text);
	return 0;
}

/* recipes/cli.c: options, positionals, their refusals, and the help that reads the same rows; the program's own table. */
#include "tests/testing.h"

#include "recipes/cli.h"
#include "recipes/verbs.h"

static const struct cli_option options[] = {
	{"--out", "DIR", NULL, true, false, "where to"},
	{"--set", "KEY=VALUE", NULL, false, true, "overrides"},
	{"--json", NULL, NULL, false, false, "as JSON"},
	{"--rate", "X", "0.5", false, false, "of change"},
	{"--n", "N", "4k", false, false, "how many"},
	{0},
};
static const struct cli_verb verb = {"prune", "MODEL FILE", 1, 2, options, "Cuts a branch.", NULL};

/* Splits at spaces. */
static int parse(struct cli_args *a, const char *line, struct err *e)
{
	static char copy[8192];
	char *argv[1024];
	int argc = 0;
	snprintf(copy, sizeof copy, "%s", line);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	return cli_parse(a, &verb, argc, argv, e);
}

static void options_and_positionals_mix(void **state)
{
	(void)state;
	struct cli_args a;
	struct err e;
	const char *sets[4];
	assert_ok(parse(&a, "m --set a.b=1 --out=o --json f --set c={d:2}", &e), &e);
	assert_int_equal(a.n_positional, 2);
	assert_string_equal(a.positional[1], "f");
	assert_string_equal(cli_get(&a, "--out"), "o");
	assert_true(cli_has(&a, "--json"));
	assert_false(cli_has(&a, "--rate"));
	assert_string_equal(cli_get(&a, "--rate"), "0.5");
	assert_int_equal(cli_all(&a, "--set", sets, 4), 2);
	assert_string_equal(sets[0], "a.b=1");
	assert_string_equal(sets[1], "c={d:2}");
	assert_int_equal(cli_all(&a, "--set", sets, 1), 1);
	assert_ok(parse(&a, "--out o -- --json", &e), &e);
	assert_string_equal(a.positional[0], "--json");
	assert_false(cli_has(&a, "--json"));
	assert_ok(parse(&a, "--out o -", &e), &e); /* a lone dash is a name */
	assert_string_equal(a.positional[0], "-");
}

static void refusals_are_user_errors(void **state)
{
	(void)state;
	static const struct {
		const char *line, *words;
	} refusals[] = {
		{"m --out o --jsno", "unknown option --jsno, did you mean --json?; see espalier prune --help"},
		{"m --out o --xylophone=1", "unknown option --xylophone=1"},
		{"m --out o -x", "unknown option -x"},
		{"m --out o --json=1", "--json takes no value"},
		{"m --out o --out p", "--out is given twice"},
		{"m --out", "--out expects DIR"},
		{"m", "--out DIR is missing"},
		{"--out o", "expected MODEL FILE, found 0 arguments"},
		{"a b c --out o", "expected MODEL FILE, found 3 arguments"},
	};
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
		struct cli_args a;
		struct err e;
		assert_fails(parse(&a, refusals[i].line, &e), &e, refusals[i].words);
		assert_int_equal(e.status, ERR_USER);
		assert_null(strchr(e.line, '\n'));
	}
}

static void too_much_is_refused(void **state)
{
	(void)state;
	struct cli_args a;
	struct err e;
	static char line[8192] = "m --out o";
	for (int i = 0; i < CLI_MAX; i++)
		strcat(line, " --set a=1");
	assert_fails(parse(&a, line, &e), &e, "too many options");
	strcpy(line, "--out o");
	for (int i = 0; i < CLI_MAX + 1; i++)
		strcat(line, " m");
	assert_fails(parse(&a, line, &e), &e, "too many arguments");
}

static void numbers_have_ranges(void **state)
{
	(void)state;
	struct cli_args a;
	struct err e;
	int64_t n;
	double x;
	assert_ok(parse(&a, "m --out 3x --rate 1e-1", &e), &e);
	assert_ok(cli_int(&a, "--n", 0, 5000, &n, &e), &e);
	assert_int_equal(n, 4000);
	assert_ok(cli_real(&a, "--rate", 0, 1, &x, &e), &e);
	assert_true(x == 0.1);
	assert_fails(cli_int(&a, "--n", 0, 3999, &n, &e), &e, "--n: expected an integer from 0 to 3999, found 4k");
	assert_fails(cli_int(&a, "--out", 0, 9, &n, &e), &e, "found 3x");
	assert_fails(cli_real(&a, "--rate", 0.2, 1, &x, &e), &e, "--rate: expected a number from 0.2 to 1, found 1e-1");
	assert_fails(cli_real(&a, "--out", 0, 9, &x, &e), &e, "found 3x");
	assert_ok(parse(&a, "m --out= --rate=nan", &e), &e);
	assert_fails(cli_real(&a, "--rate", 0, 1, &x, &e), &e, "found nan");
	assert_fails(cli_int(&a, "--out", 0, 9, &n, &e), &e, "--out: expected an integer");
}

static char *help_of(const struct cli_verb *v)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	cli_help(f, v);
	fclose(f);
	return text;
}

static void help_has_every_option(void **state)
{
	(void)state;
	struct cli_args a;
	struct err e;
	assert_ok(parse(&a, "--help", &e), &e);
	assert_true(a.help);
	assert_ok(parse(&a, "m -h --nonsense", &e), &e);
	assert_true(a.help);
	char *text = help_of(&verb);
	assert_non_null(strstr(text, "espalier prune MODEL FILE [options]"));
	assert_non_null(strstr(text, "--out DIR"));
	assert_non_null(strstr(text, "where to (required)"));
	assert_non_null(strstr(text, "overrides (may be repeated)"));
	assert_non_null(strstr(text, "of change (default 0.5)"));
	free(text);
}

static void the_table_of_verbs_is_whole(void **state)
{
	(void)state;
	static const char *const expected[] = {"run", "plan", "inspect", "eval", "logits", "tokenize", "generate", "cut", "trim", "compare"};
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		const struct cli_verb *v = verbs;
		while (v->name && strcmp(v->name, expected[i]))
			v++;
		assert_non_null(v->name);
		assert_non_null(v->call);
		char *text = help_of(v);
		for (const struct cli_option *o = v->options; o->name; o++)
			assert_non_null(strstr(text, o->name));
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_and_positionals_mix),
		cmocka_unit_test(refusals_are_user_errors),
		cmocka_unit_test(too_much_is_refused),
		cmocka_unit_test(numbers_have_ranges),
		cmocka_unit_test(help_has_every_option),
		cmocka_unit_test(the_table_of_verbs_is_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

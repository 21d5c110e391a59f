/* Targets through the program, before anything runs: sizes, names and budgets as the plan sees them. (What a search makes of a
 * budget: tests/test_run_shapes.c) */
#include "tests/program.h"

static const char recipe[] =
	"recipe: 1\n"
	"name: tiny\n"
	"threads: 1\n"
	"teacher:\n"
	"  init: {random: {head_dim: 64, target: {layers: 30, hidden: 72, heads: 9, kv_heads: 3, intermediate: 96}}}\n"
	"  train: {tokens: 20Ki, batch_tokens: 512}\n"
	"data:\n"
	"  sequence_length: 64\n"
	"  tokenizer: {train_vocabulary: 300}\n"
	"  domains:\n"
	"    made: {generate: {documents: 150, eval_documents: 20}}\n"
	"target: {parameters: 2M}\n"
	"students:\n"
	"  scored:\n"
	"    init: {importance: {}}\n"
	"    train: &train {tokens: 80Ki, batch_tokens: 512}\n"
	"  fresh: {init: {random: {}}, train: *train}\n"
	"  twice:\n"
	"    stages:\n"
	"      - init: {importance: {tokens: 4Ki}}\n"
	"      - init: {importance: {tokens: 4Ki, target: {parameters: 500k}}}\n"
	"        train: *train\n";

#define ONCE " --set students.twice.stages=null --set students.twice.init.layers=[0] --set students.twice.train.tokens=20Ki"

static struct test_path home;

static int set_up(void **state)
{
	(void)state;
	home = test_dir_make();
	assert_int_equal(chdir(home.text), 0);
	test_write("tiny.yaml", recipe);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(chdir("/"), 0);
	test_dir_remove(&home);
	return 0;
}

/* Parameters in the phase table's row that begins with `row`. */
static double planned_parameters(const char *plan, const char *row, bool stand_in)
{
	const char *line = strstr(plan, row), *end = line ? strchr(line, '\n') : NULL, *ffn = line ? strstr(line, "ffn ") : NULL;
	if (!ffn || ffn > end)
		fail_msg("no row %s with a shape in: %s", row, plan);
	const char *mark = strstr(ffn, " (stand-in)"), *at = strchr(ffn + 4, ' ');
	assert_int_equal(mark && mark < end, stand_in);
	return strtod(mark && mark < end ? mark + strlen(" (stand-in)") : at, NULL);
}

static void budgets_are_priced_by_a_stand_in(void **state)
{
	(void)state;
	struct outcome o = program_run("plan tiny.yaml");
	program_expect(&o, 0, "plan");
	double scored = planned_parameters(o.out, "scored   train", true), twice = planned_parameters(o.out, "twice    2: train", true);
	assert_true(scored <= 2e6 && scored >= 1.9e6);
	assert_true(planned_parameters(o.out, "fresh    train", true) == scored);
	assert_true(twice <= 5e5 && twice >= 4.5e5);
	assert_non_null(strstr(o.out, "(stand-in): the run chooses this shape"));
	outcome_release(&o);
}

static void sizes_and_names_are_themselves(void **state)
{
	(void)state;
	struct outcome o = program_run("plan tiny.yaml --set target={\"layers\":20}" ONCE);
	program_expect(&o, 0, "plan");
	assert_non_null(strstr(o.out, "20 x 72, 9/3 heads, ffn 96 "));
	assert_null(strstr(o.out, "stand-in"));
	outcome_release(&o);
	o = program_run("plan tiny.yaml --set teacher.init.random={\"target\":smollm2-135m} --set target={\"layers\":1,\"hidden\":64,\"heads\":1,\"kv_heads\":1,\"intermediate\":96}" ONCE);
	program_expect(&o, 0, "plan");
	assert_non_null(strstr(o.out, "30 x 576, 9/3 heads, ffn 1536"));
	outcome_release(&o);
}

static void times_stand_in_for_nothing_smaller(void **state)
{
	(void)state;
	struct outcome o = program_run("plan tiny.yaml --set target={\"decode_ms\":0.01}");
	program_expect(&o, 0, "plan");
	assert_non_null(strstr(o.out, "30 x 72, 9/3 heads, ffn 96 (stand-in)"));
	outcome_release(&o);
}

static void what_cannot_be_is_refused_before_anything_runs(void **state)
{
	(void)state;
	static const struct {
		const char *set, *words;
	} bad[] = {
		{"target={\"parameters\":1k}", "target: no shape has parameters at most 1000; the nearest, 1 layers x"},
		{"target={\"parameters\":1G}", "target: the budget removes nothing"},
		{"target={\"memory\":10M,\"length\":100}", "length: 100 is more than the 64 positions of the source"},
		{"target=smollm2-360m", "layers 32 is larger than the source's 30"},
		{"target=llama-3.2-3b", "shape: llama-3.2-3b has heads of 128 dimensions, the source's have 64"},
		{"target=smollm2-360", "no public shape is called 'smollm2-360'; did you mean 'smollm2-360m'?"},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char line[200];
		snprintf(line, sizeof line, "run tiny.yaml --out bad --set %s", bad[i].set);
		program_refuses(line, 2, bad[i].words);
		assert_false(fsio_exists("bad/manifest.json"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(budgets_are_priced_by_a_stand_in),
		cmocka_unit_test(sizes_and_names_are_themselves),
		cmocka_unit_test(times_stand_in_for_nothing_smaller),
		cmocka_unit_test(what_cannot_be_is_refused_before_anything_runs),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

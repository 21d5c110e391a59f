/* recipes/shape_choice.c: what a target means on a source, before and after a search. */
#include "tests/testing.h"

#include "recipes/run.h"
#include "recipes/shape_choice.h"
#include "tests/recipe_text.h"

#define SIZES "target: &shape {layers: 4, hidden: 128, heads: 4, kv_heads: 2, intermediate: 320}"

static struct arch source(void)
{
	return (struct arch){.family = "llama", .shape = {.L = 6, .C = 192, .F = 512, .NH = 6, .NKV = 2, .HD = 32, .V = 4096}, .max_positions = 512,
			     .norm_eps = 1e-5f, .init_std = 0.02f, .tied = true, .rope_theta = 1e4, .dtype = DTYPE_F32};
}

/* A run as far as targets look at it. */
static void open_run(struct run *run, const char *target)
{
	struct err e;
	memset(run, 0, sizeof *run);
	open_edited(&run->recipe, SIZES, target);
	run->spec = run->recipe.spec;
	assert_ok(shape_choices_init(&run->shapes, &e), &e);
}

static void close_run(struct run *run)
{
	shape_choices_free(run->shapes);
	recipe_close(&run->recipe);
}

static struct target target_of(const struct run *run, const struct arch *a)
{
	struct target t;
	struct err e;
	assert_ok(run_target(run, NULL, a, &t, &e), &e);
	return t;
}

static void sizes_are_themselves(void **state)
{
	(void)state;
	struct run run;
	const struct arch a = source();
	open_run(&run, "target: &shape {layers: 4, hidden: 128}");
	const struct target want = {.layers = 4, .hidden = 128}, t = target_of(&run, &a);
	assert_memory_equal(&t, &want, sizeof t);
	assert_false(init_stands_in(&run, recipe_stage(run.spec->students.v[2], 0)->init, &a));
	close_run(&run);
}

static void a_name_is_its_models_sizes(void **state)
{
	(void)state;
	struct run run;
	struct arch a = source(), cut;
	struct err e;
	open_run(&run, "target: &shape {shape: sheared-llama-1.3b}");
	struct target t;
	assert_fails(run_target(&run, NULL, &a, &t, &e), &e, "9:24: shape: sheared-llama-1.3b has heads of 128 dimensions, the source's have 32");
	a.shape = (struct shape){.L = 32, .C = 4096, .F = 11008, .NH = 32, .NKV = 32, .HD = 128, .V = 32000};
	t = target_of(&run, &a);
	assert_ok(target_arch(&cut, &a, &t, &e), &e);
	assert_int_equal(arch_n_params(&cut), 24 * (4 * (size_t)2048 * 2048 + 3 * (size_t)5504 * 2048 + 2 * 2048) + 2048 + (size_t)32000 * 2048);
	close_run(&run);
}

static void a_budget_stands_in_until_it_is_searched(void **state)
{
	(void)state;
	struct run run;
	const struct arch a = source();
	struct arch other = a, cut;
	struct err e;
	open_run(&run, "target: &shape {parameters: 1.2M}");
	const struct init_spec *scratch = recipe_stage(run.spec->students.v[2], 0)->init, *masks = recipe_stage(run.spec->students.v[0], 0)->init;
	const struct init_spec *layers = recipe_stage(run.spec->students.v[1], 0)->init;
	const struct shape_spec *own = init_target(masks);
	struct target t = target_of(&run, &a);
	assert_ok(target_arch(&cut, &a, &t, &e), &e);
	assert_in_range(arch_n_params(&cut), 1140000, 1200000);
	assert_true(space_balance(&cut.shape, &a.shape) < 0.2); /* half of the heads, or all: groups go whole */
	assert_true(init_stands_in(&run, scratch, &a) && init_stands_in(&run, masks, &a) && !init_stands_in(&run, layers, &a));
	const struct shape chosen = {.L = 4, .C = 144, .F = 352, .NH = 6, .NKV = 2};
	assert_ok(shape_choose(run.shapes, shape_key(run.spec, own, &a), &chosen, &e), &e);
	t = target_of(&run, &a); /* equal budgets share a search */
	assert_int_equal(t.hidden, 144);
	assert_int_equal(t.intermediate, 352);
	assert_false(init_stands_in(&run, scratch, &a) || init_stands_in(&run, masks, &a));
	other.shape.F = 448; /* another source does not */
	assert_true(init_stands_in(&run, masks, &other));
	assert_ok(shape_choose(run.shapes, shape_key(run.spec, own, &a), &(struct shape){.L = 5, .C = 96, .F = 32, .NH = 3, .NKV = 1}, &e), &e);
	assert_int_equal(target_of(&run, &a).layers, 5);
	assert_null(shape_chosen(run.shapes, 1));
	close_run(&run);
}

static void budgets_become_limits(void **state)
{
	(void)state;
	struct run run;
	const struct arch a = source();
	open_run(&run, "target: &shape {memory: 1Mi, flops_per_token: 2M, prefill_ms: 3, decode_ms: 0.5, batch: 3, hidden: 64, search: {hidden_multiple: 4, intermediate_multiple: 6, slack: 0.2}}");
	struct space_options o = shape_space(run.spec, run.spec->target, &a);
	const double limit[SPACE_MEASURES] = {0, 1048576, 2e6, 3, 0.5};
	assert_memory_equal(o.limit, limit, sizeof limit);
	assert_int_equal(o.length, 256); /* the data's */
	assert_int_equal(o.batch, 3);
	assert_int_equal(o.pinned.hidden, 64);
	assert_int_equal(o.pinned.layers, 0);
	assert_int_equal(o.hidden_multiple, 4);
	assert_int_equal(o.intermediate_multiple, 6);
	assert_true(o.slack == 0.2 && !o.time);
	close_run(&run);
}

static void what_cannot_be_is_refused_with_its_place(void **state)
{
	(void)state;
	static const struct {
		const char *target, *words;
	} cases[] = {
		{"target: &shape {parameters: 1k}", "9:9: target: no shape has parameters at most 1000; the nearest, 1 layers x 24, 3/1 heads"},
		{"target: &shape {parameters: 100M}", "9:9: target: the budget removes nothing, 6 layers x 192"},
		{"target: &shape {memory: 1M, length: 600}", "9:37: length: 600 is more than the 512 positions of the source"},
		{"target: &shape {parameters: 1M, layers: 7}", "9:9: target: layers 7 is larger than the source's 6"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct run run;
		const struct arch a = source();
		struct target t;
		struct err e;
		open_run(&run, cases[i].target);
		assert_fails(run_target(&run, NULL, &a, &t, &e), &e, cases[i].words);
		assert_int_equal(e.status, ERR_USER);
		close_run(&run);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_themselves),
		cmocka_unit_test(a_name_is_its_models_sizes),
		cmocka_unit_test(a_budget_stands_in_until_it_is_searched),
		cmocka_unit_test(budgets_become_limits),
		cmocka_unit_test(what_cannot_be_is_refused_with_its_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* prune/target.c: shapes that can be reached, and one clear line for each that cannot. */
#include "tests/testing.h"

#include "prune/target.h"

static struct arch source_of(const char *family)
{
	return (struct arch){.family = family, .shape = {.L = 6, .C = 192, .F = 512, .NH = 6, .NKV = 2, .HD = 32, .V = 4096},
			     .max_positions = 512, .norm_eps = 1e-5f, .init_std = 0.02f, .tied = true, .rope_theta = 1e4};
}

static void assert_refused(const struct target *t, const char *part)
{
	struct arch source = source_of("llama"), out = {.family = "untouched"};
	struct err e;
	assert_fails(target_arch(&out, &source, t, &e), &e, part);
	assert_int_equal(e.status, ERR_USER);
	assert_string_equal(out.family, "untouched");
	assert_null(strchr(e.line, '\n'));
}

static void zero_means_as_the_source(void **state)
{
	struct arch source = source_of("llama"), out;
	struct err e;
	(void)state;
	assert_ok(target_arch(&out, &source, &(struct target){0}, &e), &e);
	assert_memory_equal(&out.shape, &source.shape, sizeof out.shape);
	assert_ok(target_arch(&out, &source, &(struct target){.intermediate = 320}, &e), &e);
	assert_int_equal(out.shape.F, 320);
	assert_int_equal(out.shape.C, 192);
}

static void the_stories_target_is_reached(void **state)
{
	struct arch source = source_of("llama"), out;
	const struct target t = {.layers = 4, .hidden = 128, .heads = 4, .kv_heads = 2, .intermediate = 320};
	struct err e;
	(void)state;
	assert_ok(target_arch(&out, &source, &t, &e), &e);
	const struct shape want = {.L = 4, .C = 128, .F = 320, .NH = 4, .NKV = 2, .HD = 32, .V = 4096};
	assert_memory_equal(&out.shape, &want, sizeof want);
	assert_string_equal(out.family, "llama");
	assert_true(out.tied);
}

static void groups_may_go_whole_or_shrink_or_both(void **state)
{
	struct arch source = source_of("llama"), out;
	struct err e;
	(void)state;
	assert_ok(target_arch(&out, &source, &(struct target){.heads = 3, .kv_heads = 1}, &e), &e);
	assert_ok(target_arch(&out, &source, &(struct target){.heads = 2, .kv_heads = 1}, &e), &e);
	assert_ok(target_arch(&out, &source, &(struct target){.heads = 2}, &e), &e);
	assert_int_equal(out.shape.NKV, 2);
}

static void larger_and_negative_sizes_are_refused_by_name(void **state)
{
	(void)state;
	assert_refused(&(struct target){.layers = 7}, "layers 7 is larger than the source's 6");
	assert_refused(&(struct target){.hidden = 193}, "hidden 193 is larger than the source's 192");
	assert_refused(&(struct target){.heads = 8}, "heads 8 is larger than the source's 6");
	assert_refused(&(struct target){.kv_heads = 3}, "kv_heads 3 is larger than the source's 2");
	assert_refused(&(struct target){.intermediate = 513}, "intermediate 513 is larger than the source's 512");
	assert_refused(&(struct target){.hidden = -1}, "hidden -1 is negative");
}

static void broken_groups_are_refused(void **state)
{
	(void)state;
	assert_refused(&(struct target){.heads = 5}, "heads 5 is not a multiple of kv_heads 2");
	assert_refused(&(struct target){.heads = 6, .kv_heads = 1}, "groups of 6 query heads, the source's have 3");
	assert_refused(&(struct target){.kv_heads = 1}, "at most 3 heads");
}

static void shapes_that_would_not_load_are_refused_per_family(void **state)
{
	struct arch mistral = source_of("mistral"), out;
	const struct target t = {.hidden = 130, .heads = 4};
	struct err e;
	(void)state;
	assert_refused(&t, "hidden 130 with 4 heads would not load elsewhere: transformers 5");
	assert_ok(target_arch(&out, &mistral, &t, &e), &e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zero_means_as_the_source),
		cmocka_unit_test(the_stories_target_is_reached),
		cmocka_unit_test(groups_may_go_whole_or_shrink_or_both),
		cmocka_unit_test(larger_and_negative_sizes_are_refused_by_name),
		cmocka_unit_test(broken_groups_are_refused),
		cmocka_unit_test(shapes_that_would_not_load_are_refused_per_family),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

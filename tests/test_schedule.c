/* student/schedule.c: values by hand, both ends, and the degenerate lengths. */
#include "tests/testing.h"

#include "student/schedule.h"

static void warm_up_rises_in_equal_parts(void **state)
{
	(void)state;
	struct schedule c = {.kind = SCHEDULE_COSINE, .peak = 1e-3f, .total_steps = 100, .warmup_steps = 4};
	for (int s = 0; s < 4; s++)
		assert_close(schedule_lr(&c, s), 1e-3 * (s + 1) / 4, 0, 1e-6);
	assert_close(schedule_lr(&c, 4), 1e-3, 0, 1e-6);
}

static void cosine_passes_its_middle_and_ends_at_the_fraction(void **state)
{
	(void)state;
	struct schedule c = {.kind = SCHEDULE_COSINE, .peak = 2, .final_fraction = 0.1f, .total_steps = 21};
	assert_close(schedule_lr(&c, 0), 2, 0, 1e-6);
	assert_close(schedule_lr(&c, 5), 2 * (0.1 + 0.9 * 0.5 * (1 + sqrt(0.5))), 0, 1e-6);
	assert_close(schedule_lr(&c, 10), 2 * 0.55, 0, 1e-6);
	assert_close(schedule_lr(&c, 20), 0.2, 0, 1e-6);
	assert_close(schedule_lr(&c, 500), 0.2, 0, 1e-6);
}

static void linear_and_wsd_go_straight(void **state)
{
	(void)state;
	struct schedule line = {.kind = SCHEDULE_LINEAR, .peak = 1, .total_steps = 12, .warmup_steps = 1};
	assert_close(schedule_lr(&line, 1), 1, 0, 1e-6);
	assert_close(schedule_lr(&line, 6), 0.5, 0, 1e-6);
	assert_close(schedule_lr(&line, 11), 0, 1e-9, 0);
	struct schedule wsd = {.kind = SCHEDULE_WSD, .peak = 1, .final_fraction = 0.2f, .total_steps = 50, .decay_steps = 10};
	assert_close(schedule_lr(&wsd, 0), 1, 0, 1e-6);
	assert_close(schedule_lr(&wsd, 39), 1, 0, 1e-6);
	assert_close(schedule_lr(&wsd, 40), 0.92, 0, 1e-6);
	assert_close(schedule_lr(&wsd, 44), 0.6, 0, 1e-6);
	assert_close(schedule_lr(&wsd, 49), 0.2, 0, 1e-6);
}

static void constant_stays(void **state)
{
	(void)state;
	struct schedule c = {.kind = SCHEDULE_CONSTANT, .peak = 3, .total_steps = 5, .warmup_steps = 2};
	assert_close(schedule_lr(&c, 0), 1.5, 0, 1e-6);
	for (int s = 1; s < 9; s++)
		assert_close(schedule_lr(&c, s), 3, 0, 0);
}

static void short_runs_are_finite(void **state)
{
	(void)state;
	static const enum schedule_kind kinds[] = {SCHEDULE_CONSTANT, SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_WSD};
	for (int k = 0; k < 4; k++)
		for (int total = 1; total < 5; total++)
			for (int warmup = 0; warmup < 6; warmup++)
				for (int s = 0; s < total + 2; s++) {
					struct schedule c = {.kind = kinds[k], .peak = 1, .final_fraction = 0.1f, .total_steps = total,
							     .warmup_steps = warmup, .decay_steps = warmup};
					float lr = schedule_lr(&c, s);
					assert_true(lr > 0 && lr <= 1);
				}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(warm_up_rises_in_equal_parts),
		cmocka_unit_test(cosine_passes_its_middle_and_ends_at_the_fraction),
		cmocka_unit_test(linear_and_wsd_go_straight),
		cmocka_unit_test(constant_stays),
		cmocka_unit_test(short_runs_are_finite),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

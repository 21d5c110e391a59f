/* What is predicted of a shape: the sum of the axes, straight between the points that were measured. */
#include "tests/testing.h"

#include "recipes/shape_sensitivity.h"

#include <math.h>

static const struct sensitivity measured = {
	.source_nll = 2, .exponent = 1,
	.axes = {
		[AXIS_LAYERS] = {3, {2, 4, 6}, {0.75, 0.25, 0}},
		[AXIS_HIDDEN] = {2, {64, 192}, {1, 0}},
		[AXIS_HEADS] = {1, {6}, {0}},
		[AXIS_FFN] = {3, {128, 256, 512}, {0.5, 0.125, 0}},
	},
};

/* Over the source. */
static double predicted(int L, int C, int NH, int F)
{
	return sensitivity_predict(&measured, &(struct shape){.L = L, .C = C, .NH = NH, .F = F}) - 2;
}

static void at_the_points_it_is_what_was_measured(void **state)
{
	(void)state;
	assert_true(predicted(6, 192, 6, 512) == 0);
	assert_true(predicted(2, 192, 6, 512) == 0.75 && predicted(4, 192, 6, 512) == 0.25);
	assert_true(predicted(6, 64, 6, 512) == 1 && predicted(6, 192, 6, 256) == 0.125);
}

static void between_them_the_line_is_straight(void **state)
{
	(void)state;
	assert_true(predicted(3, 192, 6, 512) == 0.5 && predicted(5, 192, 6, 512) == 0.125);
	assert_true(predicted(6, 128, 6, 512) == 0.5 && predicted(6, 192, 6, 192) == 0.3125);
}

/* A space that grew by a shape or two needs no further point. */
static void below_the_smallest_it_goes_on(void **state)
{
	(void)state;
	assert_true(predicted(1, 192, 6, 512) == 1 && predicted(6, 32, 6, 512) == 1.25);
}

static void axes_add_up(void **state)
{
	(void)state;
	assert_true(predicted(4, 128, 6, 256) == 0.25 + 0.5 + 0.125);
}

static void the_exponent_says_how(void **state)
{
	(void)state;
	const struct shape shape = {.L = 4, .C = 128, .NH = 6, .F = 256};
	struct sensitivity s = measured;
	s.exponent = 2;
	assert_true(fabs(sensitivity_predict(&s, &shape) - (2 + sqrt(0.0625 + 0.25 + 0.015625))) < 1e-12);
	s.exponent = 8;
	assert_true(sensitivity_predict(&s, &shape) < 2.51);
}

/* An axis whose cut helps takes nothing away from the others. */
static void what_helps_is_nothing(void **state)
{
	(void)state;
	struct sensitivity s = measured;
	s.axes[AXIS_FFN].excess[1] = -0.125;
	assert_true(sensitivity_predict(&s, &(struct shape){.L = 4, .C = 192, .NH = 6, .F = 256}) == 2.25);
}

/* Shapes whose losses were made with an exponent give it back, to a step. */
static void the_exponent_is_found(void **state)
{
	(void)state;
	static const double wanted[] = {0.75, 1, 2, 5};
	for (size_t k = 0; k < sizeof wanted / sizeof *wanted; k++) {
		struct scored_shape list[12];
		struct sensitivity s = measured;
		s.exponent = wanted[k];
		for (int i = 0; i < 12; i++) {
			list[i].shape = (struct shape){.L = 2 + i % 4, .C = 64 + 10 * i, .NH = 6, .F = 128 + 30 * i};
			list[i].nll = sensitivity_predict(&s, &list[i].shape) + (i % 2 ? 0.002 : -0.002);
		}
		s.scored = list;
		s.n_scored = 12;
		s.exponent = 3;
		sensitivity_fit(&s);
		assert_true(fabs(log(s.exponent / wanted[k])) < 0.08);
	}
	struct sensitivity none = measured;
	sensitivity_fit(&none);
	assert_true(none.exponent == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_the_points_it_is_what_was_measured),
		cmocka_unit_test(between_them_the_line_is_straight),
		cmocka_unit_test(below_the_smallest_it_goes_on),
		cmocka_unit_test(axes_add_up),
		cmocka_unit_test(the_exponent_says_how),
		cmocka_unit_test(what_helps_is_nothing),
		cmocka_unit_test(the_exponent_is_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

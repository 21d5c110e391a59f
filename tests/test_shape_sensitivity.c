/* What is predicted of a shape: the sum of the axes, straight between the points that were measured. */
#include "tests/testing.h"

#include "recipes/shape_sensitivity.h"

static const struct sensitivity measured = {
	.source_nll = 2,
	.axes = {
		[AXIS_LAYERS] = {3, {2, 4, 6}, {0.75, 0.25, 0}},
		[AXIS_HIDDEN] = {2, {64, 192}, {1, 0}},
		[AXIS_HEADS] = {1, {6}, {0}},
		[AXIS_FFN] = {3, {128, 256, 512}, {0.5, 0.125, 0}},
	},
};

static double predicted(int L, int C, int NH, int F)
{
	return sensitivity_predict(&measured, &(struct shape){.L = L, .C = C, .NH = NH, .F = F});
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_the_points_it_is_what_was_measured),
		cmocka_unit_test(between_them_the_line_is_straight),
		cmocka_unit_test(below_the_smallest_it_goes_on),
		cmocka_unit_test(axes_add_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* prune/time_model.c: planted times are found again, on shapes that nobody timed. */
#include "tests/testing.h"

#include "base/rng.h"
#include "prune/time_model.h"

#include <math.h>

static struct arch source(void)
{
	return (struct arch){.family = "llama", .shape = {.L = 32, .C = 4096, .F = 11008, .NH = 32, .NKV = 8, .HD = 128, .V = 32000}, .max_positions = 4096};
}

static const struct time_line planted[] = {
	{.weight = {0.3, 0.02, 1e-4, 3e-6, 2e-8, 1.5e-8}},
	{.weight = {0, 0.02, 0, 0, 2e-8, 1.5e-8}},
	{.weight = {0, 0, 0, 0, 1e-8, 0}},
	{.weight = {2, 0, 0, 0, 0, 0}},
};

static void probes_are_shapes_of_the_source(void **state)
{
	(void)state;
	const struct arch from = source();
	struct arch probes[TIME_PROBES];
	struct err e;
	time_probes(&from, 256, 256, probes);
	for (int i = 0; i < TIME_PROBES; i++) {
		const struct shape *s = &probes[i].shape;
		assert_ok(arch_check(&probes[i], "probe", &e), &e);
		assert_true(s->L <= 32 && s->C <= 4096 && s->F <= 11008 && s->NH == 4 * s->NKV && s->NH <= 32);
		assert_true(s->C % 256 == 0 && s->F % 256 == 0);
		for (int k = 0; k < i; k++)
			assert_memory_not_equal(s, &probes[k].shape, sizeof *s);
	}
	assert_memory_equal(&probes[0].shape, &from.shape, sizeof from.shape);
}

static void planted_times_are_found(void **state)
{
	(void)state;
	const struct arch from = source();
	struct arch probes[TIME_PROBES], other = from;
	struct time_line fit;
	double ms[TIME_PROBES];
	other.shape = (struct shape){.L = 17, .C = 2560, .F = 4608, .NH = 20, .NKV = 5, .HD = 128, .V = 32000};
	time_probes(&from, 256, 256, probes);
	for (size_t p = 0; p < sizeof planted / sizeof *planted; p++) {
		for (int i = 0; i < TIME_PROBES; i++)
			ms[i] = time_predict(&planted[p], &probes[i]);
		time_fit(&fit, probes, ms, TIME_PROBES);
		assert_true(fit.worst < 1e-5);
		assert_close(time_predict(&fit, &other), time_predict(&planted[p], &other), 0, 1e-4);
		ms[3] *= 2; /* one that is wrong shows */
		time_fit(&fit, probes, ms, TIME_PROBES);
		assert_true(fit.worst > 0.1);
	}
}

/* Timings are off by some per cent: so are predictions, and no weight goes below nought. */
static void noise_stays_noise(void **state)
{
	(void)state;
	const struct arch from = source();
	struct arch probes[TIME_PROBES], other = from;
	other.shape = (struct shape){.L = 17, .C = 2560, .F = 4608, .NH = 20, .NKV = 5, .HD = 128, .V = 32000};
	time_probes(&from, 256, 256, probes);
	for (unsigned trial = 0; trial < 20; trial++)
		for (size_t p = 0; p < sizeof planted / sizeof *planted; p++) {
			struct time_line fit;
			double ms[TIME_PROBES];
			for (int i = 0; i < TIME_PROBES; i++)
				ms[i] = time_predict(&planted[p], &probes[i]) * (1 + 0.03 * rng_normal(trial, RNG_TEST, p, (uint64_t)i));
			time_fit(&fit, probes, ms, TIME_PROBES);
			for (int i = 0; i < TIME_FEATURES; i++)
				assert_true(fit.weight[i] >= 0);
			assert_close(time_predict(&fit, &other), time_predict(&planted[p], &other), 0, 0.15);
		}
}

static void few_shapes_give_what_they_can(void **state)
{
	(void)state;
	const struct arch from = source();
	struct time_line fit;
	const double ms = 7;
	time_fit(&fit, &from, &ms, 1);
	assert_close(time_predict(&fit, &from), 7, 0, 1e-9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(probes_are_shapes_of_the_source),
		cmocka_unit_test(planted_times_are_found),
		cmocka_unit_test(noise_stays_noise),
		cmocka_unit_test(few_shapes_give_what_they_can),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* prune/mask_integrated.c: the gradient of each Lagrangian against differences, the ascent of the multipliers, the rates. */
#include "tests/testing.h"

#include "base/rng.h"
#include "prune/mask_control.h"
#include "prune/mask_integrated.h"

enum { ROWS = 3, UNITS = 37, N = ROWS * UNITS };

struct world {
	float loga[N], dloga[N], m[N], v[N];
	struct mask_multipliers multipliers;
	struct mask_integrated step;
};

static void open_world(struct world *w, bool counts)
{
	*w = (struct world){.multipliers = {.value = {1.5f, 40}}};
	for (int i = 0; i < N; i++) {
		w->loga[i] = 2 * rng_normal(1, RNG_TEST, 0, (uint64_t)i);
		w->dloga[i] = 1e-2f * rng_normal(1, RNG_TEST, 1, (uint64_t)i);
	}
	w->step = (struct mask_integrated){.n_rows = ROWS, .n_units = UNITS, .loga = w->loga, .dloga = w->dloga, .m = w->m, .v = w->v,
					   .target = 20, .lr = 0.1, .beta = counts ? 0.83 : 2 / 3., .counts = counts};
}

/* As the header writes it, and not as the source does. */
static double lagrangian(const struct world *w, const float *loga, double d[2])
{
	double sum = 0;
	d[0] = d[1] = 0;
	for (int row = 0; row < ROWS; row++) {
		double size = 0;
		for (int i = 0; i < UNITS; i++)
			size += 1 / (1 + exp(-(double)loga[row * UNITS + i] - w->step.beta * log(11)));
		double gap = w->step.counts ? size - w->step.target : (w->step.target - size) / UNITS;
		double share = w->step.counts ? 1 : 1.0 / ROWS;
		d[0] += share * gap;
		d[1] += share * gap * gap;
		sum += share * ((double)w->multipliers.value[0] * gap + (double)w->multipliers.value[1] * gap * gap);
	}
	return sum;
}

/* The first moment after a first step is a tenth of the gradient, of both: the units' and the multipliers'. */
static void check_gradients(bool counts)
{
	struct world w, before;
	double d[2], ignored[2];
	open_world(&w, counts);
	before = w;
	lagrangian(&before, before.loga, d);
	mask_integrated_step(&w.step, &w.multipliers);
	for (int i = 0; i < 2; i++) {
		assert_close((double)w.multipliers.m[i] / 0.1, d[i], 1e-6, 1e-5);
		double up = (double)w.multipliers.value[i] - (double)before.multipliers.value[i];
		assert_close(up, d[i] > 0 ? 0.1 : -0.1, 1e-5, 0); /* ascent, by the rate */
	}
	for (int i = 0; i < N; i++) {
		float loga[N];
		const float h = 1e-2f;
		memcpy(loga, before.loga, sizeof loga);
		loga[i] = before.loga[i] + h;
		double high = lagrangian(&before, loga, ignored), top = (double)loga[i];
		loga[i] = before.loga[i] - h;
		double low = lagrangian(&before, loga, ignored), g = (high - low) / (top - (double)loga[i]) + (double)w.dloga[i];
		assert_close((double)w.m[i] / 0.1, g, 2e-4 * (counts ? 100 : 1), 1e-3);
		if (fabs(g) > 1e-2 && fabs((double)before.loga[i]) < 4)
			assert_close((double)w.loga[i], (double)before.loga[i] - (g > 0 ? 0.1 : -0.1), 1e-4, 0);
	}
}

static void code_takes_shares(void **state)
{
	(void)state;
	check_gradients(false);
}

static void paper_takes_counts(void **state)
{
	(void)state;
	check_gradients(true);
}

static void loga_is_clamped_and_lambda2_never_falls(void **state)
{
	struct world w;
	float last = 0;
	(void)state;
	open_world(&w, false);
	w.multipliers = (struct mask_multipliers){{0}, {0}, {0}};
	w.step.lr = 1;
	for (int step = 0; step < 200; step++) {
		w.step.step = step;
		mask_integrated_step(&w.step, &w.multipliers);
		assert_true(w.multipliers.value[1] >= last);
		last = w.multipliers.value[1];
		for (int i = 0; i < N; i++)
			assert_true(fabsf(w.loga[i]) <= MASK_INTEGRATED_CLAMP);
	}
	assert_true(last > 100); /* it winds up: about one rate per step */
}

static void rates_warm_up_and_fall_to_a_tenth(void **state)
{
	double highest = 0;
	(void)state;
	assert_close(mask_integrated_rate(0, 1000), 0.01, 1e-12, 0);
	assert_close(mask_integrated_rate(999, 1000), 0.1, 1e-5, 0);
	for (int step = 0; step < 1000; step++)
		highest = fmax(highest, mask_integrated_rate(step, 1000));
	assert_close(highest, 0.978, 1e-3, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(code_takes_shares),
		cmocka_unit_test(paper_takes_counts),
		cmocka_unit_test(loga_is_clamped_and_lambda2_never_falls),
		cmocka_unit_test(rates_warm_up_and_fall_to_a_tenth),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

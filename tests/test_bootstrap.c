/* results/bootstrap.c: a small case by enumeration, coverage on synthetic data, what is said about few documents. */
#include "tests/testing.h"

#include "base/rng.h"
#include "results/bootstrap.h"

/* Three documents: 27 equally likely resamples. The bootstrap's quantiles must be those of the exact distribution. */
static int ascending(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;
	return (a > b) - (a < b);
}

static void exact_small_case(void **state)
{
	(void)state;
	const double a[3] = {1, 5, 12}, w[3] = {1, 2, 3};
	double exact[27];
	int n = 0;
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++)
			for (int k = 0; k < 3; k++)
				exact[n++] = (a[i] + a[j] + a[k]) / (w[i] + w[j] + w[k]);
	qsort(exact, 27, sizeof *exact, ascending);
	/* At levels whose quantiles fall strictly inside one of the 27 steps, sampling noise cannot move them. */
	static const int steps[] = {1, 4, 9};
	for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
		struct bootstrap_options o = bootstrap_default();
		struct interval got;
		struct err e;
		o.level = 1 - 2 * (steps[s] + 0.5) / 27;
		o.resamples = 200000;
		assert_ok(bootstrap_ratio(&got, a, w, 3, &o, &e), &e);
		assert_close(got.mean, 3, 1e-15, 0);
		assert_close(got.low, exact[steps[s]], 1e-12, 0);
		assert_close(got.high, exact[26 - steps[s]], 1e-12, 0);
	}
}

static void paired_removes_what_is_common(void **state)
{
	(void)state;
	enum { N = 200 };
	double a[N], b[N], w[N];
	for (int i = 0; i < N; i++) {
		double hard = 100 * rng_normal(1, RNG_TEST, 0, (uint64_t)i);
		w[i] = 50 + rng_below(1, RNG_TEST, 1, (uint64_t)i, 100);
		b[i] = hard + 2 * w[i];
		a[i] = b[i] - 0.01 * w[i] + 0.1 * rng_normal(1, RNG_TEST, 2, (uint64_t)i);
	}
	struct bootstrap_options o = bootstrap_default();
	struct interval alone, paired;
	struct err e;
	o.resamples = 2000;
	assert_ok(bootstrap_ratio(&alone, a, w, N, &o, &e), &e);
	assert_ok(bootstrap_paired(&paired, a, b, w, N, &o, &e), &e);
	assert_true(alone.high - alone.low > 0.1);
	assert_true(paired.high < 0 && paired.high - paired.low < 1e-3);
	assert_close(paired.mean, -0.01, 2e-4, 0);
	struct interval back;
	assert_ok(bootstrap_paired(&back, b, a, w, N, &o, &e), &e);
	assert_close(back.mean, -paired.mean, 1e-15, 0);
	assert_close(back.low, -paired.high, 1e-12, 0);
}

/* A 95 % interval holds the truth in about 95 % of the worlds: 400 worlds of 60 documents give 95 +- 3 (3 sigma). */
static int world_is_covered(uint64_t world)
{
	enum { N = 60 };
	double a[N], w[N];
	for (int i = 0; i < N; i++) {
		w[i] = 20 + rng_below(7, RNG_TEST, 2 * world, (uint64_t)i, 200);
		a[i] = w[i] * (1.8 + 0.3 * (double)rng_normal(7, RNG_TEST, 2 * world + 1, (uint64_t)i));
	}
	struct bootstrap_options o = bootstrap_default();
	struct interval got;
	struct err e;
	o.resamples = 400;
	o.seed = world;
	assert_ok(bootstrap_ratio(&got, a, w, N, &o, &e), &e);
	return got.low <= 1.8 && 1.8 <= got.high;
}

static void coverage(void **state)
{
	(void)state;
	int covered = 0;
	for (uint64_t world = 0; world < 400; world++)
		covered += world_is_covered(world);
	if (covered < 400 * 0.91 || covered > 400 * 0.98)
		fail_msg("the 95 %% interval held the truth in %d of 400 worlds", covered);
}

static void few_none_and_one(void **state)
{
	(void)state;
	double a[40] = {3, 0}, w[40] = {2, 0};
	struct bootstrap_options o = bootstrap_default();
	struct interval got;
	struct err e;
	assert_ok(bootstrap_ratio(&got, a, w, 40, &o, &e), &e);
	assert_int_equal(got.n_documents, 1);
	assert_true(got.few && got.low == 1.5 && got.high == 1.5 && got.mean == 1.5);
	assert_fails(bootstrap_ratio(&got, a + 1, w + 1, 39, &o, &e), &e, "no document");
	assert_fails(bootstrap_ratio(&got, a, w, 0, &o, &e), &e, "no document");
	o.resamples = 10;
	for (int n = 29; n <= 30; n++) {
		for (int i = 0; i < n; i++)
			a[i] = w[i] = 1 + i;
		assert_ok(bootstrap_ratio(&got, a, w, (size_t)n, &o, &e), &e);
		assert_int_equal(got.few, n < 30);
	}
}

static void same_seed_same_bits(void **state)
{
	(void)state;
	double a[50], w[50];
	for (int i = 0; i < 50; i++) {
		a[i] = rng_normal(3, RNG_TEST, 0, (uint64_t)i);
		w[i] = 1;
	}
	struct bootstrap_options o = bootstrap_default();
	struct interval x, y;
	struct err e;
	o.resamples = 500;
	assert_ok(bootstrap_ratio(&x, a, w, 50, &o, &e), &e);
	assert_ok(bootstrap_ratio(&y, a, w, 50, &o, &e), &e);
	assert_true(x.low == y.low && x.high == y.high);
	o.seed = 1;
	assert_ok(bootstrap_ratio(&y, a, w, 50, &o, &e), &e);
	assert_true(x.low != y.low);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exact_small_case),
		cmocka_unit_test(paired_removes_what_is_common),
		cmocka_unit_test(coverage),
		cmocka_unit_test(few_none_and_one),
		cmocka_unit_test(same_seed_same_bits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

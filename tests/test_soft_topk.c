/* prune/soft_topk.c: the constraint, the optimality of z and how it moves, the limit of tau. */
#include "tests/testing.h"

#include "base/rng.h"
#include "prune/soft_topk.h"

#include <math.h>

enum { N = 129 };
static const double taus[] = {1e-3, 0.05, 0.3, 1, 30};
static const double sizes[] = {0.5, 1, 17.25, 64, 100, 128.5};

struct row {
	float s[N], z[N], sorted[N];
	uint8_t keep[N];
	double lambda;
};

static void row_scores(struct row *r, uint64_t seed)
{
	for (int i = 0; i < N; i++)
		r->s[i] = 2 * rng_normal(seed, RNG_TEST, 0, (uint64_t)i);
	r->s[3] = r->s[90]; /* equals */
	r->s[7] = -13.8f;   /* and one that is far off */
}

static void row_solve(struct row *r, double k, double tau)
{
	r->lambda = soft_topk(r->s, N, k, tau, r->z, r->sorted, r->keep);
}

static double sum_of(const float *z)
{
	double sum = 0;
	for (int i = 0; i < N; i++)
		sum += (double)z[i];
	return sum;
}

static void the_sum_is_the_size(void **state)
{
	struct row r;
	(void)state;
	row_scores(&r, 1);
	for (size_t t = 0; t < sizeof taus / sizeof *taus; t++)
		for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
			row_solve(&r, sizes[k], taus[t]);
			assert_close(sum_of(r.z), sizes[k], 1e-6 * N, 0);
			for (int i = 0; i < N; i++)
				assert_true(r.z[i] >= 0 && r.z[i] <= 1);
			assert_true(r.z[3] == r.z[90]);
		}
}

static double entropy(double z)
{
	return z <= 0 || z >= 1 ? 0 : -z * log(z) - (1 - z) * log1p(-z);
}

/* No exchange between two units raises the objective: z is its maximum, as this is concave and the constraint linear. */
static void no_exchange_is_better(void **state)
{
	struct row r;
	(void)state;
	row_scores(&r, 2);
	for (size_t t = 1; t < 4; t++) {
		row_solve(&r, 64, taus[t]);
		for (int i = 0; i < 2000; i++) {
			uint32_t a = rng_below(3, RNG_TEST, 0, (uint64_t)i, N), b = rng_below(3, RNG_TEST, 1, (uint64_t)i, N);
			double za = (double)r.z[a], zb = (double)r.z[b], d = fmin(1e-2, fmin(1 - za, zb));
			double gain = d * (double)(r.s[a] - r.s[b]);
			gain += taus[t] * (entropy(za + d) - entropy(za) + entropy(zb - d) - entropy(zb));
			assert_true(a == b || gain <= 1e-6 * taus[t]);
		}
	}
}

static void lambda_parts_the_open_from_the_closed(void **state)
{
	struct row r;
	(void)state;
	row_scores(&r, 4);
	row_solve(&r, 50, 0.3);
	for (int i = 0; i < N; i++)
		assert_close((double)r.z[i], 1 / (1 + exp((r.lambda - (double)r.s[i]) / 0.3)), 2e-6, 0);
}

/* What every z does when a score moves follows from the objective, through the multiplier too:
 *   dz_i/ds_j = w_i / tau (delta_ij - w_j / sum w),  w = z (1 - z),
 * against central differences. fp32 scores carry 1e-7, over a step of 1e-2 tau. */
static void z_moves_as_the_objective_says(void **state)
{
	(void)state;
	for (size_t t = 1; t < 4; t++) {
		struct row r, up, down;
		double weight = 0, w[N];
		row_scores(&r, 5);
		row_solve(&r, 40.5, taus[t]);
		for (int i = 0; i < N; i++)
			weight += w[i] = (double)r.z[i] * (1 - (double)r.z[i]);
		for (int j = 0; j < N; j++) {
			up = down = r;
			up.s[j] += (float)(1e-2 * taus[t]);
			down.s[j] -= (float)(1e-2 * taus[t]);
			row_solve(&up, 40.5, taus[t]);
			row_solve(&down, 40.5, taus[t]);
			double h = (double)up.s[j] - (double)down.s[j];
			for (int i = 0; i < N; i++) {
				double want = w[i] / taus[t] * ((i == j) - w[j] / weight);
				assert_close(((double)up.z[i] - (double)down.z[i]) / h, want, 2e-4 / taus[t], 2e-3);
			}
		}
	}
}

static void at_0_it_is_the_plain_topk(void **state)
{
	const float s[] = {1, 3, 3, -2, 3, 8};
	const float want[] = {0, 1, 1, 0, 0, 1};
	float z[6], sorted[6], cold[N];
	uint8_t keep[6];
	struct row r;
	(void)state;
	assert_close(soft_topk(s, 6, 3, 0, z, sorted, keep), 3, 0, 0);
	assert_memory_equal(z, want, sizeof z);
	row_scores(&r, 8);
	row_solve(&r, 40, 1e-5);
	memcpy(cold, r.z, sizeof cold);
	row_solve(&r, 40, 0);
	assert_memory_equal(cold, r.z, sizeof cold);
}

static void nothing_is_asked_of_a_full_row(void **state)
{
	struct row r;
	(void)state;
	row_scores(&r, 9);
	row_solve(&r, N, 0.3);
	assert_close(r.lambda, 0, 0, 0);
	for (int i = 0; i < N; i++)
		assert_true(r.z[i] == 1);
	float one = 5, z, sorted;
	uint8_t keep;
	assert_close(soft_topk(&one, 1, 1, 0.1, &z, &sorted, &keep), 0, 0, 0);
	assert_true(z == 1);
	soft_topk(&one, 1, 0.25, 0.1, &z, &sorted, &keep);
	assert_close((double)z, 0.25, 1e-6, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sum_is_the_size),
		cmocka_unit_test(no_exchange_is_better),
		cmocka_unit_test(lambda_parts_the_open_from_the_closed),
		cmocka_unit_test(z_moves_as_the_objective_says),
		cmocka_unit_test(at_0_it_is_the_plain_topk),
		cmocka_unit_test(nothing_is_asked_of_a_full_row),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* base/rng: the published vectors of Philox4x32-10, and that draws are what the header says. */
#include "tests/testing.h"

#include "base/rng.h"

/* Source: Random123's kat_vectors, "philox4x32 10". */
static void test_known_answers(void **state)
{
	(void)state;
	static const struct {
		uint32_t counter[4], key[2], want[4];
	} cases[] = {
		{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
		 {0xffffffff, 0xffffffff},
		 {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
		 {0xa4093822, 0x299f31d0},
		 {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint32_t got[4];
		rng_philox(cases[i].counter, cases[i].key, got);
		assert_memory_equal(got, cases[i].want, sizeof got);
	}
}

static void test_every_argument_matters(void **state)
{
	(void)state;
	uint32_t base = rng_u32(1, RNG_TEST, 2, 3);
	assert_int_equal(base, rng_u32(1, RNG_TEST, 2, 3));
	assert_int_not_equal(base, rng_u32(2, RNG_TEST, 2, 3));
	assert_int_not_equal(base, rng_u32(1ull << 32 | 1, RNG_TEST, 2, 3));
	assert_int_not_equal(base, rng_u32(1, RNG_SAMPLE, 2, 3));
	assert_int_not_equal(base, rng_u32(1, RNG_TEST, 3, 3));
	assert_int_not_equal(base, rng_u32(1, RNG_TEST, 1ull << 55 | 2, 3));
	assert_int_not_equal(base, rng_u32(1, RNG_TEST, 2, 4));
	assert_int_not_equal(base, rng_u32(1, RNG_TEST, 2, 1ull << 32 | 3));
}

static void test_wide_draws(void **state)
{
	(void)state;
	uint64_t ones = 0, zeros = 0, repeated = 0;
	for (uint64_t i = 0; i < 64; i++) {
		uint64_t r = rng_u64(7, RNG_TEST, 2, i);
		assert_int_equal((uint32_t)r, rng_u32(7, RNG_TEST, 2, i));
		ones |= r;
		zeros |= ~r;
		repeated += r >> 32 == (uint32_t)r;
	}
	assert_true(ones == UINT64_MAX && zeros == UINT64_MAX && !repeated); /* every bit turns, the halves differ */
}

static void test_uniform_is_open_and_flat(void **state)
{
	(void)state;
	enum { N = 1 << 20 };
	double sum = 0, squares = 0;
	float low = 1, high = 0;
	for (uint64_t i = 0; i < N; i++) {
		float u = rng_uniform(7, RNG_TEST, 0, i);
		low = u < low ? u : low;
		high = u > high ? u : high;
		sum += u;
		squares += (double)u * u;
	}
	assert_true(low > 0 && high < 1);
	/* Five standard errors of the mean (1/sqrt(12 N)) and of the second moment (sqrt(4/45/N)). */
	assert_close(sum / N, 0.5, 5 * 2.8e-4, 0);
	assert_close(squares / N, 1.0 / 3, 5 * 2.9e-4, 0);
}

static void test_normal_moments(void **state)
{
	(void)state;
	enum { N = 1 << 19 };
	double m[5] = {0};
	for (uint64_t i = 0; i < N; i++) {
		double x = rng_normal(7, RNG_TEST, 1, i), p = 1;
		for (int k = 1; k < 5; k++)
			m[k] += (p *= x) / N;
	}
	double se = 1 / sqrt(N);
	assert_close(m[1], 0, 5 * se, 0);
	assert_close(m[2], 1, 5 * se * sqrt(2), 0);
	assert_close(m[3], 0, 5 * se * sqrt(15), 0);
	assert_close(m[4], 3, 5 * se * sqrt(96), 0);
}

static void test_below_is_flat(void **state)
{
	(void)state;
	enum { N = 70000, K = 7 };
	int counts[K] = {0};
	for (uint64_t i = 0; i < N; i++)
		counts[rng_below(3, RNG_TEST, 2, i, K)]++;
	for (int k = 0; k < K; k++) /* 5 sigma of a binomial: 5 * sqrt(N/K * 6/7) = 463 */
		assert_in_range(counts[k], 10000 - 463, 10000 + 463);
	assert_int_equal(rng_below(3, RNG_TEST, 2, 0, 1), 0);
	for (uint64_t i = 0; i < 1000; i++)
		assert_true(rng_below(3, RNG_TEST, 3, i, 0xffffffffu) < 0xffffffffu);
}

static void test_permutation(void **state)
{
	(void)state;
	enum { N = 1000, K = 6000 };
	uint32_t p[N], again[N], seen[N] = {0}, first[4] = {0};
	rng_permutation(1, RNG_SHUFFLE, 0, N, p);
	rng_permutation(1, RNG_SHUFFLE, 0, N, again);
	assert_memory_equal(p, again, sizeof p);
	for (size_t i = 0; i < N; i++)
		seen[p[i]]++;
	for (size_t i = 0; i < N; i++)
		assert_int_equal(seen[i], 1);
	rng_permutation(1, RNG_SHUFFLE, 1, N, again);
	assert_memory_not_equal(p, again, sizeof p);
	/* Each of four elements comes first equally often: 5 sigma = 5 * sqrt(6000 * 3/16) = 168. */
	for (uint64_t s = 0; s < K; s++) {
		rng_permutation(s, RNG_SHUFFLE, 0, 4, p);
		first[p[0]]++;
	}
	for (size_t i = 0; i < 4; i++)
		assert_in_range(first[i], K / 4 - 168, K / 4 + 168);
	rng_permutation(1, RNG_SHUFFLE, 0, 0, p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answers),     cmocka_unit_test(test_every_argument_matters),
		cmocka_unit_test(test_wide_draws),
		cmocka_unit_test(test_uniform_is_open_and_flat), cmocka_unit_test(test_normal_moments),
		cmocka_unit_test(test_below_is_flat),     cmocka_unit_test(test_permutation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

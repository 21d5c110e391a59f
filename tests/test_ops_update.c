/* What is done to whole arrays: AdamW against a double-precision one, sums of squares, conversions, the exponential. */
#include "tests/ops_testing.h"

#include "kernels/cpu/cpu_math.h"

struct update_case {
	int n;
	float weight_decay, grad_scale;
	enum dtype copy;
};
static const struct update_case CASES[] = {
	{1, 0, 1, DTYPE_F32}, {3, 0.1f, 0.25f, DTYPE_BF16}, {129, 0.01f, 1, DTYPE_F16}, {5000, 0.1f, 0.5f, DTYPE_BF16},
	{40000, 0, 1, DTYPE_BF16},
};

static void run_adamw(struct ops_case *t, const void *given)
{
	const struct update_case *c = given;
	size_t n = (size_t)c->n;
	double lr = 0.01, beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
	float *p = ops_normal(t, n), *m = ops_zeros(t, n), *v = ops_zeros(t, n);
	double *p64 = ops_doubles(t, p, n), *m64 = ops_doubles(t, m, n), *v64 = ops_doubles(t, v, n);
	void *copy = c->copy == DTYPE_F32 ? NULL : ops_bytes(t, n * dtype_size(c->copy));
	for (int step = 1; step <= 4; step++) {
		float *grad = ops_normal(t, n);
		t->ops->adamw(t->ops, &(struct adamw){n, p, m, v, grad, &c->grad_scale, copy, c->copy, (float)lr, (float)beta1,
						      (float)beta2, (float)eps, c->weight_decay, step});
		for (size_t i = 0; i < n; i++) {
			double g = (double)grad[i] * (double)c->grad_scale;
			m64[i] = beta1 * m64[i] + (1 - beta1) * g;
			v64[i] = beta2 * v64[i] + (1 - beta2) * g * g;
			p64[i] -= lr * (double)c->weight_decay * p64[i];
			p64[i] -= lr * m64[i] / (1 - pow(beta1, step)) / (sqrt(v64[i] / (1 - pow(beta2, step))) + eps);
		}
	}
	OPS_CHECK(t, p, p64, n);
	OPS_CHECK(t, m, m64, n);
	OPS_CHECK(t, v, v64, n);
	for (size_t i = 0; copy && i < n; i++) {
		uint16_t want = c->copy == DTYPE_BF16 ? bf16_from_f32(p[i]) : f16_from_f32(p[i]);
		assert_int_equal(((uint16_t *)copy)[i], want);
	}
}

static void test_adamw(void **state)
{
	(void)state;
	OPS_CASES(run_adamw, CASES);
}

static void run_squares(struct ops_case *t, const void *given)
{
	const struct update_case *c = given;
	float *x = ops_normal(t, (size_t)c->n);
	double want = 0, got = -1;
	for (int i = 0; i < c->n; i++)
		want += (double)x[i] * (double)x[i];
	t->ops->sum_squares(t->ops, &got, x, (size_t)c->n);
	assert_close(got, want, 0, 1e-12);
	ops_hash(t, &got, sizeof got);
	t->ops->sum_squares(t->ops, &got, x, 0);
	assert_true(got == 0);
}

static void test_squares(void **state)
{
	(void)state;
	OPS_CASES(run_squares, CASES);
}

/* The backend's vectorised conversions give the bits of dtype.h. */
static void test_convert(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(2, false);
	enum { N = 1 << 17 };
	uint32_t *bits = malloc(N * sizeof *bits);
	uint16_t *want = malloc(N * sizeof *want), *got = malloc(N * sizeof *got);
	float *back = malloc(N * sizeof *back);
	for (size_t i = 0; i < N; i++)
		bits[i] = i < 16 ? (uint32_t)i << 28 | 0x0f800000u | (uint32_t)i : rng_u32(1, RNG_TEST, 0, i);
	for (int type = DTYPE_BF16; type <= DTYPE_F16; type++) {
		dtype_convert(want, (enum dtype)type, bits, DTYPE_F32, N);
		ops->convert(ops, got, (enum dtype)type, bits, DTYPE_F32, N);
		assert_memory_equal(got, want, N * sizeof *got);
		ops->convert(ops, back, DTYPE_F32, got, (enum dtype)type, N);
		dtype_convert(bits, DTYPE_F32, want, (enum dtype)type, N);
		assert_memory_equal(back, bits, N * sizeof *back);
	}
	ops->convert(ops, got, DTYPE_BF16, want, DTYPE_F16, N);
	ops->convert(ops, back, DTYPE_F32, back, DTYPE_F32, N); /* the same place, the same type */
	assert_memory_equal(back, bits, N * sizeof *back);
	free(bits);
	free(want);
	free(got);
	free(back);
	ops_cpu_close(ops);
}

static void test_exp(void **state)
{
	(void)state;
	for (int i = -86000; i <= 88000; i++) {
		float x = (float)i / 1000 + 0.0003f;
		assert_close(cpu_exp(x), exp((double)x), 0, 2e-7);
		if (x <= 80)
			assert_close(cpu_exp_low(x), exp((double)x), 0, 2e-7);
	}
	assert_true(cpu_exp_low(0) == 1 && cpu_exp_low(-INFINITY) == 0 && cpu_exp_low(-3e38f) == 0 && isnan(cpu_exp_low(NAN)));
	assert_true(cpu_exp(0) == 1 && cpu_exp(-INFINITY) == 0 && cpu_exp(-1e4f) == 0 && cpu_exp(-3e38f) == 0);
	assert_true(isinf(cpu_exp(INFINITY)) && isinf(cpu_exp(1e4f)) && isinf(cpu_exp(3e38f)) && isnan(cpu_exp(NAN)));
	assert_close(cpu_exp(88.72f), exp((double)88.72f), 0, 2e-7);
}

/* Relative errors, over 40 powers of ten about 0. */
static void test_exp_and_log_near_one(void **state)
{
	(void)state;
	for (float size = 1e-38f; size < 50; size *= 1.01f)
		for (int sign = -1; sign <= 1; sign += 2) {
			float x = (float)sign * size, less, e = cpu_exp_both(x, &less);
			assert_close(e, exp((double)x), 0, 2e-7);
			assert_close(less, expm1((double)x), 0, 4e-7);
			if (x >= -0.5f)
				assert_close(cpu_log1p(x), log1p((double)x), 0, 3e-7);
		}
	for (float x = 50; x < 3e38f; x *= 1.01f)
		assert_close(cpu_log1p(x), log1p((double)x), 0, 3e-7);
	float less;
	assert_true(cpu_exp_both(-INFINITY, &less) == 0 && less == -1);
	assert_true(isnan(cpu_exp_both(NAN, &less)) && isnan(less) && cpu_log1p(0) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_adamw), cmocka_unit_test(test_squares),
					   cmocka_unit_test(test_convert), cmocka_unit_test(test_exp),
					   cmocka_unit_test(test_exp_and_log_near_one)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

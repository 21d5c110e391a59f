/* Matrix products of every kind, fp32 and bf16, with leading dimensions, accumulation, bias and stored BF16 operands. */
#include "tests/ops_testing.h"

#ifdef __SANITIZE_ADDRESS__
/* A refused allocation is what test_backend is after. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}
#endif

struct matmul_case {
	enum matmul_kind kind;
	int m, n, k, pad; /* pad: what leading dimensions exceed the width by */
	bool accumulate, bias;
	enum dtype a_type, b_type;
};
#define F DTYPE_F32
#define H DTYPE_BF16
static const struct matmul_case CASES[] = {
	{MATMUL_NT, 1, 1, 1, 0, false, false, F, F},     {MATMUL_NT, 3, 37, 129, 0, false, true, F, F},
	{MATMUL_NT, 37, 129, 3, 5, true, false, F, H},   {MATMUL_NN, 1, 3, 37, 0, false, false, F, F},
	{MATMUL_NN, 37, 37, 129, 3, true, false, F, H},  {MATMUL_NN, 129, 64, 32, 0, false, false, H, F},
	{MATMUL_TN, 3, 1, 129, 0, false, false, F, F},   {MATMUL_TN, 37, 129, 37, 7, true, false, F, F},
	{MATMUL_TN, 129, 37, 64, 129, false, false, H, F}, {MATMUL_TN, 64, 96, 37, 0, true, false, H, H},
	{MATMUL_NT, 64, 96, 48, 0, true, true, H, H},    {MATMUL_NT, 129, 288, 96, 0, false, true, F, F},
};
#undef F
#undef H

/* (rows, width) of normal numbers, rows ld apart, in `type`; the same in double. */
static const void *matrix(struct ops_case *t, int rows, int width, int ld, enum dtype type, bool rounded, double **want)
{
	size_t n = (size_t)(rows * ld);
	float *x = ops_normal(t, n);
	void *stored = ops_bytes(t, n * dtype_size(type));
	dtype_convert(stored, type, x, DTYPE_F32, n);
	dtype_convert(x, DTYPE_F32, stored, type, n);
	*want = ops_doubles(t, NULL, (size_t)(rows * width));
	for (int i = 0; i < rows * width; i++) {
		float v = x[i / width * ld + i % width];
		(*want)[i] = (double)(rounded ? bf16_to_f32(bf16_from_f32(v)) : v);
	}
	return stored;
}

static double element(const struct matmul_case *c, const double *a, const double *b, int i, int j)
{
	double sum = 0;
	for (int l = 0; l < c->k; l++) {
		double x = c->kind == MATMUL_TN ? a[l * c->m + i] : a[i * c->k + l];
		double y = c->kind == MATMUL_NT ? b[j * c->k + l] : b[l * c->n + j];
		sum += x * y;
	}
	return sum;
}

/* With bf16, operands are rounded and the sum is fp32: against rounded operands the fp32 bounds hold. */
static void run_matmul(struct ops_case *t, const void *given)
{
	const struct matmul_case *c = given;
	bool tn = c->kind == MATMUL_TN, nt = c->kind == MATMUL_NT, rounded = t->ops->matmul_bf16;
	int a_width = tn ? c->m : c->k, b_width = nt ? c->k : c->n, ldc = c->n + c->pad;
	double *a64, *b64, *want = ops_doubles(t, NULL, (size_t)(c->m * c->n));
	const void *a = matrix(t, tn ? c->k : c->m, a_width, a_width + c->pad, c->a_type, rounded, &a64);
	const void *b = matrix(t, nt ? c->n : c->k, b_width, b_width + c->pad, c->b_type, rounded, &b64);
	float *bias = c->bias ? ops_normal(t, (size_t)c->n) : NULL, *out = ops_normal(t, (size_t)(c->m * ldc));
	float *before = ops_copy(t, out, (size_t)(c->m * ldc)), *got = ops_floats(t, (size_t)(c->m * c->n));
	t->ops->matmul(t->ops, &(struct matmul){.kind = c->kind, .m = c->m, .n = c->n, .k = c->k, .a = a, .b = b, .c = out,
						.a_type = c->a_type, .b_type = c->b_type, .c_type = DTYPE_F32,
						.lda = a_width + c->pad, .ldb = b_width + c->pad, .ldc = ldc,
						.accumulate = c->accumulate, .bias = bias});
	for (int i = 0; i < c->m; i++)
		for (int j = 0; j < ldc; j++)
			if (j < c->n) {
				want[i * c->n + j] = element(c, a64, b64, i, j) + (bias ? (double)bias[j] : 0) +
						     (c->accumulate ? (double)before[i * ldc + j] : 0);
				got[i * c->n + j] = out[i * ldc + j];
			} else {
				assert_true(out[i * ldc + j] == before[i * ldc + j]); /* between rows nothing is touched */
			}
	OPS_CHECK(t, got, want, (size_t)(c->m * c->n));
}

static void test_f32(void **state)
{
	(void)state;
	OPS_CASES(run_matmul, CASES);
}

static void test_bf16(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, true);
	bool available = ops->matmul_bf16;
	ops_cpu_close(ops);
	if (!available) {
		print_message("SKIP: this processor has no bf16 products\n");
		skip();
	}
	ops_cases_of(run_matmul, CASES, sizeof CASES / sizeof *CASES, sizeof *CASES, true);
}

/* More shapes than the table of bf16 products has places. */
static void test_many_shapes(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, true);
	float a[32], b[32], c;
	for (int i = 0; i < 32; i++)
		a[i] = b[i] = 1;
	for (int round = 0; round < 2; round++)
		for (int k = 1; k <= 32; k++)
			for (int ld = k; ld < k + 20; ld++) {
				ops->matmul(ops, &(struct matmul){.kind = MATMUL_NT, .m = 1, .n = 1, .k = k, .a = a, .b = b, .c = &c,
								  .lda = k, .ldb = k, .ldc = ld});
				assert_true(c == (float)k);
			}
	ops_cpu_close(ops);
}

static void test_backend(void **state)
{
	(void)state;
	struct err e;
	struct ops *ops = ops_for_test(2, false);
	assert_string_equal(ops->name, "cpu");
	assert_true(ops->act == DTYPE_F32 && ops->n_threads == 2 && strstr(ops->device, "oneDNN") && strstr(ops->device, "2 threads"));
	void *p;
	assert_ok(ops->alloc(ops, 100, &p, &e), &e);
	assert_true((uintptr_t)p % 64 == 0);
	ops->zero(ops, p, 100);
	ops->upload(ops, p, "weights", 8);
	char back[100];
	ops->download(ops, back, p, 100);
	assert_string_equal(back, "weights");
	assert_true(back[99] == 0);
	ops->sync(ops);
	ops->release(ops, p);
	assert_fails(ops->alloc(ops, (size_t)1 << 60, &p, &e), &e, "MiB");
	assert_fails(ops->alloc(ops, SIZE_MAX, &p, &e), &e, "bytes");
	struct ops_limits limits = {.max_operand_elems = 1000, .max_columns = 100};
	assert_true(ops_cpu_reserve_bytes(ops, &limits) >= 2 * 1000 * 4 + 2 * 100 * 4);
	assert_ok(ops_cpu_reserve(ops, &limits, &e), &e); /* replaces the first */
	float dy[2] = {1, 2}, db[1] = {0};
	ops->bias_backward(ops, db, dy, 2, 1);
	assert_true(db[0] == 3);
	ops_cpu_close(ops);
	ops_cpu_close(NULL);
	char text[64];
	ops_cpu_describe(text, sizeof text);
	assert_non_null(strstr(text, "oneDNN"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_f32), cmocka_unit_test(test_bf16),
					   cmocka_unit_test(test_many_shapes), cmocka_unit_test(test_backend)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

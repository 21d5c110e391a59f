/* column_stats against sums in double; rows that do not count hold rubbish; one element more or less is seen. */
#include "tests/ops_testing.h"

struct columns_case {
	int n_blocks, block_rows, W, width;
	bool weighted, magnitudes, sums;
};
static const struct columns_case CASES[] = {
	{1, 1, 1, 1, false, true, true},     {1, 3, 37, 1, false, true, true},    {3, 5, 129, 1, true, true, true},
	{2, 7, 36, 12, true, true, true},    {2, 7, 129, 3, false, true, false},  {4, 2, 64, 1, true, false, true},
	{1, 37, 260, 130, true, true, true}, {2, 4, 65, 5, false, false, true},   {5, 1, 200, 1, true, true, false},
};

static const float *row_weights(struct ops_case *t, const struct columns_case *c)
{
	size_t n = (size_t)(c->n_blocks * c->block_rows);
	if (!c->weighted)
		return NULL;
	float *w = ops_floats(t, n);
	for (size_t i = 0; i < n; i++)
		w[i] = i % 3 != 1;
	return w;
}

static void spoil(float *x, const float *weight, int n_rows, int W)
{
	for (int r = 0; weight && r < n_rows; r++)
		for (int i = 0; weight[r] == 0 && i < W; i++)
			x[r * W + i] = NAN;
}

/* 1/n_b sum over the rows of block b of unit j's norm. */
static double block_mean(const struct columns_case *c, const float *x, const float *weight, int b, int j)
{
	double sum = 0;
	int n = 0;
	for (int r = b * c->block_rows; r < (b + 1) * c->block_rows; r++) {
		double square = 0;
		if (weight && weight[r] == 0)
			continue;
		for (int i = j * c->width; i < (j + 1) * c->width; i++)
			square += (double)x[r * c->W + i] * (double)x[r * c->W + i];
		sum += sqrt(square);
		n++;
	}
	return n ? sum / n : 0;
}

/* got (n) doubles, which held 1 before. */
static void check(struct ops_case *t, const char *what, const double *got, double *want, size_t n)
{
	float *rounded = ops_floats(t, n);
	for (size_t i = 0; i < n; i++)
		rounded[i] = (float)(got[i] - 1);
	ops_check(t, what, rounded, want, n, F32_NMSE, F32_WORST);
}

static double *ones(struct ops_case *t, size_t n)
{
	double *x = ops_bytes(t, n * sizeof *x);
	for (size_t i = 0; i < n; i++)
		x[i] = 1;
	return x;
}

static void columns(struct ops_case *t, const void *of)
{
	const struct columns_case *c = of;
	int n_rows = c->n_blocks * c->block_rows, n_units = c->W / c->width;
	float *x = ops_normal(t, (size_t)(n_rows * c->W));
	const float *weight = row_weights(t, c);
	double *means = ones(t, (size_t)n_units), *sum = ones(t, (size_t)c->W), *squares = ones(t, (size_t)c->W);
	double *want_means = calloc((size_t)n_units, sizeof *want_means), *want = calloc(2 * (size_t)c->W, sizeof *want);
	assert_true(want_means && want);
	for (int j = 0; j < n_units; j++)
		for (int b = 0; b < c->n_blocks; b++)
			want_means[j] += pow(block_mean(c, x, weight, b, j), 2);
	for (int r = 0; r < n_rows; r++)
		for (int i = 0; i < c->W && (!weight || weight[r] != 0); i++) {
			double v = (double)x[r * c->W + i];
			want[i] += v;
			want[c->W + i] += v * v;
		}
	spoil(x, weight, n_rows, c->W);
	t->ops->column_stats(t->ops, &(struct column_stats){
		.n_blocks = c->n_blocks, .block_rows = c->block_rows, .W = c->W, .width = c->width, .x = x, .weight = weight,
		.mean_squares = c->magnitudes ? means : NULL, .sum = c->sums ? sum : NULL, .squares = c->sums ? squares : NULL});
	if (c->magnitudes)
		check(t, "mean_squares", means, want_means, (size_t)n_units);
	if (c->sums) {
		check(t, "sum", sum, want, (size_t)c->W);
		check(t, "squares", squares, want + c->W, (size_t)c->W);
	}
	free(want_means);
	free(want);
}

static void statistics_of_columns(void **state)
{
	(void)state;
	OPS_CASES(columns, CASES);
}

/* The header's promise: the same bits for any number of threads. */
static void threads_do_not_matter(void **state)
{
	enum { ROWS = 41, W = 133 };
	float *x = malloc(ROWS * W * sizeof *x);
	double found[2][3 * W] = {{0}};
	(void)state;
	assert_non_null(x);
	for (size_t i = 0; i < ROWS * W; i++)
		x[i] = rng_normal(9, RNG_TEST, 0, i);
	for (int k = 0; k < 2; k++) {
		struct ops *ops;
		struct err e;
		assert_ok(ops_cpu_open(&ops, &(struct ops_options){.n_threads = 1 + 2 * k}, &e), &e);
		ops->column_stats(ops, &(struct column_stats){.n_blocks = 1, .block_rows = ROWS, .W = W, .width = 7, .x = x,
							      .mean_squares = found[k], .sum = found[k] + W, .squares = found[k] + 2 * W});
		ops_cpu_close(ops);
	}
	assert_memory_equal(found[0], found[1], sizeof found[0]);
	free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statistics_of_columns),
		cmocka_unit_test(threads_do_not_matter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* hidden_rows and scale_rows against double-precision references; the gradient of a distance against finite differences. */
#include "tests/ops_testing.h"

struct hidden_case {
	enum hidden_distance kind;
	int n_rows, C, ld_y;
	bool columns, accumulate, gradient;
	float scale;
};
static const struct hidden_case CASES[] = {
	{HIDDEN_COSINE, 1, 1, 1, false, false, true, 1},     {HIDDEN_MSE, 1, 1, 1, false, false, true, 1},
	{HIDDEN_COSINE, 3, 37, 37, false, true, true, 0.5f}, {HIDDEN_MSE, 3, 37, 40, false, true, true, 0.5f},
	{HIDDEN_COSINE, 37, 3, 5, true, false, true, 2},     {HIDDEN_MSE, 37, 3, 5, true, true, true, 2},
	{HIDDEN_COSINE, 5, 129, 200, true, true, true, 3},   {HIDDEN_MSE, 5, 129, 200, true, false, true, 3},
	{HIDDEN_COSINE, 4, 600, 600, false, false, true, 1}, {HIDDEN_MSE, 4, 600, 700, true, true, true, 1},
	{HIDDEN_COSINE, 4, 64, 64, false, false, false, 1},  {HIDDEN_MSE, 4, 64, 64, false, false, false, 1},
};

struct hidden_reference {
	const struct hidden_case *c;
	const float *weight;
	const int32_t *columns;
	double *x, *y, *loss; /* (n_rows, C), (n_rows, ld_y), (n_rows) */
};

static double distance(const struct hidden_reference *r, int n)
{
	int C = r->c->C;
	const double *x = r->x + n * C, *y = r->y + n * r->c->ld_y;
	double xx = 0, yy = 0, xy = 0, gap = 0;
	for (int i = 0; i < C; i++) {
		double v = y[r->columns ? r->columns[i] : i];
		xx += x[i] * x[i];
		yy += v * v;
		xy += x[i] * v;
		gap += (x[i] - v) * (x[i] - v);
	}
	if (r->c->kind == HIDDEN_MSE)
		return gap / C;
	return xx == 0 || yy == 0 ? 1 : 1 - xy / (sqrt(xx) * sqrt(yy));
}

static double loss_of(const void *context)
{
	const struct hidden_reference *r = context;
	double loss = 0;
	for (int n = 0; n < r->c->n_rows; n++) {
		r->loss[n] = r->weight[n] != 0 ? distance(r, n) : 0;
		loss += (double)r->c->scale * (double)r->weight[n] * r->loss[n];
	}
	return loss;
}

/* Row 1, if there is one, counts for nothing and holds rubbish. */
static float *weights(struct ops_case *t, int n)
{
	float *w = ops_normal(t, (size_t)n);
	for (int i = 0; i < n; i++)
		w[i] = i != 1 ? fabsf(w[i]) + 0.1f : 0;
	return w;
}

static void spoil_row(float *x, int n_rows, int ld)
{
	for (int i = 0; n_rows > 1 && i < ld; i++)
		x[ld + i] = i % 2 ? NAN : INFINITY;
}

/* Every second column, then the rest downwards: distinct, in no order. */
static int32_t *kept_columns(struct ops_case *t, const struct hidden_case *c)
{
	if (!c->columns)
		return NULL;
	int32_t *columns = ops_bytes(t, (size_t)c->C * sizeof *columns);
	int n_even = (c->ld_y + 1) / 2;
	for (int i = 0; i < c->C; i++)
		columns[i] = i < n_even ? 2 * i : c->ld_y - 1 - c->ld_y % 2 - 2 * (i - n_even);
	return columns;
}

static void hidden(struct ops_case *t, const void *of)
{
	const struct hidden_case *c = of;
	size_t n_x = (size_t)(c->n_rows * c->C), n_y = (size_t)(c->n_rows * c->ld_y);
	float *x = ops_normal(t, n_x), *y = ops_normal(t, n_y), *weight = weights(t, c->n_rows);
	float *loss = ops_floats(t, (size_t)c->n_rows), *before = c->accumulate ? ops_normal(t, n_x) : NULL;
	float *dx = before ? ops_copy(t, before, n_x) : ops_floats(t, n_x);
	struct hidden_reference r = {.c = c, .weight = weight, .columns = kept_columns(t, c), .x = ops_doubles(t, x, n_x),
				     .y = ops_doubles(t, y, n_y), .loss = ops_doubles(t, NULL, (size_t)c->n_rows)};
	double *want = ops_differences(t, loss_of, &r, r.x, n_x, before);
	if (!before)
		for (size_t i = 0; i < n_x; i++)
			want[i] = c->n_rows > 1 && i / (size_t)c->C == 1 ? 0 : want[i];
	spoil_row(x, c->n_rows, c->C);
	spoil_row(y, c->n_rows, c->ld_y);
	const struct hidden_rows a = {.kind = c->kind, .n_rows = c->n_rows, .C = c->C, .x = x, .y = y, .x_type = DTYPE_F32,
				      .ld_y = c->ld_y, .columns = r.columns, .weight = weight, .scale = c->scale, .loss = loss,
				      .dx = c->gradient ? dx : NULL, .accumulate = c->accumulate};
	t->ops->hidden_rows(t->ops, &a);
	OPS_CHECK(t, loss, r.loss, (size_t)c->n_rows);
	if (c->gradient && (c->kind == HIDDEN_MSE || c->C > 1)) /* a cosine of one column has no slope: the reference is noise */
		OPS_CHECK(t, dx, want, n_x);
}

static void distances_and_gradients(void **state)
{
	(void)state;
	OPS_CASES(hidden, CASES);
}

enum { EDGE_C = 20 };

static float edge(struct ops *ops, enum hidden_distance kind, const float *x, const float *y, float *dx)
{
	float loss, one = 1;
	ops->hidden_rows(ops, &(struct hidden_rows){.kind = kind, .n_rows = 1, .C = EDGE_C, .x = x, .y = y, .x_type = DTYPE_F32,
						    .ld_y = EDGE_C, .weight = &one, .scale = 1, .loss = &loss, .dx = dx});
	return loss;
}

static void no_gradient(const float *dx, float tolerance)
{
	for (int i = 0; i < EDGE_C; i++)
		assert_close(dx[i], 0, tolerance, 0);
}

/* Rows of zeros, equal rows, opposite rows, sizes whose squares leave fp32. */
static void edges(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	float zero[EDGE_C] = {0}, x[EDGE_C], opposite[EDGE_C], huge[EDGE_C], tiny[EDGE_C], dx[EDGE_C];
	for (int i = 0; i < EDGE_C; i++) {
		x[i] = rng_normal(1, RNG_TEST, 0, (uint64_t)i);
		opposite[i] = -2 * x[i];
		huge[i] = x[i] * 1e30f;
		tiny[i] = x[i] * 1e-30f;
	}
	assert_true(edge(ops, HIDDEN_COSINE, zero, x, dx) == 1);
	no_gradient(dx, 0);
	assert_true(edge(ops, HIDDEN_COSINE, x, zero, dx) == 1);
	no_gradient(dx, 0);
	assert_true(edge(ops, HIDDEN_COSINE, zero, zero, dx) == 1);
	assert_true(edge(ops, HIDDEN_MSE, x, x, dx) == 0);
	no_gradient(dx, 0);
	assert_close(edge(ops, HIDDEN_COSINE, x, x, dx), 0, 1e-15, 0);
	no_gradient(dx, 1e-15f);
	assert_close(edge(ops, HIDDEN_COSINE, x, opposite, dx), 2, 0, 1e-7);
	assert_close(edge(ops, HIDDEN_COSINE, huge, x, dx), 0, 1e-12, 0);
	assert_close(edge(ops, HIDDEN_COSINE, tiny, x, dx), 0, 1e-12, 0);
	x[3] = NAN;
	assert_true(isnan(edge(ops, HIDDEN_COSINE, x, opposite, NULL)));
	ops_cpu_close(ops);
}

/* bf16 rows are what they widen to, and the gradient is rounded once. */
static void bf16_rows(void **state)
{
	(void)state;
	enum { C = 700 };
	struct ops *ops = ops_for_test(1, false);
	static float x[C], y[C], want[C], before[C];
	static uint16_t x16[C], got[C];
	float one = 1, loss, loss16;
	for (int i = 0; i < C; i++) {
		x16[i] = bf16_from_f32(rng_normal(2, RNG_TEST, 0, (uint64_t)i));
		got[i] = bf16_from_f32(rng_normal(4, RNG_TEST, 0, (uint64_t)i));
		x[i] = bf16_to_f32(x16[i]);
		want[i] = before[i] = bf16_to_f32(got[i]);
		y[i] = rng_normal(3, RNG_TEST, 0, (uint64_t)i);
	}
	struct hidden_rows a = {.kind = HIDDEN_COSINE, .n_rows = 1, .C = C, .x = x, .y = y, .x_type = DTYPE_F32, .ld_y = C,
				.weight = &one, .scale = 100, .loss = &loss, .dx = want, .accumulate = true};
	ops->hidden_rows(ops, &a);
	a.x = x16;
	a.x_type = DTYPE_BF16;
	a.loss = &loss16;
	a.dx = got;
	ops->hidden_rows(ops, &a);
	assert_true(loss == loss16);
	int moved = 0;
	for (int i = 0; i < C; i++) {
		assert_int_equal(got[i], bf16_from_f32(want[i]));
		moved += bf16_to_f32(got[i]) != before[i];
	}
	assert_true(moved > C / 2);
	ops_cpu_close(ops);
}

struct scale_case {
	int n_rows, C, ld_x, ld_y;
	enum dtype x_type, y_type;
	bool accumulate;
};
static const struct scale_case SCALES[] = {
	{1, 1, 1, 1, DTYPE_F32, DTYPE_F32, false},      {3, 37, 40, 37, DTYPE_F32, DTYPE_F32, true},
	{37, 3, 3, 7, DTYPE_F32, DTYPE_BF16, false},    {129, 600, 600, 601, DTYPE_BF16, DTYPE_F32, true},
	{5, 129, 130, 131, DTYPE_BF16, DTYPE_BF16, true}, {1, 1100, 1100, 1100, DTYPE_F32, DTYPE_F32, true},
};

/* n normal numbers as `type`, exact in bf16, and as floats. */
static void *draw(struct ops_case *t, size_t n, enum dtype type, float **as_float)
{
	float *x = ops_normal(t, n);
	for (size_t i = 0; i < n; i++)
		x[i] = bf16_to_f32(bf16_from_f32(x[i]));
	*as_float = x;
	void *p = ops_bytes(t, n * dtype_size(type));
	dtype_convert(p, type, x, DTYPE_F32, n);
	return p;
}

static void scale(struct ops_case *t, const void *of)
{
	const struct scale_case *c = of;
	size_t n_x = (size_t)(c->n_rows * c->ld_x), n_y = (size_t)(c->n_rows * c->ld_y);
	float *x, *y;
	void *from = draw(t, n_x, c->x_type, &x), *to = draw(t, n_y, c->y_type, &y);
	double *want = ops_doubles(t, y, n_y); /* what lies between the rows stays */
	for (int r = 0; r < c->n_rows; r++)
		for (int i = 0; i < c->C; i++) {
			double *w = want + r * c->ld_y + i;
			*w = -0.75 * (double)x[r * c->ld_x + i] + (c->accumulate ? *w : 0);
			if (c->y_type == DTYPE_BF16)
				*w = (double)bf16_to_f32(bf16_from_f32((float)*w));
		}
	t->ops->scale_rows(t->ops, &(struct scale_rows){.n_rows = c->n_rows, .C = c->C, .factor = -0.75f, .x = from,
							.x_type = c->x_type, .ld_x = c->ld_x, .y = to, .y_type = c->y_type,
							.ld_y = c->ld_y, .accumulate = c->accumulate});
	dtype_convert(y, DTYPE_F32, to, c->y_type, n_y);
	OPS_CHECK(t, y, want, n_y);
}

static void scaled_rows(void **state)
{
	(void)state;
	OPS_CASES(scale, SCALES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(distances_and_gradients),
		cmocka_unit_test(edges),
		cmocka_unit_test(bf16_rows),
		cmocka_unit_test(scaled_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

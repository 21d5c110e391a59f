/* Entries that work row by row: embedding, norms, residual, rotary, gated unit; each against a double-precision
 * reference, backward against finite differences of it. The others: test_ops_matmul.c, test_ops_attention.c,
 * test_ops_loss.c, test_ops_update.c */
#include "tests/ops_testing.h"

struct row_case {
	int N, C;
	enum mask_kind mask;
	bool layer; /* a layer mask too */
};
static const struct row_case ROWS[] = {
	{1, 1, MASK_NONE, false},  {1, 3, MASK_SOFT, false},   {3, 37, MASK_NONE, false},  {3, 37, MASK_HOLES, true},
	{37, 16, MASK_SOFT, true}, {5, 129, MASK_NONE, false}, {5, 129, MASK_HOLES, false}, {129, 3, MASK_SOFT, true},
};

/* ---- embedding ---- */

static void run_embed(struct ops_case *t, const struct row_case *c, enum dtype type)
{
	size_t V = 7, N = (size_t)c->N, C = (size_t)c->C;
	float *table = ops_normal(t, V * C), *z = ops_mask(t, c->mask, C), *x = ops_floats(t, N * C);
	void *stored = ops_bytes(t, V * C * dtype_size(type));
	dtype_convert(stored, type, table, DTYPE_F32, V * C);
	dtype_convert(table, DTYPE_F32, stored, type, V * C);
	int32_t *tokens = ops_indices(t, N, (uint32_t)V);
	t->ops->embed_forward(t->ops, &(struct embed_forward){c->N, c->C, (int)V, tokens, stored, type, z, x});
	float *dx = ops_normal(t, N * C), *before = ops_normal(t, V * C), *dz_before = ops_normal(t, C);
	float *dtable = ops_copy(t, before, V * C), *dz = z ? ops_copy(t, dz_before, C) : NULL;
	t->ops->embed_backward(t->ops, &(struct embed_backward){c->N, c->C, (int)V, tokens, stored, type, z, dx, dtable, dz});
	double *want = ops_doubles(t, x, N * C), *want_table = ops_doubles(t, before, V * C), *want_z = ops_doubles(t, dz_before, C);
	for (size_t i = 0; i < N * C; i++) {
		size_t at = (size_t)tokens[i / C] * C + i % C;
		double mask = z ? (double)z[i % C] : 1.0;
		want[i] = (double)table[at] * mask;
		want_table[at] += mask * (double)dx[i];
		want_z[i % C] += (double)dx[i] * (double)table[at];
	}
	OPS_CHECK(t, x, want, N * C);
	OPS_CHECK(t, dtable, want_table, V * C);
	if (dz)
		OPS_CHECK(t, dz, want_z, C);
}
static void run_embed_f32(struct ops_case *t, const void *c)
{
	run_embed(t, c, DTYPE_F32);
}
static void run_embed_bf16(struct ops_case *t, const void *c)
{
	run_embed(t, c, DTYPE_BF16);
}
static void run_embed_f16(struct ops_case *t, const void *c)
{
	run_embed(t, c, DTYPE_F16);
}
static void test_embed(void **state)
{
	(void)state;
	OPS_CASES(run_embed_f32, ROWS);
	OPS_CASES(run_embed_bf16, ROWS);
	OPS_CASES(run_embed_f16, ROWS);
}

/* ---- norm ---- */

#define EPS 0.1 /* large: with few columns the gradient would otherwise be all cancellation */

struct norm_reference {
	int N, C;
	const bool *live; /* z's zeros, fixed while z is varied */
	double *sum, *w, *z, *dh, *h, *rstd;
};

static double norm_loss(const void *context)
{
	const struct norm_reference *r = context;
	double loss = 0;
	for (int n = 0; n < r->N; n++) {
		double squares = 0, live = 0;
		const double *x = r->sum + n * r->C;
		for (int i = 0; i < r->C; i++)
			if (r->live[i]) {
				squares += x[i] * x[i];
				live++;
			}
		r->rstd[n] = 1 / sqrt(squares / live + EPS);
		for (int i = 0; i < r->C; i++) {
			r->h[n * r->C + i] = r->w[i] * r->z[i] * x[i] * r->rstd[n];
			loss += r->h[n * r->C + i] * r->dh[n * r->C + i];
		}
	}
	return loss;
}

static void run_norm_forward(struct ops_case *t, const struct row_case *c, bool residual, bool in_place, const bool *live)
{
	size_t N = (size_t)c->N, C = (size_t)c->C;
	float *x = ops_normal(t, N * C), *y = residual ? ops_normal(t, N * C) : NULL, *w = ops_normal(t, C);
	float *z = ops_mask(t, c->mask, C), *z_layer = c->layer ? ops_mask(t, MASK_SOFT, 1) : NULL;
	double *sum = ops_doubles(t, x, N * C), *ones = ops_doubles(t, NULL, N * C);
	for (size_t i = 0; residual && i < N * C; i++)
		sum[i] += (double)y[i] * (z ? (double)z[i % C] : 1.0) * (z_layer ? (double)*z_layer : 1.0);
	struct norm_reference r = {c->N, c->C, live, sum, ops_doubles(t, w, C), ops_doubles(t, z, C), ones,
				   ops_doubles(t, x, N * C), ops_doubles(t, NULL, N)};
	norm_loss(&r);
	float *h = ops_floats(t, N * C), *rstd = ops_floats(t, N), *out = in_place ? x : ops_floats(t, N * C);
	t->ops->norm_forward(t->ops, &(struct norm_forward){.N = c->N, .C = c->C, .eps = (float)EPS, .x = x, .y = y, .z = z,
							    .z_layer = z_layer, .w = w, .sum = residual ? out : NULL, .h = h,
							    .rstd = rstd});
	if (residual)
		OPS_CHECK(t, out, sum, N * C);
	OPS_CHECK(t, h, r.h, N * C);
	OPS_CHECK(t, rstd, r.rstd, N);
}

static void run_norm_backward(struct ops_case *t, const struct row_case *c, bool first, const bool *live)
{
	size_t N = (size_t)c->N, C = (size_t)c->C;
	float *sum = ops_normal(t, N * C), *w = ops_normal(t, C), *z = ops_mask(t, c->mask, C), *dh = ops_normal(t, N * C);
	float *before = ops_normal(t, N * C), *dsum = first ? ops_floats(t, N * C) : ops_copy(t, before, N * C);
	float *dw_before = ops_normal(t, C), *dw = ops_copy(t, dw_before, C), *dz = z ? ops_copy(t, dw_before, C) : NULL;
	struct norm_reference r = {c->N, c->C, live, ops_doubles(t, sum, N * C), ops_doubles(t, w, C), ops_doubles(t, z, C),
				   ops_doubles(t, dh, N * C), ops_doubles(t, sum, N * C), ops_doubles(t, NULL, N)};
	norm_loss(&r);
	float *rstd = ops_floats(t, N);
	for (size_t n = 0; n < N; n++)
		rstd[n] = (float)r.rstd[n];
	t->ops->norm_backward(t->ops, &(struct norm_backward){.N = c->N, .C = c->C, .dh = dh, .sum = sum, .rstd = rstd, .w = w,
							      .z = z, .dsum = dsum, .first = first, .dw = dw, .dz = dz});
	OPS_CHECK(t, dsum, ops_differences(t, norm_loss, &r, r.sum, N * C, first ? NULL : before), N * C);
	OPS_CHECK(t, dw, ops_differences(t, norm_loss, &r, r.w, C, dw_before), C);
	if (dz)
		OPS_CHECK(t, dz, ops_differences(t, norm_loss, &r, r.z, C, dw_before), C);
}

static void run_norm(struct ops_case *t, const void *given)
{
	const struct row_case *c = given;
	bool live[256];
	for (int i = 0; i < c->C; i++)
		live[i] = !(c->mask == MASK_HOLES && i % 3 == 1);
	run_norm_forward(t, c, false, false, live);
	run_norm_forward(t, c, true, false, live);
	run_norm_forward(t, c, true, true, live);
	run_norm_backward(t, c, true, live);
	run_norm_backward(t, c, false, live);
}
static void test_norm(void **state)
{
	(void)state;
	OPS_CASES(run_norm, ROWS);
}

static void run_residual(struct ops_case *t, const void *given)
{
	const struct row_case *c = given;
	size_t N = (size_t)c->N, C = (size_t)c->C;
	float *dsum = ops_normal(t, N * C), *y = ops_normal(t, N * C), *z = ops_mask(t, c->mask, C);
	float *z_layer = c->layer ? ops_mask(t, MASK_SOFT, 1) : NULL, *dy = z || z_layer ? ops_floats(t, N * C) : NULL;
	float *before = ops_normal(t, C), *dz = z ? ops_copy(t, before, C) : NULL, *dz_layer = z_layer ? ops_copy(t, before, 1) : NULL;
	t->ops->residual_backward(t->ops, &(struct residual_backward){.N = c->N, .C = c->C, .dsum = dsum, .y = dz || dz_layer ? y : NULL,
								      .z = z, .z_layer = z_layer, .dy = dy, .dz = dz,
								      .dz_layer = dz_layer});
	double *want_y = ops_doubles(t, dsum, N * C), *want_z = ops_doubles(t, before, C), want_layer = (double)before[0];
	for (size_t i = 0; i < N * C; i++) {
		double layer = z_layer ? (double)*z_layer : 1.0, mask = z ? (double)z[i % C] : 1.0, both = (double)dsum[i] * (double)y[i];
		want_y[i] *= mask * layer;
		want_z[i % C] += layer * both;
		want_layer += mask * both;
	}
	if (dy)
		OPS_CHECK(t, dy, want_y, N * C);
	if (dz)
		OPS_CHECK(t, dz, want_z, C);
	if (dz_layer)
		assert_close(*dz_layer, want_layer, 1e-4, 1e-4);
}
static void test_residual(void **state)
{
	(void)state;
	OPS_CASES(run_residual, ROWS);
}

static void run_bias(struct ops_case *t, const void *given)
{
	const struct row_case *c = given;
	size_t N = (size_t)c->N, C = (size_t)c->C;
	float *dy = ops_normal(t, N * C), *before = ops_normal(t, C), *db = ops_copy(t, before, C);
	double *want = ops_doubles(t, before, C);
	for (size_t i = 0; i < N * C; i++)
		want[i % C] += (double)dy[i];
	t->ops->bias_backward(t->ops, db, dy, c->N, c->C);
	OPS_CHECK(t, db, want, C);
}
static void test_bias(void **state)
{
	(void)state;
	OPS_CASES(run_bias, ROWS);
}

/* ---- gated unit ---- */

struct swiglu_reference {
	int N, F;
	double *gu, *z, *da, *a;
};

static double swiglu_loss(const void *context)
{
	const struct swiglu_reference *r = context;
	double loss = 0;
	for (int n = 0; n < r->N; n++)
		for (int i = 0; i < r->F; i++) {
			double g = r->gu[n * 2 * r->F + i], u = r->gu[n * 2 * r->F + r->F + i];
			r->a[n * r->F + i] = g / (1 + exp(-g)) * u * r->z[i];
			loss += r->a[n * r->F + i] * r->da[n * r->F + i];
		}
	return loss;
}

static void run_swiglu(struct ops_case *t, const void *given)
{
	const struct row_case *c = given;
	size_t N = (size_t)c->N, F = (size_t)c->C;
	float *gu = ops_normal(t, N * 2 * F), *z = ops_mask(t, c->mask, F), *a = ops_floats(t, N * F), *da = ops_normal(t, N * F);
	float *dgu = ops_floats(t, N * 2 * F), *before = ops_normal(t, F), *dz = z ? ops_copy(t, before, F) : NULL;
	struct swiglu_reference r = {c->N, c->C, ops_doubles(t, gu, N * 2 * F), ops_doubles(t, z, F), ops_doubles(t, da, N * F),
				     ops_doubles(t, da, N * F)};
	swiglu_loss(&r);
	t->ops->swiglu_forward(t->ops, &(struct swiglu_forward){c->N, c->C, gu, z, a});
	OPS_CHECK(t, a, r.a, N * F);
	double *want = ops_differences(t, swiglu_loss, &r, r.gu, N * 2 * F, NULL);
	t->ops->swiglu_backward(t->ops, &(struct swiglu_backward){c->N, c->C, gu, da, z, dgu, dz});
	OPS_CHECK(t, dgu, want, N * 2 * F);
	if (dz)
		OPS_CHECK(t, dz, ops_differences(t, swiglu_loss, &r, r.z, F, before), F);
	t->ops->swiglu_backward(t->ops, &(struct swiglu_backward){c->N, c->C, gu, da, z, gu, dz}); /* in place */
	OPS_CHECK(t, gu, want, N * 2 * F);
}
static void test_swiglu(void **state)
{
	(void)state;
	OPS_CASES(run_swiglu, ROWS);
}

/* Far out, the gate is 0 or the identity and nothing overflows. */
static void test_swiglu_extremes(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	float gu[12] = {-1e4f, -100, -30, 30, 100, 1e4f, 1, 1, 1, 1, 1, 1}, a[6], da[6] = {1, 1, 1, 1, 1, 1}, dgu[12];
	ops->swiglu_forward(ops, &(struct swiglu_forward){1, 6, gu, NULL, a});
	ops->swiglu_backward(ops, &(struct swiglu_backward){1, 6, gu, da, NULL, dgu, NULL});
	for (int i = 0; i < 6; i++) {
		assert_close(a[i], gu[i] > 0 ? gu[i] : 0, 1e-10, 1e-6);
		assert_close(dgu[i], gu[i] > 0 ? 1 : 0, 1e-10, 1e-6);
	}
	ops_cpu_close(ops);
}

/* ---- rotary and q/k norm ---- */

struct qk_case {
	int N, NH, NKV, HD;
	bool norm;
};
static const struct qk_case QK[] = {
	{1, 1, 1, 2, false}, {3, 4, 2, 6, false}, {37, 2, 2, 16, false}, {5, 6, 1, 48, false}, {3, 3, 1, 74, false},
	{1, 1, 1, 2, true},  {3, 4, 2, 6, true},  {17, 2, 2, 16, true},  {2, 6, 1, 48, true},
};

struct qk_reference {
	const struct qk_case *c;
	const int32_t *pos;
	const float *cos, *sin;
	double *src, *q_norm, *k_norm, *dst, *ddst;
};

static void rotate_reference(const struct qk_reference *r, int n, const double *x, double *y)
{
	int half = r->c->HD / 2;
	for (int i = 0; i < half; i++) {
		double co = (double)r->cos[r->pos[n] * half + i], si = (double)r->sin[r->pos[n] * half + i];
		y[i] = x[i] * co - x[i + half] * si;
		y[i + half] = x[i + half] * co + x[i] * si;
	}
}

static double qk_loss(const void *context)
{
	const struct qk_reference *r = context;
	int HD = r->c->HD, heads = r->c->NH + 2 * r->c->NKV;
	double loss = 0, x[128];
	for (int h = 0; h < r->c->N * heads; h++) {
		const double *src = r->src + h * HD;
		double *dst = r->dst + h * HD, squares = 0;
		const double *w = h % heads < r->c->NH ? r->q_norm : r->k_norm;
		bool value = h % heads >= r->c->NH + r->c->NKV;
		for (int i = 0; i < HD; i++)
			squares += src[i] * src[i];
		double rstd = r->c->norm && !value ? 1 / sqrt(squares / HD + EPS) : 1;
		for (int i = 0; i < HD; i++)
			x[i] = dst[i] = src[i] * rstd * (value ? 1 : w[i]);
		if (!value)
			rotate_reference(r, h / heads, x, dst);
		for (int i = 0; i < HD; i++)
			loss += dst[i] * r->ddst[h * HD + i];
	}
	return loss;
}

static void run_qk(struct ops_case *t, const void *given)
{
	const struct qk_case *c = given;
	size_t HD = (size_t)c->HD, heads = (size_t)(c->NH + 2 * c->NKV), n = (size_t)c->N * heads * HD, half = HD / 2;
	float *src = ops_normal(t, n), *cos_table = ops_normal(t, 11 * half), *sin_table = ops_normal(t, 11 * half);
	float *q_norm = c->norm ? ops_normal(t, HD) : NULL, *k_norm = c->norm ? ops_normal(t, HD) : NULL, *ddst = ops_normal(t, n);
	int32_t *pos = ops_indices(t, (size_t)c->N, 11);
	struct qk_reference r = {c, pos, cos_table, sin_table, ops_doubles(t, src, n), ops_doubles(t, q_norm, HD),
				 ops_doubles(t, k_norm, HD), ops_doubles(t, src, n), ops_doubles(t, ddst, n)};
	qk_loss(&r);
	float *dst = ops_floats(t, n), *rstd = ops_floats(t, (size_t)(c->N * (c->NH + c->NKV))), *before = ops_normal(t, HD);
	struct qk_forward f = {c->N, c->NH, c->NKV, c->HD, src, dst, pos, cos_table, sin_table, q_norm, k_norm, (float)EPS, rstd};
	t->ops->qk_forward(t->ops, &f);
	OPS_CHECK(t, dst, r.dst, n);
	float *dq_norm = ops_copy(t, before, HD), *dk_norm = ops_copy(t, before, HD);
	t->ops->qk_backward(t->ops, &(struct qk_backward){c->N, c->NH, c->NKV, c->HD, c->norm ? src : NULL, ddst, pos, cos_table,
							  sin_table, q_norm, k_norm, rstd, dq_norm, dk_norm});
	OPS_CHECK(t, ddst, ops_differences(t, qk_loss, &r, r.src, n, NULL), n);
	if (c->norm) {
		OPS_CHECK(t, dq_norm, ops_differences(t, qk_loss, &r, r.q_norm, HD, before), HD);
		OPS_CHECK(t, dk_norm, ops_differences(t, qk_loss, &r, r.k_norm, HD, before), HD);
	} else { /* in place */
		f.dst = src;
		t->ops->qk_forward(t->ops, &f);
		qk_loss(&r);
		OPS_CHECK(t, src, r.dst, n);
	}
}
static void test_qk(void **state)
{
	(void)state;
	OPS_CASES(run_qk, QK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_embed),  cmocka_unit_test(test_norm),   cmocka_unit_test(test_residual),
		cmocka_unit_test(test_bias),   cmocka_unit_test(test_swiglu), cmocka_unit_test(test_swiglu_extremes),
		cmocka_unit_test(test_qk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

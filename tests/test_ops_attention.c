/* Attention against a plain double-precision softmax: shapes, groups, windows, packed documents, head masks, a cache; gradients
 * against finite differences where that is affordable, and against the analytic double gradient everywhere. */
#include "tests/ops_testing.h"

struct attention_case {
	int B, T, NH, NKV, HD, window;
	int document; /* length of the packed documents; 0: one per sequence */
	enum mask_kind mask;
	float spread; /* of the inputs; large: saturated softmax */
};
static const struct attention_case CASES[] = {
	{1, 1, 1, 1, 1, 0, 0, MASK_NONE, 1},     {2, 3, 2, 1, 6, 0, 0, MASK_NONE, 1},     {1, 37, 2, 2, 16, 0, 0, MASK_SOFT, 1},
	{2, 37, 4, 2, 5, 8, 0, MASK_NONE, 1},    {1, 37, 6, 1, 20, 0, 10, MASK_HOLES, 1}, {1, 129, 3, 3, 17, 0, 0, MASK_NONE, 1},
	{1, 129, 2, 1, 48, 1, 0, MASK_NONE, 1},  {2, 129, 4, 2, 33, 40, 50, MASK_HOLES, 1}, {1, 300, 2, 1, 64, 0, 0, MASK_NONE, 1},
	{1, 200, 2, 2, 48, 0, 7, MASK_NONE, 6},  {1, 65, 1, 1, 256, 0, 0, MASK_NONE, 1},  {1, 270, 2, 1, 32, 100, 90, MASK_SOFT, 1},
};

struct attention_reference {
	const struct attention_case *c;
	const int32_t *start;
	double scale;
	double *qkv, *z, *out, *lse, *dout; /* dout: (N, NH*HD) */
	double *dqkv, *dz;                  /* analytic, written when not NULL */
};

static int first_key(const struct attention_reference *r, int b, int i)
{
	int low = r->start[b * r->c->T + i], window = r->c->window;
	return window && i - window + 1 > low ? i - window + 1 : low;
}

/* One query: probabilities into p, output, lse; returns its part of the loss. */
static double query_forward(const struct attention_reference *r, int b, int h, int i, double *p)
{
	const struct attention_case *c = r->c;
	int Q = (c->NH + 2 * c->NKV) * c->HD, kv = h / (c->NH / c->NKV), n = b * c->T + i, low = first_key(r, b, i);
	const double *q = r->qkv + n * Q + h * c->HD, *k = r->qkv + b * c->T * Q + (c->NH + kv) * c->HD, *v = k + c->NKV * c->HD;
	double max = -INFINITY, sum = 0, loss = 0, *out = r->out + (n * c->NH + h) * c->HD;
	for (int j = low; j <= i; j++) {
		p[j] = 0;
		for (int d = 0; d < c->HD; d++)
			p[j] += r->scale * q[d] * k[j * Q + d];
		max = p[j] > max ? p[j] : max;
	}
	for (int j = low; j <= i; j++)
		sum += exp(p[j] - max);
	r->lse[n * c->NH + h] = max + log(sum);
	for (int d = 0; d < c->HD; d++)
		out[d] = 0;
	for (int j = low; j <= i; j++) {
		p[j] = exp(p[j] - max) / sum;
		for (int d = 0; d < c->HD; d++)
			out[d] += r->z[h] * p[j] * v[j * Q + d];
	}
	for (int d = 0; d < c->HD; d++)
		loss += out[d] * r->dout[(n * c->NH + h) * c->HD + d];
	return loss;
}

static void query_backward(const struct attention_reference *r, int b, int h, int i, const double *p)
{
	const struct attention_case *c = r->c;
	int Q = (c->NH + 2 * c->NKV) * c->HD, kv = h / (c->NH / c->NKV), n = b * c->T + i, low = first_key(r, b, i);
	int at_q = n * Q + h * c->HD, at_k = b * c->T * Q + (c->NH + kv) * c->HD, at_v = at_k + c->NKV * c->HD;
	const double *dout = r->dout + (n * c->NH + h) * c->HD;
	double mean = 0, dp[512];
	for (int j = low; j <= i; j++) {
		dp[j] = 0;
		for (int d = 0; d < c->HD; d++) {
			dp[j] += dout[d] * r->qkv[at_v + j * Q + d];
			r->dqkv[at_v + j * Q + d] += r->z[h] * p[j] * dout[d];
		}
		mean += p[j] * dp[j];
	}
	r->dz[h] += r->z[h] != 0 ? mean : 0;
	for (int j = low; j <= i; j++)
		for (int d = 0; d < c->HD; d++) {
			double ds = r->z[h] * p[j] * (dp[j] - mean) * r->scale;
			r->dqkv[at_q + d] += ds * r->qkv[at_k + j * Q + d];
			r->dqkv[at_k + j * Q + d] += ds * r->qkv[at_q + d];
		}
}

static double attention_loss(const void *context)
{
	const struct attention_reference *r = context;
	double loss = 0, p[512];
	for (int b = 0; b < r->c->B; b++)
		for (int h = 0; h < r->c->NH; h++)
			for (int i = 0; i < r->c->T; i++) {
				loss += query_forward(r, b, h, i, p);
				if (r->dqkv)
					query_backward(r, b, h, i, p);
			}
	return loss;
}

static int32_t *document_starts(struct ops_case *t, const struct attention_case *c)
{
	int32_t *start = ops_bytes(t, (size_t)(c->B * c->T) * sizeof *start);
	for (int n = 0; n < c->B * c->T; n++)
		start[n] = c->document ? n % c->T / c->document * c->document : 0;
	return start;
}

/* The analytic double gradient is itself checked by finite differences on the small cases. */
static void check_reference(struct ops_case *t, struct attention_reference *r, size_t n_qkv)
{
	double *dqkv = r->dqkv;
	if (n_qkv * (size_t)(r->c->T * r->c->T * r->c->HD) > 60000000)
		return;
	r->dqkv = NULL;
	double *want = ops_differences(t, attention_loss, r, r->qkv, n_qkv, NULL);
	r->dqkv = dqkv;
	for (size_t i = 0; i < n_qkv; i++)
		assert_close(dqkv[i], want[i], 1e-6, 1e-6);
}

static void run_attention(struct ops_case *t, const void *given)
{
	const struct attention_case *c = given;
	size_t N = (size_t)(c->B * c->T), NH = (size_t)c->NH, HD = (size_t)c->HD;
	size_t n_qkv = N * (NH + 2 * (size_t)c->NKV) * HD, n_out = N * NH * HD;
	float *qkv = ops_normal(t, n_qkv), *z = ops_mask(t, c->mask, NH), *dout = ops_normal(t, n_out), scale = 1 / sqrtf((float)HD);
	for (size_t i = 0; i < n_qkv; i++)
		qkv[i] *= c->spread;
	int32_t *start = document_starts(t, c);
	struct attention_reference r = {c, start, (double)scale, ops_doubles(t, qkv, n_qkv), ops_doubles(t, z, NH),
					ops_doubles(t, dout, n_out), ops_doubles(t, dout, N * NH), ops_doubles(t, dout, n_out),
					ops_doubles(t, ops_zeros(t, n_qkv), n_qkv), ops_doubles(t, ops_zeros(t, NH), NH)};
	attention_loss(&r);
	if (t->ops->n_threads == 1 && c->spread == 1)
		check_reference(t, &r, n_qkv);
	float *out = ops_floats(t, n_out), *lse = ops_floats(t, N * NH), *dqkv = ops_floats(t, n_qkv);
	t->ops->attention_forward(t->ops, &(struct attention_forward){c->B, c->T, c->NH, c->NKV, c->HD, c->window, scale, qkv, start,
								      z, out, lse, NULL, 0, 0});
	OPS_CHECK(t, out, r.out, n_out);
	OPS_CHECK(t, lse, r.lse, N * NH);
	float *scratch = ops_bytes(t, t->ops->attention_scratch(t->ops, c->B, c->T, c->NH, c->NKV, c->HD));
	float *before = ops_normal(t, NH), *dz = z ? ops_copy(t, before, NH) : NULL;
	t->ops->attention_backward(t->ops, &(struct attention_backward){c->B, c->T, c->NH, c->NKV, c->HD, c->window, scale, qkv, out,
									dout, start, z, lse, dqkv, dz, scratch});
	OPS_CHECK(t, dqkv, r.dqkv, n_qkv);
	for (size_t h = 0; h < NH; h++)
		r.dz[h] += (double)before[h];
	if (dz)
		OPS_CHECK(t, dz, r.dz, NH);
}

static void test_attention(void **state)
{
	(void)state;
	OPS_CASES(run_attention, CASES);
}

/* ---- with a cache: the last T rows of whole sequences ---- */

struct cached_case {
	struct attention_case whole; /* T: positions held once the new rows are in */
	int T, positions;
};
static const struct cached_case CACHED[] = {
	{{1, 1, 1, 1, 2, 0, 0, MASK_NONE, 1}, 1, 1},      {{2, 37, 4, 2, 6, 0, 0, MASK_NONE, 1}, 1, 37},
	{{3, 129, 6, 3, 17, 0, 0, MASK_SOFT, 1}, 1, 140}, {{2, 129, 4, 1, 64, 40, 0, MASK_NONE, 1}, 1, 129},
	{{1, 300, 2, 2, 48, 0, 70, MASK_HOLES, 1}, 1, 512}, {{1, 200, 2, 1, 256, 1, 0, MASK_NONE, 1}, 1, 200},
	{{1, 260, 4, 2, 48, 0, 0, MASK_NONE, 6}, 1, 260}, {{2, 37, 4, 2, 5, 8, 0, MASK_NONE, 1}, 3, 40},
	{{2, 129, 6, 2, 33, 0, 0, MASK_SOFT, 1}, 37, 130}, {{1, 270, 2, 1, 32, 100, 90, MASK_NONE, 1}, 129, 300},
	{{1, 65, 3, 3, 16, 0, 0, MASK_NONE, 1}, 65, 65},
};

/* Keys and values of the whole sequences as a cache keeps them; what it does not hold yet is NaN. */
static float *cache_of(struct ops_case *t, const struct cached_case *c, const float *qkv)
{
	const struct attention_case *w = &c->whole;
	size_t width = (size_t)(2 * w->NKV * w->HD), Q = width + (size_t)(w->NH * w->HD);
	float *cache = ops_floats(t, (size_t)(w->B * c->positions) * width);
	for (size_t b = 0; b < (size_t)w->B; b++)
		for (size_t i = 0; i < (size_t)w->T; i++)
			memcpy(cache + (b * (size_t)c->positions + i) * width, qkv + (b * (size_t)w->T + i) * Q + (Q - width), width * sizeof *cache);
	return cache;
}

/* The last T rows of each sequence, `width` bytes each, of `to` from `from`. */
static void last_rows(const struct cached_case *c, void *to, const void *from, size_t width)
{
	size_t T = (size_t)c->T, all = (size_t)c->whole.T;
	for (size_t b = 0; b < (size_t)c->whole.B; b++)
		memcpy((char *)to + b * T * width, (const char *)from + (b * all + all - T) * width, T * width);
}

static void run_cached(struct ops_case *t, const void *given)
{
	const struct cached_case *c = given;
	const struct attention_case *w = &c->whole;
	size_t all = (size_t)(w->B * w->T), N = (size_t)(w->B * c->T), NH = (size_t)w->NH, HD = (size_t)w->HD;
	size_t H = NH * HD, Q = H + 2 * (size_t)w->NKV * HD;
	float *qkv = ops_normal(t, all * Q), *z = ops_mask(t, w->mask, NH), scale = 1 / sqrtf((float)HD);
	for (size_t i = 0; i < all * Q; i++)
		qkv[i] *= w->spread;
	int32_t *start = document_starts(t, w), *new_start = ops_bytes(t, N * sizeof *new_start);
	struct attention_reference r = {.c = w, .start = start, .scale = (double)scale, .qkv = ops_doubles(t, qkv, all * Q),
					.z = ops_doubles(t, z, NH), .dout = ops_doubles(t, NULL, all * H), .lse = ops_doubles(t, NULL, all * NH),
					.out = ops_doubles(t, NULL, all * H)};
	attention_loss(&r);
	float *cache = cache_of(t, c, qkv), *rows = ops_floats(t, N * Q), *out = ops_floats(t, N * H), *lse = ops_floats(t, N * NH);
	double *want_out = ops_doubles(t, NULL, N * H), *want_lse = ops_doubles(t, NULL, N * NH);
	last_rows(c, want_out, r.out, H * sizeof *want_out);
	last_rows(c, want_lse, r.lse, NH * sizeof *want_lse);
	last_rows(c, new_start, start, sizeof *start);
	last_rows(c, rows, qkv, Q * sizeof *qkv);
	for (size_t n = 0; n < N; n++) /* only the queries are read */
		memset(rows + n * Q + H, 0xff, (Q - H) * sizeof *rows);
	t->ops->attention_forward(t->ops, &(struct attention_forward){
		.B = w->B, .T = c->T, .NH = w->NH, .NKV = w->NKV, .HD = w->HD, .window = w->window, .scale = scale, .qkv = rows,
		.start = new_start, .z_heads = z, .out = out, .lse = lse, .cache = cache, .positions = c->positions, .first = w->T - c->T,
	});
	OPS_CHECK(t, out, want_out, N * H);
	OPS_CHECK(t, lse, want_lse, N * NH);
}

static void test_cached(void **state)
{
	(void)state;
	OPS_CASES(run_cached, CACHED);
}

/* A position must not see what comes after it, nor another document, not even a NaN there. */
static void test_isolation(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(2, false);
	struct attention_case c = {1, 70, 1, 1, 16, 0, 0, MASK_NONE, 1};
	struct ops_case t = {.ops = ops};
	float *qkv = ops_normal(&t, 70 * 48), *out = ops_floats(&t, 70 * 16), *again = ops_floats(&t, 70 * 16), *lse = ops_floats(&t, 70);
	int32_t *start = document_starts(&t, &c);
	for (int i = 40; i < 70; i++)
		start[i] = 40;
	struct attention_forward f = {1, 70, 1, 1, 16, 0, 0.25f, qkv, start, NULL, out, lse, NULL, 0, 0};
	ops->attention_forward(ops, &f);
	for (int i = 0; i < 48; i++)
		qkv[39 * 48 + i] = 1e4f;
	f.out = again;
	ops->attention_forward(ops, &f);
	assert_memory_equal(out, again, 39 * 16 * sizeof *out);
	assert_memory_equal(out + 40 * 16, again + 40 * 16, 30 * 16 * sizeof *out);
	assert_memory_not_equal(out + 39 * 16, again + 39 * 16, 16 * sizeof *out);
	qkv[69 * 48] = NAN;
	ops->attention_forward(ops, &f);
	assert_true(isnan(again[69 * 16]));
	assert_memory_equal(out + 40 * 16, again + 40 * 16, 29 * 16 * sizeof *out);
	ops_case_release(&t);
	ops_cpu_close(ops);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_attention), cmocka_unit_test(test_cached), cmocka_unit_test(test_isolation)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

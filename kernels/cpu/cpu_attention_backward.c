/* Attention, backward: probabilities are recomputed from lse. One unit of work is a key-value head of a sequence: its
 * thread adds up dk and dv over the group's query heads and tiles in a fixed order, so that no sum is shared.
 *   P = exp(scale q.k - lse), dV = P^T dO, dP = dO V^T, dS = P (dP - D), D = dO.O, dQ = scale dS K, dK = scale dS^T Q
 * with dO = z dout. Per tile and block of keys: 10*QUERIES*KEYS*HD flops. */
#include "kernels/cpu/cpu_attention.h"
#include "kernels/cpu/cpu_math.h"

struct backward_tile {
	float q[MAX_HD * QUERIES], d_out[MAX_HD * QUERIES]; /* (HD, QUERIES): scaled queries, dO */
	float dq[MAX_HD * QUERIES];                         /* (HD, QUERIES) */
	float q_rows[QUERIES * MAX_HD];                     /* (QUERIES, HDp): the same two, row-major and padded */
	float d_out_rows[QUERIES * MAX_HD];
	float p[KEYS * QUERIES], ds[KEYS * QUERIES];        /* key-major */
	float lse[QUERIES], D[QUERIES];
} __attribute__((aligned(CPU_ALIGN)));

/* The head width as the lanes of dk and dv need it. */
static int padded(int HD)
{
	return (HD + TILE_LANES - 1) / TILE_LANES * TILE_LANES;
}

/* dk and dv of one unit, (T, HDp) each. */
static size_t unit_floats(int T, int HD)
{
	return 2 * (size_t)T * (size_t)padded(HD);
}

static size_t dots_floats(int B, int T, int NH)
{
	return ((size_t)B * (size_t)T * (size_t)NH + 15) / 16 * 16;
}

size_t cpu_attention_scratch(struct ops *o, int B, int T, int NH, int NKV, int HD)
{
	(void)NKV;
	return (dots_floats(B, T, NH) + (size_t)o->n_threads * unit_floats(T, HD)) * sizeof(float);
}

/* t(n, HDp) = scale * x(n, HD), zero elsewhere. */
static void pack_rows(float *t, const float *x, ptrdiff_t ld, int n, int HD, float scale)
{
	int width = padded(HD);
	memset(t, 0, (size_t)(QUERIES * width) * sizeof *t);
	for (int i = 0; i < n; i++)
#pragma omp simd
		for (int d = 0; d < HD; d++)
			t[i * width + d] = scale * x[i * ld + d];
}

static void probabilities(struct backward_tile *t, int n)
{
	for (int j = 0; j < n; j++)
#pragma omp simd
		for (int i = 0; i < QUERIES; i++)
			t->p[j * QUERIES + i] = cpu_exp_low(t->p[j * QUERIES + i] - t->lse[i]);
}

static void score_gradients(struct backward_tile *t, int n)
{
	for (int j = 0; j < n; j++)
#pragma omp simd
		for (int i = 0; i < QUERIES; i++)
			t->ds[j * QUERIES + i] = t->p[j * QUERIES + i] * (t->ds[j * QUERIES + i] - t->D[i]);
}

/* dk, dv (T, HDp) accumulate; t->dq is written. */
static void stream_keys(struct backward_tile *t, const struct tile_range *r, const float *k, const float *v, ptrdiff_t ld, int HD,
			float *dk, float *dv)
{
	int end = r->first + r->n, width = padded(HD);
	for (int key = r->begin; key < end; key += KEYS) {
		int n = end - key < KEYS ? end - key : KEYS;
		const float *kk = k + key * ld, *vv = v + key * ld;
		tile_product(n, QUERIES, HD, (struct tile_operand){kk, ld, 1}, t->q, QUERIES, t->p, QUERIES, false);
		probabilities(t, n);
		if (!tile_is_whole(r, key, n))
			tile_hide(t->p, r, key, n, 0.0f);
		tile_product(n, QUERIES, HD, (struct tile_operand){vv, ld, 1}, t->d_out, QUERIES, t->ds, QUERIES, false);
		score_gradients(t, n);
		tile_product(n, width, QUERIES, (struct tile_operand){t->p, QUERIES, 1}, t->d_out_rows, width,
			     dv + (ptrdiff_t)key * width, width, true);
		tile_product(n, width, QUERIES, (struct tile_operand){t->ds, QUERIES, 1}, t->q_rows, width,
			     dk + (ptrdiff_t)key * width, width, true);
		tile_product(HD, QUERIES, n, (struct tile_operand){kk, 1, ld}, t->ds, QUERIES, t->dq, QUERIES, key > r->begin);
	}
}

struct unit {
	const struct attention_backward *a;
	const float *dots; /* (N, NH): dout . out */
	int b, kv, ld;
	float *dk, *dv;
};

static void load_tile(const struct unit *u, struct backward_tile *t, const struct tile_range *r, int h)
{
	const struct attention_backward *a = u->a;
	size_t row = (size_t)u->b * (size_t)a->T + (size_t)r->first;
	const float *q = (const float *)a->qkv + row * (size_t)u->ld + h * a->HD;
	const float *d_out = (const float *)a->dout + row * (size_t)(a->NH * a->HD) + h * a->HD;
	float z = a->z_heads ? a->z_heads[h] : 1.0f;
	tile_transpose(t->q, q, u->ld, r->n, a->HD, a->scale);
	tile_transpose(t->d_out, d_out, a->NH * a->HD, r->n, a->HD, z);
	pack_rows(t->q_rows, q, u->ld, r->n, a->HD, a->scale);
	pack_rows(t->d_out_rows, d_out, a->NH * a->HD, r->n, a->HD, z);
	for (int i = 0; i < QUERIES; i++) {
		size_t at = (row + (size_t)i) * (size_t)a->NH + (size_t)h;
		t->lse[i] = i < r->n ? a->lse[at] : 0.0f;
		t->D[i] = i < r->n ? u->dots[at] : 0.0f;
	}
}

static void backward_tile(const struct unit *u, int h, int first)
{
	const struct attention_backward *a = u->a;
	struct backward_tile t;
	size_t row = (size_t)u->b * (size_t)a->T;
	const float *k = (const float *)a->qkv + row * (size_t)u->ld + (a->NH + u->kv) * a->HD, *v = k + a->NKV * a->HD;
	struct tile_range r = tile_range_of(a->start + row, a->T, a->window, first, 0);
	load_tile(u, &t, &r, h);
	stream_keys(&t, &r, k, v, u->ld, a->HD, u->dk, u->dv);
	for (int i = 0; i < r.n; i++) {
		float *dq = (float *)a->dqkv + (row + (size_t)(first + i)) * (size_t)u->ld + h * a->HD;
		for (int d = 0; d < a->HD; d++)
			dq[d] = a->scale * t.dq[d * QUERIES + i];
	}
}

static void backward_unit(const struct unit *u)
{
	const struct attention_backward *a = u->a;
	int group = a->NH / a->NKV, width = padded(a->HD);
	memset(u->dk, 0, unit_floats(a->T, a->HD) * sizeof(float));
	for (int h = u->kv * group; h < (u->kv + 1) * group; h++)
		for (int first = 0; first < a->T; first += QUERIES)
			backward_tile(u, h, first);
	for (int i = 0; i < a->T; i++) {
		size_t row = (size_t)u->b * (size_t)a->T + (size_t)i;
		float *dk = (float *)a->dqkv + row * (size_t)u->ld + (a->NH + u->kv) * a->HD;
		memcpy(dk, u->dk + (size_t)i * (size_t)width, (size_t)a->HD * sizeof *dk);
		memcpy(dk + a->NKV * a->HD, u->dv + (size_t)i * (size_t)width, (size_t)a->HD * sizeof *dk);
	}
}

/* dots(n, h) = dout . out over HD. */
static void dots_row(const struct attention_backward *a, float *dots, int n)
{
	for (int h = 0; h < a->NH; h++) {
		size_t at = (size_t)n * (size_t)a->NH + (size_t)h;
		const float *x = (const float *)a->dout + at * (size_t)a->HD, *y = (const float *)a->out + at * (size_t)a->HD;
		float sum = 0;
#pragma omp simd reduction(+ : sum)
		for (int d = 0; d < a->HD; d++)
			sum += x[d] * y[d];
		dots[at] = sum;
	}
}

static void mask_gradient(const struct attention_backward *a, const float *dots)
{
	for (int h = 0; h < a->NH; h++) {
		double sum = 0;
		for (int n = 0; n < a->B * a->T; n++)
			sum += (double)dots[(size_t)n * (size_t)a->NH + (size_t)h];
		if (a->z_heads[h] != 0.0f)
			a->dz_heads[h] += (float)(sum / (double)a->z_heads[h]);
	}
}

void cpu_attention_backward(struct ops *o, const struct attention_backward *a)
{
	BUG_ON(a->HD > MAX_HD || a->NH % a->NKV || a->window < 0);
	int n_units = a->B * a->NKV, N = a->B * a->T;
	float *dots = a->scratch, *space = a->scratch + dots_floats(a->B, a->T, a->NH);
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
	for (int n = 0; n < N; n++)
		dots_row(a, dots, n);
#pragma omp parallel for schedule(static, 1) num_threads(o->n_threads)
	for (int s = 0; s < o->n_threads; s++)
		for (int i = cpu_slot(n_units, o->n_threads, s); i < cpu_slot(n_units, o->n_threads, s + 1); i++) {
			float *dk = space + (size_t)s * unit_floats(a->T, a->HD);
			backward_unit(&(struct unit){.a = a, .dots = dots, .b = i / a->NKV, .kv = i % a->NKV,
						     .ld = (a->NH + 2 * a->NKV) * a->HD, .dk = dk,
						     .dv = dk + unit_floats(a->T, a->HD) / 2});
		}
	if (a->dz_heads)
		mask_gradient(a, dots);
}

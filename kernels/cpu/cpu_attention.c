/* Attention, forward: blocks of keys stream past a tile of queries with an online softmax (Dao 2023). Per tile and block:
 * 4*QUERIES*KEYS*HD flops; keys and values are read once per tile, the T*T matrix never exists. */
#include "kernels/cpu/cpu_attention.h"
#include "kernels/cpu/cpu_math.h"

#include <math.h>

struct forward_tile {
	float q[MAX_HD * QUERIES];  /* (HD, QUERIES), scaled */
	float o[MAX_HD * QUERIES];  /* (HD, QUERIES), not yet divided by sum */
	float s[KEYS * QUERIES];    /* scores, then probabilities, key-major */
	float max[QUERIES], sum[QUERIES], fade[QUERIES];
} __attribute__((aligned(CPU_ALIGN)));

/* Scores of n keys to probabilities relative to the running maximum; fade is what older sums must be multiplied by. */
static void softmax_step(struct forward_tile *t, int n)
{
	float max[QUERIES];
	memcpy(max, t->max, sizeof max);
	for (int j = 0; j < n; j++)
#pragma omp simd
		for (int i = 0; i < QUERIES; i++)
			max[i] = t->s[j * QUERIES + i] > max[i] ? t->s[j * QUERIES + i] : max[i];
	float base[QUERIES], sum[QUERIES];
#pragma omp simd
	for (int i = 0; i < QUERIES; i++) {
		base[i] = max[i] == -INFINITY ? 0.0f : max[i]; /* nothing seen yet */
		t->fade[i] = cpu_exp_low(t->max[i] - base[i]);
		sum[i] = t->sum[i] * t->fade[i];
		t->max[i] = max[i];
	}
	for (int j = 0; j < n; j++)
#pragma omp simd
		for (int i = 0; i < QUERIES; i++) {
			float p = cpu_exp_low(t->s[j * QUERIES + i] - base[i]);
			t->s[j * QUERIES + i] = p;
			sum[i] += p;
		}
	memcpy(t->sum, sum, sizeof sum);
}

static void fade_output(struct forward_tile *t, int HD)
{
	for (int d = 0; d < HD; d++)
#pragma omp simd
		for (int i = 0; i < QUERIES; i++)
			t->o[d * QUERIES + i] *= t->fade[i];
}

/* k, v: position 0 of the sequence for this key-value head, positions ld apart. */
static void stream_keys(struct forward_tile *t, const struct tile_range *r, const float *k, const float *v, ptrdiff_t ld, int HD)
{
	int end = r->first + r->n;
	for (int key = r->begin; key < end; key += KEYS) {
		int n = end - key < KEYS ? end - key : KEYS;
		tile_product(n, QUERIES, HD, (struct tile_operand){k + key * ld, ld, 1}, t->q, QUERIES, t->s, QUERIES, false);
		if (!tile_is_whole(r, key, n))
			tile_hide(t->s, r, key, n, -INFINITY);
		softmax_step(t, n);
		if (key > r->begin)
			fade_output(t, HD);
		tile_product(HD, QUERIES, n, (struct tile_operand){v + key * ld, 1, ld}, t->s, QUERIES, t->o, QUERIES,
			     key > r->begin);
	}
}

/* row: of the tile's first query. */
static void store_output(const struct attention_forward *a, const struct forward_tile *t, int n_rows, size_t row, int h)
{
	float z = a->z_heads ? a->z_heads[h] : 1.0f;
	for (int i = 0; i < n_rows; i++) {
		size_t n = row + (size_t)i;
		float *out = (float *)a->out + n * (size_t)(a->NH * a->HD) + h * a->HD, scale = z / t->sum[i];
		for (int d = 0; d < a->HD; d++)
			out[d] = t->o[d * QUERIES + i] * scale;
		a->lse[n * (size_t)a->NH + (size_t)h] = t->max[i] + logf(t->sum[i]);
	}
}

static void forward_unit(const struct attention_forward *a, int b, int h, int first)
{
	struct forward_tile t;
	int HD = a->HD, ld = (a->NH + 2 * a->NKV) * HD;
	size_t row = (size_t)b * (size_t)a->T;
	struct key_rows keys = key_rows_of(a, b, h);
	struct tile_range r = tile_range_of(a->start + row, a->T, a->window, first, a->cache ? a->first : 0);
	tile_transpose(t.q, (const float *)a->qkv + (row + (size_t)first) * (size_t)ld + h * HD, ld, r.n, HD, a->scale);
	for (int i = 0; i < QUERIES; i++) {
		t.max[i] = -INFINITY;
		t.sum[i] = 0.0f;
	}
	stream_keys(&t, &r, keys.k, keys.v, keys.ld, HD);
	store_output(a, &t, r.n, row + (size_t)first, h);
}

void cpu_attention_forward(struct ops *o, const struct attention_forward *a)
{
	BUG_ON(a->HD > MAX_HD || a->NH % a->NKV || a->window < 0 || (a->cache && (a->first < 0 || a->first + a->T > a->positions)));
	if (a->cache && a->T == 1) {
		cpu_attention_step(o, a);
		return;
	}
#pragma omp parallel for collapse(3) schedule(dynamic) num_threads(o->n_threads)
	for (int b = 0; b < a->B; b++)
		for (int h = 0; h < a->NH; h++)
			for (int first = 0; first < a->T; first += QUERIES)
				forward_unit(a, b, h, first);
}

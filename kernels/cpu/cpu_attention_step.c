/* Attention of one query per sequence over a cache, as decoding asks for it: blocks of keys under an online softmax. A tile of
 * cpu_attention.c would leave all its lanes but one empty; here the lanes run along HD. Keys and values are read once per query
 * head: 8*HD bytes and 4*HD flops a position, so the speed is that of memory. Test: tests/test_ops_attention.c */
#include "kernels/cpu/cpu_attention.h"
#include "kernels/cpu/cpu_math.h"

#include <math.h>

enum { SMALL = 1 << 14 /* elements of keys: a team of threads costs more than it saves */ };

struct step {
	float o[MAX_HD]; /* not yet divided by sum */
	float max, sum;
};

static void block_scores(float *s, const float *q, const float *k, ptrdiff_t ld, int n, int HD, float scale)
{
	for (int j = 0; j < n; j++) {
		float dot = 0;
#pragma omp simd reduction(+ : dot)
		for (int d = 0; d < HD; d++)
			dot += q[d] * k[j * ld + d];
		s[j] = scale * dot;
	}
}

/* Scores to probabilities relative to the new maximum; older sums fade. */
static void block_softmax(struct step *t, float *s, int n, int HD)
{
	float max = t->max, sum = 0;
	for (int j = 0; j < n; j++)
		max = s[j] > max ? s[j] : max;
	float base = max == -INFINITY ? 0.0f : max, fade = cpu_exp_low(t->max - base);
#pragma omp simd reduction(+ : sum)
	for (int j = 0; j < n; j++) {
		s[j] = cpu_exp_low(s[j] - base);
		sum += s[j];
	}
#pragma omp simd
	for (int d = 0; d < HD; d++)
		t->o[d] *= fade;
	t->max = max;
	t->sum = t->sum * fade + sum;
}

static void block_values(struct step *t, const float *s, const float *v, ptrdiff_t ld, int n, int HD)
{
	for (int j = 0; j < n; j++)
#pragma omp simd
		for (int d = 0; d < HD; d++)
			t->o[d] += s[j] * v[j * ld + d];
}

static void step_unit(const struct attention_forward *a, int b, int h)
{
	struct key_rows keys = key_rows_of(a, b, h);
	const float *q = (const float *)a->qkv + (size_t)b * (size_t)((a->NH + 2 * a->NKV) * a->HD) + h * a->HD;
	int begin = a->window > 0 && a->first - a->window + 1 > a->start[b] ? a->first - a->window + 1 : a->start[b];
	float s[KEYS], *out = (float *)a->out + ((size_t)b * (size_t)a->NH + (size_t)h) * (size_t)a->HD;
	struct step t = {.max = -INFINITY};
	for (int key = begin; key <= a->first; key += KEYS) {
		int n = a->first + 1 - key < KEYS ? a->first + 1 - key : KEYS;
		block_scores(s, q, keys.k + key * keys.ld, keys.ld, n, a->HD, a->scale);
		block_softmax(&t, s, n, a->HD);
		block_values(&t, s, keys.v + key * keys.ld, keys.ld, n, a->HD);
	}
	float scale = (a->z_heads ? a->z_heads[h] : 1.0f) / t.sum;
	for (int d = 0; d < a->HD; d++)
		out[d] = t.o[d] * scale;
	a->lse[(size_t)b * (size_t)a->NH + (size_t)h] = t.max + logf(t.sum);
}

void cpu_attention_step(struct ops *o, const struct attention_forward *a)
{
	size_t work = (size_t)a->B * (size_t)(a->NH * a->HD) * (size_t)(a->first + 1);
#pragma omp parallel for collapse(2) schedule(static) num_threads(o->n_threads) if (work > SMALL)
	for (int b = 0; b < a->B; b++)
		for (int h = 0; h < a->NH; h++)
			step_unit(a, b, h);
}

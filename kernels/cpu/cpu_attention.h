/* What the forward and the backward pass of attention share: tiles of queries, and which keys a tile may see.
 * A tile holds QUERIES queries of one head, transposed: queries lie along the vector lanes, so that softmax statistics
 * need no sums across lanes and keys and values are read in place by broadcast. Lanes past the sequence hold zeros. */
#ifndef KERNELS_CPU_CPU_ATTENTION_H
#define KERNELS_CPU_CPU_ATTENTION_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpu_tile.h"

enum { QUERIES = 2 * TILE_LANES, KEYS = 64, MAX_HD = 256 };

/* Which keys the queries at positions [first, first+n) of a sequence see. */
struct tile_range {
	int first, n;
	int lowest[QUERIES];  /* first visible key of each query; lanes past n repeat the last */
	int begin, all_begin; /* least and greatest of lowest */
};

/* Of rows [row, row+QUERIES) of T, start (T); row 0 is at position `first`. */
static inline struct tile_range tile_range_of(const int32_t *start, int T, int window, int row, int first)
{
	struct tile_range r = {.first = first + row, .n = T - row < QUERIES ? T - row : QUERIES, .begin = first + T, .all_begin = 0};
	for (int i = 0; i < QUERIES; i++) {
		int n = row + (i < r.n ? i : r.n - 1), q = first + n;
		int low = window > 0 && q - window + 1 > start[n] ? q - window + 1 : start[n];
		r.lowest[i] = low;
		r.begin = low < r.begin ? low : r.begin;
		r.all_begin = low > r.all_begin ? low : r.all_begin;
	}
	return r;
}

/* Whether each of the keys [key, key+n) is visible to each query of the tile. */
static inline bool tile_is_whole(const struct tile_range *r, int key, int n)
{
	return key >= r->all_begin && key + n - 1 <= r->first;
}

/* Puts `hidden` where a query must not see a key; s (n, QUERIES) belongs to keys [key, key+n). */
static inline void tile_hide(float *s, const struct tile_range *r, int key, int n, float hidden)
{
	for (int j = key; j < key + n; j++, s += QUERIES)
#pragma omp simd
		for (int i = 0; i < QUERIES; i++) {
			int seen = (j >= r->lowest[i]) & (j <= r->first + i);
			s[i] = seen ? s[i] : hidden;
		}
}

/* Keys and values that query head h of sequence b reads: position 0, positions ld apart. */
struct key_rows {
	const float *k, *v;
	ptrdiff_t ld;
};
static inline struct key_rows key_rows_of(const struct attention_forward *a, int b, int h)
{
	int kv = h / (a->NH / a->NKV), skip = a->cache ? 0 : a->NH, ld = (skip + 2 * a->NKV) * a->HD;
	const float *base = a->cache ? a->cache : a->qkv;
	const float *k = base + (size_t)b * (size_t)(a->cache ? a->positions : a->T) * (size_t)ld + (skip + kv) * a->HD;
	return (struct key_rows){k, k + a->NKV * a->HD, ld};
}

/* A forward with a cache and T = 1: cpu_attention_step.c. */
void cpu_attention_step(struct ops *, const struct attention_forward *);

/* t(HD, QUERIES) = scale * x(n, HD)^T, x's rows ld apart. */
static inline void tile_transpose(float *t, const float *x, ptrdiff_t ld, int n, int HD, float scale)
{
	for (int d = 0; d < HD; d++) {
		for (int i = 0; i < n; i++)
			t[d * QUERIES + i] = scale * x[i * ld + d];
		for (int i = n; i < QUERIES; i++)
			t[d * QUERIES + i] = 0.0f;
	}
}

#endif

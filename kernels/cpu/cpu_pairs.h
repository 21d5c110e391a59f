/* Pairs (value, index) in two arrays, best first: by falling value, then by rising index. No value is a NaN.
 * A few are sorted by counting for each how many come before it: no branch to mispredict, 16 comparisons at once (128 pairs:
 * a fifth of a heap's time). Of many, a heap with the worst at its root keeps the best in the caller's own arrays.
 * Tests: tests/test_ops_top.c, tests/test_ops_sample.c */
#ifndef KERNELS_CPU_CPU_PAIRS_H
#define KERNELS_CPU_CPU_PAIRS_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct pairs {
	float *value;
	int32_t *index;
	int n;
};

static inline bool pairs_worse(float a, int32_t i, float b, int32_t j)
{
	return (a < b) | ((a == b) & (i > j));
}

/* Puts (value, index) where the hole at `at` may sink to among the first n. */
static inline void pairs_sink(struct pairs *p, int at, int n, float value, int32_t index)
{
	for (int child = 2 * at + 1; child < n; child = 2 * at + 1) {
		if (child + 1 < n && pairs_worse(p->value[child + 1], p->index[child + 1], p->value[child], p->index[child]))
			child++;
		if (!pairs_worse(p->value[child], p->index[child], value, index))
			break;
		p->value[at] = p->value[child];
		p->index[at] = p->index[child];
		at = child;
	}
	p->value[at] = value;
	p->index[at] = index;
}

/* Keeps the best `most` of all that was pushed. */
static inline void pairs_push(struct pairs *p, int most, float value, int32_t index)
{
	if (p->n == most) {
		if (pairs_worse(p->value[0], p->index[0], value, index))
			pairs_sink(p, 0, p->n, value, index);
		return;
	}
	int at = p->n++;
	while (at > 0 && pairs_worse(value, index, p->value[(at - 1) / 2], p->index[(at - 1) / 2])) {
		p->value[at] = p->value[(at - 1) / 2];
		p->index[at] = p->index[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	p->value[at] = value;
	p->index[at] = index;
}

/* A heap becomes a list, best first. */
static inline void pairs_unheap(struct pairs *p)
{
	for (int last = p->n - 1; last > 0; last--) {
		float value = p->value[last];
		int32_t index = p->index[last];
		p->value[last] = p->value[0];
		p->index[last] = p->index[0];
		pairs_sink(p, 0, last, value, index);
	}
}

enum { PAIRS_FEW = 1024, PAIRS_LANES = 16 };
struct pairs_few {
	float value[PAIRS_FEW + PAIRS_LANES]; /* room to append whole vectors */
	int32_t index[PAIRS_FEW + PAIRS_LANES];
	int n; /* at most PAIRS_FEW; all pairs differ */
};

/* The best `most` of a few go to out, best first. */
static inline void pairs_rank(struct pairs *out, int most, struct pairs_few *few)
{
	const float *value = few->value;
	const int32_t *index = few->index;
	int whole = (few->n + PAIRS_LANES - 1) / PAIRS_LANES * PAIRS_LANES;
	for (int i = few->n; i < whole; i++) {
		few->value[i] = -INFINITY;
		few->index[i] = INT32_MAX;
	}
	for (int i = 0; i < few->n; i++) {
		int before = 0;
#pragma omp simd reduction(+ : before)
		for (int j = 0; j < whole; j++)
			before += pairs_worse(value[i], index[i], value[j], index[j]);
		if (before < most) {
			out->value[before] = value[i];
			out->index[before] = index[i];
		}
	}
	out->n = few->n < most ? few->n : most;
}

/* All pairs differ. */
static inline void pairs_sort(struct pairs *p)
{
	struct pairs_few few;
	if (p->n <= PAIRS_FEW) {
		few.n = p->n;
		memcpy(few.value, p->value, (size_t)p->n * sizeof *few.value);
		memcpy(few.index, p->index, (size_t)p->n * sizeof *few.index);
		pairs_rank(p, p->n, &few);
		return;
	}
	for (int i = p->n / 2 - 1; i >= 0; i--)
		pairs_sink(p, i, p->n, p->value[i], p->index[i]);
	pairs_unheap(p);
}

#endif

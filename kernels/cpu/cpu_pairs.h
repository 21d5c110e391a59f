/* Pairs (value, index) in two arrays, best first: by falling value, then by rising index. A heap with the worst pair at its
 * root keeps the best K of many in the caller's own arrays; sorted, they are what top_rows and sample_rows hand out.
 * NaNs compare as equal to everything: the order is then arbitrary, the pairs stay whole. Test: tests/test_ops_top.c */
#ifndef KERNELS_CPU_CPU_PAIRS_H
#define KERNELS_CPU_CPU_PAIRS_H

#include <stdbool.h>
#include <stdint.h>

struct pairs {
	float *value;
	int32_t *index;
	int n;
};

static inline bool pairs_worse(float a, int32_t i, float b, int32_t j)
{
	return a < b || (a == b && i > j);
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

static inline void pairs_sort(struct pairs *p)
{
	for (int i = p->n / 2 - 1; i >= 0; i--)
		pairs_sink(p, i, p->n, p->value[i], p->index[i]);
	pairs_unheap(p);
}

#endif

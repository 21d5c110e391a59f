/* What the benchmarks of whole steps share: models of random weights, arenas with memory behind them, batches of random
 * tokens, medians. */
#ifndef TESTS_BENCH_BENCH_WORLD_H
#define TESTS_BENCH_BENCH_WORLD_H

#include "base/fsio.h"
#include "base/rng.h"
#include "model/hf.h"
#include "student/student.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline struct arch world_llama(int L, int C, int NH, int F, int V, int T)
{
	return (struct arch){.family = "llama", .shape = {.L = L, .C = C, .F = F, .NH = NH, .NKV = NH, .HD = C / NH, .V = V},
			     .max_positions = T, .norm_eps = 1e-5f, .init_std = 0.02f, .tied = true, .rope = ROPE_PLAIN,
			     .rope_theta = 10000, .dtype = DTYPE_F32};
}
/* 15.19 M parameters at V = 32000, and a student of half its layers and width. */
static inline struct arch world_15m(int V, int T)
{
	return world_llama(6, 288, 6, 768, V, T);
}
static inline struct arch world_half(int V, int T)
{
	return world_llama(3, 144, 3, 384, V, T);
}

/* Memory for what was laid out dry; adds to *n_bytes. */
static inline int world_back(struct ops *ops, struct arena *a, size_t *n_bytes, struct err *e)
{
	void *base;
	size_t n = a->used ? a->used : 1;
	if (ops->alloc(ops, n, &base, e) < 0)
		return -1;
	*a = (struct arena){.base = base, .capacity = n};
	*n_bytes += n;
	return 0;
}

/* A random checkpoint. final_norm: the gain of the last norm, which sets how far logits spread: a spread of 0.34 each. */
static inline int world_checkpoint(const char *dir, const struct arch *arch, float final_norm, struct err *e)
{
	struct param_layout layout;
	int rc = -1;
	float *flat = NULL;
	if (param_layout_init(&layout, arch, e) < 0)
		return -1;
	flat = calloc(layout.n_elems, sizeof *flat);
	BUG_ON(!flat);
	for (int i = 0; i < layout.n_tensors; i++) {
		const struct hf_tensor *t = &layout.tensors[i];
		float gain = t->kind == PARAM_FINAL_NORM ? final_norm : 1;
		for (size_t j = 0; j < t->rows * (t->cols ? t->cols : 1); j++)
			flat[t->offset + j] = t->cols ? 0.02f * rng_normal(2, RNG_TEST, 0, t->offset + j) : gain;
	}
	rc = hf_save(dir, &layout, flat, &(struct hf_save_options){.dtype = DTYPE_F32}, e);
	param_layout_release(&layout);
	free(flat);
	return rc;
}

/* Sequences of random tokens, one document each. */
struct world_batch {
	int32_t *tokens, *targets, *pos, *start; /* (B*T) */
};
static inline struct world_batch world_batch(int B, int T, int V, uint64_t seed)
{
	size_t N = (size_t)B * (size_t)T;
	int32_t *p = calloc(4 * N, sizeof *p);
	BUG_ON(!p);
	struct world_batch b = {p, p + N, p + 2 * N, p + 3 * N};
	for (size_t i = 0; i < N; i++) {
		b.tokens[i] = (int32_t)rng_below(seed, RNG_TEST, 0, i, (uint32_t)V);
		b.targets[i] = (int32_t)rng_below(seed, RNG_TEST, 1, i, (uint32_t)V);
		b.pos[i] = (int32_t)(i % (size_t)T);
	}
	return b;
}
static inline struct train_batch world_rows(const struct world_batch *b)
{
	return (struct train_batch){b->tokens, b->targets, b->pos, b->start, NULL};
}

static inline int world_by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}
/* Sorts v. */
static inline double world_median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof *v, world_by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

#endif

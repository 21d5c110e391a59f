/* A world for mask learners: a loss over z whose truth is known, with the troubles of a real one. For every unit of every
 * structure
 *   dloss/dz_i = scale * [ -worth_i (1 - z_i) * N / sum z  +  noise * sqrt(worth_i * mean worth) * N(0,1) ]
 * over its row of N units. worth is log-normal (spread over orders of magnitude), 3 % of the units are worth nothing, 3 % a
 * hundred times as much; fewer open units raise the worth of the others; noise is a multiple of the signal; each
 * structure has its own scale. A trained network's gradient vanishes at z = 1, hence the factor 1 - z.
 * Deterministic in the seed. */
#ifndef TESTS_MASK_WORLD_H
#define TESTS_MASK_WORLD_H

#include "base/rng.h"
#include "prune/mask_learner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORLD_HIDDEN, WORLD_LAYERS, WORLD_HEADS, WORLD_FFN, WORLD_ARRAYS };

struct world_array {
	size_t n_rows, n_units;
	double *worth;    /* (n_rows, n_units) */
	double *mean;     /* (n_rows) */
};
struct mask_world {
	uint64_t seed;
	double noise;
	double scale[WORLD_ARRAYS];
	struct world_array arrays[WORLD_ARRAYS];
};

#define WORLD_SPREAD 2.0 /* of log worth */

static inline double world_worth(uint64_t seed, int array, size_t unit)
{
	uint64_t index = unit + ((uint64_t)array << 40);
	double x = (double)rng_normal(seed, RNG_TEST, 1, index), kind = (double)rng_uniform(seed, RNG_TEST, 2, index);
	return kind < 0.03 ? 0 : exp(WORLD_SPREAD * x) * (kind > 0.97 ? 100 : 1);
}

static inline struct mask_world world_open(const struct shape *s, uint64_t seed, double noise)
{
	struct mask_world w = {.seed = seed, .noise = noise, .scale = {1e-1, 1e-3, 1e-5, 1e-4}};
	size_t L = (size_t)s->L;
	const size_t sizes[WORLD_ARRAYS][2] = {{1, (size_t)s->C}, {1, L}, {L, (size_t)s->NH}, {L, (size_t)s->F}};
	for (int a = 0; a < WORLD_ARRAYS; a++) {
		struct world_array *x = &w.arrays[a];
		*x = (struct world_array){.n_rows = sizes[a][0], .n_units = sizes[a][1]};
		x->worth = calloc(x->n_rows * x->n_units, sizeof *x->worth);
		x->mean = calloc(x->n_rows, sizeof *x->mean);
		BUG_ON(!x->worth || !x->mean);
		for (size_t i = 0; i < x->n_rows * x->n_units; i++) {
			x->worth[i] = world_worth(seed, a, i);
			x->mean[i / x->n_units] += x->worth[i] / (double)x->n_units;
		}
	}
	return w;
}

static inline void world_close(struct mask_world *w)
{
	for (int a = 0; a < WORLD_ARRAYS; a++) {
		free(w->arrays[a].worth);
		free(w->arrays[a].mean);
	}
}

static inline void world_array_gradient(const struct mask_world *w, int array, int step, int micro, const float *z, float *dz)
{
	const struct world_array *x = &w->arrays[array];
	for (size_t row = 0; row < x->n_rows && z; row++) {
		size_t first = row * x->n_units;
		double sum = 1e-3;
		for (size_t i = first; i < first + x->n_units; i++)
			sum += (double)z[i];
		for (size_t i = first; i < first + x->n_units; i++) {
			uint64_t index = i + ((uint64_t)array << 32) + ((uint64_t)micro << 36);
			double wobble = (double)rng_normal(w->seed, RNG_TEST, (uint64_t)step + 10, index);
			double signal = -x->worth[i] * (1 - (double)z[i]) * (double)x->n_units / sum;
			dz[i] = (float)(w->scale[array] * (signal + w->noise * sqrt(x->worth[i] * x->mean[row]) * wobble));
		}
	}
}

static inline void world_gradient(const struct mask_world *w, int step, int micro, const struct host_masks *z,
				  struct host_masks *dz)
{
	world_array_gradient(w, WORLD_HIDDEN, step, micro, z->hidden, dz->hidden);
	world_array_gradient(w, WORLD_LAYERS, step, micro, z->layers, dz->layers);
	world_array_gradient(w, WORLD_HEADS, step, micro, z->heads, dz->heads);
	world_array_gradient(w, WORLD_FFN, step, micro, z->ffn, dz->ffn);
}

/* One step of the learner in this world, of `micros` micro-batches. */
static inline void world_step(const struct mask_world *w, struct mask_learner *l, int step, int micros, struct host_masks *z,
			      struct host_masks *dz, struct mask_report *report)
{
	for (int micro = 0; micro < micros; micro++) {
		mask_learner_sample(l, step, micro, z);
		world_gradient(w, step, micro, z, dz);
		mask_learner_backward(l, dz);
	}
	mask_learner_update(l, step, report);
}

static inline int world_descending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x < y) - (x > y);
}

/* Worth that a final mask throws away: 0 as little as any choice of the same rows' sizes can, 1 as much as chance. */
static inline double world_regret(const struct mask_world *w, int array, const float *z)
{
	const struct world_array *x = &w->arrays[array];
	double *sorted = malloc(x->n_units * sizeof *sorted), lost = 0, least = 0, chance = 0;
	BUG_ON(!sorted);
	for (size_t row = 0; row < x->n_rows && z; row++) {
		size_t n_kept = 0, first = row * x->n_units;
		for (size_t i = 0; i < x->n_units; i++) {
			n_kept += z[first + i] > 0;
			lost += z[first + i] > 0 ? 0 : x->worth[first + i];
		}
		memcpy(sorted, x->worth + first, x->n_units * sizeof *sorted);
		qsort(sorted, x->n_units, sizeof *sorted, world_descending);
		for (size_t i = n_kept; i < x->n_units; i++)
			least += sorted[i];
		chance += x->mean[row] * (double)(x->n_units - n_kept);
	}
	free(sorted);
	return chance > least ? (lost - least) / (chance - least) : 0;
}

#endif

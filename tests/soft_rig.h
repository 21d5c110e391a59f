/* Made-up soft targets for tests of the training step: random hidden states behind a random head, and random layers inside. */
#ifndef TESTS_SOFT_RIG_H
#define TESTS_SOFT_RIG_H

#include "tests/rig.h"

#include "base/rng.h"

enum { SOFT_C = 32, SOFT_L = 3, SOFT_NH = 3, SOFT_NKV = 3, SOFT_HD = 8, SOFT_Q = (SOFT_NH + 2 * SOFT_NKV) * SOFT_HD };

struct soft_rig {
	struct ops *ops;
	struct soft_targets targets;
	struct inner_targets inner;
	const void *hidden[SOFT_L], *qkv[SOFT_L];
	void *owned[2 + 2 * SOFT_L];
	int n_owned;
};

static inline void *soft_normal(struct soft_rig *s, size_t n_elems, float std, uint64_t seed)
{
	float *host = malloc(n_elems * sizeof *host);
	for (size_t i = 0; i < n_elems; i++)
		host[i] = std * rng_normal(seed, RNG_TEST, (uint64_t)s->n_owned, i);
	void *device = test_device(s->ops, host, n_elems * sizeof *host);
	s->owned[s->n_owned++] = device;
	free(host);
	return device;
}

/* Dense targets over V columns for n_rows rows, SOFT_L layers inside. */
static inline void soft_open(struct soft_rig *s, struct ops *ops, int n_rows, int V, uint64_t seed)
{
	size_t N = (size_t)n_rows;
	*s = (struct soft_rig){.ops = ops};
	const void *hidden = soft_normal(s, N * SOFT_C, 1, seed), *head = soft_normal(s, (size_t)V * SOFT_C, 0.3f, seed);
	for (int l = 0; l < SOFT_L; l++) {
		s->hidden[l] = soft_normal(s, N * SOFT_C, 1, seed);
		s->qkv[l] = soft_normal(s, N * SOFT_Q, 1, seed);
	}
	s->inner = (struct inner_targets){.L = SOFT_L, .NH = SOFT_NH, .NKV = SOFT_NKV, .HD = SOFT_HD, .C = SOFT_C,
					  .hidden = s->hidden, .qkv = s->qkv};
	s->targets = (struct soft_targets){.kind = SOFT_TARGETS_DENSE, .V = V, .C = SOFT_C, .hidden = hidden, .head = head,
					   .head_type = DTYPE_F32, .inner = &s->inner};
}

static inline void soft_close(struct soft_rig *s)
{
	for (int i = 0; i < s->n_owned; i++)
		s->ops->release(s->ops, s->owned[i]);
}

#endif

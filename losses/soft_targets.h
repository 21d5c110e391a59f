/* What a teacher hands to a loss: soft targets for the rows of a batch. The loss owns this interface: a teacher fills
 * it, the fused head and the inner losses spend it. DENSE targets come as the teacher's last hidden states and output
 * matrix, so that its logits exist only a chunk at a time; SPARSE ones as a few probabilities of each row.
 * Test: tests/test_fused_head.c */
#ifndef LOSSES_SOFT_TARGETS_H
#define LOSSES_SOFT_TARGETS_H

#include "kernels/ops.h"

/* Tensors from inside the teacher, act storage, of the layers that somebody asked for (NULL elsewhere). */
struct inner_targets {
	int L, NH, NKV, HD, C;
	const void *const *hidden; /* [L] (N, C): the residual stream after layer l */
	const void *const *qkv;    /* [L] (N, (NH+2*NKV)*HD): after norm and rotary */
};

enum soft_targets_kind { SOFT_TARGETS_NONE, SOFT_TARGETS_DENSE, SOFT_TARGETS_SPARSE };
struct soft_targets {
	enum soft_targets_kind kind;
	int V;                 /* columns that the teacher knows: those past min(V, student V) are left out of the divergences on both sides */
	/* DENSE */
	int C;                 /* the teacher's width */
	const void *hidden;    /* (N, C) device, act storage of the ops in use: the head's input */
	const void *head;      /* (>= V, C) device, head_type */
	enum dtype head_type;
	/* SPARSE */
	struct sparse_targets sparse; /* (N, K) */
	const float *ce;       /* (N) device: the teacher's own cross-entropy at the batch's targets, temperature 1 */
	const int32_t *argmax; /* (N) device */
	/* any */
	const struct inner_targets *inner; /* NULL: none */
};

#endif

/* What a teacher hands to a loss: soft targets for the rows of a batch. The loss owns this interface: a teacher fills
 * it, the fused head spends it. DENSE targets come as the teacher's last hidden states and output matrix, so that its
 * logits exist only a chunk at a time. Test: tests/test_fused_head.c */
#ifndef LOSSES_SOFT_TARGETS_H
#define LOSSES_SOFT_TARGETS_H

#include "kernels/dtype.h"

enum soft_targets_kind { SOFT_TARGETS_NONE, SOFT_TARGETS_DENSE };
struct soft_targets {
	enum soft_targets_kind kind;
	/* DENSE */
	int C;                 /* the teacher's width */
	int V;                 /* the teacher's vocabulary rows; columns past min(V, student V) are left out of the KL on both sides */
	const void *hidden;    /* (N, C) device, act storage of the ops in use: the head's input */
	const void *head;      /* (V, C) device, head_type */
	enum dtype head_type;
};

#endif

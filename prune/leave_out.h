/* What each layer is worth by leaving it out: the loss of the model without it, and how far its predictions move.
 *   loss_l = mean over rows of CE(without l) - CE(whole)        kl_l = mean over rows of KL(whole, without l), temperature 1
 * A layer is left out by a mask (model/masks.h): its attention and FFN add nothing. L + 1 forward passes a batch, the head
 * included. A source: Kim et al. 2024 (Shortened LLaMA), section 3. Deterministic. Test: tests/test_importance.c */
#ifndef PRUNE_LEAVE_OUT_H
#define PRUNE_LEAVE_OUT_H

#include "losses/fused_head.h"
#include "model/transformer.h"
#include "prune/scores.h"

struct leave_out;
/* Buffers for batches of up to max_rows rows, in the arena: called dry, then real. ops is borrowed and reserved for
 * transformer_limits(arch, max_rows, fused_head_chunk_rows). */
int leave_out_open(struct leave_out **out, struct ops *, const struct arch *, int max_rows, struct arena *device, struct err *);
void leave_out_close(struct leave_out *); /* NULL is fine; the arena's memory stays */
/* One batch. act has room for it, any mode but TRAIN. target, weight: (N) device; a row of weight 0 does not count. */
void leave_out_batch(struct leave_out *, const struct params *, struct activations *act, const struct batch *,
                     const int32_t *target, const float *weight);
/* (L) written; either may be NULL. BUG before a row that counted. */
void leave_out_finish(const struct leave_out *, double *loss, double *kl);

#endif

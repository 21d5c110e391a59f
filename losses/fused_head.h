/* The fused output head: logits, loss and gradients, a chunk of rows at a time, so that nothing of N*V ever exists.
 *   loss = sum_n ce_weight_n CE_n + kd_weight_n tau^2 KL(p_n || q_n)
 * Knows arrays only, no model. Test: tests/test_fused_head.c */
#ifndef LOSSES_FUSED_HEAD_H
#define LOSSES_FUSED_HEAD_H

#include "base/arena.h"
#include "kernels/ops.h"
#include "losses/soft_targets.h"

struct fused_head; /* chunk scratch */
#define FUSED_HEAD_CHUNK_BYTES ((size_t)64 << 20) /* larger gains 2 % (bench_step), smaller costs: dhead is read and written once per chunk */
#define FUSED_HEAD_MAX_ROWS 4096
/* Rows per chunk that keep two fp32 matrices (rows, V) within chunk_bytes (0: FUSED_HEAD_CHUNK_BYTES): a multiple of
 * 16, at least 16, at most FUSED_HEAD_MAX_ROWS. */
int fused_head_chunk_rows(int V, size_t chunk_bytes);

struct fused_head_options {
	int max_rows;   /* largest N */
	int V, C;       /* student */
	int teacher_V;  /* 0: no teacher */
	size_t chunk_bytes; /* 0: FUSED_HEAD_CHUNK_BYTES */
};
/* Scratch: one (rows, V) fp32 matrix without a teacher, two with one, three when the teacher's vocabulary is the smaller;
 * rows is the smaller of the chunk's and max_rows, whatever N. Called dry (only priced) and real.
 * Fails when memory for the struct itself (a few words, malloc) is short. */
int fused_head_init(struct fused_head **out, struct ops *, const struct fused_head_options *, struct arena *device, struct err *);
void fused_head_free(struct fused_head *); /* the struct, not the arena's memory; NULL is fine */

struct head_loss {
	int N, C, V;            /* C, V: as in the options */
	const void *hidden;     /* (N, C) act: the student's final hidden states */
	const void *head;       /* (V, C) head_type */
	enum dtype head_type;
	const int32_t *target;  /* (N) device; any value where ce_weight is 0 */
	const float *ce_weight; /* (N) device, >= 0: (1-w)/tokens, 0 for rows that do not count */
	const float *kd_weight; /* (N) device, >= 0, or NULL without KD */
	const struct soft_targets *soft; /* NULL or NONE: no KD */
	float tau;              /* > 0 */
	void *dhidden;          /* (N, C) act, written, not hidden itself; NULL: loss only */
	float *dhead;           /* (V, C) fp32 += ; NULL with dhidden */
	float *ce, *kl;         /* (N) device, written: per-row CE and tau^2*KL, unweighted (0 where the row's weight is 0); kl NULL without KD */
	int32_t *argmax_s, *argmax_t; /* (N) device or NULL: lowest index of the largest logit, with KD among the common columns; argmax_t needs KD */
};
/* Deterministic for a fixed chunk size and thread count. A row whose weights are 0 has no gradient, whatever its logits.
 * The KL runs over the first min(V, soft->V) columns, on both sides; the cross-entropy over all V.
 * Source: the chunking follows Hsu et al. 2024 (Liger Kernel), section 3.2. */
void fused_head_run(struct fused_head *, struct ops *, const struct head_loss *);
/* Logits of n rows, (n, V) fp32 device, for `logits` and `generate`: n <= the chunk's rows. */
void fused_head_logits(struct ops *, const void *hidden, const void *head, enum dtype head_type, int n, int C, int V, float *out);

#endif

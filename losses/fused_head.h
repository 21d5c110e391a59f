/* The fused output head: logits, losses and gradients, a chunk of rows at a time, so that nothing of N*V ever exists.
 *   loss = sum_n ce_weight_n CE_n + sum_m weight_mn sum_k terms[k].weight scale_k D_k(p_mn, q_n)
 * over teachers m and divergences k (kernels/ops.h). Knows arrays only, no model. Tests: tests/test_fused_head.c, tests/test_loss_faults.c */
#ifndef LOSSES_FUSED_HEAD_H
#define LOSSES_FUSED_HEAD_H

#include "base/arena.h"
#include "kernels/ops.h"
#include "losses/soft_targets.h"

struct fused_head; /* chunk scratch */
#define FUSED_HEAD_CHUNK_BYTES ((size_t)64 << 20) /* larger gains 2 % (bench_step), smaller costs: dhead is read and written once per chunk */
#define FUSED_HEAD_MAX_ROWS 4096
enum { FUSED_HEAD_MAX_TEACHERS = 8 };
/* Rows per chunk that keep two fp32 matrices (rows, V) within chunk_bytes (0: FUSED_HEAD_CHUNK_BYTES): a multiple of
 * 16, at least 16, at most FUSED_HEAD_MAX_ROWS. */
int fused_head_chunk_rows(int V, size_t chunk_bytes);

struct fused_head_options {
	int max_rows;   /* largest N */
	int V, C;       /* student */
	int teacher_V;  /* of the dense teachers' vocabularies the smallest; 0: none is dense */
	int n_teachers; /* dense and sparse */
	size_t chunk_bytes; /* 0: FUSED_HEAD_CHUNK_BYTES */
};
/* Scratch: one (rows, V) fp32 matrix; one more with a dense teacher; one more with several teachers, when a dense one's
 * vocabulary is the smaller, or when none is dense (a sparse one's may be); rows is the smaller of the chunk's and
 * max_rows, whatever N. Called dry (only priced) and real. Fails when memory for the struct itself (a few words, malloc)
 * is short. */
int fused_head_init(struct fused_head **out, struct ops *, const struct fused_head_options *, struct arena *device, struct err *);
void fused_head_free(struct fused_head *); /* the struct, not the arena's memory; NULL is fine */

struct head_teacher {
	const struct soft_targets *soft; /* not NONE */
	const float *weight;    /* (N) device, >= 0 */
	float *divergence;      /* (N, n_terms) device, written: scale_k D_k unweighted, 0 where the weight is 0 */
	float *ce;              /* (N) device or NULL, written: the teacher's own CE over the common columns, 0 where the weight is 0
				 * or the target is none of those columns; DENSE only */
	int32_t *argmax;        /* (N) device or NULL, written: lowest index of the largest logit among the common columns; DENSE only */
};
struct head_loss {
	int N, C, V;            /* C, V: as in the options */
	const void *hidden;     /* (N, C) act: the student's final hidden states */
	const void *head;       /* (V, C) head_type */
	enum dtype head_type;
	const int32_t *target;  /* (N) device; any value where ce_weight is 0 */
	const float *ce_weight; /* (N) device, >= 0, 0 for rows that do not count */
	int n_terms;            /* 0: no divergences; then of dense teachers' logits only what is asked for */
	const struct divergence_term *terms; /* of every teacher */
	int n_teachers;         /* 0: cross-entropy alone; at most the options' */
	struct head_teacher teachers[FUSED_HEAD_MAX_TEACHERS];
	void *dhidden;          /* (N, C) act, written, not hidden itself; NULL: loss only */
	float *dhead;           /* (V, C) fp32 += ; NULL with dhidden */
	float *ce;              /* (N) device, written: unweighted, 0 where the row's weight is 0 */
	int32_t *argmax_s;      /* (N) device or NULL: as the teachers' argmax, among the columns common to all */
};
/* The divergences run over the first min(V, soft->V) columns, on both sides; the cross-entropy over all V. One pair of
 * backward products, however many teachers and terms. A row whose weights are 0 has no gradient, whatever its logits.
 * Deterministic for a fixed chunk size and thread count.
 * Source: the chunking follows Hsu et al. 2024 (Liger Kernel), section 3.2. */
void fused_head_run(struct fused_head *, struct ops *, const struct head_loss *);
/* Logits of n rows, (n, V) fp32 device, for `logits` and `generate`: n <= the chunk's rows. */
void fused_head_logits(struct ops *, const void *hidden, const void *head, enum dtype head_type, int n, int C, int V, float *out);

#endif

/* Relations between the positions of a document, as one layer of the student and one of the teacher see them: how each
 * query resembles the queries before it, each key the keys, each value the values.
 *   loss_n = 1/(3R) sum over {Q, K, V} and r < R of KL(a_t(n) || a_s(n)),
 *   a(n)   = softmax over j in [start_n, n] of X_n.X_j / sqrt(d)
 * X (T, d): the heads of all queries (keys, values) side by side, split anew into R relation heads of d = width / R; so
 * heads may differ in number and width between student and teacher, and between queries and keys.
 * Source: Wang et al. 2021 (MiniLMv2), section 3.1, eq. 3-5; here the relation is causal and stays inside documents.
 * Arrays only. Test: tests/test_inner_losses.c */
#ifndef LOSSES_RELATION_LOSS_H
#define LOSSES_RELATION_LOSS_H

#include "kernels/ops.h"

struct relation_shape { /* of a fused row: (NH + 2*NKV)*HD wide */
	int NH, NKV, HD;
};
/* R > 0 divides NH*HD and NKV*HD on both sides. */
bool relation_heads_fit(int R, struct relation_shape student, struct relation_shape teacher);
/* The largest common divisor of the four head counts when it is above 1 (a relation head is then a whole number of heads
 * everywhere), else the largest R <= the student's NH that fits (1 at least). */
int relation_heads_default(struct relation_shape student, struct relation_shape teacher);

struct relation_loss {
	int B, T, R;            /* N = B*T */
	struct relation_shape student, teacher;
	const void *student_qkv; /* (N, (NH+2*NKV)*HD) act, finite everywhere */
	const void *teacher_qkv; /* its own width, act, finite everywhere */
	const int32_t *start;   /* (N) device: index within the sequence of the first row of the row's document, as in struct batch */
	const float *weight;    /* (N) device, >= 0 */
	float scale;            /* the gradient is that of scale * sum_n weight_n loss_n */
	float *loss;            /* (N) device, written: before weight and scale, 0 where the weight is 0 */
	void *dqkv;             /* (N, the student's width) act, += ; NULL: loss only */
	void *scratch;          /* relation_loss_scratch() bytes, 64-byte aligned */
};
/* T*T scores never exist whole: chunks of rows of one relation head of one sequence, whose scores are at most
 * RELATION_CHUNK_BYTES on each side (16 rows at least, RELATION_MAX_ROWS at most). */
#define RELATION_CHUNK_BYTES ((size_t)8 << 20)
enum { RELATION_MAX_ROWS = 256 };
size_t relation_loss_scratch(const struct ops *, int T, int R, struct relation_shape student, struct relation_shape teacher);
/* What its products need of ops_*_reserve. */
struct ops_limits relation_loss_limits(int T, int R, struct relation_shape student, struct relation_shape teacher);
/* A row of weight 0 has loss 0 and passes no gradient through its own relations; as a position that later rows relate to
 * it has one. Deterministic. */
void relation_loss_run(struct ops *, const struct relation_loss *);

#endif

/* The distance of one of the student's layers from one of the teacher's, hidden state by hidden state:
 *   loss_n = D(x_n, h_t,n),   D cosine or MSE (enum hidden_distance)
 *   x = h_s                          equal widths, or h_t taken at the columns that a cut kept
 *   x = h_s W^T                      a learned projection of the student up to the teacher's width
 * Source: Sanh et al. 2019 (DistilBERT), section 3, cosine; Jiao et al. 2020 (TinyBERT), eq. 8, MSE with a projection.
 * Arrays only: which layers, and where the gradient goes, is the caller's affair. Test: tests/test_inner_losses.c */
#ifndef LOSSES_HIDDEN_LOSS_H
#define LOSSES_HIDDEN_LOSS_H

#include "kernels/ops.h"

struct hidden_loss {
	enum hidden_distance kind;
	int N, C_s, C_t;
	const void *student;     /* (N, C_s) act */
	const void *teacher;     /* (N, C_t) act */
	const float *projection; /* (C_t, C_s) device: W; NULL: none */
	const int32_t *columns;  /* (C_s) device, each in [0, C_t): the teacher's columns; NULL: all (then C_s = C_t); NULL with projection */
	const float *weight;     /* (N) device, >= 0 */
	float scale;             /* gradients are those of scale * sum_n weight_n loss_n */
	float *loss;             /* (N) device, written: before weight and scale, 0 where the weight is 0 */
	void *dstudent;          /* (N, C_s) act, += ; NULL: loss only */
	float *dprojection;      /* (C_t, C_s) += ; NULL without projection, with dstudent, and when W stays as it is */
	void *scratch;           /* hidden_loss_scratch() bytes, 64-byte aligned; NULL when that is 0 */
};
/* Bytes: two fp32 matrices (rows, C_t), rows = min(N, HIDDEN_LOSS_ROWS), with a projection; else 0. */
enum { HIDDEN_LOSS_ROWS = 1024 };
size_t hidden_loss_scratch(const struct ops *, int N, int C_s, int C_t, bool projected);
/* What its products need of ops_*_reserve: nothing without a projection. */
struct ops_limits hidden_loss_limits(int N, int C_s, int C_t, bool projected);
/* A row of weight 0 has loss 0 and no gradient; what it holds must be finite when there is a projection. Deterministic. */
void hidden_loss_run(struct ops *, const struct hidden_loss *);

#endif

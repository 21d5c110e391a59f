/* Sums over the weights of each unit. Private to prune/.
 * A unit owns
 *   hidden i: column i of embedding, head (once, when tied), qkv and gate_up; row i of o and down, of their biases and of norms
 *   head h: its rows of q (and bias), its columns of o         ffn j: its rows of gate and up (and biases), column j of down
 *   group g: its rows of k and v (and biases), and all that its query heads own
 *   layer l: every weight of the layer
 * A unit is read by the columns of the next matrix: hidden by qkv, gate_up and head, heads (groups) by o, ffn by down; a
 * layer's reads are those of its four matrices. Sums are in double, in the order of the weights. Test: tests/test_importance.c */
#ifndef PRUNE_UNIT_SUMS_H
#define PRUNE_UNIT_SUMS_H

#include "model/params.h"

struct unit_sums { /* one block */
	size_t n;
	double *hidden; /* (C) the block */
	double *layers, *groups, *heads, *ffn; /* (L), (L,NKV), (L,NH), (L,F) */
	double *rows, *cols; /* scratch: sums over one parameter */
};
/* Zeroed. */
int unit_sums_alloc(struct unit_sums *, const struct arch *, struct err *);
void unit_sums_release(struct unit_sums *); /* a zeroed struct is fine */
void unit_sums_clear(struct unit_sums *);

/* += sum of w^2 (grads NULL) or of g*w, over the weights that each unit owns. Host arrays of the layout. */
void unit_sums_owned(struct unit_sums *, const struct param_layout *, const float *weights, const float *grads);

/* What is read, one number per column, in one array: (L)(attention norm C, context NH*HD, FFN norm C, FFN F), final norm C. */
enum read_site { READ_ATTN_NORM, READ_CONTEXT, READ_FFN_NORM, READ_FFN, READ_SITES };
size_t read_offset(const struct shape *, enum read_site, int layer);
/* READ_ATTN_NORM of layer L is the final norm's. */
size_t read_size(const struct shape *);
/* += sum over reading weights of |w| stat (squared: w^2 stat). stats: (read_size). */
void unit_sums_read(struct unit_sums *, const struct param_layout *, const float *weights, const double *stats, bool squared);

#endif

/* Output projections fitted again after a cut: what the dropped inputs carried is said with the kept ones. Per kept layer, for
 * o (x: the heads' context) and down (x: the FFN's product), over the rows x of calibration text in the source model,
 *   W' = argmin sum_n |W' x_kept - W x|^2 + lambda |W' - W_kept|^2
 *      = W_kept + W_dropped G_dk (G_kk + lambda I)^-1,   G = sum_n x x^T,   lambda = ridge * mean of G_kk's diagonal
 * for the rows of W that are kept hidden dimensions. The source's activations are used in every layer, so that all layers are
 * fitted in one pass; what hidden dimensions that went did to x is not made up for. o is left alone where key-value heads
 * were merged: their context is not the source's.
 * Cost: per token and layer 2 ((NH*HD)^2 + F^2) operations for G in fp32 (less than a forward pass of the layer, F being
 * some 3 C); afterwards per layer K^3/3 + (2 C K + C D) K in double for K kept and D dropped inputs: at C 4096, F 11008, K 5504
 * some 4e11.
 * Memory: G on the device, 4 ((NH*HD)^2 + F^2) bytes per layer of a run (0.55 GB at those sizes), so that a model is fitted in
 * runs of layers, each with a pass over the text; on the host 4 W^2 + 8 (K^2 + D K + C K).
 * Source: the normal equations of least squares, as Frantar & Alistarh 2022 (OBC) use them layer by layer.
 * Test: tests/test_refit.c */
#ifndef PRUNE_REFIT_H
#define PRUNE_REFIT_H

#include "base/arena.h"
#include "model/transformer.h"
#include "prune/cut.h"

#define REFIT_RIDGE 1e-3

struct refit_options {
	int first, n_layers; /* of the target's layers: the run that this one listens to */
	double ridge;        /* > 0, relative */
};

struct refit;
/* Layouts, kept and ops are borrowed. Called dry, then real; ops is reserved for transformer_limits of the source. */
int refit_open(struct refit **out, struct ops *, const struct param_layout *source, const struct param_layout *target,
               const struct kept *, const struct refit_options *, struct arena *device, struct err *);
void refit_close(struct refit *); /* NULL is fine; the arena's memory stays */
/* Is there anything to fit: were heads (not merged) or FFN channels dropped? */
bool refit_needed(const struct arch *source, const struct arch *target, const struct kept *);
/* Before each forward pass of the source without masks, over N rows that all count: with refit_taps(). */
void refit_batch(struct refit *, int N);
const struct taps *refit_taps(struct refit *);
/* src: the source's weights; dst: the target's, as prune_cut left them without z; its o and down matrices are mended.
 * Both host arrays. Fails when memory is short, or when a layer's activations are not finite; dst's other layers may then
 * have been mended. */
int refit_apply(struct refit *, const float *src, float *dst, struct err *);

#endif

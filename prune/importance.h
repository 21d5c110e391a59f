/* Scores of units without masks: from the weights alone, from what flows through the model on calibration text (forward
 * only), or from gradients. One accumulator: open -> per batch listen to a forward pass, or take its gradients -> finish.
 * With x^p_ni the entry i of row n at place p, places being the outputs of all norms (hidden), o's input (heads) and down's
 * input (ffn); owned and reading weights as in prune/unit_sums.h:
 *   MAGNITUDE    sqrt(sum w^2) over the weights that the unit owns; no batch at all                      Han et al. 2015
 *   ACTIVATION   sum_p sqrt(sum_b (mean over the rows n of sequence b of |x^p_ni|)^2): mean along the sequence, L2 along the
 *                batch; heads: |.| is the norm of the head's HD entries; groups: the sum of their heads; no score of layers
 *                                                            Muralidharan et al. 2024 (Minitron), section 2.2 and its table
 *   WANDA        sum over reading weights |w| sqrt(sum_n x_n^2)                      Sun et al. 2023, eq. 1, per structure
 *   FLUCTUATION  sum over reading weights w^2 Var_n(x_n), the variance over all rows, N-1    An et al. 2024 (FLAP), its WIFV
 *                Meant to go with prune/compensate.h. Ours: also for hidden dimensions.
 *   TAYLOR       sum over batches |sum g w| over the weights that the unit owns        Molchanov et al. 2019; Ma et al. 2023
 *   RANDOM       uniform in (0,1), a pure function of seed and unit
 * Layers: OWN as above; INFLUENCE 1/N sum_n (1 - cos(x_n before the layer, x_n after it)), Men et al. 2024 (ShortGPT), eq. 1;
 * LOSS and KL are measured by prune/leave_out.h and put into the scores by the caller.
 * The same bits for the same batches and thread count. Test: tests/test_importance.c */
#ifndef PRUNE_IMPORTANCE_H
#define PRUNE_IMPORTANCE_H

#include "base/arena.h"
#include "model/transformer.h"
#include "prune/scores.h"

struct importance_options {
	enum importance_method method;
	enum layers_method layers_method; /* LOSS and KL: the layers' scores are left 0 */
	int max_rows;                     /* N of the largest batch */
	uint64_t seed;                    /* of RANDOM */
	void *before;                     /* (max_rows, C) device, of the backend's activation type, for INFLUENCE during a forward pass; NULL: its own */
};
/* Are forward passes needed; are gradients? */
bool importance_needs_forward(enum importance_method, enum layers_method);
bool importance_needs_gradients(enum importance_method);

struct importance;
/* Lays out buffers in the arena, in doubles some L*(2C + NH*HD + F) and in floats N*C: called dry, then real; ops and layout
 * are borrowed. Refuses (err_user) ACTIVATION with LAYERS_OWN. */
int importance_open(struct importance **out, struct ops *, const struct param_layout *, const struct importance_options *,
                    struct arena *device, struct err *);
void importance_close(struct importance *); /* NULL is fine; the arena's memory stays */

/* Before every pass over B sequences of T rows: which rows count, weight (B*T) on the host, 0 or not (NULL: all). Then, when
 * forward passes are needed, transformer_forward(…, importance_taps()) without masks. */
void importance_batch(struct importance *, int B, int T, const float *weight);
const struct taps *importance_taps(struct importance *);
/* TAYLOR: host arrays of the layout; grads: of the mean loss of one batch, head and embedding included: what a training step
 * leaves before its update. Not kept. */
void importance_gradients(struct importance *, const float *weights, const float *grads);
/* weights: host array of the layout. *out is the caller's to release; its teacher and data are left 0. Fails when memory is
 * short; BUG when a pass that the method needs never came. */
int importance_finish(struct importance *, const float *weights, struct scores *out, struct err *);

#endif

/* What a forward pass of a shape takes, from a few shapes that were timed: thousands cannot be. One line for a prompt, one for
 * a token after it, both at the length and batch of the timings:
 *   ms = sum_i weight_i feature_i,   features: 1, L, C, L NH HD, L C (2 NH + 2 NKV) HD, L 3 C F
 * (the call; the layers' own calls; embedding, head and norms; attention over the keys; its products; those of the FFN). All
 * weights are >= 0: time never falls as a shape grows. Numbers in, numbers out: who measures is elsewhere.
 * Test: tests/test_time_model.c */
#ifndef PRUNE_TIME_MODEL_H
#define PRUNE_TIME_MODEL_H

#include "model/arch.h"

enum { TIME_FEATURES = 6, TIME_PROBES = 11 };

struct time_line {
	double weight[TIME_FEATURES]; /* ms per unit of a feature */
	double worst;                 /* of the fit: the largest |predicted / timed - 1| of its shapes */
};
struct time_model {
	struct time_line prefill, decode;
};

/* Shapes to time: the eight corners of layers, hidden, heads (whole groups) and FFN at all or a quarter of the source's, an even
 * number of them at a quarter; and all at a quarter more, a half and three quarters. They need not load elsewhere. hidden and
 * FFN are rounded down to the multiples, which are at least 1. */
void time_probes(const struct arch *source, int hidden_multiple, int intermediate_multiple, struct arch out[TIME_PROBES]);
/* Least squares of the relative errors under weights >= 0, exactly: the best of the unconstrained fits on every subset of the
 * features that has no negative weight. shapes (n), ms (n) > 0, n >= 1. Deterministic. */
void time_fit(struct time_line *out, const struct arch *shapes, const double *ms, int n);
double time_predict(const struct time_line *, const struct arch *); /* ms */

#endif

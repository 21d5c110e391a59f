/* What dropped inputs gave on average becomes bias: b' = b + sum over dropped j W_j mean(x_j), for the output projection of
 * attention and FFN, in families that have a bias there (o_bias, mlp_bias); others have nowhere to put it, and a checkpoint
 * with an added bias would load nowhere. Source: An et al. 2024 (FLAP). Test: tests/test_refit.c */
#ifndef PRUNE_COMPENSATE_H
#define PRUNE_COMPENSATE_H

#include "prune/scores.h"

/* Does the family have one of the biases? */
bool compensate_possible(const struct arch *);
/* dst: the target's weights as prune_cut left them without z. scores: of FLUCTUATION, with its means. Heads are left alone
 * where key-value heads were merged. Host arrays. */
void compensate(const struct param_layout *source, const float *src, const struct param_layout *target, float *dst,
                const struct kept *, const struct scores *);

#endif

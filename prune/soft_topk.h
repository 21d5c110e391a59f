/* Soft top-k: the deterministic masks of one row. Arrays only. Test: tests/test_soft_topk.c
 *
 * Of n units k (any real number in (0, n]) shall be open. The masks are the one z that maximises
 *   sum_i z_i s_i + tau sum_i H(z_i)   under  sum_i z_i = k,   H(z) = -z log z - (1-z) log(1-z),
 * whose Lagrangian has the stationary point  z_i = sigmoid((s_i - lambda) / tau),  lambda the multiplier of the constraint.
 * As the sum falls monotonically with lambda, lambda is solved: the size is exact at every tau, nothing is drawn, and
 * there is no expected size beside the real one. As tau falls to 0 the masks become the plain top-k.
 * Source: Xie et al. 2020 (top-k by entropy-regularised optimal transport, of which this is the case of two anchors). */
#ifndef PRUNE_SOFT_TOPK_H
#define PRUNE_SOFT_TOPK_H

#include <stdint.h>

/* z (n) out, in [0,1], of scores s (n): any finite numbers, only differences matter. Values within 1e-6 of 0 and 1 are set
 * to these, so that closed units are closed: sum z = k to within 1e-6 n. Returns lambda; where k = n, every z is 1 and it is 0
 * (nothing is asked of anybody). tau >= 0, of the unit of s; at 0 the k largest scores (k rounded, the earlier of equals
 * first) get 1 and lambda is the smallest of them. sorted (n), keep (n): scratch. */
double soft_topk(const float *s, int n, double k, double tau, float *z, float *sorted, uint8_t *keep);

#endif

/* The distribution of one mask unit: a concrete (Gumbel-sigmoid) variable, stretched to [-0.1, 1.1] and clamped.
 *   s = sigmoid((log u - log(1-u) + loga) / beta),  z = clamp(1.2 s - 0.1, 0, 1),  u in (0,1), clamped to [1e-6, 1-1e-6]
 * beta > 0, temperature. Pure functions. Source: Louizos et al. 2018, equations 10 to 12; the deterministic value: Wang et
 * al. 2020 (FLOP). Test: tests/test_mask_learner.c */
#ifndef PRUNE_HARD_CONCRETE_H
#define PRUNE_HARD_CONCRETE_H

/* P(z > 0) = sigmoid(loga + beta log 11), and its derivative. */
double hard_concrete_open(double loga, double beta);
double hard_concrete_open_slope(double loga, double beta);
/* sqrt(E[(dz/dloga)^2]) over draws, to within a factor of 1.3: 0.35 sqrt P(0 < z < 1). */
double hard_concrete_slope_rms(double loga, double beta);
/* z for a draw u; *slope (may be NULL) is dz/dloga at fixed u: 1.2 s (1-s) / beta inside (0,1), else 0. */
float hard_concrete_sample(float loga, float u, float beta, float *slope);
/* The deterministic value of a kept unit: sigmoid(0.8 loga / beta). */
float hard_concrete_soft(float loga, float beta);

#endif

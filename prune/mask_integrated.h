/* The rule of the reference for one structure's loga, to reproduce it and to compare with it (ours: prune/mask_control.h):
 * Adam on the task's gradient plus that of a Lagrangian, and Adam ascent on two multipliers that are integrated.
 * Arrays only; knows no model, no clock, no randomness. Test: tests/test_mask_integrated.c
 *   code:  gap = (target - size) / N,   L = mean_rows [ lambda1 gap + lambda2 gap^2 ]      (shares of the structure)
 *   paper: gap = size - target,         L = sum_rows  [ lambda1 gap + lambda2 gap^2 ]      (counts of units)
 * with size = sum P(z > 0) of a row of N units. Both multipliers start at 0 and are shared by the rows; lambda2 never falls.
 * Source: Xia et al. 2023 (Sheared LLaMA), equation 1 and appendix A for paper; the code published with it for code. */
#ifndef PRUNE_MASK_INTEGRATED_H
#define PRUNE_MASK_INTEGRATED_H

#include <stdbool.h>
#include <stddef.h>

#define MASK_INTEGRATED_CLAMP 4.605170186f /* log 100 */

struct mask_multipliers { /* lambda1, lambda2, and Adam's moments of their gradients; 0 at first */
	float value[2], m[2], v[2];
};
struct mask_integrated {
	int n_rows, n_units;
	float *loga;        /* (n_rows, n_units) in, out; clamped to ±MASK_INTEGRATED_CLAMP */
	const float *dloga; /* (n_rows, n_units) of the task, mean over the step */
	float *m, *v;       /* (n_rows, n_units) Adam's moments, in, out */
	double target;      /* units per row, now */
	double lr;          /* of loga and of the multipliers alike */
	double beta;        /* of the hard-concrete distribution */
	bool counts;        /* paper; false: code */
	int step;           /* steps done before */
};
/* One step of both, from the same loga. */
void mask_integrated_step(const struct mask_integrated *, struct mask_multipliers *);
/* What the published recipe multiplies its rates by in step `step` of `steps`: warm-up over a tenth, then a cosine to 0.1. */
double mask_integrated_rate(int step, int steps);

#endif

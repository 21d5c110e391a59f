/* The controller of mask learning: one step of one structure's loga, under the multiplier that makes the expected size
 * follow its target. Arrays only; knows no model, no clock, no randomness. Test: tests/test_mask_learner.c
 *
 * A Lagrangian  task(loga) + lambda (size(loga) - target)  with an integrated lambda needs a rate that fits the unknown
 * scale of the task's gradient and the number of steps; where it does not fit, lambda winds up and the masks overshoot.
 * Here lambda is not integrated but solved: with m, v the (bias-corrected) moments of the task's gradient alone and
 * p = dP(z>0)/dloga, a step is
 *   loga_i -= lr [ (1-harden) (m_i + lambda p_i) / (sqrt v_i + |lambda| p_i + eps) + harden side_i ],   clamped to ±clamp
 * that is Adam on the task's gradient plus the Lagrangian's, the latter exact and therefore kept out of the moments. No
 * unit moves by more than lr. Size after the step falls monotonically with lambda, so bisection finds the lambda that
 * meets the target, or the end of the range when lr does not allow it: nothing is accumulated, nothing can wind up, and
 * the unit of the gradient cancels.
 * Rows of a structure share lambda while the mean size falls (cheap units of any row go first), but a row that has come
 * down to its final size gets the lambda that keeps it there: in the end each row is at its target by itself. */
#ifndef PRUNE_MASK_CONTROL_H
#define PRUNE_MASK_CONTROL_H

#include <stdint.h>

struct mask_rows {
	int n_rows, n_units;    /* units per row */
	int final_units;        /* wanted in each row in the end, 1 <= final_units <= n_units */
	float *loga;            /* (n_rows, n_units) in, out */
	const double *drift;    /* (n_rows, n_units) m, bias-corrected */
	const double *noise;    /* (n_rows, n_units) sqrt v >= 0, bias-corrected; |m| is cut to it */
	double *slope;          /* (n_rows, n_units) scratch */
	double *row_lambda;     /* (n_rows) out: each row's lambda */
	float *sorted;          /* (n_units) scratch */
	uint8_t *keep;          /* (n_rows, n_units) scratch */
};
struct mask_step {
	double target; /* mean size of a row after this step, in [final_units, n_units] */
	double lr;     /* largest move of a loga */
	double clamp;  /* > 0 */
	double beta;   /* of the hard-concrete distribution */
	double harden; /* in [0,1]: weight of the push that parts the units: side = -1 (up) for the row's
	                  final_units largest loga, +1 for the rest; at 1 lambda has no say and is 0 */
};
struct mask_price {
	double mean, spread; /* of the rows' lambda; in units of dloss per unit of expected size */
};
struct mask_price mask_control_step(const struct mask_rows *, const struct mask_step *);

/* Mean over rows of sum P(z>0). */
double mask_expected(const float *loga, int n_rows, int n_units, double beta);
/* keep (n) = 1 for the k largest loga, the earlier of equals first; 0 for the rest. sorted (n) is scratch. 1 <= k <= n. */
void mask_top(const float *loga, int n, int k, float *sorted, uint8_t *keep);

#endif

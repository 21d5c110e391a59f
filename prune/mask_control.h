/* The controller of mask learning: one step of one structure's loga, under the multiplier that brings the expected size to
 * its target. Arrays only; knows no model, no clock, no randomness. Test: tests/test_mask_learner.c
 *
 * A Lagrangian  task(loga) + lambda (size(loga) - target)  with an integrated lambda needs a rate that fits the unknown
 * scale of the task's gradient and the number of steps; where it does not fit, lambda winds up and the masks overshoot.
 * Here lambda is not integrated but solved: with m the mean and v the mean square of the task's gradient alone (how they
 * are kept: mask_learner.c), and p = dP(z>0)/dloga, a step is
 *   loga_i -= lr [ (1-harden) (m_i + lambda p_i) / (sqrt v_i + |lambda| p_i + eps) + harden side_i ],   clamped to ±clamp
 * that is Adam on the task's gradient plus the Lagrangian's, the latter exact and therefore kept out of the moments. No
 * unit moves by more than lr. The size that such moves lead to falls monotonically with lambda, so bisection finds the
 * lambda that meets the target: nothing is accumulated, nothing can wind up, and the unit of the gradient cancels.
 * The size is looked at `horizon` steps ahead, as if each unit kept its speed: about as long as one takes from open to
 * closed. Looked at after one step, the first bit of shrinking would ask every unit to fall at once (an open unit's p is
 * almost 0), and the noise of half-open masks everywhere does lasting harm to the weights; so, only the cheapest fall.
 * Rows of a structure share lambda while the mean size falls (cheap units of any row go first), but a row that comes
 * down to its final size gets the lambda that keeps it there: in the end each row is at its target by itself. */
#ifndef PRUNE_MASK_CONTROL_H
#define PRUNE_MASK_CONTROL_H

#include <stdint.h>

struct mask_rows {
	int n_rows, n_units;    /* units per row */
	int final_units;        /* wanted in each row in the end, 1 <= final_units <= n_units */
	float *loga;            /* (n_rows, n_units) in, out */
	const double *drift;    /* (n_rows, n_units) m */
	const double *noise;    /* (n_rows, n_units) sqrt v >= 0; |m| is cut to it */
	double *slope;          /* (n_rows, n_units) scratch */
	double *row_lambda;     /* (n_rows) out: each row's lambda */
	float *sorted;          /* (n_units) scratch */
	uint8_t *keep;          /* (n_rows, n_units) scratch */
};
struct mask_step {
	double target; /* mean size of a row at the horizon, in [final_units, n_units] */
	double lr;     /* largest move of a loga in a step */
	double horizon; /* steps, >= 1 */
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

/* The controller of mask learning: one step of one structure's loga, under the multiplier that brings the expected size to
 * its target. Arrays only; knows no model, no clock, no randomness. Test: tests/test_mask_learner.c
 *
 * A Lagrangian  task(z) + lambda (size - target)  over units that are open or closed is least when exactly the units that
 * are worth less than lambda are closed. The reference follows its gradient, with a lambda that is integrated at a rate of
 * its own: where that rate does not fit the unknown scale of the task's gradient and the number of steps, lambda winds up
 * and the masks overshoot; and as most units feel nearly the same pull they fall together, half open for a good part of
 * the phase, and the noise of so many half-open masks harms the weights. Here
 *   a unit's move follows the sign of lambda - worth:  loga -= lr [ (1-harden) clip((lambda - y) / width) + harden side ],
 *     y = log worth + stick loga   (what has begun to fall goes on falling),  clip to [-1, 1],  clamped to ±clamp
 *   lambda is solved, not integrated: the size that such moves lead to falls monotonically with lambda, so bisection finds
 *     the one that meets the target. Nothing accumulates, nothing can wind up, and the scale of the loss cancels.
 * Only the cheapest few units are half open at any time. The size is looked at `horizon` steps ahead, as if each unit kept
 * its speed: about as long as one takes from open to closed.
 * Rows of a structure share lambda while the mean size falls (cheap units of any row go first), but a row that comes
 * down to its final size gets the lambda that keeps it there: in the end each row is at its target by itself. */
#ifndef PRUNE_MASK_CONTROL_H
#define PRUNE_MASK_CONTROL_H

#include <stdint.h>

struct mask_rows {
	int n_rows, n_units;    /* units per row */
	int final_units;        /* wanted in each row in the end, 1 <= final_units <= n_units */
	float *loga;            /* (n_rows, n_units) in, out */
	const double *worth;    /* (n_rows, n_units) log of what the loss would miss without the unit, any scale */
	double *moved;          /* (n_rows, n_units) scratch */
	double *row_lambda;     /* (n_rows) out: each row's lambda */
	float *sorted;          /* (n_units) scratch */
	uint8_t *keep;          /* (n_rows, n_units) scratch */
};
struct mask_step {
	double target; /* mean size of a row at the horizon, in [final_units, n_units] */
	double lr;     /* largest move of a loga in a step */
	double horizon; /* steps, >= 1 */
	double clamp;  /* > 0 */
	double open;   /* in (0, clamp]: where an open unit waits until it is hardened */
	double beta;   /* of the hard-concrete distribution */
	double harden; /* in [0,1]: weight of the push that parts the units: side = -1 (up) for the row's
	                  final_units largest loga, +1 for the rest; at 1 lambda has no say and is 0 */
};
struct mask_price {
	double mean, spread; /* of the rows' lambda, log worth: units below it fall */
};
struct mask_price mask_control_step(const struct mask_rows *, const struct mask_step *);

/* Mean over rows of sum P(z>0). */
double mask_expected(const float *loga, int n_rows, int n_units, double beta);
/* keep (n) = 1 for the k largest loga, the earlier of equals first; 0 for the rest. sorted (n) is scratch. 1 <= k <= n. */
void mask_top(const float *loga, int n, int k, float *sorted, uint8_t *keep);

#endif

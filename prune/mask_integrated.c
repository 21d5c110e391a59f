/* Multipliers that are integrated. The why is in the header. */
#include "prune/mask_integrated.h"

#include "prune/hard_concrete.h"
#include "prune/mask_control.h"

#include <math.h>

#define BETA1 0.9
#define BETA2 0.95
#define EPS 1e-8

/* A step of size 1 against the gradient g. */
static double adam(double g, float *m, float *v, int step)
{
	double mean = BETA1 * (double)*m + (1 - BETA1) * g, squares = BETA2 * (double)*v + (1 - BETA2) * g * g;
	*m = (float)mean;
	*v = (float)squares;
	return mean / (1 - pow(BETA1, step + 1)) / (sqrt(squares / (1 - pow(BETA2, step + 1))) + EPS);
}

/* What a row adds to the gradients of the multipliers; its own units step along the task's gradient and the Lagrangian's. */
static void step_row(const struct mask_integrated *s, int row, const double lambda[2], double dlambda[2])
{
	double n = s->n_units, share = s->counts ? 1 : 1.0 / s->n_rows, unit = s->counts ? 1 : -1 / n;
	const size_t first = (size_t)row * (size_t)s->n_units;
	double gap = unit * (mask_expected(s->loga + first, 1, s->n_units, s->beta) - s->target);
	double pull = share * unit * (lambda[0] + 2 * lambda[1] * gap);
	dlambda[0] += share * gap;
	dlambda[1] += share * gap * gap;
	for (size_t i = first; i < first + (size_t)s->n_units; i++) {
		double at = (double)s->loga[i], g = (double)s->dloga[i] + pull * hard_concrete_open_slope(at, s->beta);
		at -= s->lr * adam(g, &s->m[i], &s->v[i], s->step);
		s->loga[i] = fmaxf(-MASK_INTEGRATED_CLAMP, fminf(MASK_INTEGRATED_CLAMP, (float)at));
	}
}

void mask_integrated_step(const struct mask_integrated *s, struct mask_multipliers *l)
{
	const double lambda[2] = {(double)l->value[0], (double)l->value[1]};
	double dlambda[2] = {0, 0};
	for (int row = 0; row < s->n_rows; row++)
		step_row(s, row, lambda, dlambda);
	for (int i = 0; i < 2; i++)
		l->value[i] += (float)(s->lr * adam(dlambda[i], &l->m[i], &l->v[i], s->step));
}

double mask_integrated_rate(int step, int steps)
{
	double warm = fmin(1, (step + 1) / (0.1 * steps));
	return warm * (0.55 + 0.45 * cos(acos(-1) * step / steps));
}

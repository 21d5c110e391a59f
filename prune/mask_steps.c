/* The step of each rule: what its moments are, and how a block's scores move. Test: tests/test_mask_learner.c */
#include "prune/mask_state.h"

#include "prune/hard_concrete.h"
#include "prune/soft_topk.h"

#include <math.h>
#include <string.h>

#define WORTH_FLOOR 1e-6
#define TAU_FLOOR 1e-6 /* scores that are all equal have no spread */
#define CROSSING 6.0 /* loga between an open unit and one that is closed more often than not */

/* Share of the phase that is over once `step` is done. */
static double progress_of(const struct mask_options *o, int step)
{
	return fmin(1, (step + 1) / (double)o->steps);
}

double mask_target_size(const struct mask_options *o, const struct mask_block *b, int step)
{
	double progress = progress_of(o, step), begin = (double)o->hold_fraction, end = (double)o->warmup_fraction;
	double share = progress <= begin ? 0 : progress >= end ? 1 : (progress - begin) / (end - begin);
	return b->n_units - share * (b->n_units - b->final_units);
}

/* v: the mean square of dloss/dz. It is the unit's Fisher information, which every draw shows, although few draws at an open
 * unit have a slope: it tells from the first steps on which units the loss can spare. */
static void follow_noise(struct mask_learner *l)
{
	double beta2 = (double)l->options.beta2;
	for (size_t i = 0; i < l->units.n; i++) {
		double dz = (double)l->dz[i];
		if (dz != 0) /* a closed unit may have no gradient at all: that says nothing of its worth */
			l->v[i] = (float)(beta2 * (double)l->v[i] + (1 - beta2) * dz * dz);
	}
}

static double rms_of(const float *v, const struct mask_block *b)
{
	double squares = 0;
	for (size_t i = b->first; i < b->first + mask_block_size(b); i++)
		squares += (double)v[i];
	return sqrt(squares / (double)mask_block_size(b));
}

/* The root of a unit's Fisher information as a share of its structure's rms: the scale of the loss cancels. */
static double noise_of(const float *v, size_t unit, double rms)
{
	return rms > 0 ? fmax(sqrt((double)v[unit]) / rms, WORTH_FLOOR) : 1;
}

/* ---- solved: the controlled step of hard-concrete units ---- */

/* log worth: log noise, and up to one unit of log more or less as the mean gradient asks for the unit or against it. */
static void weigh(struct mask_learner *l, const struct mask_block *b, int step)
{
	double left = 1 - pow((double)l->options.beta1, step + 1), rms = rms_of(l->v, b);
	for (size_t i = b->first; i < b->first + mask_block_size(b); i++) {
		double noise = noise_of(l->v, i, rms);
		double slope = hard_concrete_slope_rms((double)l->score[i], (double)l->options.beta);
		double drift = rms > 0 ? (double)l->m[i] / left / rms / (noise * slope) : 0;
		l->worth[i] = log(noise) - fmax(-1, fmin(1, drift));
	}
}

/* Weight of the push: 0 until the last harden_fraction, then linear, 1 over the last quarter of it. */
static double harden_weight(const struct mask_options *o, int step)
{
	double into = progress_of(o, step) - (1 - (double)o->harden_fraction);
	return o->harden_fraction > 0 ? fmax(0, fmin(1, into / (0.75 * (double)o->harden_fraction))) : 0;
}

/* Steps to look ahead: the way from open to closed, but not into the hardening, which ends with the exact size. */
static double horizon_of(const struct mask_options *o, int step)
{
	double left = (1 - (double)o->harden_fraction) * o->steps - (step + 1);
	return fmax(1, fmin(CROSSING / (double)o->lr, left));
}

static struct mask_price solved_block(struct mask_learner *l, const struct mask_block *b, int step)
{
	const struct mask_options *o = &l->options;
	double horizon = horizon_of(o, step);
	weigh(l, b, step);
	const struct mask_rows rows = {
		.n_rows = b->n_rows, .n_units = b->n_units, .final_units = b->final_units,
		.loga = l->score + b->first, .worth = l->worth + b->first,
		.moved = l->moved + b->first, .row_lambda = l->row_lambda, .sorted = l->sorted, .keep = l->keep + b->first,
	};
	const struct mask_step how = {
		.target = mask_target_size(o, b, step + (int)horizon - 1), .lr = (double)o->lr, .horizon = horizon,
		.clamp = (double)o->clamp, .open = (double)o->init_loga, .beta = (double)o->beta, .harden = harden_weight(o, step),
	};
	return mask_control_step(&rows, &how);
}

/* m: the mean of dloss/dloga. */
static void solved_step(struct mask_learner *l, int step)
{
	double beta1 = (double)l->options.beta1;
	for (size_t i = 0; i < l->units.n; i++)
		l->m[i] = (float)(beta1 * (double)l->m[i] + (1 - beta1) * (double)l->dscore[i]);
	follow_noise(l);
	for (int i = 0; i < MASK_STRUCTURES; i++)
		if (l->units.blocks[i].n_rows)
			l->prices[i] = solved_block(l, &l->units.blocks[i], step);
}

/* ---- code, paper: multipliers that are integrated ---- */

static void integrated_step(struct mask_learner *l, int step)
{
	const struct mask_options *o = &l->options;
	for (int i = 0; i < MASK_STRUCTURES; i++) {
		const struct mask_block *b = &l->units.blocks[i];
		if (!b->n_rows)
			continue;
		mask_integrated_step(&(struct mask_integrated){
			.n_rows = b->n_rows, .n_units = b->n_units, .loga = l->score + b->first, .dloga = l->dscore + b->first,
			.m = l->m + b->first, .v = l->v + b->first, .target = mask_target_size(o, b, step - 1),
			.lr = (double)o->lr * mask_integrated_rate(step, o->steps), .beta = (double)o->beta,
			.counts = o->rule == MASK_PAPER, .step = step,
		}, &l->multipliers[i]);
		l->prices[i] = (struct mask_price){(double)l->multipliers[i].value[0], (double)l->multipliers[i].value[1]};
	}
}

/* ---- soft top-k ---- */

/* How far apart a structure's scores are: their mean distance from their mean. */
static double spread_of(const float *score, const struct mask_block *b)
{
	double n = (double)mask_block_size(b), mean = 0, spread = 0;
	for (size_t i = b->first; i < b->first + mask_block_size(b); i++)
		mean += (double)score[i] / n;
	for (size_t i = b->first; i < b->first + mask_block_size(b); i++)
		spread += fabs((double)score[i] - mean) / n;
	return spread;
}

/* Falls from the first step on, to 0 in the middle between the final size and the end. */
static double temperature(const struct mask_learner *l, const struct mask_block *b, int step)
{
	const struct mask_options *o = &l->options;
	double warmup = (double)o->warmup_fraction, end = warmup + (double)o->sharpen_fraction * (1 - warmup);
	double left = 1 - progress_of(o, step) / end;
	return left > 0 ? (double)o->tau * left * spread_of(l->score, b) + TAU_FLOOR : 0;
}

void mask_soft_masks(const struct mask_learner *l, int step, float *z, struct mask_price prices[MASK_STRUCTURES])
{
	for (int i = 0; i < MASK_STRUCTURES; i++) {
		const struct mask_block *b = &l->units.blocks[i];
		if (!b->n_rows)
			continue;
		double k = mask_target_size(&l->options, b, step), tau = temperature(l, b, step);
		prices[i] = (struct mask_price){0, 0};
		for (int row = 0; row < b->n_rows; row++) {
			size_t first = b->first + (size_t)row * (size_t)b->n_units;
			l->row_lambda[row] = soft_topk(l->score + first, b->n_units, k, tau, z + first, l->sorted, l->keep);
			prices[i].mean += l->row_lambda[row] / b->n_rows;
		}
		for (int row = 0; row < b->n_rows; row++)
			prices[i].spread = fmax(prices[i].spread, fabs(l->row_lambda[row] - prices[i].mean));
	}
}

/* While the target falls, a score is the log of its unit's noise; after that the order stands, and what is left is to sharpen. */
static void soft_step(struct mask_learner *l, int step)
{
	const struct mask_options *o = &l->options;
	bool falls = progress_of(o, step) <= (double)fmaxf(o->warmup_fraction, o->hold_fraction);
	follow_noise(l);
	for (int i = 0; i < MASK_STRUCTURES && falls; i++) {
		const struct mask_block *b = &l->units.blocks[i];
		double rms = b->n_rows ? rms_of(l->v, b) : 0;
		for (size_t unit = b->first; unit < b->first + mask_block_size(b); unit++)
			l->score[unit] = (float)log(noise_of(l->v, unit, rms));
	}
	mask_soft_masks(l, step, l->dunits, l->prices);
}

void mask_learner_step(struct mask_learner *l, int step)
{
	switch (l->options.rule) {
	case MASK_SOLVED:
		solved_step(l, step);
		break;
	case MASK_CODE:
	case MASK_PAPER:
		integrated_step(l, step);
		break;
	case MASK_SOFT_TOPK:
		soft_step(l, step);
		break;
	}
	memset(l->dscore, 0, l->units.n * sizeof *l->dscore);
	memset(l->dz, 0, l->units.n * sizeof *l->dz);
}

/* The mask learner: state, draws, gradients, and a controlled step of every structure.
 * The distribution is in hard_concrete.c, the arrays in mask_units.c, the control in mask_control.c. */
#include "prune/mask_learner.h"

#include "base/rng.h"
#include "prune/hard_concrete.h"
#include "prune/mask_control.h"
#include "prune/mask_units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct mask_learner {
	struct mask_options options;
	struct mask_units units;
	float *loga;
	float *m, *v;         /* (units.n) moments: mean of dloss/dloga, mean square of dloss/dz while open */
	float *dloga, *dz;    /* (units.n) of the step in progress */
	float *z, *slope;     /* (units.n) of the last draw */
	float *dunits;        /* (units.n) scratch */
	double *worth, *moved; /* (units.n) scratch of the control */
	double *row_lambda;   /* (max_rows) scratch */
	float *sorted;        /* (max_units) scratch */
	uint8_t *keep;        /* (units.n) scratch */
	struct mask_price prices[MASK_STRUCTURES];
};

#define SATURATED 2.0f
#define LR_MAX 1.0f  /* code mode's rate */
#define WORTH_FLOOR 1e-6
#define CROSSING 6.0 /* loga between an open unit and one that is closed more often than not */

/* Loga that a unit may move in a whole phase; open to closed is about 10. Slow moves average the gradient's noise, fast
 * ones shorten the time in which a unit is half open and disturbs the others. Three ranges are the least that few steps
 * can do with; many steps afford both. Figures: tests/bench/sweep_masks.c. */
static float travel_of(int steps)
{
	return fmaxf(30, 6 * sqrtf((float)steps));
}

const char *mask_structure_name(enum mask_structure which)
{
	static const char *const names[MASK_STRUCTURES] = {"hidden", "layers", "groups", "heads", "ffn"};
	return names[which];
}

struct mask_options mask_default(int steps)
{
	BUG_ON(steps < 1);
	return (struct mask_options){
		.steps = steps,
		.warmup_fraction = 0.5f,
		.harden_fraction = 0.25f,
		.lr = fminf(LR_MAX, travel_of(steps) / (float)steps),
		.beta = 2.0f / 3.0f,
		.init_loga = 4.605f,
		.clamp = 10,
		.beta1 = 0.9f,
		.beta2 = 0.95f,
		.seed = 17,
	};
}

/* ---- life ---- */

/* Every array of the learner in one call, so that a failure has one place. */
static int allocate(struct mask_learner *l)
{
	size_t n = l->units.n;
	float **floats[] = {&l->loga, &l->m, &l->v, &l->dloga, &l->dz, &l->z, &l->slope, &l->dunits};
	double **doubles[] = {&l->worth, &l->moved};
	bool ok = true;
	for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
		ok = (*floats[i] = calloc(n, sizeof(float))) && ok;
	for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++)
		ok = (*doubles[i] = calloc(n, sizeof(double))) && ok;
	l->row_lambda = calloc((size_t)l->units.max_rows, sizeof *l->row_lambda);
	l->sorted = calloc((size_t)l->units.max_units, sizeof *l->sorted);
	l->keep = calloc(n, 1);
	return ok && l->row_lambda && l->sorted && l->keep ? 0 : -1;
}

static int check_shapes(const struct shape *s, const struct shape *t, struct err *e)
{
	if (t->C > s->C || t->L > s->L || t->NH > s->NH || t->NKV > s->NKV || t->F > s->F)
		return err_user(e, "masks: the target is larger than the source");
	if (t->C == s->C && t->L == s->L && t->NH == s->NH && t->NKV == s->NKV && t->F == s->F)
		return err_user(e, "masks: the target has the shape of the source; there is nothing to learn");
	return 0;
}

int mask_learner_open(struct mask_learner **out, const struct arch *source, const struct arch *target,
		      const struct mask_options *options, struct err *e)
{
	*out = NULL;
	BUG_ON(options->steps < 1 || !(options->lr > 0) || !(options->beta > 0) || !(options->clamp > 0));
	if (check_shapes(&source->shape, &target->shape, e) < 0)
		return -1;
	struct mask_learner *l = calloc(1, sizeof *l);
	if (l) {
		l->options = *options;
		l->units = mask_units_of(source, target);
	}
	if (!l || allocate(l) < 0) {
		mask_learner_close(l);
		return err_run(e, "masks: out of memory");
	}
	for (size_t i = 0; i < l->units.n; i++)
		l->loga[i] = fminf(options->init_loga, options->clamp);
	*out = l;
	return 0;
}

void mask_learner_close(struct mask_learner *l)
{
	if (!l)
		return;
	void *owned[] = {l->loga, l->m, l->v, l->dloga, l->dz, l->z, l->slope, l->dunits, l->worth, l->moved,
			 l->row_lambda, l->sorted, l->keep};
	for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
		free(owned[i]);
	free(l);
}

bool mask_learner_prunes(const struct mask_learner *l, enum mask_structure which)
{
	return l->units.blocks[which].n_rows > 0;
}

int host_masks_alloc(struct host_masks *m, void **block, const struct mask_learner *l, struct err *e)
{
	const struct shape *s = &l->units.shape;
	bool heads = mask_learner_prunes(l, MASK_GROUPS) || mask_learner_prunes(l, MASK_HEADS);
	size_t C = mask_learner_prunes(l, MASK_HIDDEN) ? (size_t)s->C : 0;
	size_t L = mask_learner_prunes(l, MASK_LAYERS) ? (size_t)s->L : 0;
	size_t H = heads ? (size_t)s->L * (size_t)s->NH : 0;
	size_t F = mask_learner_prunes(l, MASK_FFN) ? (size_t)s->L * (size_t)s->F : 0;
	float *at = calloc(C + L + H + F, sizeof *at);
	*m = (struct host_masks){0};
	*block = at;
	if (!at)
		return err_run(e, "masks: out of memory");
	m->hidden = C ? at : NULL;
	m->layers = L ? at + C : NULL;
	m->heads = H ? at + C + L : NULL;
	m->ffn = F ? at + C + L + H : NULL;
	return 0;
}

/* ---- a micro-batch ---- */

void mask_learner_sample(struct mask_learner *l, int step, int micro, struct host_masks *out)
{
	for (size_t i = 0; i < l->units.n; i++) {
		float u = rng_uniform(l->options.seed, RNG_MASK, (uint64_t)step, i | (uint64_t)micro << 32);
		l->z[i] = hard_concrete_sample(l->loga[i], u, l->options.beta, &l->slope[i]);
	}
	mask_units_spread(&l->units, l->z, out);
}

void mask_learner_backward(struct mask_learner *l, const struct host_masks *dz)
{
	mask_units_gather(&l->units, l->z, dz, l->dunits);
	for (size_t i = 0; i < l->units.n; i++) {
		l->dloga[i] += l->dunits[i] * l->slope[i];
		l->dz[i] += l->dunits[i];
	}
}

/* ---- a step ---- */

/* Moments of the task's gradient: the mean of dloss/dloga, and the mean square of dloss/dz. The second is the unit's Fisher
 * information, which every draw shows, although few draws at an open unit have a slope: it tells from the first steps on
 * which units the loss can spare. */
static void update_moments(struct mask_learner *l)
{
	double beta1 = (double)l->options.beta1, beta2 = (double)l->options.beta2;
	for (size_t i = 0; i < l->units.n; i++) {
		double g = (double)l->dloga[i], dz = (double)l->dz[i];
		l->m[i] = (float)(beta1 * (double)l->m[i] + (1 - beta1) * g);
		if (dz != 0) /* a closed unit may have no gradient at all: that says nothing of its worth */
			l->v[i] = (float)(beta2 * (double)l->v[i] + (1 - beta2) * dz * dz);
	}
	memset(l->dloga, 0, l->units.n * sizeof *l->dloga);
	memset(l->dz, 0, l->units.n * sizeof *l->dz);
}

/* log worth: the root of the Fisher information, as a share of the structure's rms so that the scale of the loss cancels,
 * and up to one unit of log more or less as the mean gradient asks for the unit or against it. */
static void weigh(struct mask_learner *l, const struct mask_block *b, int step)
{
	double left = 1 - pow((double)l->options.beta1, step + 1), squares = 0;
	size_t end = b->first + mask_block_size(b);
	for (size_t i = b->first; i < end; i++)
		squares += (double)l->v[i];
	double rms = sqrt(squares / (double)mask_block_size(b));
	for (size_t i = b->first; i < end; i++) {
		double noise = rms > 0 ? fmax(sqrt((double)l->v[i]) / rms, WORTH_FLOOR) : 1;
		double slope = hard_concrete_slope_rms((double)l->loga[i], (double)l->options.beta);
		double drift = rms > 0 ? (double)l->m[i] / left / rms / (noise * slope) : 0;
		l->worth[i] = log(noise) - fmax(-1, fmin(1, drift));
	}
}

/* Share of the phase that is over once `step` is done. */
static double progress_of(const struct mask_options *o, int step)
{
	return fmin(1, (step + 1) / (double)o->steps);
}

static double target_size(const struct mask_options *o, const struct mask_block *b, int step)
{
	double share = o->warmup_fraction > 0 ? fmin(1, progress_of(o, step) / (double)o->warmup_fraction) : 1;
	return b->n_units - share * (b->n_units - b->final_units);
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

static struct mask_price step_block(struct mask_learner *l, const struct mask_block *b, int step)
{
	const struct mask_options *o = &l->options;
	double horizon = horizon_of(o, step);
	weigh(l, b, step);
	const struct mask_rows rows = {
		.n_rows = b->n_rows, .n_units = b->n_units, .final_units = b->final_units,
		.loga = l->loga + b->first, .worth = l->worth + b->first,
		.moved = l->moved + b->first, .row_lambda = l->row_lambda, .sorted = l->sorted, .keep = l->keep + b->first,
	};
	const struct mask_step how = {
		.target = target_size(o, b, step + (int)horizon - 1), .lr = (double)o->lr, .horizon = horizon,
		.clamp = (double)o->clamp, .open = (double)o->init_loga, .beta = (double)o->beta, .harden = harden_weight(o, step),
	};
	return mask_control_step(&rows, &how);
}

void mask_learner_update(struct mask_learner *l, int step, struct mask_report *report)
{
	update_moments(l);
	for (int i = 0; i < MASK_STRUCTURES; i++)
		if (l->units.blocks[i].n_rows)
			l->prices[i] = step_block(l, &l->units.blocks[i], step);
	if (report)
		mask_learner_report(l, step + 1, report);
}

/* ---- what came of it ---- */

static double saturated_share(const float *loga, size_t n)
{
	size_t count = 0;
	for (size_t i = 0; i < n; i++)
		count += fabsf(loga[i]) > SATURATED;
	return (double)count / (double)n;
}

static double worst_row(const struct mask_block *b, const float *loga, double beta)
{
	double worst = 0;
	for (int row = 0; row < b->n_rows; row++) {
		double size = mask_expected(loga + (size_t)row * (size_t)b->n_units, 1, b->n_units, beta);
		worst = fmax(worst, fabs(size - b->final_units) / b->final_units);
	}
	return worst;
}

void mask_learner_report(const struct mask_learner *l, int step, struct mask_report *r)
{
	*r = (struct mask_report){0};
	for (int i = 0; i < MASK_STRUCTURES; i++) {
		const struct mask_block *b = &l->units.blocks[i];
		r->final_target[i] = -1;
		if (!b->n_rows)
			continue;
		const float *loga = l->loga + b->first;
		r->target[i] = target_size(&l->options, b, step - 1);
		r->expected[i] = mask_expected(loga, b->n_rows, b->n_units, (double)l->options.beta);
		r->lambda1[i] = l->prices[i].mean;
		r->lambda2[i] = l->prices[i].spread;
		r->saturated[i] = saturated_share(loga, mask_block_size(b));
		r->worst_row[i] = worst_row(b, loga, (double)l->options.beta);
		r->final_target[i] = b->final_units;
		r->units[i] = b->n_units;
	}
}

double mask_report_deviation(const struct mask_report *r, enum mask_structure *where)
{
	double worst = 0;
	for (int i = 0; i < MASK_STRUCTURES; i++) {
		double gap = r->final_target[i] < 0 ? 0 : fabs(r->expected[i] - r->final_target[i]) / r->final_target[i];
		if (gap >= worst && r->final_target[i] >= 0) {
			worst = gap;
			*where = (enum mask_structure)i;
		}
	}
	return worst;
}

/* The final value of a block's units. */
static void final_block(const struct mask_learner *l, const struct mask_block *b, bool soft, float *z, float *sorted,
			uint8_t *keep)
{
	for (int row = 0; row < b->n_rows; row++) {
		size_t first = b->first + (size_t)row * (size_t)b->n_units;
		mask_top(l->loga + first, b->n_units, b->final_units, sorted, keep);
		for (size_t i = 0; i < (size_t)b->n_units; i++)
			z[first + i] = !keep[i] ? 0 : soft ? hard_concrete_soft(l->loga[first + i], l->options.beta) : 1;
	}
}

void mask_learner_final(const struct mask_learner *l, bool soft, struct host_masks *out)
{
	/* The scratch arrays are not part of the learner's value. */
	for (int i = 0; i < MASK_STRUCTURES; i++)
		final_block(l, &l->units.blocks[i], soft, l->dunits, l->sorted, l->keep);
	mask_units_spread(&l->units, l->dunits, out);
}

/* ---- state: loga, m, v, then the prices of the last step ---- */

size_t mask_learner_n_state(const struct mask_learner *l)
{
	return 3 * l->units.n + 2 * MASK_STRUCTURES;
}

void mask_learner_get_state(const struct mask_learner *l, float *state)
{
	size_t n = l->units.n;
	memcpy(state, l->loga, n * sizeof *state);
	memcpy(state + n, l->m, n * sizeof *state);
	memcpy(state + 2 * n, l->v, n * sizeof *state);
	for (size_t i = 0; i < MASK_STRUCTURES; i++) {
		state[3 * n + 2 * i] = (float)l->prices[i].mean;
		state[3 * n + 2 * i + 1] = (float)l->prices[i].spread;
	}
}

void mask_learner_set_state(struct mask_learner *l, const float *state)
{
	size_t n = l->units.n;
	memcpy(l->loga, state, n * sizeof *state);
	memcpy(l->m, state + n, n * sizeof *state);
	memcpy(l->v, state + 2 * n, n * sizeof *state);
	memset(l->dloga, 0, n * sizeof *state);
	memset(l->dz, 0, n * sizeof *state);
	for (size_t i = 0; i < MASK_STRUCTURES; i++) {
		l->prices[i].mean = (double)state[3 * n + 2 * i];
		l->prices[i].spread = (double)state[3 * n + 2 * i + 1];
	}
}

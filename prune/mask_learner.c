/* The mask learner: state, draws, gradients, and a controlled step of every structure.
 * The distribution is in hard_concrete.c, the arrays in mask_units.c, the control in mask_control.c. */
#include "prune/mask_learner.h"

#include "base/rng.h"
#include "prune/hard_concrete.h"
#include "prune/mask_state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SATURATED 2.0f
#define LR_MAX 1.0f  /* code mode's rate */

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

struct mask_options mask_default(enum mask_rule rule, int steps)
{
	BUG_ON(steps < 1);
	bool integrated = rule == MASK_CODE || rule == MASK_PAPER, soft = rule == MASK_SOFT_TOPK;
	return (struct mask_options){
		.rule = rule,
		.steps = steps,
		.hold_fraction = soft && steps > 1 ? fmaxf(0.05f, 1.0f / (float)steps) : 0,
		.warmup_fraction = integrated ? 0.2f : 0.5f,
		.harden_fraction = 0.25f,
		.lr = integrated ? LR_MAX : fminf(LR_MAX, travel_of(steps) / (float)steps),
		.beta = rule == MASK_PAPER ? 0.83f : 2.0f / 3.0f,
		.init_loga = MASK_INTEGRATED_CLAMP,
		.clamp = integrated ? MASK_INTEGRATED_CLAMP : 10,
		.tau = 0.3f,
		.sharpen_fraction = 0.4f,
		.beta1 = 0.9f,
		.beta2 = soft ? fmaxf(0.95f, 1 - 10 / (float)steps) : 0.95f,
		.seed = 17,
	};
}

/* ---- life ---- */

/* Every array of the learner in one call, so that a failure has one place. */
static int allocate(struct mask_learner *l)
{
	size_t n = l->units.n;
	float **floats[] = {&l->score, &l->m, &l->v, &l->dscore, &l->dz, &l->z, &l->slope, &l->dunits};
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
	for (size_t i = 0; i < l->units.n && options->rule != MASK_SOFT_TOPK; i++)
		l->score[i] = fminf(options->init_loga, options->clamp);
	l->z_step = -1;
	*out = l;
	return 0;
}

void mask_learner_close(struct mask_learner *l)
{
	if (!l)
		return;
	void *owned[] = {l->score, l->m, l->v, l->dscore, l->dz, l->z, l->slope, l->dunits, l->worth, l->moved,
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

static void draw(struct mask_learner *l, int step, int micro)
{
	for (size_t i = 0; i < l->units.n; i++) {
		float u = rng_uniform(l->options.seed, RNG_MASK, (uint64_t)step, i | (uint64_t)micro << 32);
		l->z[i] = hard_concrete_sample(l->score[i], u, l->options.beta, &l->slope[i]);
	}
}

void mask_learner_sample(struct mask_learner *l, int step, int micro, struct host_masks *out)
{
	struct mask_price ignored[MASK_STRUCTURES];
	if (l->options.rule != MASK_SOFT_TOPK)
		draw(l, step, micro);
	else if (l->z_step != step) /* the same for every micro-batch */
		mask_soft_masks(l, step, l->z, ignored);
	l->z_step = step;
	mask_units_spread(&l->units, l->z, out);
}

void mask_learner_backward(struct mask_learner *l, const struct host_masks *dz)
{
	mask_units_gather(&l->units, l->z, dz, l->dunits);
	for (size_t i = 0; i < l->units.n; i++) {
		l->dscore[i] += l->dunits[i] * l->slope[i];
		l->dz[i] += l->dunits[i];
	}
}

void mask_learner_update(struct mask_learner *l, int step, struct mask_report *report)
{
	mask_learner_step(l, step);
	l->z_step = -1;
	if (report)
		mask_learner_report(l, step + 1, report);
}

/* ---- what came of it ---- */

/* How open each unit is, P(z > 0) or z itself, and whether it is decided. */
static void look_at_row(const struct mask_learner *l, size_t first, int n, const float *z, double *size, double *n_decided)
{
	*size = *n_decided = 0;
	for (size_t i = first; i < first + (size_t)n; i++) {
		double odds = z ? log((double)z[i]) - log1p(-(double)z[i]) : (double)l->score[i];
		*size += z ? (double)z[i] : hard_concrete_open((double)l->score[i], (double)l->options.beta);
		*n_decided += fabs(odds) > SATURATED;
	}
}

static void report_block(const struct mask_learner *l, enum mask_structure which, const float *z, struct mask_report *r)
{
	const struct mask_block *b = &l->units.blocks[which];
	for (int row = 0; row < b->n_rows; row++) {
		double size, n_decided;
		look_at_row(l, b->first + (size_t)row * (size_t)b->n_units, b->n_units, z, &size, &n_decided);
		r->expected[which] += size;
		r->saturated[which] += n_decided;
		r->worst_row[which] = fmax(r->worst_row[which], fabs(size - b->final_units) / b->final_units);
	}
	r->expected[which] /= b->n_rows;
	r->saturated[which] /= (double)mask_block_size(b);
	r->lambda1[which] = l->prices[which].mean;
	r->lambda2[which] = l->prices[which].spread;
	r->final_target[which] = b->final_units;
	r->units[which] = b->n_units;
}

void mask_learner_report(const struct mask_learner *l, int step, struct mask_report *r)
{
	struct mask_price ignored[MASK_STRUCTURES];
	bool soft = l->options.rule == MASK_SOFT_TOPK;
	*r = (struct mask_report){0};
	if (soft)
		mask_soft_masks(l, step - 1, l->dunits, ignored); /* scratch is not part of the learner's value */
	for (int i = 0; i < MASK_STRUCTURES; i++) {
		r->final_target[i] = -1;
		if (!l->units.blocks[i].n_rows)
			continue;
		r->target[i] = mask_target_size(&l->options, &l->units.blocks[i], step - 1);
		report_block(l, (enum mask_structure)i, soft ? l->dunits : NULL, r);
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
		mask_top(l->score + first, b->n_units, b->final_units, sorted, keep);
		for (size_t i = 0; i < (size_t)b->n_units; i++)
			z[first + i] = !keep[i] ? 0 : soft ? hard_concrete_soft(l->score[first + i], l->options.beta) : 1;
	}
}

void mask_learner_final(const struct mask_learner *l, bool soft, struct host_masks *out)
{
	soft = soft && l->options.rule != MASK_SOFT_TOPK;
	for (int i = 0; i < MASK_STRUCTURES; i++)
		final_block(l, &l->units.blocks[i], soft, l->dunits, l->sorted, l->keep);
	mask_units_spread(&l->units, l->dunits, out);
}

/* ---- state: score, m, v, then of each structure the price of the last step and the multipliers ---- */

enum { PER_STRUCTURE = 8 };

size_t mask_learner_n_state(const struct mask_learner *l)
{
	return 3 * l->units.n + PER_STRUCTURE * MASK_STRUCTURES;
}

void mask_learner_get_state(const struct mask_learner *l, float *state)
{
	size_t n = l->units.n;
	memcpy(state, l->score, n * sizeof *state);
	memcpy(state + n, l->m, n * sizeof *state);
	memcpy(state + 2 * n, l->v, n * sizeof *state);
	for (size_t i = 0; i < MASK_STRUCTURES; i++) {
		float *to = state + 3 * n + PER_STRUCTURE * i;
		to[0] = (float)l->prices[i].mean;
		to[1] = (float)l->prices[i].spread;
		memcpy(to + 2, &l->multipliers[i], sizeof l->multipliers[i]);
	}
}

void mask_learner_set_state(struct mask_learner *l, const float *state)
{
	size_t n = l->units.n;
	memcpy(l->score, state, n * sizeof *state);
	memcpy(l->m, state + n, n * sizeof *state);
	memcpy(l->v, state + 2 * n, n * sizeof *state);
	memset(l->dscore, 0, n * sizeof *state);
	memset(l->dz, 0, n * sizeof *state);
	for (size_t i = 0; i < MASK_STRUCTURES; i++) {
		const float *from = state + 3 * n + PER_STRUCTURE * i;
		l->prices[i] = (struct mask_price){(double)from[0], (double)from[1]};
		memcpy(&l->multipliers[i], from + 2, sizeof l->multipliers[i]);
	}
	l->z_step = -1;
}

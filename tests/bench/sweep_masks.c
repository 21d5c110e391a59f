/* Do the learned masks meet their target, whatever the number of steps and the target? A table over steps x targets x
 * structures in a world whose truth is known (tests/mask_world.h, deterministic), without any tuning, next to the
 * reference's rule (LLM-Shearing's code mode with its published rates) on the same draws.
 *   sweep_masks [largest number of steps, default 1000]
 * deviation: (expected - target) / target at the end, mean over rows; the worst row's in brackets. saturated: share of
 * |loga| > 2. regret: worth thrown away in hidden and ffn, 0 as little as possible, 1 chance. */
#include "base/clock.h"
#include "prune/hard_concrete.h"
#include "prune/mask_control.h"
#include "prune/mask_units.h"
#include "tests/mask_world.h"

#include <stdio.h>

enum { MICROS = 2 };
static const struct arch source = {.family = "llama", .tied = true,
				   .shape = {.L = 6, .C = 192, .F = 512, .NH = 6, .NKV = 2, .HD = 32, .V = 4096}};

/* ---- the reference's rule: Adam on the task's plus the Lagrangian's gradient, Adam ascent on two multipliers ---- */

struct code_mode {
	struct mask_units units;
	float *loga, *z, *slope, *dunits;
	double *g, *m, *v;
	struct {
		double value[2], m[2], v[2];
	} lambda[MASK_STRUCTURES];
};

static double adam(double g, double *m, double *v, int step)
{
	*m = 0.9 * *m + 0.1 * g;
	*v = 0.95 * *v + 0.05 * g * g;
	return *m / (1 - pow(0.9, step + 1)) / (sqrt(*v / (1 - pow(0.95, step + 1))) + 1e-8);
}

static void code_mode_open(struct code_mode *c, const struct arch *target)
{
	*c = (struct code_mode){.units = mask_units_of(&source, target)};
	float **floats[] = {&c->loga, &c->z, &c->slope, &c->dunits};
	double **doubles[] = {&c->g, &c->m, &c->v};
	for (size_t i = 0; i < 4; i++)
		BUG_ON(!(*floats[i] = calloc(c->units.n, sizeof(float))));
	for (size_t i = 0; i < 3; i++)
		BUG_ON(!(*doubles[i] = calloc(c->units.n, sizeof(double))));
	for (size_t i = 0; i < c->units.n; i++)
		c->loga[i] = 4.605f;
}

static void code_mode_close(struct code_mode *c)
{
	void *owned[] = {c->loga, c->z, c->slope, c->dunits, c->g, c->m, c->v};
	for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
		free(owned[i]);
}

static void code_mode_block(struct code_mode *c, int which, int step, int steps, double lr)
{
	const struct mask_block *b = &c->units.blocks[which];
	double sparsity = 1 - b->final_units / (double)b->n_units, t = sparsity * fmin(1, step / (0.2 * steps));
	double d1 = 0, d2 = 0, *lambda = c->lambda[which].value;
	for (int row = 0; row < b->n_rows; row++) {
		size_t first = b->first + (size_t)row * (size_t)b->n_units;
		double gap = 1 - mask_expected(c->loga + first, 1, b->n_units, 2 / 3.) / b->n_units - t;
		d1 += gap / b->n_rows;
		d2 += gap * gap / b->n_rows;
		for (size_t i = first; i < first + (size_t)b->n_units; i++)
			c->g[i] -= (lambda[0] + 2 * lambda[1] * gap) * hard_concrete_open_slope((double)c->loga[i], 2 / 3.) /
				   b->n_units / b->n_rows;
	}
	for (size_t i = b->first; i < b->first + mask_block_size(b); i++) {
		double loga = (double)c->loga[i] - lr * adam(c->g[i], &c->m[i], &c->v[i], step);
		c->loga[i] = (float)fmax(-4.605, fmin(4.605, loga));
		c->g[i] = 0;
	}
	lambda[0] += lr * adam(d1, &c->lambda[which].m[0], &c->lambda[which].v[0], step);
	lambda[1] += lr * adam(d2, &c->lambda[which].m[1], &c->lambda[which].v[1], step);
}

static void code_mode_micro(struct code_mode *c, const struct mask_world *w, int step, int micro, struct host_masks *z,
			    struct host_masks *dz)
{
	for (size_t i = 0; i < c->units.n; i++) {
		float u = rng_uniform(17, RNG_MASK, (uint64_t)step, i | (uint64_t)micro << 32);
		c->z[i] = hard_concrete_sample(c->loga[i], u, 2 / 3.f, &c->slope[i]);
	}
	mask_units_spread(&c->units, c->z, z);
	world_gradient(w, step, micro, z, dz);
	mask_units_gather(&c->units, c->z, dz, c->dunits);
	for (size_t i = 0; i < c->units.n; i++)
		c->g[i] += (double)(c->dunits[i] * c->slope[i]);
}

static void code_mode_run(struct code_mode *c, const struct mask_world *w, int steps, struct host_masks *z,
			  struct host_masks *dz)
{
	for (int step = 0; step < steps; step++) {
		double warm = fmin(1, (step + 1) / (0.1 * steps)), lr = warm * (0.55 + 0.45 * cos(M_PI * step / steps));
		for (int micro = 0; micro < MICROS; micro++)
			code_mode_micro(c, w, step, micro, z, dz);
		for (int i = 0; i < MASK_STRUCTURES; i++)
			if (c->units.blocks[i].n_rows)
				code_mode_block(c, i, step, steps, lr);
	}
}

static void code_mode_report(const struct code_mode *c, struct mask_report *r)
{
	*r = (struct mask_report){0};
	for (int i = 0; i < MASK_STRUCTURES; i++) {
		const struct mask_block *b = &c->units.blocks[i];
		size_t n_sure = 0;
		r->final_target[i] = b->n_rows ? b->final_units : -1;
		if (!b->n_rows)
			continue;
		r->expected[i] = mask_expected(c->loga + b->first, b->n_rows, b->n_units, 2 / 3.);
		for (int row = 0; row < b->n_rows; row++) {
			double size = mask_expected(c->loga + b->first + (size_t)row * (size_t)b->n_units, 1, b->n_units, 2 / 3.);
			r->worst_row[i] = fmax(r->worst_row[i], fabs(size - b->final_units) / b->final_units);
		}
		for (size_t k = b->first; k < b->first + mask_block_size(b); k++)
			n_sure += fabsf(c->loga[k]) > 2;
		r->saturated[i] = (double)n_sure / (double)mask_block_size(b);
	}
}

/* ---- the sweep ---- */

struct tally {
	int n, n_met;
	double worst;
};

static void print_report(const char *rule, int steps, double share, const struct mask_report *r, struct tally *tally)
{
	printf("%-9s %6d  %3.0f %%", rule, steps, 100 * share);
	for (int i = 0; i < MASK_STRUCTURES; i++) {
		if (r->final_target[i] < 0) {
			if (i != MASK_GROUPS)
				printf(" | %-25s", "-");
			continue;
		}
		double gap = r->expected[i] / r->final_target[i] - 1;
		printf(" | %4d %+7.2f (%6.2f) %3.0f", r->final_target[i], 100 * gap, 100 * r->worst_row[i], 100 * r->saturated[i]);
		tally->n++;
		tally->n_met += fabs(gap) <= MASK_TOLERANCE;
		tally->worst = fmax(tally->worst, fabs(gap));
	}
}

static struct target target_at(double share)
{
	const struct shape *s = &source.shape;
	return (struct target){
		.layers = (int)fmax(1, round(s->L * share)), .hidden = (int)round(s->C * share),
		.heads = s->NKV * (int)fmax(1, round(s->NH / s->NKV * share)), .intermediate = (int)round(s->F * share),
	};
}

static void run_ours(struct mask_learner *l, const struct mask_world *w, int steps, double share, struct host_masks *z,
		     struct host_masks *dz, struct tally *tally)
{
	struct mask_report r = {0};
	for (int step = 0; step < steps; step++)
		world_step(w, l, step, MICROS, z, dz, &r);
	print_report("solved", steps, share, &r, tally);
	mask_learner_final(l, false, z);
	printf(" | regret %.3f %.3f\n", world_regret(w, WORLD_HIDDEN, z->hidden), world_regret(w, WORLD_FFN, z->ffn));
}

static void run_cell(int steps, double share, struct tally tally[2])
{
	/* Hidden sizes that are no multiple of the heads are fine here: nothing is saved. */
	const struct target t = target_at(share);
	const struct mask_options o = mask_default(steps);
	struct mask_world w = world_open(&source.shape, 5, 3);
	struct arch target = source;
	struct mask_learner *l;
	struct code_mode c;
	struct host_masks z, dz;
	struct mask_report r;
	void *z_block, *dz_block;
	struct err e;
	target.shape = (struct shape){t.layers, t.hidden, t.intermediate, t.heads, source.shape.NKV, source.shape.HD, source.shape.V};
	BUG_ON(mask_learner_open(&l, &source, &target, &o, &e) < 0);
	BUG_ON(host_masks_alloc(&z, &z_block, l, &e) < 0 || host_masks_alloc(&dz, &dz_block, l, &e) < 0);
	run_ours(l, &w, steps, share, &z, &dz, &tally[0]);
	code_mode_open(&c, &target);
	code_mode_run(&c, &w, steps, &z, &dz);
	code_mode_report(&c, &r);
	print_report("reference", steps, share, &r, &tally[1]);
	printf("\n");
	fflush(stdout);
	code_mode_close(&c);
	mask_learner_close(l);
	free(z_block);
	free(dz_block);
	world_close(&w);
}

int main(int argc, char **argv)
{
	static const int steps[] = {30, 100, 300, 1000, 3200, 10000};
	static const double shares[] = {0.2, 0.34, 0.5, 0.667, 0.9};
	int largest = argc > 1 ? atoi(argv[1]) : 1000;
	struct tally tally[2] = {{0}, {0}};
	double start = clock_now_s();
	printf("rule       steps  kept | hidden: target, deviation %% (worst row %%), saturated %% | layers | heads | ffn\n");
	for (size_t i = 0; i < sizeof steps / sizeof *steps && steps[i] <= largest; i++)
		for (size_t k = 0; k < sizeof shares / sizeof *shares; k++)
			run_cell(steps[i], shares[k], tally);
	for (int i = 0; i < 2; i++)
		printf("%s: %d of %d within %.0f %%, worst %.2f %%\n", i ? "reference" : "solved", tally[i].n_met, tally[i].n,
		       100 * MASK_TOLERANCE, 100 * tally[i].worst);
	printf("%.0f s\n", clock_now_s() - start);
	return 0;
}

/* Do the learned masks meet their target, whatever the rule, the number of steps, the structures and the target? And what
 * does the way there cost? In a world whose truth is known (tests/mask_world.h, deterministic), with default settings.
 *   sweep_masks [largest number of steps, default 1000]      100, 300, 1000, 3200, 10000; beyond 1000 all structures only
 * Of the pruned structures, in per cent:
 *   deviation  (expected - target) / target at the end, before the top-k of the cut, where it is largest
 *   worst row  the same of the row that is furthest off
 *   regret     worth thrown away by the final masks: 0 as little as possible, 100 chance. The mean over structures
 *   damage     what the masks cost during the phase: sum worth (1 - z)^2, the mean over draws and structures, as a share
 *              of what a final mask by chance costs. It is what the weights have to bear, or to learn around */
#include "base/clock.h"
#include "prune/mask_learner.h"
#include "tests/mask_world.h"

#include <stdio.h>

enum { MICROS = 2, RULES = 4, MAX_STRUCTURES = 4 };
static const char *const rule_names[RULES] = {[MASK_SOLVED] = "solved", [MASK_CODE] = "code", [MASK_PAPER] = "paper",
					      [MASK_SOFT_TOPK] = "soft_topk"};
static const struct arch source = {.family = "llama", .tied = true,
				   .shape = {.L = 6, .C = 192, .F = 512, .NH = 6, .NKV = 2, .HD = 32, .V = 4096}};

struct cell {
	enum mask_rule rule;
	int steps, n_structures; /* of ffn, hidden, heads, layers, in this order */
	double share;            /* kept */
};
struct tally {
	int n, n_met;
	double worst, regret, damage;
};

/* Hidden sizes that are no multiple of the heads are fine here: nothing is saved. */
static struct arch target_of(const struct cell *c)
{
	struct arch t = source;
	struct shape *s = &t.shape;
	int per_group = s->NH / s->NKV;
	s->F = (int)round(s->F * c->share);
	if (c->n_structures > 1)
		s->C = (int)round(s->C * c->share);
	if (c->n_structures > 2)
		s->NH = s->NKV * (int)fmin(per_group - 1, fmax(1, round(per_group * c->share)));
	if (c->n_structures > 3)
		s->L = (int)fmin(s->L - 1, fmax(1, round(s->L * c->share)));
	return t;
}

/* sum worth (1 - z)^2 over that of a mask that keeps final_share of the units by chance; 0 of an array that is not pruned. */
static double cost_of(const struct mask_world *w, int array, const float *z, double final_share)
{
	const struct world_array *x = &w->arrays[array];
	double sum = 0, all = 0;
	for (size_t i = 0; i < x->n_rows * x->n_units && z; i++) {
		sum += x->worth[i] * (1 - (double)z[i]) * (1 - (double)z[i]);
		all += x->worth[i];
	}
	return z ? sum / all / (1 - final_share) : 0;
}

/* Mean over the arrays of structures that are pruned. */
static double mean_over(const struct mask_world *w, const struct host_masks *z, const struct shape *t,
			double (*f)(const struct mask_world *, int array, const float *z, double final_share))
{
	const struct shape *s = &source.shape;
	const float *arrays[WORLD_ARRAYS] = {z->hidden, z->layers, z->heads, z->ffn};
	const double kept[WORLD_ARRAYS] = {t->C / (double)s->C, t->L / (double)s->L, t->NH / (double)s->NH, t->F / (double)s->F};
	double sum = 0;
	int n = 0;
	for (int a = 0; a < WORLD_ARRAYS; a++) {
		sum += arrays[a] ? f(w, a, arrays[a], kept[a]) : 0;
		n += arrays[a] != NULL;
	}
	return sum / n;
}

static double regret_of(const struct mask_world *w, int array, const float *z, double final_share)
{
	(void)final_share;
	return world_regret(w, array, z);
}

/* The whole phase; returns the mean cost of its draws. */
static double run_phase(const struct mask_world *w, struct mask_learner *l, int steps, const struct shape *t, struct host_masks *z,
			struct host_masks *dz, struct mask_report *r)
{
	double cost = 0;
	for (int step = 0; step < steps; step++) {
		for (int micro = 0; micro < MICROS; micro++) {
			mask_learner_sample(l, step, micro, z);
			cost += mean_over(w, z, t, cost_of);
			world_gradient(w, step, micro, z, dz);
			mask_learner_backward(l, dz);
		}
		mask_learner_update(l, step, r);
	}
	return cost / steps / MICROS;
}

static double worst_row(const struct mask_report *r)
{
	double worst = 0;
	for (int i = 0; i < MASK_STRUCTURES; i++)
		worst = fmax(worst, r->worst_row[i]);
	return worst;
}

static void run_cell(const struct cell *c, struct tally *tally)
{
	const struct arch target = target_of(c);
	const struct mask_options o = mask_default(c->rule, c->steps);
	struct mask_world w = world_open(&source.shape, 5, 3);
	enum mask_structure where = MASK_FFN;
	struct mask_report r = {0};
	struct mask_learner *l;
	struct host_masks z, dz;
	void *z_block, *dz_block;
	struct err e;
	BUG_ON(mask_learner_open(&l, &source, &target, &o, &e) < 0);
	BUG_ON(host_masks_alloc(&z, &z_block, l, &e) < 0 || host_masks_alloc(&dz, &dz_block, l, &e) < 0);
	double damage = run_phase(&w, l, c->steps, &target.shape, &z, &dz, &r);
	mask_learner_final(l, false, &z);
	double regret = mean_over(&w, &z, &target.shape, regret_of), gap = mask_report_deviation(&r, &where);
	printf("%-9s %6d %10d %4.0f %9.2f %-6s %9.2f %6.1f %6.1f\n", rule_names[c->rule], c->steps, c->n_structures, 100 * c->share,
	       100 * (r.expected[where] / r.final_target[where] - 1), mask_structure_name(where), 100 * worst_row(&r), 100 * regret, 100 * damage);
	fflush(stdout);
	tally->n++;
	tally->n_met += gap <= MASK_TOLERANCE;
	tally->worst = fmax(tally->worst, gap);
	tally->regret += regret;
	tally->damage += damage;
	mask_learner_close(l);
	free(z_block);
	free(dz_block);
	world_close(&w);
}

int main(int argc, char **argv)
{
	static const int steps[] = {100, 300, 1000, 3200, 10000};
	static const double shares[] = {0.2, 0.34, 0.5, 0.667, 0.9};
	int largest = argc > 1 ? atoi(argv[1]) : 1000;
	struct tally tally[RULES] = {{0}};
	double start = clock_now_s();
	printf("%-9s %6s %10s %4s %9s %-6s %9s %6s %6s\n", "rule", "steps", "structures", "kept", "deviation", "where", "worst row", "regret", "damage");
	for (size_t i = 0; i < sizeof steps / sizeof *steps && steps[i] <= largest; i++)
		for (int n = steps[i] > 1000 ? MAX_STRUCTURES : 1; n <= MAX_STRUCTURES; n++)
			for (size_t k = 0; k < sizeof shares / sizeof *shares; k++)
				for (int rule = 0; rule < RULES; rule++)
					run_cell(&(struct cell){(enum mask_rule)rule, steps[i], n, shares[k]}, &tally[rule]);
	for (int i = 0; i < RULES; i++)
		printf("%-9s %d of %d within %.0f %%, worst %.2f %%; regret %.1f %%, damage %.1f %% in the mean\n", rule_names[i], tally[i].n_met, tally[i].n,
		       100 * MASK_TOLERANCE, 100 * tally[i].worst, 100 * tally[i].regret / tally[i].n, 100 * tally[i].damage / tally[i].n);
	printf("%.0f s\n", clock_now_s() - start);
	return 0;
}

/* Sums of a step as means, and inner losses brought to the size of the divergences. Test: tests/test_run_distil.c */
#include "recipes/loop_parts.h"

#include <math.h>

double loop_mean(double sum, size_t n)
{
	return n ? sum / (double)n : NAN;
}

double loop_inner_mean(const struct distill_inner *item, const struct step_sums *sums, int *at)
{
	double sum = 0;
	for (int k = 0; k < item->n_pairs; k++)
		sum += sums->inner[(*at)++];
	return loop_mean(sum / item->n_pairs, sums->kd_tokens);
}

static double divergences(const struct step_loss *loss, const struct step_sums *sums)
{
	double sum = 0;
	for (int k = 0; k < loss->n_terms; k++)
		sum += (double)loss->terms[k].weight * sums->terms[k];
	return loop_mean(sum, sums->kd_tokens);
}

void loop_balance(const struct loop *l, const struct loop_state *s, struct step_loss *loss)
{
	const struct distill_plan *p = &l->supply->plan;
	for (int i = 0, at = 0; i < p->n_inner; i++)
		for (int k = 0; k < p->inner[i].n_pairs; k++, at++)
			loss->inner_weight[at] *= s->magnitude[1 + i] > 0 ? (float)(s->magnitude[0] / s->magnitude[1 + i]) : 0;
}

static void follow(double *running, double value)
{
	const double keep = 0.9;
	if (isfinite(value))
		*running = *running > 0 ? keep * *running + (1 - keep) * value : value;
}

void loop_follow_magnitudes(const struct loop *l, struct loop_state *s, const struct step_loss *loss, const struct step_sums *sums)
{
	const struct distill_plan *p = &l->supply->plan;
	follow(&s->magnitude[0], loss->n_terms ? divergences(loss, sums) : loop_mean(sums->ce, sums->tokens));
	for (int i = 0, at = 0; i < p->n_inner; i++)
		follow(&s->magnitude[1 + i], loop_inner_mean(&p->inner[i], sums, &at));
}

double loop_total_loss(const struct step_loss *loss, const struct step_sums *sums, int n_inner)
{
	double kd_ce = loss->kd_skip_separators ? sums->ce_text : sums->ce, sum = sums->ce;
	if (!sums->kd_tokens)
		return loop_mean(sums->ce, sums->tokens);
	sum += (double)(loss->ce_weight - 1) * kd_ce + divergences(loss, sums) * (double)sums->kd_tokens;
	for (int i = 0; i < n_inner; i++)
		sum += (double)loss->inner_weight[i] * sums->inner[i];
	return loop_mean(sum, sums->tokens);
}

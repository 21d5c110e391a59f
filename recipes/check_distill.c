/* What the tables of keys cannot say of distillation: parameters that are not defined for a loss, losses that a cache
 * cannot serve. Test: tests/test_recipe_distill.c */
#include "recipes/check.h"
#include "recipes/distill.h"

#include <math.h>

static bool is_inner(const struct loss_spec *l)
{
	return isnan(l->ce) && l->loss >= DIVERGENCES;
}

static bool is_divergence(const struct loss_spec *l)
{
	return isnan(l->ce) && l->loss < DIVERGENCES;
}

static int check_parameters(const struct loss_spec *l, struct err *e)
{
	bool jsd = l->loss == DIVERGENCE_JSD || l->loss == DIVERGENCE_JSD_NORMALIZED;
	bool skewed = l->loss == DIVERGENCE_SKEW_FORWARD_KL || l->loss == DIVERGENCE_SKEW_REVERSE_KL;
	if (jsd && l->beta > 1)
		return yaml_caret(e, check_place(l->at, "beta"), "beta: %g is outside 0 to 1: %s mixes beta p + (1-beta) q", l->beta, loss_names[l->loss]);
	if (skewed && l->skew >= 1)
		return yaml_caret(e, check_place(l->at, "skew"), "skew: 1 compares a distribution with itself; expected less than 1");
	if (l->loss == DIVERGENCE_ADAPTIVE_KL && (l->mu <= 0 || l->mu >= 1))
		return yaml_caret(e, check_place(l->at, "mu"), "mu: %g leaves adaptive_kl without a head or without a tail; expected more than 0 and less than 1", l->mu);
	return 0;
}

static int check_layers(const struct loss_spec *l, struct err *e)
{
	if (!l->teacher_layers.n || l->teacher_layers.n == l->student_layers.n)
		return 0;
	return yaml_caret(e, check_place(l->at, "teacher_layers"), "teacher_layers: %d for %d student_layers, expected one for each",
			  l->teacher_layers.n, l->student_layers.n);
}

static int check_loss(const struct loss_spec *l, struct err *e)
{
	if (!isnan(l->ce))
		return 0;
	if (!isnan(l->ce_end))
		return yaml_caret(e, check_place(l->at, "ce_end"), "ce_end: where it ends needs where it starts; add ce");
	return check_parameters(l, e) < 0 ? -1 : check_layers(l, e);
}

static int check_numbers(const struct distill_spec *d, struct err *e)
{
	int n_ce = 0, n_terms = 0, n_inner = 0;
	for (int i = 0; i < distill_n_losses(d); i++) {
		const struct loss_spec *l = distill_loss(d, i);
		n_terms += is_divergence(l);
		n_inner += !is_inner(l) ? 0 : l->student_layers.n ? l->student_layers.n : 1;
		if (!isnan(l->ce) && n_ce++)
			return yaml_caret(e, check_place(l->at, "ce"), "ce: it stands twice; expected one item of cross-entropy");
		if (n_terms > STUDENT_MAX_TERMS)
			return yaml_caret(e, l->at, "losses: expected at most %d divergences", STUDENT_MAX_TERMS);
		if (n_inner > STUDENT_MAX_INNER)
			return yaml_caret(e, l->at, "losses: expected at most %d inner losses, counted by layers; found %d", STUDENT_MAX_INNER, n_inner);
	}
	if (!n_terms && !n_inner)
		return yaml_caret(e, check_place(d->at, "losses"), "losses: nothing is learned from the teacher; to train on text alone, write distill: null");
	return 0;
}

/* ---- caches ---- */

static int check_cache(const struct cache_section *c, struct err *e)
{
	int n = !!c->top_k + !!c->samples + c->hidden;
	if (n != 1)
		return yaml_caret(e, c->at, "cache: expected exactly one of top_k, samples, hidden; found %d", n);
	if (c->top_p > 0 && !c->top_k)
		return yaml_caret(e, check_place(c->at, "top_p"), "top_p: it needs top_k, the most tokens that a position may have");
	if (c->missing != MISSING_ZERO && !c->top_k)
		return yaml_caret(e, check_place(c->at, "missing"), "missing: only a cache of top_k lacks mass");
	if (c->proposal != 1 && !c->samples)
		return yaml_caret(e, check_place(c->at, "proposal"), "proposal: only samples are drawn from one");
	return 0;
}

/* Does it have q where p is 0 as an infinite price? */
static bool infinite_at_zero(const struct loss_spec *l)
{
	switch (l->loss) {
	case DIVERGENCE_REVERSE_KL:
	case DIVERGENCE_ADAPTIVE_KL:
		return true;
	case DIVERGENCE_SYMMETRIC_KL:
		return l->reverse > 0;
	case DIVERGENCE_JSD_NORMALIZED:
		return l->beta >= 1;
	case DIVERGENCE_SKEW_REVERSE_KL:
		return l->skew <= 0;
	case DIVERGENCE_ALPHA_BETA:
		return l->alpha <= 0;
	default:
		return false;
	}
}

static int check_sparse(const struct cache_section *c, const struct loss_spec *l, struct err *e)
{
	const char *name = loss_names[l->loss];
	const struct yaml_node *at = check_place(l->at, "loss");
	if (l->loss == DIVERGENCE_LOGIT_MSE)
		return yaml_caret(e, at, "loss: %s needs every logit, a cache of top_k or samples has a few probabilities; cache hidden states instead (hidden: true)", name);
	if (c->samples && l->loss != DIVERGENCE_FORWARD_KL)
		return yaml_caret(e, at, "loss: %s cannot be learned from samples, whose weights are unbiased for forward_kl alone; take forward_kl, or top_k", name);
	if (c->top_k && c->missing == MISSING_ZERO && infinite_at_zero(l))
		return yaml_caret(e, at, "loss: %s is infinite where p = 0, as missing: zero makes it outside top_k; take tail or renormalise", name);
	if (l->schedule != DISTILL_CONSTANT && !isnan(l->temperature_end) && l->temperature_end != l->temperature)
		return yaml_caret(e, check_place(l->at, "temperature_end"), "temperature_end: a cache of top_k or samples is taken at one temperature; keep it constant, or cache hidden states (hidden: true)");
	return 0;
}

static int check_cached_losses(const struct distill_spec *d, struct err *e)
{
	const struct loss_spec *first = NULL;
	for (int i = 0; i < distill_n_losses(d); i++) {
		const struct loss_spec *l = distill_loss(d, i);
		if (is_inner(l))
			return yaml_caret(e, check_place(l->at, "loss"), "loss: %s looks inside the teacher, which a cache does not hold; remove cache", loss_names[l->loss]);
		if (!is_divergence(l) || d->cache->hidden)
			continue;
		if (check_sparse(d->cache, l, e) < 0)
			return -1;
		if (first && l->temperature != first->temperature)
			return yaml_caret(e, check_place(l->at, "temperature"), "temperature: %g after %g, but a cache of top_k or samples is taken at one; or cache hidden states (hidden: true)",
					  l->temperature, first->temperature);
		first = l;
	}
	return 0;
}

int check_distill(const struct distill_spec *d, struct err *e)
{
	if (!d)
		return 0;
	for (int i = 0; i < distill_n_losses(d); i++)
		if (check_loss(distill_loss(d, i), e) < 0)
			return -1;
	if (check_numbers(d, e) < 0 || (d->cache && check_cache(d->cache, e) < 0))
		return -1;
	return d->cache ? check_cached_losses(d, e) : 0;
}

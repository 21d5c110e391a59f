/* The report's sentences. Test: tests/test_report.c, tests/test_controls.c */
#include "results/report.h"

static const struct compare_row *best_row(const struct comparison *c)
{
	for (int i = 0; i < c->n_rows; i++)
		if (c->rows[i].rank == 1)
			return &c->rows[i];
	return NULL;
}

void report_verdict(const struct comparison *c, char *out, size_t n)
{
	const struct compare_row *best = best_row(c), *reference = &c->rows[c->reference];
	int ranked = 0;
	for (int i = 0; i < c->n_rows; i++)
		ranked += c->rows[i].rank > 0;
	if (!best || ranked < 2) {
		snprintf(out, n, "No two students of one size were scored on the same documents: nothing is ranked.");
		return;
	}
	const struct compare_cell *cell = &best->cells[0];
	int at = snprintf(out, n, "Best of %d students of one size: %s, %.4f %s on %s", ranked, best->name, cell->score.mean,
			  compare_unit(c, 0), c->domains[0].name);
	if (at < 0 || (size_t)at >= n)
		return;
	if (best == reference) {
		snprintf(out + at, n - (size_t)at, ": no other student beats the reference.");
		return;
	}
	const struct interval *d = &cell->difference;
	snprintf(out + at, n - (size_t)at, ", %+.4f against %s (95 %% interval %+.4f … %+.4f, %s zero).", d->mean, reference->name,
		 d->low, d->high, d->high < 0 ? "below" : d->low > 0 ? "above" : "which holds");
}

void report_stamp(const struct comparison *c, char *out, size_t n)
{
	const struct result *r = c->rows[c->reference].seeds[0];
	const struct evaluation *v = &r->evals[0].scores;
	snprintf(out, n, "recipe %s %s · commit %s · %s · training %s, %d threads · scored in %s, sequence length %d, stride %d · "
		 "%d bootstrap resamples · started %s", *r->stamp.recipe ? r->stamp.recipe : "–", r->stamp.recipe_hash,
		 *r->stamp.commit ? r->stamp.commit : "unknown", *r->stamp.device ? r->stamp.device : "unknown device",
		 *r->stamp.dtype ? r->stamp.dtype : "–", r->stamp.threads, v->dtype, v->sequence_length, v->stride,
		 c->bootstrap.resamples, *r->stamp.started ? r->stamp.started : "–");
}

/* ---- did distillation help ---- */

static const char *sign_of(const struct interval *d)
{
	return d->high < 0 ? "below zero" : d->low > 0 ? "above zero" : "which holds zero";
}

/* Of the first domain. NULL: the pair was not scored alike. */
static const struct interval *difference_of(const struct compare_pair *p)
{
	return p->other >= 0 && p->cells[0].paired ? &p->cells[0].difference : NULL;
}

static void describe_pair(const struct comparison *c, const struct compare_pair *p, char *out, size_t n)
{
	const struct interval *d = difference_of(p);
	snprintf(out, n, "%s − %s %+.4f %s on %s (95 %% interval %+.4f … %+.4f, %s)", c->rows[p->row].name, c->rows[p->other].name,
		 d->mean, compare_unit(c, 0), c->domains[0].name, d->low, d->high, sign_of(d));
}

bool report_verdict_control(const struct comparison *c, char *out, size_t n)
{
	const struct compare_pair *best = NULL;
	int pairs = 0, below = 0, above = 0;
	char text[512];
	for (int i = 0; i < c->n_controls; i++) {
		const struct interval *d = difference_of(&c->controls[i]);
		if (!d)
			continue;
		pairs++;
		below += d->high < 0;
		above += d->low > 0;
		if (!best || d->mean < difference_of(best)->mean)
			best = &c->controls[i];
	}
	if (!best)
		return false;
	describe_pair(c, best, text, sizeof text);
	if (pairs == 1)
		snprintf(out, n, "Distillation %s at equal tokens: %s.", below ? "beat text alone" : above ? "did worse than text alone" :
			 "did not surely beat text alone", text);
	else
		snprintf(out, n, "Distillation beat text alone at equal tokens in %d of %d students, did worse in %d, and in %d the interval "
			 "holds zero. The most: %s.", below, pairs, above, pairs - below - above, text);
	return true;
}

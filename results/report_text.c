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

/* Of the first domain. NULL: there is no control, or it was scored on other documents. */
static const struct compare_pair_cell *cell_of(const struct compare_pair *p)
{
	return p->other >= 0 && p->cells[0].paired ? &p->cells[0] : NULL;
}

/* Documents and seeds must agree: -1 the student is better than its control, 1 it is worse, 0 that is open. */
static int outcome(const struct compare_pair *p)
{
	const struct compare_pair_cell *cell = cell_of(p);
	if (cell->difference.high < 0 && cell->n_better == p->n_seeds)
		return -1;
	return cell->difference.low > 0 && !cell->n_better;
}

static void describe_pair(const struct comparison *c, const struct compare_pair *p, char *out, size_t n)
{
	const struct compare_pair_cell *cell = cell_of(p);
	const struct interval *d = &cell->difference;
	char seeds[64] = "";
	if (p->n_seeds > 1)
		snprintf(seeds, sizeof seeds, ", better in %d of %d seeds", cell->n_better, p->n_seeds);
	snprintf(out, n, "%s − %s %+.4f %s on %s (95 %% interval %+.4f … %+.4f%s%s)", c->rows[p->row].name, c->rows[p->other].name,
		 d->mean, compare_unit(c, 0), c->domains[0].name, d->low, d->high,
		 d->low <= 0 && d->high >= 0 ? ", which holds zero" : "", seeds);
}

bool report_verdict_control(const struct comparison *c, char *out, size_t n)
{
	static const char *const words[] = {"beat text alone", "did not surely beat text alone", "did worse than text alone"};
	const struct compare_pair *best = NULL;
	int pairs = 0, count[3] = {0};
	char text[512];
	for (int i = 0; i < c->n_controls; i++) {
		const struct compare_pair *p = &c->controls[i];
		if (!cell_of(p))
			continue;
		pairs++;
		count[outcome(p) + 1]++;
		if (!best || cell_of(p)->difference.mean < cell_of(best)->difference.mean)
			best = p;
	}
	if (!best)
		return false;
	describe_pair(c, best, text, sizeof text);
	if (pairs == 1)
		snprintf(out, n, "Distillation %s at equal tokens: %s.", words[outcome(best) + 1], text);
	else
		snprintf(out, n, "Distillation beat text alone at equal tokens in %d of %d students, did worse in %d, and in %d that is open "
			 "(the interval holds zero, or seeds disagree). The most: %s.", count[0], pairs, count[2], count[1], text);
	return true;
}

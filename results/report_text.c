/* The report's sentences. Test: tests/test_report.c, tests/test_controls.c */
#include "results/report.h"

#include <stdarg.h>
#include <string.h>

/* ---- who is best of a size ---- */

/* Text goes where the last ended; what does not fit is cut. */
static void append(char *out, size_t n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void append(char *out, size_t n, const char *fmt, ...)
{
	size_t used = strlen(out);
	va_list args;
	va_start(args, fmt);
	vsnprintf(out + used, n - used, fmt, args);
	va_end(args);
}

static int n_sizes(const struct comparison *c)
{
	int n = 0;
	for (int g = 0; g < c->n_groups; g++)
		n += c->groups[g].n_ranked > 1;
	return n;
}

/* The i-th size with something to rank; -1: no more. */
static int size_at(const struct comparison *c, int i)
{
	for (int g = 0; g < c->n_groups; g++)
		if (c->groups[g].n_ranked > 1 && !i--)
			return g;
	return -1;
}

static const struct compare_row *at_rank(const struct comparison *c, int group, int rank)
{
	for (int i = 0; i < c->n_rows; i++)
		if (c->rows[i].group == group && c->rows[i].rank == rank)
			return &c->rows[i];
	return NULL;
}

static void say_best(const struct comparison *c, int group, const struct compare_row *best, char *out, size_t n)
{
	const struct compare_row *reference = &c->rows[c->groups[group].reference];
	char size[32];
	append(out, n, "Best of %d students of %s%s: %s, %.4f %s on %s", c->groups[group].n_ranked,
	       n_sizes(c) > 1 ? table_count((double)reference->seeds[0]->parameters, size) : "one size", n_sizes(c) > 1 ? " parameters" : "",
	       best->name, best->cells[0].score.mean, compare_unit(c, 0), c->domains[0].name);
	if (best->reference) {
		append(out, n, ": no other student beats the reference.");
		return;
	}
	const struct interval *d = &best->cells[0].difference;
	append(out, n, ", %+.4f against %s (95 %% interval %+.4f … %+.4f, %s zero).", d->mean, reference->name, d->low, d->high,
	       d->high < 0 ? "below" : d->low > 0 ? "above" : "which holds");
}

/* Who might be as good, in order of rank; else by how much the second is worse. On the first domain, where `best` is its best. */
static void say_next(const struct comparison *c, int group, char *out, size_t n)
{
	int said = 0;
	const struct compare_row *second = at_rank(c, group, 2);
	for (int rank = 2; rank <= c->groups[group].n_ranked; rank++) {
		const struct compare_row *row = at_rank(c, group, rank);
		if (row && row->cells[0].to_best.paired && pairs_outcome(&row->cells[0].to_best) <= 0)
			append(out, n, "%s%s", said++ ? ", " : " Not surely worse: ", row->name);
	}
	if (said)
		append(out, n, ".");
	else if (second && second->cells[0].to_best.paired) {
		const struct compare_pair_cell *gap = &second->cells[0].to_best;
		append(out, n, " The next, %s, is worse by %.4f (%.4f … %.4f", second->name, gap->difference.mean, gap->difference.low,
		       gap->difference.high);
		append(out, n, gap->n_seeds > 1 ? "; in each of %d seeds)." : ").", gap->n_seeds);
	}
}

bool report_verdict(const struct comparison *c, int i, char *out, size_t n)
{
	int group = size_at(c, i);
	*out = '\0';
	if (group < 0) {
		if (i == 0)
			append(out, n, "No two students of one size were scored on the same documents: nothing is ranked.");
		return i == 0;
	}
	const struct compare_row *best = at_rank(c, group, 1);
	say_best(c, group, best, out, n);
	if (best->cells[0].best)
		say_next(c, group, out, n);
	return true;
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

static void describe_pair(const struct comparison *c, const struct compare_pair *p, char *out, size_t n)
{
	const struct compare_pair_cell *cell = cell_of(p);
	const struct interval *d = &cell->difference;
	char seeds[64] = "";
	if (cell->n_seeds > 1)
		snprintf(seeds, sizeof seeds, ", better in %d of %d seeds", cell->n_better, cell->n_seeds);
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
		count[pairs_outcome(cell_of(p)) + 1]++;
		if (!best || cell_of(p)->difference.mean < cell_of(best)->difference.mean)
			best = p;
	}
	if (!best)
		return false;
	describe_pair(c, best, text, sizeof text);
	if (pairs == 1)
		snprintf(out, n, "Distillation %s at equal tokens: %s.", words[pairs_outcome(cell_of(best)) + 1], text);
	else
		snprintf(out, n, "Distillation beat text alone at equal tokens in %d of %d students, did worse in %d, and in %d that is open "
			 "(the interval holds zero, or seeds disagree). The most: %s.", count[0], pairs, count[2], count[1], text);
	return true;
}

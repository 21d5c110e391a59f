/* Which way of making a student wins where: ways by sizes and domains, each against the best of its size.
 * Test: tests/test_ways.c */
#include "results/compare.h"

#include <math.h>
#include <string.h>

/* ---- against the best ---- */

static int best_of(const struct comparison *c, int group, int d)
{
	int best = -1;
	for (int i = 0; i < c->n_rows; i++) {
		const struct compare_row *row = &c->rows[i];
		if (row->group == group && row->rank && (best < 0 || row->cells[d].score.mean < c->rows[best].cells[d].score.mean))
			best = i;
	}
	return best;
}

static int fill_group(struct comparison *c, int group, int d, struct err *e)
{
	int best = best_of(c, group, d);
	if (best < 0 || c->groups[group].n_ranked < 2)
		return 0;
	c->rows[best].cells[d].best = true;
	for (int i = 0; i < c->n_rows; i++) {
		const struct compare_row *row = &c->rows[i];
		if (i != best && row->group == group && row->rank && pairs_fill(c, i, best, d, &row->cells[d].to_best, e) < 0)
			return -1;
	}
	return 0;
}

/* ---- ways ---- */

static const char *init_of(const struct compare_row *row)
{
	const struct result *r = row->seeds[0];
	return *r->init_text ? r->init_text : r->init;
}

static bool is_shown(const struct comparison *c, const struct compare_row *row)
{
	return row->rank && c->groups[row->group].n_ranked > 1;
}

static bool same_distillation(const struct compare_row *a, const struct compare_row *b)
{
	const struct result_distill *x = &a->seeds[0]->distill, *y = &b->seeds[0]->distill;
	return x->present == y->present && !strcmp(x->text, y->text) && !strcmp(x->cache, y->cache);
}

static bool same_init(const struct compare_row *a, const struct compare_row *b)
{
	return !strcmp(init_of(a), init_of(b));
}

/* What a row must say to be told from the others: its distillation, and its name. */
static void tell_apart(const struct comparison *c, const struct compare_row *row, bool *distillation, bool *name)
{
	*distillation = *name = false;
	for (int i = 0; i < c->n_rows; i++) {
		const struct compare_row *other = &c->rows[i];
		if (other == row || !is_shown(c, other) || !same_init(row, other))
			continue;
		if (!same_distillation(row, other))
			*distillation = true;
		else if (row->group == other->group)
			*name = true;
	}
}

static void way_of(const struct comparison *c, const struct compare_row *row, char *out, size_t n)
{
	const struct result_distill *d = &row->seeds[0]->distill;
	bool distillation, name;
	tell_apart(c, row, &distillation, &name);
	snprintf(out, n, "%s%s%s%s%s%s%s%s", init_of(row), distillation ? "; " : "", !distillation ? "" : d->present ? d->text : "text alone",
		 distillation && d->cached ? "; " : "", distillation && d->cached ? d->cache : "", name ? " (" : "", name ? row->name : "",
		 name ? ")" : "");
}

static struct compare_way *find_way(struct comparison *c, const char *text)
{
	for (int i = 0; i < c->n_ways; i++)
		if (!strcmp(c->ways[i].text, text))
			return &c->ways[i];
	struct compare_way *way = &c->ways[c->n_ways++];
	snprintf(way->text, sizeof way->text, "%s", text);
	for (int g = 0; g < c->n_groups; g++)
		way->rows[g] = -1;
	return way;
}

/* By the first size that both went to; a way that the first sizes lack comes later. */
static bool comes_before(const struct comparison *c, const struct compare_way *a, const struct compare_way *b)
{
	for (int g = 0; g < c->n_groups; g++)
		if (a->rows[g] >= 0 && b->rows[g] >= 0)
			return c->rows[a->rows[g]].rank < c->rows[b->rows[g]].rank;
		else if (a->rows[g] >= 0 || b->rows[g] >= 0)
			return a->rows[g] >= 0;
	return false;
}

static void sort_ways(struct comparison *c)
{
	for (int i = 1; i < c->n_ways; i++)
		for (int k = i; k > 0 && comes_before(c, &c->ways[k], &c->ways[k - 1]); k--) {
			struct compare_way way = c->ways[k];
			c->ways[k] = c->ways[k - 1];
			c->ways[k - 1] = way;
		}
}

int ways_find(struct comparison *c, struct err *e)
{
	char text[sizeof c->ways[0].text];
	for (int g = 0; g < c->n_groups; g++)
		for (int d = 0; d < c->n_domains; d++)
			if (fill_group(c, g, d, e) < 0)
				return -1;
	for (int i = 0; i < c->n_rows; i++) {
		if (!is_shown(c, &c->rows[i]))
			continue;
		way_of(c, &c->rows[i], text, sizeof text);
		find_way(c, text)->rows[c->rows[i].group] = i;
	}
	sort_ways(c);
	return 0;
}

/* ---- the table ---- */

enum { PER_GROUP = 3 };

bool compare_has_ways(const struct comparison *c)
{
	const struct compare_row *first = NULL;
	for (int i = 0; i < c->n_rows; i++) {
		if (!is_shown(c, &c->rows[i]))
			continue;
		if (first && !same_init(first, &c->rows[i]))
			return true;
		first = &c->rows[i];
	}
	return false;
}

double compare_start_nll(const struct compare_row *row)
{
	double sum = 0;
	for (int s = 0; s < row->n_seeds; s++)
		sum += row->seeds[s]->start_nll > 0 ? row->seeds[s]->start_nll : NAN;
	return sum / row->n_seeds;
}

static void set_cell(struct table *t, int at, const struct comparison *c, const struct compare_row *row, int d)
{
	const struct compare_cell *cell = &row->cells[d];
	const struct compare_pair_cell *gap = &cell->to_best;
	double start = compare_start_nll(row);
	char deviation[32] = "";
	if (isfinite(start))
		table_set(t, at, "%.3f", start);
	if (isfinite(cell->deviation) && !c->domains[d].in_bits)
		snprintf(deviation, sizeof deviation, " ± %.3f", cell->deviation);
	table_set(t, at + 1, "%.4f%s", cell->score.mean, deviation);
	if (cell->best)
		table_set(t, at + 2, "best");
	if (!gap->paired)
		return;
	table_set(t, at + 2, "%s%+.4f (%.4f … %.4f)", pairs_outcome(gap) > 0 ? "" : "≈ ", gap->difference.mean, gap->difference.low,
		  gap->difference.high);
}

static int begin_table(const struct comparison *c, struct table *t, struct err *e)
{
	char cells[COMPARE_MAX_ROWS][48], size[32];
	const char *header[2 + PER_GROUP * COMPARE_MAX_ROWS];
	int n = 0, shown = 0;
	header[n++] = "way";
	if (c->n_domains > 1)
		header[n++] = "domain";
	for (int g = 0; g < c->n_groups; g++) {
		if (c->groups[g].n_ranked < 2)
			continue;
		table_count((double)c->rows[c->groups[g].reference].seeds[0]->parameters, size);
		snprintf(cells[shown], sizeof cells[shown], "%s: cut", size);
		header[n++] = cells[shown++];
		header[n++] = "trained";
		header[n++] = "Δ to the best";
	}
	return compare_table_begin(t, header, n, 1 + (c->n_domains > 1), e);
}

static int add_way(const struct comparison *c, const struct compare_way *way, int d, struct table *t, struct err *e)
{
	int at = 1;
	if (table_row(t, e) < 0)
		return -1;
	table_set(t, 0, "%s", way->text);
	if (c->n_domains > 1)
		table_set(t, at++, "%s", c->domains[d].name);
	for (int g = 0; g < c->n_groups; g++) {
		const struct compare_row *row = way->rows[g] < 0 ? NULL : &c->rows[way->rows[g]];
		if (c->groups[g].n_ranked < 2)
			continue;
		if (row)
			set_cell(t, at, c, row, d);
		t->strong[t->n_rows - 1] |= row && row->cells[d].best;
		at += PER_GROUP;
	}
	return 0;
}

int compare_table_ways(const struct comparison *c, struct table *t, struct err *e)
{
	if (begin_table(c, t, e) < 0)
		return -1;
	for (int i = 0; i < c->n_ways && compare_has_ways(c); i++)
		for (int d = 0; d < c->n_domains; d++)
			if (add_way(c, &c->ways[i], d, t, e) < 0)
				return -1;
	return 0;
}

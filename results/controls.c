/* Who is held against whom: a distilled student against its control, a cache against the teacher online.
 * Test: tests/test_controls.c */
#include "results/compare.h"

#include "results/columns.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool near(double a, double b, double share)
{
	return fabs(a - b) <= share * fmax(a, b);
}

static const struct result *seed_of(const struct compare_row *row, uint64_t seed)
{
	for (int s = 0; s < row->n_seeds; s++)
		if (row->seeds[s]->seed == seed)
			return row->seeds[s];
	return NULL;
}

static int common_seeds(const struct compare_row *a, const struct compare_row *b)
{
	int n = 0;
	for (int s = 0; s < a->n_seeds; s++)
		n += seed_of(b, a->seeds[s]->seed) != NULL;
	return n;
}

/* All but the training signal is the same. */
static bool alike(const struct compare_row *a, const struct compare_row *b)
{
	const struct result *x = a->seeds[0], *y = b->seeds[0];
	return a != b && !b->teacher && *x->init_id && !strcmp(x->init_id, y->init_id) && x->trained && y->trained &&
	       near(x->train.tokens, y->train.tokens, COMPARE_TOKENS_TOLERANCE) &&
	       near((double)x->parameters, (double)y->parameters, COMPARE_SIZE_TOLERANCE) && common_seeds(a, b);
}

static bool is_control(const struct compare_row *row, const struct compare_row *other)
{
	return alike(row, other) && !other->seeds[0]->distill.present;
}

static bool is_online(const struct compare_row *row, const struct compare_row *other)
{
	const struct result_distill *a = &row->seeds[0]->distill, *b = &other->seeds[0]->distill;
	return alike(row, other) && b->present && !b->cached && !strcmp(a->text, b->text);
}

static int best_of(const struct comparison *c, int row, bool (*fits)(const struct compare_row *, const struct compare_row *))
{
	int best = -1;
	for (int i = 0; i < c->n_rows; i++)
		if (fits(&c->rows[row], &c->rows[i]) && (best < 0 || c->rows[i].score < c->rows[best].score))
			best = i;
	return best;
}

/* ---- one pair ---- */

struct two { /* the results of the seeds that both have */
	const struct result *a[COMPARE_MAX_SEEDS], *b[COMPARE_MAX_SEEDS];
	int n;
};

static double in_unit(const struct result *r, const struct compare_domain *domain)
{
	const struct evaluation *v = result_scores(r, domain->name);
	return domain->in_bits ? v->bits_per_byte : v->nll;
}

static int fill_pair_cell(const struct comparison *c, struct compare_pair_cell *cell, const struct two *t, int d, struct err *e)
{
	int rc = -1;
	struct columns a = {0}, b = {0};
	double gaps[COMPARE_MAX_SEEDS];
	const struct compare_domain *domain = &c->domains[d];
	const struct evaluation *x = result_scores(t->a[0], domain->name), *y = result_scores(t->b[0], domain->name);
	cell->paired = x && y && (domain->in_bits ? columns_same_text(x, y) : columns_same_tokens(x, y));
	if (!cell->paired)
		return 0;
	TRY(columns_init(&a, t->a, t->n, domain->name, e));
	TRY(columns_init(&b, t->b, t->n, domain->name, e));
	TRY(columns_interval(&cell->difference, &a, &b, domain->in_bits, &c->bootstrap, e));
	for (int s = 0; s < t->n; s++) {
		gaps[s] = in_unit(t->a[s], domain) - in_unit(t->b[s], domain);
		cell->n_better += gaps[s] < 0;
	}
	cell->deviation = compare_deviation(gaps, t->n);
	rc = 0;
out:
	columns_release(&a);
	columns_release(&b);
	return rc;
}

static int fill_pair(const struct comparison *c, struct compare_pair *p, struct err *e)
{
	struct two t = {.n = 0};
	const struct compare_row *row = &c->rows[p->row];
	if (p->other < 0)
		return 0;
	p->cells = calloc((size_t)c->n_domains, sizeof *p->cells);
	if (!p->cells)
		return err_run(e, "comparison: out of memory");
	for (int s = 0; s < row->n_seeds; s++) {
		const struct result *other = seed_of(&c->rows[p->other], row->seeds[s]->seed);
		if (!other)
			continue;
		t.a[t.n] = row->seeds[s];
		t.b[t.n++] = other;
	}
	p->n_seeds = t.n;
	for (int d = 0; d < c->n_domains; d++)
		if (fill_pair_cell(c, &p->cells[d], &t, d, e) < 0)
			return -1;
	return 0;
}

static int add_pair(struct comparison *c, struct compare_pair *list, int *n, int row,
		    bool (*fits)(const struct compare_row *, const struct compare_row *), struct err *e)
{
	list[*n] = (struct compare_pair){.row = row, .other = best_of(c, row, fits)};
	return fill_pair(c, &list[(*n)++], e);
}

/* ---- all ---- */

static void note_lonely(struct comparison *c)
{
	char names[216] = "";
	int more = 0;
	for (int i = 0; i < c->n_controls; i++) {
		const char *name = c->rows[c->controls[i].row].name;
		size_t used = strlen(names);
		if (c->controls[i].other >= 0)
			continue;
		if (used + strlen(name) + 2 > 200)
			more++;
		else
			snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", name);
	}
	if (more)
		snprintf(names + strlen(names), sizeof names - strlen(names), " …");
	if (*names)
		compare_note(c, "no control for %s: add a student of the same init and tokens with `distill: null`", names);
}

int controls_find(struct comparison *c, struct err *e)
{
	for (int i = 0; i < c->n_rows; i++) {
		const struct result_distill *d = &c->rows[i].seeds[0]->distill;
		if (c->rows[i].teacher || !d->present)
			continue;
		if (add_pair(c, c->controls, &c->n_controls, i, is_control, e) < 0 ||
		    (d->cached && add_pair(c, c->caches, &c->n_caches, i, is_online, e) < 0))
			return -1;
	}
	note_lonely(c);
	return 0;
}

void controls_release(struct comparison *c)
{
	for (int i = 0; i < c->n_controls; i++)
		free(c->controls[i].cells);
	for (int i = 0; i < c->n_caches; i++)
		free(c->caches[i].cells);
}

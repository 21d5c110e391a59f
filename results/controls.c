/* Who is held against whom: a distilled student against its control, a cache against the teacher online.
 * Test: tests/test_controls.c */
#include "results/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool near(double a, double b, double share)
{
	return fabs(a - b) <= share * fmax(a, b);
}

/* All but the training signal is the same. */
static bool alike(const struct compare_row *a, const struct compare_row *b)
{
	const struct result *x = a->seeds[0], *y = b->seeds[0];
	return a != b && !b->teacher && *x->init_id && !strcmp(x->init_id, y->init_id) && x->trained && y->trained &&
	       near(x->train.tokens, y->train.tokens, COMPARE_TOKENS_TOLERANCE) &&
	       near((double)x->parameters, (double)y->parameters, COMPARE_SIZE_TOLERANCE) && pairs_common_seeds(a, b);
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

static int fill_pair(const struct comparison *c, struct compare_pair *p, struct err *e)
{
	if (p->other < 0)
		return 0;
	p->cells = calloc((size_t)c->n_domains, sizeof *p->cells);
	if (!p->cells)
		return err_run(e, "comparison: out of memory");
	for (int d = 0; d < c->n_domains; d++)
		if (pairs_fill(c, p->row, p->other, d, &p->cells[d], e) < 0)
			return -1;
	return 0;
}

static int add_pair(struct comparison *c, struct compare_pair *list, int *n, int row,
		    bool (*fits)(const struct compare_row *, const struct compare_row *), struct err *e)
{
	list[*n] = (struct compare_pair){.row = row, .other = best_of(c, row, fits)};
	return fill_pair(c, &list[(*n)++], e);
}

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

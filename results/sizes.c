/* Who is compared with whom: students of one size, and the one among them that the others are measured against.
 * Test: tests/test_sizes.c */
#include "results/compare.h"

#include <math.h>
#include <string.h>

enum { TO_BE_SORTED = -2 };

static double size_of(const struct compare_row *row)
{
	return (double)row->seeds[0]->parameters;
}

static bool same_size(const struct compare_row *row, const struct compare_row *as)
{
	return fabs(size_of(row) - size_of(as)) <= COMPARE_SIZE_TOLERANCE * size_of(as);
}

/* How much a student is what the others are measured against: from nothing, and without a teacher. */
static int plainness(const struct compare_row *row)
{
	const struct result *r = row->seeds[0];
	return 2 * !strcmp(r->init, "random") + !r->distill.present;
}

/* The last of the plainest that belong to no size yet; -1: all do. */
static int plainest(const struct comparison *c)
{
	int best = -1;
	for (int i = 0; i < c->n_rows; i++)
		if (c->rows[i].group == TO_BE_SORTED && (best < 0 || plainness(&c->rows[i]) >= plainness(&c->rows[best])))
			best = i;
	return best;
}

static int row_named(const struct comparison *c, const char *name)
{
	for (int i = 0; i < c->n_rows; i++)
		if (!c->rows[i].teacher && !strcmp(c->rows[i].name, name))
			return i;
	return -1;
}

/* Everybody of the reference's size; a size of one student is none, but for the first. */
static void add_group(struct comparison *c, int reference)
{
	int n = 0, group = c->n_groups;
	for (int i = 0; i < c->n_rows; i++)
		n += c->rows[i].group == TO_BE_SORTED && same_size(&c->rows[i], &c->rows[reference]);
	if (n == 1 && group > 0) {
		c->rows[reference].group = COMPARE_NO_GROUP;
		return;
	}
	for (int i = 0; i < c->n_rows; i++)
		if (c->rows[i].group == TO_BE_SORTED && same_size(&c->rows[i], &c->rows[reference]))
			c->rows[i].group = group;
	c->rows[reference].reference = true;
	c->groups[c->n_groups++] = (struct compare_group){.reference = reference};
}

static int add_wanted(struct comparison *c, const char *name, struct err *e)
{
	int row = row_named(c, name);
	if (row < 0)
		return err_user(e, "reference: no student '%s' among the results", name);
	if (c->rows[row].group >= 0)
		compare_note(c, "%s is no reference: %s is the one of that size", name, c->rows[c->groups[c->rows[row].group].reference].name);
	else if (c->rows[row].group == TO_BE_SORTED)
		add_group(c, row);
	return 0;
}

/* Size by size, as the groups are; who belongs to none comes last. */
static int place_of(const struct compare_row *row)
{
	return row->teacher ? -1 : row->group < 0 ? COMPARE_MAX_ROWS : row->group;
}

static void sort_rows(struct comparison *c)
{
	for (int i = 1; i < c->n_rows; i++)
		for (int k = i; k > 0 && place_of(&c->rows[k - 1]) > place_of(&c->rows[k]); k--) {
			struct compare_row row = c->rows[k];
			c->rows[k] = c->rows[k - 1];
			c->rows[k - 1] = row;
		}
	for (int i = 0; i < c->n_rows; i++)
		if (c->rows[i].reference)
			c->groups[c->rows[i].group].reference = i;
}

int sizes_find(struct comparison *c, const char *const *wanted, int n_wanted, struct err *e)
{
	int row;
	for (int i = 0; i < c->n_rows; i++)
		c->rows[i].group = c->rows[i].teacher ? COMPARE_NO_GROUP : TO_BE_SORTED;
	for (int i = 0; i < n_wanted; i++)
		if (add_wanted(c, wanted[i], e) < 0)
			return -1;
	while ((row = plainest(c)) >= 0)
		add_group(c, row);
	if (!c->n_groups)
		return err_user(e, "nothing to compare: no result of a student");
	if (c->n_groups > 1)
		sort_rows(c);
	c->reference = c->groups[0].reference;
	return 0;
}

int compare_reference(const struct comparison *c, const struct compare_row *row)
{
	return row->group < 0 ? c->reference : c->groups[row->group].reference;
}

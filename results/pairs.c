/* Two students side by side, over the seeds that both have. Test: tests/test_controls.c */
#include "results/compare.h"

#include "results/columns.h"

#include <math.h>

struct two { /* the results of the seeds that both have */
	const struct result *a[COMPARE_MAX_SEEDS], *b[COMPARE_MAX_SEEDS];
	int n;
};

static const struct result *seed_of(const struct compare_row *row, uint64_t seed)
{
	for (int s = 0; s < row->n_seeds; s++)
		if (row->seeds[s]->seed == seed)
			return row->seeds[s];
	return NULL;
}

static struct two two_of(const struct compare_row *row, const struct compare_row *other)
{
	struct two t = {.n = 0};
	for (int s = 0; s < row->n_seeds; s++) {
		const struct result *same = seed_of(other, row->seeds[s]->seed);
		if (!same)
			continue;
		t.a[t.n] = row->seeds[s];
		t.b[t.n++] = same;
	}
	return t;
}

int pairs_common_seeds(const struct compare_row *a, const struct compare_row *b)
{
	return two_of(a, b).n;
}

static double in_unit(const struct result *r, const struct compare_domain *domain)
{
	const struct evaluation *v = result_scores(r, domain->name);
	return domain->in_bits ? v->bits_per_byte : v->nll;
}

static bool pairable(const struct two *t, const struct compare_domain *domain)
{
	const struct evaluation *x = t->n ? result_scores(t->a[0], domain->name) : NULL;
	const struct evaluation *y = t->n ? result_scores(t->b[0], domain->name) : NULL;
	return x && y && (domain->in_bits ? columns_same_text(x, y) : columns_same_tokens(x, y));
}

int pairs_fill(const struct comparison *c, int row, int other, int d, struct compare_pair_cell *cell, struct err *e)
{
	int rc = -1;
	struct columns a = {0}, b = {0};
	double gaps[COMPARE_MAX_SEEDS];
	const struct compare_domain *domain = &c->domains[d];
	const struct two t = two_of(&c->rows[row], &c->rows[other]);
	*cell = (struct compare_pair_cell){.n_seeds = t.n, .paired = pairable(&t, domain)};
	if (!cell->paired)
		return 0;
	TRY(columns_init(&a, t.a, t.n, domain->name, e));
	TRY(columns_init(&b, t.b, t.n, domain->name, e));
	TRY(columns_interval(&cell->difference, &a, &b, domain->in_bits, &c->bootstrap, e));
	for (int s = 0; s < t.n; s++) {
		gaps[s] = in_unit(t.a[s], domain) - in_unit(t.b[s], domain);
		cell->n_better += gaps[s] < 0;
	}
	cell->deviation = compare_deviation(gaps, t.n);
	rc = 0;
out:
	columns_release(&a);
	columns_release(&b);
	return rc;
}

int pairs_outcome(const struct compare_pair_cell *cell)
{
	if (cell->difference.high < 0 && cell->n_better == cell->n_seeds)
		return -1;
	return cell->difference.low > 0 && !cell->n_better;
}

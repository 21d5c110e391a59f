/* What the teacher gave, and what a cache kept of it, as tables. Test: tests/test_controls.c */
#include "results/compare.h"

#include <math.h>

static double mean_over_seeds(const struct compare_row *row, double (*of)(const struct result *))
{
	double sum = 0;
	for (int s = 0; s < row->n_seeds; s++)
		sum += of(row->seeds[s]);
	return sum / row->n_seeds;
}

static double teacher_ce(const struct result *r)
{
	return r->distill.teacher_ce;
}

static double own_ce(const struct result *r)
{
	return r->distill.ce;
}

static double agreement(const struct result *r)
{
	return r->distill.agree;
}

static double cache_mass(const struct result *r)
{
	return r->distill.cache_mass;
}

/* ---- cells from left to right; the column of domains is there when there are several ---- */

static int set_domain(struct table *t, const struct comparison *c, const struct compare_row *row, int domain)
{
	compare_table_name(t, row);
	if (c->n_domains > 1)
		table_set(t, 1, "%s", c->domains[domain].name);
	return c->n_domains > 1 ? 2 : 1;
}

/* Three columns: difference, interval, deviation over seeds. */
static void set_pair(struct table *t, int column, const struct compare_pair *p, int domain)
{
	if (p->other < 0 || !p->cells[domain].paired)
		return;
	const struct compare_pair_cell *cell = &p->cells[domain];
	table_set(t, column, "%+.4f", cell->difference.mean);
	table_set(t, column + 1, "%+.4f … %+.4f", cell->difference.low, cell->difference.high);
	if (isfinite(cell->deviation))
		table_set(t, column + 2, "%.4f", cell->deviation);
}

static const char *other_name(const struct comparison *c, const struct compare_pair *p)
{
	return p->other < 0 ? "–" : c->rows[p->other].name;
}

static void set_control(struct table *t, const struct comparison *c, const struct compare_pair *p, int domain)
{
	const struct compare_row *row = &c->rows[p->row];
	int at = set_domain(t, c, row, domain);
	table_set(t, at, "%s", row->seeds[0]->distill.text);
	table_set(t, at + 1, "%s", other_name(c, p));
	set_pair(t, at + 2, p, domain);
	if (p->other >= 0 && p->cells[domain].paired)
		table_set(t, at + 5, "%d of %d", p->cells[domain].n_better, p->cells[domain].n_seeds);
	table_set(t, at + 6, "%.4f", mean_over_seeds(row, teacher_ce));
	table_set(t, at + 7, "%.4f", mean_over_seeds(row, own_ce));
	table_set(t, at + 8, "%.1f %%", 100 * mean_over_seeds(row, agreement));
}

static void set_cache(struct table *t, const struct comparison *c, const struct compare_pair *p, int domain)
{
	const struct compare_row *row = &c->rows[p->row];
	const struct result_distill *cache = &row->seeds[0]->distill;
	double mass = mean_over_seeds(row, cache_mass);
	int at = set_domain(t, c, row, domain);
	table_set(t, at, "%s", cache->cache);
	table_set(t, at + 1, "%.4g", cache->cache_bytes_per_token);
	if (mass > 0)
		table_set(t, at + 2, "%.2f %%", 100 * mass);
	if (row->cells[domain].present)
		table_set(t, at + 3, "%.4f", row->cells[domain].nll.mean);
	table_set(t, at + 4, "%s", other_name(c, p));
	set_pair(t, at + 5, p, domain);
}

/* ---- tables ---- */

/* header: with the column of domains, the second. */
static int make(struct table *t, const struct comparison *c, const char *const *header, int n_columns, int n_left,
		const struct compare_pair *pairs, int n_pairs,
		void (*set)(struct table *, const struct comparison *, const struct compare_pair *, int), struct err *e)
{
	const char *shown[12];
	int n = 0;
	for (int i = 0; i < n_columns; i++)
		if (i != 1 || c->n_domains > 1)
			shown[n++] = header[i];
	if (compare_table_begin(t, shown, n, n_left - (n < n_columns), e) < 0)
		return -1;
	for (int i = 0; i < n_pairs; i++)
		for (int d = 0; d < c->n_domains; d++) {
			if (table_row(t, e) < 0)
				return -1;
			set(t, c, &pairs[i], d);
		}
	return 0;
}

int compare_table_controls(const struct comparison *c, struct table *t, struct err *e)
{
	static const char *const header[] = {"student", "domain", "distilled by", "control", "Δ to control", "95 % interval",
					     "s.d. of seeds", "better in", "teacher's CE", "own CE", "top-1"};
	bool any = false;
	for (int i = 0; i < c->n_controls; i++)
		any |= c->controls[i].other >= 0;
	return make(t, c, header, 11, 4, c->controls, any ? c->n_controls : 0, set_control, e);
}

int compare_table_caches(const struct comparison *c, struct table *t, struct err *e)
{
	static const char *const header[] = {"student", "domain", "cache", "bytes/token", "mass kept", "NLL", "online", "Δ to online",
					     "95 % interval", "s.d. of seeds"};
	return make(t, c, header, 10, 3, c->caches, c->n_caches, set_cache, e);
}

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

/* Difference, interval, deviation over seeds: three columns from `column`. */
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
	compare_table_name(t, row);
	table_set(t, 1, "%s", c->domains[domain].name);
	table_set(t, 2, "%s", row->seeds[0]->distill.text);
	table_set(t, 3, "%s", other_name(c, p));
	set_pair(t, 4, p, domain);
	table_set(t, 7, "%.4f", mean_over_seeds(row, teacher_ce));
	table_set(t, 8, "%.4f", mean_over_seeds(row, own_ce));
	table_set(t, 9, "%.1f %%", 100 * mean_over_seeds(row, agreement));
}

int compare_table_controls(const struct comparison *c, struct table *t, struct err *e)
{
	static const char *const header[] = {"student", "domain", "distilled by", "control", "Δ to control", "95 % interval",
					     "s.d. of seeds", "teacher's CE", "own CE", "top-1"};
	if (compare_table_begin(t, header, 10, 4, e) < 0)
		return -1;
	for (int i = 0; i < c->n_controls; i++)
		for (int d = 0; d < c->n_domains; d++) {
			if (table_row(t, e) < 0)
				return -1;
			set_control(t, c, &c->controls[i], d);
		}
	return 0;
}

static void set_cache(struct table *t, const struct comparison *c, const struct compare_pair *p, int domain)
{
	const struct compare_row *row = &c->rows[p->row];
	const struct result_distill *cache = &row->seeds[0]->distill;
	double mass = mean_over_seeds(row, cache_mass);
	compare_table_name(t, row);
	table_set(t, 1, "%s", c->domains[domain].name);
	table_set(t, 2, "%s", cache->cache);
	table_set(t, 3, "%.4g", cache->cache_bytes_per_token);
	if (mass > 0)
		table_set(t, 4, "%.2f %%", 100 * mass);
	if (row->cells[domain].present)
		table_set(t, 5, "%.4f", row->cells[domain].nll.mean);
	table_set(t, 6, "%s", other_name(c, p));
	set_pair(t, 7, p, domain);
}

int compare_table_caches(const struct comparison *c, struct table *t, struct err *e)
{
	static const char *const header[] = {"student", "domain", "cache", "bytes/token", "mass kept", "NLL", "online", "Δ to online",
					     "95 % interval", "s.d. of seeds"};
	if (compare_table_begin(t, header, 10, 3, e) < 0)
		return -1;
	t->left[6] = true;
	for (int i = 0; i < c->n_caches; i++)
		for (int d = 0; d < c->n_domains; d++) {
			if (table_row(t, e) < 0)
				return -1;
			set_cache(t, c, &c->caches[i], d);
		}
	return 0;
}

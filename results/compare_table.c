/* A comparison as tables. Test: tests/test_compare.c */
#include "results/compare.h"

#include <math.h>
#include <string.h>

const char *compare_unit(const struct comparison *c, int domain)
{
	return c->domains[domain].in_bits ? "bit/byte" : "nat/token";
}

const char *compare_reference_text(const struct comparison *c)
{
	return c->n_groups > 1 ? "each size's reference" : c->rows[c->reference].name;
}

int compare_table_begin(struct table *t, const char *const *header, int n, int n_left, struct err *e)
{
	if (table_init(t, n, e) < 0 || table_row(t, e) < 0)
		return -1;
	for (int i = 0; i < n; i++) {
		table_set(t, i, "%s", header[i]);
		t->left[i] = i < n_left;
	}
	return 0;
}

void compare_table_name(struct table *t, const struct compare_row *row)
{
	t->strong[t->n_rows - 1] = row->rank == 1;
	table_set(t, 0, "%s", row->name);
}

static void set_rank(struct table *t, int column, const struct compare_row *row)
{
	if (row->rank)
		table_set(t, column, "%d", row->rank);
	else
		table_set(t, column, "%s", row->teacher ? "teacher" : row->group < 0 ? "≠ size" : "–");
}

struct extras { /* the columns of a domain's table that are there when they have something to say */
	int size, seeds, teacher; /* the first of them; 0: left out */
};

static struct extras extras_of(const struct comparison *c, int domain, int *n)
{
	struct extras x = {0};
	bool seeds = false, teacher = false;
	for (int i = 0; i < c->n_rows; i++) {
		seeds |= c->rows[i].n_seeds > 1;
		teacher |= c->rows[i].cells[domain].has_teacher;
	}
	*n = 8;
	if (c->n_groups > 1)
		x.size = (*n)++;
	if (seeds)
		x.seeds = (*n)++;
	if (teacher) {
		x.teacher = *n;
		*n += 2;
	}
	return x;
}

static void set_scores(struct table *t, const struct compare_cell *cell, struct extras x)
{
	table_set(t, 2, "%.4f", cell->nll.mean);
	table_set(t, 3, "%.4f … %.4f", cell->nll.low, cell->nll.high);
	table_set(t, 4, "%.3f", cell->perplexity);
	table_set(t, 5, "%.4f", cell->bits_per_byte);
	if (x.seeds && isfinite(cell->deviation))
		table_set(t, x.seeds, "%.4f", cell->deviation);
	if (x.teacher && cell->has_teacher) {
		table_set(t, x.teacher, "%.1f %%", 100 * cell->agreement_top1);
		table_set(t, x.teacher + 1, "%.4f", cell->kl);
	}
}

static void set_difference(struct table *t, const struct compare_row *row, const struct compare_cell *cell)
{
	if (row->reference)
		table_set(t, 6, "reference");
	if (!cell->paired)
		return;
	table_set(t, 6, "%+.4f", cell->difference.mean);
	table_set(t, 7, "%+.4f … %+.4f", cell->difference.low, cell->difference.high);
}

static void head_extras(struct table *t, struct extras x)
{
	if (x.size)
		table_set(t, x.size, "parameters");
	if (x.seeds)
		table_set(t, x.seeds, "s.d. of seeds");
	if (x.teacher) {
		table_set(t, x.teacher, "top-1");
		table_set(t, x.teacher + 1, "KL");
	}
}

int compare_table_domain(const struct comparison *c, int domain, struct table *t, struct err *e)
{
	char difference[TABLE_CELL], size[32];
	int n;
	struct extras x = extras_of(c, domain, &n);
	snprintf(difference, sizeof difference, "Δ %s", compare_unit(c, domain));
	const char *const header[] = {"student", "rank", "NLL", "95 % interval", "perplexity", "bits/byte", difference, "95 % interval",
				      "", "", "", ""};
	if (compare_table_begin(t, header, n, 1, e) < 0)
		return -1;
	head_extras(t, x);
	for (int i = 0; i < c->n_rows; i++) {
		const struct compare_row *row = &c->rows[i];
		if (table_row(t, e) < 0)
			return -1;
		compare_table_name(t, row);
		set_rank(t, 1, row);
		if (x.size)
			table_set(t, x.size, "%s", table_count((double)row->seeds[0]->parameters, size));
		if (!row->cells[domain].present)
			continue;
		set_scores(t, &row->cells[domain], x);
		set_difference(t, row, &row->cells[domain]);
	}
	return 0;
}

static void set_costs(struct table *t, const struct result *r)
{
	char text[32];
	const struct shape *s = &r->shape;
	table_set(t, 1, "%d × %d, heads %d/%d, ffn %d", s->L, s->C, s->NH, s->NKV, s->F);
	table_set(t, 2, "%s", table_count((double)r->parameters, text));
	table_set(t, 3, "%s", table_count(r->flops_per_token, text));
	table_set(t, 4, "%sB", table_count((double)r->bytes, text));
	table_set(t, 5, "%s", table_count(r->tokens_per_s > 0 ? r->tokens_per_s : NAN, text));
	if (!r->trained)
		return;
	table_set(t, 6, "%s", table_count(r->train.tokens, text));
	table_set(t, 7, "%s", table_count(r->train.init_tokens > 0 ? r->train.init_tokens : NAN, text));
	table_set(t, 8, "%.2f", r->train.epochs);
	table_set(t, 9, "%s", table_count(r->train.total_flops, text));
	table_set(t, 10, "%.3g", r->train.lr);
}

int compare_table_costs(const struct comparison *c, struct table *t, struct err *e)
{
	static const char *const header[] = {"student", "shape", "parameters", "FLOP/token", "weights", "tokens/s", "tokens",
					     "in init", "epochs", "FLOP spent", "lr"};
	if (compare_table_begin(t, header, 11, 2, e) < 0)
		return -1;
	for (int i = 0; i < c->n_rows; i++) {
		if (table_row(t, e) < 0)
			return -1;
		compare_table_name(t, &c->rows[i]);
		set_costs(t, c->rows[i].seeds[0]);
	}
	return 0;
}

static void set_seeds(struct table *t, const struct compare_cell *cell, int n_seeds)
{
	const double *nll = cell->seed_nll;
	double low = nll[0], high = nll[0];
	char list[TABLE_CELL] = "";
	for (int s = 0; s < n_seeds; s++) {
		size_t n = strlen(list);
		snprintf(list + n, sizeof list - n, "%s%.4f", s ? " " : "", nll[s]);
		low = fmin(low, nll[s]);
		high = fmax(high, nll[s]);
	}
	table_set(t, 2, "%d", n_seeds);
	table_set(t, 3, "%.4f", cell->nll.mean);
	table_set(t, 4, "%.4f", cell->deviation);
	table_set(t, 5, "%.4f", low);
	table_set(t, 6, "%.4f", high);
	table_set(t, 7, "%s", list);
}

int compare_table_seeds(const struct comparison *c, struct table *t, struct err *e)
{
	static const char *const header[] = {"student", "domain", "seeds", "mean NLL", "s.d.", "lowest", "highest", "by seed"};
	if (compare_table_begin(t, header, 8, 2, e) < 0)
		return -1;
	t->left[7] = true;
	for (int i = 0; i < c->n_rows; i++) {
		const struct compare_row *row = &c->rows[i];
		for (int d = 0; d < c->n_domains && row->n_seeds > 1; d++) {
			if (!row->cells[d].present)
				continue;
			if (table_row(t, e) < 0)
				return -1;
			compare_table_name(t, row);
			table_set(t, 1, "%s", c->domains[d].name);
			set_seeds(t, &row->cells[d], row->n_seeds);
		}
	}
	return 0;
}

static void list_rates(const struct result_train *t, char *out, size_t n)
{
	*out = '\0';
	for (int k = 0; k < t->n_candidates; k++) {
		size_t used = strlen(out);
		double nll = t->candidates[k].nll;
		snprintf(out + used, n - used, isfinite(nll) ? "%s%.3g → %.4f" : "%s%.3g → diverged", k ? ", " : "", t->candidates[k].lr,
			 nll);
	}
}

int compare_table_rates(const struct comparison *c, struct table *t, struct err *e)
{
	static const char *const header[] = {"student", "seed", "lr used", "tried: lr → held-out NLL"};
	if (compare_table_begin(t, header, 4, 1, e) < 0)
		return -1;
	t->left[3] = true;
	for (int i = 0; i < c->n_rows; i++)
		for (int s = 0; s < c->rows[i].n_seeds; s++) {
			const struct result *r = c->rows[i].seeds[s];
			char list[TABLE_CELL];
			if (!r->train.n_candidates)
				continue;
			if (table_row(t, e) < 0)
				return -1;
			list_rates(&r->train, list, sizeof list);
			table_set(t, 0, "%s", r->name);
			table_set(t, 1, "%llu", (unsigned long long)r->seed);
			table_set(t, 2, "%.3g", r->train.lr);
			table_set(t, 3, "%s", list);
		}
	return 0;
}

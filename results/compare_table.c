/* A comparison as tables. Test: tests/test_compare.c */
#include "results/compare.h"

#include <math.h>
#include <string.h>

const char *compare_unit(const struct comparison *c, int domain)
{
	return c->domains[domain].in_bits ? "bit/byte" : "nat/token";
}

static int start(struct table *t, const char *const *header, int n, int n_left, struct err *e)
{
	if (table_init(t, n, e) < 0 || table_row(t, e) < 0)
		return -1;
	for (int i = 0; i < n; i++) {
		table_set(t, i, "%s", header[i]);
		t->left[i] = i < n_left;
	}
	return 0;
}

/* One of the best rank, and what a row is. */
static void set_name(struct table *t, const struct compare_row *row)
{
	t->strong[t->n_rows - 1] = row->rank == 1;
	table_set(t, 0, "%s", row->name);
}

static void set_rank(struct table *t, int column, const struct compare_row *row)
{
	if (row->rank)
		table_set(t, column, "%d", row->rank);
	else
		table_set(t, column, "%s", row->teacher ? "teacher" : row->other_size ? "≠ size" : "–");
}

static void set_scores(struct table *t, const struct compare_cell *cell)
{
	table_set(t, 2, "%.4f", cell->nll.mean);
	table_set(t, 3, "%.4f … %.4f", cell->nll.low, cell->nll.high);
	table_set(t, 4, "%.3f", cell->perplexity);
	table_set(t, 5, "%.4f", cell->bits_per_byte);
	if (cell->has_teacher) {
		table_set(t, 8, "%.1f %%", 100 * cell->agreement_top1);
		table_set(t, 9, "%.4f", cell->kl);
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

int compare_table_domain(const struct comparison *c, int domain, struct table *t, struct err *e)
{
	char difference[TABLE_CELL];
	snprintf(difference, sizeof difference, "Δ %s", compare_unit(c, domain));
	const char *const header[] = {"student", "rank", "NLL", "95 % interval", "perplexity", "bits/byte", difference,
				      "95 % interval", "top-1", "KL"};
	int n = 8;
	for (int i = 0; i < c->n_rows; i++)
		n = c->rows[i].cells[domain].has_teacher ? 10 : n;
	if (start(t, header, n, 1, e) < 0)
		return -1;
	for (int i = 0; i < c->n_rows; i++) {
		const struct compare_row *row = &c->rows[i];
		if (table_row(t, e) < 0)
			return -1;
		set_name(t, row);
		set_rank(t, 1, row);
		if (!row->cells[domain].present)
			continue;
		set_scores(t, &row->cells[domain]);
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
	if (start(t, header, 11, 2, e) < 0)
		return -1;
	for (int i = 0; i < c->n_rows; i++) {
		if (table_row(t, e) < 0)
			return -1;
		set_name(t, &c->rows[i]);
		set_costs(t, c->rows[i].seeds[0]);
	}
	return 0;
}

int compare_table_seeds(const struct comparison *c, struct table *t, struct err *e)
{
	static const char *const header[] = {"student", "domain", "seeds", "mean NLL", "lowest", "highest", "by seed"};
	if (start(t, header, 7, 2, e) < 0)
		return -1;
	t->left[6] = true;
	for (int i = 0; i < c->n_rows; i++) {
		const struct compare_row *row = &c->rows[i];
		for (int d = 0; d < c->n_domains && row->n_seeds > 1; d++) {
			const double *nll = row->cells[d].seed_nll;
			double low = nll[0], high = nll[0];
			char list[TABLE_CELL] = "";
			if (!row->cells[d].present)
				continue;
			for (int s = 0; s < row->n_seeds; s++) {
				size_t n = strlen(list);
				snprintf(list + n, sizeof list - n, "%s%.4f", s ? " " : "", nll[s]);
				low = fmin(low, nll[s]);
				high = fmax(high, nll[s]);
			}
			if (table_row(t, e) < 0)
				return -1;
			set_name(t, row);
			table_set(t, 1, "%s", c->domains[d].name);
			table_set(t, 2, "%d", row->n_seeds);
			table_set(t, 3, "%.4f", row->cells[d].nll.mean);
			table_set(t, 4, "%.4f", low);
			table_set(t, 5, "%.4f", high);
			table_set(t, 6, "%s", list);
		}
	}
	return 0;
}

static void print_domain_title(const struct comparison *c, int d, FILE *f)
{
	const struct compare_domain *domain = &c->domains[d];
	fprintf(f, "%s%s: %zu documents, %zu tokens, NLL in nat/token, Δ to %s in %s\n", d ? "\n" : "", domain->name,
		domain->n_documents, domain->tokens, c->rows[c->reference].name, compare_unit(c, d));
}

int compare_print(const struct comparison *c, FILE *f, struct err *e)
{
	int rc = -1;
	struct table t = {0};
	for (int d = 0; d < c->n_domains; d++) {
		print_domain_title(c, d, f);
		TRY(compare_table_domain(c, d, &t, e));
		table_print(&t, f);
		table_release(&t);
	}
	fputc('\n', f);
	TRY(compare_table_costs(c, &t, e));
	table_print(&t, f);
	table_release(&t);
	TRY(compare_table_seeds(c, &t, e));
	if (t.n_rows > 1) {
		fputc('\n', f);
		table_print(&t, f);
	}
	for (int i = 0; i < c->n_notes; i++)
		fprintf(f, "%s%s\n", i ? "" : "\n", c->notes[i]);
	rc = 0;
out:
	table_release(&t);
	return rc;
}

/* Groups results by student, pairs them with their references, ranks. Sizes: results/sizes.c; pairs: results/pairs.c; ways:
 * results/ways.c; controls: results/controls.c; searches for shapes: results/searches.c. Tables: results/compare_table.c. Test: tests/test_compare.c */
#include "results/compare.h"

#include "results/columns.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct compare_options compare_default(void)
{
	return (struct compare_options){.bootstrap = bootstrap_default()};
}

void compare_note(struct comparison *c, const char *fmt, ...)
{
	va_list args;
	if (c->n_notes == COMPARE_MAX_NOTES)
		return;
	va_start(args, fmt);
	vsnprintf(c->notes[c->n_notes++], sizeof c->notes[0], fmt, args);
	va_end(args);
}

/* ---- who is there ---- */

static struct compare_row *find_row(struct comparison *c, const struct result *r)
{
	for (int i = 0; i < c->n_rows; i++)
		if (!strcmp(c->rows[i].name, r->name) && c->rows[i].teacher == result_is_teacher(r))
			return &c->rows[i];
	return NULL;
}

static int add_seed(struct compare_row *row, const struct result *r, struct err *e)
{
	for (int i = 0; i < row->n_seeds; i++)
		if (row->seeds[i]->seed == r->seed)
			return err_user(e, "two results of '%s' with seed %llu: %s and %s", r->name, (unsigned long long)r->seed,
					row->seeds[i]->dir, r->dir);
	if (row->n_seeds == COMPARE_MAX_SEEDS)
		return err_user(e, "'%s': more than %d seeds", r->name, COMPARE_MAX_SEEDS);
	row->seeds[row->n_seeds++] = r;
	return 0;
}

static int add_rows(struct comparison *c, struct result *const *results, int n, bool teachers, struct err *e)
{
	for (int i = 0; i < n; i++) {
		if (result_is_teacher(results[i]) != teachers)
			continue;
		struct compare_row *row = find_row(c, results[i]);
		if (!row && c->n_rows == COMPARE_MAX_ROWS)
			return err_user(e, "more than %d students", COMPARE_MAX_ROWS);
		if (!row) {
			row = &c->rows[c->n_rows++];
			row->name = results[i]->name;
			row->teacher = teachers;
		}
		if (add_seed(row, results[i], e) < 0)
			return -1;
	}
	return 0;
}

/* ---- domains ---- */

/* The domains are those of the reference. */
static void find_domains(struct comparison *c)
{
	const struct result *reference = c->rows[c->reference].seeds[0];
	for (int d = 0; d < reference->n_evals; d++) {
		struct compare_domain *domain = &c->domains[c->n_domains++];
		const struct evaluation *own = &reference->evals[d].scores;
		*domain = (struct compare_domain){.n_documents = own->n_documents, .tokens = own->tokens, .bytes = own->bytes};
		memcpy(domain->name, reference->evals[d].domain, sizeof domain->name);
		for (int i = 0; i < c->n_rows; i++) {
			const struct evaluation *other = result_scores(c->rows[i].seeds[0], domain->name);
			if (other && !columns_same_tokens(own, other) && columns_same_text(own, other))
				domain->in_bits = true;
		}
	}
}

/* ---- one student in one domain ---- */

double compare_deviation(const double *x, int n)
{
	double mean = 0, squares = 0;
	for (int i = 0; i < n; i++)
		mean += x[i] / n;
	for (int i = 0; i < n; i++)
		squares += (x[i] - mean) * (x[i] - mean);
	return n > 1 ? sqrt(squares / (n - 1)) : NAN;
}

static void fill_means(struct compare_cell *cell, const struct compare_row *row, const char *domain)
{
	cell->present = true;
	cell->perplexity = exp(cell->nll.mean);
	for (int s = 0; s < row->n_seeds; s++) {
		const struct evaluation *v = result_scores(row->seeds[s], domain);
		cell->seed_nll[s] = v->nll;
		cell->bits_per_byte += v->bits_per_byte / row->n_seeds;
		cell->kl += v->kl / row->n_seeds;
		cell->agreement_top1 += v->agreement_top1 / row->n_seeds;
		cell->has_teacher = v->has_teacher;
	}
	cell->deviation = compare_deviation(cell->seed_nll, row->n_seeds);
}

static int fill_intervals(struct comparison *c, struct compare_cell *cell, bool in_bits, const struct columns *own,
			  const struct columns *reference, struct err *e)
{
	if (columns_interval(&cell->nll, own, NULL, false, &c->bootstrap, e) < 0)
		return -1;
	cell->score = cell->nll;
	if (in_bits && columns_interval(&cell->score, own, NULL, true, &c->bootstrap, e) < 0)
		return -1;
	return cell->paired ? columns_interval(&cell->difference, own, reference, in_bits, &c->bootstrap, e) : 0;
}

static void note_scoring(struct comparison *c, const struct compare_row *row, int d, const struct evaluation *v, const struct evaluation *r)
{
	const char *domain = c->domains[d].name;
	if (!row->cells[d].paired && !row->reference)
		compare_note(c, "%s was scored on other documents of %s than the reference: no paired difference", row->name, domain);
	if (v->sequence_length != r->sequence_length || v->stride != r->stride || strcmp(v->dtype, r->dtype))
		compare_note(c, "%s was scored on %s at sequence length %d, stride %d, %s; the reference at %d, %d, %s", row->name,
			     domain, v->sequence_length, v->stride, v->dtype, r->sequence_length, r->stride, r->dtype);
}

/* reference: empty where the row's reference was not scored in the domain. */
static int fill_cell(struct comparison *c, struct compare_row *row, int d, const struct columns *reference, struct err *e)
{
	int rc = -1;
	struct compare_domain *domain = &c->domains[d];
	struct compare_cell *cell = &row->cells[d];
	struct columns own = {0};
	const struct evaluation *v = result_scores(row->seeds[0], domain->name);
	const struct evaluation *r = result_scores(c->rows[compare_reference(c, row)].seeds[0], domain->name);
	if (!v) {
		compare_note(c, "%s was not evaluated on %s", row->name, domain->name);
		return 0;
	}
	TRY(columns_init(&own, row->seeds, row->n_seeds, domain->name, e));
	cell->paired = !row->reference && r && (domain->in_bits ? columns_same_text(v, r) : columns_same_tokens(v, r));
	TRY(fill_intervals(c, cell, domain->in_bits, &own, reference, e));
	fill_means(cell, row, domain->name);
	if (r)
		note_scoring(c, row, d, v, r);
	domain->few = domain->few || cell->nll.few;
	rc = 0;
out:
	columns_release(&own);
	return rc;
}

static int fill_against(struct comparison *c, int d, int reference, struct err *e)
{
	int rc = -1;
	struct columns columns = {0};
	const struct compare_row *row = &c->rows[reference];
	if (result_scores(row->seeds[0], c->domains[d].name))
		TRY(columns_init(&columns, row->seeds, row->n_seeds, c->domains[d].name, e));
	for (int i = 0; i < c->n_rows; i++)
		if (compare_reference(c, &c->rows[i]) == reference)
			TRY(fill_cell(c, &c->rows[i], d, &columns, e));
	rc = 0;
out:
	columns_release(&columns);
	return rc;
}

/* ---- ranks and notes ---- */

static bool rankable(const struct comparison *c, const struct compare_row *row)
{
	if (row->group < 0)
		return false;
	for (int d = 0; d < c->n_domains; d++)
		if (!row->cells[d].present || !(row->reference || row->cells[d].paired))
			return false;
	return true;
}

static void rank(struct comparison *c)
{
	for (int i = 0; i < c->n_rows; i++) {
		struct compare_row *row = &c->rows[i];
		for (int d = 0; d < c->n_domains; d++)
			row->score += row->cells[d].score.mean / c->n_domains;
	}
	for (int i = 0; i < c->n_rows; i++) {
		if (!rankable(c, &c->rows[i]))
			continue;
		c->rows[i].rank = 1;
		for (int j = 0; j < c->n_rows; j++)
			c->rows[i].rank += c->rows[j].group == c->rows[i].group && rankable(c, &c->rows[j]) &&
					   c->rows[j].score < c->rows[i].score;
		c->groups[c->rows[i].group].n_ranked++;
	}
}

static void note_budgets(struct comparison *c)
{
	for (int i = 0; i < c->n_rows; i++) {
		const struct result *r = c->rows[i].seeds[0], *reference = c->rows[compare_reference(c, &c->rows[i])].seeds[0];
		double share = reference->train.tokens > 0 ? r->train.tokens / reference->train.tokens : 1;
		if (!c->rows[i].teacher && r->trained && reference->trained && fabs(share - 1) > 0.02)
			compare_note(c, "%s was trained on %.2f times the tokens of the reference", r->name, share);
	}
}

static void note_domains(struct comparison *c)
{
	for (int d = 0; d < c->n_domains; d++) {
		const struct compare_domain *domain = &c->domains[d];
		if (domain->few)
			compare_note(c, "%s: only %zu documents; intervals over fewer than %d documents are too narrow", domain->name,
			     domain->n_documents, BOOTSTRAP_FEW_DOCUMENTS);
		if (domain->in_bits)
			compare_note(c, "%s: tokenizers differ, so compare bits per byte; NLL per token is each model's own", domain->name);
	}
}

static void note_rows(struct comparison *c)
{
	for (int i = 0; i < c->n_rows; i++) {
		const struct compare_row *row = &c->rows[i];
		if (row->group < 0 && !row->teacher)
			compare_note(c, "%s is of another size than %s (%zu and %zu parameters): not ranked", row->name,
			     c->rows[c->reference].name, row->seeds[0]->parameters, c->rows[c->reference].seeds[0]->parameters);
		for (int s = 0; s < row->n_seeds; s++)
			for (int w = 0; w < row->seeds[s]->n_warnings; w++)
				compare_note(c, "%s: %s", row->name, row->seeds[s]->warnings[w]);
	}
}

int compare_results(struct comparison **out, struct result *const *results, int n, const struct compare_options *o,
		    struct err *e)
{
	int rc = -1;
	struct comparison *c = calloc(1, sizeof *c);
	*out = NULL;
	if (!c)
		return err_run(e, "comparison: out of memory");
	c->bootstrap = o->bootstrap;
	TRY(add_rows(c, results, n, true, e));
	if (c->n_rows > 1) {
		err_user(e, "results of two teachers, '%s' and '%s': compare one teacher's students", c->rows[0].name, c->rows[1].name);
		goto out;
	}
	TRY(add_rows(c, results, n, false, e));
	TRY(sizes_find(c, o->references, o->n_references, e));
	find_domains(c);
	for (int i = 0; i < c->n_rows; i++) {
		c->rows[i].cells = calloc((size_t)c->n_domains, sizeof *c->rows[i].cells);
		if (!c->rows[i].cells) {
			err_run(e, "comparison: out of memory");
			goto out;
		}
	}
	for (int d = 0; d < c->n_domains; d++)
		for (int g = 0; g < c->n_groups; g++)
			TRY(fill_against(c, d, c->groups[g].reference, e));
	rank(c);
	TRY(ways_find(c, e));
	TRY(controls_find(c, e));
	TRY(searches_find(c, e));
	note_domains(c);
	note_budgets(c);
	note_rows(c);
	*out = c;
	c = NULL;
	rc = 0;
out:
	compare_free(c);
	return rc;
}

void compare_free(struct comparison *c)
{
	if (!c)
		return;
	controls_release(c);
	searches_release(c);
	for (int i = 0; i < c->n_rows; i++)
		free(c->rows[i].cells);
	free(c);
}

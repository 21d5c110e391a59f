/* The report: figures, Markdown, and the order of files. HTML: report_html.c, JSON: report_json.c. Test: tests/test_report.c */
#include "results/report.h"

#include "base/fsio.h"
#include "results/plot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const report_legend =
	"NLL is in nat per token, over every token after a document's first. Intervals are 95 % percentile bootstrap intervals over "
	"documents; those of differences are paired, document by document. top-1 and KL compare with the teacher on the same tokens. "
	"Ranks are by the mean over domains. Students of another size are marked ≠ size and not ranked. "
	"Intervals hold the chance of the documents, not that of the seed. FLOP spent: training, mask learning and the teacher's "
	"forward passes, without the search for a learning rate.";

struct report_options report_default(void)
{
	return (struct report_options){.title = "Comparison", .dir = ".", .plots = true};
}

/* ---- sentences ---- */

static const struct compare_row *best_row(const struct comparison *c)
{
	for (int i = 0; i < c->n_rows; i++)
		if (c->rows[i].rank == 1)
			return &c->rows[i];
	return NULL;
}

void report_verdict(const struct comparison *c, char *out, size_t n)
{
	const struct compare_row *best = best_row(c), *reference = &c->rows[c->reference];
	int ranked = 0;
	for (int i = 0; i < c->n_rows; i++)
		ranked += c->rows[i].rank > 0;
	if (!best || ranked < 2) {
		snprintf(out, n, "No two students of one size were scored on the same documents: nothing is ranked.");
		return;
	}
	const struct compare_cell *cell = &best->cells[0];
	int at = snprintf(out, n, "Best of %d students of one size: %s, %.4f %s on %s", ranked, best->name, cell->score.mean,
			  compare_unit(c, 0), c->domains[0].name);
	if (at < 0 || (size_t)at >= n)
		return;
	if (best == reference) {
		snprintf(out + at, n - (size_t)at, ": no other student beats the reference.");
		return;
	}
	const struct interval *d = &cell->difference;
	snprintf(out + at, n - (size_t)at, ", %+.4f against %s (95 %% interval %+.4f … %+.4f, %s zero).", d->mean, reference->name,
		 d->low, d->high, d->high < 0 ? "below" : d->low > 0 ? "above" : "which holds");
}

void report_stamp(const struct comparison *c, char *out, size_t n)
{
	const struct result *r = c->rows[c->reference].seeds[0];
	const struct evaluation *v = &r->evals[0].scores;
	snprintf(out, n, "recipe %s %s · commit %s · %s · training %s, %d threads · scored in %s, sequence length %d, stride %d · "
		 "%d bootstrap resamples · started %s", *r->stamp.recipe ? r->stamp.recipe : "–", r->stamp.recipe_hash,
		 *r->stamp.commit ? r->stamp.commit : "unknown", *r->stamp.device ? r->stamp.device : "unknown device",
		 *r->stamp.dtype ? r->stamp.dtype : "–", r->stamp.threads, v->dtype, v->sequence_length, v->stride,
		 c->bootstrap.resamples, *r->stamp.started ? r->stamp.started : "–");
}

int report_table_rates(const struct comparison *c, struct table *t, struct err *e)
{
	if (table_init(t, 4, e) < 0 || table_row(t, e) < 0)
		return -1;
	t->left[0] = t->left[3] = true;
	table_set(t, 0, "student");
	table_set(t, 1, "seed");
	table_set(t, 2, "lr used");
	table_set(t, 3, "tried: lr → held-out NLL");
	for (int i = 0; i < c->n_rows; i++)
		for (int s = 0; s < c->rows[i].n_seeds; s++) {
			const struct result *r = c->rows[i].seeds[s];
			char list[TABLE_CELL] = "";
			for (int k = 0; k < r->train.n_candidates; k++) {
				size_t used = strlen(list);
				double nll = r->train.candidates[k].nll;
				snprintf(list + used, sizeof list - used, isfinite(nll) ? "%s%.3g → %.4f" : "%s%.3g → diverged", k ? ", " : "",
					 r->train.candidates[k].lr, nll);
			}
			if (!r->train.n_candidates)
				continue;
			if (table_row(t, e) < 0)
				return -1;
			table_set(t, 0, "%s", r->name);
			table_set(t, 1, "%llu", (unsigned long long)r->seed);
			table_set(t, 2, "%.3g", r->train.lr);
			table_set(t, 3, "%s", list);
		}
	return 0;
}

/* ---- figures ---- */

static void add_figure(struct report *r, const char *name, const char *caption)
{
	BUG_ON(r->n_figures == REPORT_MAX_FIGURES);
	struct figure *f = &r->figures[r->n_figures++];
	snprintf(f->file, sizeof f->file, "%s.svg", name);
	snprintf(f->caption, sizeof f->caption, "%s", caption);
}

static int draw_finals(struct report *r, struct err *e)
{
	for (int d = 0; d < r->comparison->n_domains; d++) {
		const struct compare_domain *domain = &r->comparison->domains[d];
		char name[32], caption[320];
		if (figure_final(r->comparison, d, r->options->dir, e) < 0)
			return -1;
		snprintf(name, sizeof name, "final-%d", d);
		snprintf(caption, sizeof caption, "%s, %zu documents: loss of every model, and the paired difference of every "
			 "student to %s. Bars: 95 %% intervals.", domain->name, domain->n_documents,
			 r->comparison->rows[r->comparison->reference].name);
		add_figure(r, name, caption);
	}
	return 0;
}

static int draw_masks(struct report *r, struct err *e)
{
	const struct result *of;
	for (int i = 0; (of = figure_masks_of(&r->curves, i)) && r->n_figures < REPORT_MAX_FIGURES; i++) {
		char name[32], caption[320];
		if (figure_masks(&r->curves, i, r->options->dir, e) < 0)
			return -1;
		snprintf(name, sizeof name, "masks-%d", i);
		snprintf(caption, sizeof caption, "Masks of %s, seed %llu: expected size of every structure (line) and the size "
			 "that was asked for (dotted).", of->name, (unsigned long long)of->seed);
		add_figure(r, name, caption);
	}
	return 0;
}

static int draw(struct report *r, struct err *e)
{
	if (!r->options->plots)
		return 0;
	r->no_gnuplot = !plot_available();
	if (r->no_gnuplot)
		return 0;
	if (draw_finals(r, e) < 0)
		return -1;
	int loss = figure_loss(r->comparison, &r->curves, r->options->dir, e);
	if (loss < 0)
		return -1;
	if (loss)
		add_figure(r, "loss", "Held-out loss over the token budget; tokens spent in mask learning count, and are drawn "
				      "dotted with the loss of the masked model. The beginning is cut off above.");
	return draw_masks(r, e);
}

/* ---- Markdown ---- */

static int markdown_table(FILE *f, const char *title, struct table *t)
{
	if (t->n_rows > 1) {
		fprintf(f, "\n## %s\n\n", title);
		table_print_markdown(t, f);
	}
	table_release(t);
	return 0;
}

static int markdown_tables(const struct report *r, FILE *f, struct err *e)
{
	int rc = -1;
	const struct comparison *c = r->comparison;
	struct table t = {0};
	for (int d = 0; d < c->n_domains; d++) {
		char title[160];
		snprintf(title, sizeof title, "%s: %zu documents, %zu tokens, %zu bytes", c->domains[d].name,
			 c->domains[d].n_documents, c->domains[d].tokens, c->domains[d].bytes);
		TRY(compare_table_domain(c, d, &t, e));
		markdown_table(f, title, &t);
	}
	fprintf(f, "\n%s\n", report_legend);
	TRY(compare_table_costs(c, &t, e));
	markdown_table(f, "What it cost", &t);
	TRY(compare_table_seeds(c, &t, e));
	markdown_table(f, "Seeds", &t);
	TRY(report_table_rates(c, &t, e));
	markdown_table(f, "Learning rates", &t);
	rc = 0;
out:
	table_release(&t);
	return rc;
}

static int print_markdown(const struct report *r, FILE *f, struct err *e)
{
	char line[1024];
	const struct comparison *c = r->comparison;
	report_verdict(c, line, sizeof line);
	fprintf(f, "# %s\n\n%s\n", r->options->title, line);
	if (markdown_tables(r, f, e) < 0)
		return -1;
	if (r->n_figures)
		fputs("\n## Figures\n", f);
	for (int i = 0; i < r->n_figures; i++)
		fprintf(f, "\n![%s](%s)\n\n%s\n", r->figures[i].file, r->figures[i].file, r->figures[i].caption);
	if (r->no_gnuplot)
		fputs("\nNo figures: gnuplot is not installed.\n", f);
	if (c->n_notes + r->options->n_notes)
		fputs("\n## Read this first\n\n", f);
	for (int i = 0; i < r->options->n_notes; i++)
		fprintf(f, "- %s\n", r->options->notes[i]);
	for (int i = 0; i < c->n_notes; i++)
		fprintf(f, "- %s\n", c->notes[i]);
	report_stamp(c, line, sizeof line);
	fprintf(f, "\n---\n%s\n", line);
	return 0;
}

static int write_markdown(const struct report *r, struct err *e)
{
	char path[2048], *text = NULL;
	size_t n_bytes;
	snprintf(path, sizeof path, "%s/report.md", r->options->dir);
	FILE *f = open_memstream(&text, &n_bytes);
	if (!f)
		return err_run(e, "%s: out of memory", path);
	int rc = print_markdown(r, f, e);
	if (fclose(f) && !rc)
		rc = err_run(e, "%s: out of memory", path);
	if (!rc)
		rc = fsio_write_file(path, text, n_bytes, e);
	free(text);
	return rc;
}

int report_write(const struct comparison *c, const struct report_options *o, struct err *e)
{
	int rc = -1;
	struct report *r = calloc(1, sizeof *r);
	if (!r)
		return err_run(e, "report: out of memory");
	r->comparison = c;
	r->options = o;
	TRY(curves_read(&r->curves, c, e));
	TRY(draw(r, e));
	TRY(write_markdown(r, e));
	TRY(report_write_html(r, e));
	TRY(report_write_json(r, e));
	rc = 0;
out:
	curves_release(&r->curves);
	free(r);
	return rc;
}

/* The report: figures, the walk through its sections, and the order of files. Markdown: report_markdown.c, HTML: report_html.c,
 * JSON: report_json.c, sentences: report_text.c. Test: tests/test_report.c */
#include "results/report.h"

#include "base/fsio.h"
#include "results/plot.h"
#include "results/sections.h"

#include <stdlib.h>
#include <string.h>

struct report_options report_default(void)
{
	return (struct report_options){.title = "Comparison", .dir = ".", .plots = true};
}

/* ---- figures ---- */

static void add_figure(struct report *r, const char *name, const char *caption)
{
	BUG_ON(r->n_figures == REPORT_MAX_FIGURES);
	struct figure *f = &r->figures[r->n_figures++];
	snprintf(f->file, sizeof f->file, "%s.svg", name);
	snprintf(f->caption, sizeof f->caption, "%s", caption);
}

static bool has_seeds(const struct comparison *c)
{
	for (int i = 0; i < c->n_rows; i++)
		if (c->rows[i].n_seeds > 1)
			return true;
	return false;
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
			 "student to %s. Bars: 95 %% intervals%s.", domain->name, domain->n_documents,
			 compare_reference_text(r->comparison), has_seeds(r->comparison) ? " over documents; circles: seeds" : "");
		add_figure(r, name, caption);
	}
	return 0;
}

static int draw_caches(struct report *r, struct err *e)
{
	for (int d = 0; d < r->comparison->n_domains; d++) {
		char name[32];
		int drawn = figure_cache(r->comparison, d, r->options->dir, e);
		if (drawn < 0)
			return -1;
		snprintf(name, sizeof name, d ? "cache-%d" : "cache", d);
		if (drawn)
			add_figure(r, name, "Loss by the size of the teacher's cache; dashed: the teacher online. Bars: one standard deviation "
					    "over the seeds; of one seed the 95 % interval of the difference to online. Lines stand a "
					    "little apart where sizes are the same.");
	}
	return 0;
}

static int draw_ways(struct report *r, struct err *e)
{
	for (int d = 0; d < r->comparison->n_domains; d++) {
		char name[32], caption[320];
		int drawn = figure_ways(r->comparison, d, r->options->dir, e);
		if (drawn < 0)
			return -1;
		snprintf(name, sizeof name, d ? "ways-%d" : "ways", d);
		snprintf(caption, sizeof caption, "Every way's loss before training (held-out documents) and after it (%s), a colour for each "
			 "size%s.", r->comparison->domains[d].name, has_seeds(r->comparison) ? "; circles: seeds" : "");
		if (drawn)
			add_figure(r, name, caption);
	}
	return 0;
}

static int draw_pareto(struct report *r, struct err *e)
{
	int drawn = figure_pareto(r->comparison, r->options->dir, e);
	if (drawn > 0)
		add_figure(r, "pareto", r->comparison->n_searches ?
			   "Loss by size, means over the seeds; dashed: those that no smaller or equal model beats. Small circles: the candidates of "
			   "the search for a shape after their short training." :
			   "Loss by size, means over the seeds; dashed: those that no smaller or equal model beats.");
	return drawn < 0 ? -1 : 0;
}

static int draw_masks(struct report *r, struct err *e)
{
	const struct result *of;
	for (int i = 0; (of = figure_masks_of(&r->curves, i)) && r->n_figures < REPORT_MAX_FIGURES; i++) {
		char name[32], names[160], caption[320];
		if (figure_masks(&r->curves, i, r->options->dir, e) < 0)
			return -1;
		snprintf(name, sizeof name, "masks-%d", i);
		curves_masks_names(&r->curves, of, names, sizeof names);
		snprintf(caption, sizeof caption, "Masks of %s, seed %llu: expected size of every structure (line) and the size "
			 "that was asked for (dotted).", names, (unsigned long long)of->seed);
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
	if (draw_finals(r, e) < 0 || draw_ways(r, e) < 0 || draw_pareto(r, e) < 0 || draw_caches(r, e) < 0)
		return -1;
	int loss = figure_loss(r->comparison, &r->curves, r->options->dir, e);
	if (loss < 0)
		return -1;
	if (loss)
		add_figure(r, "loss", "Held-out loss over the token budget; tokens spent in mask learning count, and are drawn "
				      "dotted with the loss of the masked model. Of several seeds the mean. The beginning is cut off above.");
	return draw_masks(r, e);
}

/* ---- a page ---- */

static int print_notes(const struct report *r, const struct page *p, FILE *f, struct err *e)
{
	const struct comparison *c = r->comparison;
	int n = 0, all = r->options->n_notes + c->n_notes + r->no_gnuplot;
	if (!all)
		return 0;
	const char **text = calloc((size_t)all, sizeof *text);
	if (!text)
		return err_run(e, "report: out of memory");
	for (int i = 0; i < r->options->n_notes; i++)
		text[n++] = r->options->notes[i];
	for (int i = 0; i < c->n_notes; i++)
		text[n++] = c->notes[i];
	if (r->no_gnuplot)
		text[n++] = "No figures: gnuplot is not installed.";
	p->heading(f, "Read this first", "");
	p->notes(f, text, n);
	free(text);
	return 0;
}

static bool belongs(const struct figure *x, const char *prefix)
{
	return *prefix && !strncmp(x->file, prefix, strlen(prefix));
}

static int print_figures(const struct report *r, const struct section *s, const struct page *p, FILE *f, struct err *e)
{
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < r->n_figures; i++)
			if (belongs(&r->figures[i], s->figures[k]) && p->figure(r, &r->figures[i], f, e) < 0)
				return -1;
	return 0;
}

static bool has_figures(const struct report *r, const struct section *s)
{
	for (int i = 0; i < r->n_figures; i++)
		if (belongs(&r->figures[i], s->figures[0]) || belongs(&r->figures[i], s->figures[1]))
			return true;
	return false;
}

static int print_section(const struct report *r, const struct section *s, const struct page *p, FILE *f, struct err *e)
{
	int rc = -1;
	struct table t;
	TRY(section_table(r->comparison, s, &t, e));
	if (t.n_rows > 1 || has_figures(r, s))
		p->heading(f, s->title, s->detail);
	if (t.n_rows > 1) {
		p->table(&t, f);
		if (s->text)
			p->paragraph(f, s->text);
	}
	TRY(print_figures(r, s, p, f, e));
	rc = 0;
out:
	table_release(&t);
	return rc;
}

int report_print_body(const struct report *r, const struct page *p, FILE *f, struct err *e)
{
	struct section s;
	if (print_notes(r, p, f, e) < 0)
		return -1;
	for (int i = 0; section_at(r->comparison, i, &s); i++)
		if (print_section(r, &s, p, f, e) < 0)
			return -1;
	return 0;
}

int report_write_page(const struct report *r, const char *file, int (*print)(const struct report *, FILE *, struct err *),
		      struct err *e)
{
	char path[2048], *text = NULL;
	size_t n_bytes;
	snprintf(path, sizeof path, "%s/%s", r->options->dir, file);
	FILE *f = open_memstream(&text, &n_bytes);
	if (!f)
		return err_run(e, "%s: out of memory", path);
	int rc = print(r, f, e);
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
	TRY(report_write_markdown(r, e));
	TRY(report_write_html(r, e));
	TRY(report_write_json(r, e));
	rc = 0;
out:
	curves_release(&r->curves);
	free(r);
	return rc;
}

/* report.html: one file that needs nothing else. Light or dark as the reader's system is. Test: tests/test_report.c */
#include "results/report.h"

#include "base/fsio.h"

#include <stdlib.h>
#include <string.h>

static const char style[] =
	":root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#dde2e8;--page:#fff;--panel:#f6f8fa;--mark:#e7f2ec;--accent:#0b7a53}\n"
	"@media(prefers-color-scheme:dark){:root{--ink:#e3e7ec;--soft:#98a3b0;--line:#323a44;--page:#14181d;--panel:#1b2027;--mark:#1c3128;--accent:#4cc38a}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0 auto;max-width:1120px;padding:40px 28px 64px;background:var(--page);color:var(--ink);"
	"font:15px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}\n"
	"header{border-bottom:1px solid var(--line);padding-bottom:20px;margin-bottom:8px}\n"
	"h1{font-size:27px;line-height:1.25;margin:0 0 10px;letter-spacing:-.01em}\n"
	"h2{font-size:17px;margin:36px 0 10px}h2 small{font-weight:400;color:var(--soft);font-size:13px;margin-left:8px}\n"
	".verdict{font-size:17px;margin:0;border-left:4px solid var(--accent);padding:2px 0 2px 14px}\n"
	".stamp,.legend,figcaption{color:var(--soft);font-size:13px}.stamp{margin-top:40px;border-top:1px solid var(--line);padding-top:14px}\n"
	".scroll{overflow-x:auto}\n"
	"table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:13.5px}\n"
	"th,td{padding:7px 8px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}\n"
	"th{font-weight:600;color:var(--soft);font-size:12.5px;border-bottom:2px solid var(--line)}\n"
	"td.text,th.text{text-align:left}td:first-child{font-weight:600}\n"
	"tr.strong td{background:var(--mark)}\n"
	"figure{margin:18px 0 0;padding:16px 16px 12px;background:var(--panel);border:1px solid var(--line);border-radius:8px}\n"
	"figure svg{width:100%;height:auto;display:block}figcaption{margin-top:8px}\n"
	"ul{padding-left:20px}li{margin:4px 0}\n"
	"@media print{body{max-width:none;padding:0}figure{break-inside:avoid}}\n";

/* ---- a figure inside the page ---- */

/* How many bytes of svg are replaced, and by what. Black becomes the page's ink, so that axes can be read on a dark page; the
 * title, which browsers show as a tool tip, goes. */
static size_t replaced(const char *svg, const char **by)
{
	static const char *const blacks[] = {"\"black\"", "'black'", "\"rgb(0,0,0)\"", "\"rgb(  0,   0,   0)\"",
					     "'rgb(  0,   0,   0)'"};
	const char *end = strncmp(svg, "<title>", 7) ? NULL : strstr(svg, "</title>");
	*by = "";
	if (end)
		return (size_t)(end - svg) + strlen("</title>");
	*by = "\"currentColor\"";
	for (size_t i = 0; i < sizeof blacks / sizeof *blacks; i++)
		if (!strncmp(svg, blacks[i], strlen(blacks[i])))
			return strlen(blacks[i]);
	return 0;
}

static void print_svg_body(FILE *f, const char *svg)
{
	while (*svg) {
		const char *by;
		size_t n = *svg == '"' || *svg == '\'' || *svg == '<' ? replaced(svg, &by) : 0;
		if (n)
			fputs(by, f);
		else
			fputc(*svg, f);
		svg += n ? n : 1;
	}
}

static int print_figure(const struct report *r, const struct figure *figure, FILE *f, struct err *e)
{
	char path[2048], *text;
	snprintf(path, sizeof path, "%s/%s", r->options->dir, figure->file);
	if (fsio_read_file(path, 64 << 20, &text, NULL, e) < 0)
		return -1;
	const char *svg = strstr(text, "<svg");
	if (!svg) {
		free(text);
		return err_run(e, "%s: gnuplot wrote no <svg>", path);
	}
	fputs("<figure>\n", f);
	print_svg_body(f, svg);
	fputs("<figcaption>", f);
	table_html_text(f, figure->caption);
	fputs("</figcaption></figure>\n", f);
	free(text);
	return 0;
}

static int print_figures(const struct report *r, const char *prefix, FILE *f, struct err *e)
{
	for (int i = 0; i < r->n_figures; i++)
		if (!strncmp(r->figures[i].file, prefix, strlen(prefix)) && print_figure(r, &r->figures[i], f, e) < 0)
			return -1;
	return 0;
}

/* ---- sections ---- */

static void heading(FILE *f, const char *title, const char *small)
{
	fputs("<h2>", f);
	table_html_text(f, title);
	if (small) {
		fputs(" <small>", f);
		table_html_text(f, small);
		fputs("</small>", f);
	}
	fputs("</h2>\n", f);
}

static void section(FILE *f, const char *title, struct table *t)
{
	if (t->n_rows > 1) {
		heading(f, title, NULL);
		table_print_html(t, f);
	}
	table_release(t);
}

static int print_domains(const struct report *r, FILE *f, struct err *e)
{
	const struct comparison *c = r->comparison;
	for (int d = 0; d < c->n_domains; d++) {
		struct table t = {0};
		char small[128], figure[32];
		snprintf(small, sizeof small, "%zu documents, %zu tokens, %zu bytes", c->domains[d].n_documents, c->domains[d].tokens,
			 c->domains[d].bytes);
		heading(f, c->domains[d].name, small);
		int rc = compare_table_domain(c, d, &t, e);
		if (!rc)
			table_print_html(&t, f);
		table_release(&t);
		snprintf(figure, sizeof figure, "final-%d.", d);
		if (rc < 0 || print_figures(r, figure, f, e) < 0)
			return -1;
	}
	fprintf(f, "<p class=\"legend\">%s</p>\n", report_legend);
	return 0;
}

static void print_notes(const struct report *r, FILE *f)
{
	const struct comparison *c = r->comparison;
	if (!(c->n_notes + r->options->n_notes + r->no_gnuplot))
		return;
	heading(f, "Read this first", NULL);
	fputs("<ul>\n", f);
	for (int i = 0; i < r->options->n_notes + c->n_notes; i++) {
		fputs("<li>", f);
		table_html_text(f, i < r->options->n_notes ? r->options->notes[i] : c->notes[i - r->options->n_notes]);
		fputs("</li>\n", f);
	}
	fputs(r->no_gnuplot ? "<li>No figures: gnuplot is not installed.</li>\n</ul>\n" : "</ul>\n", f);
}

static int print_rest(const struct report *r, FILE *f, struct err *e)
{
	int rc = -1;
	const struct comparison *c = r->comparison;
	struct table t = {0};
	TRY(compare_table_costs(c, &t, e));
	section(f, "What it cost", &t);
	if (r->curves.n_loss && r->n_figures)
		heading(f, "How it went", NULL);
	TRY(print_figures(r, "loss", f, e));
	TRY(print_figures(r, "masks", f, e));
	TRY(compare_table_seeds(c, &t, e));
	section(f, "Seeds", &t);
	TRY(report_table_rates(c, &t, e));
	section(f, "Learning rates", &t);
	rc = 0;
out:
	table_release(&t);
	return rc;
}

static int print_page(const struct report *r, FILE *f, struct err *e)
{
	char line[1024];
	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>", f);
	table_html_text(f, r->options->title);
	fprintf(f, "</title>\n<style>\n%s</style></head>\n<body>\n<header><h1>", style);
	table_html_text(f, r->options->title);
	report_verdict(r->comparison, line, sizeof line);
	fputs("</h1>\n<p class=\"verdict\">", f);
	table_html_text(f, line);
	fputs("</p></header>\n", f);
	print_notes(r, f);
	if (print_domains(r, f, e) < 0 || print_rest(r, f, e) < 0)
		return -1;
	report_stamp(r->comparison, line, sizeof line);
	fputs("<p class=\"stamp\">", f);
	table_html_text(f, line);
	fputs("<br>Every number with its stamp, and the curves: report.json</p>\n</body></html>\n", f);
	return 0;
}

int report_write_html(const struct report *r, struct err *e)
{
	char path[2048], *text = NULL;
	size_t n_bytes;
	snprintf(path, sizeof path, "%s/report.html", r->options->dir);
	FILE *f = open_memstream(&text, &n_bytes);
	if (!f)
		return err_run(e, "%s: out of memory", path);
	int rc = print_page(r, f, e);
	if (fclose(f) && !rc)
		rc = err_run(e, "%s: out of memory", path);
	if (!rc)
		rc = fsio_write_file(path, text, n_bytes, e);
	free(text);
	return rc;
}

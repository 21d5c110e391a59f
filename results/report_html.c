/* report.html: one file that needs nothing else. Light or dark as the reader's system is. Test: tests/test_report.c */
#include "results/report.h"

#include "base/fsio.h"

#include <stdlib.h>
#include <string.h>

static const char style[] =
	":root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#dde2e8;--page:#fff;--panel:#f6f8fa;--mark:#e7f2ec;--accent:#0b7a53}\n"
	"@media(prefers-color-scheme:dark){:root{--ink:#e3e7ec;--soft:#98a3b0;--line:#323a44;--page:#14181d;--panel:#1b2027;--mark:#1c3128;--accent:#4cc38a}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0 auto;max-width:1200px;padding:40px 28px 64px;background:var(--page);color:var(--ink);"
	"font:15px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}\n"
	"header{border-bottom:1px solid var(--line);padding-bottom:20px;margin-bottom:8px}\n"
	"h1{font-size:27px;line-height:1.25;margin:0 0 10px;letter-spacing:-.01em}\n"
	"h2{font-size:17px;margin:36px 0 10px}h2 small{font-weight:400;color:var(--soft);font-size:13px;margin-left:8px}\n"
	".verdict{font-size:17px;margin:0 0 8px;border-left:4px solid var(--accent);padding:2px 0 2px 14px}\n"
	".stamp,.legend,figcaption{color:var(--soft);font-size:13px}.stamp{margin-top:40px;border-top:1px solid var(--line);padding-top:14px}\n"
	".scroll{overflow-x:auto}\n"
	"table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:13.5px}\n"
	"th,td{padding:7px 8px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}\n"
	"th{font-weight:600;color:var(--soft);font-size:12.5px;border-bottom:2px solid var(--line)}\n"
	"td.text,th.text{text-align:left}td.long{white-space:normal;min-width:14em}td:first-child{font-weight:600}\n"
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

/* ---- the parts of a page ---- */

static void heading(FILE *f, const char *title, const char *detail)
{
	fputs("<h2>", f);
	table_html_text(f, title);
	if (*detail) {
		fputs(" <small>", f);
		table_html_text(f, detail);
		fputs("</small>", f);
	}
	fputs("</h2>\n", f);
}

static void paragraph(FILE *f, const char *text)
{
	fputs("<p class=\"legend\">", f);
	table_html_text(f, text);
	fputs("</p>\n", f);
}

static void notes(FILE *f, const char *const *text, int n)
{
	fputs("<ul>\n", f);
	for (int i = 0; i < n; i++) {
		fputs("<li>", f);
		table_html_text(f, text[i]);
		fputs("</li>\n", f);
	}
	fputs("</ul>\n", f);
}

static const struct page page = {heading, paragraph, notes, table_print_html, print_figure};

static void verdict(FILE *f, const char *text)
{
	fputs("<p class=\"verdict\">", f);
	table_html_text(f, text);
	fputs("</p>\n", f);
}

static int print(const struct report *r, FILE *f, struct err *e)
{
	char line[1024];
	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>", f);
	table_html_text(f, r->options->title);
	fprintf(f, "</title>\n<style>\n%s</style></head>\n<body>\n<header><h1>", style);
	table_html_text(f, r->options->title);
	fputs("</h1>\n", f);
	for (int i = 0; report_verdict(r->comparison, i, line, sizeof line); i++)
		verdict(f, line);
	if (report_verdict_control(r->comparison, line, sizeof line))
		verdict(f, line);
	fputs("</header>\n", f);
	if (report_print_body(r, &page, f, e) < 0)
		return -1;
	report_stamp(r->comparison, line, sizeof line);
	fputs("<p class=\"stamp\">", f);
	table_html_text(f, line);
	fputs("<br>Every number with its stamp, and the curves: report.json</p>\n</body></html>\n", f);
	return 0;
}

int report_write_html(const struct report *r, struct err *e)
{
	return report_write_page(r, "report.html", print, e);
}

/* report.md. Test: tests/test_report.c */
#include "results/report.h"

static void heading(FILE *f, const char *title, const char *detail)
{
	fprintf(f, "\n## %s%s%s\n\n", title, *detail ? ": " : "", detail);
}

static void paragraph(FILE *f, const char *text)
{
	fprintf(f, "\n%s\n", text);
}

static void notes(FILE *f, const char *const *text, int n)
{
	for (int i = 0; i < n; i++)
		fprintf(f, "- %s\n", text[i]);
}

static int figure(const struct report *r, const struct figure *x, FILE *f, struct err *e)
{
	(void)r;
	(void)e;
	fprintf(f, "\n![%s](%s)\n\n%s\n", x->file, x->file, x->caption);
	return 0;
}

static const struct page page = {heading, paragraph, notes, table_print_markdown, figure};

static int print(const struct report *r, FILE *f, struct err *e)
{
	char line[1024];
	fprintf(f, "# %s\n", r->options->title);
	for (int i = 0; report_verdict(r->comparison, i, line, sizeof line); i++)
		paragraph(f, line);
	if (report_verdict_control(r->comparison, line, sizeof line))
		paragraph(f, line);
	if (report_print_body(r, &page, f, e) < 0)
		return -1;
	report_stamp(r->comparison, line, sizeof line);
	fprintf(f, "\n---\n%s\n", line);
	return 0;
}

int report_write_markdown(const struct report *r, struct err *e)
{
	return report_write_page(r, "report.md", print, e);
}

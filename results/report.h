/* The report over a comparison: report.md, report.html (one file: styles and figures inside), report.json (everything, curves
 * and stamps too), and the figures as .svg. Test: tests/test_report.c */
#ifndef RESULTS_REPORT_H
#define RESULTS_REPORT_H

#include "results/curves.h"

struct report_options {
	const char *title;        /* of the page: the recipe's name */
	const char *dir;          /* exists; files of an earlier report there are replaced */
	const char *const *notes; /* (n_notes) what the run wants said, such as where its data is from */
	int n_notes;
	bool plots;               /* false: without figures. Without gnuplot they are left out and the report says so */
};
struct report_options report_default(void);

/* Each file is replaced atomically; report.json comes last. */
int report_write(const struct comparison *, const struct report_options *, struct err *);

/* ---- the parts, for report*.c ---- */

struct figure {
	char file[64]; /* inside dir */
	char caption[320];
};
enum { REPORT_MAX_FIGURES = 160 };
struct report {
	const struct comparison *comparison;
	const struct report_options *options;
	struct curves curves;
	int n_figures;
	struct figure figures[REPORT_MAX_FIGURES];
	bool no_gnuplot;
};
/* Of the i-th size that has something to rank: who is best, by how much, how surely, and who is not surely worse. False: no more;
 * the first is always there, and says so where nothing is ranked. */
bool report_verdict(const struct comparison *, int i, char *out, size_t n);
/* Whether distilled students beat their controls, on the first domain. False: there is no such pair, out is not written. */
bool report_verdict_control(const struct comparison *, char *out, size_t n);
/* The stamp of the run in one line. */
void report_stamp(const struct comparison *, char *out, size_t n);

/* How a format prints what a page holds. detail may be ""; notes are a list. */
struct page {
	void (*heading)(FILE *, const char *title, const char *detail);
	void (*paragraph)(FILE *, const char *text);
	void (*notes)(FILE *, const char *const *text, int n);
	void (*table)(const struct table *, FILE *);
	int (*figure)(const struct report *, const struct figure *, FILE *, struct err *);
};
/* The notes and every section (results/sections.h) with its figures. */
int report_print_body(const struct report *, const struct page *, FILE *, struct err *);
/* <dir>/file with what print gives, atomically. */
int report_write_page(const struct report *, const char *file, int (*print)(const struct report *, FILE *, struct err *),
		      struct err *);
int report_write_markdown(const struct report *, struct err *);
int report_write_html(const struct report *, struct err *);
int report_write_json(const struct report *, struct err *);

#endif

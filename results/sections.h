/* What a report is made of, in order: the one list that the terminal, Markdown and HTML walk. Test: tests/test_report.c */
#ifndef RESULTS_SECTIONS_H
#define RESULTS_SECTIONS_H

#include "results/compare.h"

struct section {
	char title[64], detail[160];
	int domain;             /* whose scores the table holds; -1: `table` makes it, or there is none */
	int (*table)(const struct comparison *, struct table *, struct err *);
	const char *text;       /* how to read the table; NULL */
	char figures[2][16];    /* figures whose file begins so stand below; "": none */
	bool in_summary;        /* printed at the end of a run, too */
};
/* Section i; false: no more. */
bool section_at(const struct comparison *, int i, struct section *out);
/* Its table, the caller's to release; no rows at all where a section has none. A section with neither rows below the header
 * nor figures is left out. */
int section_table(const struct comparison *, const struct section *, struct table *, struct err *);

#endif

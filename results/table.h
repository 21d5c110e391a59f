/* Text in aligned columns, for a terminal, for Markdown, for HTML. Test: tests/test_report.c */
#ifndef RESULTS_TABLE_H
#define RESULTS_TABLE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { TABLE_CELL = 208 };
struct table {
	int n_columns, n_rows, capacity;
	bool *left;              /* (n_columns): text is set left, numbers right */
	char (*cells)[TABLE_CELL]; /* (n_rows, n_columns); row 0 is the header */
	bool *strong;            /* (n_rows): set off from the others */
};
int table_init(struct table *, int n_columns, struct err *);
void table_release(struct table *); /* a zeroed struct is fine */
/* A further row of empty cells. The first is the header. */
int table_row(struct table *, struct err *);
/* Writes a cell of the last row; longer text is cut. */
void table_set(struct table *, int column, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

void table_print(const struct table *, FILE *);
void table_print_markdown(const struct table *, FILE *);
void table_print_html(const struct table *, FILE *);

/* Text of others inside a page: & < > " ' become entities. */
void table_html_text(FILE *, const char *text);

/* "3.15 M": a count with three digits and a decimal prefix; NaN gives "–". */
const char *table_count(double n, char out[32]);

#endif

/* Tables of numbers: metrics of a run, scores of documents. Comma-separated values, whose first line names the columns; or, in
 * a file called X.jsonl, an object a line, whose keys do. An empty field, an absent key and what is no number (a phase's name, a
 * time) are NaN. Test: tests/test_compare.c */
#ifndef RESULTS_CSV_H
#define RESULTS_CSV_H

#include "base/err.h"

#include <stddef.h>

struct csv {
	char **names;   /* (n_columns) */
	double *values; /* (n_rows, n_columns) */
	size_t n_rows, n_columns;
	char *text;     /* what names point into */
};
/* Refuses a CSV file without a header line, a line with another number of fields, and a line that is no JSON object. A last
 * line without its newline is the trace of a killed writer: it is left out. */
int csv_read(struct csv *, const char *path, struct err *);
void csv_release(struct csv *); /* a zeroed struct is fine */
/* -1: no such column. */
int csv_column(const struct csv *, const char *name);
static inline double csv_at(const struct csv *c, size_t row, int column)
{
	return c->values[row * c->n_columns + (size_t)column];
}

/* The JSON lines of text (n_bytes), for csv_read. */
int jsonl_parse(struct csv *, const char *text, size_t n_bytes, const char *path, struct err *);

#endif

/* Tables of numbers as comma-separated values: metrics of a run, scores of documents. The first line names the columns;
 * an empty field is NaN; a field that is no number (the phase's name, a time) is NaN too. Test: tests/test_compare.c */
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
/* Refuses a file without a header line and a line with another number of fields. A last line without its newline is the
 * trace of a killed writer: it is left out. */
int csv_read(struct csv *, const char *path, struct err *);
void csv_release(struct csv *); /* a zeroed struct is fine */
/* -1: no such column. */
int csv_column(const struct csv *, const char *name);
static inline double csv_at(const struct csv *c, size_t row, int column)
{
	return c->values[row * c->n_columns + (size_t)column];
}

#endif

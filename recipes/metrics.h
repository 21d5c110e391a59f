/* A metrics file: rows appended step by step, cut back to the last checkpoint on resume. CSV with a header, or JSON lines.
 * Test: tests/test_metrics.c */
#ifndef RECIPES_METRICS_H
#define RECIPES_METRICS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { METRICS_MAX_COLUMNS = 96 };
struct metrics {
	char *path;
	bool jsonl;
	const char *columns[METRICS_MAX_COLUMNS];
	double values[METRICS_MAX_COLUMNS]; /* of the row being made; NAN: empty */
	int n_columns;
	uint64_t n_bytes; /* on the disk */
};
/* Starts an empty file (n_bytes 0) or cuts an existing one to n_bytes. */
int metrics_open(struct metrics *, const char *path, bool jsonl, const char *const *columns, int n_columns, uint64_t n_bytes, struct err *);
void metrics_close(struct metrics *); /* a zeroed struct is fine */
void metrics_set(struct metrics *, const char *column, double value);
/* Appends the row and clears it. */
int metrics_row(struct metrics *, struct err *);
/* All rows are on the disk: a checkpoint may count on them. */
int metrics_sync(const struct metrics *, struct err *);

#endif

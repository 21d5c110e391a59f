/* The rows of one micro-batch on the host, as batches fill them and student, teacher and cache read them.
 * Test: tests/test_run.c through the program. */
#ifndef RECIPES_ROWS_H
#define RECIPES_ROWS_H

#include "data/batches.h"

struct rows {
	int B, T;
	int32_t *tokens, *targets, *pos, *start; /* (B*T), in this order in one block */
	uint8_t *flags;                          /* (B*T) */
	int *domain;                             /* (B) */
};
int rows_init(struct rows *, int B, int T, struct err *);
void rows_release(struct rows *); /* a zeroed struct is fine */
/* The next B sequences. */
void rows_next(struct rows *, struct batches *);
/* Passes over sequences that an earlier phase has read; fewer than B are what remains. */
void rows_skip(struct rows *, struct batches *, int64_t n_sequences);

#endif

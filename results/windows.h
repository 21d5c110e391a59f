/* Which rows of a forward pass hold which tokens: windows over documents, packed side by side into B sequences of T rows.
 * Host arrays only, no model. Test: tests/test_evaluate.c */
#ifndef RESULTS_WINDOWS_H
#define RESULTS_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Window k over a document of n tokens: its tokens and those it scores, all as indexes into the document. */
struct window {
	size_t first, end; /* tokens held: [first, end) */
	size_t scored;     /* tokens scored: [scored, end) */
};
/* False when there is no window k. S >= 2. */
bool window_at(size_t n_tokens, int S, size_t k, struct window *out);

/* A batch under construction. Rows that hold nothing are documents of their own: token 0, not scored. */
struct packing {
	int B, T;                /* room */
	int used_T;              /* rows of the longest sequence so far; the forward pass may stop there */
	int *filled;             /* (B) rows taken in each sequence */
	int32_t *tokens, *targets, *pos, *start; /* (B, T) */
	float *weight;           /* (B, T) 1: scored */
	size_t *document;        /* (B, T) whose row, where scored */
};
void packing_clear(struct packing *);
/* Puts one window of document `document` into the first sequence with room. Rows: one per token but the last.
 * False: no room, the batch must be run first. */
bool packing_add(struct packing *, const int32_t *ids, const struct window *, size_t document);
/* Moves the rows together so that sequences lie used_T apart, as the forward pass wants them. */
void packing_close(struct packing *);

#endif

/* How the runs went: loss by tokens, and the sizes that mask learning asked for and got. Read from the metrics files that
 * results name. Test: tests/test_report.c */
#ifndef RESULTS_CURVES_H
#define RESULTS_CURVES_H

#include "results/compare.h"

struct curve {
	const struct result *of; /* borrowed */
	int row;                 /* in the comparison */
	bool in_init;            /* of the masks phase: the masked model; else of training */
	size_t n;
	double *tokens, *nll;    /* (n) tokens of the whole budget so far; nat per token on the held-out set */
};
struct mask_curve { /* one structure of one result */
	const struct result *of;
	char structure[32];
	size_t n;
	double *step, *target, *expected; /* (n) units per row */
};
struct shared_masks { /* whose curves were the same to the last number: students that were cut by the same masks */
	const struct result *of, *as;
};
struct curves {
	int n_loss, n_masks, n_shared;
	struct curve *loss;
	struct mask_curve *masks;    /* those of one result follow each other; of equal ones the first result's */
	struct shared_masks *shared; /* (n_shared) `of` has the curves of `as`, which stand in masks */
};
/* Every curve of every seed; a result without metrics has none. Metrics that cannot be read are an error. */
int curves_read(struct curves *, const struct comparison *, struct err *);
void curves_release(struct curves *); /* a zeroed struct is fine */

/* "sheared, sheared_ce": who has the mask curves of this result, itself first. */
void curves_masks_names(const struct curves *, const struct result *of, char *out, size_t n);

#endif

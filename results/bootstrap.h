/* How sure a mean over documents is: the bootstrap, resampled by source document, because tokens of one document hang
 * together. Percentile interval. Source: Efron & Tibshirani 1993, chapters 13 and 8. Test: tests/test_bootstrap.c */
#ifndef RESULTS_BOOTSTRAP_H
#define RESULTS_BOOTSTRAP_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fewer documents than this and every reader is told so: the interval is then too narrow. */
#define BOOTSTRAP_FEW_DOCUMENTS 30

struct bootstrap_options {
	int resamples;  /* >= 1; default 10000 */
	double level;   /* of the interval, in (0,1); default 0.95 */
	uint64_t seed;  /* default 0 */
};
struct bootstrap_options bootstrap_default(void);

struct interval {
	double mean, low, high;
	size_t n_documents; /* that weigh something */
	bool few;           /* n_documents < BOOTSTRAP_FEW_DOCUMENTS */
};

/* The ratio of sums r = sum_i a_i / sum_i w_i over n documents, and its interval: r of `resamples` draws of n documents
 * with replacement; the (1-level)/2 and (1+level)/2 quantiles, linear between order statistics.
 * a (n) the quantity, nat; w (n) >= 0 its weight, tokens (or bytes). Documents with w = 0 are left out: their a must be 0.
 * One document that counts: low = high = mean. None: err_user.
 * Deterministic: draw i of resample s is rng(seed, RNG_BOOTSTRAP, s, i), so that the same documents get the same draws. */
int bootstrap_ratio(struct interval *out, const double *a, const double *w, size_t n, const struct bootstrap_options *,
		    struct err *);

/* The paired difference r = sum_i (a_i - b_i) / sum_i w_i: both models saw the same documents. Arrays as above. */
int bootstrap_paired(struct interval *out, const double *a, const double *b, const double *w, size_t n,
		     const struct bootstrap_options *, struct err *);

#endif

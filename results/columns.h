/* One model in one domain, document by document, and what may be compared with what. Reads results only.
 * Test: tests/test_compare.c */
#ifndef RESULTS_COLUMNS_H
#define RESULTS_COLUMNS_H

#include "results/bootstrap.h"
#include "results/result_file.h"

/* NULL: the result has no such domain. Borrowed. */
const struct evaluation *result_scores(const struct result *, const char *domain);
/* The same tokens were scored; the same documents in any tokenizer's tokens. */
bool columns_same_tokens(const struct evaluation *, const struct evaluation *);
bool columns_same_text(const struct evaluation *, const struct evaluation *);

struct columns { /* (n) per document: NLL in nat, mean over the seeds, and the weights of it */
	double *nll, *tokens, *bytes; /* one block, owned */
	size_t n;
};
/* seeds (n_seeds >= 1), of one student; all must have the domain, scored on the same tokens, or err_user. */
int columns_init(struct columns *, const struct result *const *seeds, int n_seeds, const char *domain, struct err *);
void columns_release(struct columns *); /* a zeroed struct is fine */

/* The mean of x, or, where `less` is there, of x - less (the same documents), with its interval over documents: nat per token
 * of x, or in_bits: bits per byte. */
int columns_interval(struct interval *out, const struct columns *x, const struct columns *less, bool in_bits,
		     const struct bootstrap_options *, struct err *);

#endif

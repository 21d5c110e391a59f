/* The search for a learning rate. Test: tests/test_run.c */
#ifndef RECIPES_SEARCH_H
#define RECIPES_SEARCH_H

#include "recipes/phase.h"
#include "results/result_file.h"

struct candidate {
	double lr, nll;
};
struct search {
	struct candidate tried[RESULT_MAX_LRS]; /* by rising rate; nll +infinity: it diverged */
	int n;
	char warning[200]; /* "" when the best rate has neighbours on both sides */
};
enum { LR_EXTENSIONS = 2 };
/* The one rule: every rate of the list runs a short schedule of its own; while the best stands at an edge, the edge is
 * moved on by the ratio of its last two, at most LR_EXTENSIONS times; the lowest held-out loss wins. A rate that diverges
 * counts as infinite. Sets the phase's lr; candidates live in directories below dir. */
int search_rate(struct search *, struct phase *, const char *dir, struct err *);
/* Tokens of one candidate, whole steps; budget: what training itself has. */
int64_t search_tokens(const struct train_spec *, int64_t budget);

#endif

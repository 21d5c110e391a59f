/* The stage of init.importance: scores of the source's units, measured on calibration text or read from a file, the
 * cut, and what mends it. Leaves importance.safetensors and model/ in its directory.
 * Test: tests/test_run_importance.c through the program. */
#ifndef RECIPES_INIT_IMPORTANCE_H
#define RECIPES_INIT_IMPORTANCE_H

#include "prune/cut.h"
#include "recipes/calibrate.h"
#include "recipes/source.h"

/* The architecture after the cut; refuses, with a caret at the target, what cannot be reached, and a file of scores that
 * is not this source's. */
int importance_arch(const struct run *, const struct source *, const struct importance_spec *, struct arch *out, struct err *);
/* Tokens of text that the stage reads (once, whatever the passes); 0 where neither scores nor re-fit need any. */
int64_t importance_tokens(const struct recipe_spec *, const struct importance_spec *);
struct importance_price {
	size_t bytes[MEMORY_OWNERS]; /* of the scores' pass; the re-fit adds Gram matrices within a quarter of what is left */
	int64_t tokens;              /* importance_tokens */
	double flops;                /* of the stage's passes over them, the re-fit in one */
};
int importance_price(const struct run *, const struct source *, const struct importance_spec *, struct importance_price *, struct err *);
/* Scores alone: dir/importance.safetensors, made unless it is there. weights: the source's, (layout.n_elems) on the host. */
int importance_scores(const struct run *, const struct source *, const struct importance_spec *, const float *weights, uint64_t seed, const char *dir,
                      struct scores *out, struct err *);
/* dir/importance.safetensors, unless it is there already, and the cut with that architecture as dir/model. */
int importance_run(const struct run *, const struct source *, const struct importance_spec *, const struct arch *, uint64_t seed, const char *dir,
                   struct err *);
/* What the cut kept of the source, from dir/importance.safetensors. */
int importance_kept(const struct source *, const struct importance_spec *, const struct arch *, const char *dir, struct kept *, struct err *);
/* A sentence for the report where the method promises more than the family can hold; NULL: nothing to say. */
const char *importance_warning(const struct source *, const struct importance_spec *);

#endif

/* A model's loss on the held-out documents, with the windows of the curves: what everything is chosen by before the evaluation.
 * Test: tests/test_run.c through the program. */
#ifndef RECIPES_HELDOUT_H
#define RECIPES_HELDOUT_H

#include "recipes/run.h"
#include "results/loaded_model.h"

/* Mean over the domains, nat per token. The model is on run->eval_ops, which has been reserved for heldout_limits of it or of a
 * larger one. */
int heldout_nll(const struct run *, struct loaded_model *, double *nll, struct err *);
struct ops_limits heldout_limits(const struct run *, const struct arch *);

#endif

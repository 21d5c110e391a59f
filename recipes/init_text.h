/* What an init does, in a few words, for the report: without sizes, budgets and rates, so that students of two sizes that were
 * made alike have one text. Test: tests/test_init_text.c */
#ifndef RECIPES_INIT_TEXT_H
#define RECIPES_INIT_TEXT_H

#include "recipes/recipe.h"

/* "importance taylor, layers kl, refit": the kind (of random: "fresh weights"), its `method`, and every other choice, switch or file that differs from its
 * default, in the order of the key table; " distilled" where the init has soft targets. Appended to out (n bytes), after " → " where
 * something stands there. What does not fit is cut. */
void init_text(const struct init_spec *, char *out, size_t n);

#endif

/* Which shape a target means: its sizes, the sizes of a public model, or, of a budget, the shape that a search has chosen.
 * Before it has, the shape with the source's proportions stands in, so that a plan has prices and mistakes are found early.
 * Test: tests/test_shape_choice.c */
#ifndef RECIPES_SHAPE_CHOICE_H
#define RECIPES_SHAPE_CHOICE_H

#include "prune/space.h"
#include "recipes/recipe.h"

struct run;
struct shape_choices; /* what searches have chosen, in run->shapes */

/* Does it say a limit? */
bool shape_is_budget(const struct shape_spec *);
/* The space of a budget: limits, pinned sizes, multiples; time is the caller's to set. */
struct space_options shape_space(const struct recipe_spec *, const struct shape_spec *, const struct arch *source);
/* Equal for equal budgets on sources of equal architecture: these share one search. */
uint64_t shape_key(const struct recipe_spec *, const struct shape_spec *, const struct arch *source);

int shape_choices_init(struct shape_choices **, struct err *);
void shape_choices_free(struct shape_choices *); /* NULL is fine */
/* A search has ended; a later choice for the same key replaces the earlier one. */
int shape_choose(struct shape_choices *, uint64_t key, const struct shape *, struct err *);
/* NULL: not yet. */
const struct target *shape_chosen(const struct shape_choices *, uint64_t key);

/* What an init aims at: its own target, or the recipe's; one of them is there. */
const struct shape_spec *target_spec(const struct recipe_spec *, const struct shape_spec *own);
/* Sizes or a name as a target, 0: as the source. Refuses a name nobody has, and one whose heads are of another width than the
 * source's (source NULL: any). It is no budget. */
int shape_sizes(const struct shape_spec *, const struct arch *source, struct target *out, struct err *);
/* The target of an init that cuts that source. Refuses with a caret: what shape_sizes refuses, a budget that no shape meets, a
 * length of more positions than the source has. */
int run_target(const struct run *, const struct shape_spec *own, const struct arch *source, struct target *out, struct err *);
/* Is the shape that an init leads to from that source still to be searched? */
bool init_stands_in(const struct run *, const struct init_spec *, const struct arch *source);

#endif

/* What the tables of keys cannot say: what goes together, what the sizes allow, what is defined at all. Opens no model.
 * Test: tests/test_recipe.c, tests/test_recipe_stages.c, tests/test_recipe_distill.c, tests/test_recipe_shapes.c */
#ifndef RECIPES_CHECK_H
#define RECIPES_CHECK_H

#include "recipes/recipe.h"

/* The whole recipe. Every refusal is a caret at the key with its reason. */
int check_recipe(const struct recipe_spec *, struct err *);
/* All stages of student i. */
int check_stages(const struct recipe_spec *, int student, struct err *);
/* NULL is fine: text alone. */
int check_distill(const struct distill_spec *, struct err *);
/* One phase of training, an init on its own. */
int check_train(const struct recipe_spec *, const struct train_spec *, struct err *);
int check_init(const struct recipe_spec *, const struct init_spec *, struct err *);
/* NULL is fine: none. */
int check_shape(const struct recipe_spec *, const struct shape_spec *, struct err *);
/* What importance scores are taken from, whatever they lead to. */
int check_scores(const struct recipe_spec *, const struct importance_spec *, struct err *);
/* Where a key's value stands; the section itself when the key is left to its default. */
const struct yaml_node *check_place(const struct yaml_node *section, const char *key);

#endif

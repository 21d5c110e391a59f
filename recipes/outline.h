/* The stages of a student before anything runs: the shapes that they lead to, the tokens that they spend, what tells two
 * ways of making a model apart. For plan, preflight and the names of directories. Test: tests/test_run_stages.c */
#ifndef RECIPES_OUTLINE_H
#define RECIPES_OUTLINE_H

#include "recipes/source.h"

/* Tokens that a stage spends, in its init and in whole steps of training. */
int64_t stage_tokens(const struct recipe_spec *, const struct stage_spec *);
/* Equal for models that are made alike, whatever their student is called: by the same stages, here the first n of s. 0: the
 * first teacher. */
uint64_t stages_id(const struct recipe_spec *, const struct student_spec *, int n);
/* The same of the weights that an init gives when it starts from a model of that id. */
uint64_t stages_init_id(uint64_t before, const struct init_spec *);

struct outline {
	struct hf_model model; /* its layout alone */
	struct kept kept;
	struct source source;  /* points into the outline: don't move it */
};
/* What is left after the first n stages of a student, and for n = 0 what the first starts from: the teacher, or the end of
 * another student. Refuses, with a caret, a shape that cannot be reached. */
int outline_open(struct outline *, const struct run *, const struct student_spec *, int n, struct err *);
void outline_close(struct outline *); /* a zeroed struct is fine */

#endif

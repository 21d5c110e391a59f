/* The backends of a run and its teachers: which arithmetic, which checkpoints, what each weighs in which domain.
 * Test: tests/test_run.c, tests/test_run_distil.c */
#ifndef RECIPES_TEACHERS_H
#define RECIPES_TEACHERS_H

#include "recipes/run.h"

/* Opens run->ops as the recipe asks, eval_ops in fp32 (ops itself where that is fp32), and what teachers compute with. */
int run_open_ops(struct run *, int n_threads, struct err *);
void run_close_ops(struct run *);

/* The checkpoint of teacher i. */
int teachers_open(struct run *, int i, const char *dir, struct err *);
/* Every teacher that the recipe gives as a directory; shares by domain. */
int teachers_open_given(struct run *, struct err *);
void teachers_close(struct run *);
/* Refuses teachers whose tokenizers give other pieces to an id than the run's own does. */
int teachers_check_tokenizers(const struct run *, struct err *);

#endif

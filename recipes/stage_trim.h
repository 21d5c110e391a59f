/* The stage before all others: the recipe's teacher without the tokens that its training text does not use.
 * Test: tests/test_run_trim.c through the program. */
#ifndef RECIPES_STAGE_TRIM_H
#define RECIPES_STAGE_TRIM_H

#include "recipes/run.h"

/* Where the recipe asks for it: makes <run>/teacher/trimmed with `model` (the Hugging Face directory) and trim.json, and opens it in
 * place of the first teacher. Else nothing. Training text is generated where the recipe says so. */
int stage_trim(struct run *, struct err *);

#endif

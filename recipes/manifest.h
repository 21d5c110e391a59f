/* manifest.json of a run: its name, and what must not change between starts if results are to repeat to the bit.
 * Test: tests/test_run.c */
#ifndef RECIPES_MANIFEST_H
#define RECIPES_MANIFEST_H

#include "recipes/run.h"

/* Opens the backends with the threads of the first start and holds this start against it, or writes the manifest; then
 * recipe.yaml, the recipe resolved. Refuses (ERR_USER) another run's directory, and another machine unless the run may drift. */
int manifest_open(struct run *, struct err *);

#endif

/* What a run refuses before anything is made: files that are not there, a directory that is somebody else's, shapes that can't
 * be reached, positions and vocabularies that don't fit, layers that a loss names in vain. Test: tests/test_run.c */
#ifndef RECIPES_PREFLIGHT_H
#define RECIPES_PREFLIGHT_H

#include "recipes/run.h"

/* Every file and directory that the recipe names is there. */
int preflight_paths(const struct recipe_spec *, struct err *);
/* dir is empty, absent or holds a run. */
int preflight_directory(const char *dir, struct err *);
/* Opens the teachers that are given and holds every student against them; for a teacher that is still to be made its shape is
 * enough. */
int preflight_models(struct run *, struct err *);
/* Once more against the teacher that has been made. */
int preflight_students(const struct run *, struct err *);
/* The tokenizer is known: it fits every vocabulary, teachers share it, and no cache asks for more tokens than it has. */
int preflight_vocabularies(const struct run *, struct err *);

#endif

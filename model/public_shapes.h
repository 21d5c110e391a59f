/* Shapes of public models, by name: what a student can be cut to and run wherever that model runs.
 * Test: tests/test_public_shapes.c */
#ifndef MODEL_PUBLIC_SHAPES_H
#define MODEL_PUBLIC_SHAPES_H

#include "model/arch.h"

/* L, C, F, NH, NKV and HD of that model, V its own vocabulary; NULL: nobody is called so. */
const struct shape *public_shape(const char *name);
/* All names, sorted; NULL-terminated. */
extern const char *const public_shape_names[];
enum { PUBLIC_SHAPES = 20 };

#endif

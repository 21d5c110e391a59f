/* A shape as an object: {"layers" "hidden" "heads" "kv_heads" "head_dim" "intermediate" "vocab"}. Test: tests/test_compare.c */
#ifndef RESULTS_SHAPE_JSON_H
#define RESULTS_SHAPE_JSON_H

#include "base/json.h"
#include "model/arch.h"

json_t *shape_to_json(const struct shape *);
/* What is absent is 0. path: of the file, for errors. */
int shape_from_json(struct shape *, const json_t *object, const char *path, struct err *);

#endif

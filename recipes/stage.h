/* Stages as directories: what went in (inputs.json), a DONE marker when it is finished, and what came out. A finished
 * stage with the same inputs is not run again; one with other inputs is put aside. Test: tests/test_stage.c */
#ifndef RECIPES_STAGE_H
#define RECIPES_STAGE_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Makes dir, or finds it: *done says that it is finished with these inputs. Steals inputs. A directory whose inputs
 * differ is renamed to dir.old-N first. */
int stage_begin(const char *dir, json_t *inputs, bool *done, struct err *);
/* Writes DONE. Everything else is on the disk already. */
int stage_finish(const char *dir, struct err *);
/* A hash as JSON text. */
json_t *stage_hash_json(uint64_t hash);

/* "dir/…" by printf rules into a malloc'ed string; never NULL. */
char *path_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif

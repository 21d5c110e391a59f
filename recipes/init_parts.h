/* Inside init: what its stages share. */
#ifndef RECIPES_INIT_PARTS_H
#define RECIPES_INIT_PARTS_H

#include "recipes/init.h"

/* ---- init.c ---- */

/* For the report, and said at once. */
void init_warn(struct init *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Writes weights (flat, in the source's layout), cut to start->arch and with masks folded in (NULL: none), as a Hugging Face
 * directory. */
int init_save_cut(const struct run *, const struct source *, const struct start *, const struct kept *, const struct host_masks *,
                  const char *dir, const float *weights, struct err *);

/* ---- init_masks.c ---- */

/* The mask phase, the choice between soft and hard masks, the cut as `model`, masks.safetensors and masks.json. */
int init_learn_masks(struct init *, const struct run *, const struct source *, const struct masks_spec *, uint64_t seed, const char *model, struct err *);
/* What masks.json of a finished stage says. */
int init_read_masks(struct init *, struct err *);

#endif

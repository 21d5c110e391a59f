/* Which units a mask learner has: one flat array over all pruned structures, and how a value per unit becomes the arrays of
 * model/masks.h and back. Private to prune/. Test: tests/test_mask_learner.c */
#ifndef PRUNE_MASK_UNITS_H
#define PRUNE_MASK_UNITS_H

#include "prune/mask_learner.h"

struct mask_block {
	int n_rows;      /* 0: the structure is not pruned */
	int n_units;     /* per row */
	int final_units; /* per row */
	size_t first;    /* index of its first unit in the flat array; rows follow each other */
};
struct mask_units {
	struct mask_block blocks[MASK_STRUCTURES];
	size_t n;      /* units of all structures */
	int max_units; /* of the longest row */
	int max_rows;
	struct shape shape; /* the source's */
};
/* target <= source in every size (prune/target.h has checked). */
struct mask_units mask_units_of(const struct arch *source, const struct arch *target);
static inline size_t mask_block_size(const struct mask_block *b)
{
	return (size_t)b->n_rows * (size_t)b->n_units;
}
/* Units (n) -> arrays, written; a head's value is the product of its group's and its own. */
void mask_units_spread(const struct mask_units *, const float *z, struct host_masks *out);
/* Gradient of the arrays -> of the units (n), written. z: the units' values that spread was given. */
void mask_units_gather(const struct mask_units *, const float *z, const struct host_masks *dz, float *dunits);

#endif

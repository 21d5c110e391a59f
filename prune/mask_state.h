/* Inside the mask learner: its state (mask_learner.c) and the steps that each rule makes of it (mask_steps.c). Private to
 * prune/. Test: tests/test_mask_learner.c */
#ifndef PRUNE_MASK_STATE_H
#define PRUNE_MASK_STATE_H

#include "prune/mask_control.h"
#include "prune/mask_integrated.h"
#include "prune/mask_units.h"

struct mask_learner {
	struct mask_options options;
	struct mask_units units;
	float *score;         /* (units.n) loga of hard-concrete units; s of soft top-k */
	float *m, *v;         /* (units.n) moments; of what, and whether: mask_steps.c */
	float *dscore, *dz;   /* (units.n) of the step in progress; dscore of hard-concrete units only */
	float *z, *slope;     /* (units.n) of the last draw */
	int z_step;           /* soft top-k: the step that z is of; -1: none */
	float *dunits;        /* (units.n) scratch */
	double *worth, *moved; /* (units.n) scratch of the control */
	double *row_lambda;   /* (max_rows) scratch */
	float *sorted;        /* (max_units) scratch */
	uint8_t *keep;        /* (units.n) scratch */
	struct mask_price prices[MASK_STRUCTURES];
	struct mask_multipliers multipliers[MASK_STRUCTURES]; /* of the integrated rules */
};

/* Units per row that step `step` asks of a block. */
double mask_target_size(const struct mask_options *, const struct mask_block *, int step);
/* Ends a step: moments, multipliers, scores; clears dscore and dz. */
void mask_learner_step(struct mask_learner *, int step);
/* soft top-k: z (units.n) of a step. */
void mask_soft_masks(const struct mask_learner *, int step, float *z, struct mask_price prices[MASK_STRUCTURES]);

#endif

/* Learns which units to remove under an exact target shape: one Lagrangian per structure on the size of each row, whose
 * target falls linearly; masks are learned with the weights, or alone, and apart from their optimizer.
 * Host code in fp32/double: a mask has at most some 1e5 units; z goes to the device and dz comes back once per micro-batch.
 * One step is  n x (mask_learner_sample -> forward, backward -> mask_learner_backward) -> mask_learner_update.
 *   solved      hard-concrete units (prune/hard_concrete.h), one draw per unit and micro-batch. The multiplier is solved and not
 *               integrated, units fall one after another by their worth instead of by Adam's steps, rates follow the number
 *               of steps, the clamp is wider (at -4.605 a closed unit still counts 0.047, so that decided units cannot meet
 *               2 of 3 within 2 %), and masks are hardened at the end, which makes the soft and the hard cut agree.
 *   soft_topk   deterministic units (prune/soft_topk.h) of the exact size at every step, sharpened until they are 0 and 1:
 *               the last third of the phase trains the model that will be cut. Nothing is asked for the first steps; while
 *               the target falls, a unit's score is the log of the root of its Fisher information. Scores do not descend
 *               the gradient through z and the multiplier: at the edge it asks most for what is half closed, whatever it
 *               is worth. With it stories3M ended 0.02 to 0.17 nat higher in 9 of 10 phases, and equal when layers stay.
 *   code, paper hard-concrete units under the reference's rule (prune/mask_integrated.h), which misses targets where steps
 *               are few: 19 and 1 of 20 in 100 steps of tests/bench/sweep_masks.c, the worst by 273 %.
 * In the end every rule keeps exactly the target's count of each row.
 * Source: Louizos et al. 2018; Xia et al. 2023 (Sheared LLaMA) and its code.
 * Test: tests/test_mask_learner.c, tests/test_mask_rules.c; figures: tests/bench/sweep_masks.c
 *
 * Structures: hidden (one row of C units), layers (one row of L: attention and FFN together), heads, ffn (a row of F per
 * layer). Heads: when only whole groups go, a row of NKV units per layer; when query heads go, a row of NH/NKV units per
 * (layer, group), the same number kept in each; both: a query head's z is the product of its group's and its own.
 * Rows of layers that will be dropped count like any other. */
#ifndef PRUNE_MASK_LEARNER_H
#define PRUNE_MASK_LEARNER_H

#include "prune/target.h"

enum mask_structure { MASK_HIDDEN, MASK_LAYERS, MASK_GROUPS, MASK_HEADS, MASK_FFN, MASK_STRUCTURES };
/* "hidden", "layers", "groups", "heads", "ffn". */
const char *mask_structure_name(enum mask_structure);

enum {
	MASK_FEW_STEPS = 300, /* fewer deserve a warning: the order of the units is learned from few draws */
};
#define MASK_TOLERANCE 0.02 /* of the target: a larger deviation before the cut deserves a warning */

enum mask_rule {
	MASK_SOLVED,    /* hard-concrete units, their multiplier solved: prune/mask_control.h */
	MASK_CODE,      /* hard-concrete units, multipliers integrated as the reference's code does: prune/mask_integrated.h */
	MASK_PAPER,     /* likewise, as its paper says */
	MASK_SOFT_TOPK, /* deterministic units: prune/soft_topk.h */
};
struct mask_options {
	enum mask_rule rule;
	int steps;             /* of the whole phase, >= 1 */
	float hold_fraction;   /* of steps, at the beginning, in which nothing is asked yet, whatever the warm-up */
	float warmup_fraction; /* of steps, until which the target falls linearly from full size to the final one */
	float beta2;           /* of the running mean square of dloss/dz; of the integrated rules: their own */
	/* hard-concrete units: */
	float lr;              /* largest move of a loga per step; mask_default scales it so that a unit can cross its range several
	                          times in the phase, whatever the steps. The integrated rules: see mask_integrated_rate */
	float beta1;           /* of the running mean of dloss/dloga; of the integrated rules: their own */
	float beta;            /* temperature of the distribution */
	float init_loga;       /* where every unit starts */
	float clamp;           /* |loga| <= clamp; wide enough that a closed unit's P(z>0) does not count */
	float harden_fraction; /* solved: of steps, at the end: the kept and the others are pushed apart with growing weight */
	/* soft top-k: */
	float tau;             /* at the first step, in units of the structure's spread of scores (their mean distance from the mean) */
	float sharpen_fraction; /* of the steps after the warm-up: there tau, which falls linearly, comes to 0 */
	uint64_t seed;
};
/* Good for any number of steps, target and scale of the loss: nothing here needs tuning. */
struct mask_options mask_default(enum mask_rule, int steps);

/* Host z of one draw, and its gradient on the way back: arrays as model/masks.h wants them (its attn and ffn_block are
 * both `layers`). NULL where nothing of the structure is pruned. */
struct host_masks {
	float *hidden; /* (C) */
	float *layers; /* (L) */
	float *heads;  /* (L, NH) */
	float *ffn;    /* (L, F) */
};
struct mask_report {
	double target[MASK_STRUCTURES];   /* units per row now asked for (warm-up included) */
	double expected[MASK_STRUCTURES]; /* mean over rows of sum P(z>0); of soft top-k: of sum z */
	double lambda1[MASK_STRUCTURES];  /* mean over rows of the multiplier, log worth; integrated rules: the first multiplier */
	double lambda2[MASK_STRUCTURES];  /* largest distance of a row's multiplier from that mean; integrated rules: the second */
	double saturated[MASK_STRUCTURES]; /* share of units with |loga| > 2; of soft top-k: with odds z/(1-z) beyond e^±2 */
	double worst_row[MASK_STRUCTURES]; /* largest |row's expected size - final_target| / final_target */
	int final_target[MASK_STRUCTURES]; /* units per row in the end; -1: structure not pruned (its other fields are 0) */
	int units[MASK_STRUCTURES];        /* per row */
};
/* |expected - final_target| / final_target of the structure where it is largest (0 when nothing is pruned). */
double mask_report_deviation(const struct mask_report *, enum mask_structure *where);

struct mask_learner;
/* target: from target_arch. Refuses a target larger than the source, and one that is the source. */
int mask_learner_open(struct mask_learner **out, const struct arch *source, const struct arch *target,
                      const struct mask_options *, struct err *);
void mask_learner_close(struct mask_learner *); /* NULL is fine */
bool mask_learner_prunes(const struct mask_learner *, enum mask_structure);
/* Host buffers for exactly the arrays that this learner fills, zeroed; one block, free(*block). */
int host_masks_alloc(struct host_masks *, void **block, const struct mask_learner *, struct err *);

/* In the calls below step counts from 0, and every array of a pruned structure must be there; others must be NULL. */

/* z for micro-batch `micro` of step `step`: a pure function of seed, step, micro and scores. */
void mask_learner_sample(struct mask_learner *, int step, int micro, struct host_masks *out);
/* dloss/dz of the last draw; adds to the step's gradient. */
void mask_learner_backward(struct mask_learner *, const struct host_masks *dz);
/* Moments, multipliers, scores; ends step `step` and clears its gradient. report may be NULL. A gradient that is not finite
 * must not come here: the caller has checked the loss. */
void mask_learner_update(struct mask_learner *, int step, struct mask_report *);
/* State after `step` steps are done: target of the step before. */
void mask_learner_report(const struct mask_learner *, int step, struct mask_report *);
/* Deterministic masks with exactly the target's count per row, the rest 0: kept entries soft (sigmoid(0.8 loga / beta)) or
 * hard (1); of soft top-k always 1, which is what the last steps trained. */
void mask_learner_final(const struct mask_learner *, bool soft, struct host_masks *out);
/* All that a later process needs to go on after a finished step, as one flat float array. */
size_t mask_learner_n_state(const struct mask_learner *);
void mask_learner_get_state(const struct mask_learner *, float *state);
void mask_learner_set_state(struct mask_learner *, const float *state);

/* masks.safetensors: z per structure as applied, F32, tensors "hidden", "layers", "heads", "ffn" in the shapes above,
 * those that are NULL left out. For `cut --masks` and the curious. Test: tests/test_masks_file.c */
int masks_save(const char *path, const struct arch *source, const struct host_masks *, struct err *);
/* Reads and checks against source: names, type, shapes, values in [0,1]. Arrays are malloc'ed (one block, free(*block)).
 * Absent structures become NULL. On failure *block is NULL. */
int masks_load(const char *path, const struct arch *source, struct host_masks *out, void **block, struct err *);

#endif

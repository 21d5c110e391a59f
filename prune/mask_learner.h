/* Learns which units to remove under an exact target shape: hard-concrete masks and one Lagrangian per structure.
 * Host code in fp32/double: a mask has at most some 1e5 units; z goes to the device and dz comes back once per micro-batch.
 *   s = sigmoid((log u - log(1-u) + loga) / beta),  z = clamp(1.2 s - 0.1, 0, 1),  P(z>0) = sigmoid(loga + beta log 11)
 * Source: Louizos et al. 2018; Xia et al. 2023 (Sheared LLaMA) and its code ("code mode"). Test: tests/test_mask_learner.c
 *
 * Structures: hidden (one row of C units), layers (one row of L: attention and FFN together), heads, ffn (a row of F per
 * layer). Heads: when only whole groups go, a row of NKV units per layer; when query heads go, a row of NH/NKV units per
 * (layer, group), the same number kept in each; both: a query head's z is the product of its group's and its own. */
#ifndef PRUNE_MASK_LEARNER_H
#define PRUNE_MASK_LEARNER_H

#include "prune/target.h"

enum mask_structure { MASK_HIDDEN, MASK_LAYERS, MASK_GROUPS, MASK_HEADS, MASK_FFN, MASK_STRUCTURES };
const char *mask_structure_name(enum mask_structure);

struct mask_options {
	int steps;             /* of the whole phase */
	float warmup_fraction; /* of steps, in which the target falls linearly from full size */
	float lr, lambda_lr;   /* as scaled by the controller; see mask_learner.c */
	float beta;            /* 2/3 */
	float init_loga;
	uint64_t seed;
	/* further knobs of the controller, each with its meaning */
};
struct mask_options mask_default(int steps);

/* Host z of one draw, and its gradient on the way back: arrays as model/masks.h wants them. NULL where the structure is
 * not pruned. */
struct host_masks {
	float *hidden; /* (C) */
	float *layers; /* (L) */
	float *heads;  /* (L, NH) */
	float *ffn;    /* (L, F) */
};
struct mask_report {
	double target[MASK_STRUCTURES];   /* units per row now asked for (warm-up included) */
	double expected[MASK_STRUCTURES]; /* mean over rows of sum P(z>0) */
	double lambda1[MASK_STRUCTURES], lambda2[MASK_STRUCTURES];
	double saturated[MASK_STRUCTURES]; /* share of units with |loga| > 2 */
	int final_target[MASK_STRUCTURES]; /* units per row in the end; -1: structure not pruned */
	int units[MASK_STRUCTURES];        /* per row */
};

struct mask_learner;
int mask_learner_open(struct mask_learner **out, const struct arch *source, const struct arch *target,
                      const struct mask_options *, struct err *);
void mask_learner_close(struct mask_learner *); /* NULL is fine */
/* Draws z for micro-batch `micro` of step `step` (a pure function of seed, step, micro and loga). */
void mask_learner_sample(struct mask_learner *, int step, int micro, struct host_masks *out);
/* dloss/dz of the last draw; adds to dloss/dloga. */
void mask_learner_backward(struct mask_learner *, const struct host_masks *dz);
/* Lagrangian, optimizer on loga, multiplier update; ends step `step`. */
void mask_learner_update(struct mask_learner *, int step, struct mask_report *);
void mask_learner_report(const struct mask_learner *, int step, struct mask_report *);
/* Deterministic masks with exactly the target's count per row: kept entries soft (sigmoid(1.2 loga)) or hard (1). */
void mask_learner_final(const struct mask_learner *, bool soft, struct host_masks *out);
/* Array sizes for the caller's buffers: C, L, L*NH, L*F; and all state as one flat float array for checkpoints. */
size_t mask_learner_n_state(const struct mask_learner *);
void mask_learner_get_state(const struct mask_learner *, float *state);
void mask_learner_set_state(struct mask_learner *, const float *state);

/* masks.safetensors: z per structure as applied (hidden, layers, heads, ffn), F32. For `cut --masks` and the curious. */
int masks_save(const char *path, const struct arch *source, const struct host_masks *, struct err *);
/* Reads and checks shapes against source; arrays are malloc'ed (one block, free(*block)). Absent structures become NULL. */
int masks_load(const char *path, const struct arch *source, struct host_masks *out, void **block, struct err *);

#endif

/* A frozen model that yields soft targets for a batch. Online today; a cache will stand behind the same call.
 * Test: tests/test_teacher.c */
#ifndef TEACHER_TEACHER_H
#define TEACHER_TEACHER_H

#include "losses/soft_targets.h"
#include "model/hf.h"
#include "model/transformer.h"

struct teacher {
	struct ops *ops;
	struct param_layout layout; /* its own: the checkpoint may be closed */
	struct params params;       /* frozen; points to layout, so the struct must not be moved */
	size_t n_vector_elems;      /* of params.vectors when they stand alone (type not F32) */
	struct activations *act;
	uint64_t hash;              /* of the checkpoint; 0 when dry */
};
/* Weights in `type` (matrices; vectors stay fp32) from an open checkpoint, which may be closed afterwards; B, T as the
 * student's micro-batch. Two arenas, because plan prices them apart; called dry (both arenas dry: nothing is read or
 * uploaded) and real. Fails when memory for small host tables is short; on failure nothing is left to release. */
int teacher_init(struct teacher *, struct ops *, const struct hf_model *, enum dtype type, int B, int T,
                 struct arena *weights, struct arena *activations, struct err *);
/* What the struct owns, not the arenas' memory; a zeroed struct is fine. */
void teacher_release(struct teacher *);
/* Forward pass; the targets point into the teacher and live until the next call. taps may be NULL.
 * The batch's tokens are ids of the teacher's vocabulary too. */
void teacher_targets(struct teacher *, const struct batch *, const struct taps *, struct soft_targets *out);

#endif

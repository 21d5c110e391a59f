/* Everything that a training loop keeps in memory, priced first and allocated once: student, teacher, masks, evaluation.
 * The price and the allocation are the same code, run dry and real. Test: tests/test_session.c */
#ifndef RECIPES_SESSION_H
#define RECIPES_SESSION_H

#include "prune/mask_learner.h"
#include "recipes/recipe.h"
#include "results/evaluate.h"
#include "student/student.h"
#include "teacher/teacher.h"

enum memory_owner {
	MEMORY_WEIGHTS, MEMORY_GRADIENTS, MEMORY_MOMENTS, MEMORY_ACTIVATIONS, MEMORY_LOSS, MEMORY_TEACHER_WEIGHTS,
	MEMORY_TEACHER_ACTIVATIONS, MEMORY_MASKS, MEMORY_EVALUATION, MEMORY_BACKEND, MEMORY_OWNERS,
};
const char *memory_owner_name(enum memory_owner);

struct session_teacher {
	const struct hf_model *model;
	struct ops *ops;            /* of its forward pass; may be the session's */
	bool cached;                /* its targets come from disk, as options.cache says: */
	struct cache *cache;        /* not read while priced */
	struct teacher_options options; /* type, B, T are set here */
};
struct session_options {
	struct ops *ops;            /* training */
	struct ops *eval_ops;       /* fp32; may be ops */
	const struct arch *arch;    /* of what learns */
	int n_teachers;
	struct session_teacher teachers[RECIPE_MAX_TEACHERS];
	bool masked;
	struct student_options student; /* B, T, optimizer, terms, inner losses; mode, type, n_teachers and teacher_V are set here */
	int eval_sequence_length;
};
struct session {
	struct session_options options;
	struct student student;
	int n_teachers;             /* that are open */
	struct teacher teachers[RECIPE_MAX_TEACHERS];
	struct evaluator *evaluator;
	struct masks masks;          /* device; only when masked */
	struct mask_grads mask_grads;
	size_t bytes[MEMORY_OWNERS]; /* what was allocated */
	void *blocks[MEMORY_OWNERS];
};
/* Bytes by owner; touches nothing. */
int session_price(const struct session_options *, size_t bytes[MEMORY_OWNERS], struct err *);
int session_open(struct session *, const struct session_options *, struct err *);
void session_close(struct session *); /* a zeroed struct is fine */
/* The masters as a model that eval_ops can read in fp32. */
struct params session_fp32(const struct session *);
/* The most sequences per micro-batch, a divisor of `rows` with at most about 4096 tokens, that fit into `limit` bytes.
 * Fails when one sequence does not fit, with the price by owner. */
int session_micro_batch(const struct session_options *, int rows, size_t limit, int *out, struct err *);
size_t session_total(const size_t bytes[MEMORY_OWNERS]);
/* Bytes of memory that the machine could give now. */
size_t memory_available(void);

#endif

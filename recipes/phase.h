/* One phase of training in a directory of its own: options out of the recipe, memory, loop, weights saved, stage finished.
 * Both kinds, plain training and mask learning, come through here. Test: tests/test_run.c through the program. */
#ifndef RECIPES_PHASE_H
#define RECIPES_PHASE_H

#include "prune/cut.h"
#include "recipes/loop.h"

struct start { /* where weights come from */
	struct arch arch;
	const char *dir;      /* a Hugging Face directory, or NULL: fresh weights */
	uint64_t hash;        /* of the checkpoint; 0 when fresh */
	int64_t spent_tokens; /* of the budget, on the way here */
	double spent_flops;
	const struct kept *kept; /* of the first teacher's layers and dimensions, after a cut from it; NULL */
	const json_t *config; /* to carry over into config.json, or NULL */
};
struct phase {
	const struct run *run;
	const char *dir, *label;
	const struct train_spec *spec;
	const struct start *start;
	uint64_t seed;
	double lr;
	int64_t tokens;     /* of this phase */
	bool keep;          /* save the weights as dir/model (a search does not) */
	/* results: */
	double cache_bytes_per_token, cache_mass, cache_tokens; /* of what a cached teacher gave */
	bool diverged;      /* a loss or gradient was not finite; only without keep, else that is a failure */
	double heldout_nll; /* +infinity when diverged */
	double flops, epochs, unique_tokens, seconds;
};
/* Runs the phase, or reads its results when it is finished. */
int phase_train(struct phase *, struct err *);

/* The price of a training phase, for `plan`: filled without touching anything. */
struct phase_price {
	size_t bytes[MEMORY_OWNERS];
	size_t filling[MEMORY_OWNERS]; /* before that, while its cache is filled */
	int micro_batch;
	double flops;  /* of the whole phase */
	size_t checkpoint_bytes;
	size_t cache_row_bytes; /* of a token, before compression; 0: no cache */
	char cache[96];         /* what it holds */
	uint64_t cache_id;      /* equal for phases that share it */
};
/* Exactly one of train and masks is given; kept: as in struct start. */
int phase_price(const struct run *, const struct train_spec *, const struct masks_spec *, const struct arch *, const struct kept *kept,
                int64_t tokens, struct phase_price *, struct err *);

/* Session options of a phase: exactly one of train and masks is given; supply is NULL without a teacher. B is 1 until
 * phase_micro_batch. */
struct session_options phase_session(const struct run *, const struct train_spec *, const struct masks_spec *, const struct arch *,
                                     struct supply *);
/* Picks B: what the directory's session.json says from its first start (refuses a recipe that says otherwise, unless the
 * run may drift), else what the recipe says, else what fits, with the filling of its cache. supply may be NULL. */
int phase_micro_batch(const struct run *, const char *dir, struct supply *supply, struct session_options *, int64_t batch_tokens,
                      struct err *);
struct schedule phase_schedule(const struct train_spec *, double lr, int64_t tokens);
/* FLOPs of `tokens` training tokens: 3 forward passes of the student, one of every teacher when it distils. Those that filled
 * a cache count like those that ran beside the student. */
double phase_flops(const struct run *, const struct arch *, bool distil, int64_t tokens);
/* What distillation depends on beside its own section: every teacher, what it weighs where and how it computes. 0 without. */
uint64_t phase_teachers_hash(const struct run *, const struct distill_spec *);
/* Loads the start's weights into a student: from its directory, or random from the seed. */
int phase_load(struct student *, const struct start *, uint64_t seed, struct err *);
/* Writes dir as a Hugging Face directory in dtype, unless it is there: complete, since config.json comes last. */
int phase_save_model(const struct run *, const struct student *, const struct start *, const char *dir, enum dtype, struct err *);
/* Directory whose tokenizer and generation files exported models carry. */
const char *run_files_from(const struct run *);

#endif

/* The stages of one student of one seed, run one after the other: init, the search for a learning rate, training; each cuts what
 * the one before has left. What is finished is read, not run. Test: tests/test_run_stages.c through the program. */
#ifndef RECIPES_STUDENT_STAGES_H
#define RECIPES_STUDENT_STAGES_H

#include "recipes/init.h"
#include "recipes/search.h"

struct student_stage {
	struct student_stage *before;   /* NULL: this one started from the teacher, or from nothing */
	const struct stage_spec *spec;
	int number;                     /* from 1; a stage before number 1 is the last of another student */
	uint64_t init_id;               /* stages_init_id of its start */
	struct arch source_arch;        /* of what it started from */
	struct init in;
	struct search search;
	struct phase phase;             /* with a train section: its result */
	char *train_dir, label[64];
	struct hf_model model;          /* what it leaves, open */
	struct source source;           /* the same, for the next one */
};
/* *out is the last; free it with student_stages_free, which frees those before it too. dir: of the student; its first stage
 * trains in dir/train, the others in dir/stage-N/train. */
int student_stages_run(struct student_stage **out, const struct run *, const char *name, const struct student_spec *, uint64_t seed,
                       const char *dir, struct err *);
/* Tokens that were spent before it. */
int64_t student_stage_begin(const struct student_stage *);
void student_stages_free(struct student_stage *); /* NULL is fine */

/* Where an init with weights of its own lives: shared by students whose stages are the same up to there. id: stages_init_id.
 * The caller's to free(). */
char *init_dir(const struct run *, const struct init_spec *, uint64_t id, uint64_t seed);
/* runs/<name>/students/<student>/seed-<seed>; the caller's to free(). */
char *student_dir(const struct run *, const char *name, uint64_t seed);

#endif

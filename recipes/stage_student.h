/* One student of one seed: init, the search for its learning rate, training, export, evaluation, result.json.
 * The teacher of a recipe, trained here or given, comes through the same door. Test: tests/test_run.c */
#ifndef RECIPES_STAGE_STUDENT_H
#define RECIPES_STAGE_STUDENT_H

#include "recipes/init.h"
#include "results/result_file.h"

/* runs/<name>/students/<student>/seed-<seed>; the caller's to free(). */
char *student_dir(const struct run *, const char *name, uint64_t seed);
/* Where an init with weights of its own lives: shared by students whose init is the same. The caller's to free(). */
char *init_dir(const struct run *, const struct init_spec *, uint64_t seed);
int stage_student(const struct run *, const char *name, const struct student_spec *, uint64_t seed, struct err *);
/* Trains the recipe's teacher into <run>/teacher/train/model, with teacher/result/result.json. */
int stage_train_teacher(const struct run *, const struct teacher_spec *, struct err *);
/* Evaluates a given teacher into <run>/teacher/result/result.json. */
int stage_given_teacher(const struct run *, struct err *);

#endif

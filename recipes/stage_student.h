/* One student of one seed: its stages, export, evaluation, result.json.
 * The teacher of a recipe, trained here or given, comes through the same door. Test: tests/test_run.c */
#ifndef RECIPES_STAGE_STUDENT_H
#define RECIPES_STAGE_STUDENT_H

#include "recipes/run.h"

int stage_student(const struct run *, const char *name, const struct student_spec *, uint64_t seed, struct err *);
/* Trains the recipe's teacher into <run>/teacher/train/model, with teacher/result/result.json. */
int stage_train_teacher(const struct run *, const struct teacher_spec *, struct err *);
/* Evaluates a given teacher into <run>/teacher/result/result.json. */
int stage_given_teacher(const struct run *, struct err *);

#endif

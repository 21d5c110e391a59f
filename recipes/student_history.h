/* How a student was made, for result.json: what each of its stages did and spent, and the metrics of all their phases.
 * Test: tests/test_run_stages.c through the program. */
#ifndef RECIPES_STUDENT_HISTORY_H
#define RECIPES_STUDENT_HISTORY_H

#include "recipes/student_stages.h"

/* Adds to a result's inputs what its history depends on beside the model: other stages, and searches for shapes, may end with the
 * same bits. last: the student's last stage. */
int student_history_inputs(json_t *inputs, const struct run *, const struct student_stage *last, struct err *);
/* Fills init, init_id, init_text, train, distill and warnings, and copies metrics into dir, the result's own, so that it is whole
 * by itself. last: the student's last stage; teacher: what it was cut from, or itself where it is the teacher. */
int student_history(struct result *, const struct run *, const struct student_stage *last, const struct arch *teacher, const char *dir,
                    struct err *);

#endif

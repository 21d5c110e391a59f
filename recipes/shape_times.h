/* Shapes that were timed on this machine for a search, kept in a file: the same search goes on with the same figures. The lines
 * through them (prune/time_model.h) are fitted to all that were asked for. Test: tests/test_run_shapes.c */
#ifndef RECIPES_SHAPE_TIMES_H
#define RECIPES_SHAPE_TIMES_H

#include "prune/time_model.h"
#include "recipes/run.h"

enum {
	SHAPE_ROUNDS = 4, /* in which candidates are picked and timed, at most */
	SHAPE_TIMES_MAX = TIME_PROBES + SHAPE_ROUNDS * RECIPE_MAX_CANDIDATES,
};
struct shape_times {
	const struct run *run;
	char *file;
	int length, batch;
	json_t *known;
	int n;                             /* asked for, in that order: */
	struct arch shapes[SHAPE_TIMES_MAX];
	double prefill_ms[SHAPE_TIMES_MAX], decode_ms[SHAPE_TIMES_MAX];
};
/* file: <dir>/times.json. */
int shape_times_open(struct shape_times *, const struct run *, const char *dir, int length, int batch, struct err *);
void shape_times_close(struct shape_times *); /* a zeroed struct is fine */
/* Measures it, unless the file holds it; each shape is added once. *i: where. */
int shape_times_take(struct shape_times *, const struct arch *, int *i, struct err *);
void shape_times_fit(const struct shape_times *, struct time_model *);

#endif

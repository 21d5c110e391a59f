/* Inside the search for a shape: its state, and its steps. Test: tests/test_run_shapes.c through the program. */
#ifndef RECIPES_SHAPE_SEARCHING_H
#define RECIPES_SHAPE_SEARCHING_H

#include "recipes/shape_sensitivity.h"
#include "recipes/shape_times.h"
#include "results/shape_search.h"

struct searching {
	const struct run *run;
	const struct source *from;
	const struct shape_spec *spec;
	const struct arch *source; /* from's */
	char *dir, *scores_file;
	uint64_t seed;
	struct scores scores;
	float *weights;            /* (source's n_elems) */
	struct space_options options;
	struct time_model line;
	struct shape_times times;
	struct space space;
	struct sensitivity sensitivity;
	double *predicted;         /* (space.n) */
	struct shape_search *found;
};

/* ---- shape_candidates.c, in this order ---- */

/* The source's weights and scores. */
int searching_scores(struct searching *, struct err *);
/* Timings where the budget asks for them, what each axis costs, the loss of the cut of some shapes, those that are candidates. */
int searching_candidates(struct searching *, struct err *);
/* Cuts and trains each that is not too slow, ranks them, chooses. */
int searching_trials(struct searching *, struct err *);
/* Removes cut models. */
int searching_clear(const struct searching *, struct err *);

#endif

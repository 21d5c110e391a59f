/* One candidate of a search for a shape: the source cut to it by scores that are there, its loss, a short training, its loss.
 * Resumable: the cut and the training are stages of their own. Test: tests/test_run_shapes.c through the program. */
#ifndef RECIPES_SHAPE_TRIAL_H
#define RECIPES_SHAPE_TRIAL_H

#include "recipes/source.h"

struct shape_trial {
	const struct run *run;
	const struct source *from;
	const struct shape_search_spec *spec;
	const char *scores; /* importance.safetensors of the source */
	const char *dir;    /* of this candidate */
	struct arch arch;
	uint64_t seed;
	int number, of;     /* for labels */
	/* results: */
	double parameters;  /* of the model that was written */
	double nll;         /* held-out, of the cut */
	double trained_nll; /* after the training; +infinity when it diverged */
	double tokens, flops;
};
int shape_trial_run(struct shape_trial *, struct err *);
/* Removes the cut model, which nobody needs once the trial has run. */
int shape_trial_clear(const char *dir, struct err *);

#endif

/* The search for the shape within a budget, before the first init that aims at it. Once per budget and source architecture, with
 * the run's first seed, in <run>/shapes/<key>/:
 *   importance.safetensors  the source's scores, by search.init
 *   sensitivity.json        what cutting each axis alone costs, and the loss of shapes that were screened (recipes/shape_sensitivity.h)
 *   times.json              of budgets in milliseconds: shapes that were timed (recipes/shape_times.h)
 *   <shape>/train           a short training of every candidate (recipes/shape_trial.h)
 *   shape.json              what was found (results/shape_search.h)
 * Of the shapes with the least predicted loss that are no neighbours, SHAPE_SCREENED times the candidates, the loss of the cut is read;
 * the prediction is fitted to it, and they are picked once more. Candidates are those whose cut has the least loss, again no
 * neighbours; the lowest held-out loss after search.train is chosen. Of budgets in milliseconds the candidates are timed first: one that takes more than 1 + SHAPE_TIME_TOLERANCE of a limit is
 * not trained; while there are such, the lines are fitted anew with what was timed and candidates are picked again, at most
 * SHAPE_ROUNDS (recipes/shape_times.h) times. Killed, the same command goes on; finished, nothing is run again. Test: tests/test_run_shapes.c */
#ifndef RECIPES_STAGE_SHAPE_H
#define RECIPES_STAGE_SHAPE_H

#include "recipes/init.h"

#define SHAPE_TIME_TOLERANCE 0.05
enum { SHAPE_SCREENED = 4, SHAPE_SCREENINGS = 2 };

/* Searches, or reads what was found, and makes it run->shapes' choice. An init without a budget, or whose shape is chosen: nothing
 * happens. */
int stage_shape(const struct run *, const struct source *, const struct init_spec *, struct err *);
/* Where its shape.json is; NULL: the init aims at no budget. The caller's to free(). source: what the init cuts. */
char *stage_shape_file(const struct run *, const struct init_spec *, const struct arch *source);

/* For `plan`: what is known of a search before it has run. */
struct shape_price {
	const struct shape_search_spec *spec;
	uint64_t key;             /* equal: one search */
	int n_shapes, n_points;   /* within the budget; cuts that are scored. Of budgets in milliseconds: nothing was timed, 0 */
	int64_t tokens;           /* held-out, that scoring the source and those cuts reads */
	double flops;
};
/* False: the init needs no search, or it is done. */
bool stage_shape_price(const struct run *, const struct source *, const struct init_spec *, struct shape_price *);

#endif

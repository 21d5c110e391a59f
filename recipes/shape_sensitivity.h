/* What a shape will cost in loss, before anything is trained: every axis of the source is cut alone, at a few sizes, to its best
 * units (masked == cut), and the loss on held-out documents read; in between the line is straight.
 *   predicted(shape) = source_nll + (sum over layers, hidden, heads, ffn of max(0, excess_axis(size))^p)^(1/p)
 * p = 1 would say that cuts add up, as small ones do; where the loss is near to that of knowing nothing, the largest alone counts. So p
 * is fitted to shapes whose loss was read, too (least squares, p in [0.5, 8]). Test: tests/test_shape_sensitivity.c,
 * tests/test_run_shapes.c */
#ifndef RECIPES_SHAPE_SENSITIVITY_H
#define RECIPES_SHAPE_SENSITIVITY_H

#include "prune/scores.h"
#include "prune/space.h"
#include "recipes/source.h"

enum shape_axis { AXIS_LAYERS, AXIS_HIDDEN, AXIS_HEADS, AXIS_FFN, SHAPE_AXES };
enum { SENSITIVITY_POINTS = 4 }; /* of an axis, at most: from the smallest size in the space to the largest below the source's */

struct axis_curve {
	int n;
	int size[SENSITIVITY_POINTS + 1];      /* rising; the last is the source's */
	double excess[SENSITIVITY_POINTS + 1]; /* nat/token over the source */
};
struct scored_shape {
	struct shape shape;
	double nll;
};
struct sensitivity {
	const struct run *run;             /* how losses are read; borrowed */
	const struct param_layout *source;
	const struct scores *scores;
	const float *weights;              /* the source's, on the host */
	char *file;
	json_t *known;                     /* what the file holds: {"source": nll, "layers 4": nll, …} */
	double source_nll, exponent;       /* p */
	struct axis_curve axes[SHAPE_AXES];
	struct scored_shape *scored;       /* (n_scored) */
	int n_scored;
	double flops;                      /* of all forward passes, those of an earlier process too */
};
/* Measures what file does not hold yet, and keeps it there point by point. p: 2. */
int sensitivity_open(struct sensitivity *, const struct run *, const struct source *, const struct space *, const struct scores *,
                     const float *weights, const char *file, struct err *);
void sensitivity_close(struct sensitivity *); /* a zeroed struct is fine */
/* The loss of the source cut to that shape, from the file or read now; it is added to scored, once. */
int sensitivity_score(struct sensitivity *, const struct shape *, double *nll, struct err *);
/* p out of scored; without any it stays. */
void sensitivity_fit(struct sensitivity *);
double sensitivity_predict(const struct sensitivity *, const struct shape *); /* nat/token */
/* What sensitivity_open will cost: passes over the held-out text, the source's included, and their FLOPs. */
int sensitivity_passes(const struct arch *source, const struct space *);
double sensitivity_flops(const struct run *, const struct arch *source, const struct space *);

#endif

/* What a shape will cost in loss, before anything is trained: every axis of the source is cut alone, at a few sizes, to its best
 * units (masked == cut), and the loss on held-out documents read; in between the line is straight.
 *   predicted(shape) = source_nll + sum over layers, hidden, heads, ffn of excess_axis(size)
 * It adds what cuts on several axes cost as if none made another worse, so it says too little; it is used to rank.
 * Test: tests/test_shape_sensitivity.c, tests/test_run_shapes.c */
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
struct sensitivity {
	double source_nll;
	struct axis_curve axes[SHAPE_AXES];
	double flops; /* of all forward passes */
};
/* Measures what file does not hold yet, and keeps it there point by point. weights: the source's, on the host. */
int sensitivity_measure(struct sensitivity *, const struct run *, const struct source *, const struct space *, const struct scores *,
                        const float *weights, const char *file, struct err *);
/* Of a shape in the space: excess over the source. */
double sensitivity_predict(const struct sensitivity *, const struct shape *);
/* What sensitivity_measure will cost: passes over the held-out text, the source's included, and their FLOPs. */
int sensitivity_passes(const struct arch *source, const struct space *);
double sensitivity_flops(const struct run *, const struct arch *source, const struct space *);

#endif

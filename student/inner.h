/* Inside student/: inner losses of a micro-batch. Listens to the model's taps and nothing else: the forward tap keeps the
 * student's layer, the backward tap takes loss and gradient and adds the latter. Test: tests/test_student_inner.c */
#ifndef STUDENT_INNER_H
#define STUDENT_INNER_H

#include "student/projections.h"

struct inner_losses;
/* NULL when the options have no inner terms. options, projections and shape must outlive it. Dry and real, as student_init. */
int inner_init(struct inner_losses **out, struct ops *, const struct shape *, const struct student_options *,
               const struct projections *, struct arena *device, struct err *);
void inner_free(struct inner_losses *); /* NULL is fine */

struct inner_batch { /* lives until the backward pass is through */
	const int32_t *start;  /* (N) device, as struct batch */
	const float *weights;  /* (n_inner) host: step_loss.inner_weight; 0: watched only */
	const struct inner_targets *targets;
	const struct taps *outer; /* called before the inner losses, or NULL */
};
/* What to hand to forward and backward. rows (N) host: the row weights. */
const struct taps *inner_taps(struct inner_losses *, const struct inner_batch *, const float *rows);
/* After the backward: adds the sum over rows of each term's loss to sums (n_inner); host (N) is scratch. */
void inner_add_sums(struct inner_losses *, float *host, double *sums);
/* The largest operands of the terms' products. */
struct ops_limits inner_limits(const struct shape *, const struct student_options *);

#endif

/* Inside student/: what one micro-batch needs beside weights and activations, on the device and mirrored on the host. */
#ifndef STUDENT_BUFFERS_H
#define STUDENT_BUFFERS_H

#include "student/student.h"

/* A range of the flat arrays that the optimizer treats alike. */
struct run {
	size_t offset, n_elems;
	bool matrices;
};

struct student_buffers {
	int N;
	struct batch batch;                /* device, B*T as uploaded */
	int32_t *tokens, *pos, *start;     /* device (N), behind batch */
	int32_t *targets;                  /* device (N); uncounted rows hold 0 */
	float *ce_weight, *kd_weight;      /* device (N) */
	float *ce, *kl;                    /* device (N) */
	int32_t *argmax_s, *argmax_t;      /* device (N); NULL without a teacher */
	void *dhidden;                     /* device (N, C) act */
	double *norm;                      /* device (1) */
	float *grad_scale;                 /* device (1) */

	struct row_kind *kinds;            /* host (N) */
	float *host_ce, *host_kl;          /* host (N): weights on the way in, losses on the way out */
	int32_t *host_s, *host_t;          /* host (N) */
	struct run *runs;                  /* (n_runs), ascending, covering the flat arrays */
	int n_runs;
	double loss_sum;                   /* of the step so far: only whether it is finite matters */
};
struct row_kind {
	bool counted, separator;
};

int buffers_init(struct student_buffers **out, struct ops *, const struct student_options *, const struct param_layout *,
                 struct arena *device, struct err *);
void buffers_free(struct student_buffers *); /* NULL is fine */

#endif

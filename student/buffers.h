/* Inside student/: what one micro-batch needs beside weights and activations, on the device and mirrored on the host. */
#ifndef STUDENT_BUFFERS_H
#define STUDENT_BUFFERS_H

#include "student/student.h"

/* A range of the flat arrays that the optimizer treats alike. */
struct run {
	size_t offset, n_elems;
	bool matrices;
};

/* What the head reads and writes of one teacher, device. */
struct teacher_rows {
	float *weight;     /* (N) */
	float *divergence; /* (N, n_terms) */
	float *ce;         /* (N) */
	int32_t *argmax;   /* (N) */
};
struct student_buffers {
	int N;
	struct batch batch;                /* device, B*T as uploaded */
	int32_t *tokens, *pos, *start;     /* device (N), behind batch */
	int32_t *targets;                  /* device (N); uncounted rows hold 0 */
	float *ce_weight, *ce;             /* device (N) */
	struct teacher_rows teachers[FUSED_HEAD_MAX_TEACHERS];
	int32_t *argmax_s;                 /* device (N); NULL without a teacher */
	void *dhidden;                     /* device (N, C) act */
	double *norm;                      /* device (1) */
	float *grad_scale;                 /* device (1) */

	struct row_kind *kinds;            /* host (N) */
	float *host_rows;                  /* host (N): weights on the way in, losses on the way out */
	float *host_terms;                 /* host (N, n_terms) */
	int32_t *host_s, *host_t;          /* host (N) */
	float *largest_share;              /* host (N): among the teachers seen so far */
	bool *agrees;                      /* host (N): with the teacher of that share */
	struct run *runs;                  /* (n_runs), ascending, covering the flat arrays */
	int n_runs;
	double loss_sum;                   /* of the step so far: only whether it is finite matters */
};
struct row_kind {
	bool counted, separator;
	bool soft; /* has soft targets in this micro-batch */
};

int buffers_init(struct student_buffers **out, struct ops *, const struct student_options *, const struct param_layout *,
                 struct arena *device, struct err *);
void buffers_free(struct student_buffers *); /* NULL is fine */

#endif

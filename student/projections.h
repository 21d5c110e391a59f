/* Inside student/: the learned projections of inner losses, one flat fp32 array per role as for the parameters. A
 * projection is W (teacher_C, C). Test: tests/test_student_inner.c */
#ifndef STUDENT_PROJECTIONS_H
#define STUDENT_PROJECTIONS_H

#include "student/student.h"

struct projection {
	int term, layer;   /* of the student's options; the student's layer */
	int rows, cols;    /* teacher_C, C */
	size_t offset;     /* elements, 16-element aligned */
};
struct projections {
	struct projection list[STUDENT_MAX_INNER];
	int n;
	size_t n_elems;            /* of a flat array; padding stays 0 */
	float *w, *grads, *m, *v;  /* device */
};
/* NULL when the options have none. Dry and real, as student_init; real: W starts as struct inner_term says, the rest is 0. */
int projections_init(struct projections **out, struct ops *, const struct student_options *, int C, struct student_arenas *,
                     struct err *);
void projections_free(struct projections *); /* NULL is fine */
/* Address of term's matrix in one of the flat arrays, NULL when it has none; projections may be NULL. */
float *projections_in(const struct projections *, float *flat, int term);
/* "layer 3: 96 x 64; layer 5: 96 x 64" or "none": what decides where an element lies. */
void projections_describe(const struct projections *, char *out, size_t n);

#endif

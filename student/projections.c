/* Where learned projections lie, and how they start. Test: tests/test_student_inner.c */
#include "student/projections.h"

#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void place(struct projections *p, const struct student_options *o, int C)
{
	for (int i = 0; i < o->n_inner; i++) {
		const struct inner_term *t = &o->inner[i];
		if (t->kind == INNER_RELATIONS || t->projection != PROJECTION_LEARNED)
			continue;
		BUG_ON(t->teacher_C < 1);
		p->list[p->n++] = (struct projection){.term = i, .layer = t->student_layer, .rows = t->teacher_C, .cols = C,
						      .offset = p->n_elems};
		p->n_elems += ((size_t)t->teacher_C * (size_t)C + 15) / 16 * 16;
	}
}

/* Elements [at, at+n) of a projection: the columns that a cut kept, or N(0, 1/C). */
static void draw(const struct projection *p, const int *columns, uint64_t seed, size_t at, size_t n, float *out)
{
	float std = 1 / sqrtf((float)p->cols);
	for (size_t i = 0; i < n; i++) {
		int row = (int)((at + i) / (size_t)p->cols), col = (int)((at + i) % (size_t)p->cols);
		if (columns)
			out[i] = columns[col] == row;
		else
			out[i] = std * rng_normal(seed, RNG_PROJECTION, (uint64_t)p->term, at + i);
	}
}

static void start(const struct projections *p, struct ops *ops, const struct student_options *o)
{
	enum { BLOCK = 4096 };
	float block[BLOCK];
	float *flat[] = {p->w, p->grads, p->m, p->v};
	for (size_t i = 0; i < sizeof flat / sizeof flat[0]; i++)
		ops->zero(ops, flat[i], p->n_elems * sizeof(float));
	for (int i = 0; i < p->n; i++) {
		const struct projection *one = &p->list[i];
		size_t n_elems = (size_t)one->rows * (size_t)one->cols;
		for (size_t at = 0; at < n_elems; at += BLOCK) {
			size_t n = n_elems - at < BLOCK ? n_elems - at : BLOCK;
			draw(one, o->inner[one->term].columns, o->projection_seed, at, n, block);
			ops->upload(ops, p->w + one->offset + at, block, n * sizeof(float));
		}
	}
}

int projections_init(struct projections **out, struct ops *ops, const struct student_options *o, int C, struct student_arenas *a,
		     struct err *e)
{
	*out = NULL;
	struct projections *p = calloc(1, sizeof *p);
	if (!p)
		return err_run(e, "out of memory for the projections' table (%zu bytes)", sizeof *p);
	place(p, o, C);
	if (!p->n) {
		free(p);
		return 0;
	}
	p->w = arena_alloc(&a->weights, p->n_elems * sizeof(float));
	p->grads = arena_alloc(&a->gradients, p->n_elems * sizeof(float));
	p->m = arena_alloc(&a->moments, p->n_elems * sizeof(float));
	p->v = arena_alloc(&a->moments, p->n_elems * sizeof(float));
	if (!arena_is_dry(&a->weights))
		start(p, ops, o);
	*out = p;
	return 0;
}

void projections_free(struct projections *p)
{
	free(p);
}

float *projections_in(const struct projections *p, float *flat, int term)
{
	for (int i = 0; p && i < p->n; i++)
		if (p->list[i].term == term)
			return flat + p->list[i].offset;
	return NULL;
}

void projections_describe(const struct projections *p, char *out, size_t n)
{
	size_t at = 0;
	snprintf(out, n, "none");
	for (int i = 0; p && i < p->n && at < n; i++) {
		const struct projection *one = &p->list[i];
		at += (size_t)snprintf(out + at, n - at, "%slayer %d: %d x %d", i ? "; " : "", one->layer, one->rows, one->cols);
	}
}

/* A student's memory and weights. The step is in student/step.c, the file in student/checkpoint.c.
 * Test: tests/test_student.c */
#include "student/student.h"

#include "base/rng.h"
#include "student/buffers.h"
#include "student/inner.h"

#include <math.h>
#include <stdlib.h>

struct student_options student_default(void)
{
	return (struct student_options){.mode = ACTIVATIONS_TRAIN, .type = DTYPE_F32, .beta1 = 0.9f, .beta2 = 0.95f,
					.eps = 1e-8f, .weight_decay = 0.1f, .clip_norm = 1.0f};
}

static void place_flat(struct student *s, struct student_arenas *a)
{
	size_t n = s->layout.n_elems;
	struct params *p = &s->params;
	*p = (struct params){.layout = &s->layout, .type = s->options.type};
	p->master = arena_alloc(&a->weights, n * sizeof(float));
	p->vectors = p->master;
	p->copy = p->type == DTYPE_F32 ? (void *)p->master : arena_alloc(&a->weights, n * dtype_size(p->type));
	s->grads = arena_alloc(&a->gradients, n * sizeof(float));
	if (s->options.frozen)
		return;
	s->m = arena_alloc(&a->moments, n * sizeof(float));
	s->v = arena_alloc(&a->moments, n * sizeof(float));
}

static void clear(struct student *s)
{
	size_t n_bytes = s->layout.n_elems * sizeof(float);
	float *flat[] = {s->params.master, s->grads, s->m, s->v};
	for (size_t i = 0; i < sizeof flat / sizeof flat[0] && flat[i]; i++)
		s->ops->zero(s->ops, flat[i], n_bytes);
	if (s->params.copy != s->params.master)
		s->ops->zero(s->ops, s->params.copy, s->layout.n_elems * dtype_size(s->params.type));
}

int student_init(struct student *s, struct ops *ops, const struct arch *arch, const struct student_options *o,
		 struct student_arenas *a, struct err *e)
{
	BUG_ON(o->mode == ACTIVATIONS_INFER || o->B < 1 || o->T < 1);
	*s = (struct student){.ops = ops, .options = *o};
	struct fused_head_options head = {.max_rows = o->B * o->T, .V = arch->shape.V, .C = arch->shape.C,
					  .teacher_V = o->teacher_V, .n_teachers = o->n_teachers, .chunk_bytes = o->chunk_bytes};
	TRY(param_layout_init(&s->layout, arch, e));
	place_flat(s, a);
	TRY(projections_init(&s->projections, ops, o, arch->shape.C, a, e));
	TRY(activations_init(&s->act, ops, &s->layout.arch, o->B, o->T, o->mode, &a->activations, e));
	TRY(fused_head_init(&s->head, ops, &head, &a->loss, e));
	TRY(buffers_init(&s->buffers, ops, o, &s->layout, &a->loss, e));
	TRY(inner_init(&s->inner, ops, &s->layout.arch.shape, &s->options, s->projections, &a->loss, e));
	if (arena_is_dry(&a->weights))
		return 0;
	clear(s);
	activations_upload_tables(s->act, ops, &s->layout.arch);
	return 0;
out:
	student_release(s);
	return -1;
}

void student_release(struct student *s)
{
	inner_free(s->inner);
	projections_free(s->projections);
	buffers_free(s->buffers);
	fused_head_free(s->head);
	activations_free(s->act);
	param_layout_release(&s->layout);
	*s = (struct student){0};
}

struct ops_limits student_limits(const struct arch *arch, const struct student_options *o)
{
	return ops_limits_max(transformer_limits(arch, o->B * o->T, fused_head_chunk_rows(arch->shape.V, o->chunk_bytes)),
			      inner_limits(&arch->shape, o));
}

/* The compute copy follows the masters. */
static void refresh_copy(struct student *s)
{
	struct params *p = &s->params;
	if (p->copy != p->master)
		s->ops->convert(s->ops, p->copy, p->type, p->master, DTYPE_F32, s->layout.n_elems);
}

void student_load(struct student *s, const float *flat)
{
	s->ops->upload(s->ops, s->params.master, flat, s->layout.n_elems * sizeof(float));
	refresh_copy(s);
}

static bool is_norm(enum param_kind k)
{
	return k == PARAM_FINAL_NORM || k == PARAM_ATTN_NORM || k == PARAM_FFN_NORM || k == PARAM_Q_NORM || k == PARAM_K_NORM;
}

static double tensor_std(const struct arch *a, enum param_kind k)
{
	if (!param_is_matrix(k))
		return 0;
	bool writes_residual = k == PARAM_O || k == PARAM_DOWN;
	return (double)a->init_std * (writes_residual ? 1 / sqrt(2.0 * a->shape.L) : 1);
}

/* Elements [at, at+n) of tensor i. */
static void draw(const struct param_layout *layout, int i, uint64_t seed, size_t at, size_t n, float *out)
{
	const struct hf_tensor *t = &layout->tensors[i];
	float std = (float)tensor_std(&layout->arch, t->kind), mean = is_norm(t->kind) ? 1.0f : 0.0f;
	for (size_t j = 0; j < n; j++)
		out[j] = std != 0.0f ? std * rng_normal(seed, RNG_INIT, (uint64_t)i, at + j) : mean;
}

void student_randomise(struct student *s, uint64_t seed)
{
	enum { BLOCK = 4096 };
	float block[BLOCK];
	for (int i = 0; i < s->layout.n_tensors; i++) {
		const struct hf_tensor *t = &s->layout.tensors[i];
		size_t n_elems = t->rows * (t->cols ? t->cols : 1);
		for (size_t at = 0; at < n_elems; at += BLOCK) {
			size_t n = n_elems - at < BLOCK ? n_elems - at : BLOCK;
			draw(&s->layout, i, seed, at, n, block);
			s->ops->upload(s->ops, s->params.master + t->offset + at, block, n * sizeof(float));
		}
	}
	refresh_copy(s);
}

void student_weights(const struct student *s, float *flat)
{
	s->ops->download(s->ops, flat, s->params.master, s->layout.n_elems * sizeof(float));
}

/* Inner losses between tapped layers of student and teacher. May not know what a layer is made of.
 * Test: tests/test_student_inner.c */
#include "student/inner.h"

#include "losses/hidden_loss.h"

#include <stdlib.h>

struct inner_slot {
	void *values;      /* device, act: the tapped tensor; terms of one layer share it */
	float *loss;       /* device (N) */
	int32_t *columns;  /* device (C), or NULL */
};
struct inner_losses {
	struct ops *ops;
	const struct shape *shape;
	const struct student_options *options;
	const struct projections *projections;
	struct inner_slot slots[STUDENT_MAX_INNER];
	float *rows;       /* device (N) */
	void *scratch;     /* device, of the term in progress */
	struct taps taps;
	struct inner_batch batch;
};

static enum tap_point point_of(const struct inner_term *t)
{
	return t->kind == INNER_RELATIONS ? TAP_QKV : TAP_HIDDEN;
}

static struct relation_shape heads_of(const struct shape *s)
{
	return (struct relation_shape){s->NH, s->NKV, s->HD};
}

static size_t width_of(const struct shape *s, const struct inner_term *t)
{
	return (size_t)(t->kind == INNER_RELATIONS ? (s->NH + 2 * s->NKV) * s->HD : s->C);
}

static size_t rows_of(const struct student_options *o)
{
	return (size_t)o->B * (size_t)o->T;
}

/* ---- memory ---- */

static void check_term(const struct shape *s, const struct inner_term *t)
{
	BUG_ON(t->student_layer < 0 || t->student_layer >= s->L || t->teacher_layer < 0);
	if (t->kind == INNER_RELATIONS)
		BUG_ON(!relation_heads_fit(t->relation_heads, heads_of(s), t->teacher_heads));
	else
		BUG_ON(t->projection == PROJECTION_NONE ? t->teacher_C != s->C : t->teacher_C < 1);
}

static size_t scratch_of(const struct ops *ops, const struct shape *s, const struct student_options *o, const struct inner_term *t)
{
	if (t->kind == INNER_RELATIONS)
		return relation_loss_scratch(ops, o->T, t->relation_heads, heads_of(s), t->teacher_heads);
	return hidden_loss_scratch(ops, o->B * o->T, s->C, t->teacher_C, t->projection == PROJECTION_LEARNED);
}

/* The values of an earlier term that listens at the same place, or NULL. */
static void *shared_values(const struct inner_losses *in, int term)
{
	const struct inner_term *terms = in->options->inner;
	for (int i = 0; i < term; i++)
		if (point_of(&terms[i]) == point_of(&terms[term]) && terms[i].student_layer == terms[term].student_layer)
			return in->slots[i].values;
	return NULL;
}

static void place_columns(const struct inner_losses *in, const struct inner_term *t, struct inner_slot *slot, struct arena *device)
{
	if (t->kind == INNER_RELATIONS || t->projection != PROJECTION_KEPT)
		return;
	size_t n_bytes = (size_t)in->shape->C * sizeof(int32_t);
	slot->columns = arena_alloc(device, n_bytes);
	if (arena_is_dry(device))
		return;
	BUG_ON(!t->columns);
	in->ops->upload(in->ops, slot->columns, t->columns, n_bytes);
}

static void place(struct inner_losses *in, struct arena *device)
{
	const struct student_options *o = in->options;
	size_t N = rows_of(o), scratch = 0;
	for (int i = 0; i < o->n_inner; i++) {
		const struct inner_term *t = &o->inner[i];
		struct inner_slot *slot = &in->slots[i];
		size_t needs = scratch_of(in->ops, in->shape, o, t);
		check_term(in->shape, t);
		slot->values = shared_values(in, i);
		if (!slot->values)
			slot->values = arena_alloc(device, N * width_of(in->shape, t) * dtype_size(in->ops->act));
		slot->loss = arena_alloc(device, N * sizeof(float));
		place_columns(in, t, slot, device);
		scratch = needs > scratch ? needs : scratch;
	}
	in->rows = arena_alloc(device, N * sizeof(float));
	in->scratch = arena_alloc(device, scratch);
}

/* ---- a micro-batch ---- */

static void forward(void *user, enum tap_point point, int layer, const void *values)
{
	struct inner_losses *in = user;
	const struct student_options *o = in->options;
	if (in->batch.outer && in->batch.outer->forward)
		in->batch.outer->forward(in->batch.outer->user, point, layer, values);
	for (int i = 0; i < o->n_inner; i++) {
		const struct inner_term *t = &o->inner[i];
		if (point_of(t) != point || t->student_layer != layer)
			continue;
		in->ops->copy(in->ops, in->slots[i].values, values,
			      rows_of(o) * width_of(in->shape, t) * dtype_size(in->ops->act));
		return; /* the others of this place share it */
	}
}

static void run_hidden(struct inner_losses *in, int i, void *dvalues)
{
	const struct inner_term *t = &in->options->inner[i];
	const struct inner_slot *slot = &in->slots[i];
	const struct inner_targets *from = in->batch.targets;
	BUG_ON(from->C != t->teacher_C || t->teacher_layer >= from->L || !from->hidden[t->teacher_layer]);
	float *w = projections_in(in->projections, in->projections ? in->projections->w : NULL, i);
	hidden_loss_run(in->ops, &(struct hidden_loss){
		.kind = t->kind == INNER_HIDDEN_COSINE ? HIDDEN_COSINE : HIDDEN_MSE, .N = (int)rows_of(in->options),
		.C_s = in->shape->C, .C_t = t->teacher_C, .student = slot->values, .teacher = from->hidden[t->teacher_layer],
		.projection = w, .columns = slot->columns, .weight = in->rows, .scale = in->batch.weights[i], .loss = slot->loss,
		.dstudent = dvalues,
		.dprojection = w && dvalues ? projections_in(in->projections, in->projections->grads, i) : NULL,
		.scratch = in->scratch,
	});
}

static void run_relations(struct inner_losses *in, int i, void *dvalues)
{
	const struct inner_term *t = &in->options->inner[i];
	const struct inner_targets *from = in->batch.targets;
	const struct relation_shape *heads = &t->teacher_heads;
	BUG_ON(from->NH != heads->NH || from->NKV != heads->NKV || from->HD != heads->HD);
	BUG_ON(t->teacher_layer >= from->L || !from->qkv[t->teacher_layer]);
	relation_loss_run(in->ops, &(struct relation_loss){
		.B = in->options->B, .T = in->options->T, .R = t->relation_heads, .student = heads_of(in->shape),
		.teacher = *heads, .student_qkv = in->slots[i].values, .teacher_qkv = from->qkv[t->teacher_layer],
		.start = in->batch.start, .weight = in->rows, .scale = in->batch.weights[i], .loss = in->slots[i].loss,
		.dqkv = dvalues, .scratch = in->scratch,
	});
}

static void backward(void *user, enum tap_point point, int layer, void *dvalues)
{
	struct inner_losses *in = user;
	if (in->batch.outer && in->batch.outer->backward)
		in->batch.outer->backward(in->batch.outer->user, point, layer, dvalues);
	for (int i = 0; i < in->options->n_inner; i++) {
		const struct inner_term *t = &in->options->inner[i];
		if (point_of(t) != point || t->student_layer != layer)
			continue;
		void *to = in->batch.weights[i] > 0 ? dvalues : NULL;
		if (t->kind == INNER_RELATIONS)
			run_relations(in, i, to);
		else
			run_hidden(in, i, to);
	}
}

const struct taps *inner_taps(struct inner_losses *in, const struct inner_batch *batch, const float *rows)
{
	in->batch = *batch;
	in->taps = (struct taps){.user = in, .forward = forward, .backward = backward};
	in->ops->upload(in->ops, in->rows, rows, rows_of(in->options) * sizeof(float));
	return &in->taps;
}

void inner_add_sums(struct inner_losses *in, float *host, double *sums)
{
	size_t N = rows_of(in->options);
	for (int i = 0; i < in->options->n_inner; i++) {
		in->ops->download(in->ops, host, in->slots[i].loss, N * sizeof(float));
		for (size_t n = 0; n < N; n++)
			sums[i] += (double)host[n];
	}
}

/* ---- life ---- */

int inner_init(struct inner_losses **out, struct ops *ops, const struct shape *shape, const struct student_options *o,
	       const struct projections *projections, struct arena *device, struct err *e)
{
	*out = NULL;
	BUG_ON(o->n_inner > STUDENT_MAX_INNER);
	if (!o->n_inner)
		return 0;
	struct inner_losses *in = calloc(1, sizeof *in);
	if (!in)
		return err_run(e, "out of memory for the state of %d inner losses (%zu bytes)", o->n_inner, sizeof *in);
	*in = (struct inner_losses){.ops = ops, .shape = shape, .options = o, .projections = projections};
	place(in, device);
	*out = in;
	return 0;
}

void inner_free(struct inner_losses *in)
{
	free(in);
}

static struct ops_limits limits_of(const struct shape *s, const struct student_options *o, const struct inner_term *t)
{
	if (t->kind == INNER_RELATIONS)
		return relation_loss_limits(o->T, t->relation_heads, heads_of(s), t->teacher_heads);
	return hidden_loss_limits(o->B * o->T, s->C, t->teacher_C, t->projection == PROJECTION_LEARNED);
}

struct ops_limits inner_limits(const struct shape *s, const struct student_options *o)
{
	struct ops_limits all = {0};
	for (int i = 0; i < o->n_inner; i++)
		all = ops_limits_max(all, limits_of(s, o, &o->inner[i]));
	return all;
}

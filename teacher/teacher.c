/* The online teacher: a checkpoint's weights on the device and a forward pass. Computes no logits: the loss does, a chunk
 * at a time. Test: tests/test_teacher.c */
#include "teacher/teacher.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_ELEMS ((size_t)1 << 16) /* of a tensor that is converted and uploaded at a time */

/* The vectors one after another, each parameter's start aligned: fills offsets (L+1, PARAM_KINDS), returns their elements. */
static size_t place_vectors(const struct param_layout *layout, size_t *offsets)
{
	size_t n = 0, n_offsets = ((size_t)layout->arch.shape.L + 1) * PARAM_KINDS;
	memset(offsets, 0, n_offsets * sizeof *offsets);
	for (int i = 0; i < layout->n_tensors; i++) {
		const struct hf_tensor *t = &layout->tensors[i];
		if (!param_is_matrix(t->kind))
			offsets[(size_t)(t->layer + 1) * PARAM_KINDS + t->kind] += t->rows;
	}
	for (size_t i = 0; i < n_offsets; i++) {
		size_t rows = offsets[i];
		offsets[i] = rows ? n : SIZE_MAX;
		n += (rows + 15) / 16 * 16;
	}
	return n;
}

static int place_weights(struct teacher *t, enum dtype type, struct arena *weights, struct err *e)
{
	struct params *p = &t->params;
	size_t n = t->layout.n_elems;
	*p = (struct params){.layout = &t->layout, .type = type};
	if (type == DTYPE_F32) {
		p->master = arena_alloc(weights, n * sizeof(float));
		p->copy = p->vectors = p->master;
		return 0;
	}
	size_t n_offsets = ((size_t)t->layout.arch.shape.L + 1) * PARAM_KINDS;
	p->vector_offsets = malloc(n_offsets * sizeof *p->vector_offsets);
	if (!p->vector_offsets)
		return err_run(e, "out of memory for the teacher's tables (%zu bytes)", n_offsets * sizeof(size_t));
	p->copy = arena_alloc(weights, n * dtype_size(type));
	t->n_vector_elems = place_vectors(&t->layout, p->vector_offsets);
	p->vectors = arena_alloc(weights, t->n_vector_elems * sizeof(float));
	return 0;
}

/* Where a tensor goes, and in which type. */
static void *destination(const struct teacher *t, const struct hf_tensor *tensor, enum dtype *type)
{
	const struct params *p = &t->params;
	if (param_is_matrix(tensor->kind)) {
		*type = p->type;
		return (char *)p->copy + tensor->offset * dtype_size(p->type);
	}
	*type = DTYPE_F32;
	size_t within = tensor->offset - t->layout.offsets[(size_t)(tensor->layer + 1) * PARAM_KINDS + tensor->kind];
	return (float *)params_vector(p, tensor->kind, tensor->layer) + within;
}

static void upload_tensor(const struct teacher *t, const struct hf_tensor *tensor, const struct safetensor *from, void *block)
{
	enum dtype type;
	char *to = destination(t, tensor, &type);
	for (size_t at = 0; at < from->n_elems; at += BLOCK_ELEMS) {
		size_t n = from->n_elems - at < BLOCK_ELEMS ? from->n_elems - at : BLOCK_ELEMS;
		dtype_convert(block, type, (const char *)from->data + at * dtype_size(from->dtype), from->dtype, n);
		t->ops->upload(t->ops, to + at * dtype_size(type), block, n * dtype_size(type));
	}
}

static int upload_weights(struct teacher *t, const struct hf_model *hf, struct err *e)
{
	const struct params *p = &t->params;
	void *block = malloc(BLOCK_ELEMS * sizeof(float));
	if (!block)
		return err_run(e, "out of memory to read the teacher's weights (%zu bytes)", BLOCK_ELEMS * sizeof(float));
	t->ops->zero(t->ops, p->copy, t->layout.n_elems * dtype_size(p->type));
	if (p->vector_offsets)
		t->ops->zero(t->ops, p->vectors, t->n_vector_elems * sizeof(float));
	for (int i = 0; i < t->layout.n_tensors; i++)
		upload_tensor(t, &t->layout.tensors[i], hf->tensors[i], block);
	free(block);
	return 0;
}

int teacher_init(struct teacher *t, struct ops *ops, const struct hf_model *hf, enum dtype type, int B, int T,
		 struct arena *weights, struct arena *activations, struct err *e)
{
	*t = (struct teacher){.ops = ops};
	TRY(param_layout_init(&t->layout, &hf->layout.arch, e));
	TRY(place_weights(t, type, weights, e));
	TRY(activations_init(&t->act, ops, &t->layout.arch, B, T, ACTIVATIONS_INFER, activations, e));
	if (arena_is_dry(weights))
		return 0;
	TRY(upload_weights(t, hf, e));
	activations_upload_tables(t->act, ops, &t->layout.arch);
	t->hash = hf_hash(hf);
	return 0;
out:
	teacher_release(t);
	return -1;
}

void teacher_release(struct teacher *t)
{
	activations_free(t->act);
	free(t->params.vector_offsets);
	param_layout_release(&t->layout);
	*t = (struct teacher){0};
}

void teacher_targets(struct teacher *t, const struct batch *batch, const struct taps *taps, struct soft_targets *out)
{
	*out = (struct soft_targets){
		.kind = SOFT_TARGETS_DENSE, .C = t->layout.arch.shape.C, .V = t->layout.arch.shape.V,
		.hidden = transformer_forward(t->ops, &t->params, t->act, batch, NULL, taps),
		.head = params_matrix(&t->params, PARAM_HEAD, -1), .head_type = t->params.type,
	};
}

/* A teacher's weights on the device: matrices in one type, vectors in fp32. Test: tests/test_teacher.c */
#include "teacher/teacher_parts.h"

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

int weights_place(struct teacher *t, enum dtype type, struct arena *weights, struct err *e)
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

/* The first n_elems of a checkpoint's tensor to `to`, converted a block at a time. */
static void upload_elems(struct ops *ops, const struct safetensor *from, size_t n_elems, enum dtype type, char *to, void *block)
{
	for (size_t at = 0; at < n_elems; at += BLOCK_ELEMS) {
		size_t n = n_elems - at < BLOCK_ELEMS ? n_elems - at : BLOCK_ELEMS;
		dtype_convert(block, type, (const char *)from->data + at * dtype_size(from->dtype), from->dtype, n);
		ops->upload(ops, to + at * dtype_size(type), block, n * dtype_size(type));
	}
}

static void *block_alloc(struct err *e)
{
	void *block = malloc(BLOCK_ELEMS * sizeof(float));
	if (!block)
		err_run(e, "out of memory to read the teacher's weights (%zu bytes)", BLOCK_ELEMS * sizeof(float));
	return block;
}

int weights_upload(struct teacher *t, const struct hf_model *hf, struct err *e)
{
	const struct params *p = &t->params;
	void *block = block_alloc(e);
	if (!block)
		return -1;
	t->ops->zero(t->ops, p->copy, t->layout.n_elems * dtype_size(p->type));
	if (p->vector_offsets)
		t->ops->zero(t->ops, p->vectors, t->n_vector_elems * sizeof(float));
	for (int i = 0; i < t->layout.n_tensors; i++) {
		enum dtype type;
		void *to = destination(t, &t->layout.tensors[i], &type);
		upload_elems(t->ops, hf->tensors[i], hf->tensors[i]->n_elems, type, to, block);
	}
	free(block);
	return 0;
}

int weights_upload_head(struct ops *ops, const struct hf_model *hf, enum dtype type, int n_rows, void *to, struct err *e)
{
	const struct param_layout *layout = &hf->layout;
	enum param_kind kind = layout->arch.tied ? PARAM_EMBED : PARAM_HEAD;
	int i = 0;
	while (layout->tensors[i].kind != kind)
		BUG_ON(++i == layout->n_tensors);
	void *block = block_alloc(e);
	if (!block)
		return -1;
	upload_elems(ops, hf->tensors[i], (size_t)n_rows * (size_t)layout->arch.shape.C, type, to, block);
	free(block);
	return 0;
}

/* Tensors from inside the teacher: its forward pass reuses one layer's buffers, so what a loss asked for is copied while it
 * goes by. Test: tests/test_teacher.c */
#include "teacher/teacher_parts.h"

#include <stdlib.h>

struct inner_buffers {
	struct ops *ops;
	size_t max_rows, hidden_bytes, qkv_bytes; /* bytes of a row */
	size_t n_rows;        /* of the forward pass */
	void **hidden, **qkv; /* [L] device, NULL where nobody asked; one block of 2 L pointers */
	struct taps taps;
	struct inner_targets targets;
};

static void keep(void *user, enum tap_point point, int layer, const void *values)
{
	struct inner_buffers *b = user;
	void *to = point == TAP_HIDDEN ? b->hidden[layer] : point == TAP_QKV ? b->qkv[layer] : NULL;
	if (to)
		b->ops->copy(b->ops, to, values, b->n_rows * (point == TAP_HIDDEN ? b->hidden_bytes : b->qkv_bytes));
}

static bool asked(const bool *flags, int L)
{
	for (int l = 0; flags && l < L; l++)
		if (flags[l])
			return true;
	return false;
}

int inner_buffers_init(struct inner_buffers **out, struct ops *ops, const struct shape *s, const struct teacher_options *o,
		       struct arena *activations, struct err *e)
{
	size_t L = (size_t)s->L, act = dtype_size(ops->act);
	*out = NULL;
	if (!asked(o->keep_hidden, s->L) && !asked(o->keep_qkv, s->L))
		return 0;
	struct inner_buffers *b = malloc(sizeof *b);
	void **pointers = calloc(2 * L, sizeof *pointers);
	if (!b || !pointers) {
		free(b);
		free(pointers);
		return err_run(e, "out of memory for the teacher's inner tensors (%zu layers)", L);
	}
	*b = (struct inner_buffers){.ops = ops, .max_rows = (size_t)o->B * (size_t)o->T, .hidden_bytes = (size_t)s->C * act,
				    .qkv_bytes = (size_t)((s->NH + 2 * s->NKV) * s->HD) * act,
				    .hidden = pointers, .qkv = pointers + L};
	for (size_t l = 0; l < L; l++) {
		if (o->keep_hidden && o->keep_hidden[l])
			b->hidden[l] = arena_alloc(activations, b->max_rows * b->hidden_bytes);
		if (o->keep_qkv && o->keep_qkv[l])
			b->qkv[l] = arena_alloc(activations, b->max_rows * b->qkv_bytes);
	}
	b->taps = (struct taps){.user = b, .forward = keep};
	b->targets = (struct inner_targets){.L = s->L, .NH = s->NH, .NKV = s->NKV, .HD = s->HD, .C = s->C,
					    .hidden = (const void *const *)b->hidden, .qkv = (const void *const *)b->qkv};
	*out = b;
	return 0;
}

void inner_buffers_free(struct inner_buffers *b)
{
	if (!b)
		return;
	free(b->hidden);
	free(b);
}

const struct taps *inner_buffers_taps(struct inner_buffers *b, int n_rows)
{
	if (!b)
		return NULL;
	BUG_ON((size_t)n_rows > b->max_rows);
	b->n_rows = (size_t)n_rows;
	return &b->taps;
}

const struct inner_targets *inner_buffers_targets(const struct inner_buffers *b)
{
	return b ? &b->targets : NULL;
}

/* One call for both kinds of teacher. The online one is a checkpoint's weights and a forward pass; it computes no logits:
 * the loss does, a chunk at a time. Test: tests/test_teacher.c */
#include "teacher/teacher_parts.h"

#include <stdlib.h>

static int start(struct teacher *t, struct ops *ops, const struct hf_model *hf, const struct teacher_options *o, struct err *e)
{
	int V = hf->layout.arch.shape.V;
	BUG_ON(o->columns < 0);
	*t = (struct teacher){.ops = ops, .V = o->columns && o->columns < V ? o->columns : V};
	return param_layout_init(&t->layout, &hf->layout.arch, e);
}

int teacher_init(struct teacher *t, struct ops *ops, const struct hf_model *hf, const struct teacher_options *o,
		 struct arena *weights, struct arena *activations, struct err *e)
{
	TRY(start(t, ops, hf, o, e));
	TRY(weights_place(t, o->type, weights, e));
	TRY(activations_init(&t->act, ops, &t->layout.arch, o->B, o->T, ACTIVATIONS_INFER, activations, e));
	TRY(inner_buffers_init(&t->inner, ops, &t->layout.arch.shape, o, activations, e));
	if (arena_is_dry(weights))
		return 0;
	TRY(weights_upload(t, hf, e));
	activations_upload_tables(t->act, ops, &t->layout.arch);
	t->hash = hf_hash(hf);
	return 0;
out:
	teacher_release(t);
	return -1;
}

int teacher_init_cached(struct teacher *t, struct ops *ops, const struct hf_model *hf, struct cache *cache,
			const struct teacher_options *o, struct arena *weights, struct arena *activations, struct err *e)
{
	BUG_ON(o->keep_hidden || o->keep_qkv);
	TRY(start(t, ops, hf, o, e));
	TRY(cached_rows_init(&t->cached, t, hf, cache, o, weights, activations, e));
	return 0;
out:
	teacher_release(t);
	return -1;
}

void teacher_release(struct teacher *t)
{
	activations_free(t->act);
	inner_buffers_free(t->inner);
	cached_rows_free(t->cached);
	free(t->params.vector_offsets);
	param_layout_release(&t->layout);
	*t = (struct teacher){0};
}

int teacher_targets(struct teacher *t, const struct teacher_batch *batch, struct soft_targets *out, struct err *e)
{
	if (t->cached)
		return cached_rows_targets(t->cached, batch, out, e);
	const struct taps *taps = inner_buffers_taps(t->inner, batch->device->B * batch->device->T);
	*out = (struct soft_targets){
		.kind = SOFT_TARGETS_DENSE, .C = t->layout.arch.shape.C, .V = t->V,
		.hidden = transformer_forward(t->ops, &t->params, t->act, batch->device, NULL, taps),
		.head = params_matrix(&t->params, PARAM_HEAD, -1), .head_type = t->params.type,
		.inner = inner_buffers_targets(t->inner),
	};
	return 0;
}

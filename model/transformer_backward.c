/* The backward pass: the forward's steps in reverse, each gradient written over or added to where the next one looks
 * for it. Test: tests/test_transformer.c, tests/test_masked.c */
#include "model/activations.h"
#include "model/linear.h"

#include <math.h>

struct backward {
	struct ops *ops;
	const struct params *params;
	struct activations *acts;
	const struct batch *batch;
	struct masks z;      /* all NULL without masks */
	struct mask_grads d; /* likewise */
	const struct taps *taps;
	const struct arch *arch;
	float *grads;
	int N;
};

static void tap(const struct backward *b, enum tap_point point, int layer, void *dvalues)
{
	if (b->taps && b->taps->backward)
		b->taps->backward(b->taps->user, point, layer, dvalues);
}

static float *grad(const struct backward *b, enum param_kind kind, int layer)
{
	return params_in(b->params->layout, b->grads, kind, layer);
}

/* Adds the gradient of h = norm(sum) to dx; `first` writes. */
static void norm(const struct backward *b, enum param_kind kind, int layer, const void *dh, const void *sum,
		 const float *rstd, bool first)
{
	b->ops->norm_backward(b->ops, &(struct norm_backward){
		.N = b->N, .C = b->arch->shape.C, .dh = dh, .sum = sum, .rstd = rstd,
		.w = params_vector(b->params, kind, layer), .z = b->z.hidden, .dsum = b->acts->dx, .first = first,
		.dw = grad(b, kind, layer), .dz = b->d.hidden,
	});
}

/* The gradient of a block's output y, from that of the residual stream that it was added to. */
static const void *residual(const struct backward *b, const void *y, const float *z_layer, float *dz_layer)
{
	if (!b->z.hidden && !z_layer)
		return b->acts->dx;
	b->ops->residual_backward(b->ops, &(struct residual_backward){
		.N = b->N, .C = b->arch->shape.C, .dsum = b->acts->dx, .y = y, .z = b->z.hidden, .z_layer = z_layer,
		.dy = b->acts->dy, .dz = b->d.hidden, .dz_layer = dz_layer,
	});
	return b->acts->dy;
}

static void ffn(const struct backward *b, struct layer_activations *l, int layer)
{
	const struct shape *s = &b->arch->shape;
	struct activations *acts = b->acts;
	struct linear gate_up = linear_gate_up(s, layer), down = linear_down(s, layer);
	size_t at = (size_t)layer * (size_t)s->F;
	const void *dy = residual(b, l->ffn_y, b->z.ffn_block ? b->z.ffn_block + layer : NULL,
				  b->d.ffn_block ? b->d.ffn_block + layer : NULL);
	linear_backward(b->ops, b->params, &down, b->N, l->gated, dy, acts->dgated, b->grads);
	b->ops->swiglu_backward(b->ops, &(struct swiglu_backward){
		.N = b->N, .F = s->F, .gu = l->gate_up, .da = acts->dgated, .z = b->z.ffn ? b->z.ffn + at : NULL,
		.dgu = l->gate_up, .dz = b->d.ffn ? b->d.ffn + at : NULL,
	});
	linear_backward(b->ops, b->params, &gate_up, b->N, l->ffn_h, l->gate_up, acts->dh, b->grads);
	norm(b, PARAM_FFN_NORM, layer, acts->dh, l->ffn_in, l->ffn_rstd, false);
}

static void attention(const struct backward *b, struct layer_activations *l, int layer)
{
	const struct shape *s = &b->arch->shape;
	struct activations *acts = b->acts;
	struct linear qkv = linear_qkv(s, layer), o = linear_o(s, layer);
	size_t at = (size_t)layer * (size_t)s->NH;
	const void *dy = residual(b, l->attn_y, b->z.attn ? b->z.attn + layer : NULL,
				  b->d.attn ? b->d.attn + layer : NULL);
	linear_backward(b->ops, b->params, &o, b->N, l->context, dy, acts->dcontext, b->grads);
	b->ops->attention_backward(b->ops, &(struct attention_backward){
		.B = b->batch->B, .T = b->batch->T, .NH = s->NH, .NKV = s->NKV, .HD = s->HD, .window = b->arch->window,
		.scale = 1 / sqrtf((float)s->HD), .qkv = l->qkv, .out = l->context, .dout = acts->dcontext,
		.start = b->batch->start, .z_heads = b->z.heads ? b->z.heads + at : NULL, .lse = l->lse,
		.dqkv = acts->dqkv, .dz_heads = b->d.heads ? b->d.heads + at : NULL, .scratch = acts->attention_scratch,
	});
	tap(b, TAP_QKV, layer, acts->dqkv);
	b->ops->qk_backward(b->ops, &(struct qk_backward){
		.N = b->N, .NH = s->NH, .NKV = s->NKV, .HD = s->HD, .src = l->qkv_raw, .dqkv = acts->dqkv,
		.pos = b->batch->pos, .cos = acts->cos, .sin = acts->sin,
		.q_norm = params_vector(b->params, PARAM_Q_NORM, layer),
		.k_norm = params_vector(b->params, PARAM_K_NORM, layer), .rstd = l->qk_rstd,
		.dq_norm = grad(b, PARAM_Q_NORM, layer), .dk_norm = grad(b, PARAM_K_NORM, layer),
	});
	linear_backward(b->ops, b->params, &qkv, b->N, l->attn_h, acts->dqkv, acts->dh, b->grads);
	norm(b, PARAM_ATTN_NORM, layer, acts->dh, l->attn_in, l->attn_rstd, false);
}

static void embed(const struct backward *b)
{
	const struct shape *s = &b->arch->shape;
	tap(b, TAP_EMBED, 0, b->acts->dx);
	b->ops->embed_backward(b->ops, &(struct embed_backward){
		.N = b->N, .C = s->C, .V = s->V, .tokens = b->batch->tokens,
		.table = params_matrix(b->params, PARAM_EMBED, -1), .table_type = b->params->type, .z = b->z.hidden,
		.dx = b->acts->dx, .dtable = grad(b, PARAM_EMBED, -1), .dz = b->d.hidden,
	});
}

static void check(const struct backward *b)
{
	const struct shape *s = &b->arch->shape;
	size_t scratch = b->ops->attention_scratch(b->ops, b->batch->B, b->batch->T, s->NH, s->NKV, s->HD);
	BUG_ON(b->acts->mode == ACTIVATIONS_INFER);
	BUG_ON(b->batch->cache || b->N > b->acts->n_rows || scratch > b->acts->attention_scratch_bytes);
	BUG_ON(!b->z.hidden != !b->d.hidden || !b->z.attn != !b->d.attn || !b->z.ffn_block != !b->d.ffn_block ||
	       !b->z.heads != !b->d.heads || !b->z.ffn != !b->d.ffn);
}

void transformer_backward(struct ops *ops, const struct params *params, struct activations *acts,
			  const struct batch *batch, const struct masks *masks, const struct taps *taps, void *dfinal,
			  float *grads, const struct mask_grads *mask_grads)
{
	struct backward b = {.ops = ops, .params = params, .acts = acts, .batch = batch, .taps = taps,
			     .z = masks ? *masks : (struct masks){0},
			     .d = mask_grads ? *mask_grads : (struct mask_grads){0}, .arch = &acts->arch, .grads = grads,
			     .N = batch->B * batch->T};
	int L = acts->arch.shape.L;
	check(&b);
	tap(&b, TAP_FINAL, L, dfinal);
	norm(&b, PARAM_FINAL_NORM, -1, dfinal, acts->final_in, acts->final_rstd, true);
	for (int l = L - 1; l >= 0; l--) {
		tap(&b, TAP_HIDDEN, l, acts->dx);
		ffn(&b, &acts->layers[l], l);
		attention(&b, &acts->layers[l], l);
	}
	embed(&b);
}

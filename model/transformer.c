/* The forward pass over the op table. The residual add of a block happens inside the next norm. The backward pass is in
 * transformer_backward.c, the buffers in activations.c. Test: tests/test_transformer.c */
#include "model/transformer.h"

#include "model/activations.h"
#include "model/kv_cache.h"
#include "model/linear.h"

#include <math.h>

struct forward {
	struct ops *ops;
	const struct params *params;
	struct activations *acts;
	const struct batch *batch;
	struct masks z; /* all NULL without masks */
	const struct taps *taps;
	const struct arch *arch;
	int N;
};

static void tap(const struct forward *f, enum tap_point point, int layer, const void *values)
{
	if (f->taps && f->taps->forward)
		f->taps->forward(f->taps->user, point, layer, values);
}

/* Adds y, a block's output or NULL, to the residual stream x and normalises the sum. */
static void add_and_norm(const struct forward *f, const void *x, const void *y, const float *z_layer, const float *w,
			 void *sum, void *h, float *rstd)
{
	f->ops->norm_forward(f->ops, &(struct norm_forward){
		.N = f->N, .C = f->arch->shape.C, .eps = f->arch->norm_eps, .x = x, .y = y, .z = f->z.hidden,
		.z_layer = y ? z_layer : NULL, .w = w, .sum = sum, .h = h, .rstd = rstd,
	});
}

static void attention(const struct forward *f, struct layer_activations *l, int layer)
{
	const struct shape *s = &f->arch->shape;
	const struct kv_cache *cache = f->batch->cache;
	struct linear qkv = linear_qkv(s, layer), o = linear_o(s, layer);
	linear_forward(f->ops, f->params, &qkv, f->N, l->attn_h, l->qkv_raw);
	f->ops->qk_forward(f->ops, &(struct qk_forward){
		.N = f->N, .NH = s->NH, .NKV = s->NKV, .HD = s->HD, .src = l->qkv_raw, .dst = l->qkv,
		.pos = f->batch->pos, .cos = f->acts->cos, .sin = f->acts->sin,
		.q_norm = params_vector(f->params, PARAM_Q_NORM, layer),
		.k_norm = params_vector(f->params, PARAM_K_NORM, layer), .eps = f->arch->norm_eps, .rstd = l->qk_rstd,
	});
	tap(f, TAP_QKV, layer, l->qkv);
	if (cache)
		kv_cache_store(cache, f->ops, layer, l->qkv, f->batch->T);
	f->ops->attention_forward(f->ops, &(struct attention_forward){
		.B = f->batch->B, .T = f->batch->T, .NH = s->NH, .NKV = s->NKV, .HD = s->HD, .window = f->arch->window,
		.scale = 1 / sqrtf((float)s->HD), .qkv = l->qkv, .start = f->batch->start,
		.z_heads = f->z.heads ? f->z.heads + (size_t)layer * (size_t)s->NH : NULL, .out = l->context, .lse = l->lse,
		.cache = cache ? kv_cache_layer(cache, f->ops, layer) : NULL, .positions = cache ? cache->positions : 0,
		.first = cache ? cache->filled : 0,
	});
	tap(f, TAP_HEADS, layer, l->context);
	linear_forward(f->ops, f->params, &o, f->N, l->context, l->attn_y);
}

static void ffn(const struct forward *f, struct layer_activations *l, int layer)
{
	const struct shape *s = &f->arch->shape;
	struct linear gate_up = linear_gate_up(s, layer), down = linear_down(s, layer);
	linear_forward(f->ops, f->params, &gate_up, f->N, l->ffn_h, l->gate_up);
	f->ops->swiglu_forward(f->ops, &(struct swiglu_forward){
		.N = f->N, .F = s->F, .gu = l->gate_up, .z = f->z.ffn ? f->z.ffn + (size_t)layer * (size_t)s->F : NULL,
		.a = l->gated,
	});
	tap(f, TAP_FFN, layer, l->gated);
	linear_forward(f->ops, f->params, &down, f->N, l->gated, l->ffn_y);
}

static void embed(const struct forward *f)
{
	const struct shape *s = &f->arch->shape;
	void *x = f->acts->layers[0].attn_in;
	f->ops->embed_forward(f->ops, &(struct embed_forward){
		.N = f->N, .C = s->C, .V = s->V, .tokens = f->batch->tokens,
		.table = params_matrix(f->params, PARAM_EMBED, -1), .table_type = f->params->type, .z = f->z.hidden, .x = x,
	});
	tap(f, TAP_EMBED, 0, x);
}

static const float *of_layer(const float *z, int layer)
{
	return z ? z + layer : NULL;
}

static void block(const struct forward *f, int layer)
{
	struct layer_activations *l = &f->acts->layers[layer];
	const float *w = params_vector(f->params, PARAM_ATTN_NORM, layer);
	if (layer == 0) {
		add_and_norm(f, l->attn_in, NULL, NULL, w, NULL, l->attn_h, l->attn_rstd);
	} else {
		const struct layer_activations *below = &f->acts->layers[layer - 1];
		add_and_norm(f, below->ffn_in, below->ffn_y, of_layer(f->z.ffn_block, layer - 1), w, l->attn_in, l->attn_h,
			     l->attn_rstd);
		tap(f, TAP_HIDDEN, layer - 1, l->attn_in);
	}
	tap(f, TAP_ATTN_NORM, layer, l->attn_h);
	attention(f, l, layer);
	add_and_norm(f, l->attn_in, l->attn_y, of_layer(f->z.attn, layer), params_vector(f->params, PARAM_FFN_NORM, layer),
		     l->ffn_in, l->ffn_h, l->ffn_rstd);
	tap(f, TAP_FFN_NORM, layer, l->ffn_h);
	ffn(f, l, layer);
}

void *transformer_forward(struct ops *ops, const struct params *params, struct activations *acts,
			  const struct batch *batch, const struct masks *masks, const struct taps *taps)
{
	int L = acts->arch.shape.L;
	struct layer_activations *last = &acts->layers[L - 1];
	struct forward f = {.ops = ops, .params = params, .acts = acts, .batch = batch, .taps = taps,
			    .z = masks ? *masks : (struct masks){0}, .arch = &acts->arch, .N = batch->B * batch->T};
	BUG_ON(f.N > acts->n_rows || batch->T > acts->T);
	BUG_ON(acts->mode == ACTIVATIONS_TRAIN && (f.z.hidden || f.z.attn || f.z.ffn_block));
	embed(&f);
	for (int l = 0; l < L; l++)
		block(&f, l);
	add_and_norm(&f, last->ffn_in, last->ffn_y, of_layer(f.z.ffn_block, L - 1),
		     params_vector(params, PARAM_FINAL_NORM, -1), acts->final_in, acts->final_h, acts->final_rstd);
	tap(&f, TAP_HIDDEN, L - 1, acts->final_in);
	tap(&f, TAP_FINAL, L, acts->final_h);
	return acts->final_h;
}

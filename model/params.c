/* The flat layout: where each tensor of each family lies, and the addresses that follow. Test: tests/test_params.c */
#include "model/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN_ELEMS 16

/* How one parameter of a layer (or a global one) is made of Hugging Face tensors, each a range of its rows. */
struct part {
	const char *name; /* after "model.layers.N." */
	size_t rows;
};
struct recipe {
	enum param_kind kind;
	bool present;
	size_t cols; /* 0: a vector */
	struct part parts[3];
};

static size_t align_up(size_t n)
{
	return (n + ALIGN_ELEMS - 1) / ALIGN_ELEMS * ALIGN_ELEMS;
}

/* Places one parameter at the end of the flat array and lists its tensors. */
static void place(struct param_layout *p, const struct recipe *r, int layer)
{
	if (!r->present)
		return;
	p->n_elems = align_up(p->n_elems);
	p->offsets[(size_t)(layer + 1) * PARAM_KINDS + r->kind] = p->n_elems;
	for (int i = 0; i < 3 && r->parts[i].name; i++) {
		struct hf_tensor *t = &p->tensors[p->n_tensors++];
		if (layer < 0)
			snprintf(t->name, sizeof t->name, "%s", r->parts[i].name);
		else
			snprintf(t->name, sizeof t->name, "model.layers.%d.%s", layer, r->parts[i].name);
		t->kind = r->kind;
		t->layer = layer;
		t->offset = p->n_elems;
		t->rows = r->parts[i].rows;
		t->cols = r->cols;
		p->n_elems += t->rows * (t->cols ? t->cols : 1);
	}
}

static void place_layer(struct param_layout *p, int layer)
{
	const struct arch *a = &p->arch;
	size_t C = (size_t)a->shape.C, F = (size_t)a->shape.F, HD = (size_t)a->shape.HD;
	size_t q = (size_t)a->shape.NH * HD, kv = (size_t)a->shape.NKV * HD;
	const struct recipe recipes[] = {
		{PARAM_QKV, true, C, {{"self_attn.q_proj.weight", q}, {"self_attn.k_proj.weight", kv},
				      {"self_attn.v_proj.weight", kv}}},
		{PARAM_QKV_BIAS, a->qkv_bias, 0, {{"self_attn.q_proj.bias", q}, {"self_attn.k_proj.bias", kv},
						  {"self_attn.v_proj.bias", kv}}},
		{PARAM_O, true, q, {{"self_attn.o_proj.weight", C}}},
		{PARAM_O_BIAS, a->o_bias, 0, {{"self_attn.o_proj.bias", C}}},
		{PARAM_Q_NORM, a->qk_norm, 0, {{"self_attn.q_norm.weight", HD}}},
		{PARAM_K_NORM, a->qk_norm, 0, {{"self_attn.k_norm.weight", HD}}},
		{PARAM_GATE_UP, true, C, {{"mlp.gate_proj.weight", F}, {"mlp.up_proj.weight", F}}},
		{PARAM_GATE_UP_BIAS, a->mlp_bias, 0, {{"mlp.gate_proj.bias", F}, {"mlp.up_proj.bias", F}}},
		{PARAM_DOWN, true, F, {{"mlp.down_proj.weight", C}}},
		{PARAM_DOWN_BIAS, a->mlp_bias, 0, {{"mlp.down_proj.bias", C}}},
		{PARAM_ATTN_NORM, true, 0, {{"input_layernorm.weight", C}}},
		{PARAM_FFN_NORM, true, 0, {{"post_attention_layernorm.weight", C}}},
	};
	for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++)
		place(p, &recipes[i], layer);
}

/* The order of Hugging Face's state dict: a Linear's weight stands before its bias, q before k before v. */
static int state_dict_rank(const char *name)
{
	static const char *const order[] = {
		"model.embed_tokens.weight", "self_attn.q_proj.weight", "self_attn.q_proj.bias",
		"self_attn.k_proj.weight", "self_attn.k_proj.bias", "self_attn.v_proj.weight", "self_attn.v_proj.bias",
		"self_attn.o_proj.weight", "self_attn.o_proj.bias", "self_attn.q_norm.weight", "self_attn.k_norm.weight",
		"mlp.gate_proj.weight", "mlp.gate_proj.bias", "mlp.up_proj.weight", "mlp.up_proj.bias",
		"mlp.down_proj.weight", "mlp.down_proj.bias", "input_layernorm.weight", "post_attention_layernorm.weight",
		"model.norm.weight", "lm_head.weight",
	};
	size_t n = strlen(name);
	for (int i = 0; i < (int)(sizeof order / sizeof *order); i++) {
		size_t m = strlen(order[i]);
		if (n >= m && !strcmp(name + n - m, order[i]))
			return i;
	}
	BUG_ON(true);
	return 0;
}

static int compare_state_dict(const void *a, const void *b)
{
	const struct hf_tensor *x = a, *y = b;
	int rank_x = state_dict_rank(x->name), rank_y = state_dict_rank(y->name);
	bool after_x = x->kind == PARAM_HEAD || x->kind == PARAM_FINAL_NORM;
	bool after_y = y->kind == PARAM_HEAD || y->kind == PARAM_FINAL_NORM;
	if (after_x != after_y)
		return after_x - after_y;
	if (!after_x && x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return (rank_x > rank_y) - (rank_x < rank_y);
}

int param_layout_init(struct param_layout *p, const struct arch *a, struct err *e)
{
	size_t V = (size_t)a->shape.V, C = (size_t)a->shape.C;
	size_t n_offsets = ((size_t)a->shape.L + 1) * PARAM_KINDS, n_tensors = 3 + 18 * (size_t)a->shape.L;
	*p = (struct param_layout){.arch = *a};
	p->tensors = calloc(n_tensors, sizeof *p->tensors);
	p->offsets = malloc(n_offsets * sizeof *p->offsets);
	if (!p->tensors || !p->offsets) {
		param_layout_release(p);
		return err_run(e, "out of memory for the list of %zu tensors", n_tensors);
	}
	for (size_t i = 0; i < n_offsets; i++)
		p->offsets[i] = SIZE_MAX;
	place(p, &(struct recipe){PARAM_EMBED, true, C, {{"model.embed_tokens.weight", V}}}, -1);
	for (int l = 0; l < a->shape.L; l++)
		place_layer(p, l);
	place(p, &(struct recipe){PARAM_FINAL_NORM, true, 0, {{"model.norm.weight", C}}}, -1);
	place(p, &(struct recipe){PARAM_HEAD, !a->tied, C, {{"lm_head.weight", V}}}, -1);
	p->n_elems = align_up(p->n_elems);
	qsort(p->tensors, (size_t)p->n_tensors, sizeof *p->tensors, compare_state_dict);
	return 0;
}

void param_layout_release(struct param_layout *p)
{
	free(p->tensors);
	free(p->offsets);
	*p = (struct param_layout){0};
}

static size_t offset_of(const struct param_layout *layout, const size_t *offsets, enum param_kind kind, int layer)
{
	BUG_ON(layer < -1 || layer >= layout->arch.shape.L);
	return offsets[(size_t)(layer + 1) * PARAM_KINDS + kind];
}

static enum param_kind stored_kind(const struct param_layout *layout, enum param_kind kind)
{
	return kind == PARAM_HEAD && layout->arch.tied ? PARAM_EMBED : kind;
}

const void *params_matrix(const struct params *p, enum param_kind kind, int layer)
{
	BUG_ON(!param_is_matrix(kind));
	size_t at = offset_of(p->layout, p->layout->offsets, stored_kind(p->layout, kind), layer);
	return at == SIZE_MAX ? NULL : (const char *)p->copy + at * dtype_size(p->type);
}

const float *params_vector(const struct params *p, enum param_kind kind, int layer)
{
	BUG_ON(param_is_matrix(kind));
	const size_t *offsets = p->vector_offsets ? p->vector_offsets : p->layout->offsets;
	size_t at = offset_of(p->layout, offsets, kind, layer);
	return at == SIZE_MAX ? NULL : p->vectors + at;
}

float *params_in(const struct param_layout *layout, float *flat, enum param_kind kind, int layer)
{
	size_t at = offset_of(layout, layout->offsets, stored_kind(layout, kind), layer);
	return at == SIZE_MAX ? NULL : flat + at;
}

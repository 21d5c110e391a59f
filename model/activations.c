/* The memory of a forward and backward pass, laid out once. Test: tests/test_transformer.c */
#include "model/activations.h"

#include <stdlib.h>

struct sizes {
	size_t N, C, Q, H, F, act; /* H = NH*HD; act: bytes of an activation */
};

static struct sizes sizes_of(const struct ops *ops, const struct shape *s, int n_rows)
{
	return (struct sizes){
		.N = (size_t)n_rows, .C = (size_t)s->C, .Q = (size_t)((s->NH + 2 * s->NKV) * s->HD),
		.H = (size_t)(s->NH * s->HD), .F = (size_t)s->F, .act = dtype_size(ops->act),
	};
}

static void *rows(struct arena *arena, const struct sizes *z, size_t width)
{
	return arena_alloc(arena, z->N * width * z->act);
}

static float *rows_f32(struct arena *arena, const struct sizes *z, size_t width)
{
	return arena_alloc(arena, z->N * width * sizeof(float));
}

/* One layer's buffers; x is the residual stream where it is not kept per layer, y the blocks' shared output or NULL. */
static void place_layer(struct layer_activations *l, struct arena *arena, const struct sizes *z, const struct arch *a,
			void *x, void *y)
{
	size_t NH = (size_t)a->shape.NH, NKV = (size_t)a->shape.NKV;
	l->attn_in = x ? x : rows(arena, z, z->C);
	l->attn_h = rows(arena, z, z->C);
	l->attn_rstd = rows_f32(arena, z, 1);
	l->qkv = rows(arena, z, z->Q);
	l->qkv_raw = a->qk_norm ? rows(arena, z, z->Q) : l->qkv;
	l->qk_rstd = a->qk_norm ? rows_f32(arena, z, NH + NKV) : NULL;
	l->context = rows(arena, z, z->H);
	l->lse = rows_f32(arena, z, NH);
	l->attn_y = y ? y : rows(arena, z, z->C);
	l->ffn_in = x ? x : rows(arena, z, z->C);
	l->ffn_h = x ? l->attn_h : rows(arena, z, z->C);
	l->ffn_rstd = x ? l->attn_rstd : rows_f32(arena, z, 1);
	l->gate_up = rows(arena, z, 2 * z->F);
	l->gated = rows(arena, z, z->F);
	l->ffn_y = y ? y : rows(arena, z, z->C);
}

static void place_infer(struct activations *acts, struct arena *arena, const struct sizes *z)
{
	void *x = rows(arena, z, z->C), *y = rows(arena, z, z->C);
	place_layer(&acts->layers[0], arena, z, &acts->arch, x, y);
	for (int l = 1; l < acts->arch.shape.L; l++)
		acts->layers[l] = acts->layers[0];
	acts->final_in = x;
	acts->final_h = acts->layers[0].attn_h;
	acts->final_rstd = acts->layers[0].attn_rstd;
}

static void place_train(struct activations *acts, struct ops *ops, struct arena *arena, const struct sizes *z, int B)
{
	const struct shape *s = &acts->arch.shape;
	bool masked = acts->mode == ACTIVATIONS_MASKED;
	void *y = masked ? NULL : rows(arena, z, z->C);
	for (int l = 0; l < s->L; l++)
		place_layer(&acts->layers[l], arena, z, &acts->arch, NULL, y);
	acts->final_in = rows(arena, z, z->C);
	acts->final_h = rows(arena, z, z->C);
	acts->final_rstd = rows_f32(arena, z, 1);
	acts->dx = rows(arena, z, z->C);
	acts->dh = rows(arena, z, z->C);
	acts->dy = masked ? rows(arena, z, z->C) : NULL;
	acts->dqkv = rows(arena, z, z->Q);
	acts->dcontext = rows(arena, z, z->H);
	acts->dgated = rows(arena, z, z->F);
	acts->attention_scratch_bytes = ops->attention_scratch(ops, B, acts->T, s->NH, s->NKV, s->HD);
	acts->attention_scratch = arena_alloc(arena, acts->attention_scratch_bytes);
}

/* The struct, and the rotary tables for T positions. */
static int init(struct activations **out, const struct arch *arch, int n_rows, int T, enum activation_mode mode, struct arena *device,
		struct err *e)
{
	size_t n_table = (size_t)T * (size_t)(arch->shape.HD / 2);
	struct activations *acts = calloc(1, sizeof *acts);
	BUG_ON(n_rows < 1 || T < 1);
	*out = NULL;
	if (acts) {
		acts->layers = calloc((size_t)arch->shape.L, sizeof *acts->layers);
		acts->host_tables = malloc(2 * n_table * sizeof(float));
	}
	if (!acts || !acts->layers || !acts->host_tables) {
		activations_free(acts);
		return err_run(e, "out of memory for the list of activations (%d layers, %d positions)", arch->shape.L, T);
	}
	acts->arch = *arch;
	acts->n_rows = n_rows;
	acts->T = T;
	acts->mode = mode;
	acts->cos = arena_alloc(device, n_table * sizeof(float));
	acts->sin = arena_alloc(device, n_table * sizeof(float));
	*out = acts;
	return 0;
}

int activations_init(struct activations **out, struct ops *ops, const struct arch *arch, int B, int T,
		     enum activation_mode mode, struct arena *device, struct err *e)
{
	struct sizes z = sizes_of(ops, &arch->shape, B * T);
	if (init(out, arch, B * T, T, mode, device, e) < 0)
		return -1;
	if (mode == ACTIVATIONS_INFER)
		place_infer(*out, device, &z);
	else
		place_train(*out, ops, device, &z, B);
	return 0;
}

int activations_init_decode(struct activations **out, struct ops *ops, const struct arch *arch, int n_rows, int positions,
			    struct arena *device, struct err *e)
{
	struct sizes z = sizes_of(ops, &arch->shape, n_rows);
	if (init(out, arch, n_rows, positions, ACTIVATIONS_INFER, device, e) < 0)
		return -1;
	place_infer(*out, device, &z);
	return 0;
}

void activations_free(struct activations *acts)
{
	if (!acts)
		return;
	free(acts->layers);
	free(acts->host_tables);
	free(acts);
}

void activations_upload_tables(struct activations *acts, struct ops *ops, const struct arch *arch)
{
	size_t n = (size_t)acts->T * (size_t)(arch->shape.HD / 2);
	arch_rope_tables(arch, acts->T, acts->host_tables, acts->host_tables + n);
	ops->upload(ops, acts->cos, acts->host_tables, n * sizeof(float));
	ops->upload(ops, acts->sin, acts->host_tables + n, n * sizeof(float));
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

struct ops_limits transformer_limits(const struct arch *a, int N, int head_rows)
{
	const struct shape *s = &a->shape;
	size_t C = (size_t)s->C, V = (size_t)s->V, Q = (size_t)((s->NH + 2 * s->NKV) * s->HD);
	size_t H = (size_t)(s->NH * s->HD), F2 = 2 * (size_t)s->F;
	size_t width = larger(larger(C, F2), larger(Q, H));
	size_t weights = larger(larger(Q, F2), larger(H, V)) * C;
	size_t values = larger((size_t)N * width, (size_t)head_rows * larger(V, C));
	return (struct ops_limits){.max_operand_elems = larger(weights, values), .max_columns = (int)width};
}

/* Small models of every family with weights in which nothing is trivial, masks, and their logits with and without: what
 * tests of cuts share. */
#ifndef TESTS_CUT_WORLD_H
#define TESTS_CUT_WORLD_H

#include "tests/device.h"

#include "base/rng.h"
#include "model/transformer.h"
#include "prune/cut.h"
#include "prune/target.h"

#define CUT_NMSE 1e-10
#define CUT_WORST 1e-4

enum { B = 2, T = 13, N = B * T, V = 11 };

static const struct shape source_shape = {.L = 3, .C = 24, .F = 20, .NH = 6, .NKV = 2, .HD = 4, .V = V};

struct variant {
	const char *name, *family;
	bool tied, qkv_bias, o_bias, mlp_bias, qk_norm;
	int window;
};
static const struct variant variants[] = {
	{.name = "llama tied", .family = "llama", .tied = true},
	{.name = "llama untied", .family = "llama"},
	{.name = "llama biases", .family = "llama", .qkv_bias = true, .o_bias = true, .mlp_bias = true},
	{.name = "llama biases tied", .family = "llama", .tied = true, .qkv_bias = true, .o_bias = true, .mlp_bias = true},
	{.name = "mistral", .family = "mistral", .window = 5},
	{.name = "mistral tied", .family = "mistral", .window = 5, .tied = true},
	{.name = "qwen2", .family = "qwen2", .qkv_bias = true},
	{.name = "qwen2 tied", .family = "qwen2", .qkv_bias = true, .tied = true},
	{.name = "qwen3", .family = "qwen3", .qk_norm = true},
	{.name = "qwen3 tied", .family = "qwen3", .qk_norm = true, .tied = true},
};
enum { N_VARIANTS = sizeof variants / sizeof *variants };

static inline struct arch arch_of(const struct variant *v)
{
	return (struct arch){.family = v->family, .shape = source_shape, .max_positions = 32, .window = v->window,
			     .norm_eps = 1e-5f, .init_std = 0.02f, .tied = v->tied, .qkv_bias = v->qkv_bias,
			     .o_bias = v->o_bias, .mlp_bias = v->mlp_bias, .qk_norm = v->qk_norm, .rope_theta = 1e4};
}

/* Weights with nothing trivial in them: norms around 1, biases and matrices N(0, 0.3). */
static inline float *random_weights(const struct param_layout *layout)
{
	float *flat = calloc(layout->n_elems, sizeof *flat);
	assert_non_null(flat);
	for (int i = 0; i < layout->n_tensors; i++) {
		const struct hf_tensor *t = &layout->tensors[i];
		bool norm = !t->cols && t->kind != PARAM_QKV_BIAS && t->kind != PARAM_O_BIAS &&
			    t->kind != PARAM_GATE_UP_BIAS && t->kind != PARAM_DOWN_BIAS;
		for (size_t k = t->offset; k < t->offset + t->rows * (t->cols ? t->cols : 1); k++)
			flat[k] = (norm ? 1 : 0) + 0.3f * rng_normal(3, RNG_TEST, 0, k);
	}
	return flat;
}

static const struct target cut_targets[] = {
	{.hidden = 12},
	{.layers = 2},
	{.heads = 4},
	{.heads = 3, .kv_heads = 1},
	{.heads = 2, .kv_heads = 1},
	{.intermediate = 7},
	{.layers = 2, .hidden = 16, .heads = 4, .intermediate = 13},
	{.layers = 1, .hidden = 12, .heads = 2, .kv_heads = 1, .intermediate = 5},
};
enum { N_CUT_TARGETS = sizeof cut_targets / sizeof *cut_targets };

/* ---- masks with the right counts ---- */

struct soft_masks {
	float hidden[24], layers[3], heads[18], ffn[60];
	struct host_masks z;
};

/* n_kept of n soft values in (0.2, 1), the rest 0, at random places. */
static inline void random_row(float *z, int n, int n_kept, uint64_t seed)
{
	uint32_t order[32];
	rng_permutation(seed, RNG_TEST, 1, (uint32_t)n, order);
	for (int i = 0; i < n; i++)
		z[order[i]] = i < n_kept ? 0.2f + 0.8f * rng_uniform(seed, RNG_TEST, 2, (uint64_t)i) : 0;
}

static inline void random_heads(float *z, const struct shape *s, const struct shape *t, uint64_t seed)
{
	float groups[8];
	int size = s->NH / s->NKV;
	random_row(groups, s->NKV, t->NKV, seed);
	for (int g = 0; g < s->NKV; g++) {
		random_row(z + g * size, size, t->NH / t->NKV, seed + 7 + (uint64_t)g);
		for (int i = 0; i < size; i++)
			z[g * size + i] *= groups[g];
	}
}

static inline void random_masks(struct soft_masks *m, const struct shape *s, const struct shape *t, uint64_t seed)
{
	m->z = (struct host_masks){0};
	random_row(m->hidden, s->C, t->C, seed);
	random_row(m->layers, s->L, t->L, seed + 1);
	for (int l = 0; l < s->L; l++) {
		random_heads(m->heads + l * s->NH, s, t, seed + 100 + 10 * (uint64_t)l);
		random_row(m->ffn + l * s->F, s->F, t->F, seed + 200 + (uint64_t)l);
	}
	m->z.hidden = t->C < s->C ? m->hidden : NULL;
	m->z.layers = t->L < s->L ? m->layers : NULL;
	m->z.heads = t->NH < s->NH ? m->heads : NULL;
	m->z.ffn = t->F < s->F ? m->ffn : NULL;
}

/* ---- logits ---- */

struct bench {
	struct ops *ops;
	int32_t *tokens, *pos, *start;
};

static inline struct bench bench_open(void)
{
	struct arch a = arch_of(&variants[0]);
	struct ops_limits limits = transformer_limits(&a, N, N);
	struct bench b = {.ops = test_ops(1, false, &limits)};
	int32_t tokens[N], pos[N], start[N] = {0};
	for (int i = 0; i < N; i++) {
		tokens[i] = i * 7 % V;
		pos[i] = i % T;
	}
	b.tokens = test_device(b.ops, tokens, sizeof tokens);
	b.pos = test_device(b.ops, pos, sizeof pos);
	b.start = test_device(b.ops, start, sizeof start);
	return b;
}

static inline void bench_close(struct bench *b)
{
	b->ops->release(b->ops, b->tokens);
	b->ops->release(b->ops, b->pos);
	b->ops->release(b->ops, b->start);
	ops_cpu_close(b->ops);
}

/* (N, V), head product in double. */
static inline void logits_of(const struct bench *b, const struct param_layout *layout, float *flat, const struct host_masks *z,
		      float *out)
{
	struct ops *ops = b->ops;
	const struct arch *a = &layout->arch;
	const struct params params = {.layout = layout, .master = flat, .copy = flat, .vectors = flat};
	const struct batch batch = {.B = B, .T = T, .tokens = b->tokens, .pos = b->pos, .start = b->start};
	const struct masks masks = z ? (struct masks){z->hidden, z->layers, z->layers, z->heads, z->ffn} : (struct masks){0};
	const float *head = params_in(layout, flat, PARAM_HEAD, -1);
	struct arena arena = arena_dry();
	struct activations *act;
	struct err e;
	assert_ok(activations_init(&act, ops, a, B, T, ACTIVATIONS_INFER, &arena, &e), &e);
	activations_free(act);
	test_arena_back(ops, &arena);
	assert_ok(activations_init(&act, ops, a, B, T, ACTIVATIONS_INFER, &arena, &e), &e);
	activations_upload_tables(act, ops, a);
	const float *h = transformer_forward(ops, &params, act, &batch, z ? &masks : NULL, NULL);
	for (size_t n = 0; n < N; n++)
		for (size_t v = 0; v < V; v++) {
			double sum = 0;
			for (size_t c = 0; c < (size_t)a->shape.C; c++)
				sum += (double)h[n * (size_t)a->shape.C + c] * (double)head[v * (size_t)a->shape.C + c];
			out[n * V + v] = (float)sum;
		}
	activations_free(act);
	ops->release(ops, arena.base);
}

#endif

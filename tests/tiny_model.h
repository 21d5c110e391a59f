/* A golden model on the CPU backend, with a host head in double precision: forward, cross-entropy, every gradient. */
#ifndef TESTS_TINY_MODEL_H
#define TESTS_TINY_MODEL_H

#include "tests/device.h"

#include "base/rng.h"
#include "model/hf.h"
#include "model/transformer.h"

static const char *const tiny_names[] = {"llama_tied", "llama_rope3", "llama_bias", "mistral_window", "qwen2", "qwen3"};
enum { TINY_MODELS = sizeof tiny_names / sizeof *tiny_names, TINY_B = 2, TINY_T = 13, TINY_N = TINY_B * TINY_T };

struct tiny {
	struct ops *ops;
	struct hf_model hf;
	const struct shape *shape;
	struct safetensors *golden;
	size_t n_elems;
	float *host; /* weights */
	float *weights, *grads; /* device */
	struct params params;
	struct arena arena;
	struct activations *acts;
	int32_t *tokens, *pos, *start; /* device, (TINY_N) */
	struct batch batch;
};

static inline int32_t tiny_id(const struct tiny *t, int i)
{
	return ((const int32_t *)safetensors_find(t->golden, "ids")->data)[i];
}

/* Rows i of the batch: golden ids from `first` on, documents that start where `starts` says (NULL: one per sequence). */
static inline void tiny_batch(struct tiny *t, int B, int T, int first, const int *starts)
{
	int32_t tokens[TINY_N], pos[TINY_N], start[TINY_N];
	assert_true(B * T <= TINY_N);
	for (int i = 0; i < B * T; i++) {
		tokens[i] = tiny_id(t, first + i);
		start[i] = starts ? starts[i % T] : 0;
		pos[i] = i % T - start[i];
	}
	t->ops->upload(t->ops, t->tokens, tokens, (size_t)(B * T) * sizeof *tokens);
	t->ops->upload(t->ops, t->pos, pos, (size_t)(B * T) * sizeof *pos);
	t->ops->upload(t->ops, t->start, start, (size_t)(B * T) * sizeof *start);
	t->batch = (struct batch){.B = B, .T = T, .tokens = t->tokens, .pos = t->pos, .start = t->start};
}

static inline void tiny_open(struct tiny *t, const char *name, enum activation_mode mode, int n_threads)
{
	struct err e;
	char path[200];
	*t = (struct tiny){0};
	snprintf(path, sizeof path, "tests/golden/models/%s", name);
	assert_ok(hf_open(&t->hf, test_source(path).text, &e), &e);
	snprintf(path, sizeof path, "tests/golden/models/%s/golden.safetensors", name);
	assert_ok(safetensors_open(&t->golden, test_source(path).text, &e), &e);
	const struct arch *arch = &t->hf.layout.arch;
	struct ops_limits limits = transformer_limits(arch, TINY_N, TINY_N);
	t->ops = test_ops(n_threads, false, &limits);
	t->shape = &arch->shape;
	t->n_elems = t->hf.layout.n_elems;
	t->host = malloc(t->n_elems * sizeof *t->host);
	hf_read_f32(&t->hf, t->host);
	t->weights = test_device(t->ops, t->host, t->n_elems * sizeof(float));
	t->grads = test_device(t->ops, NULL, t->n_elems * sizeof(float));
	t->params = (struct params){.layout = &t->hf.layout, .type = DTYPE_F32, .master = t->weights, .copy = t->weights,
				    .vectors = t->weights};
	t->arena = arena_dry();
	assert_ok(activations_init(&t->acts, t->ops, arch, TINY_B, TINY_T, mode, &t->arena, &e), &e);
	activations_free(t->acts);
	test_arena_back(t->ops, &t->arena);
	assert_ok(activations_init(&t->acts, t->ops, arch, TINY_B, TINY_T, mode, &t->arena, &e), &e);
	assert_int_equal(t->arena.used, t->arena.capacity);
	activations_upload_tables(t->acts, t->ops, arch);
	t->tokens = test_device(t->ops, NULL, TINY_N * sizeof(int32_t));
	t->pos = test_device(t->ops, NULL, TINY_N * sizeof(int32_t));
	t->start = test_device(t->ops, NULL, TINY_N * sizeof(int32_t));
	tiny_batch(t, TINY_B, TINY_T, 0, NULL);
}

static inline void tiny_close(struct tiny *t)
{
	void *owned[] = {t->weights, t->grads, t->arena.base, t->tokens, t->pos, t->start};
	for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
		t->ops->release(t->ops, owned[i]);
	activations_free(t->acts);
	ops_cpu_close(t->ops);
	safetensors_close(t->golden);
	hf_close(&t->hf);
	free(t->host);
}

static inline size_t tiny_rows(const struct tiny *t)
{
	return (size_t)(t->batch.B * t->batch.T);
}

/* The final norm's output on the host, the caller's. */
static inline float *tiny_forward(struct tiny *t, const struct masks *masks, const struct taps *taps)
{
	size_t n_bytes = tiny_rows(t) * (size_t)t->shape->C * sizeof(float);
	float *final = malloc(n_bytes);
	t->ops->download(t->ops, final, transformer_forward(t->ops, &t->params, t->acts, &t->batch, masks, taps), n_bytes);
	return final;
}

/* (N, V) the caller's. */
static inline double *tiny_logits(const struct tiny *t, const float *final)
{
	size_t C = (size_t)t->shape->C, V = (size_t)t->shape->V, N = tiny_rows(t);
	const float *head = params_in(&t->hf.layout, t->host, PARAM_HEAD, -1);
	double *logits = calloc(N * V, sizeof *logits);
	for (size_t n = 0; n < N; n++)
		for (size_t v = 0; v < V; v++)
			for (size_t c = 0; c < C; c++)
				logits[n * V + v] += (double)final[n * C + c] * (double)head[v * C + c];
	return logits;
}

/* The row predicts the next one, unless that is of another document or sequence. */
static inline bool tiny_counts(const struct tiny *t, size_t n)
{
	int32_t at[2];
	if ((n + 1) % (size_t)t->batch.T == 0)
		return false;
	t->ops->download(t->ops, at, t->start + n, sizeof at);
	return at[0] == at[1];
}

/* Sum of the cross-entropies over `divisor`; logits become their gradient. */
static inline double tiny_loss(const struct tiny *t, double *logits, double divisor)
{
	size_t V = (size_t)t->shape->V, N = tiny_rows(t);
	double loss = 0;
	for (size_t n = 0; n < N; n++) {
		double *row = logits + n * V, max = row[0], sum = 0;
		int32_t target = -1;
		if (tiny_counts(t, n))
			t->ops->download(t->ops, &target, t->tokens + n + 1, sizeof target);
		for (size_t v = 0; v < V; v++)
			max = row[v] > max ? row[v] : max;
		for (size_t v = 0; v < V; v++)
			sum += exp(row[v] - max);
		loss += target < 0 ? 0 : max + log(sum) - row[target];
		for (size_t v = 0; v < V; v++)
			row[v] = target < 0 ? 0 : (exp(row[v] - max) / sum - ((size_t)target == v)) / divisor;
	}
	return loss / divisor;
}

/* Forward and loss alone. */
static inline double tiny_loss_only(struct tiny *t, const struct masks *masks, double divisor)
{
	float *final = tiny_forward(t, masks, NULL);
	double *logits = tiny_logits(t, final), loss = tiny_loss(t, logits, divisor);
	free(final);
	free(logits);
	return loss;
}

/* Forward, backward; adds to the gradients (device), head included. Returns the loss. */
static inline double tiny_step(struct tiny *t, const struct masks *masks, const struct mask_grads *mask_grads,
			       const struct taps *taps, double divisor)
{
	size_t C = (size_t)t->shape->C, V = (size_t)t->shape->V, N = tiny_rows(t);
	float *final = tiny_forward(t, masks, taps), *dfinal = malloc(N * C * sizeof *dfinal);
	float *grads = malloc(t->n_elems * sizeof *grads);
	double *dlogits = tiny_logits(t, final), loss = tiny_loss(t, dlogits, divisor);
	const float *head = params_in(&t->hf.layout, t->host, PARAM_HEAD, -1);
	for (size_t n = 0; n < N; n++)
		for (size_t c = 0; c < C; c++) {
			double d = 0;
			for (size_t v = 0; v < V; v++)
				d += dlogits[n * V + v] * (double)head[v * C + c];
			dfinal[n * C + c] = (float)d;
		}
	float *device = test_device(t->ops, dfinal, N * C * sizeof *dfinal);
	transformer_backward(t->ops, &t->params, t->acts, &t->batch, masks, taps, device, t->grads, mask_grads);
	t->ops->download(t->ops, grads, t->grads, t->n_elems * sizeof *grads);
	float *dhead = params_in(&t->hf.layout, grads, PARAM_HEAD, -1);
	for (size_t v = 0; v < V; v++)
		for (size_t c = 0; c < C; c++) {
			double d = 0;
			for (size_t n = 0; n < N; n++)
				d += dlogits[n * V + v] * (double)final[n * C + c];
			dhead[v * C + c] += (float)d;
		}
	t->ops->upload(t->ops, t->grads, grads, t->n_elems * sizeof *grads);
	t->ops->release(t->ops, device);
	free(final);
	free(dfinal);
	free(grads);
	free(dlogits);
	return loss;
}

/* The flat gradients on the host, the caller's. */
static inline float *tiny_grads(const struct tiny *t)
{
	float *grads = malloc(t->n_elems * sizeof *grads);
	t->ops->download(t->ops, grads, t->grads, t->n_elems * sizeof *grads);
	return grads;
}

/* Moves every weight by scale * N(0,1) of the given seed from where the file has it (padding stays 0). */
static inline void tiny_move(struct tiny *t, uint64_t seed, float scale)
{
	hf_read_f32(&t->hf, t->host);
	for (int i = 0; i < t->hf.layout.n_tensors; i++) {
		const struct hf_tensor *h = &t->hf.layout.tensors[i];
		for (size_t j = h->offset; j < h->offset + h->rows * (h->cols ? h->cols : 1); j++)
			t->host[j] += scale * rng_normal(seed, RNG_TEST, 0, j);
	}
	t->ops->upload(t->ops, t->weights, t->host, t->n_elems * sizeof(float));
}

/* The derivative along that direction that the gradients promise. */
static inline double tiny_along(const struct tiny *t, uint64_t seed)
{
	float *grads = tiny_grads(t);
	double sum = 0;
	for (int i = 0; i < t->hf.layout.n_tensors; i++) {
		const struct hf_tensor *h = &t->hf.layout.tensors[i];
		for (size_t j = h->offset; j < h->offset + h->rows * (h->cols ? h->cols : 1); j++)
			sum += (double)grads[j] * (double)rng_normal(seed, RNG_TEST, 0, j);
	}
	free(grads);
	return sum;
}

/* Fourth-order central difference from f(-2h), f(-h), f(h), f(2h). */
static inline double tiny_difference(const double f[4], double h)
{
	return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
}

#endif

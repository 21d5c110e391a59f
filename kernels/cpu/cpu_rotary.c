/* Per-head RMS norm of queries and keys (Qwen3) and rotary embedding in the half-split layout. */
#include "kernels/cpu/cpu.h"

#include <math.h>

static void rotate(float *dst, const float *src, const float *cos_row, const float *sin_row, int half)
{
#pragma omp simd
	for (int i = 0; i < half; i++) {
		float a = src[i], b = src[i + half];
		dst[i] = a * cos_row[i] - b * sin_row[i];
		dst[i + half] = b * cos_row[i] + a * sin_row[i];
	}
}

/* The transpose of rotate, in place. */
static void rotate_back(float *x, const float *cos_row, const float *sin_row, int half)
{
#pragma omp simd
	for (int i = 0; i < half; i++) {
		float a = x[i], b = x[i + half];
		x[i] = a * cos_row[i] + b * sin_row[i];
		x[i + half] = b * cos_row[i] - a * sin_row[i];
	}
}

/* dst = w x rstd; returns rstd. */
static float norm_head(float *dst, const float *x, const float *w, int HD, float eps)
{
	float squares = 0;
#pragma omp simd reduction(+ : squares)
	for (int i = 0; i < HD; i++)
		squares += x[i] * x[i];
	float rstd = 1.0f / sqrtf(squares / (float)HD + eps);
#pragma omp simd
	for (int i = 0; i < HD; i++)
		dst[i] = w[i] * x[i] * rstd;
	return rstd;
}

/* g: gradient of norm_head's dst in, of x out. dw += g x rstd. */
static void norm_head_backward(float *g, const float *x, const float *w, float *dw, int HD, float rstd)
{
	float dot = 0;
#pragma omp simd reduction(+ : dot)
	for (int i = 0; i < HD; i++) {
		float t = g[i] * x[i];
		dw[i] += t * rstd;
		dot += t * w[i];
	}
	float pull = dot * rstd * rstd * rstd / (float)HD;
#pragma omp simd
	for (int i = 0; i < HD; i++)
		g[i] = g[i] * w[i] * rstd - x[i] * pull;
}

static void forward_row(const struct qk_forward *a, int n)
{
	int half = a->HD / 2, heads = a->NH + a->NKV, Q = (heads + a->NKV) * a->HD;
	const float *src = (const float *)a->src + (size_t)n * (size_t)Q;
	float *dst = (float *)a->dst + (size_t)n * (size_t)Q;
	const float *cos_row = a->cos + (size_t)a->pos[n] * (size_t)half, *sin_row = a->sin + (size_t)a->pos[n] * (size_t)half;
	for (int h = 0; h < heads; h++) {
		const float *x = src + h * a->HD;
		float *y = dst + h * a->HD;
		if (a->q_norm) {
			const float *w = h < a->NH ? a->q_norm : a->k_norm;
			a->rstd[(size_t)n * (size_t)heads + (size_t)h] = norm_head(y, x, w, a->HD, a->eps);
			x = y;
		}
		rotate(y, x, cos_row, sin_row, half);
	}
	if (dst != src)
		memcpy(dst + heads * a->HD, src + heads * a->HD, (size_t)(a->NKV * a->HD) * sizeof *dst);
}

void cpu_qk_forward(struct ops *o, const struct qk_forward *a)
{
	BUG_ON(a->HD % 2 || (a->q_norm && a->src == a->dst));
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
	for (int n = 0; n < a->N; n++)
		forward_row(a, n);
}

/* dw (2, HD): partial sums for q_norm, then k_norm; NULL without norms. */
static void backward_row(const struct qk_backward *a, int n, float *dw)
{
	int half = a->HD / 2, heads = a->NH + a->NKV, Q = (heads + a->NKV) * a->HD;
	float *d = (float *)a->dqkv + (size_t)n * (size_t)Q;
	const float *cos_row = a->cos + (size_t)a->pos[n] * (size_t)half, *sin_row = a->sin + (size_t)a->pos[n] * (size_t)half;
	for (int h = 0; h < heads; h++) {
		float *g = d + h * a->HD;
		rotate_back(g, cos_row, sin_row, half);
		if (!dw)
			continue;
		const float *x = (const float *)a->src + (size_t)n * (size_t)Q + h * a->HD;
		bool query = h < a->NH;
		norm_head_backward(g, x, query ? a->q_norm : a->k_norm, query ? dw : dw + a->HD, a->HD,
				   a->rstd[(size_t)n * (size_t)heads + (size_t)h]);
	}
}

void cpu_qk_backward(struct ops *o, const struct qk_backward *a)
{
	struct cpu *c = cpu_of(o);
#pragma omp parallel for schedule(static, 1) num_threads(o->n_threads)
	for (int s = 0; s < o->n_threads; s++) {
		float *dw = a->q_norm ? cpu_partial(c, s, 2 * a->HD) : NULL;
		for (int n = cpu_slot(a->N, o->n_threads, s); n < cpu_slot(a->N, o->n_threads, s + 1); n++)
			backward_row(a, n, dw);
	}
	if (!a->q_norm)
		return;
	const float *dw = cpu_partial_sum(c, 2 * a->HD);
	for (int i = 0; i < a->HD; i++) {
		if (a->dq_norm)
			a->dq_norm[i] += dw[i];
		if (a->dk_norm)
			a->dk_norm[i] += dw[a->HD + i];
	}
}

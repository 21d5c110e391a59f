/* Cross-entropy and forward KL over a row of logits, gradient in place.
 * Three sweeps: maxima (from memory), sums, gradient (both from cache: a row of 32000 is 128 kB). exp is computed twice,
 * which costs less than writing it. Sums run in fp32 over 512 columns and in double across them. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpu_math.h"

#include <math.h>

enum { BLOCK = 512, LANES = 32 };

struct row {
	const float *s, *t; /* t NULL: no KL in this row */
	int V, next;        /* next: floats to the next row, 0 in the last */
	float ce_weight, kd_weight, inv_tau;
	float max_s, max_t;
	double z1, zs, zt; /* sums of exp: s at temperature 1, s and t at tau */
	double mean;       /* sum_v exp(t/tau) ((t - max_t) - (s - max_s))/tau */
};

static float block_max(const float *x, int n)
{
	float best[LANES], m = -INFINITY;
	for (int l = 0; l < LANES; l++)
		best[l] = -INFINITY;
	int i = 0;
	for (; i + LANES <= n; i += LANES)
		for (int l = 0; l < LANES; l++)
			best[l] = x[i + l] > best[l] ? x[i + l] : best[l];
	for (; i < n; i++)
		m = x[i] > m ? x[i] : m;
	for (int l = 0; l < LANES; l++)
		m = best[l] > m ? best[l] : m;
	return m;
}

/* Largest logit and its lowest index. NaNs are passed over here and surface in the sums. */
static float row_max(const float *x, int V, int32_t *index)
{
	float best = -INFINITY;
	int best_block = 0;
	for (int at = 0; at < V; at += BLOCK) {
		float m = block_max(x + at, V - at < BLOCK ? V - at : BLOCK);
		if (m > best) {
			best = m;
			best_block = at;
		}
	}
	if (index) {
		int i = best_block, end = V - i < BLOCK ? V : i + BLOCK;
		while (i < end - 1 && !(x[i] == best))
			i++;
		*index = x[i] == best ? i : 0;
	}
	return best;
}

static float sum_exp(const float *x, int n, float max, float inv_tau)
{
	float sum = 0;
#pragma omp simd reduction(+ : sum)
	for (int i = 0; i < n; i++)
		sum += cpu_exp_low((x[i] - max) * inv_tau);
	return sum;
}

/* Adds to r->zt and r->mean. A class that the teacher gives 0 adds 0 whatever the student says. */
static void sum_teacher(struct row *r, const float *s, const float *t, int n)
{
	float sum = 0, mean = 0, max_s = r->max_s, max_t = r->max_t, inv_tau = r->inv_tau;
#pragma omp simd reduction(+ : sum, mean)
	for (int i = 0; i < n; i++) {
		float a = (t[i] - max_t) * inv_tau, e = cpu_exp_low(a);
		float d = e * (a - (s[i] - max_s) * inv_tau);
		sum += e;
		mean += e > 0.0f ? d : 0.0f;
	}
	r->zt += (double)sum;
	r->mean += (double)mean;
}

static void row_sums(struct row *r)
{
	for (int at = 0; at < r->V; at += BLOCK) {
		int n = r->V - at < BLOCK ? r->V - at : BLOCK;
		if (r->ce_weight != 0.0f || r->inv_tau == 1.0f)
			r->z1 += (double)sum_exp(r->s + at, n, r->max_s, 1.0f);
		if (!r->t)
			continue;
		sum_teacher(r, r->s + at, r->t + at, n);
		if (r->inv_tau != 1.0f)
			r->zs += (double)sum_exp(r->s + at, n, r->max_s, r->inv_tau);
	}
	if (r->inv_tau == 1.0f)
		r->zs = r->z1;
}

/* d(n) = coefficients times softmaxes of columns [at, at+n). */
static void grad_block(const struct row *r, float *d, int at, int n)
{
	const float *s = r->s + at, max_s = r->max_s, max_t = r->max_t, inv_tau = r->inv_tau;
	float kd = r->t ? r->kd_weight / inv_tau : 0.0f;
	bool shared = r->t && inv_tau == 1.0f;
	float c1 = r->ce_weight != 0.0f || shared ? (float)(((double)r->ce_weight + (shared ? (double)kd : 0.0)) / r->z1) : 0.0f;
#pragma omp simd
	for (int i = 0; i < n; i++)
		d[i] = c1 * cpu_exp_low(s[i] - max_s);
	if (!r->t)
		return;
	const float *t = r->t + at, ct = (float)((double)kd / r->zt);
#pragma omp simd
	for (int i = 0; i < n; i++)
		d[i] -= ct * cpu_exp_low((t[i] - max_t) * inv_tau);
	if (shared)
		return;
	float cs = (float)((double)kd / r->zs);
#pragma omp simd
	for (int i = 0; i < n; i++)
		d[i] += cs * cpu_exp_low((s[i] - max_s) * inv_tau);
}

/* Copies, because grad may lie over the logits and hold another type: memcpy keeps the compiler from reordering, and a
 * BF16 block ends before the next fp32 block begins. */
static void store_block(char *grad, enum dtype type, const float *d, int at, int n)
{
	uint16_t narrow[BLOCK];
	const void *from = d;
	if (type != DTYPE_F32) {
		cpu_narrow(narrow, type, d, (size_t)n);
		from = narrow;
	}
	memcpy(grad + (size_t)at * dtype_size(type), from, (size_t)n * dtype_size(type));
}

/* Asks for the same block of the next row: the gradient sweep computes and would leave memory idle. */
static void prefetch_block(const float *next, int n)
{
	for (int i = 0; i < n; i += 16)
		__builtin_prefetch(next + i, 0, 2);
}

static void row_grad(const struct row *r, char *grad, enum dtype type, int target)
{
	float d[BLOCK];
	for (int at = 0; at < r->V; at += BLOCK) {
		int n = r->V - at < BLOCK ? r->V - at : BLOCK;
		if (r->next)
			prefetch_block(r->s + r->next + at, n);
		if (r->next && r->t)
			prefetch_block(r->t + r->next + at, n);
		grad_block(r, d, at, n);
		if (r->ce_weight != 0.0f && target >= at && target < at + n)
			d[target - at] -= r->ce_weight;
		store_block(grad, type, d, at, n);
	}
}

/* Columns that carry no gradient: [from, ld), as far as the gradient's rows reach. */
static void clear_columns(const struct loss_rows *a, char *grad, int from)
{
	int end = a->ld < a->ld_grad ? a->ld : a->ld_grad;
	if (from < end)
		memset(grad + (size_t)from * dtype_size(a->grad_type), 0, (size_t)(end - from) * dtype_size(a->grad_type));
}

static void loss_values(const struct loss_rows *a, const struct row *r, int n)
{
	a->ce[n] = 0;
	if (r->ce_weight != 0.0f)
		a->ce[n] = (float)(log(r->z1) - ((double)r->s[a->target[n]] - (double)r->max_s));
	if (!a->divergence)
		return;
	a->divergence[n] = 0;
	if (r->t)
		a->divergence[n] = (float)((r->mean / r->zt - log(r->zt) + log(r->zs)) * (double)a->terms[0].tau * (double)a->terms[0].tau);
}

static void loss_row(const struct loss_rows *a, int n)
{
	size_t at = (size_t)n * (size_t)a->ld;
	const float *t = a->t ? a->t + at : NULL;
	float kd_weight = t ? a->kd_weight[n] * a->terms[0].weight : 0.0f;
	struct row r = {.s = a->s + at, .t = kd_weight != 0.0f ? t : NULL, .V = a->V,
			.next = n + 1 < a->n_rows ? a->ld : 0, .ce_weight = a->ce_weight[n], .kd_weight = kd_weight,
			.inv_tau = t ? 1.0f / a->terms[0].tau : 1.0f};
	char *grad = a->grad ? (char *)a->grad + (size_t)n * (size_t)a->ld_grad * dtype_size(a->grad_type) : NULL;
	bool idle = r.ce_weight == 0.0f && !r.t;
	if (!idle || (a->top1 && a->argmax_s))
		r.max_s = row_max(r.s, a->V, a->top1 && a->argmax_s ? a->argmax_s + n : NULL);
	if (r.t || (t && a->top1 && a->argmax_t))
		r.max_t = row_max(t, a->V, a->top1 && a->argmax_t ? a->argmax_t + n : NULL);
	if (!idle)
		row_sums(&r);
	loss_values(a, &r, n);
	if (!grad)
		return;
	if (!idle)
		row_grad(&r, grad, a->grad_type, a->target[n]);
	clear_columns(a, grad, idle ? 0 : a->V);
}

void cpu_loss_rows(struct ops *o, const struct loss_rows *a)
{
	BUG_ON(a->sparse || a->add || a->first || a->teacher_ce || a->n_terms > 1 || (a->n_terms && a->terms[0].kind != DIVERGENCE_FORWARD_KL));
	BUG_ON(a->grad && a->grad == a->s && (size_t)a->ld_grad * dtype_size(a->grad_type) != (size_t)a->ld * sizeof(float));
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
	for (int n = 0; n < a->n_rows; n++)
		loss_row(a, n);
}

/* Cross-entropy and the two KL divergences at one temperature: their values follow from four sums, so that one sweep gives
 * the values and a second one the gradient. exp is computed in both, which costs less than writing it. Tests:
 * tests/test_ops_loss.c, tests/test_ops_divergence.c */
#include "kernels/cpu/cpu_loss.h"
#include "kernels/cpu/cpu_math.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

static double sum_exp(const float *x, int n, float max, float inv_tau)
{
	float sum = 0;
#pragma omp simd reduction(+ : sum)
	for (int i = 0; i < n; i++)
		sum += cpu_exp_low((x[i] - max) * inv_tau);
	return (double)sum;
}

/* Both sums, and the means that are asked for. A class without mass adds 0 to a mean, whatever the other side says. */
ALWAYS_INLINE void sum_both(struct loss_temperature *h, const struct loss_block *k, bool forward, bool reverse)
{
	const float *s = k->s, *t = k->t, max_s = k->max_s, max_t = k->max_t, inv_tau = h->inv_tau;
	float zs = 0, zt = 0, mean_t = 0, mean_s = 0;
#pragma omp simd reduction(+ : zs, zt, mean_t, mean_s)
	for (int i = 0; i < k->n; i++) {
		float x = (s[i] - max_s) * inv_tau, y = (t[i] - max_t) * inv_tau, e_s = cpu_exp_low(x), e_t = cpu_exp_low(y);
		zs += e_s;
		zt += e_t;
		if (forward)
			mean_t += e_t > 0.0f ? e_t * (y - x) : 0.0f;
		if (reverse)
			mean_s += e_s > 0.0f ? e_s * (x - y) : 0.0f;
	}
	h->zs += (double)zs;
	h->zt += (double)zt;
	h->mean_t += (double)mean_t;
	h->mean_s += (double)mean_s;
}

void cpu_temperature_sums(struct loss_temperature *h, const struct loss_block *k)
{
	if (h->forward && h->reverse)
		sum_both(h, k, true, true);
	else if (h->forward)
		sum_both(h, k, true, false);
	else if (h->reverse)
		sum_both(h, k, false, true);
	else if (h->use_s && h->use_t)
		sum_both(h, k, false, false);
	else if (h->use_s)
		h->zs += sum_exp(k->s, k->n, k->max_s, h->inv_tau);
	else if (h->use_t)
		h->zt += sum_exp(k->t, k->n, k->max_t, h->inv_tau);
}

void cpu_temperature_finish(struct loss_temperature *h)
{
	h->log_zs = h->use_s ? log(h->zs) : 0;
	h->log_zt = h->use_t ? log(h->zt) : 0;
}

double cpu_temperature_forward(const struct loss_temperature *h)
{
	return h->mean_t / h->zt - h->log_zt + h->log_zs;
}

double cpu_temperature_reverse(const struct loss_temperature *h)
{
	return h->mean_s / h->zs - h->log_zs + h->log_zt;
}

void cpu_temperature_add_kl(struct loss_temperature *h, double weight, double f, double r)
{
	if (f != 0) {
		h->c_q += weight * f / h->zs;
		h->c_p += weight * f / h->zt;
	}
	if (r != 0) { /* q (log q - log p - KL(q,p)) */
		h->c_qd += weight * r / h->zs;
		h->c_q += weight * r * (h->log_zt - h->log_zs - cpu_temperature_reverse(h)) / h->zs;
	}
}

ALWAYS_INLINE void grad_of(const struct loss_temperature *h, const struct loss_block *k, const float *before, float *d,
			   bool ratio, bool p)
{
	const float *s = k->s, *t = k->t, max_s = k->max_s, max_t = k->max_t, inv_tau = h->inv_tau;
	float c_q = (float)h->c_q, c_qd = (float)h->c_qd, c_p = (float)h->c_p;
#pragma omp simd
	for (int i = 0; i < k->n; i++) {
		float x = (s[i] - max_s) * inv_tau, y = ratio || p ? (t[i] - max_t) * inv_tau : 0.0f, e = cpu_exp_low(x);
		float g = ratio ? e * (c_q + c_qd * (x - y)) : e * c_q;
		g = ratio && e == 0.0f ? 0.0f : g;
		g = p ? g - c_p * cpu_exp_low(y) : g;
		d[i] = before ? before[i] + g : g;
	}
}

ALWAYS_INLINE void grad_onto(const struct loss_temperature *h, const struct loss_block *k, const float *before, float *d)
{
	bool ratio = h->c_qd != 0, p = h->c_p != 0;
	if (ratio && p)
		grad_of(h, k, before, d, true, true);
	else if (ratio)
		grad_of(h, k, before, d, true, false);
	else if (p)
		grad_of(h, k, before, d, false, true);
	else
		grad_of(h, k, before, d, false, false);
}

void cpu_temperature_grad(const struct loss_temperature *h, const struct loss_block *k, const float *before, float *d)
{
	bool any = h->c_q != 0 || h->c_qd != 0 || h->c_p != 0;
	if (any && before)
		grad_onto(h, k, before, d);
	else if (any)
		grad_onto(h, k, NULL, d);
	else if (!before)
		memset(d, 0, (size_t)k->n * sizeof *d);
	else if (before != d)
		memcpy(d, before, (size_t)k->n * sizeof *d);
}

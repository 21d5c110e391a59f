/* Mixtures: JSD and the skewed KLs. m = b + c (o - b), b the distribution that weighs more, so that log(m/b) keeps its precision
 * when m is close to b. Test: tests/test_ops_divergence.c */
#include "kernels/cpu/cpu_scales.h"

/* p and q of a block, in a loop of their own where more follows: in one loop the chain from the exponentials to the result
 * is longer than the processor looks ahead (JSD: a fifth of its time). */
struct both {
	float p[LOSS_BLOCK], q[LOSS_BLOCK];
};
static void both_of(struct both *out, const struct scales *scales, const struct loss_block *k)
{
	const struct scales v = *scales;
	const float *s = k->s, *t = k->t;
#pragma omp simd
	for (int i = 0; i < k->n; i++) {
		out->p[i] = v.ct * cpu_exp_low(y_of(&v, t[i]));
		out->q[i] = v.cs * cpu_exp_low(x_of(&v, s[i]));
	}
}

struct mixed {
	float p, q;
	float near, far; /* log m/b, log o/m */
	float product;   /* p q / m */
};
/* Beside m, 1e-37 is nothing, or m is. Where b is nothing, m is c o. */
ALWAYS_INLINE struct mixed mixed_of(const struct scales *v, float p, float q, float s, float t, float c, float log_c, bool near_p)
{
	float x = x_of(v, s), y = y_of(v, t);
	float b = near_p ? p : q, o = near_p ? q : p, log_ratio = near_p ? x - y - v->shift : y - x + v->shift;
	float more = c * (o - b), inv_m = 1.0f / (b + more + 1e-37f), share = b * inv_m; /* b / m */
	float near = -cpu_log_near(share, -more * inv_m);
	float far = b > 1e-30f ? log_ratio - near : -log_c;
	return (struct mixed){.p = p, .q = q, .near = near, .far = o > 0.0f ? far : 0.0f, .product = o * share};
}

/* sums: KL(b,m), as sum of m - b - b log(m/b), terms >= 0; KL(o,m); sum of p q / m. */
ALWAYS_INLINE void mixture_sums_of(struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k,
				   bool near_p, bool product)
{
	const struct scales v = scales_of(h, k);
	const double w = term->form->w;
	const float c = (float)(near_p ? 1 - w : w), log_c = logf(c), *s = k->s, *t = k->t;
	float of_b = 0, of_o = 0, products = 0;
	struct both e;
	both_of(&e, &v, k);
#pragma omp simd reduction(+ : of_b, of_o, products)
	for (int i = 0; i < k->n; i++) {
		struct mixed m = mixed_of(&v, e.p[i], e.q[i], s[i], t[i], c, log_c, near_p);
		float b = near_p ? m.p : m.q, o = near_p ? m.q : m.p;
		of_b += c * (o - b) - b * m.near;
		of_o += o * m.far;
		if (product)
			products += m.product;
	}
	term->sums[0] += (double)of_b;
	term->sums[1] += (double)of_o;
	term->sums[2] += (double)products;
}

void cpu_mixture_sums(struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k)
{
	bool near_p = term->form->w > 0.5, product = term->form->on_pq != 0;
	if (near_p && product)
		mixture_sums_of(term, h, k, true, true);
	else if (near_p)
		mixture_sums_of(term, h, k, true, false);
	else if (product)
		mixture_sums_of(term, h, k, false, true);
	else
		mixture_sums_of(term, h, k, false, false);
}

void cpu_mixture_finish(struct loss_term *term)
{
	const struct loss_form *f = term->form;
	bool near_p = f->w > 0.5;
	double kl_p = term->sums[near_p ? 0 : 1], kl_q = term->sums[near_p ? 1 : 0];
	term->value = f->on_p * kl_p + f->on_q * kl_q;
	term->total = f->on_q * kl_q + f->on_pq * term->sums[2];
}

ALWAYS_INLINE void mixture_grad_of(const struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k,
				   double weight, float *d, bool near_p, bool logs, bool product)
{
	const struct scales v = scales_of(h, k);
	const double w = term->form->w;
	const float c = (float)(near_p ? 1 - w : w), log_c = logf(c), *s = k->s, *t = k->t;
	const float on_q = (float)(weight * term->form->on_q), on_pq = (float)(weight * term->form->on_pq);
	struct both e;
	both_of(&e, &v, k);
#pragma omp simd
	for (int i = 0; i < k->n; i++) {
		struct mixed m = mixed_of(&v, e.p[i], e.q[i], s[i], t[i], c, log_c, near_p);
		float sum = logs ? on_q * m.q * (near_p ? m.far : -m.near) : 0.0f;
		d[i] += product ? sum + on_pq * m.product : sum;
	}
}

void cpu_mixture_grad(const struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k,
		      double weight, float *d)
{
	bool near_p = term->form->w > 0.5, logs = term->form->on_q != 0, product = term->form->on_pq != 0;
	if (near_p && logs && product)
		mixture_grad_of(term, h, k, weight, d, true, true, true);
	else if (near_p && logs)
		mixture_grad_of(term, h, k, weight, d, true, true, false);
	else if (near_p)
		mixture_grad_of(term, h, k, weight, d, true, false, true);
	else if (logs && product)
		mixture_grad_of(term, h, k, weight, d, false, true, true);
	else if (logs)
		mixture_grad_of(term, h, k, weight, d, false, true, false);
	else
		mixture_grad_of(term, h, k, weight, d, false, false, true);
}

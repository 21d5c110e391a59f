/* One class of a divergence in double precision, from log p and log q: the rows of sparse targets are made of these. A class
 * where a side is 0 (its logarithm is -inf) gives its limit. Test: tests/test_ops_sparse.c */
#include "kernels/cpu/cpu_sparse.h"

#include <math.h>

/* p (log p - log q) */
static double relative(double p, double log_p, double log_q)
{
	return p > 0 || isnan(p) ? p * (log_p - log_q) : 0;
}

static void kl_category(const struct loss_term *term, double log_p, double log_q, double *value, double *h)
{
	double p = exp(log_p), q = exp(log_q), f = term->f, r = term->r;
	if (f != 0) {
		*value += f * relative(p, log_p, log_q);
		*h -= f * p;
	}
	if (r != 0) {
		double kl = relative(q, log_q, log_p);
		*value += r * kl;
		*h += r * (kl + q);
	}
}

static void mixture_category(const struct loss_form *f, double log_p, double log_q, double *value, double *h)
{
	double p_part = log(f->w) + log_p, q_part = log1p(-f->w) + log_q, larger = p_part > q_part ? p_part : q_part;
	if (larger == -INFINITY)
		return;
	double log_m = larger + log1p(exp(-fabs(p_part - q_part))), q = relative(exp(log_q), log_q, log_m);
	*value += f->on_p * relative(exp(log_p), log_p, log_m) + f->on_q * q;
	*h += f->on_q * q + f->on_pq * exp(log_p + log_q - log_m);
}

/* (e^(-c g) - 1)/c */
static double slope(double c, double g)
{
	return c > 0 ? expm1(-c * g) / c : -g;
}

/* The formula is that of cpu_divergence.c. */
static void powers_category(const struct loss_form *f, double log_p, double log_q, double *value, double *h)
{
	bool q_larger = log_q >= log_p;
	double larger = q_larger ? log_q : log_p, g = fmin(fabs(log_p - log_q), 1e300), base = exp((f->a + f->b) * larger);
	if (base == 0)
		return;
	double f_a = slope(f->a, g), f_b = slope(f->b, g), e_a = exp(-f->a * g), e_b = exp(-f->b * g);
	*value += base * (q_larger ? e_a * f_b - f_a : e_b * f_a - f_b) / (f->a + f->b);
	*h += base * (q_larger ? -f_a : e_b * f_a);
}

static void log_square_category(double log_p, double log_q, double *value, double *h)
{
	double ratio = log_p == log_q ? 0 : log_p - log_q;
	*value += 0.5 * ratio * ratio;
	*h -= ratio;
}

static void variation_category(double log_p, double log_q, double *value, double *h)
{
	double p = exp(log_p), q = exp(log_q);
	*value += 0.5 * fabs(p - q);
	*h += q > p ? 0.5 * q : q < p ? -0.5 * q : 0;
}

void cpu_category(const struct loss_term *term, double log_p, double log_q, double *value, double *h)
{
	switch (term->form->shape) {
	case LOSS_KL:
	case LOSS_ADAPTIVE:
		kl_category(term, log_p, log_q, value, h);
		break;
	case LOSS_MIXTURE:
		mixture_category(term->form, log_p, log_q, value, h);
		break;
	case LOSS_POWERS:
		powers_category(term->form, log_p, log_q, value, h);
		break;
	case LOSS_LOG_SQUARE:
		log_square_category(log_p, log_q, value, h);
		break;
	case LOSS_VARIATION:
		variation_category(log_p, log_q, value, h);
		break;
	case LOSS_NOTHING:
	case LOSS_LOGITS:
		break;
	}
}

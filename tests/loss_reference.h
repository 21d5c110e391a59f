/* The divergences of kernels/ops.h in double precision, straight from its formulas: plain, slow, and without any of the
 * rearrangements of kernels/cpu. Gradients come from central differences of these. */
#ifndef TESTS_LOSS_REFERENCE_H
#define TESTS_LOSS_REFERENCE_H

#include "tests/ops_testing.h"

enum { REFERENCE_MAX = 2048 };

/* A distribution over n classes as logarithms, -inf where it is 0. */
struct reference_pair {
	int n;
	double log_p[REFERENCE_MAX], log_q[REFERENCE_MAX];
};
/* Adaptive KL's two weights: constants of the gradient, so taken once and kept. */
struct reference_weights {
	bool known;
	double f, r;
};

static inline double reference_lse(const double *x, int n, double tau)
{
	double max = -INFINITY, sum = 0;
	for (int v = 0; v < n; v++)
		max = fmax(max, x[v]);
	for (int v = 0; v < n; v++)
		sum += exp((x[v] - max) / tau);
	return max / tau + log(sum);
}

/* p (log p - log q) */
static inline double reference_part(double log_p, double log_q)
{
	return log_p == -INFINITY ? 0 : exp(log_p) * (log_p - log_q);
}

/* log(a e^x + (1-a) e^y) */
static inline double reference_log_mix(double a, double x, double y)
{
	double m = fmax(x, y);
	if (a == 0 || a == 1)
		return a == 0 ? y : x;
	return m == -INFINITY ? m : m + log(a * exp(x - m) + (1 - a) * exp(y - m));
}

static inline double reference_kl(const struct reference_pair *c)
{
	double sum = 0;
	for (int v = 0; v < c->n; v++)
		sum += reference_part(c->log_p[v], c->log_q[v]);
	return sum;
}
static inline double reference_reverse(const struct reference_pair *c)
{
	double sum = 0;
	for (int v = 0; v < c->n; v++)
		sum += reference_part(c->log_q[v], c->log_p[v]);
	return sum;
}

/* on_p KL(p, m) + on_q KL(q, m), m = w p + (1-w) q */
static inline double reference_mixture(const struct reference_pair *c, double w, double on_p, double on_q)
{
	double sum = 0;
	for (int v = 0; v < c->n; v++) {
		double log_m = reference_log_mix(w, c->log_p[v], c->log_q[v]);
		sum += on_p * reference_part(c->log_p[v], log_m) + on_q * reference_part(c->log_q[v], log_m);
	}
	return sum;
}

static inline double reference_alpha_beta(const struct reference_pair *c, double a, double b)
{
	double sum = 0;
	for (int v = 0; v < c->n; v++) {
		double x = c->log_p[v], y = c->log_q[v];
		if (a > 0 && b > 0)
			sum -= ((x == -INFINITY || y == -INFINITY ? 0 : exp(a * x + b * y)) - a / (a + b) * exp((a + b) * x) -
				b / (a + b) * exp((a + b) * y)) / (a * b);
		else if (a > 0)
			sum += ((x == -INFINITY ? 0 : a * exp(a * x) * (x - y)) - exp(a * x) + exp(a * y)) / (a * a);
		else if (b > 0)
			sum += ((y == -INFINITY ? 0 : b * exp(b * y) * (y - x)) - exp(b * y) + exp(b * x)) / (b * b);
		else
			sum += 0.5 * (x - y) * (x - y);
	}
	return sum;
}

/* Selection by falling p, ties by rising index. */
static inline void reference_weigh(const struct reference_pair *c, double mass, struct reference_weights *w)
{
	bool taken[REFERENCE_MAX] = {false};
	double sum = 0, head = 0, rest = 0;
	for (int k = 0; k < c->n; k++) {
		int best = -1;
		for (int v = 0; v < c->n; v++)
			if (!taken[v] && (best < 0 || c->log_p[v] > c->log_p[best]))
				best = v;
		taken[best] = true;
		*(sum < mass ? &head : &rest) += fabs(exp(c->log_p[best]) - exp(c->log_q[best]));
		sum += exp(c->log_p[best]);
	}
	*w = (struct reference_weights){true, head + rest > 0 ? head / (head + rest) : 1, head + rest > 0 ? rest / (head + rest) : 0};
}

static inline double reference_adaptive(const struct reference_pair *c, double mass, struct reference_weights *w)
{
	if (!w->known)
		reference_weigh(c, mass, w);
	return w->f * reference_kl(c) + (w->r > 0 ? w->r * reference_reverse(c) : 0);
}

/* D without its scale. LOGIT_MSE has no distributions: see the tests. */
static inline double reference_divergence(const struct divergence_term *term, const struct reference_pair *c,
					  struct reference_weights *weights)
{
	double a = (double)term->a, b = (double)term->b, sum = 0;
	switch (term->kind) {
	case DIVERGENCE_FORWARD_KL:
		return reference_kl(c);
	case DIVERGENCE_REVERSE_KL:
		return reference_reverse(c);
	case DIVERGENCE_SYMMETRIC_KL:
		return (a < 1 ? (1 - a) * reference_kl(c) : 0) + (a > 0 ? a * reference_reverse(c) : 0);
	case DIVERGENCE_JSD:
		return a == 0 || a == 1 ? 0 : reference_mixture(c, a, a, 1 - a);
	case DIVERGENCE_JSD_NORMALIZED:
		if (a == 0)
			return reference_kl(c);
		return a == 1 ? reference_reverse(c) : reference_mixture(c, a, a, 1 - a) / (a * (1 - a));
	case DIVERGENCE_SKEW_FORWARD_KL:
		return reference_mixture(c, a, 1, 0);
	case DIVERGENCE_SKEW_REVERSE_KL:
		return reference_mixture(c, 1 - a, 0, 1);
	case DIVERGENCE_ADAPTIVE_KL:
		return reference_adaptive(c, a, weights);
	case DIVERGENCE_ALPHA_BETA:
		return reference_alpha_beta(c, a, b);
	case DIVERGENCE_TOTAL_VARIATION:
		for (int v = 0; v < c->n; v++)
			sum += 0.5 * fabs(exp(c->log_p[v]) - exp(c->log_q[v]));
		return sum;
	case DIVERGENCE_LOGIT_MSE:
	case DIVERGENCES:
		break;
	}
	fail_msg("no reference for divergence %d", (int)term->kind);
	return NAN;
}

static inline double reference_scale(const struct divergence_term *term)
{
	return term->kind == DIVERGENCE_LOGIT_MSE ? 1 : (double)term->tau * (double)term->tau;
}

/* Every divergence, its parameters inside, near and at their ends. */
static const struct divergence_term REFERENCE_TERMS[] = {
	{DIVERGENCE_FORWARD_KL, 1, 1, 0, 0},         {DIVERGENCE_REVERSE_KL, 1, 1, 0, 0},
	{DIVERGENCE_SYMMETRIC_KL, 1, 1, 0.3f, 0},    {DIVERGENCE_SYMMETRIC_KL, 1, 1, 0, 0},
	{DIVERGENCE_JSD, 1, 1, 0.5f, 0},             {DIVERGENCE_JSD, 1, 1, 0.1f, 0},
	{DIVERGENCE_JSD, 1, 1, 0.9f, 0},             {DIVERGENCE_JSD, 1, 1, 0, 0},
	{DIVERGENCE_JSD, 1, 1, 1, 0},                {DIVERGENCE_JSD_NORMALIZED, 1, 1, 0.5f, 0},
	{DIVERGENCE_JSD_NORMALIZED, 1, 1, 0.01f, 0}, {DIVERGENCE_JSD_NORMALIZED, 1, 1, 0.98f, 0},
	{DIVERGENCE_JSD_NORMALIZED, 1, 1, 0, 0},     {DIVERGENCE_JSD_NORMALIZED, 1, 1, 1, 0},
	{DIVERGENCE_SKEW_FORWARD_KL, 1, 1, 0.1f, 0}, {DIVERGENCE_SKEW_FORWARD_KL, 1, 1, 0.7f, 0},
	{DIVERGENCE_SKEW_FORWARD_KL, 1, 1, 0, 0},    {DIVERGENCE_SKEW_REVERSE_KL, 1, 1, 0.1f, 0},
	{DIVERGENCE_SKEW_REVERSE_KL, 1, 1, 0.7f, 0}, {DIVERGENCE_SKEW_REVERSE_KL, 1, 1, 0, 0},
	{DIVERGENCE_ADAPTIVE_KL, 1, 1, 0.5f, 0},     {DIVERGENCE_ADAPTIVE_KL, 1, 1, 0.95f, 0},
	{DIVERGENCE_ADAPTIVE_KL, 1, 1, 0.05f, 0},    {DIVERGENCE_ALPHA_BETA, 1, 1, 0.2f, 0.7f},
	{DIVERGENCE_ALPHA_BETA, 1, 1, 1.2f, 0.5f},   {DIVERGENCE_ALPHA_BETA, 1, 1, 1, 0},
	{DIVERGENCE_ALPHA_BETA, 1, 1, 0, 1},         {DIVERGENCE_ALPHA_BETA, 1, 1, 0.5f, 0},
	{DIVERGENCE_ALPHA_BETA, 1, 1, 0, 0.6f},      {DIVERGENCE_ALPHA_BETA, 1, 1, 0, 0},
	{DIVERGENCE_TOTAL_VARIATION, 1, 1, 0, 0},    {DIVERGENCE_LOGIT_MSE, 1, 1, 0, 0},
};
enum { REFERENCE_N_TERMS = sizeof REFERENCE_TERMS / sizeof *REFERENCE_TERMS };

#endif

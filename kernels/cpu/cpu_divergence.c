/* The dense divergences that need p and q themselves: powers (alpha-beta), total variation, squares, the two gaps of
 * adaptive KL, and by cpu_mixture.c mixtures (JSD, skew). One function a shape for the sums, one for h. A class where a
 * side is 0 gives its limit; a NaN that a guard swallows comes back in finish. Test: tests/test_ops_divergence.c */
#include "kernels/cpu/cpu_scales.h"

/* ---- powers. With the larger of p and q as the base, g = |log p - log q|, F_c = (e^(-c g) - 1)/c (-g at c = 0):
 *   D = sum base^(a+b) (e^(-c g) F_o - F_c)/(a+b),  c = a where q is the larger, else b, o the other of the two
 *   h = q larger: -base^(a+b) F_a; p larger: base^(a+b) e^(-b g) F_a
 * No exponent is positive and nothing is divided by a or b, so that the limits at 0 need no other formula. ---- */

struct powered {
	float value, h;
};
ALWAYS_INLINE struct powered powered_of(const struct scales *v, float s, float t, float a, float b, float inv_a, float inv_b)
{
	float x = x_of(v, s), y = y_of(v, t), log_q = x - v->log_zs, log_p = y - v->log_zt, ratio = y - x + v->shift;
	float g = fabsf(ratio), base = cpu_exp_low((a + b) * (log_p > log_q ? log_p : log_q));
	g = g < 3e38f ? g : 3e38f; /* of a class that one side lacks: large, but times 0 not NaN */
	float less_a, less_b, e_a = cpu_exp_both(-a * g, &less_a), e_b = cpu_exp_both(-b * g, &less_b);
	float f_a = a > 0.0f ? less_a * inv_a : -g, f_b = b > 0.0f ? less_b * inv_b : -g;
	bool q_larger = ratio <= 0.0f;
	float value = q_larger ? e_a * f_b - f_a : e_b * f_a - f_b;
	float h = q_larger ? -f_a : e_b * f_a;
	bool present = base > 0.0f;
	return (struct powered){present ? base * value : 0.0f, present ? base * h : 0.0f};
}

static void powers_sums(struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k)
{
	const struct scales v = scales_of(h, k);
	const float a = (float)term->form->a, b = (float)term->form->b, *s = k->s, *t = k->t;
	const float inv_a = a > 0 ? 1 / a : 0, inv_b = b > 0 ? 1 / b : 0;
	float value = 0, total = 0;
#pragma omp simd reduction(+ : value, total)
	for (int i = 0; i < k->n; i++) {
		struct powered e = powered_of(&v, s[i], t[i], a, b, inv_a, inv_b);
		value += e.value;
		total += e.h;
	}
	term->sums[0] += (double)value;
	term->sums[1] += (double)total;
}

static void powers_grad(const struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k,
			double weight, float *d)
{
	const struct scales v = scales_of(h, k);
	const float a = (float)term->form->a, b = (float)term->form->b, scale = (float)weight, *s = k->s, *t = k->t;
	const float inv_a = a > 0 ? 1 / a : 0, inv_b = b > 0 ? 1 / b : 0;
#pragma omp simd
	for (int i = 0; i < k->n; i++)
		d[i] += scale * powered_of(&v, s[i], t[i], a, b, inv_a, inv_b).h;
}

/* ---- log square ---- */

/* log p - log q; 0 where both are 0. */
ALWAYS_INLINE float log_ratio_of(const struct scales *v, float s, float t)
{
	float ratio = y_of(v, t) - x_of(v, s) + v->shift;
	return ratio == ratio ? ratio : 0.0f;
}

static void log_square_sums(struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k)
{
	const struct scales v = scales_of(h, k);
	const float *s = k->s, *t = k->t;
	float squares = 0, sum = 0;
#pragma omp simd reduction(+ : squares, sum)
	for (int i = 0; i < k->n; i++) {
		float ratio = log_ratio_of(&v, s[i], t[i]);
		squares += ratio * ratio;
		sum += ratio;
	}
	term->sums[0] += (double)squares;
	term->sums[1] += (double)sum;
}

static void log_square_grad(const struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k,
			    double weight, float *d)
{
	(void)term;
	const struct scales v = scales_of(h, k);
	const float scale = (float)weight, *s = k->s, *t = k->t;
#pragma omp simd
	for (int i = 0; i < k->n; i++)
		d[i] -= scale * log_ratio_of(&v, s[i], t[i]);
}

/* ---- total variation: h = q sign(q - p) / 2 ---- */

ALWAYS_INLINE float signed_q(float q, float p)
{
	return q > p ? q : q < p ? -q : 0.0f;
}

static void variation_sums(struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k)
{
	const struct scales v = scales_of(h, k);
	const float *s = k->s, *t = k->t;
	float gap = 0, sum = 0;
#pragma omp simd reduction(+ : gap, sum)
	for (int i = 0; i < k->n; i++) {
		float q = v.cs * cpu_exp_low(x_of(&v, s[i])), p = v.ct * cpu_exp_low(y_of(&v, t[i]));
		gap += fabsf(p - q);
		sum += signed_q(q, p);
	}
	term->sums[0] += (double)gap;
	term->sums[1] += (double)sum;
}

static void variation_grad(const struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k,
			   double weight, float *d)
{
	(void)term;
	const struct scales v = scales_of(h, k);
	const float half = (float)(0.5 * weight), *s = k->s, *t = k->t;
#pragma omp simd
	for (int i = 0; i < k->n; i++) {
		float q = v.cs * cpu_exp_low(x_of(&v, s[i])), p = v.ct * cpu_exp_low(y_of(&v, t[i]));
		d[i] += half * signed_q(q, p);
	}
}

/* ---- adaptive KL: sums of |p - q| over the head and over all ---- */

static void adaptive_sums(struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k)
{
	const struct scales v = scales_of(h, k);
	const float *s = k->s, *t = k->t, threshold = term->head.threshold;
	const float last = (float)(term->head.last - k->at); /* a float, or gcc splits the loop there and half of it is scalar */
	float head = 0, all = 0;
#pragma omp simd reduction(+ : head, all)
	for (int i = 0; i < k->n; i++) {
		float gap = fabsf(v.ct * cpu_exp_low(y_of(&v, t[i])) - v.cs * cpu_exp_low(x_of(&v, s[i])));
		float equal = (float)i <= last ? gap : 0.0f, below = t[i] == threshold ? equal : 0.0f;
		head += t[i] > threshold ? gap : below;
		all += gap;
	}
	term->sums[0] += (double)head;
	term->sums[1] += (double)all;
}

static void adaptive_finish(struct loss_term *term, const struct loss_temperature *h)
{
	double head = term->sums[0], all = term->sums[1];
	term->f = head < all ? head / all : 1; /* all of it when nothing is left but rounding */
	term->r = 1 - term->f;
	term->value = term->f * cpu_temperature_forward(h);
	if (term->r > 0)
		term->value += term->r * cpu_temperature_reverse(h);
}

/* ---- logits ---- */

static void logits_sums(struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k)
{
	const float *s = k->s, *t = k->t, inv_tau = h->inv_tau;
	float squares = 0;
#pragma omp simd reduction(+ : squares)
	for (int i = 0; i < k->n; i++) {
		float gap = s[i] == t[i] ? 0.0f : (s[i] - t[i]) * inv_tau;
		squares += gap * gap;
	}
	term->sums[0] += (double)squares;
}

/* tau d/ds = 2/V (s - t)/tau, of which `weight` brings the rest. */
static void logits_grad(const struct loss_temperature *h, const struct loss_block *k, int V, double weight, float *d)
{
	const float *s = k->s, *t = k->t, scale = (float)(2 * weight * (double)h->inv_tau / V);
#pragma omp simd
	for (int i = 0; i < k->n; i++)
		d[i] += s[i] == t[i] ? 0.0f : scale * (s[i] - t[i]);
}

/* ---- by shape ---- */

void cpu_divergence_sums(struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k)
{
	switch (term->form->shape) {
	case LOSS_ADAPTIVE:
		adaptive_sums(term, h, k);
		break;
	case LOSS_MIXTURE:
		cpu_mixture_sums(term, h, k);
		break;
	case LOSS_POWERS:
		powers_sums(term, h, k);
		break;
	case LOSS_LOG_SQUARE:
		log_square_sums(term, h, k);
		break;
	case LOSS_VARIATION:
		variation_sums(term, h, k);
		break;
	case LOSS_LOGITS:
		logits_sums(term, h, k);
		break;
	case LOSS_NOTHING:
	case LOSS_KL:
		break;
	}
}

static void finish_by_shape(struct loss_term *term, const struct loss_temperature *h, int V)
{
	const struct loss_form *f = term->form;
	const double *sums = term->sums;
	switch (f->shape) {
	case LOSS_KL:
		term->f = f->f;
		term->r = f->r;
		term->value = (f->f > 0 ? f->f * cpu_temperature_forward(h) : 0) + (f->r > 0 ? f->r * cpu_temperature_reverse(h) : 0);
		break;
	case LOSS_ADAPTIVE:
		adaptive_finish(term, h);
		break;
	case LOSS_MIXTURE:
		cpu_mixture_finish(term);
		break;
	case LOSS_POWERS:
		term->value = sums[0] / (f->a + f->b);
		term->total = sums[1];
		break;
	case LOSS_LOG_SQUARE:
		term->value = 0.5 * sums[0];
		term->total = -sums[1];
		break;
	case LOSS_VARIATION:
		term->value = 0.5 * sums[0];
		term->total = 0.5 * sums[1];
		break;
	case LOSS_LOGITS:
		term->value = sums[0] / V;
		break;
	case LOSS_NOTHING:
		break;
	}
}

void cpu_divergence_finish(struct loss_term *term, const struct loss_temperature *h, int V)
{
	finish_by_shape(term, h, V);
	if (term->value < 0) /* by rounding */
		term->value = 0;
	if (term->form->shape != LOSS_LOGITS && isnan(h->zs + h->zt))
		term->value = NAN;
}

void cpu_divergence_coefficients(const struct loss_term *term, struct loss_temperature *h, double weight)
{
	if (weight == 0)
		return;
	cpu_temperature_add_kl(h, weight, term->f, term->r);
	if (term->total != 0)
		h->c_q -= weight * term->total / h->zs;
}

void cpu_divergence_grad(const struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k, int V,
			 double weight, float *d)
{
	switch (term->form->shape) {
	case LOSS_MIXTURE:
		cpu_mixture_grad(term, h, k, weight, d);
		break;
	case LOSS_POWERS:
		powers_grad(term, h, k, weight, d);
		break;
	case LOSS_LOG_SQUARE:
		log_square_grad(term, h, k, weight, d);
		break;
	case LOSS_VARIATION:
		variation_grad(term, h, k, weight, d);
		break;
	case LOSS_LOGITS:
		logits_grad(h, k, V, weight, d);
		break;
	case LOSS_NOTHING:
	case LOSS_KL:
	case LOSS_ADAPTIVE:
		break;
	}
}

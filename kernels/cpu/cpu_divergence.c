/* The dense divergences that need p and q themselves: mixtures (JSD, skew), powers (alpha-beta), total variation, squares,
 * and the two gaps of adaptive KL. One function a shape for the sums, one for h. A class where a side is 0 gives its limit;
 * a NaN that a guard swallows comes back in finish. Test: tests/test_ops_divergence.c */
#include "kernels/cpu/cpu_loss.h"
#include "kernels/cpu/cpu_math.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* What the loops below keep in registers. */
struct scales {
	float inv_tau, max_s, max_t;
	float cs, ct;         /* 1/zs, 1/zt */
	float log_zs, log_zt;
	float shift;          /* log p - log q = y - x + shift */
};

static struct scales scales_of(const struct loss_temperature *h, const struct loss_block *k)
{
	return (struct scales){.inv_tau = h->inv_tau, .max_s = k->max_s, .max_t = k->max_t, .cs = (float)(1 / h->zs),
			       .ct = (float)(1 / h->zt), .log_zs = (float)h->log_zs, .log_zt = (float)h->log_zt,
			       .shift = (float)(h->log_zs - h->log_zt)};
}
ALWAYS_INLINE float x_of(const struct scales *v, float s)
{
	return (s - v->max_s) * v->inv_tau;
}
ALWAYS_INLINE float y_of(const struct scales *v, float t)
{
	return (t - v->max_t) * v->inv_tau;
}

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

/* ---- mixtures: m = b + c (o - b), b the distribution that weighs more, so that log(m/b) keeps its precision when m is
 * close to b ---- */

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

static void mixture_sums(struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k)
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

static void mixture_finish(struct loss_term *term)
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

static void mixture_grad(const struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k,
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
		mixture_sums(term, h, k);
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
		mixture_finish(term);
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
		mixture_grad(term, h, k, weight, d);
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

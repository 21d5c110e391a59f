/* What the files behind loss_rows share. A call is planned once: its temperatures, and for every term the shape of the
 * divergence with the constants worked out. Then each row goes through: maxima, sums at each temperature, sums of the terms
 * that need normalised p and q first, values, gradient.
 * At one temperature: x = (s - max s)/tau, y = (t - max t)/tau, q = exp(x)/zs, p = exp(y)/zt. For any divergence D and
 * h_j = q_j dD/dq_j, H = sum h: dD/ds_j = (h_j - q_j H)/tau. Sums run in fp32 over LOSS_BLOCK columns, in double across.
 * Tests: tests/test_ops_loss.c, test_ops_divergence.c, test_ops_sparse.c */
#ifndef KERNELS_CPU_CPU_LOSS_H
#define KERNELS_CPU_CPU_LOSS_H

#include "kernels/ops.h"

enum { LOSS_BLOCK = 1024, LOSS_LANES = 32, LOSS_MAX_TEMPERATURES = LOSS_ROWS_MAX_TERMS + 1 };

/* The divergences of ops.h, fewer: limits and special cases are folded into the general shape. */
enum loss_shape {
	LOSS_NOTHING,    /* D = 0 */
	LOSS_KL,         /* f KL(p,q) + r KL(q,p) */
	LOSS_ADAPTIVE,   /* the same, f and r from the row; a: the head's mass */
	LOSS_MIXTURE,    /* m = w p + (1-w) q, w in (0,1): on_p KL(p,m) + on_q KL(q,m) */
	LOSS_POWERS,     /* alpha-beta, a + b > 0 */
	LOSS_LOG_SQUARE, /* 1/2 sum (log p - log q)^2 */
	LOSS_VARIATION,  /* 1/2 sum |p - q| */
	LOSS_LOGITS,     /* 1/V sum (s - t)^2 / tau^2 */
};
struct loss_form {
	enum loss_shape shape;
	double f, r;
	double w, on_p, on_q, on_pq; /* h = on_q q (log q - log m) + on_pq p q / m */
	double a, b;
};
/* An alpha-beta divergence with a + b < 1e-4 counts as its limit at 0: fp32 would cancel. */
struct loss_form cpu_loss_form(const struct divergence_term *term);

/* A block of a row. t NULL: no teacher. */
struct loss_block {
	const float *s, *t;
	int at, n; /* columns [at, at+n) of the row; s and t point at the first */
	float max_s, max_t;
};

/* cpu_maxima.c: the largest of n, of V; NaNs are passed over here and surface in the sums; -inf: there is none. index: the
 * lowest that holds it, or NULL. */
float cpu_block_max(const float *x, int n);
float cpu_row_max(const float *x, int V, int32_t *index);

/* ---- cpu_temperature.c: cross-entropy and KL, whose values follow from sums of unnormalised probabilities ---- */

struct loss_temperature {
	float inv_tau;
	bool use_s, use_t, forward, reverse; /* sums wanted: zs, zt, and the two means (which need both) */
	double zs, zt;
	double log_zs, log_zt; /* by cpu_temperature_finish */
	double mean_t; /* sum exp(y) (y - x) */
	double mean_s; /* sum exp(x) (x - y) */
	double c_q, c_qd, c_p; /* gradient: exp(x) (c_q + c_qd (x - y)) - c_p exp(y) */
};
void cpu_temperature_sums(struct loss_temperature *h, const struct loss_block *k);
void cpu_temperature_finish(struct loss_temperature *h); /* after a row's last block */
double cpu_temperature_forward(const struct loss_temperature *h); /* KL(p,q) */
double cpu_temperature_reverse(const struct loss_temperature *h); /* KL(q,p) */
/* Adds weight tau d/ds of f KL(p,q) + r KL(q,p) to the coefficients. */
void cpu_temperature_add_kl(struct loss_temperature *h, double weight, double f, double r);
/* d(n) = before + the gradient; before (n) may be d, or NULL: 0. */
void cpu_temperature_grad(const struct loss_temperature *h, const struct loss_block *k, const float *before, float *d);

/* ---- cpu_divergence.c: the shapes from ADAPTIVE on, which need p and q themselves ---- */

struct loss_head { /* classes with t > threshold, and those equal to it up to the column `last` */
	float threshold;
	int last;
};
struct loss_term {
	const struct loss_form *form;
	struct loss_head head; /* ADAPTIVE */
	double sums[3];        /* over the row, as the shape needs them */
	double value, total;   /* D, H */
	double f, r;           /* KL and ADAPTIVE: the weights in force */
};
void cpu_divergence_sums(struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k);
/* D and H from the row's sums; V: its columns. */
void cpu_divergence_finish(struct loss_term *term, const struct loss_temperature *h, int V);
/* Adds to the temperature's coefficients what weight tau dD/ds has of them: all of a KL's, of others - weight q H. */
void cpu_divergence_coefficients(const struct loss_term *term, struct loss_temperature *h, double weight);
/* d(n) += weight h, the rest of it. */
void cpu_divergence_grad(const struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k, int V,
			 double weight, float *d);

/* cpu_mixture.c: LOSS_MIXTURE's share of the three. */
void cpu_mixture_sums(struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k);
void cpu_mixture_finish(struct loss_term *term);
void cpu_mixture_grad(const struct loss_term *term, const struct loss_temperature *h, const struct loss_block *k, double weight,
		      float *d);

/* cpu_head_set.c: the fewest classes of largest p, ties by rising column, that hold `mass` (in (0,1)) of z = sum exp(y). */
struct loss_head cpu_head_set(const float *t, int V, float max, float inv_tau, double z, double mass);

#endif

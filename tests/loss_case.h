/* A call of loss_rows with everything that tests vary, its double-precision reference, and the comparison of values and
 * gradients in every storage that the gradient may have. */
#ifndef TESTS_LOSS_CASE_H
#define TESTS_LOSS_CASE_H

#include "tests/loss_reference.h"

struct loss_case {
	int n_rows, V, ld;
	float spread;
	bool ce, add;
	int n_terms;
	struct divergence_term terms[LOSS_ROWS_MAX_TERMS];
	enum missing_mass missing; /* with K */
	int K;                     /* 0: dense */
};
/* What a run holds. Row 1, if there is one, counts for nothing and holds rubbish. */
struct loss_world {
	const struct loss_case *c;
	float *s, *t, *add, *ce_weight, *kd_weight, *ce, *divergence, *grad;
	int32_t *target, *ids;
	float *log_p, *tail;
	struct sparse_targets sparse;
	double *reference_s; /* (V) the row being differentiated */
	struct reference_pair pair;
	struct reference_weights weights[LOSS_ROWS_MAX_TERMS];
};

static inline float *loss_logits(struct ops_case *t, const struct loss_case *c)
{
	float *x = ops_normal(t, (size_t)(c->n_rows * c->ld));
	for (int i = 0; i < c->n_rows * c->ld; i++)
		x[i] = i % c->ld < c->V ? x[i] * c->spread : NAN; /* columns past V are not read */
	return x;
}

static inline float *loss_weights(struct ops_case *t, int n, bool any)
{
	float *w = ops_normal(t, (size_t)n);
	for (int i = 0; i < n; i++)
		w[i] = any && i != 1 ? fabsf(w[i]) + 0.1f : 0;
	return w;
}

/* Fills w->pair with the distributions of row n: over all columns, or over the categories of sparse targets. */
static inline void loss_pair(struct loss_world *w, int n, double tau);

/* log(sum of exp(s/tau)) over the columns that are in ids, or not. */
static inline double loss_lse(const struct loss_world *w, const int32_t *ids, int n_ids, bool inside, double tau)
{
	static double x[REFERENCE_MAX];
	bool in[REFERENCE_MAX] = {false};
	int n = 0;
	for (int i = 0; i < n_ids; i++)
		in[ids[i]] = true;
	for (int v = 0; v < w->c->V; v++)
		if (in[v] == inside)
			x[n++] = w->reference_s[v] / tau;
	double max = -INFINITY;
	for (int i = 0; i < n; i++)
		max = fmax(max, x[i]);
	return n == 0 || max == -INFINITY ? -INFINITY : reference_lse(x, n, 1);
}

static inline void loss_sparse_pair(struct loss_world *w, int n, double tau)
{
	const int32_t *ids = w->ids + n * w->c->K;
	const float *log_p = w->log_p + n * w->c->K;
	enum missing_mass missing = w->c->missing;
	struct reference_pair *p = &w->pair;
	double sum = 0, lse = reference_lse(w->reference_s, w->c->V, tau);
	p->n = 0;
	while (p->n < w->c->K && ids[p->n] >= 0)
		sum += exp((double)log_p[p->n++]);
	if (missing == MISSING_RENORMALISE)
		lse = loss_lse(w, ids, p->n, true, tau);
	for (int i = 0; i < p->n; i++) {
		p->log_p[i] = (double)log_p[i] - (missing == MISSING_RENORMALISE || missing == MISSING_ZERO ? log(sum) : 0);
		p->log_q[i] = w->reference_s[ids[i]] / tau - lse;
	}
	if (missing == MISSING_RENORMALISE || missing == MISSING_SAMPLED || p->n == w->c->V)
		return;
	p->log_p[p->n] = missing == MISSING_TAIL ? log((double)w->tail[n]) : -INFINITY;
	p->log_q[p->n] = loss_lse(w, ids, p->n, false, tau) - lse;
	p->n++;
}

static inline void loss_pair(struct loss_world *w, int n, double tau)
{
	if (w->c->K) {
		loss_sparse_pair(w, n, tau);
		return;
	}
	static double t[REFERENCE_MAX];
	int V = w->c->V;
	for (int v = 0; v < V; v++)
		t[v] = (double)w->t[n * w->c->ld + v];
	double lse_s = reference_lse(w->reference_s, V, tau), lse_t = reference_lse(t, V, tau);
	w->pair.n = V;
	for (int v = 0; v < V; v++) {
		w->pair.log_p[v] = t[v] / tau - lse_t;
		w->pair.log_q[v] = w->reference_s[v] / tau - lse_s;
	}
}

/* scale_k D_k of row n. */
static inline double loss_value(struct loss_world *w, int n, int k)
{
	const struct divergence_term *term = &w->c->terms[k];
	double tau = (double)term->tau, sum = 0;
	if (term->kind == DIVERGENCE_LOGIT_MSE) {
		for (int v = 0; v < w->c->V; v++)
			sum += pow((w->reference_s[v] - (double)w->t[n * w->c->ld + v]) / tau, 2);
		return sum / w->c->V;
	}
	loss_pair(w, n, tau);
	return reference_scale(term) * reference_divergence(term, &w->pair, &w->weights[k]);
}

static inline double loss_ce(const struct loss_world *w, int n)
{
	return reference_lse(w->reference_s, w->c->V, 1) - w->reference_s[w->target[n]];
}

static inline double loss_total(struct loss_world *w, int n)
{
	double sum = w->ce_weight[n] != 0 ? (double)w->ce_weight[n] * loss_ce(w, n) : 0;
	for (int k = 0; k < w->c->n_terms; k++)
		sum += (double)w->kd_weight[n] * (double)w->c->terms[k].weight * loss_value(w, n, k);
	return sum;
}

/* Wide rows are differentiated at every 301st column, the target, the large logits, and the first ids. */
static inline bool loss_is_probed(const struct loss_world *w, int n, int v)
{
	float large = 3.0f * w->c->spread;
	bool in = w->c->V <= 130 || v % 301 == 0 || v == w->target[n] || w->t[n * w->c->ld + v] > large ||
		  w->s[n * w->c->ld + v] > large;
	for (int i = 0; !in && i < w->c->K && i < 6; i++)
		in = w->ids[n * w->c->K + i] == v;
	return in;
}

/* One row of the reference: values, and the gradient at its probed columns, into want (from *n_want on). */
static inline void loss_reference_row(struct loss_world *w, int n, double *ce, double *divergence, double *want, size_t *n_want)
{
	const struct loss_case *c = w->c;
	bool counts = n != 1;
	for (int v = 0; v < c->V; v++)
		w->reference_s[v] = (double)w->s[n * c->ld + v];
	memset(w->weights, 0, sizeof w->weights);
	ce[n] = counts && w->ce_weight[n] != 0 ? loss_ce(w, n) : 0;
	for (int k = 0; k < c->n_terms; k++)
		divergence[n * c->n_terms + k] = counts ? loss_value(w, n, k) : 0;
	for (int v = 0; v < c->V; v++) {
		if (!loss_is_probed(w, n, v))
			continue;
		double kept = w->reference_s[v], h = 1e-5, slope = 0;
		if (counts) {
			w->reference_s[v] = kept + h;
			slope = loss_total(w, n);
			w->reference_s[v] = kept - h;
			slope = (slope - loss_total(w, n)) / (2 * h);
			w->reference_s[v] = kept;
		}
		want[(*n_want)++] = slope + (w->add ? (double)w->add[n * c->ld + v] : 0);
	}
}

/* The probed columns of a gradient; asserts that those past V hold `add` alone. */
static inline float *loss_probed(struct ops_case *t, const struct loss_world *w, const void *grad, enum dtype type, int ld_grad)
{
	const struct loss_case *c = w->c;
	float *g = ops_floats(t, (size_t)(c->n_rows * c->V)), row[REFERENCE_MAX];
	size_t n_got = 0;
	for (int n = 0; n < c->n_rows; n++) {
		dtype_convert(row, DTYPE_F32, (const char *)grad + (size_t)(n * ld_grad) * dtype_size(type), type, (size_t)c->ld);
		for (int v = 0; v < c->V; v++)
			if (loss_is_probed(w, n, v))
				g[n_got++] = row[v];
		for (int v = c->V; v < c->ld; v++)
			assert_close(row[v], w->add ? w->add[n * c->ld + v] : 0, 0, type == DTYPE_F32 ? 0 : 0.004);
	}
	return g;
}

static inline struct loss_rows loss_call(struct loss_world *w)
{
	const struct loss_case *c = w->c;
	return (struct loss_rows){.n_rows = c->n_rows, .V = c->V, .ld = c->ld, .s = w->s, .t = c->K ? NULL : w->t,
				  .sparse = c->K ? &w->sparse : NULL, .target = w->target, .ce_weight = c->ce ? w->ce_weight : NULL,
				  .kd_weight = w->kd_weight, .n_terms = c->n_terms, .terms = c->terms,
				  .ce = c->ce ? w->ce : NULL, .divergence = w->divergence, .grad = w->grad,
				  .grad_type = DTYPE_F32, .ld_grad = c->ld, .add = w->add};
}

/* The K largest of row n of t, by falling probability; every third row leaves its last slot unused. */
static inline void loss_top(struct loss_world *w, int n)
{
	const struct loss_case *c = w->c;
	const float *t = w->t + n * c->ld;
	double x[REFERENCE_MAX], tau = (double)c->terms[0].tau, tail = 0;
	for (int v = 0; v < c->V; v++)
		x[v] = (double)t[v];
	double lse = reference_lse(x, c->V, tau);
	for (int k = 0; k < c->K; k++) {
		int best = 0;
		for (int v = 1; v < c->V; v++)
			best = x[v] > x[best] ? v : best;
		bool unused = n % 3 == 2 && k == c->K - 1 && k > 0;
		w->ids[n * c->K + k] = unused ? -1 : best;
		w->log_p[n * c->K + k] = unused ? 0 : (float)(x[best] / tau - lse);
		x[best] = unused ? x[best] : -INFINITY;
	}
	for (int v = 0; v < c->V; v++)
		tail += exp(x[v] / tau - lse);
	w->tail[n] = (float)tail;
}

static inline void loss_world_init(struct loss_world *w, struct ops_case *t, const struct loss_case *c)
{
	size_t n = (size_t)c->n_rows;
	*w = (struct loss_world){.c = c, .s = loss_logits(t, c), .t = loss_logits(t, c), .add = c->add ? loss_logits(t, c) : NULL,
				 .ce_weight = loss_weights(t, c->n_rows, c->ce), .kd_weight = loss_weights(t, c->n_rows, true),
				 .target = ops_indices(t, n, (uint32_t)c->V), .ce = ops_floats(t, n),
				 .divergence = ops_floats(t, n * (size_t)c->n_terms), .grad = ops_floats(t, n * (size_t)c->ld),
				 .reference_s = ops_doubles(t, NULL, (size_t)c->V)};
	for (int i = 0; c->add && i < c->n_rows * c->ld; i++)
		w->add[i] = isnan(w->add[i]) ? 3 : w->add[i];
	if (!c->K)
		return;
	w->ids = ops_bytes(t, n * (size_t)c->K * sizeof *w->ids);
	w->log_p = ops_floats(t, n * (size_t)c->K);
	w->tail = ops_floats(t, n);
	for (int r = 0; r < c->n_rows; r++)
		loss_top(w, r);
	w->sparse = (struct sparse_targets){c->K, c->missing, c->terms[0].tau, w->ids, w->log_p, w->tail};
}

static inline void loss_spoil_row(struct loss_world *w)
{
	for (int v = 0; w->c->n_rows > 1 && v < w->c->V; v++)
		w->s[w->c->ld + v] = v % 2 ? NAN : INFINITY;
	for (int k = 0; w->c->n_rows > 1 && k < w->c->K; k++)
		w->log_p[w->c->K + k] = NAN;
	if (w->c->n_rows > 1)
		w->target[1] = -1;
}

/* What is 0 in a row of one column is so to rounding: there is nothing to relate it to. */
static inline void loss_check(struct ops_case *t, const char *what, const float *got, const double *want, size_t n, double nmse,
			      double worst)
{
	bool zero = true;
	for (size_t i = 0; i < n; i++)
		zero = zero && fabs(want[i]) < 1e-9;
	if (!zero) {
		ops_check(t, what, got, want, n, nmse, worst);
		return;
	}
	ops_hash(t, got, n * sizeof *got);
	for (size_t i = 0; i < n; i++)
		assert_close(got[i], 0, 5e-7, 0);
}

/* Values and gradient: fp32 apart from the logits, BF16 over them, fp32 over `add`, fp32 over them. */
static inline void loss_run(struct ops_case *t, const void *given)
{
	const struct loss_case *c = given;
	static struct loss_world w;
	loss_world_init(&w, t, c);
	size_t n = (size_t)c->n_rows, n_want = 0, n_logits = n * (size_t)c->ld;
	double *ce = ops_doubles(t, NULL, n), *divergence = ops_doubles(t, NULL, n * (size_t)c->n_terms);
	double *want = ops_doubles(t, NULL, n * (size_t)c->V);
	for (int r = 0; r < c->n_rows; r++)
		loss_reference_row(&w, r, ce, divergence, want, &n_want);
	loss_spoil_row(&w);
	struct loss_rows a = loss_call(&w);
	t->ops->loss_rows(t->ops, &a);
	if (c->ce)
		OPS_CHECK(t, w.ce, ce, n);
	loss_check(t, "divergence", w.divergence, divergence, n * (size_t)c->n_terms, 1e-9, F32_WORST);
	loss_check(t, "gradient", loss_probed(t, &w, w.grad, DTYPE_F32, c->ld), want, n_want, F32_NMSE, F32_WORST);
	a.s = a.grad = ops_copy(t, w.s, n_logits);
	a.grad_type = DTYPE_BF16;
	a.ld_grad = 2 * c->ld;
	t->ops->loss_rows(t->ops, &a);
	loss_check(t, "bf16 in place", loss_probed(t, &w, a.grad, DTYPE_BF16, a.ld_grad), want, n_want, BF16_NMSE, BF16_WORST);
	a.grad_type = DTYPE_F32;
	a.ld_grad = c->ld;
	if (c->add) {
		float *over = ops_copy(t, w.add, n_logits);
		a.s = w.s;
		a.add = a.grad = over;
		t->ops->loss_rows(t->ops, &a);
		assert_memory_equal(over, w.grad, n_logits * sizeof *over);
		a.add = w.add;
	}
	a.s = a.grad = ops_copy(t, w.s, n_logits);
	t->ops->loss_rows(t->ops, &a);
	assert_memory_equal(a.grad, w.grad, n_logits * sizeof *w.grad);
}

#endif

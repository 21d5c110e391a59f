/* Rows of cross-entropy and divergences, gradient in place: plans the call, then takes each row through its sweeps. The
 * first reads the row from memory, the others from cache (a row of 32000 is 128 kB): maxima; sums at every temperature;
 * sums of the terms that need p and q themselves, if there are such; gradient. May not know a divergence's formula.
 * Test: tests/test_ops_loss.c */
#include "kernels/cpu/cpu_loss.h"

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpu_sparse.h"

#include <math.h>
#include <string.h>

/* What is the same in every row. */
struct plan {
	const struct loss_rows *call;
	struct loss_temperature temperatures[LOSS_MAX_TEMPERATURES]; /* sums 0; [0] is 1, the cross-entropy's */
	int n_temperatures;
	int of_term[LOSS_ROWS_MAX_TERMS];
	struct loss_form forms[LOSS_ROWS_MAX_TERMS];
	bool own_sums; /* some term has sums of its own */
};

struct row {
	const struct plan *plan;
	int n, V, next;           /* next: floats to the next row, 0 in the last */
	const float *s, *t, *add; /* at the first column that counts; t and add may be NULL */
	char *grad;
	enum dtype grad_type;
	int target;               /* -1: none */
	float ce_weight, kd_weight, max_s, max_t;
	struct loss_temperature temperatures[LOSS_MAX_TEMPERATURES];
	struct loss_term terms[LOSS_ROWS_MAX_TERMS];
};

static int block_size(int V, int at)
{
	return V - at < LOSS_BLOCK ? V - at : LOSS_BLOCK;
}

/* ---- plan ---- */

static int find_temperature(struct plan *p, float tau)
{
	float inv_tau = 1.0f / tau;
	int i = 0;
	while (i < p->n_temperatures && p->temperatures[i].inv_tau != inv_tau)
		i++;
	if (i == p->n_temperatures)
		p->temperatures[p->n_temperatures++] = (struct loss_temperature){.inv_tau = inv_tau};
	return i;
}

static void plan_term(struct plan *p, int k)
{
	const struct divergence_term *term = &p->call->terms[k];
	BUG_ON(!(term->tau > 0));
	struct loss_form *f = &p->forms[k];
	*f = cpu_loss_form(term);
	p->of_term[k] = find_temperature(p, term->tau);
	struct loss_temperature *h = &p->temperatures[p->of_term[k]];
	bool kl = f->shape == LOSS_KL, adaptive = f->shape == LOSS_ADAPTIVE;
	h->forward |= adaptive || (kl && f->f != 0);
	h->reverse |= adaptive || (kl && f->r != 0);
	if (f->shape != LOSS_NOTHING && f->shape != LOSS_LOGITS)
		h->use_s = h->use_t = true;
	p->own_sums |= f->shape != LOSS_NOTHING && !kl;
}

static void check_sparse(const struct loss_rows *a)
{
	for (int k = 0; a->sparse && k < a->n_terms; k++) {
		BUG_ON(a->terms[k].tau != a->sparse->tau || a->terms[k].kind == DIVERGENCE_LOGIT_MSE);
		BUG_ON(a->sparse->missing == MISSING_SAMPLED && a->terms[k].kind != DIVERGENCE_FORWARD_KL);
	}
}

static void check_call(const struct loss_rows *a)
{
	BUG_ON(a->n_terms < 0 || a->n_terms > LOSS_ROWS_MAX_TERMS || (a->t && a->sparse) || (a->n_terms && !a->t && !a->sparse));
	BUG_ON((a->n_terms && (!a->kd_weight || !a->divergence)) || (a->ce_weight && (!a->target || !a->ce)));
	BUG_ON(!a->first != !a->last || (a->first && (a->target || a->sparse || a->ce_weight)));
	BUG_ON(a->teacher_ce && (!a->t || !a->target || !a->kd_weight));
	BUG_ON(a->grad && a->grad == a->s && (size_t)a->ld_grad * dtype_size(a->grad_type) != (size_t)a->ld * sizeof(float));
	check_sparse(a);
}

static void plan_call(struct plan *p, const struct loss_rows *a)
{
	check_call(a);
	*p = (struct plan){.call = a};
	find_temperature(p, 1.0f);
	for (int k = 0; k < a->n_terms; k++)
		plan_term(p, k);
}

/* ---- sums and values ---- */

static struct loss_block block_of(const struct row *r, int at)
{
	return (struct loss_block){.s = r->s + at, .t = r->t ? r->t + at : NULL, .at = at, .n = block_size(r->V, at),
				   .max_s = r->max_s, .max_t = r->max_t};
}

/* Which sums this row needs: t is NULL where there is no dense teacher or its weight is 0. */
static void start_temperatures(struct row *r)
{
	const struct plan *p = r->plan;
	memcpy(r->temperatures, p->temperatures, (size_t)p->n_temperatures * sizeof *p->temperatures);
	for (int i = 0; !r->t && i < p->n_temperatures; i++)
		r->temperatures[i].use_s = r->temperatures[i].use_t = r->temperatures[i].forward = r->temperatures[i].reverse = false;
	r->temperatures[0].use_s |= r->ce_weight != 0.0f;
	r->temperatures[0].use_t |= r->t && p->call->teacher_ce;
}

static void sum_row(struct row *r)
{
	for (int at = 0; at < r->V; at += LOSS_BLOCK) {
		struct loss_block k = block_of(r, at);
		for (int i = 0; i < r->plan->n_temperatures; i++)
			cpu_temperature_sums(&r->temperatures[i], &k);
	}
	for (int i = 0; i < r->plan->n_temperatures; i++)
		cpu_temperature_finish(&r->temperatures[i]);
}

static struct loss_temperature *temperature_of(struct row *r, int term)
{
	return &r->temperatures[r->plan->of_term[term]];
}

static void sum_terms(struct row *r)
{
	const struct plan *p = r->plan;
	for (int k = 0; k < p->call->n_terms; k++) {
		const struct loss_temperature *h = temperature_of(r, k);
		r->terms[k] = (struct loss_term){.form = &p->forms[k]};
		if (p->forms[k].shape == LOSS_ADAPTIVE)
			r->terms[k].head = cpu_head_set(r->t, r->V, r->max_t, h->inv_tau, h->zt, p->forms[k].a);
	}
	for (int at = 0; p->own_sums && at < r->V; at += LOSS_BLOCK) {
		struct loss_block block = block_of(r, at);
		for (int k = 0; k < p->call->n_terms; k++)
			cpu_divergence_sums(&r->terms[k], temperature_of(r, k), &block);
	}
	for (int k = 0; k < p->call->n_terms; k++)
		cpu_divergence_finish(&r->terms[k], temperature_of(r, k), r->V);
}

static double scale_of(const struct divergence_term *term)
{
	return term->kind == DIVERGENCE_LOGIT_MSE ? 1 : (double)term->tau * (double)term->tau;
}

static void write_ce(const struct row *r, double z)
{
	const struct loss_rows *a = r->plan->call;
	if (a->ce_weight)
		a->ce[r->n] = r->ce_weight != 0.0f ? (float)(log(z) - ((double)r->s[r->target] - (double)r->max_s)) : 0.0f;
}

/* terms NULL: the row has no teacher. */
static void write_divergences(const struct row *r, const struct loss_term *terms)
{
	const struct loss_rows *a = r->plan->call;
	for (int k = 0; k < a->n_terms; k++)
		a->divergence[(size_t)r->n * (size_t)a->n_terms + (size_t)k] = terms ? (float)(terms[k].value * scale_of(&a->terms[k])) : 0;
}

static void write_teacher_ce(const struct row *r)
{
	const struct loss_rows *a = r->plan->call;
	if (!a->teacher_ce)
		return;
	bool known = r->t && r->target >= 0 && r->target < r->V;
	a->teacher_ce[r->n] = known ? (float)(log(r->temperatures[0].zt) - ((double)r->t[r->target] - (double)r->max_t)) : 0.0f;
}

/* ---- gradient ---- */

/* Of tau dD_k/ds in the row's gradient. */
static double weight_of(const struct row *r, int k)
{
	const struct divergence_term *term = &r->plan->call->terms[k];
	return (double)r->kd_weight * (double)term->weight * scale_of(term) / (double)term->tau;
}

static void set_coefficients(struct row *r)
{
	if (r->ce_weight != 0.0f)
		r->temperatures[0].c_q += (double)r->ce_weight / r->temperatures[0].zs;
	for (int k = 0; r->t && k < r->plan->call->n_terms; k++)
		cpu_divergence_coefficients(&r->terms[k], temperature_of(r, k), weight_of(r, k));
}

/* Copies, because grad may lie over the logits and hold another type: memcpy keeps the compiler from reordering, and a
 * BF16 block ends before the next fp32 block begins. */
static void store_block(const struct row *r, const float *d, int at, int n)
{
	uint16_t narrow[SPARSE_PANEL];
	const void *from = d;
	if (r->grad_type != DTYPE_F32) {
		cpu_narrow(narrow, r->grad_type, d, (size_t)n);
		from = narrow;
	}
	memcpy(r->grad + (size_t)at * dtype_size(r->grad_type), from, (size_t)n * dtype_size(r->grad_type));
}

/* Asks for the same block of the next row: the gradient sweep computes and would leave memory idle. */
static void prefetch_block(const float *next, int n)
{
	for (int i = 0; i < n; i += 16)
		__builtin_prefetch(next + i, 0, 2);
}

static const float *add_of(const struct row *r, int at)
{
	return r->add ? r->add + at : NULL;
}

static void prefetch_next(const struct row *r, const struct loss_block *k)
{
	if (r->next)
		prefetch_block(k->s + r->next, k->n);
	if (r->next && k->t)
		prefetch_block(k->t + r->next, k->n);
}

static void end_block(const struct row *r, const struct loss_block *k, float *d)
{
	if (r->ce_weight != 0.0f && r->target >= k->at && r->target < k->at + k->n)
		d[r->target - k->at] -= r->ce_weight;
	store_block(r, d, k->at, k->n);
}

static void grad_row(struct row *r)
{
	const struct plan *p = r->plan;
	float d[LOSS_BLOCK];
	set_coefficients(r);
	for (int at = 0; at < r->V; at += LOSS_BLOCK) {
		struct loss_block k = block_of(r, at);
		prefetch_next(r, &k);
		for (int i = 0; i < p->n_temperatures; i++)
			cpu_temperature_grad(&r->temperatures[i], &k, i ? d : add_of(r, at), d);
		for (int i = 0; p->own_sums && r->t && i < p->call->n_terms; i++)
			if (weight_of(r, i) != 0)
				cpu_divergence_grad(&r->terms[i], temperature_of(r, i), &k, r->V, weight_of(r, i), d);
		end_block(r, &k, d);
	}
}

/* ---- a row with sparse targets ---- */

/* False: nothing in this row to take a divergence from. */
static bool start_sparse(const struct row *r, struct sparse_row *sparse)
{
	const struct loss_rows *a = r->plan->call;
	const struct sparse_targets *t = a->sparse;
	const struct loss_temperature *h = &r->plan->temperatures[r->plan->of_term[0]]; /* every term's */
	size_t at = (size_t)r->n * (size_t)t->K;
	*sparse = (struct sparse_row){.targets = t, .ids = t->ids + at, .log_p = t->log_p + at, .s = a->s + (size_t)r->n * (size_t)a->ld,
				      .V = r->V, .tail_p = t->missing == MISSING_TAIL ? t->tail[r->n] : 0, .inv_tau = 1.0f / t->tau,
				      .h = {.forward = h->forward, .reverse = h->reverse}, .n_terms = a->n_terms};
	sparse->n_ids = cpu_sparse_count(t, sparse->ids, r->V);
	for (int k = 0; k < a->n_terms; k++) {
		sparse->terms[k].form = &r->plan->forms[k];
		sparse->weights[k] = weight_of(r, k);
	}
	return sparse->n_ids > 0 || t->missing == MISSING_TAIL;
}

static void grad_sparse(struct row *r, struct sparse_row *sparse, bool shared)
{
	struct loss_temperature outside = cpu_sparse_coefficients(sparse, shared ? (double)r->ce_weight / r->temperatures[0].zs : 0);
	struct loss_temperature *ce = &r->temperatures[0];
	float d[SPARSE_PANEL];
	for (int at = 0; at < r->V; at += SPARSE_PANEL) {
		struct loss_block k = {.s = r->s + at, .at = at, .n = r->V - at < SPARSE_PANEL ? r->V - at : SPARSE_PANEL, .max_s = r->max_s};
		struct loss_block rest = k;
		rest.max_s = sparse->max_rest;
		prefetch_next(r, &k);
		cpu_temperature_grad(&outside, &rest, add_of(r, at), d);
		cpu_sparse_grad_ids(sparse, &k, add_of(r, at), d);
		cpu_temperature_grad(ce, &k, d, d);
		end_block(r, &k, d);
	}
}

/* At temperature 1 the cross-entropy shares the sweeps over the columns outside the ids; else it has its own. */
static void sparse_row(struct row *r, struct sparse_row *sparse)
{
	cpu_sparse_sums(sparse);
	bool sweeps = cpu_sparse_sweeps_rest(sparse), shared = r->ce_weight != 0.0f && sparse->inv_tau == 1.0f && sweeps;
	r->max_s = sweeps ? sparse->max_s : cpu_row_max(r->s, r->V, NULL);
	if (shared)
		r->temperatures[0].zs = sparse->h.zs;
	else
		sum_row(r);
	cpu_sparse_values(sparse);
	write_ce(r, r->temperatures[0].zs);
	write_divergences(r, sparse->terms);
	if (!r->grad)
		return;
	if (!shared)
		set_coefficients(r);
	grad_sparse(r, sparse, shared);
}

/* ---- rows ---- */

/* Columns [from, to) of the gradient, as far as its rows reach: they have `add` alone. add: the row's first column. */
static void clear_columns(const struct loss_rows *a, int n, int from, int to)
{
	if (to > a->ld_grad)
		to = a->ld_grad;
	if (from >= to)
		return;
	size_t size = dtype_size(a->grad_type), n_elems = (size_t)(to - from);
	char *grad = (char *)a->grad + ((size_t)n * (size_t)a->ld_grad + (size_t)from) * size;
	const float *add = a->add ? a->add + (size_t)n * (size_t)a->ld + from : NULL;
	if (!add)
		memset(grad, 0, n_elems * size);
	else if (a->grad_type == DTYPE_F32)
		memmove(grad, add, n_elems * size);
	else
		cpu_narrow(grad, a->grad_type, add, n_elems);
}

static void dense_row(struct row *r)
{
	sum_row(r);
	if (r->t)
		sum_terms(r);
	write_ce(r, r->temperatures[0].zs);
	write_divergences(r, r->t ? r->terms : NULL);
	if (r->grad)
		grad_row(r);
}

static void find_maxima(const struct loss_rows *a, struct row *r, const float *t, bool wanted)
{
	int32_t *best_s = a->top1 && a->argmax_s ? a->argmax_s + r->n : NULL, *best_t = a->top1 && a->argmax_t ? a->argmax_t + r->n : NULL;
	if (wanted || best_s)
		r->max_s = cpu_row_max(r->s, r->V, best_s);
	if (r->t || (t && best_t))
		r->max_t = cpu_row_max(t, r->V, best_t);
}

static void loss_row(const struct plan *p, int n)
{
	const struct loss_rows *a = p->call;
	int from = a->first ? a->first[n] : 0, to = a->first ? a->last[n] + 1 : a->V;
	size_t at = (size_t)n * (size_t)a->ld + (size_t)from;
	const float *t = a->t ? a->t + at : NULL;
	struct row r;
	r.plan = p;
	r.n = n;
	r.V = to - from;
	r.next = n + 1 < a->n_rows ? a->ld : 0;
	r.ce_weight = a->ce_weight ? a->ce_weight[n] : 0.0f;
	r.kd_weight = a->kd_weight && a->n_terms + (a->teacher_ce != NULL) > 0 ? a->kd_weight[n] : 0.0f;
	r.s = a->s + at;
	r.t = r.kd_weight != 0.0f ? t : NULL;
	r.add = a->add ? a->add + at : NULL;
	r.grad_type = a->grad_type;
	r.grad = a->grad ? (char *)a->grad + ((size_t)n * (size_t)a->ld_grad + (size_t)from) * dtype_size(a->grad_type) : NULL;
	r.target = a->target ? a->target[n] : -1;
	r.max_s = r.max_t = 0;
	struct sparse_row categories;
	bool sparse = a->sparse && r.kd_weight != 0.0f && r.V > 0 && start_sparse(&r, &categories);
	bool idle = r.V < 1 || (r.ce_weight == 0.0f && !r.t && !sparse);
	find_maxima(a, &r, t, !idle && !sparse);
	start_temperatures(&r);
	if (idle) {
		write_ce(&r, 1);
		write_divergences(&r, NULL);
	} else if (sparse) {
		sparse_row(&r, &categories);
	} else {
		dense_row(&r);
	}
	write_teacher_ce(&r);
	if (!a->grad)
		return;
	clear_columns(a, n, 0, idle ? a->ld : from);
	clear_columns(a, n, idle ? a->ld : to, a->ld);
}

void cpu_loss_rows(struct ops *o, const struct loss_rows *a)
{
	struct plan p;
	plan_call(&p, a);
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
	for (int n = 0; n < a->n_rows; n++)
		loss_row(&p, n);
}

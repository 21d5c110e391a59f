/* Sparse targets: see kernels/cpu/cpu_sparse.h. May not look at teacher logits. Test: tests/test_ops_sparse.c */
#include "kernels/cpu/cpu_sparse.h"

#include <float.h>
#include <math.h>

/* ---- the ids ---- */

int cpu_sparse_count(const struct sparse_targets *t, const int32_t *ids, int V)
{
	int n = 0;
	for (; n < t->K && ids[n] >= 0; n++)
		BUG_ON(ids[n] >= V);
	return n;
}

/* The slots whose ids are in [at, at+n), at most n: without a branch to mispredict. */
static int slots_in(const struct sparse_row *r, int at, int n, int slots[SPARSE_PANEL])
{
	int found = 0;
	for (int i = 0; i < r->n_ids && found < n; i++) {
		slots[found] = i;
		found += (uint32_t)(r->ids[i] - at) < (uint32_t)n;
	}
	return found;
}

/* ---- the columns outside ---- */

bool cpu_sparse_sweeps_rest(const struct sparse_row *r)
{
	return r->targets->missing != MISSING_RENORMALISE;
}

/* The sum so far is taken down to a larger maximum. */
static void sum_panel(struct sparse_row *r, struct loss_temperature *h, int at, int n)
{
	float max = cpu_block_max(r->s + at, n);
	if (max > r->max_rest) {
		h->zs *= exp(((double)r->max_rest - (double)max) * (double)r->inv_tau);
		r->max_rest = max;
	}
	for (int i = 0; i < n; i += LOSS_BLOCK)
		cpu_temperature_sums(h, &(struct loss_block){.s = r->s + at + i, .n = n - i < LOSS_BLOCK ? n - i : LOSS_BLOCK,
							     .max_s = r->max_rest > -INFINITY ? r->max_rest : 0});
}

static void sum_rest(struct sparse_row *r)
{
	int slots[SPARSE_PANEL];
	float kept[SPARSE_PANEL];
	struct loss_temperature h = {.inv_tau = r->inv_tau, .use_s = true};
	for (int at = 0; at < r->V; at += SPARSE_PANEL) {
		int n = r->V - at < SPARSE_PANEL ? r->V - at : SPARSE_PANEL, n_slots = slots_in(r, at, n, slots);
		for (int i = 0; i < n_slots; i++) {
			kept[i] = r->s[r->ids[slots[i]]];
			r->s[r->ids[slots[i]]] = -INFINITY;
		}
		sum_panel(r, &h, at, n);
		for (int i = n_slots - 1; i >= 0; i--)
			r->s[r->ids[slots[i]]] = kept[i];
	}
	r->z_rest = h.zs;
}

/* A tail that underflowed to 0 counts as the smallest float, unless the student has nothing there either. */
static void open_tail(struct sparse_row *r)
{
	enum missing_mass missing = r->targets->missing;
	bool nothing = r->z_rest == 0;
	r->tail = cpu_sparse_sweeps_rest(r) && r->n_ids < r->V;
	r->tail_x = nothing ? -INFINITY
			    : (float)(log(r->z_rest) + ((double)r->max_rest - (double)r->max_s) * (double)r->inv_tau);
	r->tail_log_p = -INFINITY;
	if (missing != MISSING_TAIL)
		return;
	r->tail_log_p = logf(r->tail_p > 0 ? r->tail_p : FLT_TRUE_MIN);
	r->tail = r->tail && !(nothing && !(r->tail_p > 0));
}

/* ---- the categories: slots 0 to n_ids - 1, then the tail ---- */

struct categories {
	float x[LOSS_BLOCK], log_p[LOSS_BLOCK];
};

static struct loss_block gather(const struct sparse_row *r, const int *slots, int from, int n, struct categories *c)
{
	for (int i = 0; i < n; i++) {
		int slot = slots ? slots[i] : from + i;
		bool id = slot < r->n_ids;
		c->x[i] = id ? (r->s[r->ids[slot]] - r->max_s) * r->inv_tau : r->tail_x;
		c->log_p[i] = id ? r->log_p[slot] : r->tail_log_p;
	}
	return (struct loss_block){.s = c->x, .t = c->log_p, .at = from, .n = n, .max_t = r->max_log_p};
}

/* Gathers the categories [from, from + LOSS_BLOCK) as far as they go. */
static struct loss_block block_of(const struct sparse_row *r, int from, struct categories *c)
{
	int left = r->n_ids + r->tail - from;
	return gather(r, NULL, from, left < LOSS_BLOCK ? left : LOSS_BLOCK, c);
}

static void find_maxima(struct sparse_row *r)
{
	r->max_s = r->max_rest;
	for (int i = 0; i < r->n_ids; i++)
		r->max_s = r->s[r->ids[i]] > r->max_s ? r->s[r->ids[i]] : r->max_s;
}

void cpu_sparse_sums(struct sparse_row *r)
{
	struct categories c;
	r->max_rest = -INFINITY;
	r->z_rest = 0;
	if (cpu_sparse_sweeps_rest(r))
		sum_rest(r);
	find_maxima(r);
	open_tail(r);
	float max = cpu_row_max(r->log_p, r->n_ids, NULL);
	r->max_log_p = r->tail && r->tail_log_p > max ? r->tail_log_p : max;
	r->h.inv_tau = 1;
	r->h.use_s = r->h.use_t = true;
	for (int from = 0; from < r->n_ids + r->tail; from += LOSS_BLOCK) {
		struct loss_block k = block_of(r, from, &c);
		cpu_temperature_sums(&r->h, &k);
	}
	cpu_temperature_finish(&r->h);
	r->mass = r->targets->missing == MISSING_SAMPLED ? r->h.zt * exp((double)r->max_log_p) : 1;
}

/* Adaptive KL's: the tail stands among the ids by its mass, after those that are equal. */
static struct loss_head head_of(const struct sparse_row *r, double mass)
{
	struct loss_head head = {INFINITY, -1};
	double sum = 0;
	bool tail_left = r->tail;
	for (int i = 0; (i < r->n_ids || tail_left) && sum < mass;) {
		bool take_tail = tail_left && (i == r->n_ids || r->tail_log_p > r->log_p[i]);
		head.last = take_tail ? r->n_ids : i++;
		head.threshold = take_tail ? r->tail_log_p : r->log_p[head.last];
		tail_left = tail_left && !take_tail;
		sum += exp((double)head.threshold - (double)r->max_log_p) / r->h.zt;
	}
	return head;
}

void cpu_sparse_values(struct sparse_row *r)
{
	struct categories c;
	bool own_sums = false;
	for (int k = 0; k < r->n_terms; k++) {
		struct loss_term *term = &r->terms[k];
		own_sums |= term->form->shape != LOSS_KL;
		if (term->form->shape == LOSS_ADAPTIVE)
			term->head = head_of(r, term->form->a);
	}
	for (int from = 0; own_sums && from < r->n_ids + r->tail; from += LOSS_BLOCK) {
		struct loss_block block = block_of(r, from, &c);
		for (int k = 0; k < r->n_terms; k++)
			cpu_divergence_sums(&r->terms[k], &r->h, &block);
	}
	for (int k = 0; k < r->n_terms; k++) {
		struct loss_term *term = &r->terms[k];
		cpu_divergence_finish(term, &r->h, r->V);
		if (r->mass != 1)
			term->value = r->mass * (term->value + log(r->mass));
	}
}

/* ---- gradient ---- */

static void grad_categories(const struct sparse_row *r, const struct loss_block *k, const float *before, float *g)
{
	cpu_temperature_grad(&r->h, k, before, g);
	for (int i = 0; i < r->n_terms; i++)
		if (r->weights[i] != 0)
			cpu_divergence_grad(&r->terms[i], &r->h, k, r->V, r->weights[i], g);
}

static double sum_of_gradients(const struct sparse_row *r, int from, int to)
{
	struct categories c;
	float g[LOSS_BLOCK];
	double sum = 0;
	for (; from < to; from += LOSS_BLOCK) {
		struct loss_block k = gather(r, NULL, from, to - from < LOSS_BLOCK ? to - from : LOSS_BLOCK, &c);
		grad_categories(r, &k, NULL, g);
		for (int i = 0; i < k.n; i++)
			sum += (double)g[i];
	}
	return sum;
}

/* All gradients add up to 0. A tail of most of q has its own from the others: in h - q H it would cancel. */
static double tail_gradient(const struct sparse_row *r)
{
	if (exp((double)r->tail_x) > 0.5 * r->h.zs)
		return -sum_of_gradients(r, 0, r->n_ids);
	return sum_of_gradients(r, r->n_ids, r->n_ids + 1);
}

/* Outside, the tail's gradient is dealt out by q_j / q_tail = exp((s_j - max_rest)/tau) / z_rest. */
struct loss_temperature cpu_sparse_coefficients(struct sparse_row *r, double ce)
{
	struct loss_temperature outside = {.inv_tau = r->inv_tau};
	for (int k = 0; k < r->n_terms; k++) {
		r->weights[k] *= r->mass;
		cpu_divergence_coefficients(&r->terms[k], &r->h, r->weights[k]);
	}
	if (r->tail && r->z_rest != 0)
		outside.c_q = (tail_gradient(r) + ce * exp((double)r->tail_x)) / r->z_rest;
	r->h.c_q += ce;
	return outside;
}

void cpu_sparse_grad_ids(const struct sparse_row *r, const struct loss_block *k, const float *add, float *d)
{
	int slots[SPARSE_PANEL], n_slots = slots_in(r, k->at, k->n, slots);
	struct categories c;
	float g[LOSS_BLOCK];
	for (int from = 0; from < n_slots; from += LOSS_BLOCK) {
		int n = n_slots - from < LOSS_BLOCK ? n_slots - from : LOSS_BLOCK;
		struct loss_block block = gather(r, slots + from, 0, n, &c);
		for (int i = 0; i < n; i++)
			g[i] = add ? add[r->ids[slots[from + i]] - k->at] : 0;
		grad_categories(r, &block, g, g);
		for (int i = 0; i < n; i++)
			d[r->ids[slots[from + i]] - k->at] = g[i];
	}
}

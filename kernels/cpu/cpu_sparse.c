/* Sparse targets: see kernels/cpu/cpu_sparse.h. May not look at teacher logits. Test: tests/test_ops_sparse.c */
#include "kernels/cpu/cpu_sparse.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- the ids ---- */

/* The next slot, from `from` on, whose id is in [at, at+n); n_ids when there is none. */
static int next_slot(const struct sparse_row *r, int from, int at, int n)
{
	int i = from;
	for (; i < r->n_ids; i++) {
		if (i % LOSS_LANES == 0) { /* whole groups that miss */
			int hit = 0;
			while (!hit && i + LOSS_LANES <= r->n_ids) {
				for (int l = 0; l < LOSS_LANES; l++)
					hit |= (uint32_t)(r->ids[i + l] - at) < (uint32_t)n;
				i += hit ? 0 : LOSS_LANES;
			}
			if (i == r->n_ids)
				break;
		}
		if ((uint32_t)(r->ids[i] - at) < (uint32_t)n)
			return i;
	}
	return r->n_ids;
}

static int count_ids(const struct sparse_targets *t, const int32_t *ids, int V)
{
	int n = 0;
	for (; n < t->K && ids[n] >= 0; n++)
		BUG_ON(ids[n] >= V);
	return n;
}

/* Columns [at, at+n) with -inf at the ids: the row itself where there are none, else `copy`. */
static const float *other_columns(const struct sparse_row *r, int at, int n, float copy[LOSS_BLOCK])
{
	int i = next_slot(r, 0, at, n);
	if (i == r->n_ids)
		return r->s + at;
	memcpy(copy, r->s + at, (size_t)n * sizeof *copy);
	for (; i < r->n_ids; i = next_slot(r, i + 1, at, n))
		copy[r->ids[i] - at] = -INFINITY;
	return copy;
}

static void sweep_rest(struct sparse_row *r)
{
	float copy[LOSS_BLOCK];
	struct loss_temperature h = {.inv_tau = r->inv_tau, .use_s = true};
	for (int at = 0; at < r->V; at += LOSS_BLOCK) {
		int n = r->V - at < LOSS_BLOCK ? r->V - at : LOSS_BLOCK;
		float max = cpu_block_max(other_columns(r, at, n, copy), n);
		r->max_rest = max > r->max_rest ? max : r->max_rest;
	}
	for (int at = 0; at < r->V; at += LOSS_BLOCK) {
		int n = r->V - at < LOSS_BLOCK ? r->V - at : LOSS_BLOCK;
		struct loss_block k = {.s = other_columns(r, at, n, copy), .at = at, .n = n,
				       .max_s = r->max_rest > -INFINITY ? r->max_rest : 0};
		cpu_temperature_sums(&h, &k);
	}
	r->z_rest = h.zs;
}

/* ---- the categories: slots 0 to n_ids - 1, then the tail ---- */

static double exponent(const struct sparse_row *r, int slot)
{
	return ((double)r->s[r->ids[slot]] - (double)r->max_s) * (double)r->inv_tau;
}

/* Of the other columns together, in units of exp(max_s/tau). */
static double log_rest(const struct sparse_row *r)
{
	return r->z_rest > 0 || isnan(r->z_rest) ? log(r->z_rest) + ((double)r->max_rest - (double)r->max_s) * (double)r->inv_tau : -INFINITY;
}

static int n_categories(const struct sparse_row *r)
{
	return r->n_ids + r->tail;
}
static double log_q_of(const struct sparse_row *r, int i)
{
	return (i < r->n_ids ? exponent(r, i) : log_rest(r)) - r->log_z;
}
static double log_p_of(const struct sparse_row *r, int i)
{
	if (i < r->n_ids)
		return (double)r->log_p[i] - r->log_p_sum;
	return r->targets->missing == MISSING_TAIL ? log((double)r->tail_p) : -INFINITY;
}

bool cpu_sparse_sweeps_rest(const struct sparse_row *r)
{
	return r->targets->missing != MISSING_RENORMALISE;
}

/* A tail that underflowed to 0 counts as the smallest float, unless the student has nothing there either. */
static void open_tail(struct sparse_row *r)
{
	enum missing_mass missing = r->targets->missing;
	r->tail = r->n_ids < r->V && (missing == MISSING_TAIL || (missing == MISSING_ZERO && r->n_ids > 0));
	if (missing != MISSING_TAIL || r->tail_p > 0)
		return;
	r->tail_p = FLT_TRUE_MIN;
	r->tail = r->tail && log_rest(r) > -INFINITY;
}

static void start(struct sparse_row *r)
{
	r->n_ids = count_ids(r->targets, r->ids, r->V);
	r->max_rest = -INFINITY;
	r->z_rest = 0;
	if (cpu_sparse_sweeps_rest(r))
		sweep_rest(r);
	r->max_s = r->max_rest;
	for (int i = 0; i < r->n_ids; i++)
		r->max_s = r->s[r->ids[i]] > r->max_s ? r->s[r->ids[i]] : r->max_s;
}

void cpu_sparse_sums(struct sparse_row *r)
{
	start(r);
	double z = 0, p = 0;
	for (int i = 0; i < r->n_ids; i++) {
		z += exp(exponent(r, i));
		p += exp((double)r->log_p[i]);
	}
	if (cpu_sparse_sweeps_rest(r))
		z += exp(log_rest(r));
	bool whole = r->targets->missing == MISSING_TAIL || r->targets->missing == MISSING_SAMPLED;
	r->log_p_sum = whole ? 0 : log(p);
	r->log_z = log(z);
	open_tail(r);
}

double cpu_sparse_z(const struct sparse_row *r)
{
	return exp(r->log_z);
}

/* The two gaps: the tail stands among the ids by its mass, after those that are equal. */
static void weigh_adaptive(const struct sparse_row *r, struct loss_term *term)
{
	double gap[2] = {0, 0}, sum = 0;
	bool tail_left = r->tail;
	for (int i = 0; i < r->n_ids || tail_left;) {
		bool take_tail = tail_left && (i == r->n_ids || log_p_of(r, r->n_ids) > log_p_of(r, i));
		int slot = take_tail ? r->n_ids : i++;
		tail_left = tail_left && !take_tail;
		double p = exp(log_p_of(r, slot));
		gap[sum < term->form->a ? 0 : 1] += fabs(p - exp(log_q_of(r, slot)));
		sum += p;
	}
	double both = gap[0] + gap[1];
	term->f = both > 0 ? gap[0] / both : 1;
	term->r = both > 0 ? gap[1] / both : 0;
}

void cpu_sparse_values(struct sparse_row *r)
{
	for (int k = 0; k < r->n_terms; k++) {
		struct loss_term *term = &r->terms[k];
		term->f = term->form->f;
		term->r = term->form->r;
		if (term->form->shape == LOSS_ADAPTIVE)
			weigh_adaptive(r, term);
		for (int i = 0; i < n_categories(r); i++)
			cpu_category(term, log_p_of(r, i), log_q_of(r, i), &term->value, &term->total);
		if (term->value < 0 && r->targets->missing != MISSING_SAMPLED) /* by rounding */
			term->value = 0;
		if (isnan(r->log_z) && term->form->shape != LOSS_NOTHING)
			term->value = NAN;
	}
}

/* ---- gradient ---- */

/* sum_k weight_k H_k */
static double all_totals(const struct sparse_row *r)
{
	double sum = 0;
	for (int k = 0; k < r->n_terms; k++)
		sum += r->weights[k] != 0 ? r->weights[k] * r->terms[k].total : 0;
	return sum;
}

/* sum_k weight_k h_k of a category. */
static double all_h(const struct sparse_row *r, int i)
{
	double log_p = log_p_of(r, i), log_q = log_q_of(r, i), sum = 0;
	for (int k = 0; k < r->n_terms; k++) {
		double value = 0, h = 0;
		if (r->weights[k] != 0)
			cpu_category(&r->terms[k], log_p, log_q, &value, &h);
		sum += r->weights[k] * h;
	}
	return sum;
}

/* Outside, the tail's h is dealt out by q_j / q_tail = exp((s_j - max_rest)/tau) / z_rest. */
struct loss_temperature cpu_sparse_outside(const struct sparse_row *r)
{
	struct loss_temperature h = {.inv_tau = r->inv_tau};
	if (!cpu_sparse_sweeps_rest(r) || r->z_rest == 0)
		return h;
	double below = ((double)r->max_rest - (double)r->max_s) * (double)r->inv_tau;
	h.c_q = r->c_q * exp(below) - all_totals(r) * exp(below - r->log_z);
	if (r->tail)
		h.c_q += all_h(r, r->n_ids) / r->z_rest;
	return h;
}

void cpu_sparse_grad_ids(const struct sparse_row *r, const struct loss_block *k, const float *add, float *d)
{
	double total = all_totals(r);
	for (int i = next_slot(r, 0, k->at, k->n); i < r->n_ids; i = next_slot(r, i + 1, k->at, k->n)) {
		int at = r->ids[i] - k->at;
		double g = all_h(r, i) - exp(log_q_of(r, i)) * total + r->c_q * exp(exponent(r, i));
		d[at] = (float)(g + (add ? (double)add[at] : 0));
	}
}

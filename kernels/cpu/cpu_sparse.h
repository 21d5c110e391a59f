/* A row of sparse targets: its categories, the divergences over them, and the gradient that they send to all columns.
 * Categories are computed in double, one after the other and never stored; the columns outside the ids take one sweep for
 * their largest logit, one for their sum, and one for the gradient, each of which passes over the ids themselves: no mass is
 * ever 1 minus another. Test: tests/test_ops_sparse.c */
#ifndef KERNELS_CPU_CPU_SPARSE_H
#define KERNELS_CPU_CPU_SPARSE_H

#include "kernels/cpu/cpu_loss.h"

struct sparse_row {
	const struct sparse_targets *targets;
	const int32_t *ids;
	const float *log_p, *s; /* s (V): the student's row */
	int V, n_ids;           /* n_ids: used slots */
	bool tail;              /* there is a last category, of all other columns */
	float tail_p, inv_tau;
	float max_s, max_rest;  /* largest logit of the categories; of the columns outside the ids alone (-inf: there are none) */
	double z_rest;          /* sum of exp((s - max_rest)/tau) over the other columns */
	double log_p_sum;       /* taken from every log p: not 0 when p is renormalised */
	double log_z;           /* log of sum exp((s - max_s)/tau) over the categories */
	double c_q;             /* gradient: a cross-entropy that shares the sweeps adds c_q exp(s - max_s) */
	int n_terms;
	struct loss_term terms[LOSS_ROWS_MAX_TERMS];
	double weights[LOSS_ROWS_MAX_TERMS]; /* of tau dD/ds in the gradient */
};
/* Is there a sweep over the columns outside the ids? Not under RENORMALISE. */
bool cpu_sparse_sweeps_rest(const struct sparse_row *r);
/* From targets, ids, log_p, s, V, tail_p and inv_tau all but the terms, their weights and c_q. */
void cpu_sparse_sums(struct sparse_row *r);
/* sum exp((s - max_s)/tau) over all columns, where the rest was swept. */
double cpu_sparse_z(const struct sparse_row *r);
/* D and H of every term. */
void cpu_sparse_values(struct sparse_row *r);
/* The columns outside as a temperature with its coefficient; its blocks have max_rest for max_s. */
struct loss_temperature cpu_sparse_outside(const struct sparse_row *r);
/* Writes d at the ids of columns [k->at, k->at + k->n): the gradient and add (k->n; NULL: 0). */
void cpu_sparse_grad_ids(const struct sparse_row *r, const struct loss_block *k, const float *add, float *d);

/* cpu_category.c: what a class of log p, log q adds to D's terms (*value) and to h (*h). */
void cpu_category(const struct loss_term *term, double log_p, double log_q, double *value, double *h);

#endif

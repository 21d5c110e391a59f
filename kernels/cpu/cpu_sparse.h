/* A row of sparse targets. Its categories - the ids, and unless under RENORMALISE one more of all other columns - are gathered,
 * a block at a time, and go through the dense divergences as a row of their own at temperature 1, whose logits are
 * x = (s - max_s)/tau and log p; p is divided by its sum. The columns outside the ids take one sweep for their sum and one
 * for the gradient: no mass is ever 1 minus another. Panels of columns, because a row's slots are searched once a panel.
 * Test: tests/test_ops_sparse.c */
#ifndef KERNELS_CPU_CPU_SPARSE_H
#define KERNELS_CPU_CPU_SPARSE_H

#include "kernels/cpu/cpu_loss.h"

enum { SPARSE_PANEL = 4096 };

struct sparse_row {
	const struct sparse_targets *targets;
	const int32_t *ids;
	const float *log_p;
	float *s;               /* (V) the student's row: the sums hide its ids for a while */
	int V, n_ids;           /* n_ids: used slots */
	bool tail;              /* there is a last category, of all other columns */
	float tail_p, inv_tau;
	float tail_x, tail_log_p;
	float max_s, max_rest;  /* largest logit of the categories; of the columns outside the ids alone (-inf: there are none) */
	float max_log_p;
	double z_rest;          /* sum of exp((s - max_rest)/tau) over the other columns */
	double mass;            /* of p under SAMPLED: the divergence is mass (KL + log mass); else 1 */
	struct loss_temperature h; /* of the categories; zs: in units of exp(max_s/tau) */
	int n_terms;
	struct loss_term terms[LOSS_ROWS_MAX_TERMS];
	double weights[LOSS_ROWS_MAX_TERMS]; /* of tau dD/ds in the gradient */
};
/* Used slots. Without any there is no divergence, but under TAIL. */
int cpu_sparse_count(const struct sparse_targets *t, const int32_t *ids, int V);
/* Is there a sweep over the columns outside the ids? Not under RENORMALISE. */
bool cpu_sparse_sweeps_rest(const struct sparse_row *r);
/* From targets, ids, n_ids, log_p, s, V, tail_p, inv_tau and h's forward and reverse all but the terms and their weights. */
void cpu_sparse_sums(struct sparse_row *r);
/* D and H of every term. */
void cpu_sparse_values(struct sparse_row *r);
/* Once before any gradient; ce: a cross-entropy that shares the sweeps adds ce exp(s - max_s). Returns the columns outside as a
 * temperature with its coefficient; its blocks have max_rest for max_s. */
struct loss_temperature cpu_sparse_coefficients(struct sparse_row *r, double ce);
/* Writes d at the ids of the panel's columns [k->at, k->at + k->n): the gradient and add (k->n; NULL: 0). */
void cpu_sparse_grad_ids(const struct sparse_row *r, const struct loss_block *k, const float *add, float *d);

#endif

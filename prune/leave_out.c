/* The whole model once, then without each layer, against the whole one's hidden states. */
#include "prune/leave_out.h"

#include <stdlib.h>
#include <string.h>

struct leave_out {
	struct ops *ops;
	const struct arch *arch;
	int max_rows;
	struct fused_head *head;
	void *whole;     /* device (N, C) act: final norm's output of the whole model */
	float *z;        /* device (L) */
	float *ce, *kl;  /* device (N) */
	float *host;     /* (N) */
	double *sums;    /* (2, L): loss, kl; host */
	double whole_ce;
	double n_rows;
};

static void lay_out(struct leave_out *x, struct arena *device)
{
	size_t N = (size_t)x->max_rows, L = (size_t)x->arch->shape.L;
	x->whole = arena_alloc(device, N * (size_t)x->arch->shape.C * dtype_size(x->ops->act));
	x->z = arena_alloc(device, L * sizeof *x->z);
	x->ce = arena_alloc(device, N * sizeof *x->ce);
	x->kl = arena_alloc(device, N * sizeof *x->kl);
}

int leave_out_open(struct leave_out **out, struct ops *ops, const struct arch *arch, int max_rows, struct arena *device,
		   struct err *e)
{
	const struct shape *s = &arch->shape;
	struct fused_head_options head = {.max_rows = max_rows, .V = s->V, .C = s->C, .teacher_V = s->V, .n_teachers = 1};
	struct leave_out *x = calloc(1, sizeof *x);
	int rc = -1;
	*out = NULL;
	if (!x)
		return err_run(e, "importance: out of memory");
	*x = (struct leave_out){.ops = ops, .arch = arch, .max_rows = max_rows};
	TRY(fused_head_init(&x->head, ops, &head, device, e));
	lay_out(x, device);
	x->host = calloc((size_t)max_rows, sizeof *x->host);
	x->sums = calloc(2 * (size_t)s->L, sizeof *x->sums);
	if (!x->host || !x->sums) {
		err_run(e, "importance: out of memory for %d rows", max_rows);
		goto out;
	}
	*out = x;
	x = NULL;
	rc = 0;
out:
	leave_out_close(x);
	return rc;
}

void leave_out_close(struct leave_out *x)
{
	if (!x)
		return;
	fused_head_free(x->head);
	free(x->host);
	free(x->sums);
	free(x);
}

static double sum_of(struct leave_out *x, const float *device, int N)
{
	double sum = 0;
	x->ops->download(x->ops, x->host, device, (size_t)N * sizeof *x->host);
	for (int n = 0; n < N; n++)
		sum += (double)x->host[n];
	return sum;
}

/* Sums over the rows: cross-entropy of `hidden`, and, when kl, its distance from the whole model. */
static double spend(struct leave_out *x, const struct params *p, const void *hidden, int N, const int32_t *target,
		    const float *weight, double *kl)
{
	const struct shape *s = &x->arch->shape;
	const void *head = params_matrix(p, PARAM_HEAD, -1);
	const struct divergence_term term = {.kind = DIVERGENCE_FORWARD_KL, .weight = 1, .tau = 1};
	const struct soft_targets soft = {.kind = SOFT_TARGETS_DENSE, .V = s->V, .C = s->C, .hidden = x->whole, .head = head,
					  .head_type = p->type};
	struct head_loss loss = {.N = N, .C = s->C, .V = s->V, .hidden = hidden, .head = head, .head_type = p->type,
				 .target = target, .ce_weight = weight, .ce = x->ce};
	if (kl) {
		loss.n_terms = loss.n_teachers = 1;
		loss.terms = &term;
		loss.teachers[0] = (struct head_teacher){.soft = &soft, .weight = weight, .divergence = x->kl};
	}
	fused_head_run(x->head, x->ops, &loss);
	if (kl)
		*kl = sum_of(x, x->kl, N);
	return sum_of(x, x->ce, N);
}

static double count_rows(struct leave_out *x, const float *weight, int N)
{
	double n_rows = 0;
	x->ops->download(x->ops, x->host, weight, (size_t)N * sizeof *x->host);
	for (int n = 0; n < N; n++)
		n_rows += x->host[n] != 0;
	return n_rows;
}

void leave_out_batch(struct leave_out *x, const struct params *p, struct activations *act, const struct batch *b,
		     const int32_t *target, const float *weight)
{
	int N = b->B * b->T, L = x->arch->shape.L;
	const struct masks masks = {.attn = x->z, .ffn_block = x->z};
	struct ops *ops = x->ops;
	BUG_ON(N > x->max_rows || L > ARCH_MAX_L);
	float z[ARCH_MAX_L];
	void *final = transformer_forward(ops, p, act, b, NULL, NULL);
	ops->copy(ops, x->whole, final, (size_t)N * (size_t)x->arch->shape.C * dtype_size(ops->act));
	x->whole_ce += spend(x, p, x->whole, N, target, weight, NULL);
	x->n_rows += count_rows(x, weight, N);
	for (int l = 0; l < L; l++) {
		double kl;
		for (int i = 0; i < L; i++)
			z[i] = i != l;
		ops->upload(ops, x->z, z, (size_t)L * sizeof *z);
		final = transformer_forward(ops, p, act, b, &masks, NULL);
		x->sums[l] += spend(x, p, final, N, target, weight, &kl);
		x->sums[L + l] += kl;
	}
}

void leave_out_finish(const struct leave_out *x, double *loss, double *kl)
{
	int L = x->arch->shape.L;
	BUG_ON(x->n_rows == 0);
	for (int l = 0; l < L; l++) {
		if (loss)
			loss[l] = (x->sums[l] - x->whole_ce) / x->n_rows;
		if (kl)
			kl[l] = x->sums[L + l] / x->n_rows;
	}
}

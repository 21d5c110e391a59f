/* Documents side by side. Test: tests/test_compare.c */
#include "results/columns.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct evaluation *result_scores(const struct result *r, const char *domain)
{
	for (int i = 0; i < r->n_evals; i++)
		if (!strcmp(r->evals[i].domain, domain))
			return &r->evals[i].scores;
	return NULL;
}

bool columns_same_tokens(const struct evaluation *a, const struct evaluation *b)
{
	return a->data_hash == b->data_hash && a->n_documents == b->n_documents && a->tokens == b->tokens;
}

bool columns_same_text(const struct evaluation *a, const struct evaluation *b)
{
	if (a->n_documents != b->n_documents)
		return false;
	for (size_t i = 0; i < a->n_documents; i++)
		if (a->documents[i].bytes != b->documents[i].bytes)
			return false;
	return true;
}

int columns_init(struct columns *x, const struct result *const *seeds, int n_seeds, const char *domain, struct err *e)
{
	const struct evaluation *first = result_scores(seeds[0], domain);
	*x = (struct columns){.n = first->n_documents};
	x->nll = calloc(3 * x->n, sizeof *x->nll);
	if (!x->nll)
		return err_run(e, "comparison: out of memory");
	x->tokens = x->nll + x->n;
	x->bytes = x->tokens + x->n;
	for (int s = 0; s < n_seeds; s++) {
		const struct evaluation *v = result_scores(seeds[s], domain);
		if (!v || !columns_same_tokens(v, first))
			return err_user(e, "'%s', domain '%s': seeds %llu and %llu were scored on different tokens", seeds[0]->name,
					domain, (unsigned long long)seeds[0]->seed, (unsigned long long)seeds[s]->seed);
		for (size_t i = 0; i < x->n; i++)
			x->nll[i] += v->documents[i].nll / n_seeds;
	}
	for (size_t i = 0; i < x->n; i++) {
		x->tokens[i] = first->documents[i].tokens;
		x->bytes[i] = first->documents[i].bytes;
	}
	return 0;
}

void columns_release(struct columns *x)
{
	free(x->nll);
	*x = (struct columns){0};
}

int columns_interval(struct interval *out, const struct columns *x, const struct columns *less, bool in_bits,
		     const struct bootstrap_options *o, struct err *e)
{
	const double *weights = in_bits ? x->bytes : x->tokens;
	BUG_ON(less && less->n != x->n);
	if (bootstrap_paired(out, x->nll, less ? less->nll : NULL, weights, x->n, o, e) < 0)
		return -1;
	if (in_bits) {
		out->mean /= M_LN2;
		out->low /= M_LN2;
		out->high /= M_LN2;
	}
	return 0;
}

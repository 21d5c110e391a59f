#include "recipes/rows.h"

#include <stdlib.h>
#include <string.h>

int rows_init(struct rows *r, int B, int T, struct err *e)
{
	size_t N = (size_t)B * (size_t)T;
	*r = (struct rows){.B = B, .T = T, .tokens = malloc(4 * N * sizeof(int32_t)), .flags = malloc(N),
			   .domain = calloc((size_t)B, sizeof(int))};
	if (!r->tokens || !r->flags || !r->domain) {
		rows_release(r);
		return err_run(e, "out of memory for a micro-batch of %d x %d tokens", B, T);
	}
	r->targets = r->tokens + N;
	r->pos = r->tokens + 2 * N;
	r->start = r->tokens + 3 * N;
	return 0;
}

void rows_release(struct rows *r)
{
	free(r->tokens);
	free(r->flags);
	free(r->domain);
	memset(r, 0, sizeof *r);
}

void rows_next(struct rows *r, struct batches *b)
{
	for (int i = 0; i < r->B; i++)
		r->domain[i] = batches_domain(b, i);
	batches_next(b, r->B, r->tokens, r->targets, r->pos, r->start, r->flags);
}

void rows_skip(struct rows *r, struct batches *b, int64_t n_sequences)
{
	for (; n_sequences > 0; n_sequences -= r->B)
		batches_next(b, n_sequences < r->B ? (int)n_sequences : r->B, r->tokens, r->targets, r->pos, r->start, r->flags);
}

/* Windows and their packing. Test: tests/test_evaluate.c */
#include "results/windows.h"

#include "base/err.h"

#include <string.h>

bool window_at(size_t n_tokens, int S, size_t k, struct window *w)
{
	size_t length = (size_t)S, stride = length / 2;
	w->first = k * stride;
	w->end = w->first + length < n_tokens ? w->first + length : n_tokens;
	w->scored = k ? w->first - stride + length : 1;
	return w->scored < w->end;
}

void packing_clear(struct packing *p)
{
	size_t n = (size_t)p->B * (size_t)p->T;
	memset(p->tokens, 0, n * sizeof *p->tokens);
	memset(p->targets, 0, n * sizeof *p->targets);
	memset(p->pos, 0, n * sizeof *p->pos);
	memset(p->weight, 0, n * sizeof *p->weight);
	memset(p->filled, 0, (size_t)p->B * sizeof *p->filled);
	for (size_t i = 0; i < n; i++)
		p->start[i] = (int32_t)(i % (size_t)p->T);
	p->used_T = 0;
}

static int sequence_with_room(const struct packing *p, size_t rows)
{
	for (int b = 0; b < p->B; b++)
		if ((size_t)(p->T - p->filled[b]) >= rows)
			return b;
	return -1;
}

bool packing_add(struct packing *p, const int32_t *ids, const struct window *w, size_t document)
{
	size_t rows = w->end - w->first - 1;
	BUG_ON(rows > (size_t)p->T);
	int b = sequence_with_room(p, rows);
	if (b < 0)
		return false;
	size_t row = (size_t)b * (size_t)p->T + (size_t)p->filled[b];
	for (size_t i = 0; i < rows; i++, row++) {
		p->tokens[row] = ids[w->first + i];
		p->targets[row] = ids[w->first + i + 1];
		p->pos[row] = (int32_t)i;
		p->start[row] = p->filled[b];
		p->weight[row] = w->first + i + 1 >= w->scored;
		p->document[row] = document;
	}
	p->filled[b] += (int)rows;
	p->used_T = p->filled[b] > p->used_T ? p->filled[b] : p->used_T;
	return true;
}

void packing_close(struct packing *p)
{
	size_t T = (size_t)p->T, used = (size_t)p->used_T;
	for (size_t b = 1; b < (size_t)p->B && used < T; b++) {
		memmove(p->tokens + b * used, p->tokens + b * T, used * sizeof *p->tokens);
		memmove(p->targets + b * used, p->targets + b * T, used * sizeof *p->targets);
		memmove(p->pos + b * used, p->pos + b * T, used * sizeof *p->pos);
		memmove(p->start + b * used, p->start + b * T, used * sizeof *p->start);
		memmove(p->weight + b * used, p->weight + b * T, used * sizeof *p->weight);
		memmove(p->document + b * used, p->document + b * T, used * sizeof *p->document);
	}
}

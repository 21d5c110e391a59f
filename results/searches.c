/* The searches for shapes that a comparison's students come from: found beside their results, shown as a table.
 * Test: tests/test_shape_search.c */
#include "results/compare.h"

#include "results/shape_search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int add(struct comparison *c, struct shape_search *s, struct err *e)
{
	for (int i = 0; i < c->n_searches; i++)
		if (!strcmp(c->searches[i]->id, s->id)) {
			free(s);
			return 0;
		}
	struct shape_search **grown = realloc(c->searches, (size_t)(c->n_searches + 1) * sizeof *grown);
	if (!grown) {
		free(s);
		return err_run(e, "comparison: out of memory");
	}
	c->searches = grown;
	c->searches[c->n_searches++] = s;
	return 0;
}

static int find_of(struct comparison *c, const struct result *r, struct err *e)
{
	for (int i = 0; i < r->n_searches; i++) {
		char path[2048];
		struct shape_search *s;
		snprintf(path, sizeof path, "%s/%s", r->dir, r->searches[i]);
		if (shape_search_read(&s, path, e) < 0 || add(c, s, e) < 0)
			return -1;
	}
	return 0;
}

int searches_find(struct comparison *c, struct err *e)
{
	for (int i = 0; i < c->n_rows; i++)
		for (int k = 0; k < c->rows[i].n_seeds; k++)
			if (find_of(c, c->rows[i].seeds[k], e) < 0)
				return -1;
	return 0;
}

void searches_release(struct comparison *c)
{
	for (int i = 0; i < c->n_searches; i++)
		free(c->searches[i]);
	free(c->searches);
}

/* ---- the table ---- */

struct time_columns { /* 0: no search has such a time */
	int prefill, decode;
};

static struct time_columns times_of(const struct comparison *c, int *n)
{
	bool prefill = false, decode = false;
	struct time_columns x = {0};
	for (int i = 0; i < c->n_searches; i++)
		for (int k = 0; k < c->searches[i]->n; k++) {
			prefill |= c->searches[i]->candidates[k].achieved[SHAPE_SEARCH_PREFILL_MS] > 0;
			decode |= c->searches[i]->candidates[k].achieved[SHAPE_SEARCH_DECODE_MS] > 0;
		}
	if (prefill)
		x.prefill = (*n)++;
	if (decode)
		x.decode = (*n)++;
	return x;
}

static void set_nll(struct table *t, int column, double nll)
{
	if (isinf(nll))
		table_set(t, column, "diverged");
	else if (nll > 0)
		table_set(t, column, "%.4f", nll);
}

static void set_time(struct table *t, int column, const struct shape_candidate *k, int measure)
{
	if (column && k->achieved[measure] > 0)
		table_set(t, column, "%.3g → %.3g", k->predicted[measure], k->achieved[measure]);
}

static int add_candidate(struct table *t, const struct shape_search *s, int i, struct time_columns times, struct err *e)
{
	const struct shape_candidate *k = &s->candidates[i];
	char budget[160], number[32];
	if (table_row(t, e) < 0)
		return -1;
	shape_search_budget(s, budget, sizeof budget);
	t->strong[t->n_rows - 1] = k->chosen;
	table_set(t, 0, "%s", i ? "" : budget);
	table_set(t, 1, "%d × %d, heads %d/%d, ffn %d", k->shape.L, k->shape.C, k->shape.NH, k->shape.NKV, k->shape.F);
	for (int m = 0; m < SHAPE_SEARCH_PREFILL_MS; m++)
		table_set(t, 2 + m, "%s", table_count(k->achieved[m], number));
	set_nll(t, 5, k->predicted_nll);
	set_nll(t, 6, k->nll);
	set_nll(t, 7, k->trained_nll);
	if (k->missed)
		table_set(t, 8, "too slow");
	else if (k->rank)
		table_set(t, 8, "%d", k->rank);
	set_time(t, times.prefill, k, SHAPE_SEARCH_PREFILL_MS);
	set_time(t, times.decode, k, SHAPE_SEARCH_DECODE_MS);
	return 0;
}

int compare_table_searches(const struct comparison *c, struct table *t, struct err *e)
{
	const char *header[11] = {"budget", "shape", "parameters", "bytes", "FLOP/token", "NLL of the cut, predicted", "achieved", "after a short training",
				  "rank"};
	int n = 9;
	struct time_columns times = times_of(c, &n);
	if (times.prefill)
		header[times.prefill] = "prefill ms, predicted → timed";
	if (times.decode)
		header[times.decode] = "decode ms, predicted → timed";
	if (compare_table_begin(t, header, n, 2, e) < 0)
		return -1;
	for (int i = 0; i < c->n_searches; i++)
		for (int k = 0; k < c->searches[i]->n; k++)
			if (add_candidate(t, c->searches[i], k, times, e) < 0)
				return -1;
	return 0;
}

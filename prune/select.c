/* The choice of units: the best of every row, by scores. Test: tests/test_scores.c */
#include "prune/scores.h"

#include <stdlib.h>

struct ranked {
	float score;
	int unit;
};

static int better_first(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	return (x->unit > y->unit) - (x->unit < y->unit);
}

static int ascending(const void *a, const void *b)
{
	const int *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* out (n_kept): the best of scores (n), numbered from first, ascending. scratch: (n). */
static void choose(const float *scores, int n, int n_kept, int first, struct ranked *scratch, int *out)
{
	for (int i = 0; i < n; i++)
		scratch[i] = (struct ranked){scores[i], i};
	qsort(scratch, (size_t)n, sizeof *scratch, better_first);
	for (int i = 0; i < n_kept; i++)
		out[i] = first + scratch[i].unit;
	qsort(out, (size_t)n_kept, sizeof *out, ascending);
}

/* One layer's groups and heads; a group of the target is chosen among run * NH/NKV query heads. */
static void choose_heads(struct kept *k, const struct shape *s, const struct shape *t, int i, const struct scores *x,
			 struct ranked *scratch)
{
	size_t l = (size_t)k->layers[i];
	int run = k->merge, size = s->NH / s->NKV * run, size_kept = t->NH / t->NKV;
	int *groups = k->groups + (size_t)i * (size_t)t->NKV, *heads = k->heads + (size_t)i * (size_t)t->NH;
	if (run > 1)
		for (int g = 0; g < t->NKV; g++)
			groups[g] = g * run;
	else
		choose(x->groups + l * (size_t)s->NKV, s->NKV, t->NKV, 0, scratch, groups);
	for (int g = 0; g < t->NKV; g++) {
		int first = groups[g] * (s->NH / s->NKV);
		choose(x->heads + l * (size_t)s->NH + first, size, size_kept, first, scratch, heads + g * size_kept);
	}
}

static int run_length(const struct shape *s, const struct shape *t, const struct select_options *o, struct err *e)
{
	if (!o->merge_kv)
		return 1;
	if (s->NKV % t->NKV)
		return err_user(e, "importance: kv_heads %d does not divide the source's %d; key-value heads are merged in runs of "
				"equal length", t->NKV, s->NKV);
	return s->NKV / t->NKV;
}

int kept_from_scores(struct kept *k, const struct arch *source, const struct arch *target, const struct scores *x,
		     const struct select_options *o, struct err *e)
{
	const struct shape *s = &source->shape, *t = &target->shape;
	size_t longest = (size_t)(s->C > s->F ? s->C : s->F) + (size_t)s->L + (size_t)s->NH;
	struct ranked *scratch = NULL;
	int run = run_length(s, t, o, e), rc = -1;
	*k = (struct kept){0};
	if (run < 0)
		return -1;
	BUG_ON(t->NH / t->NKV > s->NH / s->NKV * run);
	scratch = calloc(longest, sizeof *scratch);
	if (!scratch) {
		err_run(e, "importance: out of memory for %zu ranks", longest);
		goto out;
	}
	TRY(kept_alloc(k, t, e));
	k->merge = run;
	choose(x->layers, s->L, t->L, 0, scratch, k->layers);
	choose(x->hidden, s->C, t->C, 0, scratch, k->hidden);
	for (int i = 0; i < t->L; i++) {
		choose_heads(k, s, t, i, x, scratch);
		choose(x->ffn + (size_t)k->layers[i] * (size_t)s->F, s->F, t->F, 0, scratch, k->ffn + (size_t)i * (size_t)t->F);
	}
	rc = 0;
out:
	free(scratch);
	return rc;
}

/* Curves out of metrics, by the names of their columns. Test: tests/test_report.c */
#include "results/curves.h"

#include "results/csv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int open_metrics(struct csv *c, const struct result *r, const char *file, struct err *e)
{
	char path[2048];
	snprintf(path, sizeof path, "%s/%s", r->dir, file);
	return csv_read(c, path, e);
}

static int out_of_memory(struct err *e)
{
	return err_run(e, "curves: out of memory");
}

/* Rows whose held-out loss is there. */
static int add_loss(struct curves *s, const struct result *r, int row, const struct csv *c, bool in_init, double before, struct err *e)
{
	int tokens = csv_column(c, "tokens"), nll = csv_column(c, "heldout_nll");
	if (tokens < 0 || nll < 0)
		return 0;
	struct curve *grown = realloc(s->loss, (size_t)(s->n_loss + 1) * sizeof *grown);
	if (!grown)
		return out_of_memory(e);
	s->loss = grown;
	struct curve *curve = &s->loss[s->n_loss];
	*curve = (struct curve){.of = r, .row = row, .in_init = in_init, .tokens = malloc((2 * c->n_rows + 1) * sizeof(double))};
	if (!curve->tokens)
		return out_of_memory(e);
	s->n_loss++;
	curve->nll = curve->tokens + c->n_rows;
	for (size_t i = 0; i < c->n_rows; i++) {
		if (!isfinite(csv_at(c, i, nll)) || !isfinite(csv_at(c, i, tokens)))
			continue;
		curve->tokens[curve->n] = before + csv_at(c, i, tokens);
		curve->nll[curve->n++] = csv_at(c, i, nll);
	}
	return 0;
}

static int add_structure(struct curves *s, const struct result *r, const struct csv *c, int target, int expected, struct err *e)
{
	int step = csv_column(c, "step");
	struct mask_curve *grown = realloc(s->masks, (size_t)(s->n_masks + 1) * sizeof *grown);
	if (!grown)
		return out_of_memory(e);
	s->masks = grown;
	struct mask_curve *curve = &s->masks[s->n_masks];
	*curve = (struct mask_curve){.of = r, .step = malloc((3 * c->n_rows + 1) * sizeof(double))};
	if (!curve->step)
		return out_of_memory(e);
	s->n_masks++;
	const char *name = c->names[target];
	snprintf(curve->structure, sizeof curve->structure, "%.*s", (int)(strlen(name) - strlen("_target")), name);
	curve->target = curve->step + c->n_rows;
	curve->expected = curve->target + c->n_rows;
	for (size_t i = 0; i < c->n_rows; i++) {
		double t = csv_at(c, i, target), x = csv_at(c, i, expected);
		if (!isfinite(t) || !isfinite(x))
			continue;
		curve->step[curve->n] = step < 0 ? (double)i : csv_at(c, i, step);
		curve->target[curve->n] = t;
		curve->expected[curve->n++] = x;
	}
	return 0;
}

/* Every column X_target that has an X_expected beside it. */
static int add_masks(struct curves *s, const struct result *r, const struct csv *c, struct err *e)
{
	for (size_t i = 0; i < c->n_columns; i++) {
		char other[64];
		size_t n = strlen(c->names[i]), suffix = strlen("_target");
		if (n <= suffix || strcmp(c->names[i] + n - suffix, "_target"))
			continue;
		snprintf(other, sizeof other, "%.*s_expected", (int)(n - suffix), c->names[i]);
		int expected = csv_column(c, other);
		if (expected >= 0 && add_structure(s, r, c, (int)i, expected, e) < 0)
			return -1;
	}
	return 0;
}

static bool same_curve(const struct mask_curve *a, const struct mask_curve *b)
{
	size_t bytes = a->n * sizeof *a->step;
	return a->n == b->n && !strcmp(a->structure, b->structure) && !memcmp(a->step, b->step, bytes) &&
	       !memcmp(a->target, b->target, bytes) && !memcmp(a->expected, b->expected, bytes);
}

/* The first of n curves that were there before and are those from n on; -1: none. */
static int same_masks(const struct curves *s, int n)
{
	for (int first = 0; first < n; first++) {
		int k = 0, more = s->n_masks - n;
		while (k < more && first + k < n && s->masks[first + k].of == s->masks[first].of &&
		       same_curve(&s->masks[first + k], &s->masks[n + k]))
			k++;
		if (more && k == more)
			return first;
	}
	return -1;
}

/* Curves from n on go when they are there already. */
static int share_masks(struct curves *s, int n, struct err *e)
{
	int first = same_masks(s, n);
	if (first < 0)
		return 0;
	struct shared_masks *grown = realloc(s->shared, (size_t)(s->n_shared + 1) * sizeof *grown);
	if (!grown)
		return out_of_memory(e);
	s->shared = grown;
	s->shared[s->n_shared++] = (struct shared_masks){s->masks[n].of, s->masks[first].of};
	while (s->n_masks > n)
		free(s->masks[--s->n_masks].step);
	return 0;
}

void curves_masks_names(const struct curves *s, const struct result *of, char *out, size_t n)
{
	int more = 0;
	snprintf(out, n, "%s", of->name);
	for (int i = 0; i < s->n_shared; i++) {
		size_t used = strlen(out);
		if (s->shared[i].as != of)
			continue;
		if (used + strlen(s->shared[i].of->name) + sizeof ", and 64 more" < n)
			snprintf(out + used, n - used, ", %s", s->shared[i].of->name);
		else
			more++;
	}
	if (more)
		snprintf(out + strlen(out), n - strlen(out), " and %d more", more);
}

static int add_result(struct curves *s, const struct result *r, int row, struct err *e)
{
	int rc = -1;
	struct csv c = {0};
	int before = s->n_masks;
	for (int i = 0; i < r->n_earlier; i++) {
		TRY(open_metrics(&c, r, r->earlier[i].metrics, e));
		TRY(add_loss(s, r, row, &c, r->earlier[i].masks, r->earlier[i].after, e));
		csv_release(&c);
	}
	if (*r->masks_metrics) {
		TRY(open_metrics(&c, r, r->masks_metrics, e));
		TRY(add_loss(s, r, row, &c, true, r->masks_after, e));
		TRY(add_masks(s, r, &c, e));
		TRY(share_masks(s, before, e));
		csv_release(&c);
	}
	if (*r->metrics) {
		TRY(open_metrics(&c, r, r->metrics, e));
		TRY(add_loss(s, r, row, &c, false, r->train.init_tokens, e));
	}
	rc = 0;
out:
	csv_release(&c);
	return rc;
}

int curves_read(struct curves *s, const struct comparison *c, struct err *e)
{
	*s = (struct curves){0};
	for (int i = 0; i < c->n_rows; i++)
		for (int k = 0; k < c->rows[i].n_seeds; k++)
			if (add_result(s, c->rows[i].seeds[k], i, e) < 0) {
				curves_release(s);
				return -1;
			}
	return 0;
}

void curves_release(struct curves *s)
{
	for (int i = 0; i < s->n_loss; i++)
		free(s->loss[i].tokens);
	for (int i = 0; i < s->n_masks; i++)
		free(s->masks[i].step);
	free(s->loss);
	free(s->masks);
	free(s->shared);
	*s = (struct curves){0};
}

/* Probes, features and the fit. */
#include "prune/time_model.h"

#include "prune/cholesky.h"

#include <math.h>
#include <string.h>

static int rounded(int size, double share, int multiple)
{
	int n = (int)(size * share);
	n -= n % multiple;
	return share >= 1 ? size : n ? n : size < multiple ? size : multiple;
}

static struct arch probe(const struct arch *source, const double share[4], int hidden_multiple, int intermediate_multiple)
{
	struct arch a = *source;
	int group = a.shape.NH / a.shape.NKV;
	a.shape.L = rounded(a.shape.L, share[0], 1);
	a.shape.C = rounded(a.shape.C, share[1], hidden_multiple);
	a.shape.NKV = rounded(a.shape.NKV, share[2], 1);
	a.shape.NH = a.shape.NKV * group;
	a.shape.F = rounded(a.shape.F, share[3], intermediate_multiple);
	return a;
}

void time_probes(const struct arch *source, int hidden_multiple, int intermediate_multiple, struct arch out[TIME_PROBES])
{
	int n = 0;
	BUG_ON(hidden_multiple < 1 || intermediate_multiple < 1);
	for (int corner = 0; corner < 16; corner++) {
		double share[4];
		int low = 0;
		for (int i = 0; i < 4; i++) {
			share[i] = corner >> i & 1 ? 0.25 : 1;
			low += corner >> i & 1;
		}
		if (low % 2 == 0)
			out[n++] = probe(source, share, hidden_multiple, intermediate_multiple);
	}
	for (double all = 0.375; n < TIME_PROBES; all += 0.1875)
		out[n++] = probe(source, (double[]){all, all, all, all}, hidden_multiple, intermediate_multiple);
}

static void features(const struct arch *a, double f[TIME_FEATURES])
{
	const struct shape *s = &a->shape;
	double L = s->L, C = s->C, heads = (double)s->NH * s->HD, kv = (double)s->NKV * s->HD;
	f[0] = 1;
	f[1] = L;
	f[2] = C;
	f[3] = L * heads;
	f[4] = L * C * (2 * heads + 2 * kv);
	f[5] = L * 3 * C * s->F;
}

double time_predict(const struct time_line *t, const struct arch *a)
{
	double f[TIME_FEATURES], ms = 0;
	features(a, f);
	for (int i = 0; i < TIME_FEATURES; i++)
		ms += t->weight[i] * f[i];
	return ms;
}

/* Sums over the shapes, each divided by its time, columns by their norms: gram (F,F), right (F). */
struct normal {
	double gram[TIME_FEATURES][TIME_FEATURES], right[TIME_FEATURES], norm[TIME_FEATURES];
};

static void sum_up(struct normal *s, const struct arch *shapes, const double *ms, int n)
{
	memset(s, 0, sizeof *s);
	for (int k = 0; k < n; k++) {
		double f[TIME_FEATURES];
		features(&shapes[k], f);
		for (int i = 0; i < TIME_FEATURES; i++) {
			s->right[i] += f[i] / ms[k];
			for (int j = 0; j < TIME_FEATURES; j++)
				s->gram[i][j] += f[i] / ms[k] * (f[j] / ms[k]);
		}
	}
	for (int i = 0; i < TIME_FEATURES; i++)
		s->norm[i] = sqrt(s->gram[i][i]);
	for (int i = 0; i < TIME_FEATURES; i++) {
		s->right[i] /= s->norm[i];
		for (int j = 0; j < TIME_FEATURES; j++)
			s->gram[i][j] /= s->norm[i] * s->norm[j];
	}
}

/* Least squares on the features of a subset. Returns false where they are dependent or a weight is negative. */
static bool solve(const struct normal *s, unsigned subset, double weight[TIME_FEATURES])
{
	double a[TIME_FEATURES * TIME_FEATURES], x[TIME_FEATURES];
	int of[TIME_FEATURES], n = 0;
	for (int i = 0; i < TIME_FEATURES; i++)
		if (subset >> i & 1)
			of[n++] = i;
	for (int i = 0; i < n; i++) {
		x[i] = s->right[of[i]];
		for (int j = 0; j < n; j++)
			a[i * n + j] = s->gram[of[i]][of[j]];
	}
	if (cholesky_factor(a, (size_t)n, 1) < 0)
		return false;
	cholesky_solve(a, (size_t)n, x, 1, 1);
	memset(weight, 0, TIME_FEATURES * sizeof *weight);
	for (int i = 0; i < n; i++) {
		if (!(x[i] >= 0))
			return false;
		weight[of[i]] = x[i] / s->norm[of[i]];
	}
	return true;
}

static double squares(struct time_line *t, const struct arch *shapes, const double *ms, int n)
{
	double sum = 0;
	t->worst = 0;
	for (int k = 0; k < n; k++) {
		double off = time_predict(t, &shapes[k]) / ms[k] - 1;
		sum += off * off;
		t->worst = fmax(t->worst, fabs(off));
	}
	return sum;
}

void time_fit(struct time_line *out, const struct arch *shapes, const double *ms, int n)
{
	struct normal s;
	double best = INFINITY;
	BUG_ON(n < 1);
	sum_up(&s, shapes, ms, n);
	for (unsigned subset = 1; subset < 1u << TIME_FEATURES; subset++) {
		struct time_line t;
		if (__builtin_popcount(subset) > n || !solve(&s, subset, t.weight))
			continue;
		double sum = squares(&t, shapes, ms, n);
		if (sum < best - 1e-12) { /* more features must earn their place */
			best = sum;
			*out = t;
		}
	}
	BUG_ON(isinf(best)); /* a constant fits anything */
}

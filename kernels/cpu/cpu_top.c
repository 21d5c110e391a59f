/* The K most probable columns of a row of logits, with the mass of the others.
 * Three sweeps: maxima of a thousand groups of columns, whose K-th largest bounds the K-th largest logit from below;
 * the few columns that reach the bound, sorted (by a heap in the caller's own K slots where they are many); one exponential per
 * column, summed over the complement. No scratch but the stack, any K up to V. Test: tests/test_ops_top.c */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpu_math.h"
#include "kernels/cpu/cpu_pairs.h"

#include <limits.h>
#include <math.h>

enum { GROUPS = 1024, LANES = 256, BLOCK = 512 };

/* Columns in groups: LANES * depth columns hold LANES groups, each of every LANES-th column (so many that a vector of maxima
 * is stored long before it is needed again). */
struct groups {
	const float *x;
	int V, depth, n; /* n: whole LANES, at most GROUPS + LANES; V/depth of them at least are not empty */
	float max[GROUPS + LANES]; /* -infinity in an empty one. NaNs are passed over */
};

static int first_column(const struct groups *g, int group)
{
	return (group / LANES * g->depth) * LANES + group % LANES;
}

static void find_maxima(struct groups *g, const float *row, int V)
{
	g->x = row;
	g->V = V;
	g->depth = (V + GROUPS - 1) / GROUPS;
	g->n = (V + LANES * g->depth - 1) / (LANES * g->depth) * LANES;
	for (int i = 0; i < g->n; i += LANES) {
		const float *x = row + first_column(g, i);
		float *max = g->max + i;
		for (int l = 0; l < LANES; l++)
			max[l] = -INFINITY;
		for (int left = V - first_column(g, i), d = 0; d < g->depth && left > 0; d++, x += LANES, left -= LANES) {
			int width = left < LANES ? left : LANES;
#pragma omp simd
			for (int l = 0; l < width; l++)
				max[l] = x[l] > max[l] ? x[l] : max[l];
		}
	}
}

/* Integers in the order of the floats, and back: its own inverse on the bits. */
static int32_t ordered(int32_t bits)
{
	return bits ^ (bits >> 31 & INT32_MAX);
}

static int count_from(const int32_t *keys, int n, int32_t bound)
{
	int count = 0;
#pragma omp simd reduction(+ : count)
	for (int i = 0; i < n; i++)
		count += keys[i] >= bound;
	return count;
}

/* A value that at least K of the maxima reach, and not many more: bisection over the bits. K <= n. */
static float bound_of(const struct groups *g, int K)
{
	int32_t keys[GROUPS + LANES], low = INT32_MAX, high = INT32_MIN;
	int n = g->n;
	memcpy(keys, g->max, (size_t)n * sizeof *keys);
	for (int i = 0; i < n; i++) {
		keys[i] = ordered(keys[i]);
		low = keys[i] < low ? keys[i] : low;
		high = keys[i] > high ? keys[i] : high;
	}
	int count = n;
	while (count > K + K / 8 && low < high) {
		int32_t middle = (int32_t)(((int64_t)low + high + 1) >> 1);
		int reach = count_from(keys, n, middle);
		if (reach >= K) {
			low = middle;
			count = reach;
		} else {
			high = middle - 1;
		}
	}
	low = ordered(low);
	float bound;
	memcpy(&bound, &low, sizeof bound);
	return bound;
}

/* Gathers the columns that reach the bound and sorts them; false when there are too many. */
static bool gather(struct pairs *best, int K, const struct groups *g, float bound)
{
	struct pairs_few few;
	few.n = 0;
	for (int group = 0; group < g->n; group++) {
		int from = first_column(g, group), end = from + g->depth * LANES;
		if (g->max[group] < bound)
			continue;
		for (int i = from; i < end && i < g->V && few.n <= PAIRS_FEW; i += LANES) {
			few.value[few.n] = g->x[i];
			few.index[few.n] = i;
			few.n += g->x[i] >= bound;
		}
		if (few.n > PAIRS_FEW)
			return false;
	}
	pairs_rank(best, K, &few);
	return true;
}

/* Any number of them, by a heap. */
static void sift(struct pairs *best, int K, const float *x, int V)
{
	float bound = -INFINITY;
	for (int i = 0; i < V; i++) {
		if (!(x[i] >= bound))
			continue;
		pairs_push(best, K, x[i], i);
		bound = best->n == K ? best->value[0] : bound;
	}
	pairs_unheap(best);
}

static void best_columns(struct pairs *best, int K, const float *x, int V)
{
	struct groups g;
	if (K <= GROUPS / 2) {
		find_maxima(&g, x, V);
		if (gather(best, K, &g, bound_of(&g, K)))
			return;
	}
	sift(best, K, x, V);
}

/* Asks for a block of the next row: the exponentials compute and would leave memory idle. */
static void prefetch(const float *x, int n)
{
	for (int i = 0; i < n; i += 16)
		__builtin_prefetch(x + i, 0, 2);
}

/* sum exp((x - max) inv_tau) over the columns that come after (value, index) in the order of the pairs. NaNs count.
 * next: floats to the next row, 0 in the last. */
static double sum_after(const float *x, int V, int next, float max, float inv_tau, float value, int32_t index)
{
	double sum = 0;
	for (int at = 0; at < V; at += BLOCK) {
		int end = V - at < BLOCK ? V : at + BLOCK;
		float part = 0;
		if (next)
			prefetch(x + next + at, end - at);
#pragma omp simd reduction(+ : part)
		for (int i = at; i < end; i++) {
			float e = cpu_exp_low((x[i] - max) * inv_tau);
			part += x[i] > value || (x[i] == value && i <= index) ? 0.0f : e;
		}
		sum += (double)part;
	}
	return sum;
}

/* Distance of the i-th best from the largest, at tau. */
static double scaled(const struct pairs *best, int i, double tau)
{
	return ((double)best->value[i] - (double)best->value[0]) / tau;
}

/* How many of the n best the sum of whose exp reaches `goal`; *rest grows by the others', the smallest first. */
static int kept_of(const struct pairs *best, double tau, double goal, double *rest)
{
	int kept = 0, n = best->n;
	for (double sum = 0; kept < n && !(sum >= goal); kept++)
		sum += exp(scaled(best, kept, tau));
	for (int i = n - 1; i >= kept; i--)
		*rest += exp(scaled(best, i, tau));
	return kept;
}

static float cross_entropy(const struct top_rows *a, const float *t, int32_t target, float max, double total)
{
	double z = a->tau == 1.0f ? total : sum_after(t, a->V, 0, max, 1.0f, INFINITY, -1);
	return (float)(log(z) - ((double)t[target] - (double)max));
}

/* Logits to log p; the slots that are not used. */
static void finish(struct pairs *best, int K, double tau, double log_total)
{
	for (int i = best->n - 1; i >= 0; i--) /* the largest last: the others are measured from it */
		best->value[i] = (float)(scaled(best, i, tau) - log_total);
	for (int i = best->n; i < K; i++) {
		best->index[i] = -1;
		best->value[i] = -INFINITY;
	}
}

static void top_row(const struct top_rows *a, int n)
{
	const float *t = a->t + (size_t)n * (size_t)a->ld;
	struct pairs best = {a->log_p + (size_t)n * (size_t)a->K, a->ids + (size_t)n * (size_t)a->K, 0};
	double tau = (double)a->tau, top = 0;
	best_columns(&best, a->K, t, a->V);
	bool full = best.n == a->K; /* else there are NaNs, and none but they are left */
	float max = best.n ? best.value[0] : NAN, last = full ? best.value[best.n - 1] : -INFINITY;
	int next = n + 1 < a->n_rows ? a->ld : 0;
	double rest = sum_after(t, a->V, next, max, 1.0f / a->tau, last, full ? best.index[best.n - 1] : a->V);
	for (int i = best.n - 1; i >= 0; i--)
		top += exp(scaled(&best, i, tau));
	double total = rest + top;
	if (a->top_p > 0.0f && a->top_p < 1.0f)
		best.n = kept_of(&best, tau, (double)a->top_p * total, &rest);
	finish(&best, a->K, tau, log(total));
	a->tail[n] = (float)(rest / total);
	a->lse[n] = (float)((double)max / tau + log(total));
	a->ce[n] = a->target && a->target[n] >= 0 ? cross_entropy(a, t, a->target[n], max, total) : 0.0f;
}

void cpu_top_rows(struct ops *o, const struct top_rows *a)
{
	BUG_ON(a->K < 1 || a->K > a->V);
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
	for (int n = 0; n < a->n_rows; n++)
		top_row(a, n);
}

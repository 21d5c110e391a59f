/* Adaptive KL's head: the classes of largest probability that hold a given mass, without a sort. A histogram over the logits
 * finds the narrow range in which the mass is reached, again inside that range while more than MAX_SORTED classes share it;
 * those few are then taken in order. A class of probability below (1 - mass)/V is never in the head, so that a peaked row
 * costs little more than one comparison a column. Test: tests/test_ops_divergence.c */
#include "kernels/cpu/cpu_loss.h"
#include "kernels/cpu/cpu_math.h"

enum { BINS = 512, GROUP = 64, MAX_LEVELS = 5, MAX_SORTED = 128, PEAKED = 6 /* depth */ };

/* Depth: (max - t)/tau, >= 0. */
struct narrowing {
	const float *t;
	int V;
	float max, inv_tau;
	float from, to;    /* depths that the bins divide; the mass is reached among them */
	double above;      /* mass of depths < from */
	double mass[BINS + GROUP];
	int n_inside;
	int first[MAX_SORTED + 1]; /* the columns inside; all of them, when there are at most MAX_SORTED */
};

static float depth_of(const struct narrowing *w, int i)
{
	return (w->max - w->t[i]) * w->inv_tau;
}

/* Columns [at, at+n) into the bins; those outside go to the places after the bins, spread out: no branches. */
static void fill_group(struct narrowing *w, int at, int n)
{
	float e[GROUP], above = 0;
	int place[GROUP], n_inside = 0;
	const float *t = w->t + at, max = w->max, inv_tau = w->inv_tau, from = w->from, to = w->to;
	const float per_depth = (float)BINS / (to - from);
	if (!((max - cpu_block_max(t, n)) * inv_tau < to))
		return;
#pragma omp simd reduction(+ : n_inside)
	for (int i = 0; i < n; i++) {
		float depth = (max - t[i]) * inv_tau;
		bool inside = depth < to && depth >= from;
		int bin = (int)(inside ? (depth - from) * per_depth : 0.0f);
		bin = bin < BINS ? bin : BINS - 1;
		place[i] = inside ? bin : BINS + i;
		n_inside += inside;
	}
#pragma omp simd reduction(+ : above)
	for (int i = 0; i < n; i++) {
		float depth = (max - t[i]) * inv_tau;
		e[i] = cpu_exp_low(-depth);
		above += depth < from ? e[i] : 0.0f;
	}
	w->above += (double)above;
	for (int i = 0; n_inside && i < n; i++) {
		w->mass[place[i]] += (double)e[i];
		w->first[w->n_inside < MAX_SORTED ? w->n_inside : MAX_SORTED] = at + i;
		w->n_inside += place[i] < BINS;
	}
}

static void fill(struct narrowing *w)
{
	w->above = 0;
	w->n_inside = 0;
	memset(w->mass, 0, sizeof w->mass);
	for (int at = 0; at < w->V; at += GROUP)
		fill_group(w, at, w->V - at < GROUP ? w->V - at : GROUP);
}

/* The bin in which the mass is reached, -1: in none. */
static int crossing(const struct narrowing *w, double mass)
{
	double sum = w->above;
	for (int b = 0; b < BINS; b++) {
		sum += w->mass[b];
		if (sum >= mass)
			return b;
	}
	return -1;
}

/* To one bin, a little wider: the sums are taken anew, so that what stands at an edge is counted once. */
static void narrow_to(struct narrowing *w, int bin)
{
	float step = (w->to - w->from) / (float)BINS, from = w->from;
	w->from = (from + (float)bin * step) * (1 - 1e-6f);
	w->to = (from + (float)(bin + 1) * step) * (1 + 1e-6f) + 1e-30f;
}

static bool before(const float *t, int i, int j)
{
	return t[i] > t[j] || (t[i] == t[j] && i < j);
}

static bool is_inside(const struct narrowing *w, int i)
{
	float depth = depth_of(w, i);
	return depth >= w->from && depth < w->to;
}

static bool any_inside(const struct narrowing *w, int at)
{
	const float *t = w->t + at, max = w->max, inv_tau = w->inv_tau, from = w->from, to = w->to;
	int n = 0;
#pragma omp simd reduction(+ : n)
	for (int l = 0; l < LOSS_LANES; l++) {
		float depth = (max - t[l]) * inv_tau;
		n += depth >= from && depth < to;
	}
	return n > 0;
}

/* The next column inside, from i on; V: none. Runs of columns without one are passed over. */
static int next_inside(const struct narrowing *w, int i)
{
	for (; i < w->V; i++) {
		while (i % LOSS_LANES == 0 && i + LOSS_LANES <= w->V && !any_inside(w, i))
			i += LOSS_LANES;
		if (i < w->V && is_inside(w, i))
			return i;
	}
	return w->V;
}

/* The columns inside, at most MAX_SORTED, by falling logit. */
static void sort_inside(const struct narrowing *w, int order[MAX_SORTED])
{
	for (int n = 0; n < w->n_inside; n++) {
		int j = n;
		for (; j > 0 && before(w->t, w->first[n], order[j - 1]); j--)
			order[j] = order[j - 1];
		order[j] = w->first[n];
	}
}

/* All classes less deep than `depth`. */
static struct loss_head down_to(const struct narrowing *w, float depth)
{
	return (struct loss_head){w->max - depth / w->inv_tau, -1};
}

/* Among many equal ones: as many, by rising column, as the mass asks for. */
static struct loss_head take_equals(const struct narrowing *w, double mass)
{
	struct loss_head head = down_to(w, w->from);
	double sum = w->above;
	for (int i = next_inside(w, 0); i < w->V && sum < mass; i = next_inside(w, i + 1)) {
		head = (struct loss_head){w->t[i], i};
		sum += (double)cpu_exp_low(-depth_of(w, i));
	}
	return head;
}

static struct loss_head take_sorted(const struct narrowing *w, double mass)
{
	struct loss_head head = down_to(w, w->from);
	int order[MAX_SORTED];
	double sum = w->above;
	sort_inside(w, order);
	for (int i = 0; i < w->n_inside && sum < mass; i++) {
		head = (struct loss_head){w->t[order[i]], order[i]};
		sum += (double)cpu_exp_low(-depth_of(w, order[i]));
	}
	return head;
}

/* A peaked row's mass is mostly reached in the upper half of the depths, where few groups have a column. */
struct loss_head cpu_head_set(const float *t, int V, float max, float inv_tau, double z, double mass)
{
	double deepest = log((double)V / ((1 - mass) * z)) + 1e-3;
	struct narrowing w = {.t = t, .V = V, .max = max, .inv_tau = inv_tau, .from = 0};
	if (!(deepest > 0)) /* only NaNs */
		return (struct loss_head){-INFINITY, V};
	w.to = (float)(deepest > PEAKED ? deepest / 2 : deepest);
	for (int level = 0; level < MAX_LEVELS; level++) {
		fill(&w);
		int bin = crossing(&w, mass * z);
		if (bin < 0 && level == 0 && w.to < (float)deepest) {
			w.from = w.to;
			w.to = (float)deepest;
			continue;
		}
		if (w.n_inside <= MAX_SORTED)
			return take_sorted(&w, mass * z);
		if (bin < 0) /* by rounding it ends here */
			return down_to(&w, w.to);
		narrow_to(&w, bin);
	}
	fill(&w);
	return w.n_inside <= MAX_SORTED ? take_sorted(&w, mass * z) : take_equals(&w, mass * z);
}

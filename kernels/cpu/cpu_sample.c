/* Importance-sampled columns of a row of logits. One sweep for the maximum, one for the sums of exp, the proposal's kept per
 * block; a draw is looked up among the blocks' running sums and then inside one block, whose exponentials are taken again.
 * No scratch but the stack: draws are merged and sorted in the caller's own K slots. Test: tests/test_ops_sample.c */
#include "base/rng.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpu_loss.h"
#include "kernels/cpu/cpu_math.h"
#include "kernels/cpu/cpu_pairs.h"

#include <math.h>

enum { MAX_BLOCKS = 512, LANES = 32 }; /* blocks are of whole LANES */

struct proposal {
	const float *t;
	int V, width, n_blocks;
	float max, scale;            /* the proposal is exp((t - max) scale), scale = power / tau */
	double reached[MAX_BLOCKS];  /* its sum up to and with a block */
};

static int block_length(const struct proposal *p, int b)
{
	int left = p->V - b * p->width;
	return left < p->width ? left : p->width;
}

/* Sets max; returns its lowest index, 0 in a row of NaNs. */
static int32_t find_max(struct proposal *p)
{
	int best = 0;
	p->max = -INFINITY;
	for (int at = 0; at < p->V; at += LOSS_BLOCK) {
		float m = cpu_block_max(p->t + at, p->V - at < LOSS_BLOCK ? p->V - at : LOSS_BLOCK);
		if (m > p->max) {
			p->max = m;
			best = at;
		}
	}
	while (best < p->V - 1 && !(p->t[best] == p->max))
		best++;
	return p->t[best] == p->max ? best : 0;
}

static double sum_exp(const float *x, int n, float max, float scale)
{
	float sum = 0;
#pragma omp simd reduction(+ : sum)
	for (int i = 0; i < n; i++)
		sum += cpu_exp_low((x[i] - max) * scale);
	return (double)sum;
}

static double row_sum(const struct proposal *p, float scale)
{
	double sum = 0;
	for (int at = 0; at < p->V; at += LOSS_BLOCK)
		sum += sum_exp(p->t + at, p->V - at < LOSS_BLOCK ? p->V - at : LOSS_BLOCK, p->max, scale);
	return sum;
}

static double proposal_sum(struct proposal *p)
{
	double sum = 0;
	for (int b = 0; b < p->n_blocks; b++) {
		sum += sum_exp(p->t + b * p->width, block_length(p, b), p->max, p->scale);
		p->reached[b] = sum;
	}
	return sum;
}

/* First block whose running sum exceeds `goal`, or the last one. */
static int block_of(const struct proposal *p, double goal)
{
	const double *first = p->reached;
	for (int n = p->n_blocks - 1, half; n > 0; n -= half) { /* n blocks from `first` on may be it, or the one after them */
		half = (n + 1) / 2;
		first += half * !(first[half - 1] > goal); /* no branch */
	}
	return (int)(first - p->reached);
}

/* The column where the running sum passes `goal`; where rounding keeps it below, the block's last that can be drawn. */
static int32_t column_of(const struct proposal *p, double goal)
{
	int b = block_of(p, goal), first = b * p->width, end = first + block_length(p, b), column = first;
	double sum = b ? p->reached[b - 1] : 0;
	float e[LANES];
	for (int at = first; at < end; at += LANES) {
		int n = end - at < LANES ? end - at : LANES;
#pragma omp simd
		for (int i = 0; i < n; i++)
			e[i] = cpu_exp_low((p->t[at + i] - p->max) * p->scale);
		for (int i = 0; i < n; i++) {
			column = e[i] > 0.0f ? at + i : column;
			sum += (double)e[i];
			if (sum > goal)
				return column;
		}
	}
	return column;
}

/* Uniform in (0, 1): 52 bits, so that ids of little weight are drawn at their rate. */
static double uniform(const struct sample_rows *a, int n, int draw)
{
	uint64_t bits = rng_u64(a->seed, RNG_TEACHER_SAMPLE, a->keys[n], (uint64_t)draw);
	return ((double)(bits >> 12) + 0.5) * 0x1p-52;
}

/* Pairs (-id, draw), so that all differ, become distinct ids by rising id, with how often each came. */
static void merge(struct pairs *drawn)
{
	int distinct = 0;
	pairs_sort(drawn);
	for (int i = 0; i < drawn->n; i++) {
		int32_t id = (int32_t)-drawn->value[i];
		if (distinct && drawn->index[distinct - 1] == id) {
			drawn->value[distinct - 1] += 1.0f;
			continue;
		}
		drawn->index[distinct] = id;
		drawn->value[distinct++] = 1.0f;
	}
	drawn->n = distinct;
}

/* Counts c to log weights: log c/K + log p - log r. */
static void weigh(struct pairs *drawn, const struct proposal *p, int K, double factor, double log_ratio)
{
	for (int i = 0; i < drawn->n; i++) {
		double gap = (double)p->t[drawn->index[i]] - (double)p->max;
		drawn->value[i] = (float)(log((double)drawn->value[i] / K) + gap * factor + log_ratio);
	}
}

static void draw_row(const struct sample_rows *a, int n, const struct proposal *p, double z_teacher)
{
	size_t at = (size_t)n * (size_t)a->K;
	double z_proposal = p->reached[p->n_blocks - 1];
	struct pairs drawn = {a->log_w + at, a->ids + at, isfinite(z_proposal) ? a->K : 0};
	for (int i = 0; i < drawn.n; i++) {
		drawn.value[i] = -(float)column_of(p, uniform(a, n, i) * z_proposal);
		drawn.index[i] = i;
	}
	merge(&drawn);
	bool itself = a->power == 1.0f;
	weigh(&drawn, p, a->K, itself ? 0 : (1 - (double)a->power) / (double)a->tau, itself ? 0 : log(z_proposal) - log(z_teacher));
	pairs_sort(&drawn);
	for (int i = drawn.n; i < a->K; i++) {
		a->ids[at + (size_t)i] = -1;
		a->log_w[at + (size_t)i] = -INFINITY;
	}
}

static void sample_row(const struct sample_rows *a, int n)
{
	struct proposal p = {.t = a->t + (size_t)n * (size_t)a->ld, .V = a->V, .scale = a->power / a->tau};
	int share = (a->V + MAX_BLOCKS - 1) / MAX_BLOCKS;
	p.width = (share + LANES - 1) / LANES * LANES;
	p.n_blocks = (a->V + p.width - 1) / p.width;
	a->argmax[n] = find_max(&p);
	double z_proposal = proposal_sum(&p), z = a->power == 1.0f ? z_proposal : row_sum(&p, 1.0f / a->tau);
	draw_row(a, n, &p, z);
	a->lse[n] = (float)((double)p.max / (double)a->tau + log(z));
	a->ce[n] = 0;
	if (a->target && a->target[n] >= 0) {
		double z1 = a->tau == 1.0f ? z : row_sum(&p, 1.0f);
		a->ce[n] = (float)(log(z1) - ((double)p.t[a->target[n]] - (double)p.max));
	}
}

void cpu_sample_rows(struct ops *o, const struct sample_rows *a)
{
	BUG_ON(a->K < 1 || a->V > 1 << 24); /* an id is exact in a float */
	BUG_ON(!(a->power > 0.0f && a->power <= 1.0f));
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
	for (int n = 0; n < a->n_rows; n++)
		sample_row(a, n);
}

/* Sums over rows (one partial row per slot) and over whole arrays. */
#include "kernels/cpu/cpu.h"

float *cpu_partial(struct cpu *c, int s, int width)
{
	BUG_ON(width > c->max_columns);
	float *row = c->partial + (size_t)s * (size_t)c->max_columns;
	memset(row, 0, (size_t)width * sizeof *row);
	return row;
}

const float *cpu_partial_sum(struct cpu *c, int width)
{
	float *sum = c->partial;
	for (int s = 1; s < c->ops.n_threads; s++) {
		const float *row = c->partial + (size_t)s * (size_t)c->max_columns;
#pragma omp simd
		for (int i = 0; i < width; i++)
			sum[i] += row[i];
	}
	return sum;
}

void cpu_bias_backward(struct ops *o, float *db, const void *dy, int N, int n)
{
	struct cpu *c = cpu_of(o);
#pragma omp parallel for schedule(static, 1) num_threads(o->n_threads)
	for (int s = 0; s < o->n_threads; s++) {
		float *sum = cpu_partial(c, s, n);
		for (int r = cpu_slot(N, o->n_threads, s); r < cpu_slot(N, o->n_threads, s + 1); r++) {
			const float *row = (const float *)dy + (size_t)r * (size_t)n;
#pragma omp simd
			for (int i = 0; i < n; i++)
				sum[i] += row[i];
		}
	}
	const float *sum = cpu_partial_sum(c, n);
	for (int i = 0; i < n; i++)
		db[i] += sum[i];
}

static double squares(const float *x, size_t n)
{
	double sum = 0;
#pragma omp simd reduction(+ : sum)
	for (size_t i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	return sum;
}

void cpu_sum_squares(struct ops *o, double *out, const float *x, size_t n_elems)
{
	struct cpu *c = cpu_of(o);
	size_t part = (n_elems + CPU_SUM_SLOTS - 1) / CPU_SUM_SLOTS;
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
	for (int s = 0; s < CPU_SUM_SLOTS; s++) {
		size_t at = part * (size_t)s;
		size_t n = at >= n_elems ? 0 : n_elems - at < part ? n_elems - at : part;
		c->sums[s] = squares(x + (n ? at : 0), n);
	}
	double sum = 0;
	for (int s = 0; s < CPU_SUM_SLOTS; s++)
		sum += c->sums[s];
	*out = sum;
}

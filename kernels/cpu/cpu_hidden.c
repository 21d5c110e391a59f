/* Distances of hidden states, row by row: one sweep for the sums, one for the gradient (both rows lie in cache by then).
 * Moves 2 reads and, with a gradient, 1 write of a row; the sums are in double, so that a distance near 0 is not the
 * rounding of its parts. Test: tests/test_ops_hidden.c */
#include "kernels/cpu/cpu.h"

#include <math.h>

enum { BLOCK = 512 };

struct sums {
	double xx, yy, xy, gap; /* gap: of (x - y)^2 */
};

/* dx = cx x - cy y (cosine), c (x - y) (MSE) */
struct slopes {
	double cx, cy;
};

struct blocks { /* storage for blocks that cannot be read in place */
	float x[BLOCK], y[BLOCK], d[BLOCK];
};

static const void *at_row(const void *p, enum dtype type, int row, int ld)
{
	return (const char *)p + (size_t)row * (size_t)ld * dtype_size(type);
}

static const float *x_block(const struct hidden_rows *a, const void *row, int at, int n, float *buffer)
{
	if (a->x_type == DTYPE_F32)
		return (const float *)row + at;
	cpu_widen(buffer, (const char *)row + (size_t)at * dtype_size(a->x_type), a->x_type, (size_t)n);
	return buffer;
}

static const float *y_block(const struct hidden_rows *a, const float *row, int at, int n, float *buffer)
{
	if (!a->columns)
		return row + at;
	for (int i = 0; i < n; i++)
		buffer[i] = row[a->columns[at + i]];
	return buffer;
}

static void add_cosine(struct sums *s, const float *x, const float *y, int n)
{
	double xx = 0, yy = 0, xy = 0;
#pragma omp simd reduction(+ : xx, yy, xy)
	for (int i = 0; i < n; i++) {
		double u = (double)x[i], v = (double)y[i];
		xx += u * u;
		yy += v * v;
		xy += u * v;
	}
	s->xx += xx;
	s->yy += yy;
	s->xy += xy;
}

static void add_gap(struct sums *s, const float *x, const float *y, int n)
{
	double gap = 0;
#pragma omp simd reduction(+ : gap)
	for (int i = 0; i < n; i++) {
		double u = (double)x[i] - (double)y[i];
		gap += u * u;
	}
	s->gap += gap;
}

static struct sums row_sums(const struct hidden_rows *a, const void *x, const float *y, struct blocks *b)
{
	struct sums s = {0};
	for (int at = 0; at < a->C; at += BLOCK) {
		int n = a->C - at < BLOCK ? a->C - at : BLOCK;
		const float *u = x_block(a, x, at, n, b->x), *v = y_block(a, y, at, n, b->y);
		if (a->kind == HIDDEN_COSINE)
			add_cosine(&s, u, v, n);
		else
			add_gap(&s, u, v, n);
	}
	return s;
}

/* A cosine that has no direction is 1 away from everything; a NaN stays one. */
static double row_loss(const struct hidden_rows *a, const struct sums *s)
{
	if (a->kind == HIDDEN_MSE)
		return s->gap / a->C;
	if (s->xx == 0 || s->yy == 0)
		return 1;
	double d = 1 - s->xy / sqrt(s->xx * s->yy);
	return d < 0 ? 0 : d;
}

static struct slopes row_slopes(const struct hidden_rows *a, const struct sums *s, float weight)
{
	double g = (double)a->scale * (double)weight;
	if (a->kind == HIDDEN_MSE)
		return (struct slopes){2 * g / a->C, 0};
	if (s->xx == 0 || s->yy == 0)
		return (struct slopes){0, 0};
	double inverse = g / sqrt(s->xx * s->yy);
	return (struct slopes){inverse * s->xy / s->xx, inverse};
}

static void grad_block(const struct hidden_rows *a, const struct slopes *c, float *d, const float *x, const float *y, int n)
{
	double cx = c->cx, cy = c->cy;
	if (a->kind == HIDDEN_COSINE) {
#pragma omp simd
		for (int i = 0; i < n; i++)
			d[i] = (float)(cx * (double)x[i] - cy * (double)y[i]);
	} else {
#pragma omp simd
		for (int i = 0; i < n; i++)
			d[i] = (float)(cx * ((double)x[i] - (double)y[i]));
	}
}

static void store_block(const struct hidden_rows *a, void *row, int at, float *d, int n)
{
	float old[BLOCK];
	void *to = (char *)row + (size_t)at * dtype_size(a->x_type);
	if (a->accumulate) {
		cpu_widen(old, to, a->x_type, (size_t)n);
#pragma omp simd
		for (int i = 0; i < n; i++)
			d[i] += old[i];
	}
	cpu_narrow(to, a->x_type, d, (size_t)n);
}

static void hidden_row(const struct hidden_rows *a, int r)
{
	struct blocks b;
	float weight = a->weight[r];
	const void *x = at_row(a->x, a->x_type, r, a->C);
	const float *y = at_row(a->y, DTYPE_F32, r, a->ld_y);
	void *dx = a->dx ? (char *)a->dx + (size_t)r * (size_t)a->C * dtype_size(a->x_type) : NULL;
	if (weight == 0.0f) {
		a->loss[r] = 0;
		if (dx && !a->accumulate)
			memset(dx, 0, (size_t)a->C * dtype_size(a->x_type));
		return;
	}
	struct sums s = row_sums(a, x, y, &b);
	a->loss[r] = (float)row_loss(a, &s);
	if (!dx)
		return;
	struct slopes c = row_slopes(a, &s, weight);
	for (int at = 0; at < a->C; at += BLOCK) {
		int n = a->C - at < BLOCK ? a->C - at : BLOCK;
		grad_block(a, &c, b.d, x_block(a, x, at, n, b.x), y_block(a, y, at, n, b.y), n);
		store_block(a, dx, at, b.d, n);
	}
}

void cpu_hidden_rows(struct ops *o, const struct hidden_rows *a)
{
	BUG_ON(a->C < 1 || (!a->columns && a->ld_y < a->C) || (a->dx && a->dx == a->x));
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
	for (int r = 0; r < a->n_rows; r++)
		hidden_row(a, r);
}

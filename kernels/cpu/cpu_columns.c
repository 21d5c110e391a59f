/* Statistics of columns over rows: a tile of columns is one thread's from the first row to the last, so that the sums
 * depend on nothing but the rows. Reads x once; per element 1 to 3 additions in double. Test: tests/test_ops_columns.c */
#include "kernels/cpu/cpu.h"

#include <math.h>

enum { TILE = 64 }; /* columns: four lines of cache of each row */

/* What one tile adds up: of a block, and of the whole call. */
struct tile {
	double magnitude[TILE], sum[TILE], squares[TILE];
};

static bool counts(const struct column_stats *a, size_t row)
{
	return !a->weight || a->weight[row] != 0;
}

static void add_row(struct tile *t, const float *x, int n)
{
#pragma omp simd
	for (int i = 0; i < n; i++) {
		double v = (double)x[i];
		t->magnitude[i] += fabs(v);
		t->sum[i] += v;
		t->squares[i] += v * v;
	}
}

static double norm(const float *x, int n)
{
	double sum = 0;
#pragma omp simd reduction(+ : sum)
	for (int i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	return sqrt(sum);
}

/* Columns [first, first + n) with a magnitude each. */
static void column_tile(const struct column_stats *a, int first, int n)
{
	struct tile t = {0};
	for (int b = 0; b < a->n_blocks; b++) {
		int n_rows = 0;
		memset(t.magnitude, 0, sizeof t.magnitude);
		for (int r = 0; r < a->block_rows; r++) {
			size_t row = (size_t)b * (size_t)a->block_rows + (size_t)r;
			if (!counts(a, row))
				continue;
			add_row(&t, (const float *)a->x + row * (size_t)a->W + first, n);
			n_rows++;
		}
		for (int i = 0; i < n && a->mean_squares && a->width == 1 && n_rows; i++)
			a->mean_squares[first + i] += t.magnitude[i] / n_rows * (t.magnitude[i] / n_rows);
	}
	for (int i = 0; i < n; i++) {
		if (a->sum)
			a->sum[first + i] += t.sum[i];
		if (a->squares)
			a->squares[first + i] += t.squares[i];
	}
}

/* The magnitude of unit `unit`, `width` columns wide. */
static void unit_magnitude(const struct column_stats *a, int unit)
{
	double total = 0;
	for (int b = 0; b < a->n_blocks; b++) {
		int n_rows = 0;
		double sum = 0;
		for (int r = 0; r < a->block_rows; r++) {
			size_t row = (size_t)b * (size_t)a->block_rows + (size_t)r;
			if (!counts(a, row))
				continue;
			sum += norm((const float *)a->x + row * (size_t)a->W + (size_t)unit * (size_t)a->width, a->width);
			n_rows++;
		}
		total += n_rows ? sum / n_rows * (sum / n_rows) : 0;
	}
	a->mean_squares[unit] += total;
}

void cpu_column_stats(struct ops *o, const struct column_stats *a)
{
	BUG_ON(a->width < 1 || a->W % a->width);
	int n_tiles = (a->W + TILE - 1) / TILE, n_units = a->W / a->width;
	if (a->sum || a->squares || a->width == 1) {
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
		for (int i = 0; i < n_tiles; i++)
			column_tile(a, i * TILE, a->W - i * TILE < TILE ? a->W - i * TILE : TILE);
	}
	if (a->mean_squares && a->width > 1) {
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
		for (int i = 0; i < n_units; i++)
			unit_magnitude(a, i);
	}
}

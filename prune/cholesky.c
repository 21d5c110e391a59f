/* Left-looking: a block of columns takes what the columns before it took, a chunk at a time that stays in cache, and is
 * then factored by itself. */
#include "prune/cholesky.h"

#include <math.h>

enum { BLOCK = 48, CHUNK = 256, TILE = 16 /* rows solved together */ };

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static double dot(const double *a, const double *b, size_t n)
{
	double sum = 0;
#pragma omp simd reduction(+ : sum)
	for (size_t i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* Rows [i0, i1) of columns [k0, k1) -= what columns [0, k0) give them. */
static void take_before(double *a, size_t n, size_t i0, size_t i1, size_t k0, size_t k1)
{
	for (size_t p = 0; p < k0; p += CHUNK) {
		size_t width = least(CHUNK, k0 - p);
		for (size_t i = i0; i < i1; i++)
			for (size_t j = k0; j < k1 && j <= i; j++)
				a[i * n + j] -= dot(a + i * n + p, a + j * n + p, width);
	}
}

/* One row's columns [k0, k1), whose own block above is done. */
static void finish_row(double *a, size_t n, size_t i, size_t k0, size_t k1)
{
	for (size_t j = k0; j < k1 && j < i; j++)
		a[i * n + j] = (a[i * n + j] - dot(a + i * n + k0, a + j * n + k0, j - k0)) / a[j * n + j];
}

int cholesky_factor(double *a, size_t n, int n_threads)
{
	for (size_t k0 = 0; k0 < n; k0 += BLOCK) {
		size_t k1 = least(k0 + BLOCK, n), n_blocks = (n - k0 + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) num_threads(n_threads)
		for (size_t b = 0; b < n_blocks; b++)
			take_before(a, n, k0 + b * BLOCK, least(k0 + (b + 1) * BLOCK, n), k0, k1);
		for (size_t i = k0; i < k1; i++) {
			finish_row(a, n, i, k0, k1);
			double pivot = a[i * n + i] - dot(a + i * n + k0, a + i * n + k0, i - k0);
			if (!(pivot > 0) || !isfinite(pivot))
				return -1;
			a[i * n + i] = sqrt(pivot);
		}
#pragma omp parallel for schedule(static) num_threads(n_threads)
		for (size_t i = k1; i < n; i++)
			finish_row(a, n, i, k0, k1);
	}
	return 0;
}

/* count rows: L y = x from the front, then L^T z = y from the back. A row of L serves all of them while it is in cache. */
static void solve_tile(const double *l, size_t n, double *rows, size_t count)
{
	for (size_t i = 0; i < n; i++)
		for (size_t r = 0; r < count; r++)
			rows[r * n + i] = (rows[r * n + i] - dot(l + i * n, rows + r * n, i)) / l[i * n + i];
	for (size_t i = n; i-- > 0;)
		for (size_t r = 0; r < count; r++) {
			double *row = rows + r * n, known = row[i] / l[i * n + i];
			row[i] = known;
#pragma omp simd
			for (size_t j = 0; j < i; j++)
				row[j] -= known * l[i * n + j];
		}
}

void cholesky_solve(const double *l, size_t n, double *rows, size_t n_rows, int n_threads)
{
	size_t n_tiles = (n_rows + TILE - 1) / TILE;
#pragma omp parallel for schedule(static) num_threads(n_threads)
	for (size_t t = 0; t < n_tiles; t++)
		solve_tile(l, n, rows + t * TILE * n, least(TILE, n_rows - t * TILE));
}

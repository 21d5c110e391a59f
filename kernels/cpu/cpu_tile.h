/* Small matrix products in registers, for attention. Vector types of gcc and clang: a compiler without the wide
 * registers splits them.
 *   tile_product: c(rows, width) (+)= sum_k a[r*a_row + k*a_k] b[k*ldb + column]
 * a is read by broadcast, so that it may lie in any order (a matrix or its transpose); b and c are packed tiles whose
 * width is a multiple of TILE_LANES. Per column pair and 6 rows: 12 multiply-adds for 2 loads and 6 broadcasts. */
#ifndef KERNELS_CPU_CPU_TILE_H
#define KERNELS_CPU_CPU_TILE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#if defined(__AVX512F__)
#define TILE_LANES 16
#elif defined(__AVX__)
#define TILE_LANES 8
#else
#define TILE_LANES 4
#endif
#define TILE_ROWS 6

typedef float tile_lanes __attribute__((vector_size(4 * TILE_LANES), aligned(4), may_alias));

#define TILE_INLINE static inline __attribute__((always_inline))

struct tile_operand {
	const float *at;
	ptrdiff_t row, k; /* strides in elements */
};

TILE_INLINE void tile_block(int rows, int n_lanes, int K, const float *a, ptrdiff_t a_row, ptrdiff_t a_k, const float *b,
			    ptrdiff_t ldb, float *c, ptrdiff_t ldc, bool accumulate)
{
	tile_lanes sum[TILE_ROWS][2];
#pragma GCC unroll 6
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
		for (int v = 0; v < n_lanes; v++)
			sum[r][v] = accumulate ? *(const tile_lanes *)(c + r * ldc + v * TILE_LANES) : (tile_lanes){0};
	for (int k = 0; k < K; k++) {
		tile_lanes x[2];
#pragma GCC unroll 2
		for (int v = 0; v < n_lanes; v++)
			x[v] = *(const tile_lanes *)(b + k * ldb + v * TILE_LANES);
#pragma GCC unroll 6
		for (int r = 0; r < rows; r++) {
			float y = a[r * a_row + k * a_k];
#pragma GCC unroll 2
			for (int v = 0; v < n_lanes; v++)
				sum[r][v] += y * x[v];
		}
	}
#pragma GCC unroll 6
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
		for (int v = 0; v < n_lanes; v++)
			*(tile_lanes *)(c + r * ldc + v * TILE_LANES) = sum[r][v];
}

/* The last rows % TILE_ROWS rows. */
TILE_INLINE void tile_rest(int rows, int n_lanes, int K, const float *a, ptrdiff_t a_row, ptrdiff_t a_k, const float *b,
			   ptrdiff_t ldb, float *c, ptrdiff_t ldc, bool accumulate)
{
	switch (rows) {
	case 1:
		tile_block(1, n_lanes, K, a, a_row, a_k, b, ldb, c, ldc, accumulate);
		break;
	case 2:
		tile_block(2, n_lanes, K, a, a_row, a_k, b, ldb, c, ldc, accumulate);
		break;
	case 3:
		tile_block(3, n_lanes, K, a, a_row, a_k, b, ldb, c, ldc, accumulate);
		break;
	case 4:
		tile_block(4, n_lanes, K, a, a_row, a_k, b, ldb, c, ldc, accumulate);
		break;
	case 5:
		tile_block(5, n_lanes, K, a, a_row, a_k, b, ldb, c, ldc, accumulate);
		break;
	default:
		break;
	}
}

TILE_INLINE void tile_column(int n_lanes, int rows, int K, struct tile_operand a, const float *b, ptrdiff_t ldb, float *c,
			     ptrdiff_t ldc, bool accumulate)
{
	int r = 0;
	for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
		tile_block(TILE_ROWS, n_lanes, K, a.at + r * a.row, a.row, a.k, b, ldb, c + r * ldc, ldc, accumulate);
	tile_rest(rows - r, n_lanes, K, a.at + r * a.row, a.row, a.k, b, ldb, c + r * ldc, ldc, accumulate);
}

static inline void tile_product(int rows, int width, int K, struct tile_operand a, const float *b, ptrdiff_t ldb, float *c,
				ptrdiff_t ldc, bool accumulate)
{
	int v = 0;
	for (; v + 2 * TILE_LANES <= width; v += 2 * TILE_LANES)
		tile_column(2, rows, K, a, b + v, ldb, c + v, ldc, accumulate);
	if (v < width)
		tile_column(1, rows, K, a, b + v, ldb, c + v, ldc, accumulate);
}

#endif

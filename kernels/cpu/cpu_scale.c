/* y = factor * x, or +=, by rows, between storage types. Moves each element once; nothing else to gain here.
 * Test: tests/test_ops_hidden.c */
#include "kernels/cpu/cpu.h"

enum { BLOCK = 512, SMALL = 1 << 14 /* elements: a team of threads costs more than it saves */ };

static void scale_block(const struct scale_rows *a, const char *x, char *y, int n)
{
	float from[BLOCK], to[BLOCK], factor = a->factor;
	cpu_widen(from, x, a->x_type, (size_t)n);
	if (a->accumulate) {
		cpu_widen(to, y, a->y_type, (size_t)n);
#pragma omp simd
		for (int i = 0; i < n; i++)
			to[i] += factor * from[i];
	} else {
#pragma omp simd
		for (int i = 0; i < n; i++)
			to[i] = factor * from[i];
	}
	cpu_narrow(y, a->y_type, to, (size_t)n);
}

void cpu_scale_rows(struct ops *o, const struct scale_rows *a)
{
	size_t x_size = dtype_size(a->x_type), y_size = dtype_size(a->y_type);
#pragma omp parallel for schedule(static) num_threads(o->n_threads) if ((size_t)a->n_rows * (size_t)a->C > SMALL)
	for (int r = 0; r < a->n_rows; r++) {
		const char *x = (const char *)a->x + (size_t)r * (size_t)a->ld_x * x_size;
		char *y = (char *)a->y + (size_t)r * (size_t)a->ld_y * y_size;
		for (int at = 0; at < a->C; at += BLOCK)
			scale_block(a, x + (size_t)at * x_size, y + (size_t)at * y_size, a->C - at < BLOCK ? a->C - at : BLOCK);
	}
}

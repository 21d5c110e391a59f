/* Token embedding. Backward gives each slot a range of columns, so that a row's additions keep row order. */
#include "kernels/cpu/cpu.h"

enum { COLUMNS = 64 }; /* the step in which columns are handled */

static void load_row(float *dst, const void *table, enum dtype t, size_t at, int n)
{
	cpu_widen(dst, (const char *)table + at * dtype_size(t), t, (size_t)n);
}

static void forward_row(const struct embed_forward *a, int n)
{
	float *x = (float *)a->x + (size_t)n * (size_t)a->C;
	load_row(x, a->table, a->table_type, (size_t)a->tokens[n] * (size_t)a->C, a->C);
	if (a->z)
#pragma omp simd
		for (int i = 0; i < a->C; i++)
			x[i] *= a->z[i];
}

void cpu_embed_forward(struct ops *o, const struct embed_forward *a)
{
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
	for (int n = 0; n < a->N; n++)
		forward_row(a, n);
}

/* Columns [at, at+width) of every row. */
static void backward_columns(const struct embed_backward *a, int at, int width)
{
	float dz[COLUMNS] = {0}, row[COLUMNS], z[COLUMNS];
	for (int i = 0; i < width; i++)
		z[i] = a->z ? a->z[at + i] : 1.0f;
	for (int n = 0; n < a->N; n++) {
		size_t entry = (size_t)a->tokens[n] * (size_t)a->C + (size_t)at;
		const float *dx = (const float *)a->dx + (size_t)n * (size_t)a->C + at;
		if (a->dz) {
			load_row(row, a->table, a->table_type, entry, width);
			for (int i = 0; i < width; i++)
				dz[i] += dx[i] * row[i];
		}
		float *dtable = a->dtable + entry;
#pragma omp simd
		for (int i = 0; i < width; i++)
			dtable[i] += z[i] * dx[i];
	}
	if (a->dz)
		for (int i = 0; i < width; i++)
			a->dz[at + i] += dz[i];
}

void cpu_embed_backward(struct ops *o, const struct embed_backward *a)
{
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
	for (int at = 0; at < a->C; at += COLUMNS)
		backward_columns(a, at, a->C - at < COLUMNS ? a->C - at : COLUMNS);
}

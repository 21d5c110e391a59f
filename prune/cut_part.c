/* Moving the numbers of one tensor. What has no factor is gathered as it is stored; the rest goes through fp32 in blocks. */
#include "prune/cut_part.h"

#include <stdbool.h>

enum { BLOCK = 256 };

static size_t unit_of(const struct cut_axis *a, size_t i)
{
	return a->units ? (size_t)a->units[i / a->width] : i / a->width;
}

size_t cut_axis_source(const struct cut_axis *a, size_t i)
{
	return unit_of(a, i) * a->width + i % a->width;
}

static float factor_of(const struct cut_axis *a, size_t i)
{
	return a->z ? a->z[unit_of(a, i)] : 1;
}

/* ---- gathering ---- */

static void gather_16(uint16_t *out, const char *line, const int *units, size_t n)
{
	for (size_t i = 0; i < n; i++)
		memcpy(&out[i], line + 2 * (size_t)units[i], 2);
}

static void gather_32(uint32_t *out, const char *line, const int *units, size_t n)
{
	for (size_t i = 0; i < n; i++)
		memcpy(&out[i], line + 4 * (size_t)units[i], 4);
}

/* Entries [first, first + n) of a line, unit by unit. */
static void gather_units(char *out, const char *line, size_t size, const struct cut_axis *a, size_t first, size_t n)
{
	for (size_t i = first; i < first + n;) {
		size_t run = a->width - i % a->width;
		run = run < first + n - i ? run : first + n - i;
		memcpy(out, line + cut_axis_source(a, i) * size, run * size);
		out += run * size;
		i += run;
	}
}

static void gather(void *out, const char *line, size_t size, const struct cut_axis *a, size_t first, size_t n)
{
	if (!a->units || (size_t)a->units[a->n / a->width - 1] == a->n / a->width - 1) /* the first units, all of them */
		memcpy(out, line + first * size, n * size);
	else if (a->width > 1)
		gather_units(out, line, size, a, first, n);
	else if (size == 2)
		gather_16(out, line, a->units + first, n);
	else
		gather_32(out, line, a->units + first, n);
}

/* ---- factors ---- */

static bool all_ones(const struct cut_axis *a)
{
	for (size_t i = 0; a->z && i < a->n; i += a->width)
		if (factor_of(a, i) != 1)
			return false;
	return true;
}

/* At most BLOCK entries of a row from `first` on; line: its own row in the source. */
static void weigh_block(float *sum, const struct cut_part *p, const char *line, enum dtype from, size_t first, size_t n, float row_factor)
{
	size_t size = dtype_size(from), next = p->rows.width * p->src_cols * size;
	uint32_t raw[BLOCK];
	float x[BLOCK];
	for (int j = 0; j < p->merge; j++) {
		gather(raw, line + (size_t)j * next, size, &p->cols, first, n);
		dtype_convert(x, DTYPE_F32, raw, from, n);
		for (size_t i = 0; i < n; i++) {
			float value = row_factor * factor_of(&p->cols, first + i) * x[i];
			sum[i] = j ? sum[i] + value : value;
		}
	}
}

static void weigh_row(const struct cut_part *p, const char *line, enum dtype from, float row_factor, char *out, enum dtype to)
{
	float sum[BLOCK];
	for (size_t c = 0; c < p->cols.n; c += BLOCK) {
		size_t n = p->cols.n - c < BLOCK ? p->cols.n - c : BLOCK;
		weigh_block(sum, p, line, from, c, n, row_factor);
		dtype_convert(out + c * dtype_size(to), to, sum, DTYPE_F32, n);
	}
}

void cut_part_rows(const struct cut_part *p, const void *src, enum dtype from, size_t first, size_t n, void *out, enum dtype to)
{
	size_t size = dtype_size(from), n_line = p->src_cols * size, n_out = p->cols.n * dtype_size(to);
	bool even = from == to && p->merge == 1 && all_ones(&p->cols);
	for (size_t r = 0; r < n; r++) {
		const char *line = (const char *)src + cut_axis_source(&p->rows, first + r) * n_line;
		char *row = (char *)out + r * n_out;
		float factor = p->scale * factor_of(&p->rows, first + r);
		if (even && factor == 1)
			gather(row, line, size, &p->cols, 0, p->cols.n);
		else
			weigh_row(p, line, from, factor, row, to);
	}
}

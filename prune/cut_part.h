/* One tensor of a cut: rows and columns of kept units of one tensor of the source, each with its factor. Private to prune/.
 * Test: tests/test_cut.c, tests/test_cut_files.c */
#ifndef PRUNE_CUT_PART_H
#define PRUNE_CUT_PART_H

#include "kernels/dtype.h"

#include <stddef.h>

/* The target's entries along one side: entry i belongs to unit units[i / width] (NULL: unit i / width) of the source, and
 * carries its z (NULL: 1). */
struct cut_axis {
	size_t n, width;
	const int *units; /* ascending */
	const float *z;
};

struct cut_part {
	struct cut_axis rows, cols;
	size_t src_cols;
	float scale; /* of every element */
	int merge;   /* a row is the sum over `merge` consecutive units, its own first; 1: it is its own */
};
/* Where entry i lies along its side of the source. */
size_t cut_axis_source(const struct cut_axis *, size_t i);
/* Rows [first, first + n) of the part: out (n, cols.n) of `to` is written from src (.., src_cols) of `from`, which may lie at an
 * odd address. Factors and sums are fp32; what carries no factor and keeps its type is moved bit for bit. Deterministic. */
void cut_part_rows(const struct cut_part *, const void *src, enum dtype from, size_t first, size_t n, void *out, enum dtype to);

#endif

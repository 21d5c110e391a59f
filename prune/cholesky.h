/* Symmetric positive definite systems in double, blocked for caches: what the re-fit solves. The same bits for any number of
 * threads. Test: tests/test_refit.c */
#ifndef PRUNE_CHOLESKY_H
#define PRUNE_CHOLESKY_H

#include <stddef.h>

/* a (n,n) row-major, its lower triangle read and replaced by L, a = L L^T; the rest is not touched. n^3/3 multiplications.
 * Returns -1 at the first pivot that is not a positive number: a is then garbage. */
int cholesky_factor(double *a, size_t n, int n_threads);
/* Each row x of rows (n_rows, n) is replaced by x a^-1. n^2 n_rows multiplications twice. l: as cholesky_factor left it. */
void cholesky_solve(const double *l, size_t n, double *rows, size_t n_rows, int n_threads);

#endif

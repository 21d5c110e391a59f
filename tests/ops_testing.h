/* What the tests of kernels/ share: buffers between sentinels, seeded data, double-precision finite differences, and
 * comparisons that prove on the spot that a wrong element would be seen.
 * Each entry's test is a function `uint64_t run(ops, case)` that checks one case and returns a hash of every output;
 * ops_cases calls it with 1 and 2 threads, twice each, and demands the same bits. */
#ifndef TESTS_OPS_TESTING_H
#define TESTS_OPS_TESTING_H

#include "tests/testing.h"

#include "base/rng.h"
#include "kernels/ops.h"

enum { GUARD = 64, MAX_BUFFERS = 64 }; /* bytes of sentinel on each side */

/* The buffers of one run, each a pair: floats for the entry, doubles for the reference. */
struct ops_buffer {
	unsigned char *raw;
	size_t n_bytes;
};
struct ops_case {
	struct ops *ops;
	size_t index; /* in its table */
	uint64_t seed, hash;
	int n_buffers;
	struct ops_buffer buffers[MAX_BUFFERS];
	int n_doubles;
	double *doubles[MAX_BUFFERS];
};

static inline void ops_hash(struct ops_case *t, const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		t->hash = (t->hash ^ ((const unsigned char *)p)[i]) * 1099511628211u;
}

/* n_bytes between sentinels, filled with NaNs: an entry that reads what it should write is seen. */
static inline void *ops_bytes(struct ops_case *t, size_t n_bytes)
{
	assert_true(t->n_buffers < MAX_BUFFERS);
	unsigned char *raw = aligned_alloc(GUARD, (n_bytes + 2 * GUARD + GUARD - 1) / GUARD * GUARD);
	assert_non_null(raw);
	memset(raw, 0xa5, GUARD);
	memset(raw + GUARD, 0xff, n_bytes);
	memset(raw + GUARD + n_bytes, 0xa5, GUARD);
	t->buffers[t->n_buffers++] = (struct ops_buffer){raw, n_bytes};
	return raw + GUARD;
}
static inline float *ops_floats(struct ops_case *t, size_t n)
{
	return ops_bytes(t, n * sizeof(float));
}
static inline float *ops_normal(struct ops_case *t, size_t n)
{
	float *x = ops_floats(t, n);
	t->seed++;
	for (size_t i = 0; i < n; i++)
		x[i] = rng_normal(t->seed, RNG_TEST, 0, i);
	return x;
}
static inline float *ops_zeros(struct ops_case *t, size_t n)
{
	float *x = ops_floats(t, n);
	memset(x, 0, n * sizeof *x);
	return x;
}

enum mask_kind { MASK_NONE, MASK_SOFT, MASK_HOLES }; /* NULL; in (0,1); every third 0 */

static inline float *ops_mask(struct ops_case *t, enum mask_kind kind, size_t n)
{
	if (kind == MASK_NONE)
		return NULL;
	float *z = ops_floats(t, n);
	t->seed++;
	for (size_t i = 0; i < n; i++)
		z[i] = kind == MASK_HOLES && i % 3 == 1 ? 0.0f : rng_uniform(t->seed, RNG_TEST, 1, i);
	return z;
}
static inline int32_t *ops_indices(struct ops_case *t, size_t n, uint32_t below)
{
	int32_t *x = ops_bytes(t, n * sizeof *x);
	t->seed++;
	for (size_t i = 0; i < n; i++)
		x[i] = (int32_t)rng_below(t->seed, RNG_TEST, 2, i, below);
	return x;
}
/* The same numbers in double; all ones when x is NULL. */
static inline double *ops_doubles(struct ops_case *t, const float *x, size_t n)
{
	double *d = calloc(n ? n : 1, sizeof *d);
	assert_non_null(d);
	assert_true(t->n_doubles < MAX_BUFFERS);
	t->doubles[t->n_doubles++] = d;
	for (size_t i = 0; i < n; i++)
		d[i] = x ? (double)x[i] : 1.0;
	return d;
}

static inline void ops_case_release(struct ops_case *t)
{
	unsigned char sentinel[GUARD];
	memset(sentinel, 0xa5, GUARD);
	for (int i = 0; i < t->n_buffers; i++) {
		struct ops_buffer *b = t->buffers + i;
		assert_memory_equal(b->raw, sentinel, GUARD);
		assert_memory_equal(b->raw + GUARD + b->n_bytes, sentinel, GUARD);
		free(b->raw);
	}
	for (int i = 0; i < t->n_doubles; i++)
		free(t->doubles[i]);
}

/* got (n) is an output: hashed, compared with STYLE.md's bounds, and compared again with one element off. */
static inline void ops_check(struct ops_case *t, const char *what, const float *got, const double *want, size_t n, double nmse,
			     double worst)
{
	ops_hash(t, got, n * sizeof *got);
	char text[128];
	snprintf(text, sizeof text, "case %zu, %d threads: %s", t->index, t->ops->n_threads, what);
	test_distance_check(test_distance_of(got, want, NULL, n), nmse, worst, text, __FILE__, __LINE__);
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += want[i] * want[i];
	if (sum == 0)
		return;
	float *wrong = malloc(n * sizeof *wrong);
	memcpy(wrong, got, n * sizeof *wrong);
	size_t at = n / 2;
	wrong[at] = (float)(want[at] + 2 * worst * (fabs(want[at]) + sqrt(sum / (double)n)));
	struct test_distance d = test_distance_of(wrong, want, NULL, n);
	free(wrong);
	if (!(d.worst > worst) || d.at != at)
		fail_msg("%s: a wrong element [%zu] was not seen", what, at);
}
#define OPS_CHECK(t, got, want, n) ops_check(t, #got, got, want, n, F32_NMSE, F32_WORST)

/* Gradient of loss(context) with respect to x (n), by central differences; `before` (n) is added, or NULL. */
static inline double *ops_differences(struct ops_case *t, double (*loss)(const void *), const void *context, double *x, size_t n,
				      const float *before)
{
	double *gradient = ops_doubles(t, before, n);
	for (size_t i = 0; i < n; i++) {
		double kept = x[i], h = 1e-5;
		x[i] = kept + h;
		double up = loss(context);
		x[i] = kept - h;
		double down = loss(context);
		x[i] = kept;
		gradient[i] = (before ? (double)before[i] : 0.0) + (up - down) / (2 * h);
	}
	loss(context); /* what it wrote stands at x again */
	return gradient;
}
/* A copy of x (n) as an accumulated gradient's first value. */
static inline float *ops_copy(struct ops_case *t, const float *x, size_t n)
{
	float *y = ops_floats(t, n);
	memcpy(y, x, n * sizeof *y);
	return y;
}

static inline struct ops *ops_for_test(int n_threads, bool bf16)
{
	struct ops *ops;
	struct err e;
	assert_ok(ops_cpu_open(&ops, &(struct ops_options){.n_threads = n_threads, .bf16 = bf16}, &e), &e);
	struct ops_limits limits = {.max_operand_elems = 1 << 18, .max_columns = 1024};
	assert_ok(ops_cpu_reserve(ops, &limits, &e), &e);
	return ops;
}

/* Every case of a table, 1 and 2 threads, twice: the same bits both times. */
static inline void ops_cases_of(void (*run)(struct ops_case *, const void *), const void *cases, size_t n_cases, size_t case_size,
				bool bf16)
{
	for (int n_threads = 1; n_threads <= 2; n_threads++) {
		struct ops *ops = ops_for_test(n_threads, bf16);
		for (size_t i = 0; i < n_cases; i++) {
			uint64_t hash[2];
			for (int k = 0; k < 2; k++) {
				struct ops_case t = {.ops = ops, .index = i, .seed = 1000 * i, .hash = 14695981039346656037u};
				run(&t, (const char *)cases + i * case_size);
				ops_case_release(&t);
				hash[k] = t.hash;
			}
			if (hash[0] != hash[1])
				fail_msg("case %zu, %d threads: two runs differ", i, n_threads);
		}
		ops_cpu_close(ops);
	}
}
#define OPS_CASES(run, cases) ops_cases_of(run, cases, sizeof(cases) / sizeof *(cases), sizeof *(cases), false)

#endif

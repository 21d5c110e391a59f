/* What every test shares: cmocka, the ../shared data, a temporary directory, comparisons that see one wrong element.
 * Include it first. */
#ifndef TESTS_TESTING_H
#define TESTS_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fsio.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef SOURCE_DIR
#define SOURCE_DIR "."
#endif

/* ---- outcomes ---- */

/* A call that must succeed: prints the error's line when it does not. */
#define assert_ok(call, e)                                                                  \
	do {                                                                                \
		if ((call) < 0)                                                             \
			fail_msg("%s failed: %s", #call, (e)->line);                        \
	} while (0)

/* A call that must fail, with `part` in its line (printed when it is not there). */
#define assert_fails(call, e, part)                                                         \
	do {                                                                                \
		(e)->line[0] = '\0';                                                        \
		if ((call) >= 0)                                                            \
			fail_msg("%s succeeded, expected an error with: %s", #call, part);  \
		if (!strstr((e)->line, part))                                               \
			fail_msg("error is: %s\nexpected in it: %s", (e)->line, part);      \
	} while (0)

/* SKIP with a reason. In CI (environment CI is set) a missing input is a failure. */
static inline void test_skip(const char *reason)
{
	if (getenv("CI"))
		fail_msg("would skip, but this is CI: %s", reason);
	print_message("SKIP: %s\n", reason);
	skip();
}

/* ---- paths ---- */

struct test_path {
	char text[1024];
};

/* A file of the checkout: test_source("tests/golden/x.json").text */
static inline struct test_path test_source(const char *relative)
{
	struct test_path p;
	snprintf(p.text, sizeof p.text, "%s/%s", SOURCE_DIR, relative);
	return p;
}

/* A file of the shared data, "data/models/stories3M": under $ESPALIER_SHARED, else ../shared. Skips when absent. */
static inline struct test_path test_shared(const char *relative)
{
	struct test_path p;
	const char *root = getenv("ESPALIER_SHARED");
	if (root)
		snprintf(p.text, sizeof p.text, "%s/%s", root, relative);
	else
		snprintf(p.text, sizeof p.text, "%s/../shared/%s", SOURCE_DIR, relative);
	if (access(p.text, R_OK) != 0) {
		char reason[sizeof p.text + 64];
		snprintf(reason, sizeof reason, "no %s (set ESPALIER_SHARED)", p.text);
		test_skip(reason);
	}
	return p;
}

/* A fresh directory. */
static inline struct test_path test_dir_make(void)
{
	struct test_path p;
	const char *root = getenv("TMPDIR");
	snprintf(p.text, sizeof p.text, "%s/espalier-test-XXXXXX", root ? root : "/tmp");
	if (!mkdtemp(p.text))
		fail_msg("mkdtemp %s", p.text);
	return p;
}
static inline void test_dir_remove(const struct test_path *dir)
{
	struct err e;
	assert_ok(fsio_remove_tree(dir->text, &e), &e);
}
/* dir/name */
static inline struct test_path test_join(const struct test_path *dir, const char *name)
{
	struct test_path p;
	if (snprintf(p.text, sizeof p.text, "%s/%s", dir->text, name) >= (int)sizeof p.text)
		fail_msg("path too long: %s", name);
	return p;
}
static inline void test_write(const char *path, const char *text)
{
	struct err e;
	assert_ok(fsio_write_file(path, text, strlen(text), &e), &e);
}

/* ---- numbers ---- */

/* |a - b| <= atol + rtol |b|; a NaN on either side fails. */
#define assert_close(a, b, atol, rtol)                                                              \
	do {                                                                                        \
		double close_a = (double)(a), close_b = (double)(b);                                \
		if (!(fabs(close_a - close_b) <= (double)(atol) + (double)(rtol) * fabs(close_b)))  \
			fail_msg("%s = %.9g, expected %.9g", #a, close_a, close_b);                 \
	} while (0)

/* How far two arrays are apart. */
struct test_distance {
	double nmse;   /* sum (a-b)^2 / sum b^2; 0/0 is 0 */
	double worst;  /* max |a-b| / (|b| + rms b); infinite where a or b is not finite and they differ */
	size_t at;     /* index of the worst */
};

/* got (n) floats against want (n), doubles or, where those are NULL, floats. */
static inline struct test_distance test_distance_of(const float *got, const double *want, const float *want32, size_t n)
{
	struct test_distance d = {0};
	double sum_error = 0, sum_want = 0;
	for (size_t i = 0; i < n; i++) {
		double b = want ? want[i] : (double)want32[i];
		sum_want += b * b;
		sum_error += ((double)got[i] - b) * ((double)got[i] - b);
	}
	double rms = n ? sqrt(sum_want / (double)n) : 0;
	for (size_t i = 0; i < n; i++) {
		double b = want ? want[i] : (double)want32[i], gap = fabs((double)got[i] - b), scale = fabs(b) + rms;
		double r = gap == 0 ? 0 : gap / scale;
		if (!(r <= d.worst)) {
			d.worst = isnan(r) ? INFINITY : r;
			d.at = i;
		}
	}
	d.nmse = sum_error == 0 ? 0 : sum_error / sum_want;
	return d;
}

static inline void test_distance_check(struct test_distance d, double nmse, double worst, const char *what, const char *file,
				       int line)
{
	if (d.nmse <= nmse && d.worst <= worst)
		return;
	print_error("%s: NMSE %.3g (allowed %.3g), worst element [%zu] %.3g (allowed %.3g)\n", what, d.nmse, nmse, d.at,
		    d.worst, worst);
	_fail(file, line);
}

/* Both bounds of STYLE.md: the NMSE of the whole and |a-b| <= worst (|b| + rms b) of each element. */
#define assert_floats(got, want, n, nmse, worst) \
	test_distance_check(test_distance_of(got, NULL, want, n), nmse, worst, #got, __FILE__, __LINE__)
#define assert_floats_f64(got, want, n, nmse, worst) \
	test_distance_check(test_distance_of(got, want, NULL, n), nmse, worst, #got, __FILE__, __LINE__)

/* The bounds for a single f32 (bf16) operation on N(0,1) data. */
#define F32_NMSE 1e-10
#define F32_WORST 1e-4
#define BF16_NMSE 3e-5
#define BF16_WORST 0.015625

#endif

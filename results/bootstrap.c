/* Resampling of documents. Knows numbers only. Test: tests/test_bootstrap.c */
#include "results/bootstrap.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

struct bootstrap_options bootstrap_default(void)
{
	return (struct bootstrap_options){.resamples = 10000, .level = 0.95, .seed = 0};
}

static int ascending(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;
	return (a > b) - (a < b);
}

static double quantile(const double *sorted, int n, double q)
{
	double at = q * (n - 1);
	int i = (int)at;
	return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

/* pairs (n, 2): quantity and weight of one document, side by side. */
static double ratio_of_resample(const double *pairs, uint32_t n, uint64_t seed, uint64_t resample)
{
	double a = 0, w = 0;
	for (uint32_t i = 0; i < n; i++) {
		const double *p = pairs + 2 * (size_t)rng_below(seed, RNG_BOOTSTRAP, resample, i, n);
		a += p[0];
		w += p[1];
	}
	return a / w;
}

static double ratio_of_all(const double *pairs, uint32_t n)
{
	double a = 0, w = 0;
	for (uint32_t i = 0; i < n; i++) {
		a += pairs[2 * i];
		w += pairs[2 * i + 1];
	}
	return a / w;
}

static uint32_t pairs_of(double *pairs, const double *a, const double *b, const double *w, size_t n)
{
	uint32_t counted = 0;
	for (size_t i = 0; i < n; i++) {
		BUG_ON(!(w[i] >= 0));
		if (w[i] == 0)
			continue;
		pairs[2 * counted] = a[i] - (b ? b[i] : 0);
		pairs[2 * counted++ + 1] = w[i];
	}
	return counted;
}

int bootstrap_paired(struct interval *out, const double *a, const double *b, const double *w, size_t n,
		     const struct bootstrap_options *o, struct err *e)
{
	int rc = -1;
	BUG_ON(o->resamples < 1 || !(o->level > 0 && o->level < 1) || n > UINT32_MAX);
	double *pairs = malloc((2 * n + 1) * sizeof *pairs), *ratios = malloc((size_t)o->resamples * sizeof *ratios);
	if (!pairs || !ratios) {
		err_run(e, "bootstrap of %zu documents: out of memory", n);
		goto out;
	}
	uint32_t counted = pairs_of(pairs, a, b, w, n);
	if (!counted) {
		err_user(e, "no document has a token that counts: nothing to compare");
		goto out;
	}
	for (int s = 0; s < o->resamples; s++)
		ratios[s] = ratio_of_resample(pairs, counted, o->seed, (uint64_t)s);
	qsort(ratios, (size_t)o->resamples, sizeof *ratios, ascending);
	*out = (struct interval){
		.mean = ratio_of_all(pairs, counted),
		.low = quantile(ratios, o->resamples, (1 - o->level) / 2),
		.high = quantile(ratios, o->resamples, (1 + o->level) / 2),
		.n_documents = counted,
		.few = counted < BOOTSTRAP_FEW_DOCUMENTS,
	};
	rc = 0;
out:
	free(pairs);
	free(ratios);
	return rc;
}

int bootstrap_ratio(struct interval *out, const double *a, const double *w, size_t n, const struct bootstrap_options *o,
		    struct err *e)
{
	return bootstrap_paired(out, a, NULL, w, n, o, e);
}

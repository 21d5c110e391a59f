/* Newton's method for the multiplier, kept inside a bracket. The why is in the header. */
#include "prune/soft_topk.h"

#include "base/err.h"
#include "prune/mask_control.h"

#include <math.h>

#define SEARCH_STEPS 100 /* some six are usual: bisection alone would end here too */
#define EDGE 1e-6

static double sigmoid(double x)
{
	return 1 / (1 + exp(-x));
}

/* sum z at lambda, and minus its slope times tau. */
static double size_at(const float *s, int n, double lambda, double tau, double *slope)
{
	double sum = 0;
	*slope = 0;
	for (int i = 0; i < n; i++) {
		double z = sigmoid(((double)s[i] - lambda) / tau);
		sum += z;
		*slope += z * (1 - z);
	}
	return sum;
}

static double solve(const float *s, int n, double k, double tau)
{
	double low = INFINITY, high = -INFINITY, offset = tau * log(n / k - 1);
	for (int i = 0; i < n; i++) {
		low = fmin(low, (double)s[i]);
		high = fmax(high, (double)s[i]);
	}
	low += offset - 1e-9 * tau; /* were all scores the lowest, this would be lambda */
	high += offset + 1e-9 * tau;
	double lambda = (low + high) / 2;
	for (int step = 0; step < SEARCH_STEPS; step++) {
		double slope, gap = size_at(s, n, lambda, tau, &slope) - k;
		if (fabs(gap) < 1e-9 * n)
			break;
		if (gap > 0)
			low = lambda;
		else
			high = lambda;
		double next = lambda + tau * gap / slope; /* not finite where every unit is decided */
		lambda = next > low && next < high ? next : (low + high) / 2;
	}
	return lambda;
}

static double plain_topk(const float *s, int n, int k, float *z, float *sorted, uint8_t *keep)
{
	double least = INFINITY;
	mask_top(s, n, k, sorted, keep);
	for (int i = 0; i < n; i++) {
		z[i] = keep[i];
		if (keep[i])
			least = fmin(least, (double)s[i]);
	}
	return least;
}

double soft_topk(const float *s, int n, double k, double tau, float *z, float *sorted, uint8_t *keep)
{
	BUG_ON(n < 1 || !(k > 0) || k > n || !(tau >= 0));
	if (k > n * (1 - EDGE)) {
		for (int i = 0; i < n; i++)
			z[i] = 1;
		return 0;
	}
	if (tau == 0)
		return plain_topk(s, n, (int)fmax(1, round(k)), z, sorted, keep);
	double lambda = solve(s, n, k, tau);
	for (int i = 0; i < n; i++) {
		double value = sigmoid(((double)s[i] - lambda) / tau);
		z[i] = value < EDGE ? 0 : value > 1 - EDGE ? 1 : (float)value;
	}
	return lambda;
}

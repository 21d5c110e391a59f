/* The multiplier by bisection, and the step that it gives. The why is in the header. */
#include "prune/mask_control.h"

#include "base/err.h"
#include "prune/hard_concrete.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* lambda = unit * sinh(x): either sign, even steps in log, 1e-6 to 1e6 times the rms of the noise. */
#define SEARCH_X 28.3
#define SEARCH_STEPS 32
#define SEARCH_FINEST 1e-6
#define NOISE_FLOOR 1e-3 /* of the structure's rms, so that a row without any gradient still moves smoothly */

struct search {
	const struct mask_rows *rows;
	const struct mask_step *step;
	double unit, eps;
};

/* loga of a unit after n_steps at the speed that lambda gives it. */
static double moved(const struct search *s, size_t at, double lambda, double n_steps)
{
	const struct mask_step *step = s->step;
	double p = s->rows->slope[at], noise = s->rows->noise[at];
	double drift = fmax(-noise, fmin(noise, s->rows->drift[at]));
	double natural = (drift + lambda * p) / (noise + fabs(lambda) * p + s->eps);
	double side = s->rows->keep[at] ? -1 : 1;
	double loga = (double)s->rows->loga[at] - n_steps * step->lr * ((1 - step->harden) * natural + step->harden * side);
	return fmax(-step->clamp, fmin(step->clamp, loga));
}

/* Size of a row at the horizon. */
static double row_size(const struct search *s, int row, double lambda)
{
	size_t n = (size_t)s->rows->n_units, first = (size_t)row * n;
	double sum = 0;
	for (size_t at = first; at < first + n; at++)
		sum += hard_concrete_open(moved(s, at, lambda, s->step->horizon), s->step->beta);
	return sum;
}

static double lambda_of(const struct search *s, double x)
{
	return s->unit * sinh(x);
}

/* The lambda at which one row comes to its final size. */
static double row_lambda(const struct search *s, int row)
{
	double low = -SEARCH_X, high = SEARCH_X;
	for (int n = 0; n < SEARCH_STEPS; n++) {
		double x = (low + high) / 2;
		if (row_size(s, row, lambda_of(s, x)) > s->rows->final_units)
			low = x;
		else
			high = x;
	}
	return lambda_of(s, high);
}

static double mean_size(const struct search *s, double lambda)
{
	double sum = 0;
	for (int row = 0; row < s->rows->n_rows; row++)
		sum += row_size(s, row, fmin(lambda, s->rows->row_lambda[row]));
	return sum / s->rows->n_rows;
}

/* The lambda that the rows share, each stopping at its own. */
static double shared_lambda(const struct search *s)
{
	double low = -SEARCH_X, high = SEARCH_X;
	for (int n = 0; n < SEARCH_STEPS && s->step->target > s->rows->final_units; n++) {
		double x = (low + high) / 2;
		if (mean_size(s, lambda_of(s, x)) > s->step->target)
			low = x;
		else
			high = x;
	}
	return lambda_of(s, high);
}

static struct search prepare(const struct mask_rows *rows, const struct mask_step *step)
{
	size_t n_units = (size_t)rows->n_units, n = (size_t)rows->n_rows * n_units;
	double squares = 0;
	for (size_t i = 0; i < n; i++) {
		squares += rows->noise[i] * rows->noise[i];
		rows->slope[i] = hard_concrete_open_slope((double)rows->loga[i], step->beta);
	}
	for (size_t row = 0; row < (size_t)rows->n_rows; row++)
		mask_top(rows->loga + row * n_units, rows->n_units, rows->final_units, rows->sorted,
			 rows->keep + row * n_units);
	double rms = sqrt(squares / (double)n) + 1e-30;
	return (struct search){rows, step, rms * SEARCH_FINEST, rms * NOISE_FLOOR};
}

struct mask_price mask_control_step(const struct mask_rows *rows, const struct mask_step *step)
{
	struct search s = prepare(rows, step);
	struct mask_price price = {0};
	bool steered = step->harden < 1;
	for (int row = 0; row < rows->n_rows; row++)
		rows->row_lambda[row] = steered ? row_lambda(&s, row) : 0;
	double shared = steered ? shared_lambda(&s) : 0;
	for (int row = 0; row < rows->n_rows; row++) {
		rows->row_lambda[row] = fmin(shared, rows->row_lambda[row]);
		price.mean += rows->row_lambda[row] / rows->n_rows;
	}
	for (size_t at = 0; at < (size_t)rows->n_rows * (size_t)rows->n_units; at++)
		rows->loga[at] = (float)moved(&s, at, rows->row_lambda[at / (size_t)rows->n_units], 1);
	for (int row = 0; row < rows->n_rows; row++)
		price.spread = fmax(price.spread, fabs(rows->row_lambda[row] - price.mean));
	return price;
}

double mask_expected(const float *loga, int n_rows, int n_units, double beta)
{
	double sum = 0;
	for (size_t i = 0; i < (size_t)n_rows * (size_t)n_units; i++)
		sum += hard_concrete_open((double)loga[i], beta);
	return sum / n_rows;
}

static int descending(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x < y) - (x > y);
}

void mask_top(const float *loga, int n, int k, float *sorted, uint8_t *keep)
{
	BUG_ON(k < 1 || k > n);
	memcpy(sorted, loga, (size_t)n * sizeof *sorted);
	qsort(sorted, (size_t)n, sizeof *sorted, descending);
	float threshold = sorted[k - 1];
	int left = k;
	for (int i = 0; i < n; i++)
		left -= loga[i] > threshold;
	for (int i = 0; i < n; i++) {
		keep[i] = loga[i] > threshold || (loga[i] == threshold && left > 0);
		left -= loga[i] == threshold && keep[i];
	}
}

/* The multiplier by bisection, and the step that it gives. The why is in the header. */
#include "prune/mask_control.h"

#include "base/err.h"
#include "prune/hard_concrete.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SEARCH_STEPS 40
#define WIDTH 0.2  /* of the spread of log worth: units this near to lambda move slower than the others */
#define STICK 0.15 /* log worth per unit of loga: what has begun to fall falls on */

struct search {
	const struct mask_rows *rows;
	const struct mask_step *step;
	double width;
	double low, high; /* lambda's range, log worth */
};

static double value(const struct search *s, size_t at)
{
	return s->rows->worth[at] + STICK * (double)s->rows->loga[at];
}

/* loga of a unit after n_steps at the speed that lambda gives it. */
static double moved(const struct search *s, size_t at, double lambda, double n_steps)
{
	const struct mask_step *step = s->step;
	double natural = fmax(-1, fmin(1, (lambda - value(s, at)) / s->width));
	double side = s->rows->keep[at] ? -1 : 1, from = (double)s->rows->loga[at];
	double loga = from - n_steps * step->lr * ((1 - step->harden) * natural + step->harden * side);
	double ceiling = step->harden > 0 ? step->clamp : fmax(step->open, from);
	return fmax(-step->clamp, fmin(ceiling, loga));
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

/* The lambda at which one row comes to its final size. */
static double row_lambda(const struct search *s, int row)
{
	double low = s->low, high = s->high;
	for (int n = 0; n < SEARCH_STEPS; n++) {
		double x = (low + high) / 2;
		if (row_size(s, row, x) > s->rows->final_units)
			low = x;
		else
			high = x;
	}
	return high;
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
	double low = s->low, high = s->high;
	for (int n = 0; n < SEARCH_STEPS && s->step->target > s->rows->final_units; n++) {
		double x = (low + high) / 2;
		if (mean_size(s, x) > s->step->target)
			low = x;
		else
			high = x;
	}
	return high;
}

static struct search prepare(const struct mask_rows *rows, const struct mask_step *step)
{
	size_t n_units = (size_t)rows->n_units, n = (size_t)rows->n_rows * n_units;
	struct search s = {rows, step, 0, INFINITY, -INFINITY};
	double sum = 0, squares = 0;
	for (size_t i = 0; i < n; i++) {
		double y = value(&s, i);
		sum += rows->worth[i];
		squares += rows->worth[i] * rows->worth[i];
		s.low = fmin(s.low, y);
		s.high = fmax(s.high, y);
	}
	for (size_t row = 0; row < (size_t)rows->n_rows; row++)
		mask_top(rows->loga + row * n_units, rows->n_units, rows->final_units, rows->sorted,
			 rows->keep + row * n_units);
	double mean = sum / (double)n;
	s.width = WIDTH * sqrt(fmax(0, squares / (double)n - mean * mean)) + 1e-3;
	s.low -= 2 * s.width;
	s.high += 2 * s.width;
	return s;
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
	/* worth + loga decide together: every unit's move is found before the first is made */
	for (size_t at = 0; at < (size_t)rows->n_rows * (size_t)rows->n_units; at++)
		rows->moved[at] = moved(&s, at, rows->row_lambda[at / (size_t)rows->n_units], 1);
	for (size_t at = 0; at < (size_t)rows->n_rows * (size_t)rows->n_units; at++)
		rows->loga[at] = (float)rows->moved[at];
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

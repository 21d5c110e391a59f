/* Hard-concrete units: formulas in the header. */
#include "prune/hard_concrete.h"

#include <math.h>
#include <stddef.h>

#define STRETCH_LOW (-0.1f)
#define STRETCH_HIGH 1.1f
#define DRAW_EPS 1e-6f
#define LOG_11 2.39789527279837054 /* log(-high/low) */
#define SOFTENING 0.8f

static double sigmoid(double x)
{
	return 1 / (1 + exp(-x));
}

double hard_concrete_open(double loga, double beta)
{
	return sigmoid(loga + beta * LOG_11);
}

double hard_concrete_open_slope(double loga, double beta)
{
	double p = hard_concrete_open(loga, beta);
	return p * (1 - p);
}

double hard_concrete_slope_rms(double loga, double beta)
{
	double shut = sigmoid(-loga - beta * LOG_11), full = sigmoid(loga - beta * LOG_11);
	return 0.35 * sqrt(fmax(0, 1 - shut - full));
}

float hard_concrete_sample(float loga, float u, float beta, float *slope)
{
	double draw = fmin(fmax((double)u, (double)DRAW_EPS), 1 - (double)DRAW_EPS);
	float s = (float)sigmoid((log(draw) - log1p(-draw) + (double)loga) / (double)beta);
	float z = s * (STRETCH_HIGH - STRETCH_LOW) + STRETCH_LOW;
	if (slope)
		*slope = z > 0 && z < 1 ? (STRETCH_HIGH - STRETCH_LOW) * s * (1 - s) / beta : 0;
	return z < 0 ? 0 : z > 1 ? 1 : z;
}

float hard_concrete_soft(float loga, float beta)
{
	return (float)sigmoid((double)(SOFTENING * loga / beta));
}

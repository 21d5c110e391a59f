/* A few shapes out of a space: good ones, apart from each other. Test: tests/test_space.c */
#include "prune/space.h"

#include <math.h>

/* The largest difference on an axis, in the source's size. */
static double apart(const struct shape *a, const struct shape *b, const struct shape *s)
{
	double most = fabs((double)(a->L - b->L) / s->L);
	most = fmax(most, fabs((double)(a->C - b->C) / s->C));
	most = fmax(most, fabs((double)(a->NH - b->NH) / s->NH));
	return fmax(most, fabs((double)(a->F - b->F) / s->F));
}

/* -1: every shape has a neighbour among the chosen. */
static int next_best(const struct space *space, const struct shape *source, const double *predicted, const int *chosen, int n, double distance)
{
	int best = -1;
	for (int i = 0; i < space->n; i++) {
		bool far = best < 0 || predicted[i] < predicted[best];
		for (int k = 0; k < n && far; k++)
			far = chosen[k] != i && apart(&space->shapes[i].shape, &space->shapes[chosen[k]].shape, source) > distance;
		if (far)
			best = i;
	}
	return best;
}

int space_pick(const struct space *space, const struct shape *source, const double *predicted, int k, int *out)
{
	int n = 0, want = k < space->n ? k : space->n;
	for (double distance = 0.1; n < want;) {
		int best = next_best(space, source, predicted, out, n, distance);
		if (best >= 0)
			out[n++] = best;
		else
			distance /= 2; /* shapes differ by at least one unit of something: this ends */
	}
	return n;
}

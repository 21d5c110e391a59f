/* Learning-rate schedules as pure functions of the step. Test: tests/test_schedule.c */
#include "student/schedule.h"

#include "base/err.h"

#include <math.h>

/* How far s is on the way from `first` to `last`, in [0,1]; 1 when there is no way to go. */
static double progress(int s, int first, int last)
{
	if (s >= last)
		return 1;
	return s <= first ? 0 : (double)(s - first) / (double)(last - first);
}

static double curve(const struct schedule *c, int s)
{
	int last = c->total_steps - 1;
	double f = c->final_fraction, pi = acos(-1.0);
	switch (c->kind) {
	case SCHEDULE_CONSTANT:
		return 1;
	case SCHEDULE_COSINE:
		return f + (1 - f) * 0.5 * (1 + cos(pi * progress(s, c->warmup_steps, last)));
	case SCHEDULE_LINEAR:
		return 1 - (1 - f) * progress(s, c->warmup_steps, last);
	case SCHEDULE_WSD:
		return 1 - (1 - f) * progress(s, last - c->decay_steps, last);
	}
	return 0;
}

float schedule_lr(const struct schedule *c, int s)
{
	BUG_ON(s < 0 || c->total_steps < 1 || c->warmup_steps < 0 || c->decay_steps < 0);
	BUG_ON(!(c->final_fraction >= 0 && c->final_fraction <= 1));
	if (s < c->warmup_steps)
		return (float)(c->peak * (double)(s + 1) / c->warmup_steps);
	if (c->kind == SCHEDULE_WSD && c->decay_steps == 0)
		return c->peak;
	return (float)(c->peak * curve(c, s));
}

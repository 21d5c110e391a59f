/* Learning-rate schedules. Test: tests/test_schedule.c */
#ifndef STUDENT_SCHEDULE_H
#define STUDENT_SCHEDULE_H

enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_WSD };
struct schedule {
	enum schedule_kind kind;
	float peak;          /* lr */
	float final_fraction; /* of peak, at the last step, in [0,1]; CONSTANT has no decay and ignores it */
	int total_steps, warmup_steps;
	int decay_steps;     /* WSD: length of the linear decay at the end, 0: none */
};
/* The rate of step s (0-based): warm-up peak*(s+1)/warmup for s < warmup, then from peak at s = warmup (WSD: as long as
 * s <= total_steps-1-decay_steps) along the kind's curve to final_fraction*peak at s = total_steps-1, and there it stays.
 * Source: cosine, Loshchilov & Hutter 2017 (one cycle); WSD (warm-up, stable, decay), Hu et al. 2024. */
float schedule_lr(const struct schedule *, int s);

#endif

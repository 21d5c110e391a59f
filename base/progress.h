/* Progress of a long stage. On a terminal a bar, redrawn at most ten times a second; elsewhere a line at most
 * every ten seconds. Both show the share done, the rate and the time that is left. Test: tests/test_progress.c */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	char label[48];
	const char *unit;    /* "tokens": a string that outlives the struct */
	uint64_t total;      /* units at the end; 0 = unknown: no share, no ETA */
	uint64_t first_done; /* units that were done before (resume): they don't count for the rate */
	uint64_t done;
	double start_s;      /* clock_now_s() at init */
	double shown_s;      /* when something was last shown */
	bool finished;
};

/* Starts at `done` of `total` units. Shows nothing yet. */
void progress_init(struct progress *p, const char *label, const char *unit, uint64_t done, uint64_t total);
/* Call as often as you like. note: "loss 2.31" or NULL, shown at the end. */
void progress_update(struct progress *p, uint64_t done, const char *note);
/* The last state, always shown; afterwards the bar is an ordinary line. A second call does nothing. */
void progress_finish(struct progress *p, const char *note);

/* The same with the time handed in, for tests. */
void progress_init_at(struct progress *p, const char *label, const char *unit, uint64_t done, uint64_t total, double now_s);
void progress_update_at(struct progress *p, uint64_t done, const char *note, double now_s);
void progress_finish_at(struct progress *p, const char *note, double now_s);

#endif

/* The shapes that a source can be cut to within a budget: what each costs, which of them load elsewhere, which use the budget
 * best. A grid: 1 .. L layers; hidden and FFN at multiples and at the source's own size; whole groups of query heads, of the
 * source's group size. Test: tests/test_space.c */
#ifndef PRUNE_SPACE_H
#define PRUNE_SPACE_H

#include "prune/target.h"
#include "prune/time_model.h"

enum space_measure {
	SPACE_PARAMETERS,
	SPACE_MEMORY,     /* bytes: weights, and the cache of keys and values, both in the source's dtype:
	                   * 2 L NKV HD batch min(length, window) values */
	SPACE_FLOPS,      /* arch_flops_per_token at length */
	SPACE_PREFILL_MS, /* by options.time */
	SPACE_DECODE_MS,
	SPACE_MEASURES,
};
const char *space_measure_name(enum space_measure); /* as the recipe's keys: "parameters", "memory", "flops_per_token" … */

struct space_options {
	double limit[SPACE_MEASURES]; /* a shape costs at most so much; 0: no limit */
	struct target pinned;         /* sizes that are not searched; 0: searched. heads alone: in whole groups where that divides,
	                               * else over all key-value heads; kv_heads alone: whole groups */
	int length, batch;            /* of memory, FLOPs (length) and the timings */
	int hidden_multiple, intermediate_multiple; /* 0: space_multiple of the source's size */
	double slack;                 /* in [0, 1]: a shape uses at least 1-slack of one limit */
	const struct time_model *time; /* NULL: nobody has timed anything yet; limits in ms are not looked at */
};
/* No limits, 512 tokens (or max_positions), batch 1, slack 0.05. */
struct space_options space_default(const struct arch *source);
/* The largest power of two that is at most a sixteenth of the size, and at most 256 (a block of llama.cpp's K-quants). */
int space_multiple(int size);

struct space_shape {
	struct shape shape;
	double cost[SPACE_MEASURES]; /* ms: 0 without options.time */
	double balance;
};
struct space {
	struct space_shape *shapes; /* (n), n >= 1, by balance, then larger first: layers, hidden, heads, FFN */
	int n;
	double slack;               /* the options', or doubled until there was a shape */
};
/* Refuses (err_user) a budget that no shape meets, naming the one that comes nearest and its cost; one that the largest shape
 * meets already (without options.time, and with limits in ms: that shape alone is the space); and pinned sizes that
 * target_arch refuses. */
int space_open(struct space *, const struct arch *source, const struct space_options *, struct err *);
void space_close(struct space *); /* a zeroed struct is fine */

void space_cost(const struct arch *, const struct space_options *, double cost[SPACE_MEASURES]);
/* How far a shape's proportions are from the source's: the standard deviation, over layers, hidden, heads and FFN, of
 * log(size / source's size). 0: every axis was cut by the same factor; about 0.1: they differ by a tenth. */
double space_balance(const struct shape *, const struct shape *source);
/* Up to k shapes with low predicted loss (n) that are no neighbours: the best; then, again and again, the best of those that
 * differ from every chosen one by more than a tenth of the source's size on some axis. When there are none, half of that
 * distance, and so on; at most all shapes are chosen. out (k): indices, as they were chosen. Returns how many. Of equal losses the
 * earlier. source: its shape. */
int space_pick(const struct space *, const struct shape *source, const double *predicted, int k, int *out);

#endif

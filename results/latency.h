/* How long an architecture takes on this machine: reading a prompt, and writing one token after it.
 *   prefill_ms  a forward pass over `batch` sequences of `length` tokens, with the logits of each sequence's last one
 *   decode_ms   one token for each sequence, the one that becomes number `length`: a forward pass over `batch` rows that attend
 *               to the length-1 tokens before them through the cache of keys and values, with its logits
 * The weights are random: time does not depend on what a model has learned. They are fp32, as are activations and cache, which is
 * what the CPU backend evaluates in; products run as ops was opened. Each figure is the median of at least `runs` after one to
 * warm up: as many as fit into 0.2 s. Test: tests/test_latency.c */
#ifndef RESULTS_LATENCY_H
#define RESULTS_LATENCY_H

#include "kernels/ops.h"
#include "model/arch.h"

enum { LATENCY_MAX_RUNS = 256 };

struct latency_options {
	int length;          /* tokens, 1 .. max_positions; default: the smaller of max_positions and 512 */
	int batch;           /* sequences, >= 1; default 1 */
	int runs;            /* 5 .. LATENCY_MAX_RUNS; default 5 */
	size_t memory_limit; /* bytes that may be allocated; 0 (default): what the allocator gives */
};
struct latency_options latency_default(const struct arch *);

struct latency {
	double prefill_ms, decode_ms;         /* medians */
	double prefill_spread, decode_spread; /* half of the runs lie within so much of the median, as a fraction: the interquartile range */
	size_t n_bytes;                       /* allocated: weights, cache, activations, logits */
};

/* What to reserve ops for. */
struct ops_limits latency_limits(const struct ops *, const struct arch *, const struct latency_options *);
/* ops has been reserved for latency_limits. All memory is priced, allocated once and released. Refuses, with one line, options out
 * of range (err_user) and what is larger than memory_limit, with both figures (err_run). */
int latency_measure(struct ops *, const struct arch *, const struct latency_options *, struct latency *out, struct err *);

#endif

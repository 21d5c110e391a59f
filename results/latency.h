/* How long an architecture takes on this machine: reading a prompt, and writing one token after it.
 *   prefill_ms  a forward pass over batch sequences of `length` tokens, with the logits of each sequence's last token
 *   decode_ms   one more token for every sequence, the one that becomes position `length`: a forward pass over batch rows that
 *               attends to length-1 earlier positions in the cache, with its logits
 * The weights are random: time does not depend on what a model has learned. They are fp32, as are activations and cache, which is
 * what the CPU backend evaluates in; products run as ops was opened. Each figure is the median of `runs` after one to warm up.
 * Test: tests/test_latency.c */
#ifndef RESULTS_LATENCY_H
#define RESULTS_LATENCY_H

#include "kernels/ops.h"
#include "model/arch.h"

struct latency_options {
	int length;           /* tokens of a prompt, >= 1, <= max_positions; default min(max_positions, 512) */
	int batch;            /* sequences, >= 1; default 1 */
	int runs;             /* >= 5; default 5 */
	size_t memory_limit;  /* bytes that may be allocated; 0 (default): what the allocator gives */
};
struct latency_options latency_default(const struct arch *);

struct latency {
	double prefill_ms, decode_ms;             /* medians */
	double prefill_spread, decode_spread;     /* (slowest - fastest) / median: what the medians are worth */
	size_t n_bytes;                           /* allocated: weights, cache, activations, logits */
};

/* What to reserve ops for. */
struct ops_limits latency_limits(const struct arch *, const struct latency_options *);
/* ops has been reserved for latency_limits. All is priced and allocated once, and released. Refuses, with one line, options out
 * of range (err_user) and what is larger than memory_limit, with both figures (err_run). */
int latency_measure(struct ops *, const struct arch *, const struct latency_options *, struct latency *out, struct err *);

#endif

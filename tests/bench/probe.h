/* An op table that passes every call on to another one and keeps the time of each entry; it can record the matrix products
 * of a step, to be run again alone: the same calls, over the same memory. */
#ifndef TESTS_BENCH_PROBE_H
#define TESTS_BENCH_PROBE_H

#include "base/clock.h"
#include "kernels/ops.h"

enum probe_entry {
	PROBE_MATMUL, PROBE_LOSS_ROWS, PROBE_ADAMW, PROBE_ATTENTION_FORWARD, PROBE_ATTENTION_BACKWARD, PROBE_NORM_FORWARD,
	PROBE_NORM_BACKWARD, PROBE_RESIDUAL_BACKWARD, PROBE_QK_FORWARD, PROBE_QK_BACKWARD, PROBE_SWIGLU_FORWARD,
	PROBE_SWIGLU_BACKWARD, PROBE_EMBED_FORWARD, PROBE_EMBED_BACKWARD, PROBE_SUM_SQUARES, PROBE_ZERO, PROBE_ENTRIES,
};
static const char *const PROBE_NAMES[PROBE_ENTRIES] = {
	"matmul", "loss_rows", "adamw", "attention_forward", "attention_backward", "norm_forward", "norm_backward",
	"residual_backward", "qk_forward", "qk_backward", "swiglu_forward", "swiglu_backward", "embed_forward",
	"embed_backward", "sum_squares", "zero",
};

#define PROBE_MAX_PRODUCTS 16384
struct probe {
	struct ops ops; /* first: an entry finds its probe by it */
	struct ops *under;
	double seconds[PROBE_ENTRIES];
	bool recording;
	struct matmul products[PROBE_MAX_PRODUCTS];
	int n_products;
};

#define PROBE_CALL(p, id, call)                             \
	do {                                                \
		double probe_from = clock_now_s();          \
		call;                                       \
		(p)->seconds[id] += clock_now_s() - probe_from; \
	} while (0)
#define PROBE_ENTRY(id, entry)                                                                        \
	static inline void probe_##entry(struct ops *o, const struct entry *a)                        \
	{                                                                                             \
		struct probe *p = (struct probe *)o;                                                  \
		PROBE_CALL(p, id, p->under->entry(p->under, a));                                      \
	}
PROBE_ENTRY(PROBE_LOSS_ROWS, loss_rows)
PROBE_ENTRY(PROBE_ADAMW, adamw)
PROBE_ENTRY(PROBE_ATTENTION_FORWARD, attention_forward)
PROBE_ENTRY(PROBE_ATTENTION_BACKWARD, attention_backward)
PROBE_ENTRY(PROBE_NORM_FORWARD, norm_forward)
PROBE_ENTRY(PROBE_NORM_BACKWARD, norm_backward)
PROBE_ENTRY(PROBE_RESIDUAL_BACKWARD, residual_backward)
PROBE_ENTRY(PROBE_QK_FORWARD, qk_forward)
PROBE_ENTRY(PROBE_QK_BACKWARD, qk_backward)
PROBE_ENTRY(PROBE_SWIGLU_FORWARD, swiglu_forward)
PROBE_ENTRY(PROBE_SWIGLU_BACKWARD, swiglu_backward)
PROBE_ENTRY(PROBE_EMBED_FORWARD, embed_forward)
PROBE_ENTRY(PROBE_EMBED_BACKWARD, embed_backward)

static inline void probe_matmul(struct ops *o, const struct matmul *a)
{
	struct probe *p = (struct probe *)o;
	if (p->recording) {
		BUG_ON(p->n_products == PROBE_MAX_PRODUCTS);
		p->products[p->n_products++] = *a;
	}
	PROBE_CALL(p, PROBE_MATMUL, p->under->matmul(p->under, a));
}
static inline void probe_sum_squares(struct ops *o, double *out, const float *x, size_t n_elems)
{
	struct probe *p = (struct probe *)o;
	PROBE_CALL(p, PROBE_SUM_SQUARES, p->under->sum_squares(p->under, out, x, n_elems));
}
static inline void probe_zero(struct ops *o, void *dst, size_t n_bytes)
{
	struct probe *p = (struct probe *)o;
	PROBE_CALL(p, PROBE_ZERO, p->under->zero(p->under, dst, n_bytes));
}

/* The entries that are not wrapped (memory, biases) are the other table's own: they find it by ctx. */
static inline void probe_init(struct probe *p, struct ops *under)
{
	p->ops = *under;
	p->under = under;
	p->n_products = 0;
	p->recording = false;
	p->ops.matmul = probe_matmul;
	p->ops.loss_rows = probe_loss_rows;
	p->ops.adamw = probe_adamw;
	p->ops.attention_forward = probe_attention_forward;
	p->ops.attention_backward = probe_attention_backward;
	p->ops.norm_forward = probe_norm_forward;
	p->ops.norm_backward = probe_norm_backward;
	p->ops.residual_backward = probe_residual_backward;
	p->ops.qk_forward = probe_qk_forward;
	p->ops.qk_backward = probe_qk_backward;
	p->ops.swiglu_forward = probe_swiglu_forward;
	p->ops.swiglu_backward = probe_swiglu_backward;
	p->ops.embed_forward = probe_embed_forward;
	p->ops.embed_backward = probe_embed_backward;
	p->ops.sum_squares = probe_sum_squares;
	p->ops.zero = probe_zero;
}

/* Seconds of the recorded products, alone and in their order. */
static inline double probe_replay(struct probe *p)
{
	double from = clock_now_s();
	for (int i = 0; i < p->n_products; i++)
		p->under->matmul(p->under, &p->products[i]);
	return clock_now_s() - from;
}

static inline double probe_product_flops(const struct probe *p)
{
	double sum = 0;
	for (int i = 0; i < p->n_products; i++)
		sum += 2.0 * p->products[i].m * p->products[i].n * p->products[i].k;
	return sum;
}

#endif

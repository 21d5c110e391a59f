/* What the files of the CPU backend share: its state, how rows are dealt to threads, and the entries of its table.
 * Work is cut into n_threads runs of rows ("slots") whatever team OpenMP delivers, and sums over rows go through one
 * partial row per slot, added in slot order: results depend on the thread count and on nothing else. */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "kernels/ops.h"

#define CPU_ALIGN 64
#define CPU_SUM_SLOTS 256 /* sum_squares: parts, whatever the thread count */

struct matmul_engine; /* cpu_matmul.c */

struct cpu {
	struct ops ops; /* what the caller sees; ops.ctx points back here */
	struct matmul_engine *matmul;
	void *operands[2];    /* converted a and b, operand_elems each */
	size_t operand_elems; /* limits.max_operand_elems */
	float *partial;       /* (n_threads, max_columns) */
	int max_columns;
	double sums[CPU_SUM_SLOTS];
};

static inline struct cpu *cpu_of(const struct ops *o)
{
	return o->ctx;
}
/* First of n rows in slot s of n_slots; slot n_slots begins at n. */
static inline int cpu_slot(int n, int n_slots, int s)
{
	return (int)((int64_t)n * s / n_slots);
}
/* The partial row of slot s, `width` floats wide, zeroed. */
float *cpu_partial(struct cpu *c, int s, int width);
/* sum(width) = partial rows in slot order; the result lies in slot 0's row. */
const float *cpu_partial_sum(struct cpu *c, int width);

/* Arrays, one thread. Vectorised; dst and src do not overlap. */
void cpu_widen(float *dst, const void *src, enum dtype from, size_t n_elems);
void cpu_narrow(void *dst, enum dtype to, const float *src, size_t n_elems);

/* n_threads: fixed for the engine's life. Fails only when oneDNN does. */
int cpu_matmul_open(struct matmul_engine **out, int n_threads, struct err *e);
void cpu_matmul_close(struct matmul_engine *m); /* NULL is fine */
bool cpu_matmul_has_bf16(void);
/* "oneDNN 2.6.3, AVX-512 bf16" */
void cpu_matmul_describe(char *out, size_t n);

void cpu_convert(struct ops *o, void *dst, enum dtype to, const void *src, enum dtype from, size_t n_elems);
void cpu_matmul(struct ops *o, const struct matmul *a);
void cpu_bias_backward(struct ops *o, float *db, const void *dy, int N, int n);
void cpu_embed_forward(struct ops *o, const struct embed_forward *a);
void cpu_embed_backward(struct ops *o, const struct embed_backward *a);
void cpu_norm_forward(struct ops *o, const struct norm_forward *a);
void cpu_norm_backward(struct ops *o, const struct norm_backward *a);
void cpu_residual_backward(struct ops *o, const struct residual_backward *a);
void cpu_qk_forward(struct ops *o, const struct qk_forward *a);
void cpu_qk_backward(struct ops *o, const struct qk_backward *a);
size_t cpu_attention_scratch(struct ops *o, int B, int T, int NH, int NKV, int HD);
void cpu_attention_forward(struct ops *o, const struct attention_forward *a);
void cpu_attention_backward(struct ops *o, const struct attention_backward *a);
void cpu_swiglu_forward(struct ops *o, const struct swiglu_forward *a);
void cpu_swiglu_backward(struct ops *o, const struct swiglu_backward *a);
void cpu_loss_rows(struct ops *o, const struct loss_rows *a);
void cpu_hidden_rows(struct ops *o, const struct hidden_rows *a);
void cpu_scale_rows(struct ops *o, const struct scale_rows *a);
void cpu_top_rows(struct ops *o, const struct top_rows *a);
void cpu_sample_rows(struct ops *o, const struct sample_rows *a);
void cpu_column_stats(struct ops *o, const struct column_stats *a);
void cpu_sum_squares(struct ops *o, double *out, const float *x, size_t n_elems);
void cpu_adamw(struct ops *o, const struct adamw *a);

#endif

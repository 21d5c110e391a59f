/* The CPU backend's table, memory, and scratch. Where it is probed and opened: kernels/cpu_open.c */
#include "kernels/cpu/cpu_backend.h"

#include "kernels/cpu/cpu.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static int cpu_alloc(struct ops *o, size_t n_bytes, void **out, struct err *e)
{
	(void)o;
	if (n_bytes > SIZE_MAX / 2)
		return err_run(e, "out of memory: a buffer of %zu bytes was asked for", n_bytes);
	if (posix_memalign(out, CPU_ALIGN, n_bytes ? n_bytes : 1))
		return err_run(e, "out of memory: a buffer of %.1f MiB was refused", (double)n_bytes / 1048576);
	return 0;
}

static void cpu_release(struct ops *o, void *p)
{
	(void)o;
	free(p);
}

static void cpu_zero(struct ops *o, void *dst, size_t n_bytes)
{
	const size_t block = 1 << 20;
	int64_t n_blocks = (int64_t)((n_bytes + block - 1) / block);
#pragma omp parallel for schedule(static) num_threads(o->n_threads) if (n_blocks > 4)
	for (int64_t b = 0; b < n_blocks; b++) {
		size_t at = (size_t)b * block;
		memset((char *)dst + at, 0, n_bytes - at < block ? n_bytes - at : block);
	}
}

static void cpu_copy(struct ops *o, void *dst, const void *src, size_t n_bytes)
{
	(void)o;
	if (n_bytes)
		memmove(dst, src, n_bytes);
}

static void cpu_sync(struct ops *o)
{
	(void)o;
}

static const struct ops table = {
	.name = "cpu",
	.act = DTYPE_F32,
	.alloc = cpu_alloc,
	.release = cpu_release,
	.zero = cpu_zero,
	.copy = cpu_copy,
	.upload = cpu_copy,
	.download = cpu_copy,
	.convert = cpu_convert,
	.matmul = cpu_matmul,
	.bias_backward = cpu_bias_backward,
	.embed_forward = cpu_embed_forward,
	.embed_backward = cpu_embed_backward,
	.norm_forward = cpu_norm_forward,
	.norm_backward = cpu_norm_backward,
	.residual_backward = cpu_residual_backward,
	.qk_forward = cpu_qk_forward,
	.qk_backward = cpu_qk_backward,
	.attention_scratch = cpu_attention_scratch,
	.attention_forward = cpu_attention_forward,
	.attention_backward = cpu_attention_backward,
	.swiglu_forward = cpu_swiglu_forward,
	.swiglu_backward = cpu_swiglu_backward,
	.loss_rows = cpu_loss_rows,
	.hidden_rows = cpu_hidden_rows,
	.scale_rows = cpu_scale_rows,
	.top_rows = cpu_top_rows,
	.sample_rows = cpu_sample_rows,
	.column_stats = cpu_column_stats,
	.sum_squares = cpu_sum_squares,
	.adamw = cpu_adamw,
	.sync = cpu_sync,
};

int cpu_backend_open(struct ops **out, const struct ops_options *options, const char *processor, struct err *e)
{
	struct cpu *c = calloc(1, sizeof *c);
	if (!c)
		return err_run(e, "out of memory: %zu bytes for the CPU backend", sizeof *c);
	c->ops = table;
	c->ops.ctx = c;
	c->ops.n_threads = options->n_threads > 0 ? options->n_threads : omp_get_num_procs();
	c->ops.matmul_bf16 = options->bf16 && cpu_matmul_has_bf16();
	TRY(cpu_matmul_open(&c->matmul, c->ops.n_threads, e));
	char libraries[64];
	cpu_matmul_describe(libraries, sizeof libraries);
	snprintf(c->ops.device, sizeof c->ops.device, "%s, %s, %d thread%s", processor, libraries, c->ops.n_threads,
		 c->ops.n_threads == 1 ? "" : "s");
	*out = &c->ops;
	return 0;
out:
	ops_cpu_close(&c->ops);
	return -1;
}

void ops_cpu_close(struct ops *o)
{
	if (!o)
		return;
	struct cpu *c = cpu_of(o);
	cpu_matmul_close(c->matmul);
	free(c->operands[0]);
	free(c->operands[1]);
	free(c->partial);
	free(c);
}

static size_t operand_bytes(const struct ops *o, const struct ops_limits *limits)
{
	return round_up(limits->max_operand_elems * dtype_size(o->matmul_bf16 ? DTYPE_BF16 : DTYPE_F32), CPU_ALIGN);
}

static size_t partial_bytes(const struct ops *o, const struct ops_limits *limits)
{
	return round_up((size_t)limits->max_columns, 16) * sizeof(float) * (size_t)o->n_threads;
}

size_t ops_cpu_reserve_bytes(const struct ops *o, const struct ops_limits *limits)
{
	return 2 * operand_bytes(o, limits) + partial_bytes(o, limits);
}

int ops_cpu_reserve(struct ops *o, const struct ops_limits *limits, struct err *e)
{
	struct cpu *c = cpu_of(o);
	for (int i = 0; i < 2; i++) {
		o->release(o, c->operands[i]);
		c->operands[i] = NULL;
	}
	o->release(o, c->partial);
	c->partial = NULL;
	c->operand_elems = 0;
	c->max_columns = 0;
	if (limits->max_operand_elems)
		for (int i = 0; i < 2; i++)
			if (cpu_alloc(o, operand_bytes(o, limits), &c->operands[i], e) < 0)
				return -1;
	void *partial;
	if (cpu_alloc(o, partial_bytes(o, limits), &partial, e) < 0)
		return -1;
	c->partial = partial;
	c->operand_elems = limits->max_operand_elems;
	c->max_columns = (int)round_up((size_t)limits->max_columns, 16);
	return 0;
}

void ops_cpu_describe(char *out, size_t n)
{
	cpu_matmul_describe(out, n);
}

/* Speed of every entry of the CPU table at the shapes of a 15.19 M Llama (6 layers, hidden 288, 6 heads of 48, FFN 768,
 * vocabulary 32000 tied, B 8 x T 256), and what each costs in one training step of it.
 *   bench_ops [--threads N] [--bf16] [--masks] [--repeats N]
 * Per entry: best and median of N (default 7) after two warm-up calls; from the median GFLOP/s for products and attention, GB/s of the bytes that
 * must move for the rest; calls per step, and the share of the step's total. */
#include "base/clock.h"
#include "base/rng.h"
#include "kernels/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { B = 8, T = 256, N = B * T, C = 288, NH = 6, HD = 48, F = 768, V = 32000, L = 6, Q = 3 * C };
enum { ROWS = 512, MAX_REPEATS = 101 };
enum { N_PARAMS = V * C + L * (Q * C + C * C + 3 * F * C + 2 * C) + C };

struct bench {
	struct ops *ops;
	int repeats;
	bool masks;
	float *x, *y, *z, *out, *rstd, *lse, *dqkv, *scratch; /* rows: N * 2F or N * Q floats at most */
	float *logits, *teacher, *head, *p, *m, *v, *grad;
	int32_t *tokens, *start, *pos;
	float *ones, *sums, *cos, *sin, *losses;
	struct {
		char name[48];
		double seconds, best, work; /* seconds: median */
		int calls;
		bool flops;
	} lines[48];
	int n_lines;
	void (*call)(struct bench *); /* the entry being timed */
	struct matmul product;
};

static void *array(struct bench *b, size_t n, int kind)
{
	void *p;
	struct err e;
	if (b->ops->alloc(b->ops, n * 4, &p, &e) < 0) {
		fprintf(stderr, "%s\n", e.line);
		exit(1);
	}
	for (size_t i = 0; i < n; i++)
		if (kind == 0)
			((float *)p)[i] = (float)(rng_u32(1, RNG_TEST, 0, i) >> 8) * 0x1p-23f - 1;
		else
			((int32_t *)p)[i] = kind < 0 ? 0 : (int32_t)rng_below(1, RNG_TEST, 1, i, (uint32_t)kind);
	return p;
}

static void prepare(struct bench *b)
{
	float **rows[] = {&b->x, &b->y, &b->z, &b->out, &b->dqkv};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		*rows[i] = array(b, (size_t)N * 2 * F, 0);
	float **params[] = {&b->p, &b->m, &b->grad};
	for (size_t i = 0; i < sizeof params / sizeof *params; i++)
		*params[i] = array(b, N_PARAMS, 0);
	b->v = array(b, N_PARAMS, -1); /* 0 is 0.0f too */
	b->rstd = array(b, N, 0);
	b->lse = array(b, N * NH, 0);
	b->scratch = array(b, b->ops->attention_scratch(b->ops, B, T, NH, NH, HD) / 4, -1);
	b->logits = array(b, (size_t)ROWS * V, 0);
	b->teacher = array(b, (size_t)ROWS * V, 0);
	b->head = array(b, (size_t)V * C, 0);
	b->tokens = array(b, N, V);
	b->start = array(b, N, -1);
	b->pos = array(b, N, T);
	b->ones = array(b, 2 * F, 0);
	b->sums = array(b, 2 * F, 0);
	b->cos = array(b, T * HD, 0);
	b->sin = array(b, T * HD, 0);
	b->losses = array(b, 4 * ROWS, 0);
	for (int i = 0; i < 2 * F; i++)
		b->ones[i] = 1;
	for (int i = 0; i < 4 * ROWS; i++)
		b->losses[i] = 1;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* calls: how often a step makes it; work: flops, or bytes, of one call. */
static void measure(struct bench *b, const char *name, int calls, double work, bool flops, void (*call)(struct bench *))
{
	double seconds[MAX_REPEATS];
	for (int i = -2; i < b->repeats; i++) {
		double from = clock_now_s();
		call(b);
		if (i >= 0)
			seconds[i] = clock_now_s() - from;
	}
	qsort(seconds, (size_t)b->repeats, sizeof *seconds, by_value);
	snprintf(b->lines[b->n_lines].name, sizeof b->lines->name, "%s", name);
	b->lines[b->n_lines].seconds = seconds[b->repeats / 2];
	b->lines[b->n_lines].best = seconds[0];
	b->lines[b->n_lines].work = work;
	b->lines[b->n_lines].calls = calls;
	b->lines[b->n_lines++].flops = flops;
}

/* ---- products ---- */

static void call_product(struct bench *b)
{
	b->ops->matmul(b->ops, &b->product);
}

/* y(n) = x(k) W^T and its two gradients over `rows` rows. x, y: where the activations are; wide: y is a row of logits. */
static void measure_layer(struct bench *b, const char *what, int rows, int n, int k, int calls, bool logits)
{
	bool half = b->ops->matmul_bf16;
	enum dtype weight = half ? DTYPE_BF16 : DTYPE_F32, gradient = logits ? weight : DTYPE_F32;
	void *y = logits ? b->logits : b->y;
	double flops = 2.0 * rows * n * k;
	int ldy = logits && half ? 2 * n : n;
	char name[48];
	snprintf(name, sizeof name, "matmul %s forward", what);
	b->product = (struct matmul){MATMUL_NT, rows, n, k, b->x, b->head, y, DTYPE_F32, weight, DTYPE_F32, k, k, n, false, NULL};
	measure(b, name, calls, flops, true, call_product);
	snprintf(name, sizeof name, "matmul %s dX", what);
	b->product = (struct matmul){MATMUL_NN, rows, k, n, y, b->head, b->out, gradient, weight, DTYPE_F32, ldy, k, k, false, NULL};
	measure(b, name, calls, flops, true, call_product);
	snprintf(name, sizeof name, "matmul %s dW", what);
	b->product = (struct matmul){MATMUL_TN, n, k, rows, y, b->x, b->grad, gradient, DTYPE_F32, DTYPE_F32, ldy, k, k, true, NULL};
	measure(b, name, calls, flops, true, call_product);
}

/* ---- the others ---- */

static float *mask_of(struct bench *b)
{
	return b->masks ? b->ones : NULL;
}
static float *mask_gradient_of(struct bench *b)
{
	return b->masks ? b->sums : NULL;
}
static void call_attention_forward(struct bench *b)
{
	b->ops->attention_forward(b->ops, &(struct attention_forward){B, T, NH, NH, HD, 0, 0.144f, b->x, b->start, mask_of(b), b->out,
								      b->lse, NULL, 0, 0});
}
static void call_attention_backward(struct bench *b)
{
	b->ops->attention_backward(b->ops, &(struct attention_backward){B, T, NH, NH, HD, 0, 0.144f, b->x, b->out, b->y, b->start,
									mask_of(b), b->lse, b->dqkv, mask_gradient_of(b), b->scratch});
}
static void call_norm_forward(struct bench *b)
{
	b->ops->norm_forward(b->ops, &(struct norm_forward){N, C, 1e-5f, b->x, b->y, mask_of(b), mask_of(b), b->ones, b->z, b->out,
							    b->rstd});
}
static void call_norm_backward(struct bench *b)
{
	b->ops->norm_backward(b->ops, &(struct norm_backward){N, C, b->y, b->x, b->rstd, b->ones, mask_of(b), b->z, false, b->sums,
							      mask_gradient_of(b)});
}
static void call_residual_backward(struct bench *b)
{
	b->ops->residual_backward(b->ops, &(struct residual_backward){N, C, b->x, b->y, mask_of(b), mask_of(b), b->out,
								      mask_gradient_of(b), mask_gradient_of(b)});
}
static void call_qk_forward(struct bench *b)
{
	b->ops->qk_forward(b->ops, &(struct qk_forward){N, NH, NH, HD, b->x, b->out, b->pos, b->cos, b->sin, NULL, NULL, 0, NULL});
}
static void call_qk_backward(struct bench *b)
{
	b->ops->qk_backward(b->ops, &(struct qk_backward){N, NH, NH, HD, NULL, b->dqkv, b->pos, b->cos, b->sin, NULL, NULL, NULL, NULL,
							  NULL});
}
static void call_swiglu_forward(struct bench *b)
{
	b->ops->swiglu_forward(b->ops, &(struct swiglu_forward){N, F, b->x, mask_of(b), b->out});
}
static void call_swiglu_backward(struct bench *b)
{
	b->ops->swiglu_backward(b->ops, &(struct swiglu_backward){N, F, b->x, b->y, mask_of(b), b->out, mask_gradient_of(b)});
}
static void loss(struct bench *b, const float *teacher)
{
	float *grad = b->logits;
	b->ops->loss_rows(b->ops, &(struct loss_rows){.n_rows = ROWS, .V = V, .ld = V, .s = b->logits, .t = teacher,
						      .target = b->tokens, .ce_weight = b->ones, .kd_weight = teacher ? b->ones : NULL,
						      .n_terms = teacher != NULL, .terms = &(struct divergence_term){.weight = 1, .tau = 1},
						      .ce = b->losses, .divergence = teacher ? b->losses + ROWS : NULL, .grad = grad,
						      .grad_type = DTYPE_F32, .ld_grad = V});
}
static void call_ce(struct bench *b)
{
	loss(b, NULL);
}
static void call_kl(struct bench *b)
{
	loss(b, b->teacher);
}
static void call_embed_forward(struct bench *b)
{
	b->ops->embed_forward(b->ops, &(struct embed_forward){N, C, V, b->tokens, b->p, DTYPE_F32, mask_of(b), b->out});
}
static void call_embed_backward(struct bench *b)
{
	b->ops->embed_backward(b->ops, &(struct embed_backward){N, C, V, b->tokens, b->p, DTYPE_F32, mask_of(b), b->x, b->grad,
								mask_gradient_of(b)});
}
static void call_squares(struct bench *b)
{
	double sum;
	b->ops->sum_squares(b->ops, &sum, b->grad, N_PARAMS);
}
static void call_adamw(struct bench *b)
{
	b->ops->adamw(b->ops, &(struct adamw){N_PARAMS, b->p, b->m, b->v, b->grad, b->ones,
					      b->ops->matmul_bf16 ? b->logits : NULL, DTYPE_BF16, 1e-9f, 0.9f, 0.95f, 1e-8f, 0.1f, 10});
}
static void call_zero(struct bench *b)
{
	b->ops->zero(b->ops, b->grad, (size_t)N_PARAMS * 4);
}

static void run(struct bench *b)
{
	const double rows = N * 4.0;
	measure_layer(b, "qkv  864x288 ", N, Q, C, L, false);
	measure_layer(b, "out  288x288 ", N, C, C, L, false);
	measure_layer(b, "gate+up 1536x288", N, 2 * F, C, L, false);
	measure_layer(b, "down 288x768 ", N, C, F, L, false);
	measure_layer(b, "head 32000x288", ROWS, V, C, N / ROWS, true);
	double pairs = (double)B * NH * T * (T + 1) / 2;
	measure(b, "attention_forward", L, 4 * pairs * HD, true, call_attention_forward);
	measure(b, "attention_backward", L, 10 * pairs * HD, true, call_attention_backward);
	measure(b, "norm_forward", 2 * L + 1, rows * C * 4, false, call_norm_forward);
	measure(b, "norm_backward", 2 * L + 1, rows * C * 4, false, call_norm_backward);
	if (b->masks)
		measure(b, "residual_backward", 2 * L, rows * C * 3, false, call_residual_backward);
	measure(b, "qk_forward", L, rows * Q * 2, false, call_qk_forward);
	measure(b, "qk_backward", L, rows * C * 4, false, call_qk_backward);
	measure(b, "swiglu_forward", L, rows * F * 3, false, call_swiglu_forward);
	measure(b, "swiglu_backward", L, rows * F * 5, false, call_swiglu_backward);
	measure(b, "loss_rows ce, 512 rows", N / ROWS, 8.0 * ROWS * V, false, call_ce);
	measure(b, "loss_rows ce+kl, 512 rows", 0, 12.0 * ROWS * V, false, call_kl);
	measure(b, "embed_forward", 1, rows * C * 2, false, call_embed_forward);
	measure(b, "embed_backward", 1, rows * C * 3, false, call_embed_backward);
	measure(b, "zero", 1, 4.0 * N_PARAMS, false, call_zero);
	measure(b, "sum_squares", 1, 4.0 * N_PARAMS, false, call_squares);
	measure(b, "adamw", 1, (b->ops->matmul_bf16 ? 30.0 : 28.0) * N_PARAMS, false, call_adamw);
}

static void print(const struct bench *b)
{
	double total = 0, products = 0, best = 0;
	for (int i = 0; i < b->n_lines; i++) {
		double s = b->lines[i].seconds * b->lines[i].calls;
		total += s;
		best += b->lines[i].best * b->lines[i].calls;
		products += strncmp(b->lines[i].name, "matmul", 6) ? 0 : s;
	}
	printf("%s, products in %s%s, median of %d\n", b->ops->device, b->ops->matmul_bf16 ? "bf16" : "fp32",
	       b->masks ? ", masks" : "", b->repeats);
	printf("%-32s %9s %9s %9s %8s %6s %7s\n", "entry", "best ms", "ms", "rate", "", "calls", "share");
	for (int i = 0; i < b->n_lines; i++)
		printf("%-32s %9.3f %9.3f %9.1f %8s %6d %6.1f%%\n", b->lines[i].name, b->lines[i].best * 1e3, b->lines[i].seconds * 1e3,
		       b->lines[i].work / b->lines[i].seconds * 1e-9, b->lines[i].flops ? "GFLOP/s" : "GB/s", b->lines[i].calls,
		       100 * b->lines[i].seconds * b->lines[i].calls / total);
	printf("step: %.1f ms (best %.1f), %.0f tokens/s; products %.1f ms, %.1f%%\n", total * 1e3, best * 1e3, N / total, products * 1e3,
	       100 * products / total);
}

int main(int argc, char **argv)
{
	struct bench b = {.repeats = 7};
	struct ops_options options = {0};
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--bf16"))
			options.bf16 = true;
		else if (!strcmp(argv[i], "--masks"))
			b.masks = true;
		else if (!strcmp(argv[i], "--threads") && i + 1 < argc)
			options.n_threads = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--repeats") && i + 1 < argc)
			b.repeats = atoi(argv[++i]);
		else
			return fprintf(stderr, "usage: bench_ops [--threads N] [--bf16] [--masks] [--repeats N]\n"), 2;
	}
	if (b.repeats < 1 || b.repeats > MAX_REPEATS)
		return fprintf(stderr, "--repeats: 1 to %d\n", MAX_REPEATS), 2;
	struct err e;
	struct ops_limits limits = {.max_operand_elems = (size_t)V * C, .max_columns = 2 * F};
	if (ops_cpu_open(&b.ops, &options, &e) < 0 || ops_cpu_reserve(b.ops, &limits, &e) < 0)
		return fprintf(stderr, "%s\n", e.line), 1;
	prepare(&b);
	run(&b);
	print(&b);
	return 0;
}

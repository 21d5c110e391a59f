/* Two things measured in turns (A, B, A, B …) in one process, and what the programs that do so share: the teacher's
 * checkpoint, batches, arguments, lines of results. */
#ifndef TESTS_BENCH_BENCH_PAIR_H
#define TESTS_BENCH_BENCH_PAIR_H

#include "tests/bench/bench_side.h"

enum { PAIR_B = 8, PAIR_T = 256, PAIR_N = PAIR_B * PAIR_T, PAIR_BATCHES = 4, PAIR_WARM_UP = 2, PAIR_MAX_STEPS = 101 };
#define PAIR_FINAL_NORM 11.0f /* logits of standard deviation 3.7: about as peaked as a trained model's */

struct bench {
	struct side_world world;
	const char *name;  /* of the program */
	int threads, steps;
	const char *part;  /* NULL: all */
	char dir[64];      /* for the checkpoint, and for caches */
	struct hf_model hf;
	struct world_batch batches[PAIR_BATCHES];
};

/* ---- set-up ---- */

/* --dtype fp32|bf16, --v V, --threads N, --steps N, --part NAME. Ends the program on anything else. */
static inline void bench_parse(struct bench *b, int argc, char **argv)
{
	b->steps = 7;
	b->world.V = 32000;
	for (int i = 1; i < argc; i += 2) {
		const char *flag = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
		if (!strcmp(flag, "--dtype") && (!strcmp(value, "fp32") || !strcmp(value, "bf16")))
			b->world.type = strcmp(value, "bf16") ? DTYPE_F32 : DTYPE_BF16;
		else if (!strcmp(flag, "--v") && atoi(value) > 1)
			b->world.V = atoi(value);
		else if (!strcmp(flag, "--threads") && atoi(value) > 0)
			b->threads = atoi(value);
		else if (!strcmp(flag, "--steps") && atoi(value) > 0 && atoi(value) <= PAIR_MAX_STEPS)
			b->steps = atoi(value);
		else if (!strcmp(flag, "--part") && *value)
			b->part = value;
		else {
			fprintf(stderr, "%s: %s %s is not understood; its flags stand at the head of its source\n", b->name, flag, value);
			exit(2);
		}
	}
}

static inline bool bench_wants(const struct bench *b, const char *part)
{
	return !b->part || !strcmp(b->part, part);
}

/* limits: what the sides need beyond the teacher. */
static inline int bench_open(struct bench *b, const struct ops_limits *limits, struct err *e)
{
	struct side_world *w = &b->world;
	struct arch arch = world_15m(w->V, PAIR_T);
	struct ops_limits all = transformer_limits(&arch, PAIR_N, fused_head_chunk_rows(w->V, 0));
	int rc = -1;
	w->B = PAIR_B;
	w->T = PAIR_T;
	w->hf = &b->hf;
	snprintf(b->dir, sizeof b->dir, "/tmp/espalier-bench-XXXXXX");
	if (!mkdtemp(b->dir))
		return err_run(e, "%s: cannot be made", b->dir);
	TRY(ops_cpu_open(&w->ops, &(struct ops_options){.n_threads = b->threads, .bf16 = w->type == DTYPE_BF16}, e));
	if (limits->max_operand_elems > all.max_operand_elems)
		all.max_operand_elems = limits->max_operand_elems;
	if (limits->max_columns > all.max_columns)
		all.max_columns = limits->max_columns;
	if (!w->ops->matmul_bf16) /* as recipes/session.c: nothing is converted */
		all.max_operand_elems = 0;
	TRY(ops_cpu_reserve(w->ops, &all, e));
	TRY(world_checkpoint(b->dir, &arch, PAIR_FINAL_NORM, e));
	TRY(hf_open(&b->hf, b->dir, e));
	for (int i = 0; i < PAIR_BATCHES; i++)
		b->batches[i] = world_batch(PAIR_B, PAIR_T, w->V, 4 + (uint64_t)i);
	rc = 0;
out:
	return rc;
}

static inline void bench_close(struct bench *b)
{
	for (int i = 0; i < PAIR_BATCHES; i++)
		free(b->batches[i].tokens);
	hf_close(&b->hf);
	ops_cpu_close(b->world.ops);
	if (b->dir[0])
		fsio_remove_tree(b->dir, NULL);
}

/* ---- pairs ---- */

/* Neighbours in time are divided, and the ratio is the median of that: a busy machine slows both. */
struct pair {
	const char *part, *name, *against;
	double limit;             /* of the ratio; 0: none */
	double base[PAIR_MAX_STEPS], own[PAIR_MAX_STEPS];
};

static inline void pair_print(const struct bench *b, struct pair *p)
{
	double ratios[PAIR_MAX_STEPS];
	for (int i = 0; i < b->steps; i++)
		ratios[i] = p->own[i] / p->base[i];
	double base = world_median(p->base, b->steps), own = world_median(p->own, b->steps), ratio = world_median(ratios, b->steps);
	const char *verdict = p->limit == 0 ? "" : ratio <= p->limit ? "within" : "ABOVE";
	printf("{\"bench\": \"%s\", \"part\": \"%s\", \"name\": \"%s\", \"against\": \"%s\", \"dtype\": \"%s\", \"threads\": %d, "
	       "\"vocabulary\": %d, \"rows\": %d, \"ms\": %.2f, \"against_ms\": %.2f, \"ratio\": %.4f, \"limit\": %.2f, "
	       "\"best_ms\": %.2f, \"best_against_ms\": %.2f, \"device\": \"%s\"}\n", b->name, p->part, p->name, p->against,
	       b->world.ops->matmul_bf16 ? "bf16" : "fp32", b->world.ops->n_threads, b->world.V, PAIR_N, 1e3 * own, 1e3 * base, ratio, p->limit,
	       1e3 * p->own[0], 1e3 * p->base[0], b->world.ops->device);
	fflush(stdout);
	fprintf(stderr, "%-6s %-34s %9.1f ms  %-14s %9.1f ms  ratio %.3f (best %.3f)", p->part, p->name, 1e3 * own, p->against,
		1e3 * base, ratio, p->own[0] / p->base[0]);
	if (p->limit != 0)
		fprintf(stderr, "  %s %.2f", verdict, p->limit);
	fprintf(stderr, "\n");
}

/* Steps of both in turns. */
static inline int pair_steps(struct bench *b, struct pair *p, struct side *base, const struct step_loss *base_loss, struct side *own,
		   const struct step_loss *own_loss, struct err *e)
{
	for (int i = -PAIR_WARM_UP; i < b->steps; i++) {
		const struct world_batch *rows = &b->batches[(i + PAIR_WARM_UP) % PAIR_BATCHES];
		double first = side_step(base, rows, base_loss, e), second = first < 0 ? -1 : side_step(own, rows, own_loss, e);
		if (second < 0)
			return err_prefix(e, "%s", p->name);
		if (i >= 0) {
			p->base[i] = first;
			p->own[i] = second;
		}
	}
	pair_print(b, p);
	return 0;
}

#endif

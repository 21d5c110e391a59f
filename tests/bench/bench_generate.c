/* Tokens per second of greedy generation, with the cache of keys and values and with a whole forward pass per token, in turns:
 *   bench_generate MODEL [TOKENS [THREADS [ROUNDS]]]     200 tokens after a prompt of 8, all threads, 5 rounds
 * One line of JSON each: the median of the rounds after one to warm up. The peer is tests/bench/peer_generate.py. */
#include "base/clock.h"
#include "losses/fused_head.h"
#include "model/decode.h"
#include "results/generate.h"

#include <stdio.h>
#include <stdlib.h>

enum { PROMPT = 8, MAX_ROUNDS = 99 };

static void check(int rc, const struct err *e)
{
	if (rc < 0) {
		fprintf(stderr, "%s\n", e->line);
		exit(1);
	}
}

static void put_prompt(struct ids *ids, int V)
{
	struct err e;
	ids->n = 0;
	for (int i = 0; i < PROMPT; i++)
		check(ids_append(ids, &(int32_t){(1 + i * 37) % V}, 1, &e), &e);
}

/* Seconds of n tokens as `generate` makes them. */
static double cached(struct loaded_model *m, int n, struct ids *ids)
{
	struct generate_options o = {.max_tokens = n, .top_p = 1, .stop = {-1, -1}};
	struct err e;
	put_prompt(ids, m->hf.layout.arch.shape.V);
	double from = clock_now_s();
	check(generate_ids(m, &o, ids, NULL, NULL, &e), &e);
	return clock_now_s() - from;
}

/* The same with everything read again for every token. */
struct whole {
	struct decoder *decoder;
	void *memory;
	float *logits, *host;
	int32_t *order;
};

static int lay_out(struct whole *w, struct loaded_model *m, int positions, struct arena *a, struct err *e)
{
	w->logits = arena_alloc(a, (size_t)m->hf.layout.arch.shape.V * sizeof *w->logits);
	return decoder_init(&w->decoder, m->ops, &m->hf.layout.arch, 1, positions, positions, a, e);
}

static void whole_open(struct whole *w, struct loaded_model *m, int positions)
{
	size_t V = (size_t)m->hf.layout.arch.shape.V;
	struct arena a = arena_dry();
	struct err e;
	check(lay_out(w, m, positions, &a, &e), &e);
	decoder_free(w->decoder);
	check(m->ops->alloc(m->ops, a.used, &w->memory, &e), &e);
	a = (struct arena){.base = w->memory, .capacity = a.used};
	check(lay_out(w, m, positions, &a, &e), &e);
	decoder_upload_tables(w->decoder);
	w->host = malloc(V * sizeof *w->host);
	w->order = malloc(V * sizeof *w->order);
	BUG_ON(!w->host || !w->order);
}

static double uncached(struct whole *w, struct loaded_model *m, int n, struct ids *ids)
{
	const struct shape *s = &m->hf.layout.arch.shape;
	const struct generate_options o = {.top_p = 1};
	struct err e;
	put_prompt(ids, s->V);
	double from = clock_now_s();
	for (int i = 0; i < n; i++) {
		decoder_rewind(w->decoder, 0);
		const void *last = decoder_append(w->decoder, &m->params, ids->v, (int)ids->n);
		fused_head_logits(m->ops, last, params_matrix(&m->params, PARAM_HEAD, -1), DTYPE_F32, 1, s->C, s->V, w->logits);
		m->ops->download(m->ops, w->host, w->logits, (size_t)s->V * sizeof *w->host);
		check(ids_append(ids, &(int32_t){generate_pick(w->host, s->V, &o, 0, w->order)}, 1, &e), &e);
	}
	return clock_now_s() - from;
}

static int ascending(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;
	return (a > b) - (a < b);
}

static void print(const char *what, double *seconds, int rounds, int n, const struct ops *ops)
{
	qsort(seconds, (size_t)rounds, sizeof *seconds, ascending);
	double median = seconds[rounds / 2];
	printf("{\"peer\": \"espalier, %s\", \"tokens\": %d, \"tokens_per_s\": %.1f, \"ms_per_token\": %.3f, \"dtype\": \"fp32\", \"device\": \"%s\"}\n",
	       what, n, n / median, 1e3 * median / n, ops->device);
}

int main(int argc, char **argv)
{
	struct ops *ops;
	struct loaded_model m;
	struct whole w = {0};
	struct ids ids = {0};
	struct err e;
	double seconds[2][MAX_ROUNDS];
	if (argc < 2)
		return fprintf(stderr, "usage: bench_generate MODEL [TOKENS [THREADS [ROUNDS]]]\n"), 2;
	int n = argc > 2 ? atoi(argv[2]) : 200, rounds = argc > 4 ? atoi(argv[4]) : 5;
	check(ops_cpu_open(&ops, &(struct ops_options){.n_threads = argc > 3 ? atoi(argv[3]) : 0}, &e), &e);
	check(loaded_model_open(&m, ops, argv[1], &e), &e);
	if (n < 1 || n > m.hf.layout.arch.max_positions - PROMPT || rounds < 1 || rounds > MAX_ROUNDS)
		return fprintf(stderr, "TOKENS must fit the model's %d positions, ROUNDS be 1 to %d\n", m.hf.layout.arch.max_positions, MAX_ROUNDS), 2;
	struct ops_limits limits = transformer_limits(&m.hf.layout.arch, n + PROMPT, 1);
	check(ops_cpu_reserve(ops, &limits, &e), &e);
	whole_open(&w, &m, n + PROMPT);
	for (int i = -1; i < rounds; i++) {
		seconds[0][i < 0 ? 0 : i] = cached(&m, n, &ids);
		seconds[1][i < 0 ? 0 : i] = uncached(&w, &m, n, &ids);
	}
	print("with a cache", seconds[0], rounds, n, ops);
	print("without", seconds[1], rounds, n, ops);
	ids_release(&ids);
	decoder_free(w.decoder);
	ops->release(ops, w.memory);
	free(w.host);
	free(w.order);
	loaded_model_close(&m);
	ops_cpu_close(ops);
	return 0;
}

/* The rate of scoring against eval's, in turns on the same rows of a model: bench_importance MODEL [THREADS [ROUNDS]].
 * Prints a line of JSON for each method: tokens per second of both, median of the rounds, and their ratio. Bound: 0.9. */
#include "base/clock.h"
#include "base/rng.h"
#include "model/hf.h"
#include "prune/importance.h"
#include "results/evaluate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { B = 8, T = 256, N = B * T, PASSES = 4, MAX_ROUNDS = 99 };

struct scene {
	struct ops *ops;
	struct hf_model hf;
	struct params params;
	float *host;
	struct activations *act;
	struct evaluator *evaluator;
	struct importance *importance;
	struct importance_options options;
	int32_t *ids, *device; /* (3, N): tokens, pos, start */
};

static void check(int rc, const struct err *e)
{
	if (rc < 0) {
		fprintf(stderr, "%s\n", e->line);
		exit(1);
	}
}

static void *allocate(struct ops *ops, size_t n_bytes)
{
	struct err e;
	void *p;
	check(ops->alloc(ops, n_bytes, &p, &e), &e);
	return p;
}

static int lay_out(struct scene *s, struct arena *a, struct err *e)
{
	const struct evaluator_options o = {.sequence_length = T, .B = B, .T = T};
	const struct arch *arch = &s->hf.layout.arch;
	if (activations_init(&s->act, s->ops, arch, B, T, ACTIVATIONS_INFER, a, e) < 0)
		return -1;
	if (evaluator_init(&s->evaluator, s->ops, arch, &o, a, e) < 0)
		return -1;
	return importance_open(&s->importance, s->ops, &s->hf.layout, &s->options, a, e);
}

static void *open_parts(struct scene *s)
{
	struct arena a = arena_dry();
	struct err e;
	check(lay_out(s, &a, &e), &e);
	activations_free(s->act);
	evaluator_free(s->evaluator);
	importance_close(s->importance);
	void *block = allocate(s->ops, a.used);
	a = (struct arena){.base = block, .capacity = a.used};
	check(lay_out(s, &a, &e), &e);
	activations_upload_tables(s->act, s->ops, &s->hf.layout.arch);
	return block;
}

static void open_model(struct scene *s, const char *dir, int n_threads)
{
	struct err e;
	check(hf_open(&s->hf, dir, &e), &e);
	size_t n = s->hf.layout.n_elems;
	check(ops_cpu_open(&s->ops, &(struct ops_options){.n_threads = n_threads}, &e), &e);
	struct ops_limits limits = evaluator_limits(&s->hf.layout.arch, &(struct evaluator_options){.sequence_length = T, .B = B, .T = T});
	check(ops_cpu_reserve(s->ops, &limits, &e), &e);
	s->host = allocate(s->ops, n * sizeof *s->host);
	hf_read_f32(&s->hf, s->host);
	s->params = (struct params){.layout = &s->hf.layout, .type = DTYPE_F32, .master = s->host, .copy = s->host, .vectors = s->host};
	s->ids = allocate(s->ops, 3 * N * sizeof *s->ids);
	for (int i = 0; i < N; i++) {
		s->ids[i] = (int32_t)rng_below(1, RNG_TEST, 0, (uint64_t)i, (uint32_t)s->hf.layout.arch.shape.V);
		s->ids[N + i] = i % T;
		s->ids[2 * N + i] = 0;
	}
	s->device = allocate(s->ops, 3 * N * sizeof *s->device);
	s->ops->upload(s->ops, s->device, s->ids, 3 * N * sizeof *s->ids);
}

static double time_eval(struct scene *s)
{
	size_t offsets[B + 1], n_bytes[B] = {0};
	const struct evaluated model = {.params = &s->params};
	struct err e;
	for (int b = 0; b <= B; b++)
		offsets[b] = (size_t)b * T;
	double begin = clock_now_s();
	for (int i = 0; i < PASSES; i++) {
		struct array_documents docs = {.ids = s->ids, .offsets = offsets, .n_bytes = n_bytes, .n = B};
		struct document_source source = array_documents_open(&docs);
		struct evaluation found;
		check(evaluator_run(s->evaluator, &model, &source, &found, NULL, NULL, &e), &e);
		evaluation_release(&found);
	}
	return clock_now_s() - begin;
}

/* The passes and the scores at their end. */
static double time_scores(struct scene *s)
{
	const struct batch batch = {.B = B, .T = T, .tokens = s->device, .pos = s->device + N, .start = s->device + 2 * N};
	double begin = clock_now_s();
	for (int i = 0; i < PASSES; i++) {
		importance_batch(s->importance, B, T, NULL);
		transformer_forward(s->ops, &s->params, s->act, &batch, NULL, importance_taps(s->importance));
	}
	struct scores x;
	struct err e;
	check(importance_finish(s->importance, s->host, &x, &e), &e);
	scores_release(&x);
	return clock_now_s() - begin;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *x, int n)
{
	qsort(x, (size_t)n, sizeof *x, ascending);
	return x[n / 2];
}

static void compare(struct scene *s, enum importance_method method, int rounds)
{
	double eval[MAX_ROUNDS], scores[MAX_ROUNDS], ratio[MAX_ROUNDS];
	s->options = (struct importance_options){.method = method, .layers_method = LAYERS_INFLUENCE, .max_rows = N};
	void *block = open_parts(s);
	time_eval(s); /* warm-up */
	time_scores(s);
	for (int i = 0; i < rounds; i++) {
		eval[i] = time_eval(s);
		scores[i] = time_scores(s);
		ratio[i] = eval[i] / scores[i];
	}
	double tokens = (double)N * PASSES;
	printf("{\"bench\": \"importance\", \"method\": \"%s\", \"layers\": \"influence\", \"B\": %d, \"T\": %d, \"threads\": %d, "
	       "\"eval_tokens_per_s\": %.0f, \"tokens_per_s\": %.0f, \"ratio\": %.3f}\n", importance_method_name(method), B, T, s->ops->n_threads,
	       tokens / median(eval, rounds), tokens / median(scores, rounds), median(ratio, rounds));
	fflush(stdout);
	importance_close(s->importance);
	evaluator_free(s->evaluator);
	activations_free(s->act);
	s->ops->release(s->ops, block);
}

int main(int argc, char **argv)
{
	int rounds = argc > 3 ? atoi(argv[3]) : 7;
	struct scene s = {0};
	if (argc < 2 || argc > 4 || rounds < 1 || rounds > MAX_ROUNDS) {
		fprintf(stderr, "usage: bench_importance MODEL [THREADS [ROUNDS]]\n");
		return 2;
	}
	open_model(&s, argv[1], argc > 2 ? atoi(argv[2]) : 0);
	compare(&s, IMPORTANCE_ACTIVATION, rounds);
	compare(&s, IMPORTANCE_WANDA, rounds);
	compare(&s, IMPORTANCE_FLUCTUATION, rounds);
	return 0;
}

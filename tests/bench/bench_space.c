/* Shapes within a budget: how long the search for them takes, and how well times are predicted for shapes that nobody timed.
 *   bench_space
 * Prints lines of JSON. First, for 7B-shaped sources and budgets of 20, 40 and 60 % of their parameters: shapes found, median ms.
 * Then, for a source of stories3M's shape, 128 tokens, one thread: the fit's worst error on its own shapes, and the errors of
 * prefill and decode on shapes between them. */
#include "base/clock.h"
#include "prune/space.h"
#include "results/latency.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 7 };

static void check(int rc, const struct err *e)
{
	if (rc < 0) {
		fprintf(stderr, "%s\n", e->line);
		exit(1);
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void enumeration(const struct arch *source)
{
	for (int percent = 20; percent <= 60; percent += 20) {
		struct space_options o = space_default(source);
		double ms[ROUNDS];
		struct space space;
		struct err e;
		int n = 0;
		o.limit[SPACE_PARAMETERS] = (double)arch_n_params(source) * percent / 100;
		for (int i = 0; i < ROUNDS; i++) {
			double start = clock_now_s();
			check(space_open(&space, source, &o, &e), &e);
			ms[i] = 1e3 * (clock_now_s() - start);
			n = space.n;
			space_close(&space);
		}
		qsort(ms, ROUNDS, sizeof *ms, by_value);
		printf("{\"family\": \"%s\", \"percent\": %d, \"shapes\": %d, \"ms\": %.2f}\n", source->family, percent, n, ms[ROUNDS / 2]);
	}
}

static struct latency measured(struct ops *ops, const struct arch *a)
{
	struct latency_options o = latency_default(a);
	struct latency l;
	struct err e;
	o.length = 128;
	struct ops_limits limits = latency_limits(ops, a, &o);
	check(ops_cpu_reserve(ops, &limits, &e), &e);
	check(latency_measure(ops, a, &o, &l, &e), &e);
	return l;
}

static void prediction(struct ops *ops, const struct arch *source)
{
	static const struct shape between[] = {{4, 144, 352, 6, 2, 32, 4096}, {3, 96, 512, 3, 1, 32, 4096}, {5, 120, 224, 6, 2, 32, 4096},
					       {2, 192, 288, 3, 1, 32, 4096}, {6, 160, 320, 3, 1, 32, 4096}};
	struct arch probes[TIME_PROBES];
	double prefill[TIME_PROBES], decode[TIME_PROBES];
	struct time_model fit;
	time_probes(source, space_multiple(source->shape.C), space_multiple(source->shape.F), probes);
	for (int i = 0; i < TIME_PROBES; i++) {
		struct latency l = measured(ops, &probes[i]);
		prefill[i] = l.prefill_ms;
		decode[i] = l.decode_ms;
	}
	time_fit(&fit.prefill, probes, prefill, TIME_PROBES);
	time_fit(&fit.decode, probes, decode, TIME_PROBES);
	printf("{\"shapes\": %d, \"worst_prefill\": %.3f, \"worst_decode\": %.3f}\n", TIME_PROBES, fit.prefill.worst, fit.decode.worst);
	for (size_t i = 0; i < sizeof between / sizeof *between; i++) {
		struct arch a = *source;
		a.shape = between[i];
		struct latency l = measured(ops, &a);
		printf("{\"prefill_ms\": %.3f, \"predicted\": %.3f, \"off\": %.3f, \"decode_ms\": %.4f, \"predicted_decode\": %.4f, \"off_decode\": %.3f}\n", l.prefill_ms,
		       time_predict(&fit.prefill, &a), time_predict(&fit.prefill, &a) / l.prefill_ms - 1, l.decode_ms, time_predict(&fit.decode, &a),
		       time_predict(&fit.decode, &a) / l.decode_ms - 1);
	}
}

int main(void)
{
	const struct arch llama = {.family = "llama", .shape = {32, 4096, 11008, 32, 32, 128, 32000}, .max_positions = 4096, .dtype = DTYPE_BF16};
	const struct arch mistral = {.family = "mistral", .shape = {32, 4096, 14336, 32, 8, 128, 32000}, .max_positions = 4096, .dtype = DTYPE_BF16};
	const struct arch qwen3 = {.family = "qwen3", .shape = {36, 4096, 12288, 32, 8, 128, 151936}, .qk_norm = true, .max_positions = 4096, .dtype = DTYPE_BF16};
	const struct arch small = {.family = "llama", .shape = {6, 192, 512, 6, 2, 32, 4096}, .max_positions = 512, .norm_eps = 1e-5f, .init_std = 0.02f,
				   .tied = true, .rope_theta = 1e4};
	struct ops *ops = NULL;
	struct err e;
	enumeration(&llama);
	enumeration(&mistral);
	enumeration(&qwen3);
	check(ops_cpu_open(&ops, &(struct ops_options){.n_threads = 1}, &e), &e);
	prediction(ops, &small);
	ops_cpu_close(ops);
	return 0;
}

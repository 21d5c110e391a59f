/* Latency of prefill and of decoding. Test: tests/test_latency.c */
#include "results/latency.h"

#include "base/clock.h"
#include "base/rng.h"
#include "losses/fused_head.h"
#include "model/decode.h"

#include <limits.h>
#include <stdlib.h>

enum { FILL = 1 << 14, MAX_ROWS = 1 << 22 };
#define ENOUGH_S 0.2

struct latency_options latency_default(const struct arch *a)
{
	return (struct latency_options){.length = a->max_positions < 512 ? a->max_positions : 512, .batch = 1, .runs = 5};
}

struct ops_limits latency_limits(const struct ops *ops, const struct arch *a, const struct latency_options *o)
{
	struct ops_limits limits = transformer_limits(a, o->batch * o->length, o->batch);
	if (!ops->matmul_bf16) /* all is fp32: nothing is converted */
		limits.max_operand_elems = 0;
	return limits;
}

struct scene {
	struct ops *ops;
	const struct latency_options *options;
	struct param_layout layout;
	struct params params;
	struct decoder *decoder;
	void *memory;   /* device */
	float *weights; /* (layout.n_elems) device */
	float *logits;  /* (batch, V) device */
	int32_t *ids;   /* (batch, length) host */
};

static int check(const struct arch *a, const struct latency_options *o, struct err *e)
{
	if (o->length < 1 || o->length > a->max_positions)
		return err_user(e, "latency: the length must be 1 to %d, the model's positions, found %d", a->max_positions, o->length);
	if (o->batch < 1 || o->batch > MAX_ROWS / o->length)
		return err_user(e, "latency: the batch must be 1 to %d sequences of %d tokens, found %d", MAX_ROWS / o->length, o->length, o->batch);
	if (o->length > INT_MAX / a->shape.C)
		return err_user(e, "latency: %d tokens of %d dimensions are more than this program reads at once", o->length, a->shape.C);
	if (o->runs < 5 || o->runs > LATENCY_MAX_RUNS)
		return err_user(e, "latency: the number of runs must be 5 to %d, found %d", LATENCY_MAX_RUNS, o->runs);
	return 0;
}

static int lay_out(struct scene *s, struct arena *a, struct err *e)
{
	const struct arch *arch = &s->layout.arch;
	const struct latency_options *o = s->options;
	s->weights = arena_alloc(a, s->layout.n_elems * sizeof *s->weights);
	s->logits = arena_alloc(a, (size_t)o->batch * (size_t)arch->shape.V * sizeof *s->logits);
	return decoder_init(&s->decoder, s->ops, arch, o->batch, o->length, o->length, a, e);
}

/* A block of random values, over and over; padding too, which nobody reads. */
static int randomise(struct scene *s, struct err *e)
{
	float *block = malloc(FILL * sizeof *block);
	if (!block)
		return err_run(e, "latency: out of memory");
	for (size_t i = 0; i < FILL; i++)
		block[i] = 0.02f * rng_normal(0, RNG_INIT, 0, i);
	for (size_t at = 0; at < s->layout.n_elems; at += FILL) {
		size_t n = s->layout.n_elems - at < FILL ? s->layout.n_elems - at : FILL;
		s->ops->upload(s->ops, s->weights + at, block, n * sizeof *block);
	}
	s->ops->sync(s->ops);
	free(block);
	return 0;
}

static int allocate(struct scene *s, size_t *n_bytes, struct err *e)
{
	const struct latency_options *o = s->options;
	size_t n_ids = (size_t)o->batch * (size_t)o->length;
	struct arena a = arena_dry();
	if (lay_out(s, &a, e) < 0)
		return -1;
	decoder_free(s->decoder);
	s->decoder = NULL;
	*n_bytes = a.used;
	if (o->memory_limit && a.used > o->memory_limit)
		return err_run(e, "latency: %d sequences of %d tokens need %.1f MiB with the weights, %.1f MiB are free: a shorter length, a smaller "
				  "batch or a smaller model would fit", o->batch, o->length, (double)a.used / 1048576, (double)o->memory_limit / 1048576);
	if (s->ops->alloc(s->ops, a.used, &s->memory, e) < 0)
		return err_prefix(e, "latency of %d sequences of %d tokens", o->batch, o->length);
	s->ids = malloc(n_ids * sizeof *s->ids);
	if (!s->ids)
		return err_run(e, "latency: out of memory");
	for (size_t i = 0; i < n_ids; i++)
		s->ids[i] = (int32_t)rng_below(0, RNG_INIT, 1, i, (uint32_t)s->layout.arch.shape.V);
	a = (struct arena){.base = s->memory, .capacity = a.used};
	if (lay_out(s, &a, e) < 0 || randomise(s, e) < 0)
		return -1;
	decoder_upload_tables(s->decoder);
	return 0;
}

static void release(struct scene *s)
{
	decoder_free(s->decoder);
	if (s->memory)
		s->ops->release(s->ops, s->memory);
	free(s->ids);
	param_layout_release(&s->layout);
}

/* Seconds of appending n tokens to sequences of `held`, with the logits. */
static double append(struct scene *s, int held, int n)
{
	const struct shape *shape = &s->layout.arch.shape;
	decoder_rewind(s->decoder, held);
	double from = clock_now_s();
	const void *last = decoder_append(s->decoder, &s->params, s->ids, n);
	fused_head_logits(s->ops, last, params_matrix(&s->params, PARAM_HEAD, -1), DTYPE_F32, s->options->batch, shape->C, shape->V, s->logits);
	s->ops->sync(s->ops);
	return clock_now_s() - from;
}

static int ascending(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;
	return (a > b) - (a < b);
}

static void measure(struct scene *s, int held, int n, double *median_ms, double *spread)
{
	double runs[LATENCY_MAX_RUNS], sum = 0;
	int k = 0;
	append(s, held, n);
	while (k < s->options->runs || (k < LATENCY_MAX_RUNS && sum < ENOUGH_S))
		sum += runs[k++] = append(s, held, n);
	qsort(runs, (size_t)k, sizeof *runs, ascending);
	*median_ms = 1e3 * runs[k / 2];
	*spread = (runs[3 * k / 4] - runs[k / 4]) / runs[k / 2];
}

int latency_measure(struct ops *ops, const struct arch *arch, const struct latency_options *o, struct latency *out, struct err *e)
{
	struct scene s = {.ops = ops, .options = o};
	int rc = -1;
	*out = (struct latency){0};
	if (check(arch, o, e) < 0 || param_layout_init(&s.layout, arch, e) < 0)
		return -1;
	TRY(allocate(&s, &out->n_bytes, e));
	s.params = (struct params){.layout = &s.layout, .type = DTYPE_F32, .master = s.weights, .copy = s.weights, .vectors = s.weights};
	measure(&s, 0, o->length, &out->prefill_ms, &out->prefill_spread);
	measure(&s, o->length - 1, 1, &out->decode_ms, &out->decode_spread);
	rc = 0;
out:
	release(&s);
	return rc;
}

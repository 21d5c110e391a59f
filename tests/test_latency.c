/* results/latency.c: which passes are timed, what is allocated, what is refused. No assertion depends on the clock: a counting op
 * table sees the work. */
#include "tests/eval_ops.h"

#include "model/hf.h"
#include "results/latency.h"

enum { LENGTH = 7, BATCH = 3 };

static struct {
	struct ops *under;
	int prefills, steps, others; /* calls of attention by kind */
	int wrong_head;              /* products of the head over another number of rows than the batch */
	int V;
	size_t allocated;
	int live;
} seen;

static void count_attention(struct ops *o, const struct attention_forward *a)
{
	bool prefill = a->B == BATCH && a->T == LENGTH && a->first == 0, step = a->B == BATCH && a->T == 1 && a->first == LENGTH - 1;
	seen.prefills += prefill;
	seen.steps += step;
	seen.others += !prefill && !step;
	seen.under->attention_forward(o, a);
}

static void count_matmul(struct ops *o, const struct matmul *a)
{
	seen.wrong_head += a->n == seen.V && a->m != BATCH;
	seen.under->matmul(o, a);
}

static int count_alloc(struct ops *o, size_t n_bytes, void **out, struct err *e)
{
	seen.allocated += n_bytes;
	seen.live++;
	return seen.under->alloc(o, n_bytes, out, e);
}

static void count_release(struct ops *o, void *p)
{
	seen.live--;
	seen.under->release(o, p);
}

static struct ops counting(struct ops *under, int V)
{
	struct ops ops = *under;
	memset(&seen, 0, sizeof seen);
	seen.under = under;
	seen.V = V;
	ops.attention_forward = count_attention;
	ops.matmul = count_matmul;
	ops.alloc = count_alloc;
	ops.release = count_release;
	return ops;
}

static struct arch arch_of(const char *path)
{
	struct hf_model hf;
	struct err e;
	assert_ok(hf_open(&hf, test_source(path).text, &e), &e);
	struct arch a = hf.layout.arch;
	hf_close(&hf);
	return a;
}

static void times_prefill_and_one_step(void **state)
{
	static const char *const models[] = {"tests/golden/models/qwen3", "tests/golden/models/mistral_window", "tests/golden/models/llama_bias"};
	(void)state;
	for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
		struct ops *under = open_ops();
		struct arch a = arch_of(models[i]);
		struct ops ops = counting(under, a.shape.V);
		struct latency_options o = latency_default(&a);
		struct latency l;
		struct err e;
		o.length = LENGTH;
		o.batch = BATCH;
		struct ops_limits limits = latency_limits(&ops, &a, &o);
		assert_ok(ops_cpu_reserve(under, &limits, &e), &e);
		assert_ok(latency_measure(&ops, &a, &o, &l, &e), &e);
		assert_true(l.prefill_ms > 0 && l.decode_ms > 0 && l.prefill_spread >= 0 && l.decode_spread >= 0);
		assert_true(seen.prefills >= 6 * a.shape.L && seen.prefills % a.shape.L == 0); /* a warm-up and five runs */
		assert_true(seen.steps >= 6 * a.shape.L && seen.steps <= (LATENCY_MAX_RUNS + 1) * a.shape.L);
		assert_int_equal(seen.others, 0);
		assert_int_equal(seen.wrong_head, 0);
		assert_int_equal(seen.allocated, l.n_bytes);
		assert_int_equal(seen.live, 0);
		assert_true(l.n_bytes > arch_n_params(&a) * sizeof(float));
		ops_cpu_close(under);
	}
}

static void the_defaults_fit_the_model(void **state)
{
	struct arch a = arch_of("tests/golden/models/llama_tied");
	(void)state;
	a.max_positions = 1 << 17;
	assert_int_equal(latency_default(&a).length, 512);
	a.max_positions = 40;
	assert_int_equal(latency_default(&a).length, 40);
	assert_int_equal(latency_default(&a).batch, 1);
}

static void refuses(struct ops *ops, const struct arch *a, struct latency_options o, const char *words)
{
	struct latency l;
	struct err e;
	assert_fails(latency_measure(ops, a, &o, &l, &e), &e, words);
	assert_int_equal(seen.live, 0);
}

static void impossible_options_are_refused(void **state)
{
	struct ops *under = open_ops();
	struct arch a = arch_of("tests/golden/models/llama_tied");
	struct ops ops = counting(under, a.shape.V);
	struct latency_options good = {.length = LENGTH, .batch = 1, .runs = 5}, o = good;
	struct latency l;
	struct err e;
	(void)state;
	o.length = a.max_positions + 1;
	refuses(&ops, &a, o, "the length must be 1 to");
	o.length = 0;
	refuses(&ops, &a, o, "the length must be 1 to");
	o = good;
	o.batch = 1 << 22;
	refuses(&ops, &a, o, "the batch must be 1 to");
	o = good;
	o.runs = 4;
	refuses(&ops, &a, o, "runs must be 5 to");
	o = good;
	o.memory_limit = 4 * arch_n_params(&a); /* the weights alone */
	refuses(&ops, &a, o, "MiB are free");
	o.memory_limit = 0;
	assert_ok(latency_measure(&ops, &a, &o, &l, &e), &e);
	o.memory_limit = l.n_bytes; /* exactly */
	assert_ok(latency_measure(&ops, &a, &o, &l, &e), &e);
	o.memory_limit--;
	refuses(&ops, &a, o, "MiB are free");
	ops_cpu_close(under);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_prefill_and_one_step),
		cmocka_unit_test(the_defaults_fit_the_model),
		cmocka_unit_test(impossible_options_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

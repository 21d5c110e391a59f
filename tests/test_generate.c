/* results/generate.c: greedy text is the argmax of what evaluation scores, sampling follows the probabilities, pieces of text are
 * whole characters. */
#include "tests/eval_ops.h"

#include "results/generate.h"

/* ---- picking ---- */

static void greedy_takes_the_first_of_the_largest(void **state)
{
	(void)state;
	const float logits[] = {-1, 3, 2, 3};
	int32_t order[4];
	struct generate_options o = {.top_p = 1};
	assert_int_equal(generate_pick(logits, 4, &o, 0, order), 1);
}

enum { V = 5, DRAWS = 20000 };
static void count_draws(const struct generate_options *o, int counts[V])
{
	/* probabilities 0.5 0.25 0.125 0.0625 0.0625, in an order that is not the ids' */
	const float logits[V] = {-1.3862944f, 0, -2.0794415f, -0.6931472f, -2.0794415f};
	int32_t order[V];
	memset(counts, 0, V * sizeof *counts);
	for (int i = 0; i < DRAWS; i++)
		counts[generate_pick(logits, V, o, (uint64_t)i, order)]++;
}

static void sampling_follows_the_probabilities(void **state)
{
	(void)state;
	static const double p[V] = {0.125, 0.5, 0.0625, 0.25, 0.0625};
	int counts[V];
	struct generate_options o = {.temperature = 1, .top_p = 1, .seed = 3};
	count_draws(&o, counts);
	for (int v = 0; v < V; v++) /* 5 sigma */
		assert_close(counts[v], DRAWS * p[v], 5 * sqrt(DRAWS * p[v] * (1 - p[v])), 0);
	o.temperature = 0.5; /* squares them: 0.5 becomes 32/43 */
	count_draws(&o, counts);
	assert_close(counts[1], DRAWS * 32.0 / 43, 5 * sqrt(DRAWS * 0.19), 0);
	o.temperature = 1;
	o.top_p = 0.7; /* 0.5 alone is too little: two tokens */
	count_draws(&o, counts);
	assert_int_equal(counts[0] + counts[2] + counts[4], 0);
	assert_close(counts[1], DRAWS * 2.0 / 3, 5 * sqrt(DRAWS * 0.22), 0);
	o.top_p = 0.4;
	count_draws(&o, counts);
	assert_int_equal(counts[1], DRAWS);
}

static void same_seed_same_draws(void **state)
{
	(void)state;
	int a[V], b[V];
	struct generate_options o = {.temperature = 1, .top_p = 0.95, .seed = 3};
	count_draws(&o, a);
	count_draws(&o, b);
	assert_memory_equal(a, b, sizeof a);
	o.seed = 4;
	count_draws(&o, b);
	assert_memory_not_equal(a, b, sizeof a);
}

/* ---- ids, on a tiny random model ---- */

/* NLL of the last token of n ids, all else being context. */
static double last_nll(struct loaded_model *m, const int32_t *ids, size_t n)
{
	struct err e;
	struct evaluation all, head;
	size_t offsets[2] = {0, n}, n_bytes[1] = {1};
	for (int part = 0; part < 2; part++) {
		struct array_documents a = {.ids = ids, .offsets = offsets, .n_bytes = n_bytes, .n = 1};
		struct document_source source = array_documents_open(&a);
		struct evaluator_options o = {0};
		assert_ok(loaded_model_evaluate(m, NULL, &o, &source, part ? &head : &all, NULL, NULL, &e), &e);
		offsets[1]--;
	}
	double nll = all.documents[0].nll - head.documents[0].nll;
	evaluation_release(&all);
	evaluation_release(&head);
	return nll;
}

static int count_tokens(void *user, const struct ids *ids)
{
	(void)ids;
	return ++*(int *)user == 5;
}

static void greedy_is_the_argmax(void **state)
{
	(void)state;
	enum { TINY_V = 61 };
	struct ops *ops = open_ops();
	struct loaded_model m;
	struct err e;
	struct ids ids = {0};
	const int32_t prompt[] = {4, 9, 16, 25};
	int calls = 0;
	assert_ok(loaded_model_open(&m, ops, test_source("tests/golden/models/qwen3").text, &e), &e);
	assert_ok(ids_append(&ids, prompt, 4, &e), &e);
	struct generate_options o = {.max_tokens = 8, .top_p = 1, .stop = {-1, -1}};
	assert_ok(generate_ids(&m, &o, &ids, count_tokens, &calls, &e), &e);
	assert_int_equal(ids.n, 9);
	for (size_t n = 5; n <= 9; n += 4) {
		int32_t picked = ids.v[n - 1];
		double best = last_nll(&m, ids.v, n);
		for (int32_t v = 0; v < TINY_V; v++) {
			ids.v[n - 1] = v;
			assert_true(last_nll(&m, ids.v, n) >= best - 1e-4);
		}
		ids.v[n - 1] = picked;
	}
	/* A window of one token forgets all else; a stop id is left out. */
	struct ids one = {0}, stopped = {0};
	o = (struct generate_options){.max_tokens = 1, .context = 1, .top_p = 1, .stop = {-1, -1}};
	assert_ok(ids_append(&one, prompt + 3, 1, &e), &e);
	assert_ok(generate_ids(&m, &o, &one, NULL, NULL, &e), &e);
	assert_ok(ids_append(&stopped, prompt, 4, &e), &e);
	assert_ok(generate_ids(&m, &o, &stopped, NULL, NULL, &e), &e);
	assert_int_equal(one.v[1], stopped.v[4]);
	stopped.n = 4;
	o.stop[1] = one.v[1];
	assert_ok(generate_ids(&m, &o, &stopped, NULL, NULL, &e), &e);
	assert_int_equal(stopped.n, 4);
	o.top_p = 0;
	assert_fails(generate_ids(&m, &o, &stopped, NULL, NULL, &e), &e, "top_p");
	o = (struct generate_options){.temperature = NAN, .top_p = 1};
	assert_fails(generate_ids(&m, &o, &stopped, NULL, NULL, &e), &e, "temperature");
	o.temperature = 0;
	stopped.v[0] = TINY_V;
	assert_fails(generate_ids(&m, &o, &stopped, NULL, NULL, &e), &e, "id 61");
	stopped.n = 0;
	assert_fails(generate_ids(&m, &o, &stopped, NULL, NULL, &e), &e, "empty");
	ids_release(&ids);
	ids_release(&one);
	ids_release(&stopped);
	loaded_model_close(&m);
	ops_cpu_close(ops);
}

/* Greedy ids of a prompt against whole forward passes over what the header says that the model sees. */
static void check_context(struct loaded_model *m, int context, int n_prompt)
{
	enum { NEW = 20, MAX_V = 128 };
	int n_vocab = m->hf.layout.arch.shape.V, from = 0;
	float logits[32 * MAX_V];
	struct ids ids = {0};
	struct err e;
	struct generate_options o = {.max_tokens = NEW, .context = context, .top_p = 1, .stop = {-1, -1}};
	for (int32_t i = 0; i < n_prompt; i++)
		assert_ok(ids_append(&ids, &(int32_t){(7 + i * i) % n_vocab}, 1, &e), &e);
	assert_ok(generate_ids(m, &o, &ids, NULL, NULL, &e), &e);
	assert_int_equal(ids.n, n_prompt + NEW);
	for (int n = n_prompt; n < n_prompt + NEW; n++) {
		if (n - from > context)
			from = n == n_prompt ? n - context : n - (context > 1 ? context / 2 : 1);
		assert_true(n - from <= 32 && n_vocab <= MAX_V);
		assert_ok(loaded_model_logits(m, ids.v + from, n - from, logits, &e), &e);
		const float *last = logits + (n - from - 1) * n_vocab;
		for (int v = 0; v < n_vocab; v++)
			assert_true(last[v] <= last[ids.v[n]] + 1e-4f);
	}
	ids_release(&ids);
}

static void the_cache_holds_what_a_whole_pass_sees(void **state)
{
	static const char *const names[] = {"llama_tied", "llama_rope3", "llama_bias", "mistral_window", "qwen2", "qwen3"};
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct ops *ops = open_ops();
		struct loaded_model m;
		struct err e;
		char path[64];
		snprintf(path, sizeof path, "tests/golden/models/%s", names[i]);
		assert_ok(loaded_model_open(&m, ops, test_source(path).text, &e), &e);
		check_context(&m, 32, 5);
		check_context(&m, 9, 5);
		check_context(&m, 8, 8);
		check_context(&m, 6, 11);
		check_context(&m, 1, 3);
		loaded_model_close(&m);
		ops_cpu_close(ops);
	}
}

/* ---- text, on a real model ---- */

struct heard {
	char text[8192];
	size_t n;
	int pieces;
};

static void hear(void *user, const char *text, size_t n_bytes)
{
	struct heard *h = user;
	assert_true(n_bytes > 0 && h->n + n_bytes < sizeof h->text);
	memcpy(h->text + h->n, text, n_bytes);
	h->n += n_bytes;
	h->text[h->n] = '\0';
	h->pieces++;
}

static void tells_a_story(void **state)
{
	(void)state;
	struct test_path dir = test_shared("data/models/stories260K");
	struct ops *ops = open_ops();
	struct loaded_model m;
	struct tokenizer *t;
	struct err e;
	struct heard greedy = {0}, again = {0}, windowed = {0};
	assert_ok(loaded_model_open(&m, ops, dir.text, &e), &e);
	assert_ok(tokenizer_open(&t, dir.text, &e), &e);
	struct generate_options o = generate_default(t);
	o.max_tokens = 60;
	assert_ok(generate_text(&m, t, &o, "Once upon a time", hear, &greedy, &e), &e);
	assert_ok(generate_text(&m, t, &o, "Once upon a time", hear, &again, &e), &e);
	print_message("Once upon a time%s\n", greedy.text);
	assert_string_equal(greedy.text, again.text);
	assert_non_null(strstr(greedy.text, "there was a"));
	assert_true(greedy.pieces > 10);
	o.context = 16; /* more text than the window */
	assert_ok(generate_text(&m, t, &o, "Once upon a time", hear, &windowed, &e), &e);
	assert_true(windowed.n > 60 && strcmp(windowed.text, greedy.text));
	tokenizer_free(t);
	loaded_model_close(&m);
	ops_cpu_close(ops);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greedy_takes_the_first_of_the_largest),
		cmocka_unit_test(sampling_follows_the_probabilities),
		cmocka_unit_test(same_seed_same_draws),
		cmocka_unit_test(greedy_is_the_argmax),
		cmocka_unit_test(the_cache_holds_what_a_whole_pass_sees),
		cmocka_unit_test(tells_a_story),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

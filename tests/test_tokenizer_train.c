/* data/tokenizer_train: the merges of the `tokenizers` library's trainer, in its order; what is written reads back. */
#include "tests/testing.h"

#include <jansson.h>

#include "data/tokenizer.h"

struct documents {
	const json_t *list;
	size_t at;
};

static int next_document(void *context, const char **text, size_t *n_bytes, struct err *e)
{
	struct documents *d = context;
	const json_t *document = json_array_get(d->list, d->at++);
	(void)e;
	if (!document)
		return 0;
	*text = json_string_value(document);
	*n_bytes = json_string_length(document);
	return 1;
}

static int no_document(void *context, const char **text, size_t *n_bytes, struct err *e)
{
	(void)context, (void)text, (void)n_bytes;
	return err_run(e, "the source failed");
}

static json_t *load_golden(void)
{
	json_t *golden = json_load_file(test_source("tests/golden/tokenizers_train.json").text, JSON_ALLOW_NUL, NULL);
	assert_non_null(golden);
	return golden;
}

static struct tokenizer *train_case(const json_t *golden, const json_t *c)
{
	struct err e;
	struct tokenizer *t;
	struct documents d = {.list = json_object_get(golden, "documents")};
	struct tokenizer_train_options o = tokenizer_train_default();
	o.vocab_size = (int32_t)json_integer_value(json_object_get(c, "vocab_size"));
	o.min_frequency = (int32_t)json_integer_value(json_object_get(c, "min_frequency"));
	o.bos = "<s>";
	o.eos = "</s>";
	assert_ok(tokenizer_train(&t, &o, next_document, &d, &e), &e);
	return t;
}

static void finds_the_same_merges(void **state)
{
	(void)state;
	struct err e;
	struct test_path dir = test_dir_make();
	json_t *golden = load_golden(), *c;
	size_t i;
	json_array_foreach(json_object_get(golden, "cases"), i, c) {
		struct tokenizer *t = train_case(golden, c), *again;
		assert_ok(tokenizer_write(t, dir.text, &e), &e);
		json_t *written = json_load_file(test_join(&dir, "tokenizer.json").text, 0, NULL);
		const json_t *model = json_object_get(written, "model");
		assert_true(json_equal(json_object_get(model, "vocab"), json_object_get(c, "vocab")));
		assert_true(json_equal(json_object_get(model, "merges"), json_object_get(c, "merges")));
		json_decref(written);
		assert_ok(tokenizer_open(&again, dir.text, &e), &e);
		assert_true(tokenizer_hash(t) == tokenizer_hash(again));
		tokenizer_free(again);
		again = train_case(golden, c);
		assert_true(tokenizer_hash(t) == tokenizer_hash(again));
		tokenizer_free(again);
		tokenizer_free(t);
	}
	assert_int_equal(i, 4);
	json_decref(golden);
	test_dir_remove(&dir);
}

/* Every text comes back, and the ends are where the options put them. */
static void round_trip(void **state)
{
	(void)state;
	struct err e;
	json_t *golden = load_golden(), *document;
	struct tokenizer *t = train_case(golden, json_array_get(json_object_get(golden, "cases"), 2));
	size_t i;
	assert_int_equal(tokenizer_bos(t), 0);
	assert_int_equal(tokenizer_eos(t), 1);
	assert_true(tokenizer_adds_bos(t));
	assert_false(tokenizer_adds_eos(t));
	json_array_foreach(json_object_get(golden, "documents"), i, document) {
		struct ids ids = {0};
		struct bytes text = {0};
		size_t n = json_string_length(document);
		assert_ok(tokenizer_encode_document(t, json_string_value(document), n, &ids, &e), &e);
		assert_int_equal(ids.v[0], 0);
		assert_ok(tokenizer_decode(t, ids.v + 1, ids.n - 1, false, &text, &e), &e);
		assert_int_equal(text.n, n);
		if (n)
			assert_memory_equal(text.v, json_string_value(document), n);
		ids_release(&ids);
		bytes_release(&text);
	}
	tokenizer_free(t);
	json_decref(golden);
}

static void both_ends_and_none(void **state)
{
	(void)state;
	struct err e;
	struct tokenizer *t;
	struct ids ids = {0};
	json_t *golden = load_golden();
	struct documents d = {.list = json_object_get(golden, "documents")};
	struct tokenizer_train_options o = tokenizer_train_default();
	o.vocab_size = 300;
	o.add_eos = true;
	assert_ok(tokenizer_train(&t, &o, next_document, &d, &e), &e);
	assert_ok(tokenizer_encode_document(t, "", 0, &ids, &e), &e);
	assert_int_equal(ids.n, 2);
	assert_int_equal(ids.v[0], 0);
	assert_int_equal(ids.v[1], 0);
	assert_true(tokenizer_adds_bos(t) && tokenizer_adds_eos(t));
	tokenizer_free(t);
	d.at = 0;
	o.bos = o.eos = NULL;
	assert_ok(tokenizer_train(&t, &o, next_document, &d, &e), &e);
	assert_int_equal(tokenizer_bos(t), -1);
	assert_int_equal(tokenizer_eos(t), -1);
	assert_int_equal(tokenizer_vocab_size(t), 300);
	tokenizer_free(t);
	ids_release(&ids);
	json_decref(golden);
}

static void refuses(void **state)
{
	(void)state;
	struct err e;
	struct tokenizer *t;
	json_t *bad = json_pack("[s]", "fine");
	struct documents d = {.list = bad};
	struct tokenizer_train_options o = tokenizer_train_default();
	o.vocab_size = 256;
	assert_fails(tokenizer_train(&t, &o, next_document, &d, &e), &e, "expected 257 to");
	o.vocab_size = 300;
	assert_fails(tokenizer_train(&t, &o, no_document, NULL, &e), &e, "the source failed");
	assert_null(t);
	o.bos = "x";
	assert_fails(tokenizer_train(&t, &o, next_document, &d, &e), &e, "special token");
	json_decref(bad);
}

static int broken_document(void *context, const char **text, size_t *n_bytes, struct err *e)
{
	int *at = context;
	(void)e;
	*text = *at ? "ab\xff" : "ok";
	*n_bytes = *at ? 3 : 2;
	return (*at)++ < 2;
}

static void names_the_broken_document(void **state)
{
	(void)state;
	struct err e;
	struct tokenizer *t;
	int at = 0;
	struct tokenizer_train_options o = tokenizer_train_default();
	assert_fails(tokenizer_train(&t, &o, broken_document, &at, &e), &e, "document 2 is no UTF-8: byte 0xff at offset 2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_same_merges),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(both_ends_and_none),
		cmocka_unit_test(refuses),
		cmocka_unit_test(names_the_broken_document),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* data/tokenizer: ids and text equal those of the `tokenizers` library (tests/golden/make_tokenizers.py). */
#include "tests/testing.h"

#include <jansson.h>

#include "data/tokenizer.h"

static json_t *load_golden(const char *name)
{
	json_error_t error;
	json_t *golden = json_load_file(test_source(name).text, JSON_ALLOW_NUL, &error);
	if (!golden)
		fail_msg("%s:%d: %s", name, error.line, error.text);
	return golden;
}

/* Prints the first difference; returns how many ids differ. */
static int compare_ids(const struct ids *got, const json_t *want, const char *name, const char *text)
{
	size_t n = json_array_size(want);
	for (size_t i = 0; i < n || i < got->n; i++) {
		int expected = i < n ? (int)json_integer_value(json_array_get(want, i)) : -1;
		int found = i < got->n ? got->v[i] : -1;
		if (expected == found)
			continue;
		print_error("%s: \"%.80s\": token %zu of %zu is %d, expected %d\n", name, text, i, n, found, expected);
		return 1;
	}
	return 0;
}

static int check_encoding(struct tokenizer *t, const char *name, const json_t *texts, const json_t *c)
{
	struct err e;
	struct ids ids = {0};
	int wrong = 0;
	const json_t *plain = json_object_get(c, "plain");
	assert_int_equal(json_array_size(plain), json_array_size(texts));
	for (size_t i = 0; i < json_array_size(texts); i++) {
		const json_t *text = json_array_get(texts, i);
		ids.n = 0;
		assert_ok(tokenizer_encode(t, json_string_value(text), json_string_length(text), &ids, &e), &e);
		wrong += compare_ids(&ids, json_array_get(plain, i), name, json_string_value(text));
	}
	ids.n = 0;
	const json_t *fourth = json_array_get(texts, 4);
	assert_ok(tokenizer_encode_document(t, json_string_value(fourth), json_string_length(fourth), &ids, &e), &e);
	wrong += compare_ids(&ids, json_object_get(c, "special"), name, "with special tokens");
	ids_release(&ids);
	return wrong;
}

static int check_text(struct tokenizer *t, const char *name, const json_t *ids, const json_t *want, bool skip_special)
{
	struct err e;
	struct bytes text = {0};
	int32_t v[2048];
	size_t n = json_array_size(ids);
	assert_true(n <= 2048);
	for (size_t i = 0; i < n; i++)
		v[i] = (int32_t)json_integer_value(json_array_get(ids, i));
	assert_ok(tokenizer_decode(t, v, n, skip_special, &text, &e), &e);
	int wrong = text.n != json_string_length(want) || (text.n && memcmp(text.v, json_string_value(want), text.n));
	if (wrong)
		print_error("%s: decoded \"%.*s\", expected \"%s\"\n", name, (int)text.n, text.v, json_string_value(want));
	bytes_release(&text);
	return wrong;
}

/* The ids of every text, then the noise. */
static int check_decoding(struct tokenizer *t, const char *name, const json_t *c)
{
	const json_t *plain = json_object_get(c, "plain"), *noise = json_object_get(c, "noise");
	const json_t *decoded = json_object_get(c, "decoded"), *skipped = json_object_get(c, "skipped");
	int wrong = 0;
	for (size_t i = 0; i < json_array_size(decoded); i++) {
		size_t n = json_array_size(plain);
		const json_t *ids = i < n ? json_array_get(plain, i) : json_array_get(noise, i - n);
		wrong += check_text(t, name, ids, json_array_get(decoded, i), false);
		wrong += check_text(t, name, ids, json_array_get(skipped, i), true);
	}
	return wrong;
}

/* The base's tokenizer.json with the case's fields in place of its own. */
static struct tokenizer *open_variant(const json_t *bases, const json_t *c)
{
	struct err e;
	struct tokenizer *t;
	const char *key;
	json_t *value, *json = json_deep_copy(json_object_get(bases, json_string_value(json_object_get(c, "base"))));
	json_object_foreach(json_object_get(c, "patch"), key, value) {
		if (!strcmp(key, "model"))
			json_object_update(json_object_get(json, key), value);
		else
			json_object_set(json, key, value);
	}
	char *text = json_dumps(json, JSON_COMPACT);
	assert_ok(tokenizer_parse(&t, json_string_value(json_object_get(c, "name")), text, strlen(text), NULL, 0, &e), &e);
	free(text);
	json_decref(json);
	return t;
}

static void variants_agree(void **state)
{
	(void)state;
	json_t *golden = load_golden("tests/golden/tokenizers_variants.json"), *c;
	const json_t *texts = json_object_get(golden, "texts"), *bases = json_object_get(golden, "bases");
	size_t i;
	int wrong = 0;
	json_array_foreach(json_object_get(golden, "cases"), i, c) {
		const char *name = json_string_value(json_object_get(c, "name"));
		struct tokenizer *t = open_variant(bases, c);
		wrong += check_encoding(t, name, texts, c);
		wrong += check_encoding(t, name, texts, c); /* from the cache */
		wrong += check_decoding(t, name, c);
		tokenizer_free(t);
	}
	assert_true(i > 30);
	assert_int_equal(wrong, 0);
	json_decref(golden);
}

static void shared_agree(void **state)
{
	(void)state;
	struct err e;
	json_t *golden = load_golden("tests/golden/tokenizers_shared.json"), *c;
	const json_t *texts = json_object_get(golden, "texts");
	size_t i;
	int wrong = 0;
	json_array_foreach(json_object_get(golden, "cases"), i, c) {
		const char *path = json_string_value(json_object_get(c, "path"));
		struct tokenizer *t;
		assert_ok(tokenizer_open(&t, test_shared(path).text, &e), &e);
		wrong += check_encoding(t, path, texts, c);
		wrong += check_decoding(t, path, c);
		tokenizer_free(t);
	}
	assert_int_equal(i, 5);
	assert_int_equal(wrong, 0);
	json_decref(golden);
}

/* A wrong expectation is noticed: the comparison can fail. */
static void comparison_sees_one_wrong_id(void **state)
{
	(void)state;
	int32_t v[] = {5, 6, 7};
	struct ids got = {.v = v, .n = 3};
	json_t *want = json_pack("[i, i, i]", 5, 6, 7);
	assert_int_equal(compare_ids(&got, want, "seeded", ""), 0);
	json_array_set_new(want, 1, json_integer(8));
	assert_int_equal(compare_ids(&got, want, "seeded (expected to differ)", ""), 1);
	json_array_set_new(want, 1, json_integer(6));
	json_array_append_new(want, json_integer(9));
	assert_int_equal(compare_ids(&got, want, "seeded (expected to be longer)", ""), 1);
	json_decref(want);
}

static void says_what_it_adds(void **state)
{
	(void)state;
	struct err e;
	struct tokenizer *t;
	assert_ok(tokenizer_open(&t, test_shared("data/models/stories3M").text, &e), &e);
	assert_int_equal(tokenizer_vocab_size(t), 4096);
	assert_int_equal(tokenizer_bos(t), 1);
	assert_int_equal(tokenizer_eos(t), 2);
	assert_true(tokenizer_adds_bos(t));
	assert_false(tokenizer_adds_eos(t));
	assert_int_equal(tokenizer_id(t, "<s>"), 1);
	assert_int_equal(tokenizer_id(t, "no such token"), -1);
	tokenizer_free(t);
	assert_ok(tokenizer_open(&t, test_shared("data/tokenizers/gpt2.vocab.json").text, &e), &e);
	assert_int_equal(tokenizer_vocab_size(t), 50257);
	assert_int_equal(tokenizer_bos(t), 50256);
	assert_int_equal(tokenizer_eos(t), 50256);
	assert_false(tokenizer_adds_bos(t));
	tokenizer_free(t);
}

/* Written, read back: the same ids and the same hash. */
static void writes_what_it_read(void **state)
{
	(void)state;
	struct err e;
	struct tokenizer *t, *again;
	struct test_path dir = test_dir_make();
	assert_ok(tokenizer_open(&t, test_shared("data/models/stories260K").text, &e), &e);
	assert_ok(tokenizer_write(t, dir.text, &e), &e);
	assert_ok(tokenizer_open(&again, dir.text, &e), &e);
	assert_true(tokenizer_hash(t) == tokenizer_hash(again));
	assert_int_equal(tokenizer_bos(again), tokenizer_bos(t));
	tokenizer_free(again);
	tokenizer_free(t);
	assert_ok(tokenizer_open(&t, test_shared("data/tokenizers/gpt2.vocab.json").text, &e), &e);
	assert_ok(tokenizer_write(t, test_join(&dir, ".").text, &e), &e);
	fsio_remove_tree(test_join(&dir, "tokenizer_config.json").text, &e);
	assert_ok(tokenizer_open(&again, dir.text, &e), &e);
	assert_true(tokenizer_hash(t) == tokenizer_hash(again));
	tokenizer_free(again);
	tokenizer_free(t);
	test_dir_remove(&dir);
}

/* transformers obeys add_bos_token where there is no tokenizer.json. */
static void pair_obeys_its_config(void **state)
{
	(void)state;
	struct err e;
	struct tokenizer *t;
	struct ids ids = {0};
	struct test_path dir = test_dir_make();
	test_write(test_join(&dir, "vocab.json").text, "{\"a\": 0, \"b\": 1, \"ab\": 2, \"<|endoftext|>\": 3, \"<e>\": 4}");
	test_write(test_join(&dir, "merges.txt").text, "#version: 0.2\r\na b\r\n");
	test_write(test_join(&dir, "tokenizer_config.json").text,
		   "{\"add_bos_token\": true, \"add_eos_token\": true, \"eos_token\": {\"content\": \"<e>\"}}");
	assert_ok(tokenizer_open(&t, dir.text, &e), &e);
	assert_int_equal(tokenizer_bos(t), 3);
	assert_int_equal(tokenizer_eos(t), 4);
	assert_true(tokenizer_adds_bos(t) && tokenizer_adds_eos(t));
	assert_ok(tokenizer_encode_document(t, "ab<e>a", 6, &ids, &e), &e);
	assert_int_equal(ids.n, 5);
	assert_memory_equal(ids.v, ((int32_t[]){3, 2, 4, 0, 4}), sizeof(int32_t[5]));
	ids_release(&ids);
	tokenizer_free(t);
	test_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(variants_agree),
		cmocka_unit_test(shared_agree),
		cmocka_unit_test(comparison_sees_one_wrong_id),
		cmocka_unit_test(says_what_it_adds),
		cmocka_unit_test(writes_what_it_read),
		cmocka_unit_test(pair_obeys_its_config),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

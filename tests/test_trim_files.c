/* data/tokenizer_trim_files.c: what a directory has beside tokenizer.json gets the new ids, and ids that no token has are refused.
 * The choice and the pieces: tests/test_trim.c */
#include "tests/testing.h"

#include "base/json.h"
#include "data/tokenizer_trim.h"

static const char vocab_json[] = "{\"a\": 0, \"b\": 1, \"c\": 2, \"ab\": 3, \"abc\": 4, \"bc\": 5, \"<|endoftext|>\": 6}";
static const char merges_txt[] = "#version: 0.2\na b\nab c\nb c\n";

static void check_file(const struct test_path *dir, const char *name, const char *expected)
{
	struct err e;
	json_t *want, *got;
	assert_ok(json_parse(expected, strlen(expected), name, &want, &e), &e);
	assert_ok(json_read_file(test_join(dir, name).text, &got, &e), &e);
	if (!json_equal(want, got)) {
		char *text = json_dumps(got, JSON_COMPACT);
		fail_msg("%s is %s, expected %s", name, text, expected);
	}
	json_decref(want);
	json_decref(got);
}

/* "bc" goes: a b c are bytes, "ab" builds "abc". */
static void a_directory_is_renumbered(void **state)
{
	(void)state;
	struct err e;
	struct tokenizer *t, *small;
	struct tokenizer_trim m;
	struct ids ids = {0};
	uint64_t counts[7] = {[4] = 9};
	struct tokenizer_trim_options o = {.counts = counts, .min_count = 1};
	struct test_path from = test_dir_make(), to = test_dir_make();
	test_write(test_join(&from, "vocab.json").text, vocab_json);
	test_write(test_join(&from, "merges.txt").text, merges_txt);
	test_write(test_join(&from, "special_tokens_map.json").text, "{\"eos_token\": \"<|endoftext|>\"}");
	test_write(test_join(&from, "added_tokens.json").text, "{\"<|endoftext|>\": 6}");
	test_write(test_join(&from, "tokenizer_config.json").text,
		   "{\"eos_token\": \"<|endoftext|>\", \"model_max_length\": 1e30, \"added_tokens_decoder\": {\"6\": {\"content\": \"<|endoftext|>\"}}}");
	test_write(test_join(&from, "generation_config.json").text,
		   "{\"eos_token_id\": [6], \"pad_token_id\": -1, \"bos_token_id\": null, \"max_length\": 6, \"suppress_tokens\": [4, 5, 0], \"bad_words_ids\": [[5, 0], [4, 6]]}");
	assert_ok(tokenizer_open(&t, from.text, &e), &e);
	assert_ok(tokenizer_trim_choose(&m, t, &o, &e), &e);
	assert_int_equal(m.n_new, 6);
	assert_memory_equal(m.old_ids, ((int32_t[]){0, 1, 2, 3, 4, 6}), sizeof(int32_t[6]));
	assert_ok(tokenizer_trim_write(&m, t, from.text, to.text, &e), &e);
	check_file(&to, "vocab.json", "{\"a\": 0, \"b\": 1, \"c\": 2, \"ab\": 3, \"abc\": 4, \"<|endoftext|>\": 5}");
	check_file(&to, "added_tokens.json", "{\"<|endoftext|>\": 5}");
	check_file(&to, "special_tokens_map.json", "{\"eos_token\": \"<|endoftext|>\"}");
	check_file(&to, "tokenizer_config.json",
		   "{\"eos_token\": \"<|endoftext|>\", \"model_max_length\": 1e30, \"added_tokens_decoder\": {\"5\": {\"content\": \"<|endoftext|>\"}}}");
	check_file(&to, "generation_config.json",
		   "{\"eos_token_id\": [5], \"pad_token_id\": -1, \"bos_token_id\": null, \"max_length\": 6, \"suppress_tokens\": [4, 0], \"bad_words_ids\": [[4, 5]]}");
	assert_false(fsio_exists(test_join(&to, "tokenizer.json").text));
	assert_ok(tokenizer_open(&small, to.text, &e), &e);
	assert_ok(tokenizer_encode(small, "abc<|endoftext|>bc", 18, &ids, &e), &e);
	assert_int_equal(ids.n, 4);
	assert_memory_equal(ids.v, ((int32_t[]){4, 5, 1, 2}), sizeof(int32_t[4]));
	tokenizer_trim_release(&m);
	tokenizer_free(small);
	tokenizer_free(t);
	ids_release(&ids);
	test_dir_remove(&from);
	test_dir_remove(&to);
}

static void refuses(const struct tokenizer_trim *m, const char *config, const char *words)
{
	struct err e;
	json_t *v;
	assert_ok(json_parse(config, strlen(config), "x.json", &v, &e), &e);
	assert_fails(tokenizer_trim_renumber(m, v, "x.json", &e), &e, words);
	assert_int_equal(e.status, ERR_USER);
	json_decref(v);
}

static void ids_without_a_token_are_refused(void **state)
{
	(void)state;
	int32_t news[] = {0, -1, 1}, olds[] = {0, 2};
	const struct tokenizer_trim m = {news, olds, 3, 2};
	refuses(&m, "{\"eos_token_id\": 1}", "x.json: \"eos_token_id\" is an id that no token");
	refuses(&m, "{\"eos_token_id\": [0, 3]}", "\"eos_token_id\"");
	refuses(&m, "{\"added_tokens_decoder\": {\"1\": {}}}", "has id \"1\"");
	refuses(&m, "{\"added_tokens_decoder\": {\"x\": {}}}", "has id \"x\"");
	refuses(&m, "{\"forced_decoder_ids\": [[1, 2]]}", "forced_decoder_ids");
	refuses(&m, "{\"sequence_bias\": {\"a\": 1}}", "sequence_bias");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_directory_is_renumbered),
		cmocka_unit_test(ids_without_a_token_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

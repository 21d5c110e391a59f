/* data/tokenizer: bad files and bad text give one line each and no crash. */
#include "tests/testing.h"

#include "data/tokenizer.h"

/* A whole tokenizer.json of a few tokens; every part can be replaced. */
#define FILE_WITH(added, normalizer, pre, post, decoder, model)                                                          \
	"{\"version\": \"1.0\", \"added_tokens\": " added ", \"normalizer\": " normalizer ", \"pre_tokenizer\": " pre        \
	", \"post_processor\": " post ", \"decoder\": " decoder ", \"model\": " model "}"
#define ADDED "[{\"id\": 5, \"content\": \"<s>\", \"special\": true, \"normalized\": false}]"
#define NORMALIZER                                                                                                       \
	"{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", \"prepend\": \"a\"}, {\"type\": \"NFKC\"}, "       \
	"{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"b\"}]}"
#define PRE                                                                                                              \
	"{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[a-c]+|\\\\s\"}, "      \
	"\"behavior\": \"Isolated\", \"invert\": false}, {\"type\": \"Digits\"}, {\"type\": \"Metaspace\", "                  \
	"\"replacement\": \"\\u2581\", \"prepend_scheme\": \"first\"}]}"
#define POST                                                                                                             \
	"{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}, {\"Sequence\": {\"id\": "      \
	"\"A\"}}], \"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [5], \"tokens\": [\"<s>\"]}}}"
#define DECODER                                                                                                          \
	"{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": \"b\"}, \"content\": \" "   \
	"\"}, {\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \"a\", \"start\": 1, \"stop\": 0}]}"
#define VOCAB "{\"a\": 0, \"b\": 1, \"c\": 2, \"ab\": 3, \"<unk>\": 4}"
#define MODEL "{\"type\": \"BPE\", \"unk_token\": \"<unk>\", \"vocab\": " VOCAB ", \"merges\": [\"a b\"]}"
#define WHOLE FILE_WITH(ADDED, NORMALIZER, PRE, POST, DECODER, MODEL)

static void use(struct tokenizer *t)
{
	static const char text[] = "abc <s>ab \xe4\xbd\xa0 12";
	struct err e;
	struct ids ids = {0};
	struct bytes back = {0};
	assert_ok(tokenizer_encode_document(t, text, sizeof text, &ids, &e), &e);
	assert_ok(tokenizer_decode(t, ids.v, ids.n, false, &back, &e), &e);
	ids_release(&ids);
	bytes_release(&back);
}

static int parse(const char *json, struct err *e)
{
	struct tokenizer *t;
	int rc = tokenizer_parse(&t, "X", json, strlen(json), NULL, 0, e);
	assert_true((rc == 0) == (t != NULL));
	if (t)
		use(t);
	tokenizer_free(t);
	return rc;
}

static void whole_file_is_fine(void **state)
{
	(void)state;
	struct err e;
	assert_ok(parse(WHOLE, &e), &e);
}

static void truncation_is_an_error(void **state)
{
	(void)state;
	struct err e;
	struct tokenizer *t;
	for (size_t n = 0; n < strlen(WHOLE); n++) {
		char *part = malloc(n + 1); /* exact, so that a sanitizer sees a read beyond */
		memcpy(part, WHOLE, n);
		char *exact = realloc(part, n ? n : 1);
		assert_fails(tokenizer_parse(&t, "X", exact, n, NULL, 0, &e), &e, "X");
		assert_null(t);
		free(exact);
	}
}

/* Any byte replaced: an error or a working tokenizer. */
static void damage_never_crashes(void **state)
{
	(void)state;
	static const char damage[] = "\"{}[],:0-9nx\\ \xff";
	struct err e;
	char *json = strdup(WHOLE);
	for (size_t i = 0; i < strlen(WHOLE); i++)
		for (size_t k = 0; k < sizeof damage - 1; k++) {
			json[i] = damage[k];
			parse(json, &e);
			json[i] = WHOLE[i];
		}
	free(json);
}

static void refuses_what_is_wrong(void **state)
{
	(void)state;
	static const struct { const char *json, *line; } cases[] = {
		{"[]", "expected a JSON object"},
		{"3", "expected a JSON object"},
		{"{}", "model"},
		{FILE_WITH("[]", "null", "null", "null", "null", "{\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}"), "empty vocabulary"},
		{FILE_WITH("[]", "null", "null", "null", "null", "{\"type\": \"BPE\", \"vocab\": " VOCAB "}"), "merges"},
		{FILE_WITH("[]", "null", "null", "null", "null", "{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a z\"]}"),
		 "merge 1: \"z\" is not in the vocabulary"},
		{FILE_WITH("[]", "null", "null", "null", "null", "{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a a\"]}"),
		 "\"aa\" is not in the vocabulary"},
		{FILE_WITH("[]", "null", "null", "null", "null", "{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a\"]}"),
		 "is not two tokens"},
		{FILE_WITH("[]", "null", "null", "null", "null", "{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [3]}"),
		 "expected two tokens"},
		{FILE_WITH("[]", "null", "null", "null", "null", "{\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}"),
		 "share id 0"},
		{FILE_WITH("[]", "null", "null", "null", "null", "{\"type\": \"BPE\", \"vocab\": {\"a\": 4294967296}, \"merges\": []}"),
		 "id 4294967296"},
		{FILE_WITH("[]", "null", "null", "null", "null", "{\"type\": \"BPE\", \"vocab\": {\"a\": 2147483647}, \"merges\": []}"),
		 "id 2147483647"},
		{FILE_WITH("[]", "null", "null", "null", "null", "{\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}"), "id -1"},
		{FILE_WITH("[]", "null", "null", "null", "null", "{\"type\": \"BPE\", \"vocab\": {\"a\": 1.5}, \"merges\": []}"),
		 "no integer"},
		{FILE_WITH("[]", "null", "null", "null", "null", "{\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}}"), "WordPiece"},
		{FILE_WITH("[]", "null", "null", "null", "null", "{\"type\": \"Unigram\", \"vocab\": []}"), "Unigram"},
		{FILE_WITH("[]", "null", "null", "null", "null",
			   "{\"type\": \"BPE\", \"dropout\": 0.1, \"vocab\": {\"a\": 0}, \"merges\": []}"), "model.dropout"},
		{FILE_WITH("[]", "null", "null", "null", "null",
			   "{\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\", \"vocab\": {\"a\": 0}, \"merges\": []}"),
		 "end_of_word_suffix"},
		{FILE_WITH("[]", "null", "null", "null", "null",
			   "{\"type\": \"BPE\", \"unk_token\": \"U\", \"vocab\": {\"a\": 0}, \"merges\": []}"), "unk_token \"U\""},
		{FILE_WITH("[{\"id\": 9, \"content\": \"x\"}]", "null", "null", "null", "null", MODEL), "has id 9"},
		{FILE_WITH("[{\"id\": 99999999999, \"content\": \"x\"}]", "null", "null", "null", "null", MODEL), "id"},
		{FILE_WITH("[3]", "null", "null", "null", "null", MODEL), "added_tokens"},
		{FILE_WITH("[]", "{\"type\": \"Nmt\"}", "null", "null", "null", MODEL), "\"Nmt\" is not supported"},
		{FILE_WITH("[]", "{}", "null", "null", "null", MODEL), "without a \"type\""},
		{FILE_WITH("[]", "null", "{\"type\": \"BertPreTokenizer\"}", "null", "null", MODEL), "\"BertPreTokenizer\" is not supported"},
		{FILE_WITH("[]", "null", "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}, \"behavior\": \"Isolated\"}", "null",
			   "null", MODEL), "regular expression \"(\""},
		{FILE_WITH("[]", "null", "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": \"Never\"}", "null", "null",
			   MODEL), "behavior"},
		{FILE_WITH("[]", "null", "null", "{\"type\": \"RobertaProcessing\"}", "null", MODEL), "RobertaProcessing"},
		{FILE_WITH("[]", "null", "null", "{\"type\": \"TemplateProcessing\", \"single\": []}", "null", MODEL), "one sequence A"},
		{FILE_WITH("[]", "null", "null", POST, "null", MODEL), "outside the vocabulary of 5"},
		{FILE_WITH("[]", "null", "null", "null", "{\"type\": \"CTC\"}", MODEL), "\"CTC\" is not supported"},
	};
	struct err e;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_fails(parse(cases[i].json, &e), &e, cases[i].line);
		assert_int_equal(e.status, ERR_USER);
		assert_null(strchr(e.line, '\n'));
	}
}

static void deep_nesting_is_an_error(void **state)
{
	(void)state;
	enum { DEPTH = 3000 };
	struct err e;
	struct bytes json = {0};
	assert_ok(bytes_append(&json, "{\"normalizer\": ", 15, &e), &e);
	for (int i = 0; i < DEPTH; i++)
		assert_ok(bytes_append(&json, "{\"type\": \"Sequence\", \"normalizers\": [", 37, &e), &e);
	assert_ok(bytes_append(&json, "", 1, &e), &e);
	assert_true(parse(json.v, &e) < 0);
	bytes_release(&json);
}

static void refuses_text_that_is_no_utf8(void **state)
{
	(void)state;
	static const struct { const char *text; const char *line; } cases[] = {
		{"ab\xff", "byte 0xff at offset 2"}, {"\xc0\x80", "at offset 0"}, {"a\xed\xa0\x80", "at offset 1"},
		{"abcdefghij\xe4\xbd", "at offset 10"}, {"\xf4\x90\x80\x80", "at offset 0"}, {"x\x80", "at offset 1"}};
	struct err e;
	struct tokenizer *t;
	struct ids ids = {0};
	assert_ok(tokenizer_parse(&t, "X", WHOLE, strlen(WHOLE), NULL, 0, &e), &e);
	assert_ok(tokenizer_encode(t, "a", 1, &ids, &e), &e);
	size_t before = ids.n;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_fails(tokenizer_encode_document(t, cases[i].text, strlen(cases[i].text), &ids, &e), &e, cases[i].line);
		assert_int_equal(e.status, ERR_USER);
		assert_int_equal(ids.n, before);
	}
	ids_release(&ids);
	tokenizer_free(t);
}

static void refuses_ids_out_of_range(void **state)
{
	(void)state;
	struct err e;
	struct tokenizer *t;
	struct bytes text = {0};
	assert_ok(tokenizer_parse(&t, "X", WHOLE, strlen(WHOLE), NULL, 0, &e), &e);
	assert_fails(tokenizer_decode(t, (int32_t[]){0, 6}, 2, false, &text, &e), &e, "id 6 is outside the vocabulary of 6");
	assert_fails(tokenizer_decode(t, (int32_t[]){-1}, 1, false, &text, &e), &e, "id -1");
	assert_fails(tokenizer_decode(t, (int32_t[]){INT32_MAX}, 1, false, &text, &e), &e, "id 2147483647");
	assert_int_equal(text.n, 0);
	bytes_release(&text);
	tokenizer_free(t);
}

static void refuses_other_kinds_of_files(void **state)
{
	(void)state;
	struct err e;
	struct tokenizer *t;
	struct test_path dir = test_dir_make();
	assert_fails(tokenizer_open(&t, "/nowhere/at/all", &e), &e, "no such file");
	assert_fails(tokenizer_open(&t, dir.text, &e), &e, "expected tokenizer.json, or vocab.json with merges.txt");
	test_write(test_join(&dir, "vocab.txt").text, "[PAD]\n");
	assert_fails(tokenizer_open(&t, dir.text, &e), &e, "convert the model to a BPE tokenizer.json");
	test_write(test_join(&dir, "tokenizer.model").text, "x");
	assert_fails(tokenizer_open(&t, dir.text, &e), &e, "save_pretrained");
	test_write(test_join(&dir, "vocab.json").text, "{\"a\": 0, \"b\": 1, \"ab\": 2}");
	assert_fails(tokenizer_open(&t, dir.text, &e), &e, "merges.txt");
	test_write(test_join(&dir, "merges.txt").text, "#version: 0.2\na b\na c\n");
	assert_fails(tokenizer_open(&t, dir.text, &e), &e, "merge 2: \"c\" is not in the vocabulary");
	test_write(test_join(&dir, "merges.txt").text, "#version: 0.2\na b\n\xff b\n");
	assert_fails(tokenizer_open(&t, dir.text, &e), &e, "merges.txt:3");
	test_write(test_join(&dir, "merges.txt").text, "#version: 0.2\na b\n");
	assert_ok(tokenizer_open(&t, dir.text, &e), &e);
	assert_int_equal(tokenizer_bos(t), -1);
	tokenizer_free(t);
	test_write(test_join(&dir, "tokenizer.json").text, WHOLE);
	test_write(test_join(&dir, "tokenizer_config.json").text, "{\"bos_token\": 3}");
	assert_fails(tokenizer_open(&t, dir.text, &e), &e, "\"bos_token\": expected a string");
	test_write(test_join(&dir, "tokenizer_config.json").text, "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": null");
	assert_fails(tokenizer_open(&t, dir.text, &e), &e, "tokenizer_config.json");
	test_write(test_join(&dir, "tokenizer_config.json").text, "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": null}");
	assert_ok(tokenizer_open(&t, dir.text, &e), &e);
	assert_int_equal(tokenizer_bos(t), 5);
	assert_int_equal(tokenizer_eos(t), -1);
	assert_true(tokenizer_adds_bos(t));
	tokenizer_free(t);
	test_dir_remove(&dir);
}

/* A disk that fails while writing leaves the old files. */
static void failed_write_harms_nothing(void **state)
{
	(void)state;
	struct err e;
	struct tokenizer *t;
	struct test_path dir = test_dir_make();
	char *kept = NULL;
	assert_ok(tokenizer_parse(&t, "X", WHOLE, strlen(WHOLE), NULL, 0, &e), &e);
	for (unsigned long n = 1;; n++) {
		test_write(test_join(&dir, "tokenizer.json").text, "old");
		fsio_fail_nth_write(n);
		int rc = tokenizer_write(t, dir.text, &e);
		fsio_fail_nth_write(0);
		if (rc == 0)
			break;
		assert_ok(fsio_read_file(test_join(&dir, "tokenizer.json").text, 1 << 20, &kept, NULL, &e), &e);
		assert_true(!strcmp(kept, "old") || !strcmp(kept, WHOLE));
		free(kept);
		assert_true(n < 100);
	}
	tokenizer_free(t);
	test_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_file_is_fine),
		cmocka_unit_test(truncation_is_an_error),
		cmocka_unit_test(damage_never_crashes),
		cmocka_unit_test(refuses_what_is_wrong),
		cmocka_unit_test(deep_nesting_is_an_error),
		cmocka_unit_test(refuses_text_that_is_no_utf8),
		cmocka_unit_test(refuses_ids_out_of_range),
		cmocka_unit_test(refuses_other_kinds_of_files),
		cmocka_unit_test(failed_write_harms_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

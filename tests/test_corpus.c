/* recipes/corpus.c on small generated and written domains: made once, found again; what is held out is never trained on. */
#include "tests/testing.h"

#include "recipes/corpus.h"

struct bench {
	struct test_path dir;
	struct yaml_tree tree;
	struct pool pool;
	struct data_spec *spec;
	struct corpus corpus;
};

static int try_open(struct bench *b, const char *text, struct err *e)
{
	assert_ok(yaml_parse_text(&b->tree, "data.yaml", text, strlen(text), e), e);
	assert_ok(section_parse((void **)&b->spec, &data_section, b->tree.root, &b->pool, e), e);
	int rc = corpus_open(&b->corpus, b->spec, b->dir.text, NULL, e);
	if (rc < 0) {
		yaml_release(&b->tree);
		pool_release(&b->pool);
	}
	return rc;
}

static void open_in(struct bench *b, const struct test_path *dir, const char *text)
{
	struct err e;
	*b = (struct bench){.dir = *dir};
	assert_ok(try_open(b, text, &e), &e);
}

static void bench_close(struct bench *b)
{
	corpus_close(&b->corpus);
	corpus_close(&b->corpus);
	yaml_release(&b->tree);
	pool_release(&b->pool);
}

static void refuses(const char *text, const char *words)
{
	struct test_path dir = test_dir_make();
	struct bench b = {.dir = dir};
	struct err e;
	assert_fails(try_open(&b, text, &e), &e, words);
	assert_int_equal(e.status, ERR_USER);
	test_dir_remove(&dir);
}

static const char made[] = "sequence_length: 32\nheldout_tokens: 1k\ntokenizer: {train_vocabulary: 300}\n"
			   "domains: {made: {generate: {seed: 3, documents: 40, eval_documents: 7}, weight: 2}}\n";

static char *tokenizer_text(const struct test_path *dir)
{
	struct err e;
	char *text;
	assert_ok(fsio_read_file(test_join(dir, "tokenizer/tokenizer.json").text, 1 << 24, &text, NULL, &e), &e);
	return text;
}

static void a_generated_domain_is_made_once(void **state)
{
	(void)state;
	struct test_path dir = test_dir_make();
	struct bench a, b;
	struct err e;
	open_in(&a, &dir, made);
	const struct corpus_domain *d = &a.corpus.domains[0];
	assert_string_equal(d->name, "made");
	assert_true(d->weight == 2);
	assert_int_equal(corpus_n_documents(d->train, d->n_train), 40);
	assert_int_equal(corpus_n_documents(d->eval, d->n_eval), 7);
	assert_int_equal(tokenizer_vocab_size(a.corpus.tokenizer), 300);
	assert_int_equal(a.corpus.separator, SEPARATOR_BOS);
	/* a second start reads what is there: a mark in the tokenizer's directory and in the text's stays */
	char *before = tokenizer_text(&dir);
	test_write(test_join(&dir, "tokenizer/mark").text, "x");
	uint64_t key = d->train[0].key, eval_hash = d->eval_hash;
	bench_close(&a);
	open_in(&b, &dir, made);
	char *after = tokenizer_text(&dir);
	assert_string_equal(before, after);
	assert_true(fsio_exists(test_join(&dir, "tokenizer/mark").text));
	assert_true(b.corpus.domains[0].train[0].key == key && b.corpus.domains[0].eval_hash == eval_hash);
	free(before);
	free(after);
	bench_close(&b);
	/* another vocabulary is another tokenizer, the old one is kept */
	struct bench c;
	char other[sizeof made];
	strcpy(other, made);
	memcpy(strstr(other, "300"), "310", 3);
	open_in(&c, &dir, other);
	assert_int_equal(tokenizer_vocab_size(c.corpus.tokenizer), 310);
	assert_false(fsio_exists(test_join(&dir, "tokenizer/mark").text));
	assert_true(fsio_exists(test_join(&dir, "tokenizer.old-1/mark").text));
	(void)e;
	bench_close(&c);
	test_dir_remove(&dir);
}

/* A run's directory may be moved, or named in another way. */
static void the_directory_may_move(void **state)
{
	(void)state;
	struct test_path top = test_dir_make(), one = test_join(&top, "one"), two = test_join(&top, "two");
	struct bench a;
	open_in(&a, &one, made);
	bench_close(&a);
	assert_int_equal(rename(one.text, two.text), 0);
	test_write(test_join(&two, "tokenizer/mark").text, "x");
	open_in(&a, &two, made);
	assert_true(fsio_exists(test_join(&two, "tokenizer/mark").text));
	bench_close(&a);
	test_dir_remove(&top);
}

/* ---- batches ---- */

static void take(struct batches *b, int32_t *tokens, size_t n, int T)
{
	int32_t targets[64];
	for (size_t i = 0; i < n; i++)
		batches_next(b, 1, tokens + i * (size_t)T, targets, NULL, NULL, NULL);
}

static void sequences_follow_the_seed(void **state)
{
	(void)state;
	enum { N = 50, T = 32 };
	struct test_path dir = test_dir_make();
	struct bench b;
	struct batches *x, *y, *z;
	struct err e;
	static int32_t a[N * T], c[N * T], d[N * T];
	open_in(&b, &dir, made);
	assert_ok(corpus_batches(&b.corpus, 7, &x, &e), &e);
	assert_ok(corpus_batches(&b.corpus, 7, &y, &e), &e);
	assert_ok(corpus_batches(&b.corpus, 8, &z, &e), &e);
	assert_true(batches_hash(x) == batches_hash(y));
	assert_false(batches_hash(x) == batches_hash(z));
	take(x, a, N, T);
	take(y, c, N, T);
	take(z, d, N, T);
	assert_memory_equal(a, c, sizeof a);
	assert_memory_not_equal(a, d, sizeof a);
	batches_close(x);
	batches_close(y);
	batches_close(z);
	bench_close(&b);
	test_dir_remove(&dir);
}

/* Documents of one letter each: what is drawn says which documents it comes from. */
static void heldout_documents_are_not_trained_on(void **state)
{
	(void)state;
	enum { DOCUMENTS = 40, EACH = 60, T = 32 };
	struct test_path dir = test_dir_make();
	struct test_path train = test_join(&dir, "t.txt"), eval = test_join(&dir, "v.txt");
	char text[DOCUMENTS * (EACH * 2 + 20)] = "", data[4000];
	for (int i = 0; i < DOCUMENTS; i++) {
		for (int k = 0; k < EACH; k++)
			sprintf(text + strlen(text), "%c ", 'A' + i);
		strcat(text, "\n<|endoftext|>\n");
	}
	test_write(train.text, text);
	test_write(eval.text, "A B C\n");
	snprintf(data, sizeof data, "{sequence_length: 32, heldout_tokens: 256, tokenizer: {train_vocabulary: 260}, domains: {d: {train: %s, eval: %s}}}",
		 train.text, eval.text);
	struct bench b;
	struct batches *batches;
	struct err e;
	open_in(&b, &dir, data);
	const struct corpus_domain *d = &b.corpus.domains[0];
	size_t held = 0, n_tokens, n_bytes;
	bool seen[512] = {0}, heldout[512] = {0};
	for (size_t i = 0; i < d->heldout_documents; i++) {
		const int32_t *ids = corpus_document(d->train, d->n_train, i, &n_tokens, &n_bytes);
		held += n_tokens;
		heldout[ids[0]] = true;
		assert_true(i + 1 == d->heldout_documents || held < 256); /* no more of them than it takes */
	}
	assert_true(held >= 256);
	assert_ok(corpus_batches(&b.corpus, 1, &batches, &e), &e);
	for (int i = 0; i < 200; i++) {
		int32_t tokens[T];
		take(batches, tokens, 1, T);
		for (int k = 0; k < T; k++)
			seen[tokens[k]] = true;
	}
	int n_heldout = 0, n_seen = 0;
	for (int i = 0; i < 512; i++) {
		n_heldout += heldout[i];
		n_seen += seen[i];
		assert_false(heldout[i] && seen[i]);
	}
	assert_int_equal(n_heldout, d->heldout_documents);
	assert_true(n_seen >= DOCUMENTS - n_heldout);
	batches_close(batches);
	bench_close(&b);
	test_dir_remove(&dir);
}

static void documents_are_numbered_over_files(void **state)
{
	(void)state;
	struct test_path dir = test_dir_make();
	struct test_path one = test_join(&dir, "one.txt"), two = test_join(&dir, "two.jsonl"), eval = test_join(&dir, "eval.txt");
	char data[4000], line[1200] = "";
	for (int i = 0; i < 500; i++)
		strcat(line, "x ");
	char text[3600];
	snprintf(text, sizeof text, "%s\n<|endoftext|>\n%s yy\n", line, line);
	test_write(one.text, text);
	test_write(two.text, "{\"text\": \"zzz\"}\n{\"text\": \"é\"}\n");
	test_write(eval.text, "zzz\n");
	snprintf(data, sizeof data, "{sequence_length: 32, heldout_tokens: 256, separator: none, tokenizer: {train_vocabulary: 257}, "
		 "domains: {d: {train: [%s, %s], eval: %s}}}", one.text, two.text, eval.text);
	struct bench b;
	open_in(&b, &dir, data);
	const struct corpus_domain *d = &b.corpus.domains[0];
	size_t n_tokens, n_bytes;
	assert_int_equal(b.corpus.separator, SEPARATOR_NONE);
	assert_int_equal(corpus_n_documents(d->train, d->n_train), 4);
	corpus_document(d->train, d->n_train, 0, &n_tokens, &n_bytes);
	assert_int_equal(n_bytes, 999);
	corpus_document(d->train, d->n_train, 2, &n_tokens, &n_bytes);
	assert_int_equal(n_bytes, 3);
	const int32_t *ids = corpus_document(d->train, d->n_train, 3, &n_tokens, &n_bytes);
	assert_int_equal(n_bytes, 2);
	assert_ptr_equal(ids, d->train[1].ids + d->train[1].offsets[1]);
	bench_close(&b);
	test_dir_remove(&dir);
}

/* ---- refusals ---- */

static void what_cannot_be_used_is_refused(void **state)
{
	(void)state;
	refuses("{heldout_tokens: 256, tokenizer: {train_vocabulary: 300}, domains: {exotic: {generate: {documents: 1, eval_documents: 1}}}}",
		"domain 'exotic': 1 training documents");
	refuses("{heldout_tokens: 8k, tokenizer: {train_vocabulary: 300}, domains: {few: {generate: {documents: 20, eval_documents: 1}}}}",
		"can't spare heldout_tokens 8000");
	refuses("{tokenizer: {train_vocabulary: 100}, domains: {made: {generate: {documents: 9, eval_documents: 1}}}}", "100");
	struct test_path dir = test_dir_make();
	struct test_path empty = test_join(&dir, "empty.txt");
	char data[3000];
	test_write(empty.text, " \n<|endoftext|>\n");
	snprintf(data, sizeof data, "{tokenizer: {train_vocabulary: 300}, domains: {d: {train: %s, eval: %s}}}", empty.text, empty.text);
	refuses(data, "empty.txt");
	test_dir_remove(&dir);
}

/* The same text under another name, in another domain. */
static void nobody_is_judged_by_what_it_learns(void **state)
{
	(void)state;
	struct test_path dir = test_dir_make();
	struct test_path a = test_join(&dir, "a.txt"), b = test_join(&dir, "b.txt"), c = test_join(&dir, "c.txt"), again = test_join(&dir, "again.txt");
	char text[3][2400], data[8000];
	for (int k = 0; k < 3; k++) {
		text[k][0] = '\0';
		for (int i = 0; i < 60; i++)
			sprintf(text[k] + strlen(text[k]), "%c %d and so on\n<|endoftext|>\n", 'a' + k, i);
	}
	test_write(a.text, text[0]);
	test_write(b.text, text[1]);
	test_write(c.text, text[2]);
	test_write(again.text, text[1]);
	static const char form[] = "{heldout_tokens: 256, tokenizer: {train_vocabulary: 257}, domains: {one: {train: %s, eval: %s}, two: {train: [%s, %s], eval: %s}}}";
	snprintf(data, sizeof data, form, a.text, again.text, c.text, b.text, a.text);
	refuses(data, "domain 'one': ");
	refuses(data, "again.txt is to be evaluated on, but it is the text of ");
	refuses(data, "b.txt, which domain 'two' trains on");
	snprintf(data, sizeof data, form, a.text, again.text, c.text, c.text, again.text);
	struct bench fine;
	open_in(&fine, &dir, data);
	bench_close(&fine);
	test_dir_remove(&dir);
}

static void a_missing_file_is_named(void **state)
{
	(void)state;
	struct test_path dir = test_dir_make();
	struct bench b = {.dir = dir};
	struct err e;
	assert_fails(try_open(&b, "{tokenizer: {train_vocabulary: 300}, domains: {d: {train: /nowhere/t.txt, eval: /nowhere/v.txt}}}", &e), &e,
		     "/nowhere/t.txt: ");
	test_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_generated_domain_is_made_once),
		cmocka_unit_test(the_directory_may_move),
		cmocka_unit_test(sequences_follow_the_seed),
		cmocka_unit_test(heldout_documents_are_not_trained_on),
		cmocka_unit_test(documents_are_numbered_over_files),
		cmocka_unit_test(what_cannot_be_used_is_refused),
		cmocka_unit_test(nobody_is_judged_by_what_it_learns),
		cmocka_unit_test(a_missing_file_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

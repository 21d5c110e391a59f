/* data/shards.c: what is written is what is mapped; whatever is wrong with a shard, it is made again. The tokenizer here
 * has one token per byte, so that ids are the text's bytes. */
#include "tests/testing.h"

#include "base/hash.h"
#include "base/log.h"
#include "data/shards.h"

static struct test_path dir;
static struct tokenizer *bytes_tokenizer, *other_tokenizer;
static FILE *warnings;

static struct tokenizer *make_tokenizer(const char *one_more_token)
{
	char json[16384];
	int n = sprintf(json, "{\"version\":\"1.0\",\"added_tokens\":[],\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"merges\":[],\"vocab\":{");
	struct tokenizer *t;
	struct err e;
	for (int i = 0; i < 256; i++)
		n += sprintf(json + n, "%s\"<0x%02X>\":%d", i ? "," : "", i, i);
	n += sprintf(json + n, ",\"%s\":256}}}", one_more_token);
	assert_ok(tokenizer_parse(&t, "test", json, (size_t)n, NULL, 0, &e), &e);
	return t;
}

static int setup(void **state)
{
	(void)state;
	dir = test_dir_make();
	bytes_tokenizer = make_tokenizer("first");
	other_tokenizer = make_tokenizer("second");
	warnings = tmpfile();
	assert_non_null(warnings);
	log_redirect(warnings, false);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	log_redirect(NULL, false);
	fclose(warnings);
	tokenizer_free(bytes_tokenizer);
	tokenizer_free(other_tokenizer);
	test_dir_remove(&dir);
	return 0;
}

/* Warnings since the last call. */
static long n_warned(void)
{
	static long before;
	fflush(warnings);
	long now = ftell(warnings), n = now - before;
	before = now;
	return n;
}

struct seen {
	int calls;
	uint64_t done, total;
};

static void see(void *user, uint64_t done, uint64_t total)
{
	struct seen *s = user;
	s->calls++;
	s->done = done;
	s->total = total;
}

/* The only shard in the directory that begins with stem. */
static struct test_path shard_path(const char *stem, const struct shard *s)
{
	char name[128];
	snprintf(name, sizeof name, "%s-%016llx.shard", stem, (unsigned long long)s->key);
	struct test_path p = test_join(&dir, name);
	assert_true(fsio_exists(p.text));
	return p;
}

static void check_document(const struct shard *s, size_t i, const char *text)
{
	size_t n = strlen(text);
	assert_true(i < s->n_documents);
	assert_int_equal(s->n_bytes[i], n);
	assert_int_equal(s->offsets[i + 1] - s->offsets[i], n);
	for (size_t k = 0; k < n; k++)
		assert_int_equal(s->ids[s->offsets[i] + k], (unsigned char)text[k]);
}

static const char text[] = "first\n<|endoftext|>\n\n sec\xc3\xb6nd \n<|endoftext|>\n<|endoftext|>\nthe third\n";

static void check_all(const struct shard *s)
{
	assert_int_equal(s->n_documents, 3);
	assert_int_equal(s->n_tokens, 21);
	assert_int_equal(s->text_bytes, 21);
	check_document(s, 0, "first");
	check_document(s, 1, "sec\xc3\xb6nd");
	check_document(s, 2, "the third");
}

static void test_made_once(void **state)
{
	(void)state;
	struct test_path p = test_join(&dir, "made.txt");
	struct shard s;
	struct err e;
	struct seen seen = { 0 };
	test_write(p.text, text);
	assert_ok(shard_open(&s, bytes_tokenizer, p.text, dir.text, see, &seen, &e), &e);
	check_all(&s);
	assert_int_equal(seen.calls, 3);
	assert_int_equal(seen.done, sizeof text - 1);
	assert_int_equal(seen.total, sizeof text - 1);
	shard_close(&s);
	shard_close(&s);
	assert_ok(shard_open(&s, bytes_tokenizer, p.text, dir.text, see, &seen, &e), &e);
	check_all(&s);
	assert_int_equal(seen.calls, 3); /* mapped, not made */
	shard_close(&s);
	assert_int_equal(n_warned(), 0);
}

static void test_key(void **state)
{
	(void)state;
	struct test_path p = test_join(&dir, "key.txt");
	struct shard a, b, c;
	struct err e;
	test_write(p.text, text);
	assert_ok(shard_open(&a, bytes_tokenizer, p.text, dir.text, NULL, NULL, &e), &e);
	assert_ok(shard_open(&b, other_tokenizer, p.text, dir.text, NULL, NULL, &e), &e);
	test_write(p.text, "first, and another ending\n");
	assert_ok(shard_open(&c, bytes_tokenizer, p.text, dir.text, NULL, NULL, &e), &e);
	assert_true(a.key != b.key && a.key != c.key && b.key != c.key);
	check_all(&a);
	check_all(&b);
	check_document(&c, 0, "first, and another ending");
	shard_path("key", &a);
	shard_path("key", &b);
	shard_path("key", &c);
	shard_close(&a);
	shard_close(&b);
	shard_close(&c);
	assert_int_equal(n_warned(), 0);
}

/* Every cut and every flipped bit of a shard must be noticed; then the shard is whole again. */
static void test_damage(void **state)
{
	(void)state;
	struct test_path p = test_join(&dir, "damage.txt"), file;
	struct shard s, none;
	struct err e;
	char *good;
	size_t n;
	test_write(p.text, text);
	assert_ok(shard_open(&s, bytes_tokenizer, p.text, dir.text, NULL, NULL, &e), &e);
	file = shard_path("damage", &s);
	uint64_t key = s.key;
	shard_close(&s);
	assert_ok(fsio_read_file(file.text, 1 << 20, &good, &n, &e), &e);
	assert_int_equal(n, (21 + 1) * 4 + 4 * 8 + (3 + 1) * 4 + 64);
	for (size_t i = 0; i < n; i++) {
		uint64_t *copy = calloc(1, n);
		assert_non_null(copy);
		memcpy(copy, good, n);
		assert_ok(shard_parse(&s, (uint8_t *)copy, n, key, 257, &e), &e);
		assert_int_equal(shard_parse(&none, (uint8_t *)copy, i, key, 257, &e), -1);
		((uint8_t *)copy)[i] ^= (uint8_t)(1 << i % 8);
		if (shard_parse(&none, (uint8_t *)copy, n, key, 257, &e) == 0)
			fail_msg("flipped bit in byte %zu not noticed", i);
		assert_null(none.ids);
		free(copy);
	}
	for (size_t i = 0; i < n; i += 37) { /* through the disk */
		char was = good[i];
		good[i] = (char)~was;
		assert_ok(fsio_write_file(file.text, good, i % 2 ? n : i, &e), &e);
		good[i] = was;
		assert_ok(shard_open(&s, bytes_tokenizer, p.text, dir.text, NULL, NULL, &e), &e);
		check_all(&s);
		shard_close(&s);
		assert_true(n_warned() > 0);
	}
	free(good);
}

/* Right hash, wrong contents: what a foreign program could have written. */
static void check_lie(const struct shard *s, size_t at, uint32_t value, const char *part)
{
	size_t n = s->map.n_bytes;
	struct shard none;
	struct err e;
	uint8_t *copy = malloc(n);
	assert_non_null(copy);
	memcpy(copy, s->map.data, n);
	memcpy(copy + at, &value, sizeof value);
	uint64_t hash = hash_bytes(copy, n - sizeof hash);
	memcpy(copy + n - sizeof hash, &hash, sizeof hash);
	assert_fails(shard_parse(&none, copy, n, s->key, 257, &e), &e, part);
	free(copy);
}

static void test_inconsistent(void **state)
{
	(void)state;
	struct test_path p = test_join(&dir, "lies.txt");
	struct shard s, none;
	struct err e;
	test_write(p.text, text);
	assert_ok(shard_open(&s, bytes_tokenizer, p.text, dir.text, NULL, NULL, &e), &e);
	assert_fails(shard_parse(&none, s.map.data, s.map.n_bytes, s.key + 1, 257, &e), &e, "another text or tokenizer");
	assert_fails(shard_parse(&none, s.map.data, s.map.n_bytes, s.key, 256, &e), &e, "another text or tokenizer");
	size_t offsets = 22 * 4, n_bytes = offsets + 4 * 8, footer = n_bytes + 4 * 4;
	check_lie(&s, 4, 257, "outside the vocabulary");
	check_lie(&s, 80, (uint32_t)-1, "outside the vocabulary");
	check_lie(&s, offsets, 1, "do not cover");
	check_lie(&s, offsets + 8, 20, "out of order");
	check_lie(&s, offsets + 12, 1, "out of order");
	check_lie(&s, offsets + 24, 20, "do not cover");
	check_lie(&s, n_bytes, 6, "expected 21");
	check_lie(&s, footer + 16, 20, ""); /* an even number of tokens: the table of offsets lies elsewhere */
	check_lie(&s, footer + 20, UINT32_MAX, "do not fit its counts");
	check_lie(&s, footer + 28, UINT32_MAX, "do not fit its counts");
	shard_close(&s);
}

static void test_refused(void **state)
{
	(void)state;
	struct test_path p = test_join(&dir, "empty.txt");
	struct shard s;
	struct err e;
	test_write(p.text, "\n<|endoftext|>\n \n");
	assert_fails(shard_open(&s, bytes_tokenizer, p.text, dir.text, NULL, NULL, &e), &e, "no documents");
	assert_int_equal(e.status, ERR_USER);
	assert_null(s.ids);
	test_write(p.text, "good\n<|endoftext|>\nb\xff");
	assert_fails(shard_open(&s, bytes_tokenizer, p.text, dir.text, NULL, NULL, &e), &e, "not UTF-8");
	p = test_join(&dir, "absent.txt");
	assert_fails(shard_open(&s, bytes_tokenizer, p.text, dir.text, NULL, NULL, &e), &e, "absent.txt");
	shard_close(&s);
}

/* The n-th disk operation fails, n = 1, 2, 3 …: an error, no file; the next try succeeds. */
static void test_full_disk(void **state)
{
	(void)state;
	struct test_path p = test_join(&dir, "full.txt"), folder = test_join(&dir, "full"), file;
	struct shard s;
	struct err e;
	unsigned long n = 0;
	int rc = -1;
	test_write(p.text, text);
	assert_ok(fsio_mkdirs(folder.text, &e), &e);
	while (rc < 0) {
		fsio_fail_nth_write(++n);
		rc = shard_open(&s, bytes_tokenizer, p.text, folder.text, NULL, NULL, &e);
		fsio_fail_nth_write(0);
		if (rc < 0) {
			assert_true(strstr(e.line, "full") != NULL && s.ids == NULL);
			assert_true(n < 20);
		}
	}
	assert_true(n > 3);
	check_all(&s);
	file = shard_path("full/full", &s);
	strcat(file.text, ".tmp");
	assert_false(fsio_exists(file.text));
	shard_close(&s);
}

/* Enough documents for the tables to grow, and the same text by all four kinds of file gives the same ids. */
static void test_many(void **state)
{
	(void)state;
	struct test_path txt = test_join(&dir, "many.txt"), jsonl = test_join(&dir, "many.jsonl");
	struct shard a, b;
	struct err e;
	FILE *t = fopen(txt.text, "w"), *j = fopen(jsonl.text, "w");
	assert_true(t && j);
	for (int i = 0; i < 3001; i++) {
		fprintf(t, "number %d\n<|endoftext|>\n", i * i);
		fprintf(j, "{\"text\": \"number %d\"}\n", i * i);
	}
	fclose(t);
	fclose(j);
	assert_ok(shard_open(&a, bytes_tokenizer, txt.text, dir.text, NULL, NULL, &e), &e);
	assert_ok(shard_open(&b, bytes_tokenizer, jsonl.text, dir.text, NULL, NULL, &e), &e);
	assert_int_equal(a.n_documents, 3001);
	assert_int_equal(b.n_documents, 3001);
	assert_int_equal(a.n_tokens, b.n_tokens);
	assert_memory_equal(a.ids, b.ids, a.n_tokens * sizeof *a.ids);
	assert_memory_equal(a.offsets, b.offsets, 3002 * sizeof *a.offsets);
	check_document(&a, 3000, "number 9000000");
	shard_close(&a);
	shard_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_made_once), cmocka_unit_test(test_key),       cmocka_unit_test(test_damage),
		cmocka_unit_test(test_inconsistent), cmocka_unit_test(test_refused), cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}

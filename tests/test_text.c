/* data/text.c: both formats, packed and plain, and every way in which text can be unreadable. */
#include "tests/testing.h"

#include "data/text.h"

#include <zlib.h>

static struct test_path dir;

static int make_dir(void **state)
{
	(void)state;
	dir = test_dir_make();
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	test_dir_remove(&dir);
	return 0;
}

static struct test_path put(const char *name, const void *data, size_t n)
{
	struct err e;
	struct test_path p = test_join(&dir, name);
	assert_ok(fsio_write_file(p.text, data, n, &e), &e);
	return p;
}

/* n bytes as gzip, in `members` pieces that stand one behind the other. */
static struct test_path put_gz(const char *name, const char *text, size_t n, size_t members)
{
	struct test_path p = test_join(&dir, name);
	for (size_t i = 0; i < members; i++) {
		size_t begin = n * i / members, end = n * (i + 1) / members;
		gzFile f = gzopen(p.text, i ? "ab" : "wb");
		assert_non_null(f);
		assert_int_equal(gzwrite(f, text + begin, (unsigned)(end - begin)), end - begin);
		assert_int_equal(gzclose(f), Z_OK);
	}
	return p;
}

/* All documents, each in brackets: "[a][b]". -1 in *rc when reading failed. */
static char *read_all(const char *path, int *rc, struct err *e)
{
	struct text_reader *r;
	const char *d;
	size_t n, used = 0;
	char *all = calloc(1, 1 << 20);
	assert_non_null(all);
	*rc = text_open(&r, path, e);
	if (*rc < 0) {
		assert_null(r);
		return all;
	}
	while ((*rc = text_next(r, &d, &n, e)) == 1) {
		all[used++] = '[';
		memcpy(all + used, d, n);
		used += n;
		all[used++] = ']';
	}
	text_close(r);
	return all;
}

static void check(const char *path, const char *want)
{
	struct err e;
	int rc;
	char *got = read_all(path, &rc, &e);
	if (rc < 0)
		fail_msg("%s", e.line);
	assert_string_equal(got, want);
	free(got);
}

static void check_fails(const char *path, const char *part)
{
	struct err e = { 0 };
	int rc;
	free(read_all(path, &rc, &e));
	if (rc >= 0 || !strstr(e.line, part) || strncmp(e.line, path, strlen(path)) != 0)
		fail_msg("rc %d, error: %s\nexpected: %s … %s", rc, e.line, path, part);
}

#define PUT(name, text) put(name, text, sizeof(text) - 1)

static void test_txt(void **state)
{
	(void)state;
	check(PUT("a.txt", "one\ntwo\n<|endoftext|>\nthree").text, "[one\ntwo][three]");
	check(PUT("b.txt", "<|endoftext|>\n\n  \n<|endoftext|>\n  x \n\n<|endoftext|>").text, "[x]");
	check(PUT("c.txt", "").text, "");
	check(PUT("d.txt", "a <|endoftext|> b\n <|endoftext|> \r\nc\r\nd\r\n").text, "[a <|endoftext|> b][c\r\nd]");
	check(PUT("e.txt", "\xef\xbb\xbfmark").text, "[mark]");
	check(PUT("f.txt", "\xef\xbb\xbf").text, "");
	/* NBSP, em space, ideographic space and line separator are white space; the zero width space is not */
	check(PUT("g.txt", "\xc2\xa0\xe2\x80\x83x\xe3\x80\x80y\xe2\x80\xa8\x1f\xc2\x85").text, "[x\xe3\x80\x80y]");
	check(PUT("h.txt", "\xe2\x80\x8bx\xe2\x80\x8b").text, "[\xe2\x80\x8bx\xe2\x80\x8b]");
}

static void test_jsonl(void **state)
{
	(void)state;
	check(PUT("a.jsonl", "{\"text\": \" a\\n\\u00e9 \", \"id\": 1}\n\n{\"text\":\"\"}\r\n{\"text\":\"b\"}").text, "[a\n\xc3\xa9][b]");
	static const char nul[] = "{\"text\":\"a\\u0000b\"}\n";
	struct text_reader *r;
	struct err e;
	const char *d;
	size_t n;
	assert_ok(text_open(&r, PUT("nul.jsonl", nul).text, &e), &e);
	assert_int_equal(text_next(r, &d, &n, &e), 1);
	assert_int_equal(n, 3);
	assert_memory_equal(d, "a\0b", 3);
	text_close(r);
	check_fails(PUT("b.jsonl", "{\"text\":\"a\"}\n{\"text\":\n").text, ":2:");
	check_fails(PUT("c.jsonl", "\n{\"txt\":\"a\"}\n").text, ":2: expected an object with a string under \"text\"");
	check_fails(PUT("d.jsonl", "{\"text\":7}\n").text, ":1: expected an object");
	check_fails(PUT("e.jsonl", "[\"text\"]\n").text, ":1: expected an object");
	check_fails(PUT("f.jsonl", "{\"text\":\"\\ud800\"}\n").text, ":1:");
	check_fails(PUT("g.jsonl", "{\"text\":\"\xff\"}\n").text, "is not UTF-8");
}

static void test_utf8(void **state)
{
	(void)state;
	static const char *const bad[] = { "\x80", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xe2\x82", "\xf0\x9f\x98" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char text[64];
		int n = snprintf(text, sizeof text, "ok\n<|endoftext|>\n\nab%s", bad[i]);
		check_fails(put("u.txt", text, (size_t)n).text, ":4: byte 0x");
		check_fails(put("u.txt", text, (size_t)n).text, "at offset 20 is not UTF-8");
	}
	check(PUT("v.txt", "\xf4\x8f\xbf\xbf\xed\x9f\xbf").text, "[\xf4\x8f\xbf\xbf\xed\x9f\xbf]");
}

/* Documents much longer than the reader's buffer, and separators across its edges. */
static char *long_text(size_t *n)
{
	char *text = malloc(3 << 20);
	assert_non_null(text);
	*n = 0;
	for (int i = 0; i < 9; i++) {
		memset(text + *n, 'a' + i, 262144 + (size_t)i - 5);
		*n += 262144 + (size_t)i - 5;
		*n += (size_t)sprintf(text + *n, "\n<|endoftext|>\n");
	}
	return text;
}

static void check_long(const char *path)
{
	struct text_reader *r;
	struct err e;
	const char *d;
	size_t n;
	uint64_t size, before = 0;
	assert_ok(fsio_size(path, &size, &e), &e);
	assert_ok(text_open(&r, path, &e), &e);
	for (int i = 0; i < 9; i++) {
		assert_int_equal(text_next(r, &d, &n, &e), 1);
		assert_int_equal(n, 262144 + i - 5);
		for (size_t k = 0; k < n; k++)
			if (d[k] != 'a' + i)
				fail_msg("document %d differs at %zu", i, k);
		assert_true(text_file_offset(r) >= before && text_file_offset(r) <= size);
		before = text_file_offset(r);
	}
	assert_int_equal(text_next(r, &d, &n, &e), 0);
	assert_int_equal(text_file_offset(r), size);
	text_close(r);
}

static void test_gzip(void **state)
{
	(void)state;
	size_t n;
	char *text = long_text(&n);
	check_long(put("long.txt", text, n).text);
	check_long(put_gz("long.txt.gz", text, n, 1).text);
	check_long(put_gz("members.txt.gz", text, n, 3).text);
	check(put_gz("j.jsonl.gz", "{\"text\":\"z\"}", 12, 1).text, "[z]");
	free(text);
}

static void test_damage(void **state)
{
	(void)state;
	struct err e;
	size_t n;
	char *bytes;
	struct test_path whole = put_gz("whole.txt.gz", "some words that are packed\n<|endoftext|>\nmore", 45, 1);
	assert_ok(fsio_read_file(whole.text, 1 << 20, &bytes, &n, &e), &e);
	check_fails(put("cut.txt.gz", bytes, 0).text, "not gzip");
	for (size_t i = 1; i < n; i++)
		check_fails(put("cut.txt.gz", bytes, i).text, i < 2 ? "not gzip" : "truncated");
	bytes[n - 6] ^= 1; /* the checksum */
	check_fails(put("flip.txt.gz", bytes, n).text, "unreadable");
	check_fails(put("packed.txt", bytes, n).text, "let its name end in .gz");
	free(bytes);
}

static void test_names(void **state)
{
	(void)state;
	check_fails(PUT("a.csv", "x").text, "expected a name that ends in .txt");
	check_fails(PUT("txt", "x").text, "expected a name");
	check_fails(test_join(&dir, "absent.txt").text, "");
	check_fails(PUT("plain.txt.gz", "plain").text, "not gzip data");
	struct err e;
	struct test_path p = test_join(&dir, "folder.txt");
	assert_ok(fsio_mkdirs(p.text, &e), &e);
	check_fails(p.text, "");
	assert_true(text_is_jsonl("x.jsonl.gz") && text_is_jsonl("x.jsonl") && !text_is_jsonl("x.jsonl/y.txt"));
}

static void test_shared_corpus(void **state)
{
	(void)state;
	struct test_path p = test_shared("data/corpora/stories.valid.txt.gz");
	struct text_reader *r;
	struct err e;
	const char *d;
	size_t n, n_documents = 0;
	assert_ok(text_open(&r, p.text, &e), &e);
	while (text_next(r, &d, &n, &e) == 1) {
		assert_true(n > 0 && d[0] != ' ' && d[n - 1] != '\n');
		n_documents++;
	}
	assert_true(n_documents > 500);
	text_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_txt),   cmocka_unit_test(test_jsonl),  cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_gzip),  cmocka_unit_test(test_damage), cmocka_unit_test(test_names),
		cmocka_unit_test(test_shared_corpus),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

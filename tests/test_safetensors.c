/* The safetensors container: what is written is read; whatever lies is refused with one line. */
#include "tests/testing.h"

#include "model/safetensors.h"

/* A file of this header and n_data bytes of data; *n_bytes its size. The caller's. */
static unsigned char *make_file(const char *header, size_t n_data, size_t *n_bytes)
{
	size_t n = strlen(header);
	unsigned char *file = calloc(1, 8 + n + n_data);
	for (int i = 0; i < 8; i++)
		file[i] = (unsigned char)((uint64_t)n >> 8 * i);
	memcpy(file + 8, header, n);
	for (size_t i = 0; i < n_data; i++)
		file[8 + n + i] = (unsigned char)i;
	*n_bytes = 8 + n + n_data;
	return file;
}

static int open_header(const char *header, size_t n_data, struct err *e)
{
	struct safetensors *s;
	size_t n;
	unsigned char *file = make_file(header, n_data, &n);
	int rc = safetensors_open_memory(&s, file, n, "f.safetensors", e);
	assert_int_equal(rc < 0, s == NULL);
	safetensors_close(s);
	free(file);
	return rc;
}

static const char two_tensors[] =
	"{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
	"\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},"
	"\"none\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[28,28]},"
	"\"scalar\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[28,29]}}  ";

static void test_read(void **state)
{
	struct safetensors *s;
	struct err e;
	size_t n;
	unsigned char *file = make_file(two_tensors, 29, &n);
	(void)state;
	assert_ok(safetensors_open_memory(&s, file, n, "f", &e), &e);
	assert_int_equal(safetensors_count(s), 4);
	assert_string_equal(safetensors_at(s, 0)->name, "a");
	assert_string_equal(safetensors_at(s, 1)->name, "b");
	const struct safetensor *b = safetensors_find(s, "b"), *none = safetensors_find(s, "none");
	assert_true(b->known && b->dtype == DTYPE_F32 && b->n_dims == 2 && b->dims[1] == 3 && b->n_elems == 6);
	assert_int_equal(*(const unsigned char *)b->data, 4);
	assert_true(!none->known && none->n_elems == 0 && !strcmp(none->dtype_text, "I64"));
	assert_true(safetensors_find(s, "scalar")->n_dims == 0 && safetensors_find(s, "scalar")->n_elems == 1);
	assert_null(safetensors_find(s, "c"));
	assert_string_equal(safetensors_metadata(s, "format"), "pt");
	assert_null(safetensors_metadata(s, "x"));
	safetensors_close(s);
	free(file);
}

static void test_truncated_anywhere(void **state)
{
	size_t n;
	unsigned char *file = make_file(two_tensors, 29, &n);
	(void)state;
	for (size_t size = 0; size < n; size++) {
		struct safetensors *s;
		struct err e = {.line = ""};
		unsigned char *cut = malloc(size ? size : 1); /* exact, so that a sanitizer sees the first byte past it */
		memcpy(cut, file, size);
		assert_int_equal(safetensors_open_memory(&s, cut, size, "cut.safetensors", &e), -1);
		assert_null(s);
		assert_ptr_equal(strstr(e.line, "cut.safetensors"), e.line);
		assert_null(strchr(e.line, '\n'));
		free(cut);
	}
	free(file);
}

#define ONE(body) "{\"t\":{" body "}}"
#define TWO(x, y)                                                                                                       \
	"{\"t\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" x "},\"u\":{\"dtype\":\"U8\",\"shape\":[4],"          \
	"\"data_offsets\":" y "}}"

static void test_lies(void **state)
{
	static const struct {
		const char *header;
		size_t n_data;
		const char *want;
	} bad[] = {
		{"[]", 0, "does not start with '{'"},
		{"", 0, "does not start with '{'"},
		{"{\"t\":", 0, "f.safetensors:1:"},
		{"{} x", 0, "f.safetensors"},
		{"{\"t\":3}", 0, "no dtype"},
		{ONE("\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]"), 4, "no dtype"},
		{ONE("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4, "no shape"},
		{ONE("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 4, "more than 8"},
		{ONE("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]"), 4, "not a size"},
		{ONE("\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]"), 4, "not a size"},
		{ONE("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]"), 4, "overflows"},
		{ONE("\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,4]"), 4, "do not fill"},
		{ONE("\"dtype\":\"F32\",\"shape\":[1]"), 4, "data_offsets"},
		{ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]"), 4, "data_offsets"},
		{ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,-4]"), 4, "data_offsets"},
		{ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 4, "leave the 4 bytes"},
		{ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]"), 4, "leave the 4 bytes"},
		{ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 4, "2 F32 elements do not fill its 4 bytes"},
		{ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 5, "1 bytes follow"},
		{TWO("[0,4]", "[2,6]"), 6, "overlaps"},
		{TWO("[0,4]", "[0,4]"), 4, "overlaps"},
		{TWO("[0,4]", "[5,9]"), 9, "hole"},
		{"{\"t\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
		 "\"t\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}", 8, "uplicate"},
		{"{\"__metadata__\":[]}", 0, "__metadata__"},
		{"{\"__metadata__\":{\"a\":1}}", 0, "not a string"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct err e;
		assert_fails(open_header(bad[i].header, bad[i].n_data, &e), &e, bad[i].want);
		assert_ptr_equal(strstr(e.line, "f.safetensors"), e.line);
		assert_null(strchr(e.line, '\n'));
	}
}

static void test_header_length(void **state)
{
	unsigned char file[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'};
	struct safetensors *s;
	struct err e;
	(void)state;
	assert_fails(safetensors_open_memory(&s, file, sizeof file, "f", &e), &e, "header of 18446744073709551615 bytes");
	memset(file, 0, 8);
	file[0] = 9;
	assert_fails(safetensors_open_memory(&s, file, sizeof file, "f", &e), &e, "truncated");
	assert_fails(safetensors_open(&s, "/nonexistent/x.safetensors", &e), &e, "/nonexistent/x.safetensors");
}

static void write_all(struct safetensors_writer *w, struct err *e)
{
	const float b[6] = {1, 2, 3, 4, 5, 6};
	const uint16_t a[2] = {0x3f80, 0x4000};
	const int64_t c[1] = {-7};
	safetensors_declare_metadata(w, "format", "pt");
	safetensors_declare_metadata(w, "note", "a \"quoted\" \xc3\xa9");
	safetensors_declare_raw(w, "c", "I64", 8, 0, NULL);
	safetensors_declare(w, "b", DTYPE_F32, 2, (const size_t[]){2, 3});
	safetensors_declare(w, "a", DTYPE_BF16, 1, (const size_t[]){2});
	assert_ok(safetensors_write(w, c, sizeof c, e), e);
	assert_ok(safetensors_write(w, b, 10, e), e); /* in pieces */
	assert_ok(safetensors_write(w, (const char *)b + 10, sizeof b - 10, e), e);
	assert_ok(safetensors_write(w, a, sizeof a, e), e);
}

static void test_round_trip(void **state)
{
	struct test_path dir = test_dir_make(), path = test_join(&dir, "x.safetensors");
	struct safetensors_writer *w;
	struct safetensors *s;
	struct err e;
	(void)state;
	assert_ok(safetensors_create(&w, path.text, &e), &e);
	write_all(w, &e);
	assert_false(fsio_exists(path.text));
	assert_ok(safetensors_commit(w, &e), &e);
	assert_ok(safetensors_open(&s, path.text, &e), &e);
	assert_int_equal(safetensors_count(s), 3);
	assert_string_equal(safetensors_at(s, 0)->name, "c");
	assert_int_equal(*(const int64_t *)safetensors_find(s, "c")->data, -7);
	assert_true(((const float *)safetensors_find(s, "b")->data)[5] == 6);
	assert_int_equal((uintptr_t)safetensors_at(s, 0)->data % 8, 0);
	assert_string_equal(safetensors_metadata(s, "note"), "a \"quoted\" \xc3\xa9");
	safetensors_close(s);
	/* Given up: nothing is left, nor harmed. */
	assert_ok(safetensors_create(&w, path.text, &e), &e);
	safetensors_declare(w, "z", DTYPE_F32, 1, (const size_t[]){1});
	safetensors_abort(w);
	assert_ok(safetensors_open(&s, path.text, &e), &e);
	assert_null(safetensors_find(s, "z"));
	safetensors_close(s);
	test_dir_remove(&dir);
}

static int write_once(const char *path, struct err *e)
{
	struct safetensors_writer *w = NULL;
	const float x[2] = {1, 2};
	int rc = -1;
	TRY(safetensors_create(&w, path, e));
	safetensors_declare(w, "x", DTYPE_F32, 1, (const size_t[]){2});
	TRY(safetensors_write(w, x, sizeof x, e));
	rc = safetensors_commit(w, e);
	w = NULL;
out:
	safetensors_abort(w);
	return rc;
}

static void test_full_disk(void **state)
{
	struct test_path dir = test_dir_make(), path = test_join(&dir, "x.safetensors"), tmp = test_join(&dir, "x.safetensors.tmp");
	struct err e;
	int n = 1;
	(void)state;
	for (;; n++) {
		fsio_fail_nth_write((unsigned long)n);
		int rc = write_once(path.text, &e);
		fsio_fail_nth_write(0);
		if (rc == 0)
			break;
		assert_ptr_equal(strstr(e.line, path.text), e.line);
		assert_false(fsio_exists(tmp.text));
	}
	assert_true(n > 3);
	test_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read), cmocka_unit_test(test_truncated_anywhere), cmocka_unit_test(test_lies),
		cmocka_unit_test(test_header_length), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_full_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

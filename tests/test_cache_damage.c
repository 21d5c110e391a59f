/* A cache's file cut at every byte and with every byte flipped: fewer records or an error, never a crash or a wrong value. */
#include "tests/testing.h"

#include "tests/cache_world.h"

static struct test_path dir;

static int setup(void **state)
{
	(void)state;
	dir = test_dir_make();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	test_dir_remove(&dir);
	return 0;
}

/* Some thousand times, hence without fsync. */
static void write_unsynced(const char *path, const char *bytes, size_t n_bytes)
{
	FILE *f = fopen(path, "wb");
	assert_true(f && fwrite(bytes, 1, n_bytes, f) == n_bytes && fclose(f) == 0);
}

/* The cache as `bytes` have it: opening and reading each document may fail; what is read is right. Returns the documents
 * that were read, -1 when it does not open. */
static int readable(const char *path, const char *bytes, size_t n_bytes, bool write)
{
	static struct world_block want, got;
	struct cache_spec spec = world_spec(CACHE_TOP_P, DTYPE_F32);
	struct cache_identity id = world_identity();
	struct test_path base;
	struct cache *c;
	struct world w;
	struct err e;
	int n = 0;
	snprintf(base.text, sizeof base.text, "%s", path);
	write_unsynced(test_join(&base, "records").text, bytes, n_bytes);
	e.line[0] = '\0';
	if (cache_open(&c, path, &spec, &id, write, &e) < 0) {
		assert_true(strlen(e.line) > 10);
		return -1;
	}
	assert_ok(cache_reserve(c, 1, WORLD_N, 1, &e), &e);
	world_make(&w, 72, false);
	world_fill(&w, CACHE_TOP_P, &want);
	for (int row = 0, end; row < WORLD_N; row = end) {
		for (end = row + 1; end < WORLD_N && w.doc[end] == w.doc[row];)
			end++;
		struct cache_rows one = {1, end - row, w.tokens + row, w.targets + row, w.start + row};
		struct cache_block to = {.ids = got.ids + row * WORLD_K, .log_p = got.log_p + row * WORLD_K, .tail = got.tail + row,
					 .lse = got.lse + row, .ce = got.ce + row, .argmax = got.argmax + row};
		got = want; /* rows that cannot be read count as right */
		memset(to.log_p, 0x55, (size_t)(end - row) * WORLD_K * sizeof(float));
		e.line[0] = '\0';
		if (cache_read(c, &one, &to, &e) < 0) {
			assert_true(strlen(e.line) > 10);
			continue;
		}
		assert_true(world_equal(CACHE_TOP_P, DTYPE_F32, &got, &want));
		n++;
	}
	cache_close(c);
	return n;
}

static void cut_at_every_byte(void **state)
{
	(void)state;
	size_t n_bytes;
	int last = 0;
	world_write(dir.text, CACHE_TOP_P, DTYPE_F32);
	char *bytes = world_records(dir.text, &n_bytes);
	for (size_t n = 0; n <= n_bytes; n++) {
		int found = readable(dir.text, bytes, n, n % 64 == 0); /* both ways of opening */
		assert_in_range(found, last, n == n_bytes ? WORLD_DOCS : WORLD_DOCS - 1);
		last = found;
	}
	assert_int_equal(last, WORLD_DOCS);
	free(bytes);
}

static void every_flipped_byte_is_found(void **state)
{
	(void)state;
	size_t n_bytes;
	world_write(dir.text, CACHE_TOP_P, DTYPE_F32);
	char *bytes = world_records(dir.text, &n_bytes);
	for (size_t i = 0; i < n_bytes; i++) {
		bytes[i] = (char)(bytes[i] ^ (1 << i % 8));
		assert_true(readable(dir.text, bytes, n_bytes, i % 64 == 0) < WORLD_DOCS);
		bytes[i] = (char)(bytes[i] ^ (1 << i % 8));
	}
	assert_int_equal(readable(dir.text, bytes, n_bytes, false), WORLD_DOCS);
	free(bytes);
}

static void damage_before_the_end_is_no_crash(void **state)
{
	(void)state;
	size_t n_bytes;
	struct err e;
	struct cache *c;
	struct cache_spec spec = world_spec(CACHE_TOP_P, DTYPE_F32);
	struct cache_identity id = world_identity();
	world_write(dir.text, CACHE_TOP_P, DTYPE_F32);
	char *bytes = world_records(dir.text, &n_bytes);
	bytes[20] ^= 4;
	assert_ok(fsio_write_file(test_join(&dir, "records").text, bytes, n_bytes, &e), &e);
	assert_fails(cache_open(&c, dir.text, &spec, &id, true, &e), &e, "records: damaged at byte 0, with records after it");
	assert_null(c);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(cut_at_every_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(every_flipped_byte_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(damage_before_the_end_is_no_crash, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* base/hash: a known value, pieces, files, the hexadecimal form. */
#include "tests/testing.h"

#include "base/hash.h"

static void fill(unsigned char *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		data[i] = (unsigned char)(i * 131 + (i >> 8));
}

/* xxHash's own figure for the empty input, seed 0. */
static void test_known_value(void **state)
{
	(void)state;
	char hex[17];
	assert_true(hash_bytes("", 0) == 0x2d06800538d394c2ull);
	hash_hex(hash_bytes("", 0), hex);
	assert_string_equal(hex, "2d06800538d394c2");
	hash_hex(0xab, hex);
	assert_string_equal(hex, "00000000000000ab");
}

/* Every cut and every alignment of the state gives the one-shot value. */
static void test_pieces(void **state)
{
	(void)state;
	enum { N = 3000 };
	static unsigned char data[N], room[sizeof(struct hash) + 64];
	fill(data, N);
	uint64_t want = hash_bytes(data, N);
	for (size_t cut = 0; cut <= N; cut += 37) {
		struct hash *h = (struct hash *)(void *)(room + cut % 64);
		hash_init(h);
		hash_update(h, data, cut);
		hash_update(h, NULL, 0);
		hash_update(h, data + cut, N - cut);
		assert_true(hash_final(h) == want);
		assert_true(hash_final(h) == want);
	}
	data[N - 1] ^= 1;
	assert_true(hash_bytes(data, N) != want);
}

static void test_file(void **state)
{
	(void)state;
	struct err e;
	uint64_t value;
	struct test_path dir = test_dir_make(), path = test_join(&dir, "data");
	unsigned char data[1000];
	fill(data, sizeof data);
	assert_ok(fsio_write_file(path.text, data, sizeof data, &e), &e);
	assert_ok(hash_file(path.text, &value, &e), &e);
	assert_true(value == hash_bytes(data, sizeof data));
	test_write(path.text, "");
	assert_ok(hash_file(path.text, &value, &e), &e);
	assert_true(value == hash_bytes("", 0));
	assert_fails(hash_file(dir.text, &value, &e), &e, "expected a file, found a directory");
	test_dir_remove(&dir);
	assert_fails(hash_file(path.text, &value, &e), &e, path.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_value),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

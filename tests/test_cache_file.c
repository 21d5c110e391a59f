/* teacher/cache on disk, with made-up rows: any order and packing, failing writes, locks, identities, going on. (Damage:
 * tests/test_cache_damage.c; with a real teacher: tests/test_cache.c.) */
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
	fsio_fail_nth_write(0);
	test_dir_remove(&dir);
	return 0;
}

static const enum cache_kind KINDS[] = {CACHE_TOP_K, CACHE_TOP_P, CACHE_SAMPLED, CACHE_HIDDEN};
static const enum dtype TYPES[] = {DTYPE_F32, DTYPE_BF16};

/* ---- in and out ---- */

static void check_packings(const char *path, enum cache_kind kind, enum dtype type)
{
	static const int lengths[] = {12, 24, 72};
	static struct world_block want, got;
	struct cache *c = world_open(path, kind, type, false);
	struct err e;
	for (int i = 0; i < 6; i++) {
		struct world w;
		world_make(&w, lengths[i % 3], i >= 3);
		world_fill(&w, kind, &want);
		world_block_init(&got);
		assert_int_equal(cache_missing(c, &w.rows, NULL), 0);
		assert_ok(cache_read(c, &w.rows, &got.block, &e), &e);
		assert_true(world_equal(kind, type, &got, &want));
		(kind == CACHE_HIDDEN ? got.hidden : got.log_p)[17] += 0.5f; /* what is compared can differ */
		assert_false(world_equal(kind, type, &got, &want));
	}
	cache_close(c);
}

static void any_order_and_packing(void **state)
{
	(void)state;
	for (int k = 0; k < 4; k++)
		for (int t = 0; t < 2; t++) {
			char name[32];
			snprintf(name, sizeof name, "%d-%d", k, t);
			struct test_path path = test_join(&dir, name);
			world_write(path.text, KINDS[k], TYPES[t]);
			check_packings(path.text, KINDS[k], TYPES[t]);
		}
}

/* A row's probabilities and tail sum to 1 although each was rounded to 8 bits. */
static void rounded_probabilities_sum_to_one(void **state)
{
	(void)state;
	static struct world_block got;
	struct err e;
	struct world w;
	world_write(dir.text, CACHE_TOP_P, DTYPE_BF16);
	world_make(&w, 72, true);
	world_block_init(&got);
	struct cache *c = world_open(dir.text, CACHE_TOP_P, DTYPE_BF16, false);
	assert_ok(cache_read(c, &w.rows, &got.block, &e), &e);
	for (int row = 0; row < WORLD_N; row++) {
		double sum = (double)got.tail[row];
		for (int i = 0; i < WORLD_K && got.ids[row * WORLD_K + i] >= 0; i++)
			sum += exp((double)got.log_p[row * WORLD_K + i]);
		assert_close(sum, 1, 2e-6, 0);
	}
	cache_close(c);
}

/* Another token, or another target at the end, is another segment; a row alone in a sequence is one too. */
static void segments_are_found_by_content(void **state)
{
	(void)state;
	bool missing[WORLD_N];
	struct err e;
	struct world w;
	static struct world_block got;
	world_write(dir.text, CACHE_TOP_K, DTYPE_F32);
	struct cache *c = world_open(dir.text, CACHE_TOP_K, DTYPE_F32, false);
	world_make(&w, 12, false);
	w.targets[4] = 2; /* document 0: rows 0..4 */
	w.tokens[30] ^= 1; /* document 4: rows 24..35 */
	assert_int_equal(cache_missing(c, &w.rows, missing), 5 + 12);
	for (int row = 0; row < WORLD_N; row++)
		assert_int_equal(missing[row], w.doc[row] == 0 || w.doc[row] == 4);
	world_block_init(&got);
	assert_fails(cache_read(c, &w.rows, &got.block, &e), &e, "holds no record of a document of 5 tokens");
	cache_close(c);
}

static void draws_depend_on_content_alone(void **state)
{
	(void)state;
	struct world a, b;
	uint64_t ka[WORLD_N], kb[WORLD_N];
	world_make(&a, 12, false);
	world_make(&b, 72, true);
	cache_row_keys(&a.rows, ka);
	cache_row_keys(&b.rows, kb);
	for (int i = 0; i < WORLD_N; i++)
		for (int j = 0; j < WORLD_N; j++)
			assert_int_equal(a.doc[i] == b.doc[j] && a.at[i] == b.at[j], ka[i] == kb[j]);
	for (int i = 0; i < WORLD_N; i++)
		assert_true(ka[i] < (uint64_t)1 << 56);
}

static void statistics_count_what_is_there(void **state)
{
	(void)state;
	static struct world_block b;
	struct world w;
	double mass = 0;
	uint64_t n_file;
	struct err e;
	world_write(dir.text, CACHE_TOP_P, DTYPE_F32);
	world_make(&w, 12, false);
	world_fill(&w, CACHE_TOP_P, &b);
	for (int row = 0; row < WORLD_N; row++)
		mass += 1 - (double)b.tail[row];
	struct cache *c = world_open(dir.text, CACHE_TOP_P, DTYPE_F32, false);
	struct cache_stats s = cache_stats(c);
	assert_ok(fsio_size(test_join(&dir, "records").text, &n_file, &e), &e);
	assert_int_equal(s.tokens, WORLD_N);
	assert_int_equal(s.bytes, n_file);
	assert_close(s.mass, mass / WORLD_N, 1e-12, 0);
	struct cache_spec spec = world_spec(CACHE_TOP_P, DTYPE_F32);
	struct cache_identity id = world_identity();
	assert_int_equal(cache_row_bytes(&spec, &id), 1 + 12 + (2 + 4) * WORLD_K);
	spec = world_spec(CACHE_SAMPLED, DTYPE_BF16);
	assert_int_equal(cache_row_bytes(&spec, &id), 1 + 8 + 2 + (2 + 2) * WORLD_K);
	spec = world_spec(CACHE_HIDDEN, DTYPE_BF16);
	assert_int_equal(cache_row_bytes(&spec, &id), 2 * WORLD_C);
	cache_close(c);
}

static void what_is_not_finite_is_refused(void **state)
{
	(void)state;
	static struct world_block b;
	struct world w;
	struct err e;
	struct cache *c = world_open(dir.text, CACHE_TOP_K, DTYPE_F32, true);
	world_make(&w, 12, false);
	float *const where[] = {&b.log_p[40 * WORLD_K + 2], &b.lse[40], &b.ce[40], &b.tail[40]};
	for (int i = 0; i < 4; i++) {
		world_fill(&w, CACHE_TOP_K, &b);
		*where[i] = i == 1 ? INFINITY : NAN;
		assert_fails(cache_add(c, &w.rows, &b.block, &e), &e, "token 40 of the batch is not finite");
		assert_int_equal(cache_stats(c).tokens, 0);
	}
	cache_close(c);
}

/* ---- threads ---- */

/* As world_open and world_write, in sequences of 24, with as many threads. */
static struct cache *open_threads(const char *path, enum cache_kind kind, enum dtype type, bool write, int n_threads)
{
	struct cache *c;
	struct err e;
	struct cache_spec spec = world_spec(kind, type);
	struct cache_identity id = world_identity();
	assert_ok(cache_open(&c, path, &spec, &id, write, &e), &e);
	assert_ok(cache_reserve(c, 3, 24, n_threads, &e), &e);
	return c;
}

static char *records_of_threads(const char *path, enum cache_kind kind, enum dtype type, int n_threads, size_t *n_bytes)
{
	static struct world_block b;
	struct world w;
	struct err e;
	world_make(&w, 24, false);
	world_fill(&w, kind, &b);
	struct cache *c = open_threads(path, kind, type, true, n_threads);
	assert_ok(cache_add(c, &w.rows, &b.block, &e), &e);
	cache_close(c);
	return world_records(path, n_bytes);
}

static void read_threads(const char *path, enum cache_kind kind, enum dtype type, int n_threads, struct world_block *to)
{
	struct world w;
	struct err e;
	world_make(&w, 24, true);
	world_block_init(to);
	struct cache *c = open_threads(path, kind, type, false, n_threads);
	assert_ok(cache_read(c, &w.rows, &to->block, &e), &e);
	cache_close(c);
	to->block = (struct cache_block){NULL};
}

static void any_number_of_threads_gives_the_same_bits(void **state)
{
	(void)state;
	static struct world_block one, many;
	struct test_path a = test_join(&dir, "1"), b = test_join(&dir, "3");
	struct err e;
	for (int i = 0; i < 8; i++) {
		enum cache_kind kind = KINDS[i / 2];
		enum dtype type = TYPES[i % 2];
		size_t n_one, n_many;
		char *want = records_of_threads(a.text, kind, type, 1, &n_one), *got = records_of_threads(b.text, kind, type, 3, &n_many);
		assert_int_equal(n_one, n_many);
		assert_memory_equal(got, want, n_one);
		read_threads(a.text, kind, type, 1, &one);
		for (int n = 2; n <= 4; n++) {
			read_threads(a.text, kind, type, n, &many);
			assert_memory_equal(&many, &one, sizeof one);
		}
		free(want);
		free(got);
		assert_ok(fsio_remove_tree(a.text, &e), &e);
		assert_ok(fsio_remove_tree(b.text, &e), &e);
	}
}

/* Whoever meets it: the first that is wrong in the order of the batch. */
static void the_first_fault_is_named(void **state)
{
	(void)state;
	static struct world_block b;
	struct world w;
	struct err e;
	size_t n_bytes;
	free(records_of_threads(dir.text, CACHE_TOP_K, DTYPE_F32, 1, &n_bytes));
	char *bytes = world_records(dir.text, &n_bytes);
	bytes[CACHE_SEGMENT_BYTES] ^= 1; /* document 0's payload */
	assert_ok(fsio_write_file(test_join(&dir, "records").text, bytes, n_bytes, &e), &e);
	world_make(&w, 24, false);
	w.tokens[30] ^= 1; /* absent: document 4 */
	for (int i = 0; i < 20; i++) {
		struct cache *c = open_threads(dir.text, CACHE_TOP_K, DTYPE_F32, false, 4);
		world_block_init(&b);
		assert_fails(cache_read(c, &w.rows, &b.block, &e), &e, "the record at byte 0 is damaged");
		cache_close(c);
	}
	free(bytes);
	struct test_path fresh = test_join(&dir, "fresh");
	struct cache *c = open_threads(fresh.text, CACHE_TOP_K, DTYPE_F32, true, 4);
	for (int i = 0; i < 20; i++) {
		world_fill(&w, CACHE_TOP_K, &b);
		b.lse[9] = b.lse[30] = b.lse[70] = NAN;
		assert_fails(cache_add(c, &w.rows, &b.block, &e), &e, "token 9 of the batch is not finite");
		assert_int_equal(cache_stats(c).tokens, 0);
	}
	cache_close(c);
}

/* ---- going on ---- */

static void half_written_goes_on(void **state)
{
	(void)state;
	static struct world_block b;
	struct err e;
	struct world w;
	size_t n_whole, n_again;
	struct test_path whole = test_join(&dir, "whole"), half = test_join(&dir, "half"), records = test_join(&half, "records");
	world_write(whole.text, CACHE_TOP_P, DTYPE_F32);
	world_write(half.text, CACHE_TOP_P, DTYPE_F32);
	char *want = world_records(whole.text, &n_whole);
	assert_ok(fsio_truncate_to(records.text, n_whole * 2 / 3, &e), &e);
	world_make(&w, 12, false);
	world_fill(&w, CACHE_TOP_P, &b);
	struct cache *c = world_open(half.text, CACHE_TOP_P, DTYPE_F32, true);
	size_t missing = cache_missing(c, &w.rows, NULL);
	assert_in_range(missing, 12, 36);
	assert_int_equal(cache_stats(c).tokens, WORLD_N - missing);
	assert_ok(cache_add(c, &w.rows, &b.block, &e), &e);
	assert_int_equal(cache_missing(c, &w.rows, NULL), 0);
	cache_close(c);
	char *got = world_records(half.text, &n_again);
	assert_int_equal(n_again, n_whole);
	assert_memory_equal(got, want, n_whole);
	free(got);
	free(want);
	/* what is there is not written again */
	c = world_open(half.text, CACHE_TOP_P, DTYPE_F32, true);
	assert_ok(cache_add(c, &w.rows, &b.block, &e), &e);
	assert_int_equal(cache_stats(c).bytes, n_whole);
	cache_close(c);
}

/* The n-th disk operation fails: an error, nothing half-added, and the next attempt does the rest. */
static void failing_writes_leave_a_whole_cache(void **state)
{
	(void)state;
	static struct world_block b;
	struct cache_spec spec = world_spec(CACHE_HIDDEN, DTYPE_BF16);
	struct cache_identity id = world_identity();
	struct err e;
	struct world w;
	world_make(&w, 24, false);
	world_fill(&w, CACHE_HIDDEN, &b);
	for (unsigned long n = 1;; n++) {
		struct cache *c = NULL;
		assert_ok(fsio_remove_tree(dir.text, &e), &e);
		fsio_fail_nth_write(n);
		int rc = cache_open(&c, dir.text, &spec, &id, true, &e);
		if (!rc) {
			assert_ok(cache_reserve(c, 3, 24, 2, &e), &e);
			rc = cache_add(c, &w.rows, &b.block, &e);
			assert_int_equal(cache_stats(c).tokens, rc ? 0 : WORLD_N);
		}
		fsio_fail_nth_write(0);
		if (rc)
			assert_non_null(strstr(e.line, "the disk is full"));
		cache_close(c);
		c = world_open(dir.text, CACHE_HIDDEN, DTYPE_BF16, true);
		assert_ok(cache_add(c, &w.rows, &b.block, &e), &e);
		assert_int_equal(cache_stats(c).tokens, WORLD_N);
		cache_close(c);
		check_packings(dir.text, CACHE_HIDDEN, DTYPE_BF16);
		if (!rc) {
			assert_true(n > 3);
			break;
		}
	}
}

static void one_writer_at_a_time(void **state)
{
	(void)state;
	struct cache_spec spec = world_spec(CACHE_TOP_K, DTYPE_F32);
	struct cache_identity id = world_identity();
	struct cache *second;
	struct err e;
	struct cache *first = world_open(dir.text, CACHE_TOP_K, DTYPE_F32, true);
	assert_fails(cache_open(&second, dir.text, &spec, &id, true, &e), &e, "is in use by process");
	assert_null(second);
	struct cache *reader = world_open(dir.text, CACHE_TOP_K, DTYPE_F32, false);
	cache_close(reader);
	cache_close(first);
	cache_close(world_open(dir.text, CACHE_TOP_K, DTYPE_F32, true));
	cache_close(NULL);
}

/* ---- whose it is ---- */

static void refused(const struct cache_spec *spec, const struct cache_identity *id, const char *part)
{
	struct cache *c;
	struct err e;
	for (int write = 0; write < 2; write++) {
		assert_fails(cache_open(&c, dir.text, spec, id, write, &e), &e, part);
		assert_null(c);
		assert_int_equal(e.status, ERR_USER);
		assert_non_null(strstr(e.line, "choose another directory, or remove this one"));
	}
}

static void what_differs_is_refused(void **state)
{
	(void)state;
	struct cache_spec s = world_spec(CACHE_TOP_P, DTYPE_F32), other;
	struct cache_identity id = world_identity(), who;
	world_write(dir.text, CACHE_TOP_P, DTYPE_F32);
	who = id, who.teacher++;
	refused(&s, &who, "another teacher (hash of its checkpoint): expected 0000000000001235, found 0000000000001234");
	who = id, who.tokenizer++;
	refused(&s, &who, "another tokenizer (hash): expected 0000000000000078, found 0000000000000077");
	who = id, who.corpus++;
	refused(&s, &who, "another text (hash): expected 000000000000009a, found 0000000000000099");
	who = id, who.V++;
	refused(&s, &who, "another vocabulary: expected 1010, found 1009");
	who = id, who.C++; /* of no consequence here */
	struct cache *c;
	struct err e;
	assert_ok(cache_open(&c, dir.text, &s, &who, false, &e), &e);
	cache_close(c);
	other = s, other.tau = 1.1;
	refused(&other, &id, "another temperature: expected 1.1, found 2");
	other = s, other.kind = CACHE_TOP_K;
	refused(&other, &id, "another kind: expected top_k, found top_p");
	other = s, other.K++;
	refused(&other, &id, "another number of ids a token: expected 7, found 6");
	other = s, other.top_p = 0.95;
	refused(&other, &id, "another top_p: expected 0.95, found 0.9");
	other = s, other.value_type = DTYPE_BF16;
	refused(&other, &id, "another precision: expected");
}

static void what_is_no_cache_is_said(void **state)
{
	(void)state;
	struct cache_spec s = world_spec(CACHE_TOP_K, DTYPE_F32);
	struct cache_identity id = world_identity();
	struct cache *c;
	struct err e;
	struct test_path manifest = test_join(&dir, "manifest.json"), records = test_join(&dir, "records");
	assert_fails(cache_open(&c, dir.text, &s, &id, false, &e), &e, "found no manifest.json");
	s.K = WORLD_V + 1;
	assert_fails(cache_open(&c, dir.text, &s, &id, true, &e), &e, "a cache of 1010 ids a token, expected at most the vocabulary's 1009");
	s.K = WORLD_K;
	test_write(records.text, "");
	assert_fails(cache_open(&c, dir.text, &s, &id, true, &e), &e, "expected a manifest.json beside it");
	test_write(manifest.text, "{\"format\": \"other\"}");
	assert_fails(cache_open(&c, dir.text, &s, &id, true, &e), &e, "found \"other\"");
	test_write(manifest.text, "{\"format\": \"espalier soft targets\", \"version\": 9}");
	assert_fails(cache_open(&c, dir.text, &s, &id, false, &e), &e, "expected version 2 of the format, found 9");
	test_write(manifest.text, "[]");
	assert_fails(cache_open(&c, dir.text, &s, &id, false, &e), &e, "expected an object");
	test_write(manifest.text, "{");
	assert_fails(cache_open(&c, dir.text, &s, &id, false, &e), &e, "manifest.json:1:");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(any_order_and_packing, setup, teardown),
		cmocka_unit_test_setup_teardown(rounded_probabilities_sum_to_one, setup, teardown),
		cmocka_unit_test_setup_teardown(segments_are_found_by_content, setup, teardown),
		cmocka_unit_test_setup_teardown(draws_depend_on_content_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(statistics_count_what_is_there, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_not_finite_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(any_number_of_threads_gives_the_same_bits, setup, teardown),
		cmocka_unit_test_setup_teardown(the_first_fault_is_named, setup, teardown),
		cmocka_unit_test_setup_teardown(half_written_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(failing_writes_leave_a_whole_cache, setup, teardown),
		cmocka_unit_test_setup_teardown(one_writer_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(what_differs_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_cache_is_said, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* data/grammar.c: the same bytes everywhere, sizes as promised, true statements only. */
#include "tests/testing.h"

#include "base/hash.h"
#include "data/grammar.h"
#include "data/grammar_words.h"
#include "data/text.h"

#include <ctype.h>
#include <zlib.h>

#define SEED 17
#define N 4000

static void test_sizes_and_characters(void **state)
{
	(void)state;
	char text[GRAMMAR_MAX_BYTES];
	for (uint64_t i = 0; i < 10 * N; i++) {
		size_t n = grammar_document(i, i * i, text, sizeof text);
		assert_true(n >= GRAMMAR_MIN_BYTES && n < GRAMMAR_MAX_BYTES);
		assert_int_equal(strlen(text), n);
		assert_false(isspace((unsigned char)text[0]) || isspace((unsigned char)text[n - 1]));
		assert_null(strstr(text, "<|endoftext|>"));
		assert_null(strstr(text, "  "));
		for (size_t k = 0; k < n; k++)
			assert_true(text[k] == '\n' || (text[k] >= ' ' && text[k] < 127));
	}
}

/* The bytes are part of the interface: a change of the grammar changes every result that was made with it. */
static void test_deterministic(void **state)
{
	(void)state;
	char text[GRAMMAR_MAX_BYTES], again[2 * GRAMMAR_MAX_BYTES];
	struct hash h;
	hash_init(&h);
	for (uint64_t i = 0; i < 500; i++) {
		size_t n = grammar_document(SEED, i, text, sizeof text);
		hash_update(&h, text, n + 1);
		assert_int_equal(grammar_document(SEED, i, again, sizeof again), n);
		assert_string_equal(text, again);
		grammar_document(SEED + 1, i, again, sizeof again);
		assert_string_not_equal(text, again);
	}
	char hex[17];
	hash_hex(hash_final(&h), hex);
	assert_string_equal(hex, "357fc15c15613c05");
}

static void test_all_different(void **state)
{
	(void)state;
	static uint64_t seen[N];
	char text[GRAMMAR_MAX_BYTES];
	for (uint64_t i = 0; i < N; i++) {
		seen[i] = hash_bytes(text, grammar_document(SEED, i, text, sizeof text));
		for (uint64_t k = 0; k < i; k++)
			assert_true(seen[k] != seen[i]);
	}
}

/* Brackets and double quotes are balanced and well nested (apostrophes of "Anna's" apart). */
static void test_balanced(void **state)
{
	(void)state;
	char text[GRAMMAR_MAX_BYTES], open[GRAMMAR_MAX_BYTES];
	size_t n_brackets = 0;
	for (uint64_t i = 0; i < N; i++) {
		size_t depth = 0;
		bool quoted = false;
		grammar_document(SEED, i, text, sizeof text);
		for (const char *c = text; *c; c++) {
			const char *kind;
			if (*c == '"')
				quoted = !quoted;
			if (*c == '\n')
				assert_true(depth == 0 && !quoted);
			if ((kind = strchr("([{<", *c))) {
				open[depth++] = ")]}>"[kind - "([{<"];
				n_brackets++;
			} else if (strchr(")]}>", *c)) {
				assert_true(depth > 0 && open[depth - 1] == *c);
				depth--;
			}
		}
		assert_true(depth == 0 && !quoted);
	}
	assert_true(n_brackets > N / 2);
}

static int number_of(const char *word)
{
	for (int i = 0; i <= 20; i++)
		if (strcmp(word, grammar_numbers[i]) == 0)
			return i;
	return -1;
}

/* Sums: "… three apples and two pears … Together that made five fruits." */
static void test_sums(void **state)
{
	(void)state;
	char text[GRAMMAR_MAX_BYTES], a[16], b[16], sum[16];
	int n_checked = 0;
	for (uint64_t i = 0; i < N; i++) {
		grammar_document(SEED, i, text, sizeof text);
		for (char *at = text; (at = strstr(at, "Together that ma")); at++) {
			assert_int_equal(sscanf(at, "Together that %*s %15[a-z] fruits.", sum), 1);
			char *before = at - 3;
			while (before > text && !strchr(".\n?!\"", before[0]))
				before--;
			const char *and = strstr(before, " and ");
			assert_true(and && and < at);
			assert_int_equal(sscanf(and, " and %15[a-z]", b), 1);
			char *p = (char *)(uintptr_t)and - 1; /* back over the fruit to the number */
			while (*p != ' ')
				p--;
			p--;
			while (*p != ' ')
				p--;
			assert_int_equal(sscanf(p, " %15[a-z]", a), 1);
			if (number_of(a) < 1 || number_of(a) + number_of(b) != number_of(sum))
				fail_msg("wrong sum in: %s", text);
			n_checked++;
		}
	}
	assert_true(n_checked > N / 10);
}

/* No thing stands twice in a list of n, in singular or plural. */
static void check_distinct(char *list, int n)
{
	char *save = NULL;
	const char *seen[8];
	int n_seen = 0;
	for (char *w = strtok_r(list, " ,.", &save); w; w = strtok_r(NULL, " ,.", &save)) {
		int thing = 0;
		while (thing < grammar_things.n && strcmp(w, grammar_things.v[thing].one) != 0 &&
		       strcmp(w, grammar_things.v[thing].many) != 0)
			thing++;
		if (thing == grammar_things.n)
			continue;
		for (int i = 0; i < n_seen; i++)
			assert_true(seen[i] != grammar_things.v[thing].one);
		assert_true(n_seen < 8);
		seen[n_seen++] = grammar_things.v[thing].one;
	}
	assert_int_equal(n_seen, n);
}

/* "Tom packed a cup, two hats, and a bell. These were three kinds of things." */
static void test_lists(void **state)
{
	(void)state;
	char text[GRAMMAR_MAX_BYTES], count[16];
	int n_checked = 0;
	for (uint64_t i = 0; i < N; i++) {
		grammar_document(SEED, i, text, sizeof text);
		char *kinds = strstr(text, " These were "), *at;
		if (!kinds)
			continue;
		assert_int_equal(sscanf(kinds, " These were %15[a-z]", count), 1);
		*kinds = '\0';
		for (at = kinds; strncmp(at, " packed ", 8) != 0; at--)
			assert_true(at > text);
		int n = 1;
		for (const char *c = at; *c; c++)
			n += *c == ',' || (strncmp(c, " and ", 5) == 0 && c[-1] != ',');
		assert_int_equal(n, number_of(count));
		check_distinct(at + strlen(" packed "), n);
		n_checked++;
	}
	assert_true(n_checked > N / 20);
}

/* What the end asks, the story has told: the thing, and where a container is named, that too. */
static void test_recall(void **state)
{
	(void)state;
	char text[GRAMMAR_MAX_BYTES], color[16], noun[16], material[16], container[16], want[64];
	int n_checked = 0;
	for (uint64_t i = 0; i < N; i++) {
		grammar_document(SEED, i, text, sizeof text);
		char *end = strrchr(text, '\n');
		assert_non_null(end);
		*end++ = '\0';
		const char *ask = strstr(end, "Where was the ");
		if (!ask)
			continue;
		assert_int_equal(sscanf(ask, "Where was the %15s %15[a-z]? It was in the %15s %15[a-z].", color, noun, material, container), 4);
		snprintf(want, sizeof want, "%s %s", color, noun);
		if (!strstr(text, want))
			fail_msg("never told of the %s: %s\n%s", want, text, end);
		snprintf(want, sizeof want, "%s %s", material, container);
		if (!strstr(text, want))
			fail_msg("never told of the %s: %s\n%s", want, text, end);
		n_checked++;
	}
	assert_true(n_checked > N / 5);
}

/* Enough to learn: packed by zlib a megabyte keeps between a sixth and a third of its size (TinyStories: 0.30). */
static void test_entropy(void **state)
{
	(void)state;
	size_t n = 0, capacity = 1800 * GRAMMAR_MAX_BYTES;
	char *text = malloc(capacity);
	unsigned char *packed = malloc(capacity);
	assert_true(text && packed);
	for (uint64_t i = 0; i < 1750; i++)
		n += grammar_document(SEED, i, text + n, capacity - n);
	uLongf n_packed = capacity;
	assert_int_equal(compress2(packed, &n_packed, (unsigned char *)text, n, 9), Z_OK);
	assert_in_range(n, 900000, 1100000);
	assert_true(n_packed * 6 > n && n_packed * 3 < n);
	free(text);
	free(packed);
}

/* What is written reads back as the same documents, packed or not, and twice the same bytes. */
static void test_write_corpus(void **state)
{
	(void)state;
	struct test_path dir = test_dir_make();
	static const char *const names[] = { "a.txt", "a.txt.gz", "b.txt.gz" };
	struct text_reader *r;
	struct err e;
	uint64_t hash[3];
	char text[GRAMMAR_MAX_BYTES];
	const char *d;
	size_t n;
	for (int f = 0; f < 3; f++) {
		struct test_path p = test_join(&dir, names[f]);
		assert_ok(grammar_write(p.text, SEED, 1000, 200, &e), &e);
		assert_ok(hash_file(p.text, &hash[f], &e), &e);
		assert_ok(text_open(&r, p.text, &e), &e);
		for (uint64_t i = 1000; i < 1200; i++) {
			assert_int_equal(text_next(r, &d, &n, &e), 1);
			assert_int_equal(grammar_document(SEED, i, text, sizeof text), n);
			assert_memory_equal(d, text, n);
		}
		assert_int_equal(text_next(r, &d, &n, &e), 0);
		text_close(r);
	}
	assert_true(hash[1] == hash[2]);
	struct test_path absent = test_join(&dir, "no/such.txt"), kept = test_join(&dir, "a.txt");
	assert_fails(grammar_write(absent.text, SEED, 0, 1, &e), &e, "such.txt");
	for (unsigned long k = 1; k < 4; k++) {
		fsio_fail_nth_write(k);
		int rc = grammar_write(kept.text, SEED + 1, 0, 200, &e);
		fsio_fail_nth_write(0);
		uint64_t after;
		assert_ok(hash_file(kept.text, &after, &e), &e);
		assert_int_equal(rc, -1);
		assert_true(after == hash[0]);
	}
	test_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes_and_characters), cmocka_unit_test(test_deterministic), cmocka_unit_test(test_all_different),
		cmocka_unit_test(test_balanced), cmocka_unit_test(test_sums), cmocka_unit_test(test_lists), cmocka_unit_test(test_recall),
		cmocka_unit_test(test_entropy), cmocka_unit_test(test_write_corpus),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

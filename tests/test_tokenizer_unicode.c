/* data/unicode, data/pattern, data/byte_level: against definitions that are written down here a second time. */
#include "tests/testing.h"

#include <utf8proc.h>

#include "data/pattern.h"
#include "data/pretokenize.h"
#include "data/unicode.h"

/* Every code point and every sequence of two and three bytes. */
static void utf8_round_trip(void **state)
{
	(void)state;
	for (int32_t c = 0; c <= 0x10FFFF; c++) {
		char text[4];
		int32_t back;
		if (c >= 0xD800 && c <= 0xDFFF)
			continue;
		int n = utf8_put(text, c);
		assert_int_equal(utf8_next(text, (size_t)n, &back), n);
		assert_int_equal(back, c);
		assert_int_equal(utf8_valid_prefix(text, (size_t)n), (size_t)n);
		if (n > 1) /* cut short: all that is there belongs to the broken character */
			assert_int_equal(utf8_next(text, (size_t)n - 1, &back), -(n - 1));
	}
}

static void utf8_broken(void **state)
{
	(void)state;
	static const struct { const char *text; int length; } cases[] = {
		{"\x80", -1}, {"\xff", -1}, {"\xc0\x80", -1}, {"\xc1\xbf", -1}, {"\xe0\x80\x80", -1}, {"\xed\xa0\x80", -1},
		{"\xf0\x80\x80\x80", -1}, {"\xf4\x90\x80\x80", -1}, {"\xf5\x80\x80\x80", -1}, {"\xe4\xbd" "a", -2},
		{"\xf0\x9f\x91" "a", -3}, {"\xf0\x9f" "a", -2}, {"\xc3" "a", -1}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int32_t c;
		assert_int_equal(utf8_next(cases[i].text, strlen(cases[i].text), &c), cases[i].length);
		assert_int_equal(c, -1);
	}
	assert_int_equal(utf8_valid_prefix("0123456789abcde\xff", 16), 15);
}

static void byte_level_is_a_bijection(void **state)
{
	(void)state;
	int found = 0;
	for (int byte = 0; byte < 256; byte++)
		assert_int_equal(byte_level_byte(byte_level_char((unsigned char)byte)), byte);
	for (int32_t c = 0; c < 0x1000; c++)
		found += byte_level_byte(c) >= 0;
	assert_int_equal(found, 256);
	assert_int_equal(byte_level_char(' '), 0x120);
	assert_int_equal(byte_level_char('\n'), 0x10A);
}

static bool matches_alone(const struct pattern *p, const char *s, size_t n)
{
	struct pattern_search at = {0};
	struct err e;
	size_t start, end;
	return pattern_next(p, s, n, &at, &start, &end, &e) == 1 && start == 0 && end == n;
}

/* The regular expressions' classes agree with ours, over all of Unicode that both libraries know. */
static void classes_agree(void **state)
{
	(void)state;
	struct err e;
	struct pattern space, number, punctuation, unassigned;
	int spaces = 0;
	assert_ok(pattern_init_regex(&unassigned, "\\p{Cn}", 6, &e), &e);
	assert_ok(pattern_init_regex(&space, "\\s", 2, &e), &e);
	assert_ok(pattern_init_regex(&number, "\\p{N}", 5, &e), &e);
	assert_ok(pattern_init_regex(&punctuation, "[\\p{P}$+<=>^`|~]", 16, &e), &e);
	for (int32_t c = 0; c <= 0x10FFFF; c++) {
		char s[4];
		if (c >= 0xD800 && c <= 0xDFFF)
			continue;
		size_t n = (size_t)utf8_put(s, c);
		spaces += unicode_is_space(c);
		if (matches_alone(&unassigned, s, n) || utf8proc_category(c) == UTF8PROC_CATEGORY_CN)
			continue;
		if (matches_alone(&space, s, n) != unicode_is_space(c) || matches_alone(&number, s, n) != unicode_is_numeric(c) ||
		    matches_alone(&punctuation, s, n) != unicode_is_punctuation(c))
			fail_msg("U+%04X: the classes differ", (unsigned)c);
	}
	assert_int_equal(spaces, 25);
	pattern_release(&unassigned);
	pattern_release(&space);
	pattern_release(&number);
	pattern_release(&punctuation);
}

static int append_piece(void *context, const char *piece, size_t n, size_t start, struct err *e)
{
	struct bytes *out = context;
	(void)start;
	return bytes_append(out, piece, n, e) < 0 ? -1 : bytes_append(out, "|", 1, e);
}

static void check_split(const struct pattern *p, enum split_behavior behavior, bool invert, const char *want)
{
	static const char text[] = "-a--b-";
	struct err e;
	struct bytes out = {0};
	assert_ok(pattern_split(p, behavior, invert, text, strlen(text), append_piece, &out, &e), &e);
	assert_ok(bytes_append(&out, "", 1, &e), &e);
	assert_string_equal(out.v, want);
	bytes_release(&out);
}

static void splits(void **state)
{
	(void)state;
	struct err e;
	struct pattern dash;
	assert_ok(pattern_init_string(&dash, "-", 1, &e), &e);
	check_split(&dash, SPLIT_REMOVED, false, "a|b|");
	check_split(&dash, SPLIT_ISOLATED, false, "-|a|-|-|b|-|");
	check_split(&dash, SPLIT_MERGED_WITH_PREVIOUS, false, "-|a-|-|b-|");
	check_split(&dash, SPLIT_MERGED_WITH_NEXT, false, "-a|-|-b|-|");
	check_split(&dash, SPLIT_CONTIGUOUS, false, "-|a|--|b|-|");
	check_split(&dash, SPLIT_REMOVED, true, "-|-|-|-|");
	check_split(&dash, SPLIT_ISOLATED, true, "-|a|-|-|b|-|");
	pattern_release(&dash);
}

static void translates(void **state)
{
	(void)state;
	static const struct { const char *regex, *want; } good[] = {
		{"\\s+(?!\\S)", "\\p{White_Space}+(?!\\P{White_Space})"},
		{"[^\\s\\p{L}]", "[^\\p{White_Space}\\p{L}]"},
		{"\\w", "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]"},
		{"\\p{L}+\\x{41}+[\\]\\[(&]", "\\p{L}+\\x{41}+[\\]\\[(&]"},
		{"(?i:'s)(?=a)(?<!b)\\\\s", "(?i:'s)(?=a)(?<!b)\\\\s"},
	};
	static const char *const bad[] = {"\\h", "a{1,2}+", "(?m:a)", "(?x)a", "[a[b]]", "[[:alpha:]]", "[a&&b]", "[]a]", "[\\W]", "\\",
					  "(*FAIL)", "(?P<n>a)", "\\p{"};
	struct err e;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		struct bytes out = {0};
		assert_ok(pattern_translate(good[i].regex, strlen(good[i].regex), &out, &e), &e);
		assert_ok(bytes_append(&out, "", 1, &e), &e);
		assert_string_equal(out.v, good[i].want);
		bytes_release(&out);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct pattern p;
		assert_fails(pattern_init_regex(&p, bad[i], strlen(bad[i]), &e), &e, "regular expression");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(utf8_round_trip), cmocka_unit_test(utf8_broken), cmocka_unit_test(byte_level_is_a_bijection),
		cmocka_unit_test(classes_agree),   cmocka_unit_test(splits),      cmocka_unit_test(translates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* base/suggest: distances by hand, and what counts as near. */
#include "tests/testing.h"

#include "base/suggest.h"

static void test_distance(void **state)
{
	(void)state;
	assert_int_equal(suggest_distance("", ""), 0);
	assert_int_equal(suggest_distance("abc", ""), 3);
	assert_int_equal(suggest_distance("kitten", "sitting"), 3);
	assert_int_equal(suggest_distance("ab", "ba"), 1);
	assert_int_equal(suggest_distance("tempreature", "temperature"), 1);
	assert_int_equal(suggest_distance("ca", "abc"), 3); /* string alignment; the unrestricted distance is 2 */
	assert_int_equal(suggest_distance("LR", "lr"), 0);
	assert_int_equal(suggest_distance("students", "student"), suggest_distance("student", "students"));
}

static void test_long_words(void **state)
{
	(void)state;
	char a[200], b[64];
	memset(a, 'a', sizeof a);
	a[sizeof a - 1] = '\0';
	memset(b, 'a', sizeof b);
	b[63] = '\0';
	assert_int_equal(suggest_distance(a, b), 199);
	assert_int_equal(suggest_distance(a, a), 0);
	assert_int_equal(suggest_distance(b, b), 0);
	assert_int_equal(suggest_distance(b, b + 1), 1);
}

static void test_nearest(void **state)
{
	(void)state;
	static const char *const keys[] = {"lr", "tokens", "temperature", "weight", "weights", "batch_tokens"};
	enum { N = sizeof keys / sizeof *keys };
	assert_string_equal(suggest_nearest("temprature", keys, N), "temperature");
	assert_string_equal(suggest_nearest("token", keys, N), "tokens");
	assert_string_equal(suggest_nearest("lt", keys, N), "lr");
	assert_string_equal(suggest_nearest("weigth", keys, N), "weight");
	assert_string_equal(suggest_nearest("batch-tokens", keys, N), "batch_tokens");
	assert_null(suggest_nearest("distill", keys, N));
	assert_null(suggest_nearest("xy", keys, N));
	assert_null(suggest_nearest("x", keys, 0));
	assert_null(suggest_nearest("", keys, N));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_distance),
		cmocka_unit_test(test_long_words),
		cmocka_unit_test(test_nearest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* base/json: places in errors, typed getters, numbers that round-trip, atomic writing. */
#include "tests/testing.h"

#include "base/json.h"

static json_t *parse(const char *text)
{
	struct err e;
	json_t *v;
	assert_ok(json_parse(text, strlen(text), "t", &v, &e), &e);
	return v;
}

static void test_errors_have_places(void **state)
{
	(void)state;
	struct err e;
	json_t *v;
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"{\n  \"a\": 1,\n  b}", "t:3:3: not valid JSON: "}, {"{\"a\": 1, \"a\": 2}", "duplicate object key"},
		{"", "t:1:0: not valid JSON"},                       {"[1, 2] x", "end of file expected"},
		{"\"\xff\"", "unable to decode byte"},                               {"{\"a\": NaN}", "invalid token"},
		{"[1e999]", "real number overflow"},                 {"\"\\u0000\"", "not allowed"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_fails(json_parse(cases[i].text, strlen(cases[i].text), "t", &v, &e), &e, cases[i].want);
		assert_int_equal(e.status, ERR_USER);
		assert_null(v);
		assert_null(strchr(e.line, '\n'));
	}
	assert_fails(json_read_file("none.json", &v, &e), &e, "none.json: cannot read");
}

/* Every front of a document is an error, and the text needs no NUL behind it. */
static void test_truncation(void **state)
{
	(void)state;
	static const char text[] = "{\"a\": [1, 2.5e3, -7, true, null], \"b\\n\": {\"c\": \"\\u00e9\\ud83d\\ude00\"},"
				   " \"big\": 1000000000000000019884624838656}";
	struct err e;
	json_t *v;
	for (size_t n = 0; n < sizeof text - 1; n++) {
		char *exact = malloc(n ? n : 1);
		memcpy(exact, text, n);
		assert_fails(json_parse(exact, n, "t", &v, &e), &e, "t:1:");
		free(exact);
	}
	json_decref(parse(text));
}

static void test_deep_nesting(void **state)
{
	(void)state;
	enum { N = 200000 };
	struct err e;
	json_t *v;
	char *text = malloc(N);
	memset(text, '[', N);
	assert_fails(json_parse(text, N, "t", &v, &e), &e, "maximum parsing depth");
	free(text);
}

static void test_big_integers(void **state)
{
	(void)state;
	json_t *v = parse("{\"m\": 1000000000000000019884624838656, \"s\": \"9999999999999999999999 \\\" 1\", \"i\": 9223372036854775807,"
			  " \"n\": -9223372036854775808, \"o\": 9223372036854775808, \"r\": 12345678901234567890.5}");
	assert_true(json_real_value(json_object_get(v, "m")) == 1000000000000000019884624838656.0);
	assert_string_equal(json_string_value(json_object_get(v, "s")), "9999999999999999999999 \" 1");
	assert_true(json_integer_value(json_object_get(v, "i")) == INT64_MAX);
	assert_true(json_integer_value(json_object_get(v, "n")) == INT64_MIN);
	assert_true(json_real_value(json_object_get(v, "o")) == 9223372036854775808.0);
	assert_true(json_real_value(json_object_get(v, "r")) == 12345678901234567890.5);
	json_decref(v);
}

static void test_integers(void **state)
{
	(void)state;
	struct err e;
	int64_t i;
	json_t *v = parse("{\"x\": \"abc\", \"n\": 12, \"null\": null, \"r\": 1.0}");
	assert_ok(json_get_int64(v, "f.json", "n", 0, 1, 12, &i, &e), &e);
	assert_int_equal(i, 12);
	assert_ok(json_get_int64(v, "f.json", "none", -5, 0, 9, &i, &e), &e);
	assert_int_equal(i, -5);
	assert_ok(json_get_int64(v, "f.json", "null", 4, 0, 9, &i, &e), &e);
	assert_int_equal(i, 4);
	assert_fails(json_get_int64(v, "f.json", "x", 0, 0, 9, &i, &e), &e,
		     "f.json: key 'x': expected an integer, found \"abc\"");
	assert_int_equal(e.status, ERR_USER);
	assert_fails(json_get_int64(v, "f.json", "r", 0, 0, 9, &i, &e), &e, "expected an integer, found 1.0");
	assert_fails(json_get_int64(v, "f.json", "n", 0, 0, 11, &i, &e), &e, "expected an integer in [0, 11], found 12");
	assert_fails(json_get_int64(v, "f.json", "n", 0, 13, 20, &i, &e), &e, "in [13, 20], found 12");
	json_decref(v);
}

static void test_other_types(void **state)
{
	(void)state;
	struct err e;
	double d;
	bool b;
	const char *s;
	json_t *child, *v = parse("{\"d\": 0.5, \"i\": 3, \"b\": true, \"s\": \"é\", \"o\": {\"k\": []}, \"null\": null}");
	assert_ok(json_get_double(v, "f", "d", 0, 0, 1, &d, &e), &e);
	assert_true(d == 0.5);
	assert_ok(json_get_double(v, "f", "i", 0, 0, 3, &d, &e), &e);
	assert_true(d == 3);
	assert_ok(json_get_double(v, "f", "null", 0.25, 1, 2, &d, &e), &e);
	assert_true(d == 0.25);
	assert_fails(json_get_double(v, "f", "d", 0, 0.6, 1, &d, &e), &e, "expected a number in [0.6, 1], found 0.5");
	assert_fails(json_get_double(v, "f", "b", 0, 0, 1, &d, &e), &e, "key 'b': expected a number, found true");
	assert_ok(json_get_bool(v, "f", "b", false, &b, &e), &e);
	assert_true(b);
	assert_ok(json_get_bool(v, "f", "none", true, &b, &e), &e);
	assert_true(b);
	assert_fails(json_get_bool(v, "f", "i", true, &b, &e), &e, "expected true or false, found 3");
	assert_ok(json_get_string(v, "f", "s", NULL, &s, &e), &e);
	assert_string_equal(s, "é");
	assert_ok(json_get_string(v, "f", "none", NULL, &s, &e), &e);
	assert_null(s);
	assert_fails(json_get_string(v, "f", "o", "x", &s, &e), &e, "expected a string, found {\"k\":[]}");
	assert_ok(json_get_child(v, "f", "o", JSON_OBJECT, &child, &e), &e);
	assert_non_null(json_object_get(child, "k"));
	assert_ok(json_get_child(v, "f", "null", JSON_OBJECT, &child, &e), &e);
	assert_null(child);
	assert_fails(json_get_child(v, "f", "s", JSON_ARRAY, &child, &e), &e, "expected an array, found \"é\"");
	assert_ok(json_require(v, "f", "o", &e), &e);
	assert_fails(json_require(v, "f", "null", &e), &e, "f: key 'null' is missing");
	assert_fails(json_require(NULL, "f", "k", &e), &e, "expected an object with the key 'k'");
	json_decref(v);
}

/* What was found is cut between characters. */
static void test_long_value_is_cut(void **state)
{
	(void)state;
	struct err e;
	int64_t i;
	for (int shift = 0; shift < 2; shift++) {
		char text[300] = "{\"k\": \"";
		strcat(text, shift ? "x" : "");
		for (int n = 0; n < 60; n++)
			strcat(text, "é");
		strcat(text, "\"}");
		json_t *v = parse(text);
		assert_fails(json_get_int64(v, "f", "k", 0, 0, 1, &i, &e), &e, "éé…");
		json_decref(v);
	}
}

static void test_write_round_trips(void **state)
{
	(void)state;
	struct err e;
	struct test_path dir = test_dir_make(), path = test_join(&dir, "x.json");
	static const double reals[] = {0.1, 1.0 / 3, 1e-310, 1.7976931348623157e308, -0.0, 5e-324, 123456789.123456789};
	json_t *v = json_pack("{s:I, s:I, s:s, s:[], s:{}}", "max", (json_int_t)INT64_MAX, "min", (json_int_t)INT64_MIN, "text",
			      "é\n\"", "array", "object");
	json_t *array = json_object_get(v, "array"), *back;
	for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
		json_array_append_new(array, json_real(reals[i]));
	assert_ok(json_write_file(path.text, v, &e), &e);
	assert_ok(json_read_file(path.text, &back, &e), &e);
	assert_true(json_equal(v, back));
	for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
		double got = json_real_value(json_array_get(json_object_get(back, "array"), i));
		assert_memory_equal(&got, &reals[i], sizeof got);
	}
	char *text;
	size_t n;
	assert_ok(fsio_read_file(path.text, 1 << 20, &text, &n, &e), &e);
	assert_memory_equal(text, "{\n  \"max\": 9223372036854775807,\n", 32);
	assert_int_equal(text[n - 1], '\n');
	free(text);
	json_decref(v);
	json_decref(back);
	test_dir_remove(&dir);
}

static void test_nth_write_fails(void **state)
{
	(void)state;
	struct err e;
	struct test_path dir = test_dir_make(), path = test_join(&dir, "x.json"), tmp = test_join(&dir, "x.json.tmp");
	json_t *v = json_object(), *back;
	char key[16];
	for (int i = 0; i < 9000; i++) { /* more than a writer's buffer */
		snprintf(key, sizeof key, "key %d", i);
		json_object_set_new(v, key, json_integer(i));
	}
	int rc = -1;
	for (unsigned long n = 1; rc < 0; n++) {
		test_write(path.text, "\"old\"");
		fsio_fail_nth_write(n);
		rc = json_write_file(path.text, v, &e);
		fsio_fail_nth_write(0);
		assert_true(rc == 0 || strstr(e.line, "x.json: cannot write: the disk is full"));
		assert_true(rc < 0 || n > 5);
		assert_false(fsio_exists(tmp.text));
		assert_ok(json_read_file(path.text, &back, &e), &e);
		assert_true(json_is_string(back) || json_equal(back, v));
		json_decref(back);
	}
	json_decref(v);
	test_dir_remove(&dir);
}

static unsigned long n_allocations, fail_at;

static void *failing_malloc(size_t n)
{
	return ++n_allocations == fail_at ? NULL : malloc(n);
}

/* jansson's n-th allocation fails: an error, and nothing leaks (AddressSanitizer sees it). */
static void test_nth_allocation_fails(void **state)
{
	(void)state;
	static const char text[] = "{\"a\": [1, 2.5, \"x\"], \"b\": {\"c\": null}}";
	struct err e;
	json_t *v = NULL;
	int rc = -1;
	json_set_alloc_funcs(failing_malloc, free);
	for (fail_at = 1; rc < 0; fail_at++) {
		n_allocations = 0;
		rc = json_parse(text, strlen(text), "t", &v, &e);
		assert_true((rc == 0) == (v != NULL));
	}
	json_decref(v);
	json_set_alloc_funcs(malloc, free);
	assert_true(fail_at > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors_have_places), cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_deep_nesting),       cmocka_unit_test(test_big_integers),
		cmocka_unit_test(test_integers),           cmocka_unit_test(test_other_types),
		cmocka_unit_test(test_long_value_is_cut),  cmocka_unit_test(test_write_round_trips),
		cmocka_unit_test(test_nth_write_fails),    cmocka_unit_test(test_nth_allocation_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* base/yaml when the n-th of its own allocations fails: an error that says so, and nothing leaks. The sources are compiled
 * into this test with the allocator replaced; cmocka counts the blocks. */
#include "tests/testing.h"

#include "base/yaml.h"
#include "base/yaml_internal.h"

#include <yaml.h>

static unsigned long n_allocations, fail_at;

static bool fails_now(void)
{
	return ++n_allocations == fail_at;
}

static void *try_malloc(size_t n)
{
	return fails_now() ? NULL : test_malloc(n);
}

static void *try_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : test_calloc(n, size);
}

static void *try_realloc(void *p, size_t n)
{
	return fails_now() ? NULL : test_realloc(p, n);
}

static char *try_strndup(const char *s, size_t n)
{
	size_t length = strnlen(s, n);
	char *copy = try_malloc(length + 1);
	if (copy) {
		memcpy(copy, s, length);
		copy[length] = '\0';
	}
	return copy;
}

static char *try_strdup(const char *s)
{
	return try_strndup(s, strlen(s));
}

#define malloc try_malloc
#define calloc try_calloc
#define realloc try_realloc
#undef strdup
#undef strndup
#define strdup try_strdup
#define strndup try_strndup
#define free test_free
#include "base/yaml.c"
#include "base/yaml_dump.c"
#include "base/yaml_reader.c"

static int work(struct err *e)
{
	static const char text[] = "a: &x {b: 1, c: [1, 2, 3], d: \"e\"}\nf: {<<: *x, c: null}\n";
	struct yaml_tree t;
	char *dump = NULL;
	int rc = -1;
	TRY(yaml_parse_text(&t, "f", text, strlen(text), e));
	TRY(yaml_path_set(&t, "f.g.h=[1, {i: j}]", e));
	TRY(yaml_dump_text(t.root, &dump, NULL, e));
	assert_string_equal(dump, "a:\n  b: 1\n  c: [1, 2, 3]\n  d: e\nf:\n  b: 1\n  d: e\n  c: null\n"
				  "  g:\n    h:\n    - 1\n    - i: j\n");
	rc = 0;
out:
	test_free(dump);
	yaml_release(&t);
	return rc;
}

static void test_nth_allocation_fails(void **state)
{
	(void)state;
	struct err e = {0};
	int rc = -1;
	for (fail_at = 1; rc < 0; fail_at++) {
		n_allocations = 0;
		rc = work(&e);
		if (rc < 0) {
			assert_int_equal(e.status, ERR_RUN);
			assert_non_null(strstr(e.line, "out of memory"));
		}
	}
	assert_true(fail_at > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_nth_allocation_fails)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* base/err: the line, the status, cutting, relaying. */
#include "tests/testing.h"

#include <signal.h>
#include <sys/wait.h>

static void test_line_and_status(void **state)
{
	(void)state;
	struct err e = {0};
	assert_int_equal(err_run(&e, "%s: %d", "file", 7), -1);
	assert_int_equal(e.status, ERR_RUN);
	assert_string_equal(e.line, "file: 7");
	assert_int_equal(err_user(&e, "bad"), -1);
	assert_int_equal(e.status, ERR_USER);
	assert_string_equal(e.line, "bad");
	assert_int_equal(err_run(NULL, "nobody wants to know"), -1);
	assert_int_equal(err_prefix(NULL, "nobody"), -1);
}

static void test_prefix(void **state)
{
	(void)state;
	struct err e = {0};
	err_user(&e, "inner");
	assert_int_equal(err_prefix(&e, "outer %d", 1), -1);
	assert_string_equal(e.line, "outer 1: inner");
	assert_int_equal(e.status, ERR_USER);
}

static void test_one_line(void **state)
{
	(void)state;
	struct err e = {0};
	err_run(&e, "tensor \"%s\"", "a\nb\x1b[31m\x7f é");
	assert_string_equal(e.line, "tensor \"a?b?[31m? é\"");
	strcpy(e.line, "inner\n  x\n  ^");
	err_prefix(&e, "%s", "o\r\nuter");
	assert_string_equal(e.line, "o??uter: inner\n  x\n  ^");
}

/* Lines and prefixes of every length around the limit stay inside of the array and keep their front. */
static void test_cutting(void **state)
{
	(void)state;
	char text[2048];
	struct {
		struct err e;
		char sentinel[8];
	} s;
	for (size_t n = 0; n < sizeof text; n += n < 900 || n > 1100 ? 97 : 1) {
		memset(text, 'x', sizeof text);
		text[n] = '\0';
		memcpy(s.sentinel, "sentinel", 8);
		err_run(&s.e, "%s", text);
		assert_int_equal(strlen(s.e.line), n < sizeof s.e.line ? n : sizeof s.e.line - 1);
		err_prefix(&s.e, "ab");
		assert_memory_equal(s.e.line, "ab: ", 4);
		err_run(&s.e, "tail");
		err_prefix(&s.e, "%s", text);
		assert_true(strlen(s.e.line) < sizeof s.e.line);
		assert_memory_equal(s.sentinel, "sentinel", 8);
	}
}

static int relay(int rc, struct err *e)
{
	int result = -1;
	TRY(rc < 0 ? err_run(e, "failed") : rc);
	result = 0;
out:
	return result;
}

static void test_try(void **state)
{
	(void)state;
	struct err e;
	assert_int_equal(relay(0, &e), 0);
	assert_int_equal(relay(3, &e), 0);
	assert_fails(relay(-1, &e), &e, "failed");
}

static void test_bug_on_aborts(void **state)
{
	(void)state;
	BUG_ON(1 + 1 == 3);
	pid_t child = fork();
	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		BUG_ON(1 + 1 == 2);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_and_status), cmocka_unit_test(test_prefix), cmocka_unit_test(test_one_line), cmocka_unit_test(test_cutting),
		cmocka_unit_test(test_try),             cmocka_unit_test(test_bug_on_aborts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

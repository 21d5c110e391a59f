/* base/fsio: reading, the tree, locks; and that no failure or kill harms what was there or leaves half a file. */
#include "tests/testing.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

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

static void assert_content(const char *path, const char *want)
{
	struct err e;
	char *text;
	size_t n;
	assert_ok(fsio_read_file(path, 1 << 20, &text, &n, &e), &e);
	assert_int_equal(n, strlen(want));
	assert_string_equal(text, want);
	free(text);
}

static void assert_no_temporary(const char *path)
{
	char tmp[1100];
	snprintf(tmp, sizeof tmp, "%s.tmp", path);
	assert_false(fsio_exists(tmp));
}

/* ---- reading ---- */

static void test_read(void **state)
{
	(void)state;
	struct err e;
	char *text;
	size_t n;
	uint64_t size;
	struct test_path a = test_join(&dir, "a");
	assert_ok(fsio_write_file(a.text, "x\0y", 3, &e), &e);
	assert_ok(fsio_read_file(a.text, 3, &text, &n, &e), &e);
	assert_int_equal(n, 3);
	assert_memory_equal(text, "x\0y", 4);
	free(text);
	assert_ok(fsio_size(a.text, &size, &e), &e);
	assert_int_equal(size, 3);
	assert_fails(fsio_read_file(a.text, 2, &text, &n, &e), &e, "3 bytes, expected at most 2");
	assert_null(text);
	assert_fails(fsio_read_file(dir.text, 9, &text, NULL, &e), &e, "found a directory");
	assert_fails(fsio_read_file("/dev/null", 9, &text, NULL, &e), &e, "found a device or pipe");
	assert_fails(fsio_read_file(test_join(&dir, "none").text, 9, &text, NULL, &e), &e, "none: cannot read: No such file");
	struct test_path fifo = test_join(&dir, "fifo");
	assert_int_equal(mkfifo(fifo.text, 0600), 0);
	assert_fails(fsio_read_file(fifo.text, 9, &text, NULL, &e), &e, "found a device or pipe");
}

static void test_map(void **state)
{
	(void)state;
	struct err e;
	struct mapping m;
	struct test_path a = test_join(&dir, "a");
	test_write(a.text, "hello");
	assert_ok(fsio_map(&m, a.text, &e), &e);
	assert_int_equal(m.n_bytes, 5);
	assert_memory_equal(m.data, "hello", 5);
	fsio_unmap(&m);
	assert_null(m.data);
	fsio_unmap(&m);
	test_write(a.text, "");
	assert_ok(fsio_map(&m, a.text, &e), &e);
	assert_int_equal(m.n_bytes, 0);
	assert_non_null(m.data);
	fsio_unmap(&m);
	assert_fails(fsio_map(&m, dir.text, &e), &e, "found a directory");
}

/* ---- the tree ---- */

static void test_mkdirs_and_remove(void **state)
{
	(void)state;
	struct err e;
	struct test_path deep = test_join(&dir, "a/b//c/"), file = test_join(&dir, "a/b/c/file"), a = test_join(&dir, "a");
	assert_ok(fsio_mkdirs(deep.text, &e), &e);
	assert_ok(fsio_mkdirs(deep.text, &e), &e);
	assert_true(fsio_is_dir(deep.text));
	test_write(file.text, "x");
	assert_false(fsio_is_dir(file.text));
	assert_fails(fsio_mkdirs(test_join(&dir, "a/b/c/file/d").text, &e), &e, "a/b/c/file: cannot make the directory");
	/* A link to a directory goes, what it points to stays. */
	struct test_path link = test_join(&dir, "tree");
	assert_ok(fsio_mkdirs(link.text, &e), &e);
	assert_int_equal(symlink(a.text, test_join(&link, "link").text), 0);
	assert_ok(fsio_remove_tree(link.text, &e), &e);
	assert_false(fsio_exists(link.text));
	assert_content(file.text, "x");
	assert_ok(fsio_remove_tree(a.text, &e), &e);
	assert_false(fsio_exists(a.text));
	assert_ok(fsio_remove_tree(a.text, &e), &e);
}

static void test_rename_aside(void **state)
{
	(void)state;
	struct err e;
	struct test_path a = test_join(&dir, "a");
	assert_ok(fsio_rename_aside(a.text, &e), &e);
	for (int i = 0; i < 3; i++) {
		test_write(a.text, i == 0 ? "zero" : i == 1 ? "one" : "two");
		assert_ok(fsio_rename_aside(a.text, &e), &e);
		assert_false(fsio_exists(a.text));
	}
	assert_content(test_join(&dir, "a.old-1").text, "zero");
	assert_content(test_join(&dir, "a.old-2").text, "one");
	assert_content(test_join(&dir, "a.old-3").text, "two");
}

static void test_append_and_truncate(void **state)
{
	(void)state;
	struct err e;
	struct test_path a = test_join(&dir, "a");
	assert_ok(fsio_append(a.text, "one\n", 4, &e), &e);
	assert_ok(fsio_append(a.text, "two\n", 4, &e), &e);
	assert_content(a.text, "one\ntwo\n");
	fsio_fail_nth_write(1);
	assert_fails(fsio_append(a.text, "three\n", 6, &e), &e, "the disk is full");
	assert_content(a.text, "one\ntwo\n");
	assert_ok(fsio_truncate_to(a.text, 4, &e), &e);
	assert_content(a.text, "one\n");
	assert_fails(fsio_truncate_to(a.text, 5, &e), &e, "expected at least 5 bytes, found 4");
	assert_content(a.text, "one\n");
	assert_fails(fsio_truncate_to(test_join(&dir, "none").text, 0, &e), &e, "none: cannot open");
}

static void test_lock(void **state)
{
	(void)state;
	struct err e;
	int fd, other, status;
	char want[64];
	assert_ok(fsio_lock(dir.text, &fd, &e), &e);
	snprintf(want, sizeof want, "is in use by process %ld;", (long)getpid());
	pid_t child = fork();
	if (child == 0)
		_exit(fsio_lock(dir.text, &other, &e) == 0 || other != -1 || !strstr(e.line, want));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	fsio_unlock(&fd);
	assert_int_equal(fd, -1);
	fsio_unlock(&fd);
	/* A process that died without unlocking does not block the next one. */
	child = fork();
	if (child == 0) {
		if (fsio_lock(dir.text, &other, &e) == 0)
			raise(SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_ok(fsio_lock(dir.text, &fd, &e), &e);
	fsio_unlock(&fd);
	assert_fails(fsio_lock(test_join(&dir, "none").text, &fd, &e), &e, "none/lock: cannot open");
}

/* ---- writing ---- */

/* Small and large pieces, so that buffered and direct writes both happen. */
static int write_new(const char *path, struct err *e)
{
	static char block[100000];
	struct fsio_writer w;
	memset(block, 'b', sizeof block);
	if (fsio_writer_open(&w, path, e) < 0 || fsio_printf(&w, e, "%s %d\n", "line", 7) < 0 ||
	    fsio_write(&w, block, sizeof block, e) < 0 || fsio_write(&w, block, 60000, e) < 0 ||
	    fsio_write(&w, block, 10000, e) < 0 || fsio_write(&w, NULL, 0, e) < 0)
		return -1;
	if (w.n_bytes != 7 + sizeof block + 70000)
		return err_run(e, "n_bytes is %llu", (unsigned long long)w.n_bytes);
	return fsio_writer_commit(&w, e);
}

static void assert_new(const char *path)
{
	struct err e;
	char *text;
	size_t n;
	assert_ok(fsio_read_file(path, 1 << 20, &text, &n, &e), &e);
	assert_int_equal(n, 7 + 100000 + 70000);
	assert_memory_equal(text, "line 7\nbbb", 10);
	assert_int_equal(strspn(text + 7, "b"), 170000);
	free(text);
}

static void test_commit_and_abort(void **state)
{
	(void)state;
	struct err e;
	struct fsio_writer w;
	struct test_path a = test_join(&dir, "a");
	test_write(a.text, "old");
	assert_ok(fsio_writer_open(&w, a.text, &e), &e);
	assert_ok(fsio_write(&w, "new", 3, &e), &e);
	assert_content(a.text, "old");
	fsio_writer_abort(&w);
	fsio_writer_abort(&w);
	assert_content(a.text, "old");
	assert_no_temporary(a.text);
	assert_ok(write_new(a.text, &e), &e);
	assert_new(a.text);
	assert_no_temporary(a.text);
	assert_fails(fsio_writer_open(&w, test_join(&dir, "none/a").text, &e), &e, "none/a: cannot write: No such file");
	assert_fails(fsio_write(&w, "x", 1, &e), &e, "failed before");
	assert_fails(fsio_writer_commit(&w, &e), &e, "failed before");
	assert_fails(fsio_write_file(dir.text, "x", 1, &e), &e, "cannot write: Is a directory");
	assert_no_temporary(dir.text);
}

static void test_copy(void **state)
{
	(void)state;
	struct err e;
	struct test_path a = test_join(&dir, "a"), b = test_join(&dir, "b");
	test_write(a.text, "content");
	assert_ok(fsio_copy_file(a.text, b.text, &e), &e);
	assert_content(b.text, "content");
	test_write(a.text, "other");
	fsio_fail_nth_write(1);
	assert_fails(fsio_copy_file(a.text, b.text, &e), &e, "b: cannot write: the disk is full");
	assert_content(b.text, "content");
	assert_fails(fsio_copy_file(test_join(&dir, "none").text, b.text, &e), &e, "none: cannot read");
	assert_content(b.text, "content");
}

/* The n-th operation fails, n = 1, 2, 3 …: the old file is whole until the new one is, and no temporary file stays. */
static void test_nth_write_fails(void **state)
{
	(void)state;
	struct err e;
	struct test_path a = test_join(&dir, "a");
	unsigned long n_failed = 0;
	for (unsigned long n = 1;; n++) {
		test_write(a.text, "old");
		fsio_fail_nth_write(n);
		int rc = write_new(a.text, &e);
		unsigned long n_operations = fsio_fail_nth_write(0);
		assert_no_temporary(a.text);
		if (rc == 0) {
			assert_new(a.text);
			assert_int_equal(n_operations, n_failed);
			break;
		}
		n_failed++;
		assert_non_null(strstr(e.line, a.text));
		assert_non_null(strstr(e.line, "the disk is full"));
		assert_int_equal(n_operations, n);
		char *text;
		assert_ok(fsio_read_file(a.text, 1 << 20, &text, NULL, &e), &e);
		if (strcmp(text, "old") != 0)
			assert_new(a.text); /* only the directory's sync failed */
		free(text);
	}
	assert_in_range(n_failed, 7, 12); /* at least: 3 writes, fsync, close, rename, fsync of the directory */
}

/* The kernel's own refusal, in the middle of a write. */
static void test_file_size_limit(void **state)
{
	(void)state;
	struct err e;
	struct rlimit before, limit;
	struct test_path a = test_join(&dir, "a");
	test_write(a.text, "old");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 70001;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	int rc = write_new(a.text, &e);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(rc, -1);
	assert_non_null(strstr(e.line, "cannot write: File too large"));
	assert_content(a.text, "old");
	assert_no_temporary(a.text);
}

static void test_kill(void **state)
{
	(void)state;
	struct err e;
	struct test_path a = test_join(&dir, "a");
	int status;
	test_write(a.text, "old");
	pid_t child = fork();
	if (child == 0) {
		struct fsio_writer w;
		char block[70000] = {0};
		if (fsio_writer_open(&w, a.text, &e) == 0 && fsio_write(&w, block, sizeof block, &e) == 0)
			raise(SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_content(a.text, "old");
	assert_ok(write_new(a.text, &e), &e);
	assert_new(a.text);
	assert_no_temporary(a.text);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_read),           T(test_map),  T(test_mkdirs_and_remove), T(test_rename_aside),
		T(test_append_and_truncate), T(test_lock), T(test_commit_and_abort),  T(test_copy),
		T(test_nth_write_fails), T(test_file_size_limit), T(test_kill),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* recipes/stage.c: what is finished stays, what has other inputs is put aside, and a failing disk leaves nothing half. */
#include "tests/testing.h"

#include "recipes/stage.h"

struct bench {
	struct test_path top;
	char dir[1100];
};

static void bench_open(struct bench *b)
{
	b->top = test_dir_make();
	snprintf(b->dir, sizeof b->dir, "%s/a/stage", b->top.text);
}

static json_t *inputs(int lr)
{
	return json_pack("{s:i,s:o}", "lr", lr, "data", stage_hash_json(0x0123456789abcdefu));
}

static bool begins_done(const struct bench *b, int lr)
{
	struct err e;
	bool done;
	assert_ok(stage_begin(b->dir, inputs(lr), &done, &e), &e);
	return done;
}

static void put(const struct bench *b, const char *name, const char *text)
{
	char path[1200];
	snprintf(path, sizeof path, "%s/%s", b->dir, name);
	test_write(path, text);
}

static bool has(const struct bench *b, const char *suffix)
{
	char path[1200];
	snprintf(path, sizeof path, "%s%s", b->dir, suffix);
	return fsio_exists(path);
}

static void a_stage_is_done_when_it_says_so(void **state)
{
	(void)state;
	struct bench b;
	struct err e;
	bench_open(&b);
	assert_false(begins_done(&b, 1));
	assert_true(has(&b, "/inputs.json"));
	put(&b, "work", "half");
	assert_false(begins_done(&b, 1)); /* killed before it was finished: the same directory goes on */
	assert_true(has(&b, "/work"));
	assert_ok(stage_finish(b.dir, &e), &e);
	assert_true(begins_done(&b, 1));
	assert_true(has(&b, "/work"));
	assert_false(has(&b, ".old-1"));
	test_dir_remove(&b.top);
}

static void other_inputs_put_the_old_one_aside(void **state)
{
	(void)state;
	struct bench b;
	struct err e;
	bench_open(&b);
	for (int lr = 1; lr <= 3; lr++) {
		assert_false(begins_done(&b, lr));
		assert_false(has(&b, "/work"));
		put(&b, "work", "made");
		assert_ok(stage_finish(b.dir, &e), &e);
	}
	assert_true(begins_done(&b, 3));
	assert_true(has(&b, ".old-1/work"));
	assert_true(has(&b, ".old-1/DONE"));
	assert_true(has(&b, ".old-2/work"));
	assert_false(begins_done(&b, 1)); /* the first one's inputs again: it is not brought back */
	assert_true(has(&b, ".old-3/work"));
	test_dir_remove(&b.top);
}

static void unreadable_inputs_are_said(void **state)
{
	(void)state;
	struct bench b;
	struct err e;
	bool done;
	bench_open(&b);
	begins_done(&b, 1);
	put(&b, "inputs.json", "{\"lr\": ");
	assert_fails(stage_begin(b.dir, inputs(1), &done, &e), &e, "/stage/inputs.json");
	assert_null(strchr(e.line, '\n'));
	test_dir_remove(&b.top);
}

/* Whatever write fails: nothing counts as done, and the next start finds its way. */
static void the_nth_write_fails(void **state)
{
	(void)state;
	struct err e;
	int rc = -1;
	for (unsigned long n = 1; rc < 0; n++) {
		struct bench b;
		bool done = true;
		bench_open(&b);
		assert_false(begins_done(&b, 1));
		assert_ok(stage_finish(b.dir, &e), &e);
		fsio_fail_nth_write(n);
		rc = stage_begin(b.dir, inputs(2), &done, &e);
		if (rc == 0)
			rc = stage_finish(b.dir, &e);
		fsio_fail_nth_write(0);
		assert_true(n < 50);
		assert_false(done);
		if (rc < 0) {
			assert_int_equal(e.status, ERR_RUN);
			assert_non_null(strstr(e.line, "/stage"));
		}
		begins_done(&b, 2);
		assert_false(has(&b, "/inputs.json.tmp"));
		assert_false(has(&b, "/DONE.tmp"));
		assert_true(has(&b, ".old-1/DONE"));
		test_dir_remove(&b.top);
	}
}

static void paths_and_hashes_are_text(void **state)
{
	(void)state;
	char *path = path_format("%s/%d", "a", 7);
	json_t *h = stage_hash_json(255);
	assert_string_equal(path, "a/7");
	assert_string_equal(json_string_value(h), "00000000000000ff");
	json_decref(h);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stage_is_done_when_it_says_so),
		cmocka_unit_test(other_inputs_put_the_old_one_aside),
		cmocka_unit_test(unreadable_inputs_are_said),
		cmocka_unit_test(the_nth_write_fails),
		cmocka_unit_test(paths_and_hashes_are_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

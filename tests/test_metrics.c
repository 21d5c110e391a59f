/* recipes/metrics.c: CSV and JSON lines, empty cells, cutting back to a checkpoint, and a disk that fills up. */
#include "tests/testing.h"

#include "base/json.h"
#include "recipes/metrics.h"

static const char *const columns[] = {"step", "loss", "heldout"};

struct bench {
	struct test_path dir, file;
	struct metrics m;
};

static void bench_open(struct bench *b, bool jsonl)
{
	struct err e;
	b->dir = test_dir_make();
	b->file = test_join(&b->dir, jsonl ? "m.jsonl" : "m.csv");
	assert_ok(metrics_open(&b->m, b->file.text, jsonl, columns, 3, 0, &e), &e);
}

static void bench_close(struct bench *b)
{
	metrics_close(&b->m);
	test_dir_remove(&b->dir);
}

static void row(struct bench *b, double step, double loss)
{
	struct err e;
	metrics_set(&b->m, "step", step);
	metrics_set(&b->m, "loss", loss);
	assert_ok(metrics_row(&b->m, &e), &e);
}

static void check(const struct bench *b, const char *expected)
{
	struct err e;
	char *text;
	size_t n;
	assert_ok(fsio_read_file(b->file.text, 1 << 20, &text, &n, &e), &e);
	assert_string_equal(text, expected);
	assert_int_equal(b->m.n_bytes, n);
	free(text);
}

static void csv_rows(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, false);
	check(&b, "step,loss,heldout\n");
	row(&b, 1, 0.1);
	metrics_set(&b.m, "heldout", 2.5);
	row(&b, 2, NAN);
	row(&b, 123456789, -1.0 / 3);
	check(&b, "step,loss,heldout\n1,0.1,\n2,,2.5\n123456789,-0.333333333,\n");
	bench_close(&b);
}

static void json_rows(void **state)
{
	(void)state;
	struct bench b;
	struct err e;
	json_t *o;
	bench_open(&b, true);
	check(&b, "");
	row(&b, 1, 0.1);
	row(&b, INFINITY, 1e-30);
	assert_ok(metrics_row(&b.m, &e), &e);
	check(&b, "{\"step\": 1, \"loss\": 0.1}\n{\"loss\": 1e-30}\n{}\n");
	assert_ok(json_parse("{\"step\": 1, \"loss\": 0.1}", 24, "row", &o, &e), &e);
	json_decref(o);
	bench_close(&b);
}

static void going_on_cuts_back(void **state)
{
	(void)state;
	struct bench b;
	struct err e;
	bench_open(&b, false);
	row(&b, 1, 5);
	uint64_t kept = b.m.n_bytes;
	row(&b, 2, 4);
	row(&b, 3, 3);
	metrics_close(&b.m);
	assert_ok(metrics_open(&b.m, b.file.text, false, columns, 3, kept, &e), &e);
	row(&b, 2, 4.5);
	check(&b, "step,loss,heldout\n1,5,\n2,4.5,\n");
	metrics_close(&b.m);
	assert_ok(metrics_open(&b.m, b.file.text, false, columns, 3, 0, &e), &e); /* no checkpoint: from the beginning */
	check(&b, "step,loss,heldout\n");
	metrics_close(&b.m);
	assert_fails(metrics_open(&b.m, b.file.text, false, columns, 3, 1000, &e), &e, "m.csv: ");
	bench_close(&b);
}

static void a_full_disk_leaves_whole_rows(void **state)
{
	(void)state;
	struct bench b;
	struct err e;
	bench_open(&b, false);
	row(&b, 1, 5);
	metrics_set(&b.m, "step", 2);
	fsio_fail_nth_write(1);
	assert_fails(metrics_row(&b.m, &e), &e, "m.csv");
	fsio_fail_nth_write(0);
	check(&b, "step,loss,heldout\n1,5,\n");
	row(&b, 2, 4);
	check(&b, "step,loss,heldout\n1,5,\n2,4,\n");
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(csv_rows),
		cmocka_unit_test(json_rows),
		cmocka_unit_test(going_on_cuts_back),
		cmocka_unit_test(a_full_disk_leaves_whole_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

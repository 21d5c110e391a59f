/* results/sizes.c: students of one size are ranked among themselves and paired with a reference of that size; nobody else is. */
#include "tests/compare_world.h"

static struct comparison *compare_with(struct world *w, const char *const *references, int n)
{
	struct comparison *c;
	struct err e;
	struct compare_options o = compare_default();
	o.bootstrap.resamples = 200;
	o.references = references;
	o.n_references = n;
	assert_ok(compare_results(&c, w->results, w->n, &o, &e), &e);
	return c;
}

static void add_world(struct world *w)
{
	add_student(w, "teacher", 1, 3000, -0.5);
	strcpy(w->results[0]->role, "teacher");
	w->results[0]->trained = false;
	add_student(w, "large_a", 1, 2000, 0.1);
	add_student(w, "small_a", 1, 1000, 0.4);
	add_student(w, "large_b", 1, 2030, 0.2);
	add_student(w, "alone", 1, 1500, 0.0);
	add_student(w, "small_b", 1, 990, 0.3);
	add_student(w, "small_scratch", 1, 1000, 0.6);
}

static void assert_row(const struct comparison *c, const char *name, int rank, const char *reference)
{
	const struct compare_row *row = row_of(c, name);
	assert_int_equal(row->rank, rank);
	assert_string_equal(c->rows[compare_reference(c, row)].name, reference);
	assert_int_equal(row->reference, !strcmp(name, reference));
	assert_int_equal(row->cells[0].paired, !row->reference);
}

static void sizes_are_ranked_apart(void **state)
{
	struct world *w = *state;
	add_world(w);
	struct comparison *c = compare_with(w, NULL, 0);
	assert_int_equal(c->n_groups, 2);
	assert_row(c, "small_scratch", 3, "small_scratch");
	assert_row(c, "small_b", 1, "small_scratch");
	assert_row(c, "small_a", 2, "small_scratch");
	assert_row(c, "large_b", 2, "large_b"); /* the last of those trained on text alone */
	assert_row(c, "large_a", 1, "large_b");
	assert_row(c, "alone", 0, "small_scratch");
	assert_int_equal(row_of(c, "alone")->group, COMPARE_NO_GROUP);
	assert_true(noted(c, "alone is of another size"));
	assert_close(row_of(c, "large_a")->cells[0].difference.mean, -0.1, 0.005, 0);
	assert_close(row_of(c, "alone")->cells[0].difference.mean, -0.6, 0.005, 0);
	static const char *const order[] = {"teacher", "small_a", "small_b", "small_scratch", "large_a", "large_b", "alone"};
	for (int i = 0; i < c->n_rows; i++)
		assert_string_equal(c->rows[i].name, order[i]);
	compare_free(c);
}

static void references_are_the_recipes(void **state)
{
	struct world *w = *state;
	add_world(w);
	struct comparison *c = compare_with(w, (const char *const[]){"large_a", "small_b", "small_a"}, 3);
	assert_string_equal(c->rows[c->reference].name, "large_a");
	assert_row(c, "large_b", 2, "large_a");
	assert_row(c, "small_a", 2, "small_b");
	assert_row(c, "alone", 0, "large_a");
	assert_true(noted(c, "small_a is no reference: small_b is the one of that size"));
	assert_string_equal(c->rows[1].name, "large_a"); /* the first size first */
	compare_free(c);
	c = compare_with(w, (const char *const[]){"alone"}, 1); /* nobody else is as large: the others still have theirs */
	assert_string_equal(c->rows[c->reference].name, "alone");
	assert_int_equal(c->n_groups, 3);
	assert_row(c, "small_b", 1, "small_scratch");
	compare_free(c);
	struct err e;
	struct compare_options o = compare_default();
	o.references = (const char *const[]){"large_a", "teacher"};
	o.n_references = 2;
	assert_fails(compare_results(&c, w->results, w->n, &o, &e), &e, "no student 'teacher'");
}

/* A reference of the second size that was not scored where the others were: no difference, no rank there. */
static void a_domain_that_a_reference_lacks(void **state)
{
	struct world *w = *state;
	add_world(w);
	for (int i = 0; i < w->n; i++)
		if (strcmp(w->results[i]->name, "large_b")) {
			score_documents(&w->results[i]->evals[1], "books", 40, 0.1, 3 + (uint64_t)i, 5);
			w->results[i]->n_evals = 2;
		}
	struct comparison *c = compare_with(w, NULL, 0);
	assert_true(noted(c, "large_b was not evaluated on books"));
	assert_false(row_of(c, "large_a")->cells[1].paired);
	assert_int_equal(row_of(c, "large_a")->rank, 0);
	assert_int_equal(row_of(c, "small_b")->rank, 1);
	compare_free(c);
}

static void the_table_names_sizes(void **state)
{
	struct world *w = *state;
	struct table t;
	struct err e;
	add_world(w);
	struct comparison *c = compare_with(w, NULL, 0);
	assert_ok(compare_table_domain(c, 0, &t, &e), &e);
	assert_string_equal(t.cells[8], "parameters");
	assert_string_equal(t.cells[5 * t.n_columns + 8], "2.00 k");
	assert_string_equal(t.cells[5 * t.n_columns + 1], "1");
	assert_true(t.strong[3] && t.strong[5] && !t.strong[2]);
	assert_string_equal(t.cells[7 * t.n_columns + 1], "≠ size");
	table_release(&t);
	compare_free(c);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(sizes_are_ranked_apart),
		WORLD_TEST(references_are_the_recipes),
		WORLD_TEST(a_domain_that_a_reference_lacks),
		WORLD_TEST(the_table_names_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A search for a shape as a file, as a table, and as points in the figure of losses by size. */
#include "tests/compare_world.h"

#include "base/json.h"
#include "results/plot.h"
#include "results/shape_search.h"

#include <math.h>

static struct shape_search an_example(void)
{
	struct shape_search s = {.id = "00000000000000ab", .source_hash = "00000000000000cd", .source = {6, 192, 512, 6, 2, 32, 4096},
				 .source_parameters = 3.15e6, .source_nll = 1.4, .limit = {1.2e6, 0, 0, 0, 2.5}, .length = 512, .batch = 1,
				 .n_shapes = 40, .slack = 0.05, .tokens = 6e5, .flops = 1e13, .seed = 17, .n = 3};
	s.candidates[0] = (struct shape_candidate){.shape = {4, 128, 320, 4, 2, 32, 4096}, .predicted = {1.19e6, 5e6, 2e6, 20, 2.25},
						   .achieved = {1.19e6, 5e6, 2e6, 21, 2.375}, .predicted_nll = 3.5, .nll = 3.75,
						   .trained_nll = 2.5, .rank = 1, .chosen = true};
	s.candidates[1] = (struct shape_candidate){.shape = {3, 160, 320, 4, 2, 32, 4096}, .predicted = {1.18e6, 5e6, 2e6, 20, 2},
						   .achieved = {1.18e6, 5e6, 2e6, 21, 2.25}, .predicted_nll = 3.625, .nll = 4,
						   .trained_nll = INFINITY, .rank = 2};
	s.candidates[2] = (struct shape_candidate){.shape = {5, 128, 192, 4, 2, 32, 4096}, .predicted = {1.17e6, 5e6, 2e6, 20, 2.5},
						   .achieved = {1.17e6, 5e6, 2e6, 21, 4}, .predicted_nll = 3.4375, .missed = true};
	return s;
}

static void the_file_says_all(void **state)
{
	const struct world *w = *state;
	const struct shape_search s = an_example();
	struct shape_search *back;
	struct err e;
	char budget[160];
	assert_ok(shape_search_write(&s, test_join(&w->dir, "shape.json").text, &e), &e);
	assert_ok(shape_search_read(&back, test_join(&w->dir, "shape.json").text, &e), &e);
	json_t *a = shape_search_to_json(&s), *b = shape_search_to_json(back);
	assert_true(json_equal(a, b));
	assert_true(isinf(back->candidates[1].trained_nll) && back->candidates[2].trained_nll == 0 && back->candidates[2].missed);
	assert_int_equal(back->candidates[0].shape.F, 320);
	assert_true(back->limit[SHAPE_SEARCH_DECODE_MS] == 2.5 && back->seed == 17);
	shape_search_budget(back, budget, sizeof budget);
	assert_string_equal(budget, "parameters ≤ 1.20 M, decode_ms ≤ 2.5 (512 tokens, batch 1)");
	json_decref(a);
	json_decref(b);
	free(back);
}

static void what_it_cannot_be_is_refused(void **state)
{
	const struct world *w = *state;
	static const struct {
		const char *text, *words;
	} list[] = {
		{"[]", "expected an object"},
		{"{\"id\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", "'id'"},
		{"{\"id\": \"a\"}", "'source'"},
		{"{\"id\": \"a\", \"source\": {\"shape\": {\"layers\": \"x\"}}}", "'layers'"},
		{"{\"id\": \"a\", \"source\": {\"shape\": {}}}", "'limits'"},
		{"{\"id\": \"a\", \"source\": {\"shape\": {}}, \"limits\": {\"memory\": -1}}", "'memory'"},
		{"{\"id\": \"a\", \"source\": {\"shape\": {}}, \"limits\": {}, \"candidates\": [{}]}", "'shape'"},
	};
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		struct shape_search *s;
		struct err e;
		struct test_path path = test_join(&w->dir, "bad.json");
		assert_ok(fsio_write_file(path.text, list[i].text, strlen(list[i].text), &e), &e);
		assert_int_equal(shape_search_read(&s, path.text, &e), -1);
		assert_null(s);
		if (!strstr(e.line, list[i].words))
			fail_msg("%s: %s", list[i].text, e.line);
	}
}

/* Two students of two sizes, of one search; each has its file beside its result. */
static struct comparison *compare_searched(struct world *w)
{
	const struct shape_search s = an_example();
	struct err e;
	for (int i = 0; i < 2; i++) {
		struct result *r = add_student(w, i ? "large" : "small", 17, i ? 2000000 : 1190000, i ? 0.1 : 0.3);
		r->heldout_nll = i ? 2.0 : 2.25;
		snprintf(r->dir, sizeof r->dir, "%s", w->dir.text);
		strcpy(r->searches[r->n_searches++], "shape-1.json");
	}
	assert_ok(shape_search_write(&s, test_join(&w->dir, "shape-1.json").text, &e), &e);
	return compare(w, NULL);
}

static void one_search_is_one_table(void **state)
{
	struct world *w = *state;
	struct comparison *c = compare_searched(w);
	struct table t;
	struct err e;
	assert_int_equal(c->n_searches, 1);
	assert_ok(compare_table_searches(c, &t, &e), &e);
	assert_int_equal(t.n_rows, 1 + 3);
	assert_int_equal(t.n_columns, 9 + 2);
	assert_string_equal(t.cells[1 * 11 + 1], "4 × 128, heads 4/2, ffn 320");
	assert_string_equal(t.cells[1 * 11 + 5], "3.5000");
	assert_string_equal(t.cells[1 * 11 + 7], "2.5000");
	assert_string_equal(t.cells[1 * 11 + 10], "2.25 → 2.38");
	assert_string_equal(t.cells[2 * 11 + 7], "diverged");
	assert_string_equal(t.cells[3 * 11 + 8], "too slow");
	assert_string_equal(t.cells[3 * 11 + 7], "");
	assert_true(t.strong[1] && !t.strong[2] && !t.strong[3]);
	table_release(&t);
	compare_free(c);
}

static void a_lost_file_is_an_error(void **state)
{
	struct world *w = *state;
	struct comparison *c;
	struct compare_options o = compare_default();
	struct err e;
	compare_free(compare_searched(w));
	strcpy(w->results[1]->searches[0], "gone.json");
	assert_int_equal(compare_results(&c, w->results, w->n, &o, &e), -1);
	assert_non_null(strstr(e.line, "gone.json"));
}

static void the_figure_needs_two_sizes_or_a_search(void **state)
{
	struct world *w = *state;
	struct err e;
	struct result *one = add_student(w, "one", 17, 1000000, 0.2), *two = add_student(w, "two", 17, 1000000, 0.1);
	struct comparison *c = compare(w, NULL);
	one->heldout_nll = two->heldout_nll = 2;
	assert_int_equal(figure_pareto(c, w->dir.text, &e), 0);
	compare_free(c);
	two->parameters = 2000000;
	c = compare(w, NULL);
	if (plot_available()) {
		assert_int_equal(figure_pareto(c, w->dir.text, &e), 1);
		assert_true(fsio_exists(test_join(&w->dir, "pareto.svg").text));
	}
	compare_free(c);
}

static void the_figure_shows_models_and_candidates(void **state)
{
	struct world *w = *state;
	struct comparison *c = compare_searched(w);
	struct err e;
	char *svg;
	if (!plot_available()) {
		compare_free(c);
		skip();
	}
	assert_int_equal(figure_pareto(c, w->dir.text, &e), 1);
	assert_ok(fsio_read_file(test_join(&w->dir, "pareto.svg").text, 1 << 24, &svg, NULL, &e), &e);
	assert_non_null(strstr(svg, "candidates, short training"));
	assert_non_null(strstr(svg, "small"));
	assert_non_null(strstr(svg, "large"));
	assert_non_null(strstr(svg, "1.50 M"));
	free(svg);
	compare_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_file_says_all, world_open, world_close),
		cmocka_unit_test_setup_teardown(what_it_cannot_be_is_refused, world_open, world_close),
		cmocka_unit_test_setup_teardown(one_search_is_one_table, world_open, world_close),
		cmocka_unit_test_setup_teardown(a_lost_file_is_an_error, world_open, world_close),
		cmocka_unit_test_setup_teardown(the_figure_needs_two_sizes_or_a_search, world_open, world_close),
		cmocka_unit_test_setup_teardown(the_figure_shows_models_and_candidates, world_open, world_close),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

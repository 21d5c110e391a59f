/* results/ways.c, figure_ways.c, report_text.c: ways by sizes, each against the best of its size; who is not surely worse is marked and named. */
#include "tests/compare_world.h"

#include "results/plot.h"
#include "results/report.h"

/* Three seeds; at: how much worse than the easiest, seed by seed. */
static void add_way(struct world *w, const char *name, const char *way, size_t parameters, const double at[3])
{
	for (int s = 0; s < 3; s++) {
		struct result *r = add_student(w, name, (uint64_t)s, parameters, at[s]);
		snprintf(r->init_text, sizeof r->init_text, "%s", way);
		r->start_nll = 5 + s;
	}
}

static void add_world(struct world *w)
{
	add_way(w, "a_small", "masks", 1000, (const double[]){0.10, 0.12, 0.11});
	add_way(w, "b_small", "importance", 1000, (const double[]){0.09, 0.14, 0.13}); /* seeds disagree */
	add_way(w, "scratch_small", "random", 1000, (const double[]){0.50, 0.52, 0.54});
	add_way(w, "a_large", "masks", 2000, (const double[]){0.20, 0.20, 0.20});
	add_way(w, "b_large", "importance", 2000, (const double[]){0.05, 0.06, 0.07});
	add_way(w, "c_large", "layers", 2000, (const double[]){0.30, 0.30, 0.30});
}

static const struct compare_way *way_named(const struct comparison *c, const char *text)
{
	for (int i = 0; i < c->n_ways; i++)
		if (!strcmp(c->ways[i].text, text))
			return &c->ways[i];
	fail_msg("no way '%s'", text);
	return NULL;
}

static void sizes_stand_in_one_line(void **state)
{
	struct world *w = *state;
	add_world(w);
	struct comparison *c = compare(w, NULL);
	assert_int_equal(c->n_ways, 4);
	const struct compare_way *masks = way_named(c, "masks"), *layers = way_named(c, "layers");
	assert_string_equal(c->rows[masks->rows[0]].name, "a_small");
	assert_string_equal(c->rows[masks->rows[1]].name, "a_large");
	assert_int_equal(layers->rows[0], -1);
	assert_true(row_of(c, "a_small")->cells[0].best && row_of(c, "b_large")->cells[0].best);
	const struct compare_pair_cell *gap = &row_of(c, "a_large")->cells[0].to_best;
	assert_true(gap->paired && pairs_outcome(gap) > 0 && gap->n_seeds == 3);
	assert_close(gap->difference.mean, 0.14, 0.005, 0);
	gap = &row_of(c, "b_small")->cells[0].to_best;
	assert_true(gap->paired && gap->difference.low > 0 && gap->n_better == 1 && pairs_outcome(gap) == 0);
	compare_free(c);
}

static const char *cell(const struct table *t, int row, int column)
{
	return t->cells[row * t->n_columns + column];
}

static void the_table(void **state)
{
	struct world *w = *state;
	struct table t;
	struct err e;
	add_world(w);
	struct comparison *c = compare(w, NULL);
	assert_ok(compare_table_ways(c, &t, &e), &e);
	assert_true(t.n_rows == 5 && t.n_columns == 7);
	assert_string_equal(cell(&t, 0, 1), "1.00 k: cut");
	assert_string_equal(cell(&t, 0, 4), "2.00 k: cut");
	static const char *const ways[] = {"masks", "importance", "random", "layers"}; /* as they are ranked in the first size */
	for (int i = 0; i < 4; i++)
		assert_string_equal(cell(&t, i + 1, 0), ways[i]);
	assert_string_equal(cell(&t, 1, 1), "6.000");
	assert_non_null(strstr(cell(&t, 1, 2), " ± 0.0"));
	assert_string_equal(cell(&t, 1, 3), "best");
	assert_memory_equal(cell(&t, 2, 3), "≈ +0.0", strlen("≈ +0.0"));
	assert_memory_equal(cell(&t, 3, 3), "+0.4", 4);
	assert_string_equal(cell(&t, 3, 6), "");
	assert_string_equal(cell(&t, 2, 6), "best");
	table_release(&t);
	w->results[0]->start_nll = 0; /* of one seed it is not known */
	assert_ok(compare_table_ways(c, &t, &e), &e);
	assert_string_equal(cell(&t, 1, 1), "");
	table_release(&t);
	compare_free(c);
}

static void the_figure(void **state)
{
	struct world *w = *state;
	struct err e;
	char *svg;
	if (!plot_available())
		return;
	add_world(w);
	struct comparison *c = compare(w, NULL);
	for (int known = 1; known >= 0; known--) {
		for (int i = 0; i < w->n; i++)
			w->results[i]->start_nll *= known;
		assert_int_equal(figure_ways(c, 0, w->dir.text, &e), 1);
		assert_ok(fsio_read_file(test_join(&w->dir, "ways.svg").text, 1 << 24, &svg, NULL, &e), &e);
		assert_non_null(strstr(svg, "importance"));
		assert_non_null(strstr(svg, "2.00 k"));
		assert_int_equal(strstr(svg, "loss of the cut") != NULL, known);
		free(svg);
	}
	compare_free(c);
	for (int i = 0; i < 3; i++)
		snprintf(w->results[i]->init_text, sizeof w->results[i]->init_text, "%070d, trained → it's masks", 7);
	c = compare(w, NULL);
	assert_int_equal(figure_ways(c, 0, w->dir.text, &e), 1);
	assert_ok(fsio_read_file(test_join(&w->dir, "ways.svg").text, 1 << 24, &svg, NULL, &e), &e);
	assert_non_null(strstr(svg, "00…"));
	assert_null(strstr(svg, "07, trained"));
	assert_true(strstr(svg, "it's masks") || strstr(svg, "it&apos;s masks") || strstr(svg, "it&#39;s masks"));
	free(svg);
	compare_free(c);
	w->n = 3; /* one way */
	c = compare(w, NULL);
	assert_int_equal(figure_ways(c, 0, w->dir.text, &e), 0);
	compare_free(c);
	w->n = 18;
}

static void what_tells_ways_apart(void **state)
{
	struct world *w = *state;
	struct table t;
	struct err e;
	add_student(w, "a", 1, 1000, 0.1);
	add_student(w, "b", 1, 1000, 0.2)->distill.present = true;
	strcpy(w->results[1]->distill.text, "jsd");
	struct comparison *c = compare(w, NULL);
	way_named(c, "masks; text alone");
	way_named(c, "masks; jsd");
	assert_ok(compare_table_ways(c, &t, &e), &e);
	assert_int_equal(t.n_rows, 1); /* one init: nothing to choose between */
	table_release(&t);
	compare_free(c);
	add_student(w, "a_longer", 1, 1000, 0.1);
	add_student(w, "a_large", 1, 2000, 0.1);
	add_student(w, "scratch_large", 1, 2000, 0.1);
	c = compare(w, NULL);
	assert_int_equal(c->n_ways, 5);
	way_named(c, "masks; text alone (a)");
	way_named(c, "masks; text alone (a_longer)");
	way_named(c, "masks; text alone");
	way_named(c, "random");
	compare_free(c);
}

/* Another student is the best in each domain. */
static void domains_have_their_own_best(void **state)
{
	struct world *w = *state;
	struct table t;
	struct err e;
	for (int i = 0; i < 2; i++) {
		struct result *r = add_student(w, i ? "scratch" : "a", 1, 1000, i ? 0.3 : 0.1);
		score_documents(&r->evals[1], "books", 40, i ? 0.1 : 0.2, 3 + (uint64_t)i, 5);
		r->n_evals = 2;
	}
	struct comparison *c = compare(w, NULL);
	assert_true(row_of(c, "a")->cells[0].best && row_of(c, "scratch")->cells[1].best);
	assert_false(row_of(c, "a")->cells[1].best);
	assert_ok(compare_table_ways(c, &t, &e), &e);
	assert_int_equal(t.n_rows, 5);
	assert_string_equal(cell(&t, 1, 1), "stories");
	assert_string_equal(cell(&t, 1, 4), "best");
	assert_memory_equal(cell(&t, 2, 4), "+0.10", 5);
	table_release(&t);
	compare_free(c);
}

static void a_verdict_for_each_size(void **state)
{
	struct world *w = *state;
	char line[1024];
	add_world(w);
	struct comparison *c = compare(w, NULL);
	static const char *const parts[2][2] = {{"Best of 3 students of 1.00 k parameters: a_small, ", " Not surely worse: b_small."},
						{"Best of 3 students of 2.00 k parameters: b_large, ", " The next, a_large, is worse by 0.1"}};
	for (int i = 0; i < 2; i++) {
		assert_true(report_verdict(c, i, line, sizeof line));
		for (int k = 0; k < 2; k++)
			if (!strstr(line, parts[i][k]))
				fail_msg("expected \"%s\" in: %s", parts[i][k], line);
	}
	assert_non_null(strstr(line, "; in each of 3 seeds)"));
	assert_false(report_verdict(c, 2, line, sizeof line));
	assert_true(report_verdict(c, 0, line, 40) && strlen(line) == 39);
	compare_free(c);
	w->n = 1;
	c = compare(w, NULL);
	assert_true(report_verdict(c, 0, line, sizeof line));
	assert_non_null(strstr(line, "nothing is ranked"));
	assert_false(report_verdict(c, 1, line, sizeof line));
	compare_free(c);
	w->n = 18;
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(sizes_stand_in_one_line),
		WORLD_TEST(the_table),
		WORLD_TEST(the_figure),
		WORLD_TEST(what_tells_ways_apart),
		WORLD_TEST(domains_have_their_own_best),
		WORLD_TEST(a_verdict_for_each_size),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

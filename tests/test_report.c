/* results/report*.c, figures.c, plot.c, curves.c, table.c: the files are there, complete, and no name of a student can leave
 * the place where it is printed. How they look is for eyes. */
#include "tests/report_world.h"

#include "base/json.h"
#include "results/plot.h"

static void fill(struct world *w)
{
	struct result *t = add(w, "stories3M", "", 1.78, false);
	strcpy(t->role, "teacher");
	t->trained = false;
	t->metrics[0] = '\0';
	t->heldout_nll = 1.79;
	t->parameters = 3148224;
	add(w, "sheared", "masks", 2.05, true);
	add(w, "sheared_ce", "masks", 2.11, true);
	add(w, "halved", "layers", 2.13, false)->parameters *= 2;
	add(w, "scratch_kd", "random", 2.31, false);
	add(w, "scratch", "random", 2.38, false);
}

static void write_report(struct world *w)
{
	static const char *const notes[] = {"The text comes from the teacher's own training file."};
	struct err e;
	struct comparison *c = compare(w);
	struct report_options o = report_default();
	o.title = "stories3m";
	o.dir = w->dir.text;
	o.notes = notes;
	o.n_notes = 1;
	assert_ok(report_write(c, &o, &e), &e);
	compare_free(c);
}

static void files_are_complete(void **state)
{
	struct world *w = *state;
	fill(w);
	write_report(w);
	char *md = read_text(w, "report.md"), *html = read_text(w, "report.html");
	assert_holds(md, "| **sheared** | **1** |");
	assert_holds(md, "Best of 4 students of one size: sheared");
	assert_holds(md, "below zero");
	assert_holds(md, "books: only 21 documents");
	assert_holds(md, "≠ size");
	assert_holds(md, "The text comes from");
	assert_holds(html, "</html>");
	assert_holds(html, "<tr class=\"strong\"><td class=\"text\">sheared</td>");
	assert_null(strstr(html, "src="));
	assert_null(strstr(html, "href=\"http"));
	if (plot_available()) {
		static const char *const figures[] = {"loss.svg", "final-0.svg", "final-1.svg", "masks-0.svg"};
		for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
			char *svg = read_text(w, figures[i]);
			assert_holds(svg, "</svg>");
			assert_holds(md, figures[i]);
			free(svg);
		}
		assert_holds(html, "<svg");
		assert_false(fsio_exists(test_join(&w->dir, "loss.svg.gnuplot").text));
	}
	free(md);
	free(html);
}

static void json_holds_everything(void **state)
{
	struct world *w = *state;
	struct err e;
	json_t *j;
	fill(w);
	write_report(w);
	assert_ok(json_read_file(test_join(&w->dir, "report.json").text, &j, &e), &e);
	json_t *students = json_object_get(j, "students"), *sheared = json_array_get(students, 1);
	assert_int_equal(json_array_size(students), 6);
	assert_string_equal(json_string_value(json_object_get(sheared, "name")), "sheared");
	json_t *cell = json_object_get(json_object_get(sheared, "eval"), "stories");
	double nll = json_number_value(json_object_get(cell, "nll"));
	assert_true(nll == w->results[1]->evals[0].scores.nll);
	assert_true(json_number_value(json_array_get(json_object_get(cell, "interval"), 0)) < nll);
	json_t *difference = json_object_get(cell, "difference");
	assert_string_equal(json_string_value(json_object_get(difference, "to")), "scratch");
	assert_true(json_number_value(json_array_get(json_object_get(difference, "interval"), 1)) < 0);
	assert_int_equal(json_array_size(json_object_get(j, "results")), 6);
	json_t *curves = json_object_get(j, "curves"), *masked = json_array_get(curves, 0), *trained = json_array_get(curves, 1);
	assert_int_equal(json_array_size(curves), 7);
	assert_string_equal(json_string_value(json_object_get(masked, "phase")), "masks");
	assert_int_equal(json_array_size(json_object_get(trained, "tokens")), 21);
	/* Training begins where mask learning ended. */
	assert_true(json_number_value(json_array_get(json_object_get(trained, "tokens"), 0)) == 1.5e6);
	assert_true(json_number_value(json_array_get(json_object_get(trained, "tokens"), 20)) == 5e6);
	assert_int_equal(json_array_size(json_object_get(j, "masks")), 3); /* of two students, cut by the same masks */
	json_decref(j);
}

static void hostile_names(void **state)
{
	struct world *w = *state;
	add(w, "<script>a|b'c\"&`id`", "masks", 2, true);
	add(w, "it's\nset output 'x'", "random", 2.1, false);
	write_report(w);
	char *md = read_text(w, "report.md"), *html = read_text(w, "report.html");
	assert_null(strstr(html, "<script"));
	assert_holds(html, "&lt;script&gt;a|b&#39;c&quot;&amp;`id`");
	assert_holds(md, "\\<script\\>a\\|b'c\"&\\`id\\`");
	assert_false(fsio_exists("x"));
	assert_false(fsio_exists("x'"));
	free(md);
	free(html);
}

static void without_gnuplot(void **state)
{
	struct world *w = *state;
	char *path = strdup(getenv("PATH"));
	fill(w);
	setenv("PATH", "/nonexistent", 1);
	write_report(w);
	setenv("PATH", path, 1);
	free(path);
	char *md = read_text(w, "report.md"), *html = read_text(w, "report.html");
	assert_holds(md, "No figures: gnuplot is not installed.");
	assert_holds(html, "No figures: gnuplot is not installed.");
	assert_null(strstr(md, ".svg"));
	assert_false(fsio_exists(test_join(&w->dir, "loss.svg").text));
	free(md);
	free(html);
}

static void a_full_disk(void **state)
{
	struct world *w = *state;
	struct err e;
	fill(w);
	struct comparison *c = compare(w);
	struct report_options o = report_default();
	o.dir = w->dir.text;
	o.plots = false;
	unsigned long n = 1;
	for (;; n++) {
		fsio_fail_nth_write(n);
		int rc = report_write(c, &o, &e);
		fsio_fail_nth_write(0);
		if (!rc)
			break;
		assert_false(fsio_exists(test_join(&w->dir, "report.html.tmp").text));
	}
	assert_true(n > 9);
	compare_free(c);
}

static void metrics_that_lack(void **state)
{
	struct world *w = *state;
	struct comparison *c;
	struct curves curves;
	struct err e;
	struct result *r = add(w, "a", "random", 2, false);
	c = compare(w);
	test_write(test_join(&w->dir, r->metrics).text, "step,loss\n1,2\n");
	assert_ok(curves_read(&curves, c, &e), &e);
	assert_int_equal(curves.n_loss, 0);
	curves_release(&curves);
	assert_ok(fsio_remove_tree(test_join(&w->dir, r->metrics).text, &e), &e);
	assert_fails(curves_read(&curves, c, &e), &e, "metrics-1.csv");
	compare_free(c);
}

/* Of two stages, the second with masks: each phase goes on where the one before stopped. */
static void curves_of_stages_follow_each_other(void **state)
{
	struct world *w = *state;
	struct curves curves;
	struct err e;
	struct result *r = add(w, "a", "importance, masks", 2, true);
	r->masks_after = 1000;
	r->n_earlier = 1;
	r->earlier[0] = (struct result_phase){.metrics = "stage-1-metrics.csv", .after = 100};
	test_write(test_join(&w->dir, r->earlier[0].metrics).text, "step,tokens,heldout_nll\n1,450,4.5\n2,900,4\n");
	struct comparison *c = compare(w);
	assert_ok(curves_read(&curves, c, &e), &e);
	assert_int_equal(curves.n_loss, 3);
	assert_true(!curves.loss[0].in_init && curves.loss[1].in_init && !curves.loss[2].in_init);
	assert_true(curves.loss[0].n == 2 && curves.loss[0].tokens[1] == 1000 && curves.loss[0].nll[1] == 4);
	assert_true(curves.loss[1].tokens[0] == 1000);
	assert_true(curves.loss[2].tokens[0] == r->train.init_tokens);
	curves_release(&curves);
	compare_free(c);
}

static void tables_align(void **state)
{
	struct table t;
	struct err e;
	char text[256] = "", count[32];
	(void)state;
	assert_ok(table_init(&t, 3, &e), &e);
	t.left[0] = t.left[2] = true;
	for (int i = 0; i < 3; i++) {
		static const char *const cells[3][3] = {{"näme", "n", "x"}, {"a", "1.5", ""}, {"≠", "100", "yz"}};
		assert_ok(table_row(&t, &e), &e);
		for (int c = 0; c < 3; c++)
			table_set(&t, c, "%s", cells[i][c]);
	}
	FILE *f = fmemopen(text, sizeof text, "w");
	table_print(&t, f);
	fclose(f);
	assert_string_equal(text, "näme    n  x\na     1.5  \n≠     100  yz\n");
	table_set(&t, 0, "%0400d", 1);
	assert_int_equal(strlen(t.cells[6]), TABLE_CELL - 1);
	table_release(&t);
	static const struct {
		double n;
		const char *text;
	} counts[] = {{3148224, "3.15 M"}, {999.4, "999.4"}, {999.6, "1.00 k"}, {9999, "10.0 k"}, {123456, "123 k"}, {0, "0"}, {NAN, "–"}, {9.1e13, "91.0 T"}};
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
		assert_string_equal(table_count(counts[i].n, count), counts[i].text);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(files_are_complete),
		WORLD_TEST(json_holds_everything),
		WORLD_TEST(hostile_names),
		WORLD_TEST(without_gnuplot),
		WORLD_TEST(a_full_disk),
		WORLD_TEST(metrics_that_lack),
		WORLD_TEST(curves_of_stages_follow_each_other),
		cmocka_unit_test(tables_align),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* results/compare.c, result_file.c, csv.c: files survive a round trip and are refused when they lie; students are paired,
 * sized and ranked as compare.h says. */
#include "tests/compare_world.h"

#include "base/json.h"
#include "results/csv.h"

static void pairs_ranks_and_sizes(void **state)
{
	struct world *w = *state;
	add_student(w, "teacher", 1, 3000000, -0.5);
	strcpy(w->results[0]->role, "teacher");
	w->results[0]->trained = false;
	add_student(w, "sheared", 1, 1000000, 0.10);
	add_student(w, "halved", 1, 1015000, 0.20);
	add_student(w, "big", 1, 1030000, -0.10);
	add_student(w, "scratch_kd", 1, 1000000, 0.30);
	add_student(w, "scratch", 1, 1000000, 0.40);
	struct comparison *c = compare(w, NULL);
	assert_string_equal(c->rows[c->reference].name, "scratch");
	assert_true(c->rows[0].teacher && c->rows[0].rank == 0);
	static const struct {
		const char *name;
		int rank;
		double worse;
	} want[] = {{"sheared", 1, 0.1}, {"halved", 2, 0.2}, {"big", 0, -0.1}, {"scratch_kd", 3, 0.3}, {"scratch", 4, 0.4}};
	for (int i = 0; i < 5; i++) {
		const struct compare_row *row = row_of(c, want[i].name);
		assert_int_equal(row->rank, want[i].rank);
		assert_int_equal(row->group, want[i].rank ? 0 : COMPARE_NO_GROUP);
		assert_int_equal(row->cells[0].paired, !row->reference);
		if (row->reference)
			continue;
		const struct interval *d = &row->cells[0].difference;
		assert_close(d->mean, want[i].worse - 0.4, 0.005, 0);
		assert_true(d->low < d->mean && d->mean < d->high && d->high - d->low < 0.01);
		assert_true(row->cells[0].nll.high - row->cells[0].nll.low > 0.1);
	}
	assert_true(noted(c, "big is of another size"));
	assert_false(c->domains[0].few || c->domains[0].in_bits);
	compare_free(c);
	c = compare(w, "halved");
	assert_string_equal(c->rows[c->reference].name, "halved");
	assert_true(row_of(c, "sheared")->cells[0].difference.high < 0);
	compare_free(c);
}

static void seeds_are_averaged(void **state)
{
	struct world *w = *state;
	add_student(w, "a", 1, 1000, 0.1);
	add_student(w, "a", 2, 1000, 0.3);
	add_student(w, "b", 1, 1000, 0.2);
	struct comparison *c = compare(w, NULL);
	const struct compare_row *a = row_of(c, "a");
	assert_int_equal(c->n_rows, 2);
	assert_int_equal(a->n_seeds, 2);
	assert_close(a->cells[0].nll.mean, (a->cells[0].seed_nll[0] + a->cells[0].seed_nll[1]) / 2, 1e-12, 0);
	assert_true(a->cells[0].seed_nll[1] - a->cells[0].seed_nll[0] > 0.15);
	struct table t;
	struct err e;
	assert_ok(compare_table_seeds(c, &t, &e), &e);
	assert_int_equal(t.n_rows, 2);
	table_release(&t);
	compare_free(c);
	struct compare_options o = compare_default();
	w->results[1]->evals[0].scores.data_hash++;
	assert_fails(compare_results(&c, w->results, w->n, &o, &e), &e, "different tokens");
	w->results[1]->evals[0].scores.data_hash--;
	w->results[1]->seed = 1;
	assert_fails(compare_results(&c, w->results, w->n, &o, &e), &e, "seed 1");
	o.references = (const char *const[]){"nobody"};
	o.n_references = 1;
	assert_fails(compare_results(&c, w->results, 1, &o, &e), &e, "nobody");
}

static void other_tokenizers_compare_in_bits(void **state)
{
	struct world *w = *state;
	struct result *a = add_student(w, "a", 1, 1000, 0.1);
	add_student(w, "b", 1, 1000, 0.2);
	struct evaluation *v = &a->evals[0].scores;
	struct err e;
	v->data_hash = 78; /* the same text in fewer tokens */
	for (size_t i = 0; i < v->n_documents; i++)
		v->documents[i].tokens /= 2;
	assert_ok(evaluation_finish(v, &e), &e);
	struct comparison *c = compare(w, NULL);
	const struct compare_row *row = row_of(c, "a");
	assert_true(c->domains[0].in_bits && row->cells[0].paired);
	double gap = row->cells[0].bits_per_byte - row_of(c, "b")->cells[0].bits_per_byte;
	assert_close(row->cells[0].difference.mean, gap, 1e-12, 0);
	assert_true(row->rank == 1 && row->cells[0].nll.mean > row_of(c, "b")->cells[0].nll.mean);
	compare_free(c);
	v->documents[3].bytes++; /* other text */
	c = compare(w, NULL);
	assert_true(!row_of(c, "a")->cells[0].paired && row_of(c, "a")->rank == 0 && noted(c, "other documents"));
	compare_free(c);
}

static void few_documents_and_budgets_are_said(void **state)
{
	struct world *w = *state;
	for (int i = 0; i < 2; i++) {
		struct result *r = add_student(w, i ? "b" : "a", 1, 1000, 0.1);
		score_documents(&r->evals[1], "books", 21, 0, 3 + (uint64_t)i, 5);
		r->n_evals = 2;
	}
	w->results[0]->train.tokens *= 2;
	w->results[0]->n_warnings = 1;
	strcpy(w->results[0]->warnings[0], "expected size 3 % off");
	struct comparison *c = compare(w, NULL);
	assert_true(c->domains[1].few && !c->domains[0].few);
	assert_true(noted(c, "books: only 21 documents"));
	assert_true(noted(c, "a was trained on 2.00 times the tokens"));
	assert_true(noted(c, "a: expected size 3 % off"));
	compare_free(c);
}

/* ---- files ---- */

static void result_round_trip(void **state)
{
	struct world *w = *state;
	struct result *r = add_student(w, "sheared", UINT64_MAX, 1000, 0.1), *back;
	struct err e;
	r->n_warnings = 1;
	strcpy(r->warnings[0], "300 \"steps\" – few");
	strcpy(r->init_id, "00ff");
	r->distill = (struct result_distill){.present = true, .text = "forward_kl w 0.9 tau 1", .teacher_ce = 1.5, .ce = 2.25,
					     .agree = 0.5, .cached = true, .cache = "top_k 32, tail", .cache_bytes_per_token = 77.5,
					     .cache_mass = 0.97, .cache_tokens = 1e6};
	r->masks_after = 6144;
	r->n_earlier = 2;
	r->earlier[1] = (struct result_phase){.metrics = "stage-1-masks.csv", .after = 1024, .masks = true};
	assert_ok(result_write(r, w->dir.text, &e), &e);
	assert_ok(result_read(&back, w->dir.text, &e), &e);
	json_t *ja = result_to_json(r), *jb = result_to_json(back);
	char *a = json_dumps(ja, 0), *b = json_dumps(jb, 0);
	assert_string_equal(a, b);
	assert_true(isnan(back->train.candidates[1].nll) && back->seed == UINT64_MAX);
	assert_true(back->evals[0].scores.nll == r->evals[0].scores.nll);
	assert_string_equal(back->init_id, "00ff");
	assert_true(back->n_earlier == 2 && back->masks_after == 6144);
	assert_true(back->earlier[1].after == 1024 && back->earlier[1].masks && !back->earlier[0].masks);
	assert_string_equal(back->earlier[1].metrics, "stage-1-masks.csv");
	assert_true(back->distill.present && back->distill.cached && back->distill.cache_bytes_per_token == 77.5);
	free(a);
	free(b);
	json_decref(ja);
	json_decref(jb);
	result_free(back);
}

/* Written before results knew of inits and distillation. */
static void old_results_are_read(void **state)
{
	struct world *w = *state;
	static const char *const dirs[] = {"teacher", "students/sheared/seed-17", "students/sheared_ce/seed-17", "students/scratch/seed-17"};
	struct err e;
	for (int i = 0; i < 4; i++, w->n++) {
		char path[128];
		snprintf(path, sizeof path, "results/runs/stories3m/%s/result", dirs[i]);
		assert_ok(result_read(&w->results[i], test_source(path).text, &e), &e);
		assert_false(w->results[i]->distill.present || *w->results[i]->init_id);
	}
	struct comparison *c = compare(w, NULL);
	assert_string_equal(c->rows[c->reference].name, "scratch");
	assert_int_equal(c->n_controls, 0);
	assert_close(row_of(c, "sheared")->cells[0].nll.mean, 2.1740536841281917, 1e-12, 0);
	assert_close(row_of(c, "sheared")->cells[0].difference.mean, -0.8340, 5e-5, 0);
	compare_free(c);
}

static void rewrite(const struct world *w, const char *file, const char *from, const char *to)
{
	struct err e;
	char *text, *at;
	struct test_path path = test_join(&w->dir, file);
	assert_ok(fsio_read_file(path.text, 1 << 20, &text, NULL, &e), &e);
	at = strstr(text, from);
	assert_non_null(at);
	char *out = malloc(strlen(text) + strlen(to) + 1);
	sprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	test_write(path.text, out);
	free(out);
	free(text);
}

static void lying_files_are_refused(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *file, *from, *to, *part;
	} cases[] = {
		{"result.json", "\"name\": \"sheared\"", "\"name\": 3", "'name'"},
		{"result.json", "\"parameters\": 1000", "\"parameters\": -1", "'parameters'"},
		{"result.json", "\"eval\": [", "\"evil\": [", "'eval'"},
		{"result.json", "eval-stories.csv", "../eval.csv", "'documents_file'"},
		{"result.json", "eval-stories.csv", "eval-story.csv", "eval-story.csv"},
		{"result.json", "{", "[", "result.json:"},
		{"result.json", "\"earlier\": []", "\"earlier\": [{\"after\": 1}]", "'metrics'"},
		{"result.json", "\"distill\": null", "\"distill\": {\"text\": 1}", "'text'"},
		{"result.json", "\"distill\": null", "\"distill\": {\"cache\": \"top_k\"}", "'cache'"},
		{"eval-stories.csv", "document,tokens,", "document,token,", "column 'tokens'"},
		{"eval-stories.csv", "\n1,", "\n1,2,", "eval-stories.csv:3"},
		{"eval-stories.csv", "\n1,", "\n1,-", "eval-stories.csv:3"},
		{"eval-stories.csv", "\n1,", "\n1,1", "adds up to"},
	};
	struct result *r = add_student(w, "sheared", 1, 1000, 0.1), *back;
	struct err e;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_ok(result_write(r, w->dir.text, &e), &e);
		rewrite(w, cases[i].file, cases[i].from, cases[i].to);
		assert_fails(result_read(&back, w->dir.text, &e), &e, cases[i].part);
		assert_null(back);
	}
	assert_ok(result_write(r, w->dir.text, &e), &e);
	assert_ok(fsio_truncate_to(test_join(&w->dir, "eval-stories.csv").text, 1000, &e), &e);
	assert_fails(result_read(&back, w->dir.text, &e), &e, "not of one run");
}

/* A full disk at every write: an error, no half file, and the result that was there stays readable. */
static void a_failed_write_leaves_the_old_result(void **state)
{
	struct world *w = *state;
	struct result *r = add_student(w, "sheared", 1, 1000, 0.1), *back;
	struct err e;
	assert_ok(result_write(r, w->dir.text, &e), &e);
	unsigned long n = 1;
	for (;; n++) {
		fsio_fail_nth_write(n);
		int rc = result_write(r, w->dir.text, &e);
		fsio_fail_nth_write(0);
		if (!rc)
			break;
		assert_false(fsio_exists(test_join(&w->dir, "result.json.tmp").text));
		assert_false(fsio_exists(test_join(&w->dir, "eval-stories.csv.tmp").text));
		assert_ok(result_read(&back, w->dir.text, &e), &e);
		result_free(back);
	}
	assert_true(n > 6);
}

static void metrics_by_name(void **state)
{
	struct world *w = *state;
	struct csv c;
	struct err e;
	struct test_path path = test_join(&w->dir, "m.csv");
	test_write(path.text, "step,phase,loss\r\n0,train,2.5\r\n1,train,\r\n2,tra");
	assert_ok(csv_read(&c, path.text, &e), &e);
	assert_int_equal(c.n_rows, 2);
	assert_int_equal(csv_column(&c, "loss"), 2);
	assert_int_equal(csv_column(&c, "lo"), -1);
	assert_true(csv_at(&c, 0, 2) == 2.5 && isnan(csv_at(&c, 1, 2)) && isnan(csv_at(&c, 0, 1)));
	csv_release(&c);
	test_write(path.text, "");
	assert_fails(csv_read(&c, path.text, &e), &e, "column names");
	test_write(path.text, "a,b\n1\n");
	assert_fails(csv_read(&c, path.text, &e), &e, "m.csv:2: expected 2 fields");
	path = test_join(&w->dir, "m.jsonl");
	test_write(path.text, "{\"step\": 1, \"loss\": 2.5}\n{\"step\": 2, \"heldout_nll\": 1.5, \"phase\": \"x\"}\n{\"st");
	assert_ok(csv_read(&c, path.text, &e), &e);
	assert_true(c.n_rows == 2 && c.n_columns == 4);
	int heldout = csv_column(&c, "heldout_nll"), loss = csv_column(&c, "loss");
	assert_true(csv_at(&c, 0, loss) == 2.5 && isnan(csv_at(&c, 1, loss)) && csv_at(&c, 1, heldout) == 1.5);
	assert_true(isnan(csv_at(&c, 1, csv_column(&c, "phase"))));
	csv_release(&c);
	test_write(path.text, "{}\n[1]\n");
	assert_fails(csv_read(&c, path.text, &e), &e, "m.jsonl:2: expected an object");
	test_write(path.text, "{}\n{\n");
	assert_fails(csv_read(&c, path.text, &e), &e, "m.jsonl:2: not valid JSON");
}

static void prints_a_table(void **state)
{
	struct world *w = *state;
	add_student(w, "sheared", 1, 1000000, 0.1);
	add_student(w, "big", 1, 2000000, 0.0);
	add_student(w, "scratch", 1, 1000000, 0.2);
	struct comparison *c = compare(w, NULL);
	char *text;
	size_t n;
	struct err e;
	FILE *f = open_memstream(&text, &n);
	assert_ok(compare_print(c, f, &e), &e);
	fclose(f);
	assert_non_null(strstr(text, "sheared       1  "));
	assert_non_null(strstr(text, "big      ≠ size  "));
	assert_non_null(strstr(text, "reference"));
	free(text);
	compare_free(c);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(pairs_ranks_and_sizes),
		WORLD_TEST(seeds_are_averaged),
		WORLD_TEST(other_tokenizers_compare_in_bits),
		WORLD_TEST(few_documents_and_budgets_are_said),
		WORLD_TEST(result_round_trip),
		WORLD_TEST(old_results_are_read),
		WORLD_TEST(lying_files_are_refused),
		WORLD_TEST(a_failed_write_leaves_the_old_result),
		WORLD_TEST(metrics_by_name),
		WORLD_TEST(prints_a_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

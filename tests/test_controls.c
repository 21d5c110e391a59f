/* results/controls.c, distill_table.c, report_text.c: a distilled student is held against the student that differs in nothing
 * but the teacher, over the seeds that both have; who has none is named. */
#include "tests/compare_world.h"

#include "results/report.h"

static struct result *add_init(struct world *w, const char *name, uint64_t seed, double worse, const char *init_id)
{
	struct result *r = add_student(w, name, seed, 1000, worse);
	snprintf(r->init_id, sizeof r->init_id, "%s", init_id);
	return r;
}

static struct result *add_distilled(struct world *w, const char *name, uint64_t seed, double worse, const char *init_id,
				    const char *text)
{
	struct result *r = add_init(w, name, seed, worse, init_id);
	r->distill = (struct result_distill){.present = true, .teacher_ce = 1.5, .ce = 2 + 0.25 * (double)seed, .agree = 0.5};
	snprintf(r->distill.text, sizeof r->distill.text, "%s", text);
	return r;
}

static void add_cached(struct world *w, const char *name, double worse, const char *cache, double bytes)
{
	struct result *r = add_distilled(w, name, 1, worse, "aa", "forward_kl w 0.9");
	r->distill.cached = true;
	snprintf(r->distill.cache, sizeof r->distill.cache, "%s", cache);
	r->distill.cache_bytes_per_token = bytes;
	r->distill.cache_mass = 0.9;
}

static const struct compare_pair *pair_of(const struct comparison *c, const struct compare_pair *list, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(c->rows[list[i].row].name, name))
			return &list[i];
	fail_msg("no pair of %s", name);
	return NULL;
}

static const struct compare_pair *control_of(const struct comparison *c, const char *name)
{
	return pair_of(c, c->controls, c->n_controls, name);
}

static void assert_control(const struct comparison *c, const char *name, const char *control)
{
	const struct compare_pair *p = control_of(c, name);
	if (control)
		assert_string_equal(c->rows[p->other].name, control);
	else
		assert_int_equal(p->other, -1);
}

static void a_control_differs_in_the_teacher_alone(void **state)
{
	struct world *w = *state;
	add_distilled(w, "kd", 1, 0.1, "aa", "forward_kl w 0.9");
	add_init(w, "other_init", 1, 0.2, "bb");
	add_init(w, "unknown_init", 1, 0.2, "");
	add_init(w, "ce_worse", 1, 0.4, "aa");
	add_init(w, "ce", 1, 0.3, "aa");
	add_init(w, "longer", 1, 0.05, "aa")->train.tokens *= 1.01;
	add_init(w, "larger", 1, 0.05, "aa")->parameters = 1030;
	add_init(w, "other_seed", 2, 0.05, "aa");
	add_distilled(w, "kd_unknown", 1, 0.1, "", "forward_kl w 0.9");
	add_distilled(w, "kd_other", 1, 0.1, "cc", "forward_kl w 0.9");
	struct comparison *c = compare(w, NULL);
	assert_int_equal(c->n_controls, 3);
	assert_control(c, "kd", "ce"); /* the better of two, so that the teacher gets no credit for a poor control */
	assert_control(c, "kd_unknown", NULL);
	assert_control(c, "kd_other", NULL);
	const struct compare_pair_cell *cell = &control_of(c, "kd")->cells[0];
	double gap = w->results[0]->evals[0].scores.nll - w->results[4]->evals[0].scores.nll;
	assert_true(cell->paired && isnan(cell->deviation));
	assert_close(cell->difference.mean, gap, 1e-12, 0);
	assert_true(cell->difference.low < gap && gap < cell->difference.high && cell->difference.high < -0.19);
	assert_true(noted(c, "no control for kd_unknown, kd_other: add a student of the same init and tokens with `distill: null`"));
	compare_free(c);
}

static void only_the_seeds_that_both_have(void **state)
{
	struct world *w = *state;
	static const double kd[] = {0.10, 0.12, 0.90}, ce[] = {0.30, 0.42};
	for (uint64_t s = 0; s < 3; s++)
		add_distilled(w, "kd", s, kd[s], "aa", "jsd");
	for (uint64_t s = 0; s < 2; s++)
		add_init(w, "ce", s, ce[s], "aa");
	struct comparison *c = compare(w, NULL);
	const struct compare_pair *p = control_of(c, "kd");
	assert_int_equal(p->cells[0].n_seeds, 2);
	double nll[5];
	for (int i = 0; i < 5; i++)
		nll[i] = w->results[i]->evals[0].scores.nll;
	double first = nll[0] - nll[3], second = nll[1] - nll[4];
	assert_close(p->cells[0].difference.mean, (first + second) / 2, 1e-12, 0);
	assert_close(p->cells[0].deviation, fabs(first - second) / sqrt(2), 1e-12, 0);
	assert_true(p->cells[0].deviation > 0.05);
	const struct compare_row *row = row_of(c, "kd");
	double mean = (nll[0] + nll[1] + nll[2]) / 3, squares = 0;
	for (int i = 0; i < 3; i++)
		squares += (nll[i] - mean) * (nll[i] - mean);
	assert_close(row->cells[0].deviation, sqrt(squares / 2), 1e-12, 0);
	compare_free(c);
}

static void the_verdict(void **state)
{
	struct world *w = *state;
	char line[1024];
	add_init(w, "ce", 1, 0.3, "aa");
	struct comparison *c = compare(w, NULL);
	assert_false(report_verdict_control(c, line, sizeof line));
	compare_free(c);
	static const struct {
		const char *name;
		double worse;
		const char *part;
	} cases[] = {{"kd", 0.1, "Distillation beat text alone at equal tokens: kd − ce -0.1996 nat"},
		     {"kd_bad", 0.5, "in 1 of 2 students, did worse in 1, and in 0 that is open (the interval holds zero, or seeds disagree). The most: kd − ce -0.1996 nat"},
		     {"kd_same", 0.3, "in 1 of 3 students, did worse in 1, and in 1 that is open"}};
	for (int i = 0; i < 3; i++) {
		add_distilled(w, cases[i].name, 1, cases[i].worse, "aa", "forward_kl w 0.9");
		if (i == 2) /* the same but for two documents, which lean to either side */
			for (size_t k = 0; k < 100; k++)
				w->results[3]->evals[0].scores.documents[k].nll =
					w->results[0]->evals[0].scores.documents[k].nll + (k == 3) - (k == 4);
		c = compare(w, NULL);
		assert_true(report_verdict_control(c, line, sizeof line));
		if (!strstr(line, cases[i].part))
			fail_msg("expected \"%s\" in: %s", cases[i].part, line);
		compare_free(c);
	}
}

static void caches_against_online(void **state)
{
	struct world *w = *state;
	add_distilled(w, "online", 1, 0.1, "aa", "forward_kl w 0.9");
	add_distilled(w, "online_jsd", 1, 0.05, "aa", "jsd w 0.9");
	add_cached(w, "k8", 0.15, "top_k 8, tail", 22);
	add_cached(w, "k32", 0.12, "top_k 32, tail", 75);
	add_cached(w, "sampled", 0.11, "samples 50", 90);
	add_init(w, "ce", 1, 0.3, "aa");
	struct comparison *c = compare(w, NULL);
	assert_int_equal(c->n_controls, 5);
	assert_int_equal(c->n_caches, 3);
	const struct compare_pair *p = pair_of(c, c->caches, c->n_caches, "k8");
	assert_string_equal(c->rows[p->other].name, "online");
	assert_close(p->cells[0].difference.mean, 0.05, 0.005, 0);
	assert_control(c, "k8", "ce");
	struct table t;
	struct err e;
	assert_ok(compare_table_caches(c, &t, &e), &e);
	assert_int_equal(t.n_rows, 4);
	assert_string_equal(t.cells[1 * t.n_columns + 1], "top_k 8, tail");
	assert_string_equal(t.cells[1 * t.n_columns + 3], "90.00 %");
	assert_string_equal(t.cells[1 * t.n_columns + 5], "online");
	table_release(&t);
	assert_ok(compare_table_controls(c, &t, &e), &e);
	assert_int_equal(t.n_rows, 6);
	assert_string_equal(t.cells[1 * t.n_columns + 1], "forward_kl w 0.9");
	assert_string_equal(t.cells[1 * t.n_columns + 2], "ce");
	assert_string_equal(t.cells[1 * t.n_columns + 6], "1 of 1");
	assert_string_equal(t.cells[1 * t.n_columns + 7], "1.5000");
	assert_string_equal(t.cells[1 * t.n_columns + 8], "2.2500");
	table_release(&t);
	compare_free(c);
}

/* The documents are sure, the seeds are not: the mean is below zero, one seed is above. */
static void seeds_that_disagree(void **state)
{
	struct world *w = *state;
	char line[1024];
	for (uint64_t s = 0; s < 2; s++) {
		add_distilled(w, "kd", s, s ? 0.31 : 0.1, "aa", "jsd");
		add_init(w, "ce", s, s ? 0.25 : 0.3, "aa");
	}
	struct comparison *c = compare(w, NULL);
	const struct compare_pair *p = control_of(c, "kd");
	assert_true(p->cells[0].difference.high < 0 && p->cells[0].n_better == 1);
	assert_true(report_verdict_control(c, line, sizeof line));
	assert_non_null(strstr(line, "did not surely beat text alone"));
	assert_non_null(strstr(line, "better in 1 of 2 seeds"));
	compare_free(c);
}

/* The control is made of other tokens, or is missing a domain: no difference, and no crash. */
static void what_cannot_be_paired(void **state)
{
	struct world *w = *state;
	struct result *kd = add_distilled(w, "kd", 1, 0.1, "aa", "forward_kl w 0.9"), *ce = add_init(w, "ce", 1, 0.3, "aa");
	score_documents(&kd->evals[1], "books", 40, 0, 3, 5);
	kd->n_evals = 2;
	struct comparison *c = compare(w, "kd");
	const struct compare_pair *p = control_of(c, "kd");
	assert_true(p->cells[0].paired && !p->cells[1].paired);
	struct table t;
	struct err e;
	assert_ok(compare_table_controls(c, &t, &e), &e);
	assert_int_equal(t.n_rows, 3);
	table_release(&t);
	compare_free(c);
	ce->evals[0].scores.documents[3].bytes++;
	ce->evals[0].scores.data_hash++;
	c = compare(w, NULL);
	assert_false(control_of(c, "kd")->cells[0].paired);
	compare_free(c);
	ce->train.tokens *= 2; /* no control any more, and nothing to say of it */
	c = compare(w, NULL);
	assert_ok(compare_table_controls(c, &t, &e), &e);
	assert_int_equal(t.n_rows, 1);
	table_release(&t);
	char line[64];
	assert_false(report_verdict_control(c, line, sizeof line));
	compare_free(c);
}

static void the_plainest_is_the_reference(void **state)
{
	struct world *w = *state;
	struct comparison *c;
	static const char *const want[] = {"kd_a", "ce", "ce", "scratch_kd", "scratch", "scratch"};
	for (int i = 0; i < 6; i++) {
		switch (i) {
		case 0: add_distilled(w, "kd_a", 1, 0.1, "aa", "x"); break;
		case 1: add_init(w, "ce", 1, 0.3, "aa"); break;
		case 2: add_distilled(w, "kd_b", 1, 0.1, "aa", "y"); break;
		case 3: add_distilled(w, "scratch_kd", 1, 0.6, "bb", "x"); break;
		case 4: add_init(w, "scratch", 1, 0.7, "bb"); break;
		case 5: add_distilled(w, "scratch_kd_2", 1, 0.7, "bb", "x"); break;
		}
		c = compare(w, NULL);
		assert_string_equal(c->rows[c->reference].name, want[i]);
		compare_free(c);
	}
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_control_differs_in_the_teacher_alone),
		WORLD_TEST(only_the_seeds_that_both_have),
		WORLD_TEST(the_verdict),
		WORLD_TEST(caches_against_online),
		WORLD_TEST(seeds_that_disagree),
		WORLD_TEST(what_cannot_be_paired),
		WORLD_TEST(the_plainest_is_the_reference),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* recipes/distill.c: the plan of a distill section, its values over the steps, the layers of inner losses, its words. */
#include "tests/testing.h"

#include "recipes/distill.h"

struct world {
	struct yaml_tree tree;
	struct pool pool;
	struct distill_spec *spec;
	struct distill_plan plan;
};

static void world_open(struct world *w, const char *text)
{
	struct err e;
	*w = (struct world){0};
	assert_ok(yaml_parse_text(&w->tree, "d.yaml", text, strlen(text), &e), &e);
	assert_ok(section_parse((void **)&w->spec, &distill_section, w->tree.root, &w->pool, &e), &e);
	assert_ok(distill_finish(w->spec, &w->pool, &e), &e);
	distill_plan_from(w->spec, &w->plan);
}

static void world_close(struct world *w)
{
	yaml_release(&w->tree);
	pool_release(&w->pool);
}

/* ---- the plan ---- */

static void one_loss_shares_its_weight_with_ce(void **state)
{
	(void)state;
	struct world w;
	world_open(&w, "{loss: reverse_kl, weight: 0.75, weight_end: 0.25, temperature: 2, temperature_end: 1, skip_separators: false, balance: magnitude}");
	const struct distill_plan *p = &w.plan;
	assert_int_equal(p->n_terms, 1);
	assert_int_equal(p->n_inner, 0);
	assert_int_equal(p->terms[0].kind, DIVERGENCE_REVERSE_KL);
	assert_true(p->ce == 0.25 && p->ce_end == 0.75);
	assert_true(p->terms[0].weight == 0.75 && p->terms[0].weight_end == 0.25);
	assert_true(p->terms[0].tau == 2 && p->terms[0].tau_end == 1);
	assert_true(p->balance && !p->skip_separators);
	assert_null(p->cache);
	world_close(&w);
	world_open(&w, "{loss: hidden_mse, weight: 0.75, cache: {hidden: true}}");
	assert_int_equal(w.plan.n_terms, 0);
	assert_int_equal(w.plan.n_inner, 1);
	assert_true(w.plan.ce == 0.25 && w.plan.ce_end == 0.25);
	assert_true(w.plan.inner[0].weight == 0.75 && w.plan.inner[0].weight_end == 0.75);
	assert_true(w.plan.skip_separators && !w.plan.balance);
	assert_ptr_equal(w.plan.cache, w.spec->cache);
	world_close(&w);
}

static void a_list_has_plain_weights(void **state)
{
	(void)state;
	struct world w;
	world_open(&w, "[{loss: jsd, weight: 3}, hidden_cosine, {ce: 0.5, ce_end: 0.1, schedule: cosine}, relations, {loss: logit_mse, temperature: 2}]");
	const struct distill_plan *p = &w.plan;
	assert_int_equal(p->n_terms, 2);
	assert_int_equal(p->n_inner, 2);
	assert_true(p->terms[0].weight == 3 && p->terms[1].weight == 1 && p->terms[1].tau == 2);
	assert_int_equal(p->terms[1].kind, DIVERGENCE_LOGIT_MSE);
	assert_true(p->ce == 0.5 && p->ce_end == 0.1);
	assert_int_equal(p->ce_schedule, DISTILL_COSINE);
	assert_int_equal(p->inner[0].kind, INNER_HIDDEN_COSINE);
	assert_int_equal(p->inner[1].kind, INNER_RELATIONS);
	world_close(&w);
	world_open(&w, "[jsd]");
	assert_true(w.plan.ce == 0 && w.plan.ce_end == 0);
	world_close(&w);
	world_open(&w, "{preset: distilbert}");
	assert_true(w.plan.ce == 2 && w.plan.n_terms == 1 && w.plan.terms[0].weight == 5 && w.plan.terms[0].tau == 2);
	assert_true(w.plan.n_inner == 1 && w.plan.inner[0].weight == 1);
	world_close(&w);
}

static void every_loss_finds_its_parameters(void **state)
{
	(void)state;
	static const char keys[] = "alpha: 0.25, beta: 0.5, skew: 0.75, mu: 0.125, reverse: 0.375";
	static const double a[DIVERGENCES] = {[DIVERGENCE_SYMMETRIC_KL] = 0.375, [DIVERGENCE_JSD] = 0.5, [DIVERGENCE_JSD_NORMALIZED] = 0.5,
		[DIVERGENCE_SKEW_FORWARD_KL] = 0.75, [DIVERGENCE_SKEW_REVERSE_KL] = 0.75, [DIVERGENCE_ADAPTIVE_KL] = 0.125, [DIVERGENCE_ALPHA_BETA] = 0.25};
	for (int i = 0; i < DIVERGENCES; i++) {
		struct world w;
		char text[200];
		snprintf(text, sizeof text, "{loss: %s, %s}", loss_names[i], keys);
		world_open(&w, text);
		assert_int_equal(w.plan.terms[0].kind, i);
		assert_true(w.plan.terms[0].a == a[i]);
		assert_true(w.plan.terms[0].b == (i == DIVERGENCE_ALPHA_BETA ? 0.5 : 0));
		world_close(&w);
	}
	static const enum inner_kind kinds[] = {INNER_HIDDEN_COSINE, INNER_HIDDEN_MSE, INNER_RELATIONS};
	for (int i = DIVERGENCES; i < LOSSES; i++) {
		struct world w;
		world_open(&w, loss_names[i]);
		assert_int_equal(w.plan.inner[0].kind, kinds[i - DIVERGENCES]);
		world_close(&w);
	}
}

/* ---- over the steps ---- */

static void constant_values_are_constant_to_the_bit(void **state)
{
	(void)state;
	static const char *const texts[] = {"{weight: 0.9, temperature: 1.7}", "{weight: 0.9, temperature: 1.7, weight_end: 0.1, temperature_end: 3, schedule: constant}",
					    "{weight: 0.9, temperature: 1.7, weight_end: 0.9, temperature_end: 1.7, schedule: cosine}"};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct world w;
		world_open(&w, texts[i]);
		for (int step = 0; step < 7; step++) {
			struct step_loss loss = {.step_tokens = 99, .n_terms = 5};
			distill_at(&w.plan, step, 7, &loss);
			assert_int_equal(loss.n_terms, 1);
			assert_true(loss.ce_weight == (float)(1 - 0.9));
			assert_true(loss.terms[0].weight == 0.9f && loss.terms[0].tau == 1.7f);
			assert_true(loss.kd_skip_separators);
			assert_int_equal(loss.step_tokens, 99);
		}
		world_close(&w);
	}
}

static void values_go_from_start_to_end(void **state)
{
	(void)state;
	struct world w;
	struct step_loss loss;
	world_open(&w, "[{weight: 1, weight_end: 3, temperature: 4, temperature_end: 2}, {ce: 0, ce_end: 8, schedule: cosine},"
		       " {loss: jsd, weight: 8, weight_end: 0, schedule: cosine}, {loss: jsd, weight: 5, weight_end: 0, schedule: constant}]");
	static const struct {
		int step;
		double linear, ce, cosine, tau;
	} want[] = {
		{0, 1, 0, 8, 4},
		{1, 1.5, 8 * (1 - 0.70710678118654752) / 2, 8 - 8 * (1 - 0.70710678118654752) / 2, 3.5},
		{2, 2, 4, 4, 3},
		{4, 3, 8, 0, 2},
	};
	for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
		distill_at(&w.plan, want[i].step, 5, &loss);
		assert_int_equal(loss.n_terms, 3);
		assert_true(fabs(loss.terms[0].weight - want[i].linear) < 1e-6);
		assert_true(fabs(loss.terms[0].tau - want[i].tau) < 1e-6);
		assert_true(fabs(loss.ce_weight - want[i].ce) < 1e-6);
		assert_true(fabs(loss.terms[1].weight - want[i].cosine) < 1e-6);
		assert_true(loss.terms[2].weight == 5);
	}
	distill_at(&w.plan, 0, 1, &loss); /* a single step is the first */
	assert_true(loss.terms[0].weight == 1 && loss.terms[0].tau == 4 && loss.ce_weight == 0);
	world_close(&w);
}

static void an_inner_weight_is_shared_by_its_layers(void **state)
{
	(void)state;
	struct world w;
	struct err e;
	struct step_loss loss;
	world_open(&w, "[{loss: relations, weight: 6}, {loss: hidden_mse, weight: 3, weight_end: 6}]");
	assert_ok(distill_map_layers(&w.plan, 3, 6, NULL, &e), &e);
	assert_int_equal(w.plan.inner[0].n_pairs, 1);
	assert_int_equal(w.plan.inner[1].n_pairs, 3);
	distill_at(&w.plan, 0, 2, &loss);
	assert_int_equal(loss.n_terms, 0);
	assert_true(loss.ce_weight == 0);
	assert_true(loss.inner_weight[0] == 6);
	for (int i = 1; i < 4; i++)
		assert_true(loss.inner_weight[i] == 1);
	distill_at(&w.plan, 1, 2, &loss);
	assert_true(loss.inner_weight[0] == 6 && loss.inner_weight[3] == 2);
	world_close(&w);
}

/* ---- layers ---- */

static void check_pairs(const char *text, int student_L, int teacher_L, const int *kept, const char *want)
{
	struct world w;
	struct err e;
	char got[256] = "";
	world_open(&w, text);
	assert_ok(distill_map_layers(&w.plan, student_L, teacher_L, kept, &e), &e);
	for (int i = 0; i < w.plan.inner[0].n_pairs; i++)
		snprintf(got + strlen(got), sizeof got - strlen(got), "%s%d-%d", i ? " " : "", w.plan.inner[0].pairs[i].student, w.plan.inner[0].pairs[i].teacher);
	assert_string_equal(got, want);
	world_close(&w);
}

static void layers_follow_the_cut_or_are_spread(void **state)
{
	(void)state;
	static const int kept[] = {0, 2, 3, 7};
	check_pairs("hidden_mse", 4, 8, kept, "0-0 1-2 2-3 3-7");
	check_pairs("relations", 4, 8, kept, "3-7");
	check_pairs("hidden_mse", 4, 8, NULL, "0-1 1-3 2-5 3-7");
	check_pairs("hidden_cosine", 3, 3, NULL, "0-0 1-1 2-2");
	check_pairs("hidden_cosine", 4, 6, NULL, "0-1 1-2 2-4 3-5");
	check_pairs("hidden_cosine", 5, 2, NULL, "0-0 1-0 2-0 3-1 4-1");
	check_pairs("hidden_cosine", 1, 6, NULL, "0-5");
	check_pairs("relations", 3, 6, NULL, "2-5");
	check_pairs("{loss: hidden_mse, student_layers: [-1, 0]}", 4, 8, kept, "3-7 0-0");
	check_pairs("{loss: hidden_mse, student_layers: [1, -1], teacher_layers: [-2, 0]}", 4, 8, kept, "1-6 3-0");
	check_pairs("{loss: relations, student_layers: [0, 2]}", 3, 6, NULL, "0-1 2-5");
	check_pairs("{preset: distilbert}", 3, 6, NULL, "2-5");
}

static void check_refused(const char *text, int student_L, int teacher_L, const char *place, const char *words)
{
	struct world w;
	struct err e = {0};
	world_open(&w, text);
	assert_fails(distill_map_layers(&w.plan, student_L, teacher_L, NULL, &e), &e, words);
	assert_int_equal(e.status, ERR_USER);
	if (strncmp(e.line, place, strlen(place)))
		fail_msg("error is: %s\nexpected at %s", e.line, place);
	world_close(&w);
}

static void layers_that_are_not_there_are_refused(void **state)
{
	(void)state;
	check_refused("{loss: hidden_mse, student_layers: [0, 4]}", 4, 8, "d.yaml:1:36: ", "student_layers: there is no layer 4 in the 4 of the student");
	check_refused("{loss: hidden_mse, student_layers: -5}", 4, 8, "d.yaml:1:36: ", "student_layers: there is no layer -5 in the 4 of the student");
	check_refused("{loss: hidden_mse, student_layers: 0, teacher_layers: 8}", 4, 8, "d.yaml:1:55: ", "teacher_layers: there is no layer 8 in the 8 of the teacher");
	check_refused("{preset: distilbert, balance: none}", 0, 8, "d.yaml:1:10: ", "there is no layer -1 in the 0 of the student");
	check_refused("[relations, hidden_mse]", 32, 40, "d.yaml:1:13: ", "hidden_mse: 32 layers make more than 32 inner losses in all");
	check_refused("[hidden_cosine]", 33, 40, "d.yaml:1:2: ", "hidden_cosine: 33 layers make more than 32 inner losses in all; name fewer in student_layers");
	struct world w;
	struct err e;
	world_open(&w, "[relations, hidden_mse]");
	assert_ok(distill_map_layers(&w.plan, 31, 40, NULL, &e), &e);
	world_close(&w);
}

/* ---- words ---- */

static void the_plan_says_itself(void **state)
{
	(void)state;
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"{}", "forward_kl w 0.9 tau 1; ce 0.1"},
		{"{loss: reverse_kl, weight: 1}", "reverse_kl w 1 tau 1"},
		{"{loss: jsd, weight: 1, weight_end: 0.5, schedule: cosine, temperature: 2}", "jsd beta 0.5 w 1 to 0.5 cosine tau 2; ce 0 to 0.5 cosine"},
		{"{loss: jsd, weight_end: 0.5, schedule: constant}", "jsd beta 0.5 w 0.9 tau 1; ce 0.1"},
		{"[{loss: alpha_beta, temperature_end: 2}, {loss: hidden_mse, weight: 2}, {ce: 1}]", "alpha_beta alpha 0.8 beta 0.2 w 1 tau 1 to 2 linear; hidden_mse w 2; ce 1"},
		{"{loss: relations, student_layers: [0, -1], teacher_layers: [3, 5]}", "relations layers 0,-1 of 3,5 w 0.9; ce 0.1"},
		{"{balance: magnitude, skip_separators: false}", "forward_kl w 0.9 tau 1; ce 0.1; balanced; separators too"},
		{"{preset: distilbert}", "forward_kl w 5 tau 2; hidden_cosine layers -1 of -1 w 1; ce 2"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct world w;
		char text[200], small[12];
		world_open(&w, cases[i].text);
		distill_text(&w.plan, text, sizeof text);
		assert_string_equal(text, cases[i].words);
		distill_text(&w.plan, small, sizeof small);
		assert_int_equal(strlen(small), sizeof small - 1);
		assert_memory_equal(small, text, sizeof small - 1);
		world_close(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_loss_shares_its_weight_with_ce),
		cmocka_unit_test(a_list_has_plain_weights),
		cmocka_unit_test(every_loss_finds_its_parameters),
		cmocka_unit_test(constant_values_are_constant_to_the_bit),
		cmocka_unit_test(values_go_from_start_to_end),
		cmocka_unit_test(an_inner_weight_is_shared_by_its_layers),
		cmocka_unit_test(layers_follow_the_cut_or_are_spread),
		cmocka_unit_test(layers_that_are_not_there_are_refused),
		cmocka_unit_test(the_plan_says_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The keys of distillation, of caches and of several teachers: what each becomes, that it is written back, and every
 * refusal with its place. recipes/recipe.c, recipes/check.c, recipes/check_distill.c */
#include "tests/testing.h"

#include "recipes/distill.h"
#include "tests/recipe_text.h"

/* base's distill section, on line 13: a value starts at column 71. */
static const char plain[] = "{weight: 0.5}";

/* The first student's; the recipe is checked to be a fixed point. */
static const struct distill_spec *distilled(struct recipe *r, const char *section)
{
	open_edited(r, plain, section);
	assert_fixed_point(r);
	return ((const struct student_spec *)r->spec->students.v[0])->one.train->distill;
}

static void a_loss_inline_has_its_defaults(void **state)
{
	(void)state;
	struct recipe r;
	const struct distill_spec *d = distilled(&r, "{}");
	assert_int_equal(d->losses.n, 0);
	assert_int_equal(distill_n_losses(d), 1);
	assert_ptr_equal(distill_loss(d, 0), &d->one);
	assert_int_equal(d->one.loss, DIVERGENCE_FORWARD_KL);
	assert_true(d->one.temperature == 1 && d->one.weight == 0.9);
	assert_true(isnan(d->one.temperature_end) && isnan(d->one.weight_end) && isnan(d->one.ce));
	assert_int_equal(d->one.schedule, DISTILL_LINEAR);
	assert_true(d->one.alpha == 0.8 && isnan(d->one.beta) && d->one.skew == 0.1 && d->one.mu == 0.5 && d->one.reverse == 0.5);
	assert_int_equal(d->one.student_layers.n + d->one.teacher_layers.n, 0);
	assert_int_equal(d->one.projection, PROJECT_AUTO);
	assert_int_equal(d->one.relation_heads, 0);
	assert_true(d->skip_separators);
	assert_int_equal(d->balance, BALANCE_NONE);
	assert_null(d->cache);
	recipe_close(&r);
}

static void every_key_of_a_loss_is_read(void **state)
{
	(void)state;
	struct recipe r;
	const struct distill_spec *d = distilled(&r, "{loss: alpha_beta, temperature: 4, temperature_end: 1, weight: 1, weight_end: 0, schedule: cosine, alpha: 0, beta: 2, skew: 0.2, "
						     "mu: 0.3, reverse: 0.4, student_layers: [0, -1], teacher_layers: [1, -2], projection: learned, relation_heads: 12, "
						     "skip_separators: false, balance: magnitude}");
	const struct loss_spec *l = &d->one;
	assert_int_equal(l->loss, DIVERGENCE_ALPHA_BETA);
	assert_true(l->temperature == 4 && l->temperature_end == 1 && l->weight == 1 && l->weight_end == 0);
	assert_int_equal(l->schedule, DISTILL_COSINE);
	assert_true(l->alpha == 0 && l->beta == 2 && l->skew == 0.2 && l->mu == 0.3 && l->reverse == 0.4);
	assert_int_equal(l->student_layers.v[1], -1);
	assert_int_equal(l->teacher_layers.v[1], -2);
	assert_int_equal(l->projection, PROJECT_LEARNED);
	assert_int_equal(l->relation_heads, 12);
	assert_false(d->skip_separators);
	assert_int_equal(d->balance, BALANCE_MAGNITUDE);
	recipe_close(&r);
}

static void every_loss_has_its_name(void **state)
{
	(void)state;
	for (int i = 0; i < LOSSES; i++) {
		struct recipe r;
		assert_int_equal(distilled(&r, loss_names[i])->one.loss, i);
		recipe_close(&r);
	}
	assert_null(loss_names[LOSSES]);
	assert_string_equal(loss_names[DIVERGENCE_SKEW_REVERSE_KL], "skew_reverse_kl");
	assert_string_equal(loss_names[DIVERGENCE_LOGIT_MSE], "logit_mse");
	assert_string_equal(loss_names[LOSS_RELATIONS], "relations");
}

static void a_list_is_short_for_losses(void **state)
{
	(void)state;
	static const char *const texts[] = {"[reverse_kl, {ce: 0.1, ce_end: 0, schedule: cosine}, {loss: relations, weight: 2}]",
					    "{losses: [reverse_kl, {ce: 0.1, ce_end: 0, schedule: cosine}, {loss: relations, weight: 2}]}"};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct recipe r;
		const struct distill_spec *d = distilled(&r, texts[i]);
		assert_int_equal(distill_n_losses(d), 3);
		assert_int_equal(distill_loss(d, 0)->loss, DIVERGENCE_REVERSE_KL);
		assert_true(distill_loss(d, 0)->weight == 1 && isnan(distill_loss(d, 0)->ce));
		assert_true(distill_loss(d, 1)->ce == 0.1 && distill_loss(d, 1)->ce_end == 0);
		assert_int_equal(distill_loss(d, 1)->schedule, DISTILL_COSINE);
		assert_true(distill_loss(d, 2)->weight == 2);
		char *text = recipe_resolved(&r);
		assert_null(strstr(strstr(text, "distill:"), "weight: 0.9")); /* the inline form's default */
		free(text);
		recipe_close(&r);
	}
}

static void a_preset_is_written_out(void **state)
{
	(void)state;
	struct recipe r;
	const struct distill_spec *d = distilled(&r, "{preset: distilbert, skip_separators: false}");
	assert_int_equal(distill_n_losses(d), 3);
	assert_int_equal(d->preset, PRESET_NONE);
	assert_false(d->skip_separators);
	assert_true(distill_loss(d, 0)->ce == 2);
	assert_int_equal(distill_loss(d, 1)->loss, DIVERGENCE_FORWARD_KL);
	assert_true(distill_loss(d, 1)->weight == 5 && distill_loss(d, 1)->temperature == 2);
	assert_int_equal(distill_loss(d, 2)->loss, LOSS_HIDDEN_COSINE);
	assert_true(distill_loss(d, 2)->weight == 1);
	assert_int_equal(distill_loss(d, 2)->student_layers.v[0], -1);
	assert_int_equal(distill_loss(d, 2)->teacher_layers.v[0], -1);
	assert_int_equal(distill_loss(d, 2)->at->line, 13);
	recipe_close(&r);
	recipe_close(&r);
	d = distilled(&r, "{preset: none, loss: jsd}");
	assert_int_equal(d->one.loss, DIVERGENCE_JSD);
	recipe_close(&r);
}

static void masks_may_distil_too(void **state)
{
	(void)state;
	struct recipe r;
	open_edited(&r, "tokens: 1.5M, batch_tokens: 4Ki", "tokens: 1.5M, batch_tokens: 4Ki, distill: {preset: distilbert}");
	assert_fixed_point(&r);
	assert_int_equal(((const struct student_spec *)r.spec->students.v[0])->one.init->masks->distill->losses.n, 3);
	recipe_close(&r);
}

static void every_key_of_a_cache_is_read(void **state)
{
	(void)state;
	struct recipe r;
	const struct cache_section *c = distilled(&r, "{cache: {top_k: 32}}")->cache;
	assert_int_equal(c->top_k, 32);
	assert_int_equal(c->samples, 0);
	assert_false(c->hidden);
	assert_true(c->top_p == 0 && c->proposal == 1 && c->write && !c->dir);
	assert_int_equal(c->missing, MISSING_ZERO);
	assert_int_equal(c->precision, COMPUTE_BF16);
	recipe_close(&r);
	c = distilled(&r, "{cache: {top_k: 1Ki, top_p: 0.99, missing: tail, precision: fp32, dir: /tmp/c, write: false}}")->cache;
	assert_int_equal(c->top_k, 1024);
	assert_true(c->top_p == 0.99 && !c->write);
	assert_int_equal(c->missing, MISSING_TAIL);
	assert_int_equal(c->precision, COMPUTE_FP32);
	assert_string_equal(c->dir, "/tmp/c");
	recipe_close(&r);
	c = distilled(&r, "{cache: {samples: 50, proposal: 0.8}}")->cache;
	assert_int_equal(c->samples, 50);
	assert_true(c->proposal == 0.8);
	recipe_close(&r);
	assert_true(distilled(&r, "{cache: {hidden: true}}")->cache->hidden);
	recipe_close(&r);
}

/* What a cache can serve, beside what it cannot (below). */
static void good_sections_pass(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"[{loss: jsd, temperature: 2, temperature_end: 1}, logit_mse, {ce: 1}]",
		"{losses: [{temperature: 2}, {temperature: 1}, logit_mse], cache: {hidden: true}}",
		"{losses: [{temperature: 2}, {loss: reverse_kl, temperature: 2}, {ce: 1}], cache: {top_k: 8, missing: tail}}",
		"{temperature: 2, temperature_end: 1, schedule: constant, cache: {top_k: 8}}",
		"{temperature: 2, temperature_end: 2, cache: {top_k: 8}}",
		"{temperature: 2, weight_end: 0.1, cache: {samples: 8}}",
		"{loss: reverse_kl, cache: {top_k: 8, missing: renormalise}}",
		"{loss: symmetric_kl, reverse: 0, cache: {top_k: 8, missing: zero}}",
		"{loss: alpha_beta, alpha: 0.1, cache: {top_k: 8, missing: zero}}",
		"{loss: jsd_normalized, beta: 0.99, cache: {top_k: 8, missing: zero}}",
		"{loss: jsd, beta: 1, cache: {top_k: 8, missing: zero}}",
		"{loss: skew_reverse_kl, cache: {top_k: 8, missing: zero}}",
		"{loss: total_variation, cache: {top_k: 8, missing: zero}}",
		"{loss: jsd, beta: 0}",
		"{loss: alpha_beta, alpha: 0, beta: 10}",
		"{loss: skew_forward_kl, skew: 0}",
		"{loss: adaptive_kl, mu: 0.01}",
		"{loss: forward_kl, beta: 3, skew: 1, mu: 0}", /* of other losses */
		"{loss: hidden_mse, student_layers: [0, 1]}",
		"{loss: hidden_mse, student_layers: [0, 1], teacher_layers: [1, 3]}",
		"[{}, {}, {}, {}, {}, {}, {}, {}, hidden_mse, {ce: 0, ce_end: 1}]",
		"{losses: null, loss: jsd}",
		"{loss: null, losses: [jsd]}",
	};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct recipe r;
		distilled(&r, texts[i]);
		recipe_close(&r);
	}
}

static void refusals_give_their_reason(void **state)
{
	(void)state;
	static const struct refusal refusals[] = {
		{plain, "{loss: reverse_lk}", "13:78", "did you mean reverse_kl?"},
		{plain, "reverse", "13:71", "loss: expected one of forward_kl, reverse_kl, symmetric_kl, jsd, jsd_normalized, skew_forward_kl, skew_reverse_kl, adaptive_kl, alpha_beta, total_variation, logit_mse, hidden_cosine, hidden_mse, relations"},
		{plain, "{losses: [jsd], loss: jsd}", "13:93", "loss: not beside losses, which takes its place"},
		{plain, "{losses: [jsd], weight: 0.5}", "13:95", "weight: not beside losses"},
		{plain, "{losses: [jsd], schedule: linear}", "13:97", "schedule: not beside losses"},
		{plain, "{losses: [jsd], preset: distilbert}", "13:80", "losses: not beside preset, which is a whole list of losses"},
		{plain, "{preset: distilbert, loss: jsd}", "13:98", "loss: not beside preset"},
		{plain, "{preset: distilbert, temperature: 3}", "13:105", "temperature: not beside preset"},
		{plain, "{preset: distilbret}", "13:80", "did you mean distilbert?"},
		{plain, "{weight: 1.5}", "13:80", "weight: 1.5 is outside 0 to 1"},
		{plain, "{weight_end: 1.5}", "13:84", "weight_end: 1.5 is outside 0 to 1"},
		{plain, "[{weight: -1}]", "13:81", "weight: -1 is outside 0 to"},
		{plain, "{temperature: 0}", "13:85", "temperature: 0 is outside 0.01 to 100"},
		{plain, "{temperature_end: 0}", "13:89", "temperature_end: 0 is outside 0.01 to 100"},
		{plain, "{losses: []}", "13:80", "losses: expected at least one"},
		{plain, "[]", "13:71", "losses: expected at least one"},
		{plain, "[{ce: 1}]", "13:71", "losses: nothing is learned from the teacher; to train on text alone, write distill: null"},
		{plain, "[jsd, {ce: 1}, {ce: 2}]", "13:91", "ce: it stands twice"},
		{plain, "[{ce: 1, weight: 2}, jsd]", "13:88", "weight: not beside ce, which takes its place"},
		{plain, "[{ce: 1, loss: jsd}]", "13:86", "loss: not beside ce"},
		{plain, "[{ce: -1}, jsd]", "13:77", "ce: -1 is outside 0 to"},
		{plain, "[{ce_end: 1}, jsd]", "13:81", "ce_end: where it ends needs where it starts; add ce"},
		{plain, "{ce: 1}", "13:72", "unknown key 'ce' in distill"},
		{plain, "[{}, {}, {}, {}, {}, {}, {}, {}, jsd]", "13:104", "losses: expected at most 8 divergences"},
		{plain, "[{loss: hidden_mse, student_layers: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]}, relations]",
		 "13:228", "losses: expected at most 32 inner losses, counted by layers; found 33"},
		{plain, "{loss: jsd, beta: 1.5}", "13:89", "beta: 1.5 is outside 0 to 1: jsd mixes"},
		{plain, "{loss: jsd_normalized, beta: 2}", "13:100", "beta: 2 is outside 0 to 1: jsd_normalized mixes"},
		{plain, "{loss: alpha_beta, beta: -1}", "13:96", "beta: -1 is outside 0 to 10"},
		{plain, "{loss: alpha_beta, alpha: -0.1}", "13:97", "alpha: -0.1 is outside 0 to 10"},
		{plain, "{loss: skew_forward_kl, skew: 1}", "13:101", "skew: 1 compares a distribution with itself; expected less than 1"},
		{plain, "[{loss: skew_reverse_kl, skew: 1.0}]", "13:102", "skew: 1 compares"},
		{plain, "{loss: adaptive_kl, mu: 0}", "13:95", "mu: 0 leaves adaptive_kl without a head or without a tail"},
		{plain, "{loss: adaptive_kl, mu: 1}", "13:95", "mu: 1 leaves adaptive_kl"},
		{plain, "{loss: symmetric_kl, reverse: 1.1}", "13:101", "reverse: 1.1 is outside 0 to 1"},
		{plain, "{loss: hidden_mse, student_layers: [0, 1], teacher_layers: [0]}", "13:130", "teacher_layers: 1 for 2 student_layers, expected one for each"},
		{plain, "{loss: hidden_mse, teacher_layers: [0]}", "13:106", "teacher_layers: 1 for 0 student_layers"},
		{plain, "{loss: hidden_mse, projection: leanred}", "13:102", "did you mean learned?"},
		{plain, "{cache: {}}", "13:79", "cache: expected exactly one of top_k, samples, hidden; found 0"},
		{plain, "{cache: {top_k: 8, hidden: true}}", "13:79", "cache: expected exactly one of top_k, samples, hidden; found 2"},
		{plain, "{cache: {samples: 8, missing: tail}}", "13:101", "missing: only a cache of top_k lacks mass"},
		{plain, "{cache: {top_k: 8, proposal: 0.5}}", "13:100", "proposal: only samples are drawn from one"},
		{plain, "{cache: {top_p: 0.9, samples: 8}}", "13:87", "top_p: it needs top_k"},
		{plain, "{cache: {top_k: 8, proposal: 0}}", "13:100", "proposal: 0 is outside 0.01 to 1"},
		{plain, "{cache: {top_k: 8, top_p: 1.1}}", "13:97", "top_p: 1.1 is outside 0 to 1"},
		{plain, "{cache: 8}", "13:79", "cache: expected a mapping"},
		{plain, "{loss: hidden_mse, cache: {top_k: 8}}", "13:78", "loss: hidden_mse looks inside the teacher, which a cache does not hold"},
		{plain, "{losses: [jsd, relations], cache: {hidden: true}}", "13:86", "loss: relations looks inside the teacher"},
		{plain, "{loss: logit_mse, cache: {top_k: 8}}", "13:78", "loss: logit_mse needs every logit"},
		{plain, "{loss: logit_mse, cache: {samples: 8}}", "13:78", "loss: logit_mse needs every logit"},
		{plain, "{loss: reverse_kl, cache: {samples: 8}}", "13:78", "loss: reverse_kl cannot be learned from samples"},
		{plain, "{losses: [forward_kl, jsd], cache: {samples: 8}}", "13:93", "loss: jsd cannot be learned from samples"},
		{plain, "{loss: reverse_kl, cache: {top_k: 8, missing: zero}}", "13:78", "loss: reverse_kl is infinite where p = 0"},
		{plain, "{loss: symmetric_kl, cache: {top_k: 8, missing: zero}}", "13:78", "loss: symmetric_kl is infinite"},
		{plain, "{loss: adaptive_kl, cache: {top_k: 8, missing: zero}}", "13:78", "loss: adaptive_kl is infinite"},
		{plain, "{loss: alpha_beta, alpha: 0, cache: {top_k: 8, missing: zero}}", "13:78", "loss: alpha_beta is infinite"},
		{plain, "{loss: jsd_normalized, beta: 1, cache: {top_k: 8, missing: zero}}", "13:78", "loss: jsd_normalized is infinite"},
		{plain, "{loss: skew_reverse_kl, skew: 0, cache: {top_k: 8, missing: zero}}", "13:78", "loss: skew_reverse_kl is infinite"},
		{plain, "{temperature: 2, temperature_end: 1, cache: {top_k: 8}}", "13:105", "temperature_end: a cache of top_k or samples is taken at one temperature"},
		{plain, "{losses: [{temperature: 2}, {ce: 1}, {loss: jsd, temperature: 3}], cache: {top_k: 8}}", "13:133", "temperature: 3 after 2, but a cache"},
		{plain, "{losses: [{temperature: 2}, {loss: jsd}], cache: {top_k: 8}}", "13:99", "temperature: 1 after 2"},
		{"tokens: 1.5M, batch_tokens: 4Ki", "tokens: 1.5M, batch_tokens: 4Ki, distill: {loss: jsd, beta: 2}", "12:96", "beta: 2 is outside 0 to 1"},
		{"tokens: 1.5M, batch_tokens: 4Ki", "tokens: 1.5M, batch_tokens: 4Ki, distill: {loss: jsd, preset: distilbert}", "12:85", "loss: not beside preset"},
	};
	assert_refused(refusals, sizeof refusals / sizeof *refusals);
}

/* ---- teachers ---- */

static void several_teachers_have_weights(void **state)
{
	(void)state;
	struct recipe r;
	open_edited(&r, "teacher: some/model", "teacher: [a, {model: b, weight: 3, domains: {stories: 0}, compute: bf16}, {model: c, domains: {stories: {weight: 0.5}}}]");
	assert_fixed_point(&r);
	assert_int_equal(r.spec->teachers.n, 3);
	const struct teacher_spec *a = r.spec->teachers.v[0], *b = r.spec->teachers.v[1], *c = r.spec->teachers.v[2];
	assert_ptr_equal(r.spec->teacher, a);
	assert_string_equal(a->model, "a");
	assert_int_equal(a->compute, TEACHER_COMPUTE_SAME);
	assert_int_equal(b->compute, TEACHER_COMPUTE_BF16);
	assert_true(a->weight == 1 && b->weight == 3);
	assert_true(teacher_weight(a, "stories") == 1);
	assert_true(teacher_weight(b, "stories") == 0);
	assert_true(teacher_weight(b, "other") == 3);
	assert_true(teacher_weight(c, "stories") == 0.5);
	assert_true(fabs(teacher_share(r.spec, 0, "stories") - 1 / 1.5) < 1e-15);
	assert_true(teacher_share(r.spec, 1, "stories") == 0);
	assert_true(teacher_share(r.spec, 1, "other") == 0.6);
	recipe_close(&r);
	open_edited(&r, "teacher: some/model", "teacher:\n  model: a\n  compute: fp32");
	assert_int_equal(r.spec->teachers.n, 1);
	assert_int_equal(r.spec->teacher->compute, TEACHER_COMPUTE_FP32);
	assert_true(teacher_share(r.spec, 0, "stories") == 1);
	recipe_close(&r);
}

static void teachers_are_refused_with_a_reason(void **state)
{
	(void)state;
	static const char one[] = "teacher: some/model";
	static const struct refusal refusals[] = {
		{one, "teacher: []", "4:10", "teacher: expected at least one"},
		{one, "teacher: [a, {}]", "4:14", "expected a model directory, or init and train"},
		{one, "teacher: [a, [b]]", "4:14", "teacher: expected a mapping"},
		{one, "teacher: [a, b, c, d, e, f, g, h, i]", "4:10", "teacher: at most 8, found 9"},
		{one, "teacher: [a, {init: {model: b}, train: {tokens: 8Ki}}]", "4:14", "one of several is a model directory; only a single one is made here"},
		{one, "teacher: [{init: {model: b}, train: {tokens: 8Ki}}, a]", "4:11", "one of several is a model directory"},
		{one, "teacher: [a, b, a]", "4:17", "teacher: a is the same model as a"},
		{one, "teacher: [/tmp, /tmp/.]", "4:17", "teacher: /tmp/. is the same model as /tmp"},
		{one, "teacher: [a, {model: b, domains: {storeis: 1}}]", "4:35", "domains: the data has no domain 'storeis'; did you mean 'stories'?"},
		{one, "teacher: [a, {model: b, domains: {code: 1}}]", "4:35", "the data has no domain 'code'\n"},
		{one, "teacher: {model: a, weight: 0}", "4:10", "nobody teaches the domain 'stories': the weight is 0 there"},
		{one, "teacher: [{model: a, domains: {stories: 0}}, {model: b, weight: 0}]", "4:11", "nobody teaches the domain 'stories': all weights are 0 there"},
		{one, "teacher: {model: a, weight: -1}", "4:29", "weight: -1 is outside 0 to"},
		{one, "teacher: {model: a, compute: fp16}", "4:30", "compute: expected one of same, fp32, bf16"},
		{one, "teacher: {model: a, domains: {stories: -1}}", "4:40", "weight: -1 is outside 0 to"},
	};
	assert_refused(refusals, sizeof refusals / sizeof *refusals);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_loss_inline_has_its_defaults),
		cmocka_unit_test(every_key_of_a_loss_is_read),
		cmocka_unit_test(every_loss_has_its_name),
		cmocka_unit_test(a_list_is_short_for_losses),
		cmocka_unit_test(a_preset_is_written_out),
		cmocka_unit_test(masks_may_distil_too),
		cmocka_unit_test(every_key_of_a_cache_is_read),
		cmocka_unit_test(good_sections_pass),
		cmocka_unit_test(refusals_give_their_reason),
		cmocka_unit_test(several_teachers_have_weights),
		cmocka_unit_test(teachers_are_refused_with_a_reason),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

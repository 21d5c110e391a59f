/* recipes/check_shape.c and the keys of a target: sizes, names, budgets, each refusal with the place it points at. */
#include "tests/testing.h"

#include "tests/recipe_text.h"

#define SIZES "target: &shape {layers: 4, hidden: 128, heads: 4, kv_heads: 2, intermediate: 320}"
#define BUDGET(more) "target: &shape {parameters: 1.2M" more "}"

static void refusals_point_at_the_key(void **state)
{
	(void)state;
	static const struct refusal refusals[] = {
		{SIZES, "target: &shape {shape: llama-3.2-1b, layers: 4}", "9:46", "layers: not beside shape, which takes its place"},
		{SIZES, "target: &shape {shape: llama-3.2-1b, parameters: 1M}", "9:50", "parameters: not beside shape"},
		{SIZES, "target: &shape {shape: llama-3.2-1b, search: {}}", "9:46", "search: not beside shape"},
		{SIZES, "target: &shape {shape: llama-3.2-1d}", "9:24", "no public shape is called 'llama-3.2-1d'; did you mean 'llama-3.2-1b'?"},
		{SIZES, "target: &shape {shape: gpt-2}", "9:24", "no public shape is called 'gpt-2'; known are llama-2-7b, "},
		{SIZES, "target: &shape gpt-2", "9:9", "no public shape is called 'gpt-2'"},
		{SIZES, "target: &shape {layers: 4, length: 100}", "9:36", "length: it belongs to a budget; expected parameters, memory"},
		{SIZES, "target: &shape {layers: 4, batch: 2}", "9:35", "batch: it belongs to a budget"},
		{SIZES, "target: &shape {layers: 4, search: {candidates: 2}}", "9:36", "search: it belongs to a budget"},
		{SIZES, BUDGET(", search: {candidate: 2}"), "9:44", "did you mean 'candidates'?"},
		{SIZES, BUDGET(", search: {candidates: 0}"), "9:56", "candidates: 0 is outside 1 to 64"},
		{SIZES, BUDGET(", search: {init: {target: {}}}"), "9:51", "unknown key 'target' in candidate"},
		{SIZES, BUDGET(", search: {init: {merge_kv: true}}"), "9:61", "merge_kv: a search keeps whole groups"},
		{SIZES, BUDGET(", search: {init: {tokens: 100}}"), "9:59", "tokens 100 are less than one batch of 8 sequences of 256"},
		{SIZES, BUDGET(", search: {train: {tokens: 8Ki, batch_tokens: 100}}"), "9:79", "batch_tokens 100 is not a multiple of sequence_length 256"},
		{SIZES, BUDGET(", search: {train: {tokens: 8Ki, lr: [1e-3, 2e-3]}}"), "9:69", "candidates of a search learn at one rate, found 2"},
		{SIZES, "target: &shape {memory: 10Mi, batch: 0}", "9:38", "batch: 0 is outside 1 to"},
		{"init: {random: {}}", "init: {random: {target: {layers: 1, length: 8}}}", "18:49", "length: it belongs to a budget"},
		{"init: {random: {}}", "init: {importance: {merge_kv: true, target: {parameters: 1M}}}", "18:35", "merge_kv: not beside a budget"},
		{"teacher: some/model", "teacher: {init: {random: {target: {parameters: 1M}}}, train: {tokens: 8Ki}}", "4:35", "a budget is searched in a source's shapes"},
	};
	assert_refused(refusals, sizeof refusals / sizeof *refusals);
}

static void a_budget_brings_its_search(void **state)
{
	(void)state;
	struct recipe r;
	open_edited(&r, SIZES, "target: &shape {parameters: 1.2M, decode_ms: 2.5, length: 100, hidden: 64}");
	const struct shape_spec *t = r.spec->target, *own = ((const struct student_spec *)r.spec->students.v[0])->one.init->masks->target;
	assert_int_equal(t->parameters, 1200000);
	assert_true(t->decode_ms == 2.5);
	assert_int_equal(t->length, 100);
	assert_int_equal(t->batch, 1);
	assert_int_equal(t->hidden, 64);
	assert_int_equal(t->search->candidates, 4);
	assert_true(t->search->slack == 0.05);
	assert_int_equal(t->search->init->tokens, 65536);
	assert_null(t->search->init->target);
	assert_int_equal(t->search->train->tokens, 200000);
	assert_true(t->search->train->distill->one.weight == 0.9);
	assert_true(t->search->train->distill->at == t->at); /* where its mistakes are shown */
	assert_int_equal(section_hash(&shape_section, t), section_hash(&shape_section, own));
	recipe_close(&r);
	open_edited(&r, SIZES, SIZES);
	assert_null(r.spec->target->search);
	recipe_close(&r);
}

static void targets_are_dumped_as_they_are_read(void **state)
{
	(void)state;
	static const char *const targets[] = {
		BUDGET(", search: {candidates: 2, train: {tokens: 8Ki, distill: null}}"), BUDGET(""), "target: &shape {memory: 40Mi, batch: 8, search: {}}",
		"target: &shape {shape: sheared-llama-1.3b}", "target: &shape qwen3-0.6b", "target: &shape {prefill_ms: 3.5, flops_per_token: 2M, kv_heads: 1}", SIZES,
	};
	for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
		struct recipe r, again;
		struct err e;
		open_edited(&r, SIZES, targets[i]);
		char *text = recipe_resolved(&r);
		assert_ok(open_text(&again, text, NULL, 0, &e), &e);
		char *second = recipe_resolved(&again);
		assert_string_equal(text, second);
		assert_int_equal(!strstr(text, "search:"), r.spec->target->search == NULL);
		free(text);
		free(second);
		recipe_close(&r);
		recipe_close(&again);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refusals_point_at_the_key),
		cmocka_unit_test(a_budget_brings_its_search),
		cmocka_unit_test(targets_are_dumped_as_they_are_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* recipes/init_text.c: students that were made alike have one text, whatever their size; what differs is named. */
#include "tests/testing.h"

#include "recipes/init_text.h"

static void text_of(const char *yaml, char *out, size_t n)
{
	struct yaml_tree tree = {0};
	struct pool pool = {0};
	void *spec;
	struct err e;
	assert_ok(yaml_parse_text(&tree, "init", yaml, strlen(yaml), &e), &e);
	assert_ok(section_parse(&spec, &init_section, tree.root, &pool, &e), &e);
	init_text(spec, out, n);
	pool_release(&pool);
	yaml_release(&tree);
}

static void kinds_and_what_differs(void **state)
{
	static const struct {
		const char *yaml, *text;
	} cases[] = {
		{"importance: {}", "importance activation"},
		{"importance: {target: {layers: 3}, tokens: 1k}", "importance activation"},
		{"importance: {method: taylor, layers: kl, refit: false, compensate: false}", "importance taylor, layers kl, no refit, no compensate"},
		{"importance: {scores: some.safetensors, merge_kv: true}", "importance, merge_kv, scores"},
		{"layers: [0, 2]", "layers"},
		{"layers: [0, 1, 3]", "layers"},
		{"random: {}", "fresh weights"},
		{"random: {target: {layers: 3}, tied: false}", "fresh weights, no tied"},
		{"model: somewhere", "model"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[160] = "";
		text_of(cases[i].yaml, text, sizeof text);
		assert_string_equal(text, cases[i].text);
	}
}

static void masks_say_their_choices(void **state)
{
	char plain[160] = "", same[160] = "", other[160] = "";
	(void)state;
	text_of("masks: {tokens: 100k}", plain, sizeof plain);
	text_of("masks: {tokens: 200k, batch_tokens: 512, lr: 2e-3, target: {hidden: 64}}", same, sizeof same);
	text_of("masks: {tokens: 100k, method: hard_concrete, weights: frozen, cut: hard, distill: {}}", other, sizeof other);
	assert_string_equal(plain, "masks soft_topk");
	assert_string_equal(plain, same);
	assert_string_equal(other, "masks hard_concrete, weights frozen, cut hard, distilled");
}

static void stages_follow_each_other(void **state)
{
	char text[40] = "";
	(void)state;
	text_of("layers: [0, 2]", text, sizeof text);
	text_of("importance: {method: taylor}", text, sizeof text);
	assert_string_equal(text, "layers → importance taylor");
	text_of("importance: {method: taylor}", text, sizeof text);
	assert_int_equal(strlen(text), sizeof text - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds_and_what_differs),
		cmocka_unit_test(masks_say_their_choices),
		cmocka_unit_test(stages_follow_each_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

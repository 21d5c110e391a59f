/* A student's stages as the recipe says them: what is parsed, what is refused. */
#include "tests/testing.h"

#include "tests/recipe_text.h"

#define HALVED "    init: {layers: [0, 2, 4]}\n    train: *budget\n"
#define CUT "{importance: {tokens: 64Ki}}"

static void stages_become_structs(void **state)
{
	(void)state;
	struct recipe r;
	open_edited(&r, HALVED, "    stages:\n      - {init: {layers: [0, 2, 4]}}\n      - {init: " CUT ", train: *budget}\n"
				"      - {init: {masks: {tokens: 1M}}, train: {tokens: 3M, distill: {preset: distilbert}}}\n");
	const struct student_spec *sheared = r.spec->students.v[0], *halved = r.spec->students.v[1];
	assert_int_equal(recipe_n_stages(sheared), 1);
	assert_ptr_equal(recipe_stage(sheared, 0)->init, sheared->one.init);
	assert_int_equal(recipe_n_stages(halved), 3);
	assert_null(halved->one.init);
	assert_null(halved->one.train);
	assert_null(recipe_stage(halved, 0)->train);
	assert_string_equal(init_kind(recipe_stage(halved, 0)->init), "layers");
	assert_string_equal(init_kind(recipe_stage(halved, 1)->init), "importance");
	assert_int_equal(recipe_stage(halved, 1)->train->tokens, 5000000);
	assert_int_equal(recipe_stage(halved, 2)->init->masks->tokens, 1000000);
	assert_true(recipe_stage(halved, 2)->train->distill->losses.n > 1); /* a preset of a later stage has become its list */
	assert_ptr_equal(recipe_student(r.spec, "halved"), halved);
	assert_null(recipe_student(r.spec, "hal"));
	assert_fixed_point(&r);
	recipe_close(&r);
	open_edited(&r, "init: {layers: [0, 2, 4]}", "init: {student: sheared}");
	assert_string_equal(init_kind(recipe_stage(r.spec->students.v[1], 0)->init), "student");
	assert_fixed_point(&r);
	recipe_close(&r);
}

static void refusals_point_at_the_key(void **state)
{
	(void)state;
	static const struct refusal refusals[] = {
		{HALVED, "    stages: []\n", "15:13", "stages: expected at least one"},
		{HALVED, "    init: {layers: [0]}\n    stages: [{init: " CUT ", train: *budget}]\n", "15:11", "init: not beside stages"},
		{HALVED, "    train: *budget\n    stages: [{init: " CUT ", train: *budget}]\n", "13:12", "train: not beside stages"},
		{HALVED, "    stages: [{train: *budget}]\n", "15:14", "the key 'init' is missing"},
		{HALVED, "    stages: [{init: " CUT "}]\n", "15:14", "the key 'train' is missing from the last one"},
		{HALVED, "    stages: [{init: {random: {}}}, {init: " CUT ", train: *budget}]\n", "15:14", "fresh weights are cut when they have learned something; add train"},
		{HALVED, "    stages: [{init: {layers: [0]}}, {init: {model: m}, train: *budget}]\n", "15:44", "expected masks, layers or importance, found model"},
		{HALVED, "    stages: [{init: {layers: [0]}}, {init: {student: sheared}, train: *budget}]\n", "15:44", "found student"},
		{HALVED, "    stages: [{init: " CUT ", train: *budget}, {init: {importance: {tokens: 5M}}, train: *budget}]\n", "13:29",
		 "tokens are the whole budget of the stage: 5000000 leave nothing after the 4999168 of init.importance"},
		{HALVED, "    stages: [{init: {layers: [0]}}, {init: {importance: {tokens: 1Ki}}, train: *budget}]\n", "15:66", "tokens 1024 are less than one batch"},
		{HALVED, "    stages: [{init: {layers: [0]}}, {init: " CUT ", train: {tokens: 1M, lr: []}}]\n", "15:98", "lr: expected at least one rate"},
		{HALVED, "    stages:\n      - &s {init: " CUT ", train: *budget}\n      - *s\n      - *s\n      - *s\n      - *s\n      - *s\n      - *s\n      - *s\n      - *s\n", "16:9",
		 "stages: at most 8, found 9"},
		{"init: {layers: [0, 2, 4]}", "init: {student: shared}", "15:21", "student: nobody before this one is called 'shared'; did you mean 'sheared'?"},
		{"init: {layers: [0, 2, 4]}", "init: {student: halved}", "15:21", "student: 'halved' is listed here; expected one that is made earlier"},
		{"init: {layers: [0, 2, 4]}", "init: {student: scratch}", "15:21", "student: 'scratch' is listed later; expected one that is made earlier"},
		{"init: {layers: [0, 2, 4]}", "init: {student: sheared, layers: [0]}", "15:11", "found 2"},
		{"teacher: some/model", "teacher: {init: {student: sheared}, train: {tokens: 8Ki}}", "4:17", "init is random or model"},
	};
	assert_refused(refusals, sizeof refusals / sizeof *refusals);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stages_become_structs),
		cmocka_unit_test(refusals_point_at_the_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

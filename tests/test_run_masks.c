/* init.masks through the whole program, by rule: soft top-k with frozen weights, the reference's modes; what each leaves
 * behind, killed and gone on with. The solved hard-concrete masks are those of tests/test_run.c. */
#include "tests/program.h"

#include "base/rng.h"
#include "results/csv.h"

#include <math.h>

static const char recipe[] =
	"recipe: 1\n"
	"name: tiny\n"
	"seeds: [7]\n"
	"threads: 1\n"
	"micro_batch: 4\n"
	"teacher:\n"
	"  init: {random: {target: {layers: 2, hidden: 32, heads: 2, kv_heads: 1, intermediate: 64}}}\n"
	"  train: {tokens: 20Ki, batch_tokens: 512, lr: 3e-3}\n"
	"data:\n"
	"  sequence_length: 64\n"
	"  heldout_tokens: 2k\n"
	"  tokenizer: {train_vocabulary: 300}\n"
	"  domains:\n"
	"    made: {generate: {documents: 150, eval_documents: 20}}\n"
	"target: {layers: 1, hidden: 24, heads: 2, kv_heads: 1, intermediate: 32}\n"
	"students:\n"
	"  soft:\n"
	"    init: {masks: &masks {tokens: 15Ki, batch_tokens: 512, method: soft_topk}}\n"
	"    train: &train {tokens: 20Ki, batch_tokens: 512, lr: 1e-3}\n"
	"  alone: {init: {masks: {<<: *masks, weights: frozen}}, train: *train}\n"
	"  code: {init: {masks: {<<: *masks, method: hard_concrete, control: code}}, train: *train}\n"
	"  paper: {init: {masks: {<<: *masks, method: hard_concrete, control: paper, distill: {}}}, train: *train}\n"
	"report: {bootstrap: 200}\n";

static struct test_path home;

static int set_up(void **state)
{
	(void)state;
	setenv("OMP_WAIT_POLICY", "passive", 1);
	home = test_dir_make();
	assert_int_equal(chdir(home.text), 0);
	test_write("tiny.yaml", recipe);
	program_must("run tiny.yaml --out whole");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(chdir("/"), 0);
	test_dir_remove(&home);
	return 0;
}

/* A file of the student's mask phase. */
static struct test_path phase_file(const char *student, const char *file)
{
	struct test_path p;
	struct err e;
	json_t *o;
	snprintf(p.text, sizeof p.text, "whole/students/%s/seed-7/result/result.json", student);
	assert_ok(json_read_file(p.text, &o, &e), &e);
	snprintf(p.text, sizeof p.text, "whole/init/masks-%s-seed-7/%s", json_string_value(json_object_get(o, "init_id")) + 8, file);
	json_decref(o);
	return p;
}

static json_t *masks_of(const char *student)
{
	struct err e;
	json_t *o;
	assert_ok(json_read_file(phase_file(student, "masks.json").text, &o, &e), &e);
	return o;
}

static double last_of(const struct csv *c, const char *column)
{
	int at = csv_column(c, column);
	assert_true(at >= 0);
	return csv_at(c, c->n_rows - 1, at);
}

/* Nothing is drawn, so that nothing is left to choose: every size is exact, and both cuts are the model of the last step. */
static void soft_masks_end_as_they_are_cut(void **state)
{
	static const char *const names[] = {"hidden", "layers", "ffn"};
	static const int targets[] = {24, 1, 32};
	struct csv c;
	struct err e;
	(void)state;
	json_t *o = masks_of("soft"), *structures = json_object_get(o, "structures");
	assert_true(json_number_value(json_object_get(o, "hard_nll")) == json_number_value(json_object_get(o, "soft_nll")));
	assert_ok(csv_read(&c, phase_file("soft", "metrics.csv").text, &e), &e);
	assert_close(last_of(&c, "heldout_nll"), json_number_value(json_object_get(o, "hard_nll")), 1e-6, 1e-6);
	for (int i = 0; i < 3; i++) {
		const json_t *s = json_object_get(structures, names[i]);
		char column[40];
		assert_true(json_number_value(json_object_get(s, "expected")) == targets[i]);
		assert_true(json_number_value(json_object_get(s, "worst_row")) == 0);
		snprintf(column, sizeof column, "%s_expected", names[i]);
		assert_true(last_of(&c, column) == targets[i]);
		snprintf(column, sizeof column, "%s_saturated", names[i]);
		assert_true(last_of(&c, column) == 1);
	}
	csv_release(&c);
	json_decref(o);
}

/* The unmasked model of every evaluation: the same to the bit when frozen, another when not. */
static void frozen_weights_take_no_damage(void **state)
{
	static const char *const students[] = {"soft", "alone"};
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct csv c;
		struct err e;
		double first = NAN, largest = 0;
		assert_ok(csv_read(&c, phase_file(students[i], "metrics.csv").text, &e), &e);
		int at = csv_column(&c, "unmasked_nll");
		for (size_t row = 0; row < c.n_rows; row++) {
			double v = csv_at(&c, row, at);
			if (isnan(first))
				first = v;
			if (!isnan(v))
				largest = fmax(largest, fabs(v - first));
		}
		assert_true(isfinite(first) && (i ? largest == 0 : largest > 1e-3));
		csv_release(&c);
		json_t *o = masks_of(students[i]);
		double before = json_number_value(json_object_get(o, "unmasked_nll_before"));
		assert_true(before > 0);
		assert_close(json_number_value(json_object_get(o, "unmasked_nll_after")) - before, 0, i ? 1e-9 : 1e9, 0);
		if (i)
			assert_close(first, before, 1e-6, 1e-6);
		json_decref(o);
	}
}

static void integrated_modes_are_warned_about(void **state)
{
	static const char *const students[] = {"code", "paper"};
	(void)state;
	for (int i = 0; i < 2; i++) {
		json_t *o = masks_of(students[i]), *warnings = json_object_get(o, "warnings"), *w;
		size_t k;
		bool found = false;
		json_array_foreach(warnings, k, w)
			found |= strstr(json_string_value(w), "off its target") != NULL;
		assert_true(found);
		json_decref(o);
	}
	assert_true(fsio_exists(phase_file("paper", "model/model.safetensors").text));
}

static unsigned draw(int i, size_t below)
{
	return rng_below(31, RNG_TEST, 0, (uint64_t)i, (uint32_t)below);
}

static void killed_anywhere_it_ends_with_the_same_bits(void **state)
{
	(void)state;
	size_t whole = progress_of("whole");
	int n = getenv("ESPALIER_QUICK") ? 2 : 5, kills = 0;
	for (int i = 0; i < n; i++)
		kills += run_and_kill("run tiny.yaml --out killed", "killed", draw(i, 2 * whole / (size_t)n), draw(100 + i, 40), SIGKILL) == 128 + SIGKILL;
	assert_true(kills >= 1);
	program_must("run tiny.yaml --out killed");
	trees_are_equal("whole", "killed");
}

/* Two moments of every weight in fp32, which frozen weights do not have. */
static void the_plan_counts_no_moments_of_frozen_weights(void **state)
{
	(void)state;
	struct outcome o = program_run("plan tiny.yaml --set name=never");
	program_expect(&o, 0, "plan");
	const char *memory = strstr(o.out, "memory by owner"), *soft, *alone;
	assert_non_null(memory);
	soft = strstr(memory, "soft ");
	alone = strstr(memory, "alone ");
	assert_true(soft && alone);
	double moments[2];
	assert_int_equal(sscanf(soft, "soft masks %*f %*f %lf", &moments[0]), 1);
	assert_int_equal(sscanf(alone, "alone masks %*f %*f %lf", &moments[1]), 1);
	assert_true(moments[0] > 0 && moments[1] == 0);
	outcome_release(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(soft_masks_end_as_they_are_cut),
		cmocka_unit_test(frozen_weights_take_no_damage),
		cmocka_unit_test(integrated_modes_are_warned_about),
		cmocka_unit_test(killed_anywhere_it_ends_with_the_same_bits),
		cmocka_unit_test(the_plan_counts_no_moments_of_frozen_weights),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

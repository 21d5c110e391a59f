/* init.importance through the whole program: every method ends in a model of the target's shape; scores are saved, shown,
 * and reused for the same cut and for another; what cannot be is refused before anything runs. */
#include "tests/program.h"

#include "base/hash.h"
#include "model/hf.h"

static const char recipe[] =
	"recipe: 1\n"
	"name: tiny\n"
	"seeds: [7]\n"
	"threads: 1\n"
	"micro_batch: 4\n"
	"teacher:\n"
	"  init: {random: {target: {layers: 3, hidden: 32, heads: 4, kv_heads: 2, intermediate: 64}}}\n"
	"  train: {tokens: 20Ki, batch_tokens: 512, lr: 3e-3}\n"
	"data:\n"
	"  sequence_length: 64\n"
	"  heldout_tokens: 2k\n"
	"  tokenizer: {train_vocabulary: 300}\n"
	"  domains:\n"
	"    made: {generate: {documents: 150, eval_documents: 20}}\n"
	"target: {layers: 2, hidden: 24, heads: 2, kv_heads: 1, intermediate: 32}\n"
	"students:\n"
	"  plain:\n"
	"    init: {importance: {tokens: 2Ki, refit: false}}\n"
	"    train: &train {tokens: 4Ki, batch_tokens: 512, lr: 1e-3}\n"
	"  fitted: {init: {importance: {tokens: 2Ki}}, train: *train}\n"
	"  taylor: {init: {importance: {method: taylor, layers: loss, tokens: 2Ki, sequences: 4, refit: false}}, train: *train}\n"
	"  flap: {init: {importance: {method: fluctuation, tokens: 2Ki, layers: own, refit: false}}, train: *train}\n"
	"  norms: {init: {importance: {method: magnitude, layers: own, refit: false}}, train: *train}\n"
	"  chance: {init: {importance: {method: random, layers: kl, tokens: 1Ki, refit: false}}, train: {<<: *train, distill: {losses: [forward_kl, hidden_mse]}}}\n"
	"  merged:\n"
	"    init: {importance: {method: wanda, tokens: 2Ki, merge_kv: true, target: {heads: 4, kv_heads: 1, intermediate: 32}}}\n"
	"    train: *train\n"
	"report: {bootstrap: 200}\n";

static const struct expected {
	const char *name, *method, *layers, *shape;
	int tokens;
} students[] = {
	{"plain", "activation", "influence", "\"hidden\": 24", 2048},   {"fitted", "activation", "influence", "\"hidden\": 24", 2048},
	{"taylor", "taylor", "loss", "\"layers\": 2", 2048},            {"flap", "fluctuation", "own", "\"intermediate\": 32", 2048},
	{"norms", "magnitude", "own", "\"heads\": 2", 0},               {"chance", "random", "kl", "\"kv_heads\": 1", 1024},
	{"merged", "wanda", "influence", "\"kv_heads\": 1", 2048},
};
enum { STUDENTS = sizeof students / sizeof *students };

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

static json_t *result_of(const char *run, const char *student)
{
	char path[300];
	struct err e;
	json_t *o;
	snprintf(path, sizeof path, "%s/students/%s/seed-7/result/result.json", run, student);
	assert_ok(json_read_file(path, &o, &e), &e);
	return o;
}

/* The stage directory of a student's init, or a file in it. */
static struct test_path init_of(const char *run, const char *student, const char *file)
{
	struct test_path p;
	json_t *o = result_of(run, student);
	const char *id = json_string_value(json_object_get(o, "init_id"));
	assert_int_equal(strlen(id), 16);
	snprintf(p.text, sizeof p.text, "%s/init/importance-%s-seed-7/%s", run, id + 8, file);
	json_decref(o);
	return p;
}

static void every_method_ends_in_the_target(void **state)
{
	(void)state;
	for (int i = 0; i < STUDENTS; i++) {
		const struct expected *x = &students[i];
		char line[1400], word[64];
		json_t *o = result_of("whole", x->name), *train = json_object_get(o, "train");
		assert_int_equal(json_number_value(json_object_get(train, "tokens")), 4096);
		assert_int_equal(json_number_value(json_object_get(train, "init_tokens")), x->tokens);
		json_decref(o);
		snprintf(line, sizeof line, "inspect %s --json", init_of("whole", x->name, "model").text);
		struct outcome shown = program_run(line);
		program_expect(&shown, 0, line);
		if (!strstr(shown.out, x->shape))
			fail_msg("%s: no %s in %s", x->name, x->shape, shown.out);
		outcome_release(&shown);
		snprintf(line, sizeof line, "inspect whole/teacher/train/model --scores %s", init_of("whole", x->name, "importance.safetensors").text);
		shown = program_run(line);
		program_expect(&shown, 0, line);
		snprintf(word, sizeof word, "importance: %s, layers by %s, %d tokens", x->method, x->layers, x->tokens);
		if (!strstr(shown.out, word) || !strstr(shown.out, "layer 2:"))
			fail_msg("%s: no '%s' in %s", x->name, word, shown.out);
		outcome_release(&shown);
	}
}

/* Equal cuts differ in the output projections alone, where one was fitted. */
static void a_refit_changes_output_projections_alone(void **state)
{
	struct hf_model plain, fitted;
	struct err e;
	(void)state;
	assert_ok(hf_open(&plain, init_of("whole", "plain", "model").text, &e), &e);
	assert_ok(hf_open(&fitted, init_of("whole", "fitted", "model").text, &e), &e);
	for (int i = 0; i < plain.layout.n_tensors; i++) {
		const struct hf_tensor *t = &plain.layout.tensors[i];
		bool output = t->kind == PARAM_O || t->kind == PARAM_DOWN;
		bool same = !memcmp(plain.tensors[i]->data, fitted.tensors[i]->data, plain.tensors[i]->n_bytes);
		if (same == output)
			fail_msg("%s is %s", t->name, same ? "the same" : "another");
	}
	hf_close(&plain);
	hf_close(&fitted);
	json_t *one = result_of("whole", "plain"), *two = result_of("whole", "fitted"); /* its second pass is counted */
	assert_true(json_number_value(json_object_get(json_object_get(two, "train"), "total_flops")) >
		    json_number_value(json_object_get(json_object_get(one, "train"), "total_flops")));
	json_decref(one);
	json_decref(two);
}

static void a_finished_stage_is_not_run_again(void **state)
{
	char *before = fingerprint("whole/init"), *after;
	(void)state;
	struct outcome o = program_run("run tiny.yaml --out whole");
	program_expect(&o, 0, "run");
	assert_null(strstr(o.err, "tokens/s"));
	after = fingerprint("whole/init");
	assert_string_equal(before, after);
	free(before);
	free(after);
	outcome_release(&o);
}

/* A file of plain's init in two runs. */
static void assert_same(const char *one, const char *two, const char *file)
{
	uint64_t a, b;
	struct err e;
	assert_ok(hash_file(init_of(one, "plain", file).text, &a, &e), &e);
	assert_ok(hash_file(init_of(two, "plain", file).text, &b, &e), &e);
	assert_true(a == b);
}

/* Killed before the cut: the scores are there, and nothing is measured again. */
static void scores_that_are_there_are_taken(void **state)
{
	(void)state;
	assert_int_equal(system("cp -a whole killed"), 0);
	assert_int_equal(unlink(init_of("killed", "plain", "model/model.safetensors").text), 0);
	assert_int_equal(unlink(init_of("killed", "plain", "DONE").text), 0);
	struct outcome o = program_run("run tiny.yaml --out killed");
	program_expect(&o, 0, "run");
	assert_null(strstr(o.err, "importance 100"));
	assert_same("whole", "killed", "model/model.safetensors");
	outcome_release(&o);
}

/* Another run with the same teacher: its cut is the same where the target is, and no text is read for the scores. */
static void scores_serve_another_target(void **state)
{
	char line[3000];
	struct test_path from = init_of("whole", "plain", "importance.safetensors");
	(void)state;
	snprintf(line, sizeof line,
		 "run tiny.yaml --out again --set teacher=whole/teacher/train/model --set data.tokenizer=null --set students.plain.init.importance={\"refit\":false,\"scores\":\"%s\"} "
		 "--set students.fitted.init.importance={\"refit\":false,\"scores\":\"%s\",\"target\":{\"intermediate\":16}}", from.text, from.text);
	program_must(line);
	assert_same("whole", "again", "model/model.safetensors");
	assert_same("whole", "again", "importance.safetensors");
	json_t *o = result_of("again", "plain");
	assert_int_equal(json_number_value(json_object_get(json_object_get(o, "train"), "init_tokens")), 0);
	json_decref(o);
	snprintf(line, sizeof line, "inspect %s --json", init_of("again", "fitted", "model").text);
	struct outcome shown = program_run(line);
	program_expect(&shown, 0, line);
	assert_non_null(strstr(shown.out, "\"intermediate\": 16"));
	assert_non_null(strstr(shown.out, "\"layers\": 3"));
	outcome_release(&shown);
}

static void plan_prices_the_pass(void **state)
{
	(void)state;
	struct outcome o = program_run("plan tiny.yaml --set teacher=whole/teacher/train/model --set data.tokenizer=null");
	program_expect(&o, 0, "plan");
	int rows = 0;
	for (const char *c = o.out; (c = strstr(c, " importance ")); c++)
		rows++;
	assert_int_equal(rows, 2 * STUDENTS);
	outcome_release(&o);
}

static void what_cannot_be_is_refused(void **state)
{
	static const struct {
		const char *set, *words;
	} cases[] = {
		{"students.plain.init.importance.layers=own", "activation has no scores of layers of its own; expected influence, loss or kl"},
		{"students.plain.init.importance.tokens=100", "tokens 100 are less than one batch of 8 sequences of 64"},
		{"students.plain.init.importance.tokens=4Ki", "leave nothing after the 4096 of init.importance"},
		{"students.plain.init.importance.method=fancy", "expected one of magnitude, activation"},
		{"students.plain.init.importance.target={\"kv_heads\":3}", "kv_heads"},
		{"students.merged.init.importance.target={\"heads\":3,\"kv_heads\":3}", "heads 3"},
		{"students.plain.init.importance.scores=nowhere", "nowhere"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char line[600];
		snprintf(line, sizeof line, "plan tiny.yaml --set teacher=whole/teacher/train/model --set data.tokenizer=null --set %s", cases[i].set);
		struct outcome o = program_run(line);
		if (o.status == 0 || !strstr(o.err, cases[i].words))
			fail_msg("%s: status %d, %s", cases[i].set, o.status, o.err);
		outcome_release(&o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_method_ends_in_the_target),
		cmocka_unit_test(a_refit_changes_output_projections_alone),
		cmocka_unit_test(a_finished_stage_is_not_run_again),
		cmocka_unit_test(scores_that_are_there_are_taken),
		cmocka_unit_test(scores_serve_another_target),
		cmocka_unit_test(plan_prices_the_pass),
		cmocka_unit_test(what_cannot_be_is_refused),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

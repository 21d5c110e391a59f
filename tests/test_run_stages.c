/* Schedules through the whole program: prune, distil, prune, distil, each cut made anew from what the stage before has left; a
 * start from another student's end; what is killed goes on, and what is changed runs again with what follows it, no more.
 * ESPALIER_QUICK in the environment: fewer kills. */
#include "tests/program.h"

#include "base/rng.h"
#include "model/hf.h"
#include "prune/scores.h"

#include <glob.h>

static const char recipe[] =
	"recipe: 1\n"
	"name: tiny\n"
	"seeds: [7]\n"
	"threads: 1\n"
	"micro_batch: 4\n"
	"teacher:\n"
	"  init: {random: {target: {layers: 3, hidden: 32, heads: 4, kv_heads: 2, intermediate: 64}}}\n"
	"  train: {tokens: 10Ki, batch_tokens: 512, lr: 3e-3}\n"
	"data:\n"
	"  sequence_length: 64\n"
	"  heldout_tokens: 1k\n"
	"  tokenizer: {train_vocabulary: 300}\n"
	"  domains:\n"
	"    made: {generate: {documents: 150, eval_documents: 10}}\n"
	"target: {layers: 2, hidden: 24, heads: 2, kv_heads: 1, intermediate: 32}\n"
	"students:\n"
	"  twice:\n"
	"    stages:\n"
	"      - init: {importance: {tokens: 1Ki, target: {layers: 2, intermediate: 48}}}\n"
	"        train: &cached {tokens: 3Ki, batch_tokens: 512, distill: {cache: {top_k: 8}}}\n"
	"      - init: {masks: {tokens: 2Ki, batch_tokens: 512, distill: {cache: {top_k: 8}}}}\n"
	"        train: {<<: *cached, tokens: 4Ki}\n"
	"  straight:\n"
	"    stages:\n"
	"      - init: {layers: [0, 2]}\n"
	"      - init: {importance: {tokens: 1Ki}}\n"
	"        train: &inner {tokens: 3Ki, batch_tokens: 512, distill: {losses: [forward_kl, hidden_mse]}}\n"
	"  onward:\n"
	"    stages:\n"
	"      - init: {student: twice}\n"
	"      - init: {importance: {tokens: 1Ki, target: {hidden: 16, heads: 2, intermediate: 24}}}\n"
	"        train: *inner\n"
	"  longer: {init: {student: onward}, train: {tokens: 1Ki, batch_tokens: 512, distill: {losses: [{loss: hidden_mse, projection: kept}]}}}\n"
	"  listed: {stages: [{init: {importance: {tokens: 1Ki}}, train: *inner}]}\n"
	"  plain: {init: {importance: {tokens: 1Ki}}, train: *inner}\n"
	"report: {bootstrap: 100}\n";

static struct test_path home;
static char *said; /* on stderr, by the run that nobody disturbs */

static int set_up(void **state)
{
	(void)state;
	setenv("OMP_WAIT_POLICY", "passive", 1);
	home = test_dir_make();
	assert_int_equal(chdir(home.text), 0);
	test_write("tiny.yaml", recipe);
	struct outcome o = program_run("run tiny.yaml --out whole");
	program_expect(&o, 0, "run");
	said = strdup(o.err);
	outcome_release(&o);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(said);
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

static struct test_path student_of(const char *run, const char *student, const char *file)
{
	struct test_path p;
	snprintf(p.text, sizeof p.text, "%s/students/%s/seed-7/%s", run, student, file);
	return p;
}

/* A file of the init of a student's last stage. */
static struct test_path init_of(const char *run, const char *kind, const char *student, const char *file)
{
	struct test_path p;
	json_t *o = result_of(run, student);
	snprintf(p.text, sizeof p.text, "%s/init/%s-%s-seed-7/%s", run, kind, json_string_value(json_object_get(o, "init_id")) + 8, file);
	json_decref(o);
	return p;
}

static uint64_t hash_of(const char *model)
{
	struct hf_model m;
	struct err e;
	assert_ok(hf_open(&m, model, &e), &e);
	uint64_t h = hf_hash(&m);
	hf_close(&m);
	return h;
}

static struct scores scores_at(const char *path, const char *source)
{
	struct hf_model m;
	struct scores x;
	struct err e;
	assert_ok(hf_open(&m, source, &e), &e);
	assert_ok(scores_load(path, &m.layout.arch, &x, &e), &e);
	hf_close(&m);
	return x;
}

/* ---- what a schedule is ---- */

static double number_of(const json_t *o, const char *section, const char *key)
{
	return json_number_value(json_object_get(section ? json_object_get(o, section) : o, key));
}

static void tokens_and_flops_add_up(void **state)
{
	(void)state;
	static const struct {
		const char *name, *init, *model;
		int tokens, before; /* before the last training */
	} students[] = {
		{"twice", "importance, masks", "../stage-2/train/model", 3072 + 4096, 3072 + 2048},
		{"straight", "layers, importance", "../stage-2/train/model", 3072, 1024},
		{"onward", "student, importance", "../stage-2/train/model", 7168 + 3072, 7168 + 1024},
		{"longer", "student", "../train/model", 10240 + 1024, 10240},
		{"plain", "importance", "../train/model", 3072, 1024},
	};
	double flops[5];
	for (size_t i = 0; i < sizeof students / sizeof *students; i++) {
		json_t *o = result_of("whole", students[i].name);
		assert_string_equal(json_string_value(json_object_get(o, "init")), students[i].init);
		assert_string_equal(json_string_value(json_object_get(o, "model")), students[i].model);
		assert_int_equal(number_of(o, "train", "tokens"), students[i].tokens);
		assert_int_equal(number_of(o, "train", "init_tokens"), students[i].before);
		assert_int_equal(number_of(o, "shape", "layers"), 2);
		assert_int_equal(number_of(o, "shape", "hidden"), strstr("onward longer", students[i].name) ? 16 : 24);
		flops[i] = number_of(o, "train", "total_flops");
		json_decref(o);
	}
	assert_true(flops[2] > flops[0] && flops[3] > flops[2]);
}

/* A cache holds each text once: it has as much as all phases have read where none read what another had. Short documents that
 * are alike are one, so that a little less is there; whole steps are 512 tokens. */
static void no_text_is_read_twice(void **state)
{
	(void)state;
	json_t *o = result_of("whole", "twice");
	double cached = number_of(json_object_get(o, "distill"), "cache", "tokens");
	assert_true(cached <= 2048 + 2048 + 2048 && cached > 2048 + 2048 + 2048 - 64);
	assert_int_equal(number_of(o, "train", "unique_tokens"), 3072 + 4096);
	json_decref(o);
}

static void curves_of_all_phases_are_carried(void **state)
{
	(void)state;
	json_t *o = result_of("whole", "twice"), *earlier = json_object_get(o, "earlier");
	assert_int_equal(json_array_size(earlier), 1);
	assert_string_equal(json_string_value(json_object_get(json_array_get(earlier, 0), "metrics")), "stage-1-metrics.csv");
	assert_int_equal(number_of(json_array_get(earlier, 0), NULL, "after"), 1024);
	assert_int_equal(number_of(o, NULL, "masks_after"), 3072);
	assert_true(fsio_exists(student_of("whole", "twice", "result/stage-1-metrics.csv").text));
	assert_true(fsio_exists(student_of("whole", "twice", "result/masks.csv").text));
	json_decref(o);
}

/* Their metadata says what was looked at; where no tokens were spent before, they are those of a run whose teacher is the
 * model of the stage before. */
static void scores_are_taken_anew(void **state)
{
	(void)state;
	struct test_path model = student_of("whole", "twice", "stage-2/train/model"), cut;
	struct scores x = scores_at(init_of("whole", "importance", "onward", "importance.safetensors").text, model.text);
	char line[900];
	assert_true(x.teacher == hash_of(model.text));
	scores_release(&x);
	glob_t found;
	assert_int_equal(glob("whole/init/layers-*/model", 0, NULL, &found), 0);
	assert_int_equal(found.gl_pathc, 1);
	snprintf(cut.text, sizeof cut.text, "%s", found.gl_pathv[0]);
	globfree(&found);
	for (int i = 0; i < 2; i++) { /* after 0 tokens, and after 7168 */
		const char *source = i ? model.text : cut.text, *student = i ? "onward" : "straight";
		snprintf(line, sizeof line, "run tiny.yaml --out apart-%d --set teacher=%s --set data.tokenizer=whole/tokenizer "
			 "--set students={\"only\":{\"init\":{\"importance\":{\"tokens\":1024%s}},\"train\":{\"tokens\":2048,\"batch_tokens\":512}}}",
			 i, source, i ? ",\"target\":{\"hidden\":16,\"heads\":2,\"intermediate\":24}" : "");
		program_must(line);
		char apart[16];
		snprintf(apart, sizeof apart, "apart-%d", i);
		struct scores own = scores_at(init_of("whole", "importance", student, "importance.safetensors").text, source);
		struct scores other = scores_at(init_of(apart, "importance", "only", "importance.safetensors").text, source);
		bool same = !memcmp(own.hidden, other.hidden, (i ? 24 : 32) * sizeof *own.hidden);
		assert_true(own.teacher == other.teacher && same == !i);
		scores_release(&own);
		scores_release(&other);
	}
}

/* Stage 2 keeps both layers of what the first left, which were 0 and 2 of the teacher. */
static void inner_losses_find_the_teachers_layers_and_columns(void **state)
{
	(void)state;
	assert_non_null(strstr(said, "straight, stage 2: hidden_mse, student layer of teacher layer: 0 of 0, 1 of 2, on the columns that the cut kept"));
	assert_non_null(strstr(said, "onward, stage 2: hidden_mse, student layer of teacher layer: "));
	const char *longer = strstr(said, "longer: hidden_mse");
	assert_non_null(longer);
	assert_true(strstr(longer, "on the columns that the cut kept") < strchr(longer, '\n'));
}

static void a_list_of_one_stage_is_the_student_itself(void **state)
{
	(void)state;
	assert_true(hash_of(student_of("whole", "listed", "train/model").text) == hash_of(student_of("whole", "plain", "train/model").text));
}

static void a_plan_prints_every_stage(void **state)
{
	(void)state;
	static const char *const rows[] = {"twice     1: importance", "twice     1: train", "twice     2: masks", "twice     2: train", "straight  2: importance",
					   "onward    2: importance", "longer    train", "listed    importance"};
	struct outcome o = program_run("plan tiny.yaml");
	program_expect(&o, 0, "plan");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (!strstr(o.out, rows[i]))
			fail_msg("no '%s' in:\n%s", rows[i], o.out);
	assert_null(strstr(o.out, "plain     importance")); /* listed has taken the same scores */
	outcome_release(&o);
}

/* The model that they would be of does not exist yet: the file must. */
static void absent_scores_of_a_later_stage_are_refused_at_once(void **state)
{
	(void)state;
	struct outcome o = program_run("plan tiny.yaml --set students.straight.stages.1.init.importance.scores=none.safetensors");
	program_expect(&o, 2, "none.safetensors: no such file");
	outcome_release(&o);
}

/* ---- disturbed and changed runs ---- */

static void killed_anywhere_it_ends_with_the_same_bits(void **state)
{
	(void)state;
	int kills = 0, n = getenv("ESPALIER_QUICK") ? 3 : 6;
	size_t whole = progress_of("whole");
	for (int i = 0; i < n; i++)
		kills += run_and_kill("run tiny.yaml --out killed", "killed", rng_below(37, RNG_TEST, 0, (uint64_t)i, (uint32_t)(whole / (size_t)n)),
				      rng_below(37, RNG_TEST, 1, (uint64_t)i, 60), i % 2 ? SIGKILL : SIGINT) != 0;
	assert_true(kills >= 2);
	program_must("run tiny.yaml --out killed");
	trees_are_equal("whole", "killed");
}

static void a_changed_stage_runs_again_with_what_follows_it(void **state)
{
	(void)state;
	char *first, *after;
	assert_int_equal(system("cp -a whole changed"), 0);
	uint64_t old = hash_of("changed/students/onward/seed-7/stage-2/train/model");
	first = fingerprint("changed/students/twice/seed-7/train");
	char *alone = fingerprint("changed/students/straight");
	program_must("run tiny.yaml --out changed --set students.twice.stages.1.train.lr=2e-3");
	after = fingerprint("changed/students/twice/seed-7/train");
	assert_string_equal(first, after);
	free(after);
	after = fingerprint("changed/students/straight");
	assert_string_equal(alone, after);
	assert_true(fsio_exists("changed/students/twice/seed-7/stage-2/train.old-1"));
	assert_true(old != hash_of("changed/students/onward/seed-7/stage-2/train/model")); /* it goes on from twice */
	free(first);
	free(after);
	free(alone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tokens_and_flops_add_up),
		cmocka_unit_test(no_text_is_read_twice),
		cmocka_unit_test(curves_of_all_phases_are_carried),
		cmocka_unit_test(scores_are_taken_anew),
		cmocka_unit_test(inner_losses_find_the_teachers_layers_and_columns),
		cmocka_unit_test(a_list_of_one_stage_is_the_student_itself),
		cmocka_unit_test(a_plan_prints_every_stage),
		cmocka_unit_test(absent_scores_of_a_later_stage_are_refused_at_once),
		cmocka_unit_test(killed_anywhere_it_ends_with_the_same_bits),
		cmocka_unit_test(a_changed_stage_runs_again_with_what_follows_it),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

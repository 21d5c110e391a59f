/* Budgets through the whole program: a shape is searched once, the candidate with the lowest loss is what students become, the
 * search is told beside every result; killed it goes on, finished it is not run again; what cannot be is refused.
 * ESPALIER_QUICK in the environment: fewer kills. */
#include "tests/program.h"

#include "base/rng.h"

#include <glob.h>

static const char head[] =
	"recipe: 1\n"
	"name: tiny\n"
	"seeds: [7, 8]\n"
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
	"report: {bootstrap: 100}\n";
static const char searched[] = ", search: {candidates: 3, init: {tokens: 1Ki, refit: true}, train: {tokens: 2Ki, batch_tokens: 512, "
			       "distill: {losses: [forward_kl, hidden_mse]}}}";
static const char students[] =
	"students:\n"
	"  cut: {init: {importance: {tokens: 1Ki}}, train: &train {tokens: 2Ki, batch_tokens: 512}}\n"
	"  scratch: {init: {random: {}}, train: *train}\n"
	"  again:\n"
	"    stages:\n"
	"      - init: {importance: {tokens: 1Ki}}\n"
	"      - init: {importance: {tokens: 1Ki, target: {parameters: 10k, search: {candidates: 1, init: {tokens: 1Ki}, train: {tokens: 1Ki, batch_tokens: 512}}}}}\n"
	"        train: *train\n";

static struct test_path home;

static void write_recipe(const char *file, const char *budget, const char *list)
{
	char text[4096];
	snprintf(text, sizeof text, "%starget: {%s%s}\n%s", head, budget, searched, list);
	test_write(file, text);
}

static int set_up(void **state)
{
	(void)state;
	setenv("OMP_WAIT_POLICY", "passive", 1);
	home = test_dir_make();
	assert_int_equal(chdir(home.text), 0);
	write_recipe("tiny.yaml", "parameters: 20k", students);
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

static json_t *json_at(const char *run, const char *student, const char *file)
{
	char path[300];
	struct err e;
	json_t *o;
	snprintf(path, sizeof path, "%s/students/%s/result/%s", run, student, file);
	assert_ok(json_read_file(path, &o, &e), &e);
	return o;
}

static double number_at(const json_t *o, const char *section, const char *key)
{
	const json_t *x = json_object_get(section ? json_object_get(o, section) : o, key);
	assert_true(json_is_number(x));
	return json_number_value(x);
}

static bool same_sizes(const json_t *a, const json_t *b)
{
	return json_equal(json_object_get(a, "shape"), json_object_get(b, "shape"));
}

/* Of a search's file: candidates by rank, the first chosen, and no other. */
static const json_t *chosen_of(const json_t *search)
{
	const json_t *list = json_object_get(search, "candidates"), *x;
	double last = 0;
	size_t i;
	json_array_foreach(list, i, x) {
		if (json_is_true(json_object_get(x, "missed")))
			continue;
		assert_int_equal(number_at(x, NULL, "rank"), i + 1);
		assert_true(json_is_true(json_object_get(x, "chosen")) == (i == 0));
		assert_true(number_at(x, "achieved", "trained_nll") >= last);
		assert_true(number_at(x, "predicted", "nll") > 0 && number_at(x, "achieved", "nll") > 0);
		last = number_at(x, "achieved", "trained_nll");
	}
	return json_array_get(list, 0);
}

static void the_best_candidate_is_what_students_become(void **state)
{
	(void)state;
	static const char *const names[] = {"cut/seed-7", "cut/seed-8", "scratch/seed-7", "scratch/seed-8"};
	json_t *first = json_at("whole", names[0], "shape-1.json");
	const json_t *chosen = chosen_of(first);
	assert_int_equal(json_array_size(json_object_get(first, "candidates")), 3);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		json_t *result = json_at("whole", names[i], "result.json"), *search = json_at("whole", names[i], "shape-1.json");
		double n = number_at(result, NULL, "parameters");
		assert_true(json_equal(search, first));
		assert_true(same_sizes(result, chosen));
		assert_true(n <= 20000 && n >= 19000);
		assert_true(n == number_at(chosen, "achieved", "parameters") && n == number_at(chosen, "predicted", "parameters"));
		json_decref(search);
		json_decref(result);
	}
	json_decref(first);
}

/* Tokens of a search are its own: scores and three candidates here; the students spent what they would have spent without. */
static void no_student_pays_for_the_search(void **state)
{
	(void)state;
	json_t *search = json_at("whole", "cut/seed-7", "shape-1.json"), *result = json_at("whole", "cut/seed-7", "result.json");
	assert_true(number_at(search, NULL, "tokens") == 1024 + 3 * 2048);
	assert_true(number_at(result, "train", "tokens") == 2048 && number_at(result, "train", "init_tokens") == 1024);
	assert_true(number_at(search, NULL, "flops") > 0);
	json_decref(result);
	json_decref(search);
}

/* The second stage cuts what the first has left, with a search of its own; both are told. */
static void stages_have_searches_of_their_own(void **state)
{
	(void)state;
	json_t *result = json_at("whole", "again/seed-7", "result.json"), *one = json_at("whole", "again/seed-7", "shape-1.json");
	json_t *two = json_at("whole", "again/seed-7", "shape-2.json"), *cut = json_at("whole", "cut/seed-7", "shape-1.json");
	assert_true(json_equal(one, cut));
	assert_int_equal(json_array_size(json_object_get(result, "shape_searches")), 2);
	assert_true(same_sizes(result, chosen_of(two)));
	assert_true(json_equal(json_object_get(json_object_get(two, "source"), "shape"), json_object_get(chosen_of(one), "shape")));
	assert_true(number_at(result, NULL, "parameters") <= 10000);
	json_decref(cut);
	json_decref(two);
	json_decref(one);
	json_decref(result);
}

static void the_report_tells_of_it(void **state)
{
	(void)state;
	char *page = program_text("whole/report/report.md");
	assert_non_null(strstr(page, "Shape search"));
	assert_non_null(strstr(page, "parameters ≤ 20.0 k"));
	free(page);
}

static void finished_it_is_not_run_again(void **state)
{
	(void)state;
	char *before = fingerprint("whole/shapes");
	program_must("run tiny.yaml --out whole");
	char *after = fingerprint("whole/shapes");
	assert_string_equal(before, after);
	free(after);
	free(before);
}

#define MODEL "students/cut/seed-7/train/model/model.safetensors"
#define TOLD "students/cut/seed-7/result/shape-1.json"

/* Another search that ends with the same shape, and so with the same bits: the result tells of the one that there was. */
static void a_changed_search_is_told_anew(void **state)
{
	(void)state;
	assert_int_equal(system("cp -a whole told"), 0);
	program_must("run tiny.yaml --out told --set target.search.train.eval_every=1Ki");
	assert_int_equal(system("cmp -s whole/" MODEL " told/" MODEL), 0);
	assert_int_not_equal(system("cmp -s whole/" TOLD " told/" TOLD), 0);
}

static void killed_it_goes_on(void **state)
{
	(void)state;
	const char *command = "run tiny.yaml --out killed";
	for (unsigned i = 0; i < (getenv("ESPALIER_QUICK") ? 4 : 8); i++)
		run_and_kill(command, "killed", 1 + rng_below(5, RNG_TEST, 0, i, 400), rng_below(5, RNG_TEST, 1, i, 300), i % 3 ? SIGKILL : SIGTERM);
	program_must(command);
	trees_are_equal("whole/shapes", "killed/shapes");
	trees_are_equal("whole/students", "killed/students");
}

/* Milliseconds of a shape: the FFN's products, and twice of that with half of the heads, which no line through them can follow. */
static double planted_ms(int L, int C, int NH, int F)
{
	return 1e-4 * L * 3 * C * F * (NH == 2 ? 2 : 1);
}

/* The file of timings of a search that has been started, as another machine would have made it. Every shape of the space is there. */
static void plant_times(const char *dir)
{
	struct err e;
	json_t *all = json_object();
	for (int L = 1; L <= 3; L++)
		for (int C = 2; C <= 32; C += 2)
			for (int F = 4; F <= 64; F += 4)
				for (int NH = 2; NH <= 4; NH += 2) {
					char key[96];
					snprintf(key, sizeof key, "%d x %d, %d/%d heads, ffn %d", L, C, NH, NH / 2, F);
					json_object_set_new(all, key, json_pack("{s:f,s:f}", "prefill_ms", planted_ms(L, C, NH, F), "decode_ms", 0.5));
				}
	char path[400];
	snprintf(path, sizeof path, "%s/times.json", dir);
	assert_ok(json_write_file(path, all, &e), &e);
	snprintf(path, sizeof path, "%s/DONE", dir);
	assert_ok(fsio_remove_tree(path, &e), &e);
	json_decref(all);
}

static int size_of(const json_t *candidate, const char *key)
{
	return (int)number_at(json_object_get(candidate, "shape"), NULL, key);
}

/* Of milliseconds: shapes are timed, and a candidate that takes more than the limit and a twentieth is marked, not trained, not taken. */
static void what_is_too_slow_is_not_taken(void **state)
{
	(void)state;
	const double limit = 1.0;
	glob_t found;
	write_recipe("timed.yaml", "prefill_ms: 1.0, memory: 100k, length: 32, batch: 2", "students:\n"
		     "  cut: {init: {importance: {tokens: 1Ki}}, train: {tokens: 2Ki, batch_tokens: 512}}\n");
	struct outcome o = program_run("run timed.yaml --set name=timed --out timed"); /* how this machine does is of no matter */
	outcome_release(&o);
	assert_int_equal(glob("timed/shapes/*/times.json", 0, NULL, &found), 0);
	assert_int_equal(found.gl_pathc, 1);
	*strrchr(found.gl_pathv[0], '/') = '\0';
	plant_times(found.gl_pathv[0]);
	globfree(&found);
	program_must("run timed.yaml --set name=timed --out timed");
	json_t *search = json_at("timed", "cut/seed-7", "shape-1.json"), *result = json_at("timed", "cut/seed-7", "result.json"), *x;
	const json_t *list = json_object_get(search, "candidates");
	size_t i;
	json_array_foreach(list, i, x) {
		double ms = planted_ms(size_of(x, "layers"), size_of(x, "hidden"), size_of(x, "heads"), size_of(x, "intermediate"));
		assert_true(number_at(x, "achieved", "prefill_ms") == ms && number_at(x, "predicted", "prefill_ms") <= limit);
		assert_true(json_is_true(json_object_get(x, "missed")) == (ms > 1.05 * limit));
		assert_true(!json_object_get(json_object_get(x, "achieved"), "trained_nll") == (ms > 1.05 * limit));
		assert_true(number_at(x, "achieved", "memory") <= 100000);
	}
	assert_true(same_sizes(result, chosen_of(search)));
	json_decref(result);
	json_decref(search);
}

static void plan_prints_the_search(void **state)
{
	(void)state;
	struct outcome o = program_run("plan tiny.yaml");
	program_expect(&o, 0, "plan");
	assert_non_null(strstr(o.out, "search: scores"));
	assert_non_null(strstr(o.out, "search: cuts"));
	const char *candidates = strstr(o.out, "search: candidates");
	assert_non_null(candidates);
	assert_non_null(strstr(candidates, " 6144 ")); /* three of them, 2 Ki tokens each */
	assert_null(strstr(strstr(candidates, "\nscratch "), "scratch  search")); /* it shares the search */
	outcome_release(&o);
}

static void what_cannot_be_is_refused(void **state)
{
	(void)state;
	write_recipe("small.yaml", "parameters: 100", students);
	program_refuses("run small.yaml --out small", 2, "target:");
	write_recipe("large.yaml", "parameters: 1G", students);
	program_refuses("run large.yaml --out large", 2, "removes nothing");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_best_candidate_is_what_students_become), cmocka_unit_test(no_student_pays_for_the_search),
		cmocka_unit_test(stages_have_searches_of_their_own),          cmocka_unit_test(the_report_tells_of_it),
		cmocka_unit_test(finished_it_is_not_run_again),               cmocka_unit_test(plan_prints_the_search),
		cmocka_unit_test(what_cannot_be_is_refused),                  cmocka_unit_test(what_is_too_slow_is_not_taken),
		cmocka_unit_test(a_changed_search_is_told_anew),              cmocka_unit_test(killed_it_goes_on),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

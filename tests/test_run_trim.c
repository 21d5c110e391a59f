/* teacher.trim through the program: everything after the teacher has the smaller vocabulary, and what is left of the teacher says
 * what it said; the stage goes on after a kill, and is made anew for another text. Choice and files: tests/test_trim*.c */
#include "tests/distil_world.h"

#include "model/safetensors.h"

static const char recipe[] =
	"recipe: 1\nname: trimmed\nseeds: [7]\nthreads: 1\nmicro_batch: 4\n"
	"teacher: {model: " TEACHER ", trim: {}}\n"
	"data:\n  sequence_length: 64\n  heldout_tokens: 512\n  domains:\n    few: {train: few.txt, eval: other.txt}\n"
	"target: {layers: 2, hidden: 24, heads: 2, kv_heads: 1, intermediate: 32}\n"
	"students:\n"
	"  cut: {init: {importance: {tokens: 1Ki}}, train: &t {tokens: 4Ki, batch_tokens: 512, lr: 1e-3, distill: {loss: forward_kl, cache: {top_k: 8}}}}\n"
	"  fresh: {init: {random: {}}, train: {<<: *t, distill: null}}\n"
	"report: {bootstrap: 100}\n";

/* Documents of few words, which need few of the tokens. */
static void few_words(const char *path, const char *words, int n_documents)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	for (int i = 0; i < n_documents; i++)
		fprintf(f, "%s saw %s, and then %s ran.\n<|endoftext|>\n", words, i % 3 ? "a dog" : words, i % 2 ? "it" : "they");
	assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
	world_open(state);
	few_words("few.txt", "the cat", 250);
	test_write("other.txt", "the cat saw a dog.\n<|endoftext|>\nOnce there was a girl who had a little red ball in the garden.\n<|endoftext|>\nthey ran.");
	test_write("trimmed.yaml", recipe);
	program_must("run trimmed.yaml --out whole");
	return 0;
}

static json_t *read_json(const char *path)
{
	struct err e;
	json_t *j;
	assert_ok(json_read_file(path, &j, &e), &e);
	return j;
}

static int number_at(const char *path, const char *a, const char *b)
{
	json_t *j = read_json(path);
	const json_t *v = json_object_get(j, a);
	v = b ? json_object_get(v, b) : v;
	assert_true(json_is_integer(v));
	int n = (int)json_integer_value(v);
	json_decref(j);
	return n;
}

static int tokens_at(const char *path, const char *text, const char *when)
{
	json_t *j = read_json(path);
	const json_t *v = json_object_get(json_object_get(json_object_get(j, text), "tokens"), when);
	assert_true(json_is_integer(v));
	int n = (int)json_integer_value(v);
	json_decref(j);
	return n;
}

static void same_file(const char *a, const char *b)
{
	char *one = program_text(a), *two = program_text(b);
	assert_string_equal(one, two);
	free(one);
	free(two);
}

/* ---- what came out ---- */

#define SMALL "whole/teacher/trimmed/model"
#define RESULT "whole/teacher/result/result.json"

static void all_that_follows_is_smaller(void **state)
{
	(void)state;
	static const char *const students[] = {"cut", "fresh"};
	int before = number_at(TEACHER "/config.json", "vocab_size", NULL), after = number_at(SMALL "/config.json", "vocab_size", NULL);
	assert_true(after >= 257 && after < before - 10);
	assert_int_equal(number_at("whole/teacher/trimmed/trim.json", "vocabulary", "before"), before);
	assert_int_equal(number_at("whole/teacher/trimmed/trim.json", "vocabulary", "after"), after);
	for (int i = 0; i < 2; i++) {
		char path[300];
		world_path(path, "whole", students[i], "train/model/config.json");
		assert_int_equal(number_at(path, "vocab_size", NULL), after);
		world_path(path, "whole", students[i], "train/model/tokenizer.json");
		same_file(path, SMALL "/tokenizer.json");
		world_path(path, "whole", students[i], "result/result.json");
		assert_int_equal(number_at(path, "shape", "vocab"), after);
	}
}

static void the_report_says_so(void **state)
{
	(void)state;
	char expected[100];
	json_t *j = read_json(RESULT);
	const char *note = json_string_value(json_array_get(json_object_get(j, "warnings"), 0));
	snprintf(expected, sizeof expected, "trimmed from %d to %d rows", number_at(TEACHER "/config.json", "vocab_size", NULL),
		 number_at(SMALL "/config.json", "vocab_size", NULL));
	assert_true(note && strstr(note, expected) && strstr(note, "training text needs 0.00 % more"));
	assert_string_equal(json_string_value(json_object_get(j, "model")), "../trimmed/model");
	assert_int_equal(number_at(RESULT, "shape", "vocab"), number_at(SMALL "/config.json", "vocab_size", NULL));
	json_decref(j);
	char *text = program_text("whole/report/report.md");
	assert_non_null(strstr(text, expected));
	free(text);
	/* text of other words is spelled in more pieces, of as many bytes */
	assert_int_equal(tokens_at("whole/teacher/trimmed/trim.json", "train", "before"), tokens_at("whole/teacher/trimmed/trim.json", "train", "after"));
	assert_true(tokens_at("whole/teacher/trimmed/trim.json", "eval", "before") < tokens_at("whole/teacher/trimmed/trim.json", "eval", "after"));
}

/* ---- what the teacher says ---- */

enum { MAX_IDS = 64 };
struct said {
	int32_t ids[MAX_IDS];
	int n, V;
	float *logits; /* (n,V) */
};

static struct said say(const char *model, const char *file)
{
	struct said s = {.n = 0};
	struct safetensors *f;
	struct err e;
	char line[1000];
	snprintf(line, sizeof line, "tokenize %s %s", model, file);
	struct outcome o = program_run(line);
	program_expect(&o, 0, line);
	int at = snprintf(line, sizeof line, "logits %s --threads 1 --out logits.safetensors --ids ", model);
	for (char *word = strtok(o.out, " \n"); word && s.n < MAX_IDS; word = strtok(NULL, " \n")) {
		s.ids[s.n] = atoi(word);
		at += snprintf(line + at, sizeof line - (size_t)at, s.n ? ",%d" : "%d", s.ids[s.n]);
		s.n++;
	}
	outcome_release(&o);
	program_must(line);
	assert_ok(safetensors_open(&f, "logits.safetensors", &e), &e);
	const struct safetensor *t = safetensors_find(f, "logits");
	assert_true(t && t->dims[0] == (size_t)s.n);
	s.V = (int)t->dims[1];
	s.logits = malloc(t->n_bytes);
	memcpy(s.logits, t->data, t->n_bytes);
	safetensors_close(f);
	return s;
}

/* The largest difference over the columns of the text's own tokens; shift: compare with a wrong one. */
static double column_distance(const struct said *a, const struct said *b, int shift)
{
	double worst = 0;
	for (int row = 0; row < a->n; row++)
		for (int i = 0; i < a->n; i++) {
			float was = a->logits[row * a->V + a->ids[i]], is = b->logits[row * b->V + b->ids[(i + shift) % a->n]];
			worst = fmax(worst, fabs((double)was - (double)is));
		}
	return worst;
}

static void the_teacher_says_what_it_said(void **state)
{
	(void)state;
	test_write("line.txt", "the cat saw a dog, and then they ran.");
	struct said was = say(TEACHER, "line.txt"), is = say(SMALL, "line.txt");
	int moved = 0;
	assert_int_equal(was.n, is.n);
	assert_true(was.n > 5 && was.V > is.V);
	for (int i = 0; i < was.n; i++)
		moved += was.ids[i] != is.ids[i];
	assert_true(moved > 0);
	assert_true(column_distance(&was, &is, 0) <= 1e-5); /* equal but for the blocks of a product */
	assert_true(column_distance(&was, &is, 1) > 0.1);
	free(was.logits);
	free(is.logits);
}

/* ---- going on ---- */

static void a_finished_run_is_left_alone(void **state)
{
	(void)state;
	program_must("run trimmed.yaml --out whole"); /* the report is written at every start */
	char *before = fingerprint("whole/teacher");
	program_must("run trimmed.yaml --out whole");
	char *after = fingerprint("whole/teacher");
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void a_killed_run_goes_on(void **state)
{
	(void)state;
	for (int n = 0; n < 4; n++) { /* as soon as the stage is there, and later in it */
		int status;
		pid_t child = program_start("run trimmed.yaml --out killed", 0);
		while (!fsio_exists("killed/teacher/trimmed/inputs.json"))
			usleep(100);
		usleep((unsigned)n * 700);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
	}
	/* between the model's files */
	program_must("run trimmed.yaml --out killed");
	assert_int_equal(unlink("killed/teacher/trimmed/DONE") + unlink("killed/teacher/trimmed/trim.json") +
			 unlink("killed/teacher/trimmed/model/config.json"), 0);
	program_must("run trimmed.yaml --out killed");
	trees_are_equal("killed", "whole");
}

static void another_text_is_trimmed_anew(void **state)
{
	(void)state;
	int before = number_at(SMALL "/config.json", "vocab_size", NULL);
	char path[300];
	few_words("few.txt", "Once upon a time there was a little girl", 250);
	program_must("run trimmed.yaml --out killed");
	few_words("few.txt", "the cat", 250);
	int after = number_at("killed/teacher/trimmed/model/config.json", "vocab_size", NULL);
	assert_true(after > before);
	assert_true(fsio_exists("killed/teacher/trimmed.old-1/model/config.json"));
	world_path(path, "killed", "cut", "train/model/config.json");
	assert_int_equal(number_at(path, "vocab_size", NULL), after);
}

/* ---- options, and what is refused ---- */

/* Domains that are generated, and tokens that are used but dropped: text of as many bytes, in more tokens. */
static void used_tokens_can_go(void **state)
{
	(void)state;
	world_recipe("limited.yaml", "{model: " TEACHER ", trim: {max_tokens: 280, min_count: 2, multiple: 16}}", "  s: {init: {layers: [0, 2]}, train: {" BRIEF "}}\n");
	program_must("run limited.yaml --out limited");
	assert_int_equal(number_at("limited/teacher/trimmed/model/config.json", "vocab_size", NULL), 288);
	assert_int_equal(number_at("limited/teacher/trimmed/trim.json", "tokens", "after"), 280);
	assert_true(tokens_at("limited/teacher/trimmed/trim.json", "train", "after") > tokens_at("limited/teacher/trimmed/trim.json", "train", "before"));
	for (int i = 0; i < 2; i++) {
		const char *domain = i ? "b" : "a";
		assert_true(world_result("limited/teacher/result", domain, "bytes") == world_result("teach/teacher/result", domain, "bytes"));
		assert_true(world_result("limited/teacher/result", domain, "tokens") > world_result("teach/teacher/result", domain, "tokens"));
	}
}

static void plan_prices_the_whole_vocabulary(void **state)
{
	(void)state;
	char *before = fingerprint(".");
	struct outcome o = program_run("plan trimmed.yaml");
	program_expect(&o, 0, "plan");
	assert_non_null(strstr(o.out, "the teacher's vocabulary of 300 is trimmed once the text is read"));
	outcome_release(&o);
	char *after = fingerprint(".");
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void what_cannot_be_is_refused(void **state)
{
	(void)state;
	program_refuses("run trimmed.yaml --out no --set data.tokenizer=" TEACHER, 2, "the teacher's own is trimmed");
	program_refuses("run trimmed.yaml --out no --set students.cut.init={\"model\":\"" HALF "\"}", 2, "has a vocabulary of its own");
	program_refuses("run trimmed.yaml --out no --set teacher=[{\"model\":\"" TEACHER "\",\"trim\":{}},{\"model\":\"" SECOND_TEACHER "\"}]", 2, "several teachers");
	program_refuses("run trimmed.yaml --out no --set teacher.model=null --set teacher.init={\"model\":\"" TEACHER "\"} --set teacher.train={\"tokens\":512,\"batch_tokens\":512}", 2,
			"only a given model is trimmed");
	program_refuses("run trimmed.yaml --out no --set teacher.trim.multiple=0", 2, "multiple");
	assert_false(fsio_exists("no"));
	program_refuses("run trimmed.yaml --out no --set teacher.trim.max_tokens=5", 2, "max_tokens 5: the bytes");
	assert_false(fsio_exists("no/teacher/trimmed/DONE"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_follows_is_smaller),
		cmocka_unit_test(the_report_says_so),
		cmocka_unit_test(the_teacher_says_what_it_said),
		cmocka_unit_test(a_finished_run_is_left_alone),
		cmocka_unit_test(a_killed_run_goes_on),
		cmocka_unit_test(another_text_is_trimmed_anew),
		cmocka_unit_test(used_tokens_can_go),
		cmocka_unit_test(plan_prices_the_whole_vocabulary),
		cmocka_unit_test(what_cannot_be_is_refused),
	};
	return cmocka_run_group_tests(tests, set_up, world_close);
}

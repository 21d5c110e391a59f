/* Several teachers through the program: who teaches what by domain, vocabularies of another padded size, a teacher in bf16 beside
 * students in fp32, and one that is corrected on the data first. */
#include "tests/distil_world.h"

#include "model/hf.h"

/* Weights that do not move: what is learned in one run has no influence on the next step, so that runs can be added up. */
#define STILL "tokens: 4Ki, batch_tokens: 512, lr: 1e-9, weight_decay: 0, eval_every: 1M"
#define FROM_HALF(MORE) "  s: {init: {model: " HALF "}, train: {" STILL ", distill: {weight: 1, loss: forward_kl" MORE "}}}\n"

static const char *const columns[] = {"loss", "forward_kl", "teacher_ce"};
enum { COLUMNS = sizeof columns / sizeof *columns, STEPS = 8 };
struct taught { /* what metrics say of a run */
	double v[STEPS][COLUMNS];
	double agree;
};

static struct taught taught(const char *out, const char *teachers, const char *students)
{
	struct taught t;
	char line[100];
	world_recipe("taught.yaml", teachers, students);
	snprintf(line, sizeof line, "run taught.yaml --out %s", out);
	program_must(line);
	struct csv c = world_metrics(out, "s");
	assert_int_equal(c.n_rows, STEPS);
	for (size_t row = 0; row < STEPS; row++)
		for (int i = 0; i < COLUMNS; i++)
			t.v[row][i] = world_at(&c, row, columns[i]);
	t.agree = world_mean(&c, "agree", 0, STEPS);
	csv_release(&c);
	return t;
}

/* The largest difference of a sum of runs, weighted, from another run. */
static double distance(const struct taught *a, double wa, const struct taught *b, double wb, const struct taught *sum)
{
	double worst = 0;
	for (size_t row = 0; row < STEPS; row++)
		for (int i = 0; i < COLUMNS; i++)
			worst = fmax(worst, fabs(wa * a->v[row][i] + wb * b->v[row][i] - sum->v[row][i]));
	return worst;
}

/* ---- several ---- */

/* Rows are taught by the first in a and the second in b, then the other way round: together that is each of them everywhere. */
static void each_teaches_its_domain(void **state)
{
	(void)state;
	struct taught first = taught("first", TEACHER, FROM_HALF(""));
	struct taught second = taught("second", SECOND_TEACHER, FROM_HALF(""));
	struct taught split = taught("split", "[{model: " TEACHER ", domains: {b: 0}}, {model: " SECOND_TEACHER ", domains: {a: 0}}]", FROM_HALF(""));
	struct taught swapped = taught("swapped", "[{model: " TEACHER ", domains: {a: 0}}, {model: " SECOND_TEACHER ", domains: {b: {weight: 0}}}]", FROM_HALF(""));
	struct taught mixed = taught("mixed", "[{model: " TEACHER ", weight: 3}, {model: " SECOND_TEACHER "}]", FROM_HALF(""));
	struct taught sum;
	for (size_t row = 0; row < STEPS; row++)
		for (int i = 0; i < COLUMNS; i++)
			sum.v[row][i] = first.v[row][i] + second.v[row][i];
	assert_true(distance(&split, 1, &swapped, 1, &sum) < 2e-6);
	assert_true(distance(&split, 1, &second, 0, &first) > 1e-3 && distance(&split, 1, &first, 0, &second) > 1e-3);
	assert_true(distance(&split, 1, &first, 0, &swapped) > 1e-3);
	assert_true(distance(&first, 0.75, &second, 0.25, &mixed) < 2e-6);
}

static void caches_of_several_are_as_good_as_they(void **state)
{
	(void)state;
	static const char two[] = "[{model: " TEACHER ", weight: 3}, {model: " SECOND_TEACHER ", domains: {a: 0}}]";
	world_recipe("two.yaml", two, "  online: {init: {layers: [0, 2]}, train: {" BRIEF ", distill: {loss: jsd}}}\n"
				      "  cached: {init: {layers: [0, 2]}, train: {" BRIEF ", distill: {loss: jsd, cache: {hidden: true, precision: fp32, dir: both}}}}\n");
	program_must("run two.yaml --out two");
	assert_true(world_same_weights("two", "online", "two", "cached"));
	assert_true(fsio_exists("both/teacher-0/records") && fsio_exists("both/teacher-1/records"));
}

/* ---- vocabularies ---- */

/* A copy of a tied model with more rows in its embedding, which no token has: they attract every logit that looks at them. */
static void pad(const char *from, const char *to, int rows)
{
	struct err e;
	struct hf_model m;
	struct param_layout layout;
	assert_ok(hf_open(&m, from, &e), &e);
	struct arch arch = m.layout.arch;
	size_t C = (size_t)arch.shape.C, V = (size_t)arch.shape.V;
	assert_true(arch.tied);
	arch.shape.V += rows;
	assert_ok(param_layout_init(&layout, &arch, &e), &e);
	float *source = calloc(m.layout.n_elems, sizeof *source), *padded = calloc(layout.n_elems, sizeof *padded);
	hf_read_f32(&m, source);
	assert_int_equal(layout.n_tensors, m.layout.n_tensors);
	for (int i = 0; i < layout.n_tensors; i++) {
		const struct hf_tensor *t = &m.layout.tensors[i];
		memcpy(padded + layout.tensors[i].offset, source + t->offset, t->rows * (t->cols ? t->cols : 1) * sizeof *source);
		for (size_t k = V * C; t->kind == PARAM_EMBED && k < (V + (size_t)rows) * C; k++)
			padded[layout.tensors[i].offset + k] = k % 2 ? 2 : -2;
	}
	assert_ok(hf_save(to, &layout, padded, &(struct hf_save_options){.dtype = DTYPE_F32, .copy_from = from, .config_from = m.config}, &e), &e);
	free(source);
	free(padded);
	param_layout_release(&layout);
	hf_close(&m);
}

static void padding_teaches_nothing(void **state)
{
	(void)state;
	static const char student[] = "  s: {init: {model: " HALF "}, train: {tokens: 4Ki, batch_tokens: 512, lr: 1e-3, eval_every: 1M, distill: {weight: 0.5, loss: forward_kl%s}}}\n";
	static const char *const caches[] = {"", ", cache: {hidden: true, precision: fp32}", ", cache: {top_k: 10, precision: fp32}"};
	char text[400];
	pad(TEACHER, "padded", 37);
	pad(SECOND_TEACHER, "padded2", 5);
	for (int i = 0; i < 3; i++) {
		char plain_out[20], padded_out[20];
		snprintf(plain_out, sizeof plain_out, "plain-%d", i);
		snprintf(padded_out, sizeof padded_out, "padded-%d", i);
		snprintf(text, sizeof text, student, caches[i]);
		struct taught plain = taught(plain_out, TEACHER, text), padded = taught(padded_out, "padded", text);
		if (distance(&plain, 1, &plain, 0, &padded) > 1e-5)
			fail_msg("padded rows change training by %g (%s)", distance(&plain, 1, &plain, 0, &padded), text);
	}
	snprintf(text, sizeof text, student, "");
	struct taught plain = taught("plain-both", "[" TEACHER ", " SECOND_TEACHER "]", text), padded = taught("padded-both", "[padded, padded2]", text);
	assert_true(distance(&plain, 1, &plain, 0, &padded) < 1e-5);
}

/* A student that is cut from a padded teacher is padded too; it is trained and scored. */
static void a_padded_teacher_is_cut(void **state)
{
	(void)state;
	world_recipe("cut.yaml", "padded", "  s: {init: {layers: [0, 2]}, train: {" BRIEF ", distill: {}}}\n  r: {init: {random: {}}, train: {" BRIEF ", distill: {loss: reverse_kl}}}\n");
	program_must("run cut.yaml --out cut");
	struct csv c = world_metrics("cut", "s");
	assert_true(world_mean(&c, "loss", c.n_rows - 3, 3) < world_mean(&c, "loss", 0, 3));
	csv_release(&c);
}

/* 337 rows, 300 of them tokens: told before the first student is trained, not when the cached one's turn comes. */
static void a_cache_of_padding_is_refused_at_once(void **state)
{
	(void)state;
	world_recipe("wide.yaml", "padded", "  s: {init: {layers: [0, 2]}, train: {" BRIEF "}}\n  c: {init: {layers: [0, 2]}, train: {" BRIEF ", distill: {cache: {top_k: 310}}}}\n");
	program_refuses("run wide.yaml --out wide", 2, "cache: 310 tokens of each row, but the vocabulary has 300");
	assert_false(fsio_exists("wide/students"));
}

static void another_tokenizer_is_refused(void **state)
{
	(void)state;
	world_recipe("tokens.yaml", TEACHER, "  s: {init: {layers: [0, 2]}, train: {tokens: 512, batch_tokens: 512}}\n");
	program_must("run tokens.yaml --out tokens --set data.tokenizer.train_vocabulary=290");
	assert_int_equal(system("cp -r " TEACHER " fewer && cp tokens/tokenizer/tokenizer.json fewer/ && cp -r " TEACHER " other"), 0);
	world_recipe("fewer.yaml", "[" TEACHER ", fewer]", FROM_HALF(""));
	program_refuses("run fewer.yaml --out refused", 2, "fewer: its tokenizer has 290 tokens, that of the run 300: teachers share one tokenizer");
	program_must("run tokens.yaml --out tokens2 --set data.tokenizer.train_vocabulary=300 --set data.domains.a.generate.seed=9 --set data.domains.b.generate.seed=10");
	assert_int_equal(system("cp tokens2/tokenizer/tokenizer.json other/"), 0);
	world_recipe("other.yaml", "[" TEACHER ", other]", FROM_HALF(""));
	program_refuses("run other.yaml --out refused2", 2, "in that of the run: teachers share one tokenizer");
}

/* ---- arithmetic ---- */

static void a_teacher_in_bf16_stays_close(void **state)
{
	(void)state;
	struct taught fp32 = taught("fp32", TEACHER, FROM_HALF("")), bf16 = taught("bf16", "{model: " TEACHER ", compute: bf16}", FROM_HALF(""));
	char *words = program_text("stderr.txt");
	bool without = strstr(words, "this CPU has no bf16 products");
	free(words);
	if (without)
		test_skip("this CPU has no bf16 products");
	double d = distance(&fp32, 1, &fp32, 0, &bf16);
	if (!(d > 1e-6 && d < 0.03)) /* 2^-8 of logits of a few units, averaged over rows */
		fail_msg("bf16 moves the losses by %g", d);
	assert_true(fabs(fp32.agree - bf16.agree) < 0.05);
	assert_true(world_result("fp32/teacher/result", "a", "nll") == world_result("bf16/teacher/result", "a", "nll")); /* scores are fp32 */
}

/* ---- a result ---- */

/* Held-out text and windows of the curves, FLOPs at the length of training: a given model stays, its figures do not. */
static void a_given_teacher_is_scored_anew(void **state)
{
	(void)state;
	static const char *const changes[] = {"", " --set data.heldout_tokens=1500", " --set data.heldout_tokens=1500 --set data.sequence_length=32"};
	static const char result[] = "given/teacher/result";
	double loss[3], flops[3];
	world_recipe("given.yaml", TEACHER, "  s: {init: {layers: [0, 2]}, train: {tokens: 512, batch_tokens: 512}}\n");
	for (int i = 0; i < 3; i++) {
		char line[200];
		snprintf(line, sizeof line, "run given.yaml --out given%s", changes[i]);
		program_must(line);
		loss[i] = world_result(result, NULL, "heldout_nll");
		flops[i] = world_result(result, NULL, "flops_per_token");
	}
	assert_true(loss[0] != loss[1] && loss[1] != loss[2]);
	assert_true(flops[0] == flops[1] && flops[2] < flops[1]);
}

/* ---- correction ---- */

static double planned_flops(const char *line, bool with_teacher)
{
	struct outcome o = program_run(line);
	program_expect(&o, 0, line);
	assert_true(with_teacher == (strstr(o.out, "\nteacher ") != NULL));
	double flops = strtod(strstr(o.out, "total: ") + 7, NULL);
	outcome_release(&o);
	return flops;
}

static double nll(const char *dir)
{
	return (world_result(dir, "a", "nll") + world_result(dir, "b", "nll")) / 2;
}

static void a_corrected_teacher_is_better_and_teaches(void **state)
{
	(void)state;
	static const char corrected[] = "{init: {model: " TEACHER "}, train: {tokens: 24Ki, batch_tokens: 512, lr: 3e-3, eval_every: 1M}}";
	static const char student[] = "  s: {init: {layers: [0, 2]}, train: {" BRIEF ", distill: {loss: forward_kl, weight: 1}}}\n";
	world_recipe("as_it_is.yaml", TEACHER, student);
	world_recipe("corrected.yaml", corrected, student);
	assert_true(planned_flops("plan corrected.yaml", true) > 1.5 * planned_flops("plan as_it_is.yaml", false));
	program_must("run as_it_is.yaml --out as_it_is");
	program_must("run corrected.yaml --out corrected");
	assert_true(nll("corrected/teacher/result") < nll("as_it_is/teacher/result") - 0.05);
	struct csv a = world_metrics("as_it_is", "s"), b = world_metrics("corrected", "s");
	assert_true(world_mean(&b, "teacher_ce", 0, b.n_rows) < world_mean(&a, "teacher_ce", 0, a.n_rows) - 0.05);
	csv_release(&a);
	csv_release(&b);
	assert_true(nll("corrected/students/s/seed-7/result") < nll("as_it_is/students/s/seed-7/result"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_teaches_its_domain),
		cmocka_unit_test(caches_of_several_are_as_good_as_they),
		cmocka_unit_test(padding_teaches_nothing),
		cmocka_unit_test(a_padded_teacher_is_cut),
		cmocka_unit_test(a_cache_of_padding_is_refused_at_once),
		cmocka_unit_test(another_tokenizer_is_refused),
		cmocka_unit_test(a_teacher_in_bf16_stays_close),
		cmocka_unit_test(a_given_teacher_is_scored_anew),
		cmocka_unit_test(a_corrected_teacher_is_better_and_teaches),
	};
	return cmocka_run_group_tests(tests, world_open, world_close);
}

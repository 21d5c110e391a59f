/* Distillation through the program: every loss by name, balance, resume of all that is learned or scheduled, and what follows
 * what inside the models. ESPALIER_QUICK in the environment: fewer kills. */
#include "tests/distil_world.h"

#include "base/rng.h"
#include "model/safetensors.h"
#include "recipes/recipe.h"

/* ---- losses ---- */

static void falls(const char *run, const char *student, const char *loss)
{
	struct csv c = world_metrics(run, student);
	double first = world_mean(&c, loss, 0, 3), last = world_mean(&c, loss, c.n_rows - 3, 3);
	if (!(first > 0 && last < 0.93 * first))
		fail_msg("%s, %s: %g at the beginning, %g at the end", student, loss, first, last);
	csv_release(&c);
}

/* Of the loss alone: without cross-entropy, nothing else can lower it. */
static void every_loss_lowers_what_it_names(void **state)
{
	(void)state;
	char students[8192] = "";
	for (int i = 0, n = 0; i < LOSSES; i++)
		n += snprintf(students + n, sizeof students - (size_t)n, "  %s: {init: {random: {}}, train: {" BRIEF ", distill: {loss: %s, weight: 1}}}\n",
			      loss_names[i], loss_names[i]);
	strcat(students, "  preset: {init: {random: {}}, train: {" BRIEF ", distill: {preset: distilbert}}}\n"
			 "  sampled: {init: {random: {}}, train: {" BRIEF ", distill: {weight: 1, cache: {samples: 16}}}}\n");
	world_recipe("every.yaml", TEACHER, students);
	program_must("run every.yaml --out every");
	for (int i = 0; i < LOSSES; i++)
		falls("every", loss_names[i], loss_names[i]);
	falls("every", "preset", "forward_kl");
	falls("every", "preset", "hidden_cosine");
	falls("every", "sampled", "forward_kl");
}

/* What recipes/loop_loss.c says of itself: running means of the steps before, nothing in the first. */
static void follow(double *running, double value)
{
	*running = *running > 0 ? 0.9 * *running + 0.1 * value : value;
}

static void inner_losses_are_balanced(void **state)
{
	(void)state;
	world_recipe("balance.yaml", TEACHER, "  s: {init: {layers: [0, 2]}, train: {" BRIEF ", distill: {balance: magnitude, skip_separators: false, "
		     "losses: [{ce: 0.1}, {loss: forward_kl, weight: 3}, {loss: hidden_mse, weight: 2}, {loss: relations, weight: 0.5}]}}}\n");
	program_must("run balance.yaml --out balance");
	struct csv c = world_metrics("balance", "s");
	double kl = 0, mse = 0, relations = 0, share = 0;
	for (size_t i = 0; i < c.n_rows; i++) {
		double now_kl = 3 * world_at(&c, i, "forward_kl"), now_mse = world_at(&c, i, "hidden_mse"), now_relations = world_at(&c, i, "relations");
		double inner = world_at(&c, i, "loss") - 0.1 * world_at(&c, i, "ce") - now_kl;
		double want = kl > 0 ? 2 * kl / mse * now_mse + 0.5 * kl / relations * now_relations : 0;
		if (fabs(inner - want) > 1e-5)
			fail_msg("step %zu: inner losses count %g, expected %g", i + 1, inner, want);
		share += i ? inner / now_kl / (double)(c.n_rows - 1) : 0;
		follow(&kl, now_kl);
		follow(&mse, now_mse);
		follow(&relations, now_relations);
	}
	assert_true(share > 1.25 && share < 5); /* 2.5 where all are of one size */
	csv_release(&c);
}

/* ---- disturbed runs ---- */

static unsigned draw(int i, size_t below)
{
	return rng_below(31, RNG_TEST, 0, (uint64_t)i, (uint32_t)below);
}

static const char disturbed[] =
	"  cached: {init: {layers: [0, 2]}, train: {" BRIEF ", distill: {cache: {top_k: 16}}}}\n"
	"  learned:\n"
	"    init: {random: {}}\n"
	"    train: {" BRIEF ", distill: {balance: magnitude, losses: [{ce: 0.5, ce_end: 0.1}, {loss: reverse_kl, temperature: 3, temperature_end: 1, schedule: cosine},"
	" {loss: hidden_cosine}, {loss: relations}]}}\n"
	"  hidden: {init: {layers: [0, 1]}, train: {" BRIEF ", distill: {temperature: 2, temperature_end: 1, cache: {hidden: true}}}}\n";

static size_t bytes_of(const char *run, const char *end)
{
	struct tree t;
	size_t sum = 0;
	tree_open(&t, run);
	for (int i = 0; i < t.n; i++) {
		struct stat s;
		char path[2048];
		snprintf(path, sizeof path, "%s/%s", run, t.paths[i]);
		if (ends_in(path, end) && stat(path, &s) == 0)
			sum += (size_t)s.st_size;
	}
	tree_close(&t);
	return sum;
}

static void killed_anywhere_it_ends_with_the_same_bits(void **state)
{
	(void)state;
	int kills = 0, n = getenv("ESPALIER_QUICK") ? 2 : 4;
	world_recipe("disturbed.yaml", TEACHER, disturbed);
	program_must("run disturbed.yaml --out calm");
	size_t records = bytes_of("calm", "/records");
	assert_true(records > 0);
	for (int i = 0; i < n; i++) /* while the first cache is filled */
		kills += run_and_kill("run disturbed.yaml --out killed", "killed", draw(i, records / 10), draw(50 + i, 40), SIGKILL) == 128 + SIGKILL;
	for (int i = 0; i < n; i++) /* between the steps of what learns a projection and balances, and of what changes its temperature */
		kills += run_and_kill("run disturbed.yaml --out killed", i < n - 1 ? "killed/students/learned" : "killed/students/hidden", 400 + draw(60 + i, 300),
				      draw(70 + i, 40), SIGKILL) == 128 + SIGKILL;
	assert_true(kills >= n);
	program_must("run disturbed.yaml --out killed");
	trees_are_equal("calm", "killed");
}

static void interrupted_it_goes_on(void **state)
{
	(void)state;
	size_t records = bytes_of("calm", "/records");
	bool filling = false;
	for (int i = 0; i < (getenv("ESPALIER_QUICK") ? 2 : 5); i++) {
		size_t goal = i < 2 ? records / 10 : 200 + draw(i, 300);
		int status = run_and_kill("run disturbed.yaml --out stopped", i < 2 ? "stopped" : "stopped/students/learned", goal, draw(80 + i, 20), SIGTERM);
		char *words = program_text("stderr.txt");
		if (status != 1 || !strstr(words, "espalier: interrupted") || !strstr(words, "the same command goes on"))
			fail_msg("exit status %d after a signal\n%s", status, words);
		filling |= strstr(words, "interrupted while a cache was filled") != NULL;
		free(words);
	}
	assert_true(filling);
	program_must("run disturbed.yaml --out stopped");
	trees_are_equal("calm", "stopped");
}

/* ---- layers ---- */

/* The words of one run's standard error. Caller frees. */
static char *said(const char *line)
{
	struct outcome o = program_run(line);
	program_expect(&o, 0, line);
	free(o.out);
	return o.err;
}

static void says(const char *text, const char *words)
{
	if (!strstr(text, words))
		fail_msg("no '%s' in: %s", words, text);
}

/* Layers that the cut kept, in the words of the log. */
static void surviving(const char *run, char pairs[64])
{
	struct err e;
	char command[300];
	struct safetensors *file;
	snprintf(command, sizeof command, "cp %s/init/masks-*/masks.safetensors masks.safetensors", run);
	assert_int_equal(system(command), 0);
	assert_ok(safetensors_open(&file, "masks.safetensors", &e), &e);
	const struct safetensor *t = safetensors_find(file, "layers");
	assert_non_null(t);
	for (int l = 0, n = 0, at = 0; l < 3; l++)
		if (((const float *)t->data)[l] != 0)
			at += snprintf(pairs + at, 64 - (size_t)at, "%s%d of %d", n ? ", " : "", n, l), n++;
	safetensors_close(file);
}

static void layers_follow_those_that_survive(void **state)
{
	(void)state;
	char pairs[64], line[200];
	world_recipe("sheared.yaml", TEACHER,
		     "  sheared:\n"
		     "    init: {masks: {tokens: 8Ki, batch_tokens: 512, lr: 3e-3, distill: [{ce: 0.5}, {loss: jsd}, {loss: hidden_mse, weight: 0.5}]}}\n"
		     "    train: {tokens: 16Ki, batch_tokens: 512, lr: 1e-3, distill: [{loss: forward_kl}, {loss: hidden_mse}, {loss: relations}]}\n"
		     "  halved: {init: {layers: [0, 2]}, train: {" BRIEF ", distill: {loss: hidden_cosine, weight: 0.5}}}\n"
		     "  fresh: {init: {random: {}}, train: {" BRIEF ", distill: {loss: hidden_cosine, weight: 0.5}}}\n");
	char *words = said("run sheared.yaml --out sheared");
	surviving("sheared", pairs);
	says(words, "masks: hidden_mse, student layer of teacher layer: 0 of 0, 1 of 1, 2 of 2\n");
	snprintf(line, sizeof line, "sheared: hidden_mse, student layer of teacher layer: %s, on the columns that the cut kept\n", pairs);
	says(words, line);
	snprintf(line, sizeof line, "sheared: relations, student layer of teacher layer: 1 of %c\n", pairs[strlen(pairs) - 1]);
	says(words, line);
	says(words, "halved: hidden_cosine, student layer of teacher layer: 0 of 0, 1 of 2\n");
	says(words, "fresh: hidden_cosine, student layer of teacher layer: 0 of 1, 1 of 2, through a learned projection\n");
	free(words);
	struct csv c = world_metrics("sheared", "sheared");
	assert_true(world_mean(&c, "hidden_mse", c.n_rows - 3, 3) < world_mean(&c, "hidden_mse", 0, 3));
	csv_release(&c);
}

/* Masks that are learned from a cache: filled once, read by the training of the cut model too, and online gives the same. */
static void masks_are_learned_from_a_cache(void **state)
{
	(void)state;
	static const char student[] =
		"  sheared:\n"
		"    init: {masks: {tokens: 4Ki, batch_tokens: 512, distill: {weight: 0.5, temperature: 2%s}}}\n"
		"    train: {tokens: 8Ki, batch_tokens: 512, lr: 1e-3, distill: {%s}}\n";
	char online[600], cached[600];
	snprintf(online, sizeof online, student, "", "");
	snprintf(cached, sizeof cached, student, ", cache: {hidden: true, precision: fp32}", "cache: {hidden: true, precision: fp32}");
	world_recipe("online.yaml", TEACHER, online);
	world_recipe("cached.yaml", TEACHER, cached);
	program_must("run online.yaml --out masks_online");
	char *words = said("run cached.yaml --out masks_cached");
	says(words, "masks cache 100 %");
	says(words, "sheared cache 100 %");
	free(words);
	assert_int_equal(system("test $(ls masks_cached/cache | wc -l) = 1"), 0);
	assert_true(world_same_weights("masks_online", "sheared", "masks_cached", "sheared"));
}

static void layers_that_are_not_there_are_refused_before_anything_is_made(void **state)
{
	(void)state;
	static const struct {
		const char *losses, *words;
	} bad[] = {
		{"{loss: hidden_mse, student_layers: [2]}", "student_layers: there is no layer 2 in the 2 of the student"},
		{"{loss: hidden_mse, student_layers: [0], teacher_layers: [3]}", "teacher_layers: there is no layer 3 in the 3 of the teacher"},
		{"{loss: hidden_mse, projection: none}", "projection: none, but the student has 24 hidden dimensions and the teacher 32"},
		{"{loss: hidden_mse, projection: kept}", "projection: kept, but the student was not cut from the teacher"},
		{"{loss: relations, relation_heads: 5}", "relation_heads: 5 does not divide"},
		{"{cache: {top_k: 301}}", "cache: 301 tokens of each row, but the vocabulary has 300"},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char student[400];
		snprintf(student, sizeof student, "  s: {init: {random: {}}, train: {" BRIEF ", distill: %s}}\n", bad[i].losses);
		world_recipe("bad.yaml", TEACHER, student);
		program_refuses("run bad.yaml --out bad", 2, bad[i].words);
		assert_false(fsio_exists("bad"));
		program_refuses("plan bad.yaml", 2, bad[i].words);
		char *words = program_text("stderr.txt");
		assert_non_null(strstr(words, "^"));
		free(words);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_loss_lowers_what_it_names),
		cmocka_unit_test(inner_losses_are_balanced),
		cmocka_unit_test(killed_anywhere_it_ends_with_the_same_bits),
		cmocka_unit_test(interrupted_it_goes_on),
		cmocka_unit_test(layers_follow_those_that_survive),
		cmocka_unit_test(masks_are_learned_from_a_cache),
		cmocka_unit_test(layers_that_are_not_there_are_refused_before_anything_is_made),
	};
	return cmocka_run_group_tests(tests, world_open, world_close);
}

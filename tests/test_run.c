/* The whole program on a tiny recipe: it ends with a report; killed, interrupted or out of disk it goes on to the same bits;
 * what should not be touched is not. ESPALIER_QUICK in the environment: fewer kills. */
#include "tests/program.h"

#include "base/rng.h"
#include "results/csv.h"

#include <math.h>

static const char recipe[] =
	"recipe: 1\n"
	"name: tiny\n"
	"seeds: [7]\n"
	"threads: 2\n"
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
	"  sheared:\n"
	"    init: {masks: {tokens: 20Ki, batch_tokens: 512}}\n"
	"    train: &train {tokens: 40Ki, batch_tokens: 512, lr: 1e-3, distill: {}}\n"
	"  halved: {init: {layers: [0]}, train: *train}\n"
	"  scratch: {init: {random: {}}, train: {<<: *train, distill: null}}\n"
	"report: {bootstrap: 200}\n";

static struct test_path home;

/* The run that nobody disturbs; the others are held against it. */
static int set_up(void **state)
{
	(void)state;
	setenv("OMP_WAIT_POLICY", "passive", 1); /* threads that spin starve each other on a busy machine */
	home = test_dir_make();
	assert_int_equal(chdir(home.text), 0);
	test_write("tiny.yaml", recipe);
	struct outcome o = program_run("run tiny.yaml --out whole");
	program_expect(&o, 0, "run");
	static const char *const words[] = {"teacher", "sheared", "halved", "scratch", "report: whole/report/report.html"};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (!strstr(o.out, words[i]))
			fail_msg("no %s in: %s", words[i], o.out);
	assert_null(strstr(o.out, "ETA"));
	assert_non_null(strstr(o.err, "tokens/s"));
	outcome_release(&o);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(chdir("/"), 0);
	test_dir_remove(&home);
	return 0;
}

static void copy_run(const char *to)
{
	char command[200];
	snprintf(command, sizeof command, "cp -a whole %s", to);
	assert_int_equal(system(command), 0);
}

static json_t *read_json(const char *path)
{
	struct err e;
	json_t *v;
	assert_ok(json_read_file(path, &v, &e), &e);
	return v;
}

/* ---- the end of a run ---- */

static void a_run_leaves_results_and_a_report(void **state)
{
	(void)state;
	static const char *const students[] = {"sheared", "halved", "scratch"};
	static const char *const texts[] = {"masks", "layers, depth alone", "fresh weights"};
	json_t *report = read_json("whole/report/report.json");
	assert_true(json_is_object(report));
	json_decref(report);
	char *html = program_text("whole/report/report.html");
	assert_non_null(strstr(html, "</html>"));
	assert_null(strstr(html, "src=\"http"));
	free(html);
	assert_true(fsio_exists("whole/report/report.md"));
	for (int i = 0; i < 3; i++) {
		char path[200];
		snprintf(path, sizeof path, "whole/students/%s/seed-7/result/result.json", students[i]);
		json_t *r = read_json(path);
		assert_string_equal(json_string_value(json_object_get(r, "name")), students[i]);
		assert_int_equal(json_number_value(json_object_get(json_object_get(r, "train"), "tokens")), 40960);
		double nll = json_number_value(json_object_get(json_array_get(json_object_get(r, "eval"), 0), "nll"));
		assert_true(nll > 1 && nll < 6);
		const char *text = json_string_value(json_object_get(r, "init_text"));
		assert_memory_equal(text, texts[i], strlen(texts[i]));
		double start = json_number_value(json_object_get(r, "start_nll")), end = json_number_value(json_object_get(r, "heldout_nll"));
		assert_true(i == 2 ? start == 0 : start > 1 && start < 20 && fabs(start - end) > 1e-3);
		json_decref(r);
		snprintf(path, sizeof path, "inspect whole/students/%s/seed-7/train/model --json", students[i]);
		struct outcome o = program_run(path);
		program_expect(&o, 0, path);
		assert_non_null(strstr(o.out, "\"layers\": 1"));
		assert_non_null(strstr(o.out, i == 1 ? "\"hidden\": 32" : "\"hidden\": 24"));
		outcome_release(&o);
	}
}

static void a_finished_run_is_not_run_again(void **state)
{
	(void)state;
	static const char *const kept[] = {"whole/teacher", "whole/students", "whole/init", "whole/shards", "whole/corpus", "whole/tokenizer"};
	char *before[6];
	json_t *first = read_json("whole/report/report.json"), *second;
	for (int i = 0; i < 6; i++)
		before[i] = fingerprint(kept[i]);
	program_must("run tiny.yaml --out whole");
	program_must("run tiny.yaml --out ./whole/");
	for (int i = 0; i < 6; i++) {
		char *after = fingerprint(kept[i]);
		assert_string_equal(before[i], after);
		free(before[i]);
		free(after);
	}
	second = read_json("whole/report/report.json");
	assert_true(json_equal(first, second));
	json_decref(first);
	json_decref(second);
}

/* Rows whose target is a separator count with CE alone: (ce·n − w·ce_text·m + w·kl·m)/n of n rows, m of them text, so that
 * m, solved for, is a whole number. */
static void the_loss_is_what_is_minimised(void **state)
{
	(void)state;
	static const char *const names[] = {"loss", "ce", "ce_text", "forward_kl"};
	enum { LOSS, CE, CE_TEXT, KL, COLUMNS };
	struct csv c;
	struct err e;
	int at[COLUMNS], separators = 0;
	assert_ok(csv_read(&c, "whole/students/halved/seed-7/train/metrics.csv", &e), &e);
	for (int i = 0; i < COLUMNS; i++)
		assert_true((at[i] = csv_column(&c, names[i])) >= 0);
	for (size_t row = 0; row < c.n_rows; row++) {
		double v[COLUMNS];
		for (int i = 0; i < COLUMNS; i++)
			v[i] = csv_at(&c, row, at[i]);
		double m = 512 * (v[CE] - v[LOSS]) / (0.9 * (v[CE_TEXT] - v[KL]));
		assert_true(fabs(m - round(m)) < 1e-4 && m < 512.5 && m > 256);
		separators += 512 - (int)round(m);
	}
	assert_true(c.n_rows == 80 && separators > 0);
	csv_release(&c);
}

/* ---- disturbed runs ---- */

static unsigned draw(int i, size_t below)
{
	return rng_below(29, RNG_TEST, 0, (uint64_t)i, (uint32_t)below);
}

static void killed_anywhere_it_ends_with_the_same_bits(void **state)
{
	(void)state;
	size_t whole = progress_of("whole");
	int n = getenv("ESPALIER_QUICK") ? 2 : 8, kills = 0;
	for (int i = 0; i < 3; i++) /* text, tokenizer, shards */
		kills += run_and_kill("run tiny.yaml --out killed", "killed", 0, draw(i, 400), SIGKILL) == 128 + SIGKILL;
	for (int i = 0; i < n; i++)
		kills += run_and_kill("run tiny.yaml --out killed", "killed", draw(10 + i, 2 * whole / (size_t)n), draw(100 + i, 40), SIGKILL) == 128 + SIGKILL;
	assert_true(kills >= 3);
	program_must("run tiny.yaml --out killed");
	trees_are_equal("whole", "killed");
}

/* Where all is trained, and results and the report are being written. */
static void killed_at_the_end_it_ends_with_the_same_bits(void **state)
{
	(void)state;
	copy_run("late");
	assert_int_equal(system("rm -r late/report late/students/*/*/result late/students/scratch/*/train/DONE late/teacher/result/DONE"), 0);
	for (unsigned i = 0; i < (getenv("ESPALIER_QUICK") ? 2 : 8); i++)
		run_and_kill("run tiny.yaml --out late", "late", 0, 100 * i, SIGKILL);
	program_must("run tiny.yaml --out late");
	assert_int_equal(system("rm -f late/report/*.tmp"), 0);
	trees_are_equal("whole", "late");
}

static void interrupted_it_says_so_and_goes_on(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		int status = run_and_kill("run tiny.yaml --out stopped", "stopped", progress_of("whole") / 11, draw(200 + i, 30), i % 2 ? SIGTERM : SIGINT);
		char *words = program_text("stderr.txt");
		if (status != 1 || !strstr(words, "espalier: interrupted") || !strstr(words, "the same command goes on"))
			fail_msg("exit status %d after a signal\n%s", status, words);
		free(words);
	}
	program_must("run tiny.yaml --out stopped");
	trees_are_equal("whole", "stopped");
}

static void a_full_disk_is_one_line_and_no_loss(void **state)
{
	(void)state;
	/* the text and the shards fit, the teacher's checkpoint of 338 kB does not */
	struct outcome o = program_wait(program_start("run tiny.yaml --out full", 300000));
	program_expect(&o, 1, "run with a limit on files");
	const char *error = strstr(o.err, "espalier: ");
	assert_non_null(error);
	assert_non_null(strstr(error, "full/teacher/train/checkpoint.safetensors"));
	assert_string_equal(strchr(error, '\n'), "\n");
	outcome_release(&o);
	program_must("run tiny.yaml --out full");
	trees_are_equal("whole", "full");
}

static void a_loss_that_is_not_finite_stops_the_run(void **state)
{
	(void)state;
	copy_run("wild");
	char *before = fingerprint("wild/students/sheared"), *after;
	program_refuses("run tiny.yaml --out wild --set students.scratch.train.lr=10 --set students.scratch.train.weight_decay=10", 1, "step ");
	char *words = program_text("stderr.txt");
	const char *error = strstr(words, "espalier: student 'scratch': ");
	assert_non_null(error);
	assert_true(strstr(error, "model.") || strstr(error, "lm_head")); /* the tensor */
	free(words);
	after = fingerprint("wild/students/sheared");
	assert_string_equal(before, after);
	free(before);
	free(after);
	assert_true(fsio_exists("wild/students/scratch/seed-7/train.old-1/model/model.safetensors"));
}

/* ---- changed recipes ---- */

static void fewer_documents_are_scored_when_asked(void **state)
{
	(void)state;
	char *before;
	copy_run("few");
	before = fingerprint("few/students/halved/seed-7/train");
	program_must("run tiny.yaml --out few --set report.documents=5");
	json_t *r = read_json("few/students/halved/seed-7/result/result.json");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(json_object_get(r, "eval"), 0), "documents")), 5);
	char *after = fingerprint("few/students/halved/seed-7/train");
	assert_string_equal(before, after);
	free(before);
	free(after);
	json_decref(r);
}

static void a_changed_student_is_run_again_and_only_that(void **state)
{
	(void)state;
	static const char *const kept[] = {"changed/teacher", "changed/init", "changed/students/sheared", "changed/students/scratch"};
	char *before[4];
	copy_run("changed");
	for (int i = 0; i < 4; i++)
		before[i] = fingerprint(kept[i]);
	program_must("run tiny.yaml --out changed --set students.halved.train.lr=2e-3");
	for (int i = 0; i < 4; i++) {
		char *after = fingerprint(kept[i]);
		assert_string_equal(before[i], after);
		free(before[i]);
		free(after);
	}
	trees_are_equal("whole/students/halved/seed-7/train", "changed/students/halved/seed-7/train.old-1");
	trees_are_equal("whole/students/halved/seed-7/result", "changed/students/halved/seed-7/result.old-1");
	json_t *r = read_json("changed/students/halved/seed-7/result/result.json");
	assert_true(json_number_value(json_object_get(json_object_get(r, "train"), "lr")) == 2e-3);
	json_decref(r);
}

static void another_teacher_is_another_run_of_everybody_who_learns_from_it(void **state)
{
	(void)state;
	copy_run("taught");
	program_must("run tiny.yaml --out taught --set teacher.train.lr=2e-3");
	assert_true(fsio_exists("taught/teacher/train.old-1/DONE"));
	assert_true(fsio_exists("taught/students/sheared/seed-7/train.old-1/DONE"));
	assert_true(fsio_exists("taught/students/halved/seed-7/train.old-1/DONE"));
	assert_false(fsio_exists("taught/students/scratch/seed-7/train.old-1")); /* learns from text alone */
}

/* Weights from nothing have no hash: what they are comes from the architecture. */
static void another_architecture_is_another_teacher(void **state)
{
	(void)state;
	copy_run("built");
	program_must("run tiny.yaml --out built --set teacher.init.random.rope_theta=500");
	assert_true(fsio_exists("built/teacher/train.old-1/DONE"));
	assert_false(fsio_exists("built/teacher/train.old-2"));
	json_t *config = read_json("built/teacher/train/model/config.json");
	assert_true(json_number_value(json_object_get(config, "rope_theta")) == 500);
	json_decref(config);
}

static void another_seed_is_added(void **state)
{
	(void)state;
	copy_run("seeds");
	char *before = fingerprint("seeds/students/sheared/seed-7"), *after;
	program_must("run tiny.yaml --out seeds --set seeds=[7,8]");
	after = fingerprint("seeds/students/sheared/seed-7");
	assert_string_equal(before, after);
	assert_true(fsio_exists("seeds/students/sheared/seed-8/result/DONE"));
	assert_true(fsio_exists("seeds/students/scratch/seed-8/result/DONE"));
	program_must("run tiny.yaml --out seeds --set seeds=[7,8]");
	assert_int_not_equal(system("ls seeds/init | grep -q old-"), 0); /* both seeds keep the same layers */
	free(before);
	free(after);
}

static void a_list_of_rates_is_searched(void **state)
{
	(void)state;
	copy_run("searched");
	program_must("run tiny.yaml --out searched --set students.scratch.train.lr=[1e-3,4e-3] --set report.metrics=jsonl");
	json_t *r = read_json("searched/students/scratch/seed-7/result/result.json");
	const json_t *tried = json_object_get(json_object_get(r, "train"), "lr_candidates"), *t;
	size_t i, best = 0;
	assert_true(json_array_size(tried) >= 3); /* the best of two stands at an edge */
	json_array_foreach(tried, i, t)
		if (json_number_value(json_object_get(t, "nll")) < json_number_value(json_object_get(json_array_get(tried, best), "nll")))
			best = i;
	assert_true(json_number_value(json_object_get(json_array_get(tried, best), "lr")) ==
		    json_number_value(json_object_get(json_object_get(r, "train"), "lr")));
	json_decref(r);
	assert_true(fsio_exists("searched/students/scratch/seed-7/result/metrics.jsonl"));
}

/* A rate that diverges loses; when all do, that is said. */
static void a_rate_that_diverges_loses(void **state)
{
	(void)state;
	static const char wild[] = "--set students.scratch.train.weight_decay=10 --set students.scratch.train.lr_search_tokens=40Ki";
	char line[400];
	copy_run("diverged");
	snprintf(line, sizeof line, "run tiny.yaml --out diverged %s --set students.scratch.train.lr=[1e-4,1e-3,10]", wild);
	program_must(line);
	json_t *r = read_json("diverged/students/scratch/seed-7/result/result.json"), *phase = read_json("diverged/students/scratch/seed-7/search/lr-10/phase.json");
	const json_t *tried = json_object_get(json_object_get(r, "train"), "lr_candidates");
	assert_int_equal(json_array_size(tried), 3);
	assert_true(json_is_null(json_object_get(json_array_get(tried, 2), "nll")));
	assert_true(json_is_null(json_object_get(phase, "heldout_nll")));
	assert_true(json_number_value(json_object_get(json_object_get(r, "train"), "lr")) == 1e-3);
	assert_int_equal(json_array_size(json_object_get(r, "warnings")), 0);
	json_decref(r);
	json_decref(phase);
	char *before = fingerprint("diverged/students"), *after;
	program_must(line);
	after = fingerprint("diverged/students");
	assert_string_equal(before, after);
	free(before);
	free(after);
	snprintf(line, sizeof line, "run tiny.yaml --out diverged %s --set students.scratch.train.lr=[9,10]", wild);
	program_refuses(line, 1, "student 'scratch': the loss is not finite with any of the 2 learning rates, 9 to 10");
}

/* Rates so small that the largest is always the best. */
static void the_best_rate_at_an_edge_is_told(void **state)
{
	(void)state;
	copy_run("edge");
	struct outcome o = program_run("run tiny.yaml --out edge --set students.scratch.train.lr=[1e-7,2e-7]");
	program_expect(&o, 0, "rates too small");
	assert_non_null(strstr(o.err, "scratch: learning rate 8e-07 is the largest of all 4 tried"));
	outcome_release(&o);
	json_t *r = read_json("edge/students/scratch/seed-7/result/result.json");
	const char *warning = json_string_value(json_array_get(json_object_get(r, "warnings"), 0));
	assert_non_null(warning);
	assert_non_null(strstr(warning, "learning rate 8e-07 is the largest"));
	json_decref(r);
}

static void another_micro_batch_is_told(void **state)
{
	(void)state;
	copy_run("micro");
	assert_int_equal(remove("micro/students/scratch/seed-7/train/DONE"), 0);
	program_refuses("run tiny.yaml --out micro --set micro_batch=8", 2, "session.json says micro_batch 4 from the first start, the recipe 8");
	program_must("run tiny.yaml --out micro --set micro_batch=8 --allow-drift");
	json_t *session = read_json("micro/students/scratch/seed-7/train/session.json");
	assert_int_equal(json_integer_value(json_object_get(session, "micro_batch")), 8);
	json_decref(session);
}

/* A teacher of this run is given to another one: as it is, and to be corrected first. */
static void a_checkpoint_is_a_teacher(void **state)
{
	(void)state;
	struct outcome o = program_run("run tiny.yaml --out given --set teacher=whole/teacher/train/model --set data.tokenizer=null --set students.sheared=null");
	program_expect(&o, 2, "a student that is null");
	outcome_release(&o);
	program_must("run tiny.yaml --out given --set teacher=whole/teacher/train/model --set data.tokenizer=null");
	assert_true(fsio_exists("given/students/scratch/seed-7/train/model/tokenizer.json"));
	assert_false(fsio_exists("given/tokenizer"));
	program_must("run tiny.yaml --out corrected --set teacher.init=null --set teacher.init.model=whole/teacher/train/model --set data.tokenizer=null");
	assert_true(fsio_exists("corrected/teacher/train/model/tokenizer.json"));
	assert_true(fsio_exists("corrected/students/scratch/seed-7/train/model/tokenizer.json"));
}

/* ---- refusals ---- */

static void another_name_is_refused_and_nothing_harmed(void **state)
{
	(void)state;
	char *before = fingerprint("whole"), *after;
	program_refuses("run tiny.yaml --out whole --set name=other", 2, "whole holds the run 'tiny', this recipe is 'other'");
	after = fingerprint("whole");
	assert_string_equal(before, after);
	free(before);
	free(after);
	assert_int_equal(system("mkdir mine && echo precious > mine/recipe.yaml"), 0);
	before = fingerprint("mine");
	program_refuses("run tiny.yaml --out mine", 2, "mine: is not empty (recipe.yaml)");
	after = fingerprint("mine");
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void a_directory_in_use_is_refused(void **state)
{
	(void)state;
	struct err e;
	int fd;
	char words[64];
	copy_run("locked");
	assert_ok(fsio_lock("locked", &fd, &e), &e);
	char *before = fingerprint("locked"), *after;
	snprintf(words, sizeof words, "locked: is in use by process %ld", (long)getpid());
	program_refuses("run tiny.yaml --out locked", 1, words);
	after = fingerprint("locked");
	assert_string_equal(before, after);
	fsio_unlock(&fd);
	free(before);
	free(after);
}

static void another_machine_is_told(void **state)
{
	(void)state;
	struct err e;
	copy_run("moved");
	json_t *m = read_json("moved/manifest.json");
	json_object_set_new(m, "device", json_string("another one"));
	assert_ok(json_write_file("moved/manifest.json", m, &e), &e);
	json_decref(m);
	program_refuses("run tiny.yaml --out moved", 2, "--allow-drift");
	program_must("run tiny.yaml --out moved --allow-drift");
	program_must("run tiny.yaml --out moved"); /* it is this machine's run now */
}

/* Positions that a student's own model does not have. */
static void a_student_of_too_few_positions_is_refused(void **state)
{
	(void)state;
	struct err e;
	assert_int_equal(system("cp -r whole/students/halved/seed-7/train/model short"), 0);
	json_t *config = read_json("short/config.json");
	json_object_set_new(config, "max_position_embeddings", json_integer(32));
	assert_ok(json_write_file("short/config.json", config, &e), &e);
	json_decref(config);
	program_refuses("run tiny.yaml --out bad --set teacher=whole/teacher/train/model --set data.tokenizer=null --set students.halved.init.layers=null --set students.halved.init.model=short",
			2, "sequence_length 64 is more than the 32 positions of halved");
	assert_false(fsio_exists("bad/manifest.json"));
}

static void bad_commands_and_recipes_exit_with_2(void **state)
{
	(void)state;
	static const struct {
		const char *line, *words;
	} bad[] = {
		{"rnu tiny.yaml", "unknown verb 'rnu', did you mean 'run'?"},
		{"run", "expected RECIPE, found 0 arguments"},
		{"run tiny.yaml --oot x", "unknown option --oot, did you mean --out?"},
		{"run nowhere.yaml", "nowhere.yaml: "},
		{"run tiny.yaml --set studnets={}", "--set:1:1: unknown key 'studnets' in recipe; did you mean 'students'?"},
		{"run tiny.yaml --set device=cuda", "no CUDA backend"},
		{"run tiny.yaml --set teacher=nowhere", "nowhere: no such directory"},
		{"run tiny.yaml --set data.domains.x.train=n.txt --set data.domains.x.eval=n.txt", "n.txt: no such file"},
		{"run tiny.yaml --set data.domains.exotic.generate.documents=1", "domain 'exotic': 1 training documents"},
		{"run tiny.yaml --set micro_batch=3", "micro_batch: 3 does not divide the 8 sequences of a step"},
		{"plan tiny.yaml --set target.heads=3", "heads 3"},
		{"run tiny.yaml --set target.hidden=64", "hidden 64"},
		{"run tiny.yaml --set students.halved.init.layers=[2]", "--set:1:29: layers: 2 is not a layer of the source, which has 0 to 1"},
		{"run tiny.yaml --set teacher.init.random.max_positions=32", "sequence_length 64 is more than the 32 positions of the teacher"},
		{"run tiny.yaml --set report.sequence_length=65", "report.sequence_length 65 is more than the 64 positions of the teacher"},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char line[300];
		snprintf(line, sizeof line, "%s%s", bad[i].line, strstr(bad[i].line, "run tiny.yaml --set") ? " --out bad" : "");
		program_refuses(line, 2, bad[i].words);
		assert_false(fsio_exists("bad/teacher"));
		assert_int_equal(system("rm -rf bad"), 0);
	}
	struct outcome o = program_run("");
	program_expect(&o, 2, "");
	assert_string_equal(o.out, "");
	outcome_release(&o);
}

static double planned_flops(const char *sets)
{
	char line[400];
	snprintf(line, sizeof line, "plan tiny.yaml --set name=never %s", sets);
	struct outcome o = program_run(line);
	program_expect(&o, 0, line);
	double flops = strtod(strstr(o.out, "total: ") + 7, NULL);
	outcome_release(&o);
	return flops;
}

/* The teacher once, students once per seed, masks that students share once. */
static void the_plan_counts_what_is_done(void)
{
	double one = planned_flops(""), two = planned_flops("--set seeds=[7,8]"), three = planned_flops("--set seeds=[7,8,9]");
	assert_true(fabs(three - two - (two - one)) < 0.02 * one && two < 1.95 * one && two > 1.3 * one);
	static const char copy[] = "--set students.again.init.masks.tokens=20Ki --set students.again.init.masks.batch_tokens=512 "
				   "--set students.again.train.tokens=40Ki --set students.again.train.batch_tokens=512";
	static const char own[] = "--set students.again.init.masks.tokens=20Ki --set students.again.init.masks.batch_tokens=256 "
				  "--set students.again.train.tokens=40Ki --set students.again.train.batch_tokens=512";
	assert_true(planned_flops(copy) < 0.95 * planned_flops(own));
}

static void plan_touches_nothing(void **state)
{
	(void)state;
	char *before = fingerprint("."), *after;
	struct outcome o = program_run("plan tiny.yaml --set name=never");
	program_expect(&o, 0, "plan");
	static const char *const words[] = {"sheared", "masks", "memory by owner", "FLOPs", "checkpoints on disk"};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		assert_non_null(strstr(o.out, words[i]));
	assert_string_equal(o.err, "");
	assert_non_null(strstr(o.out, "about 1 minute here"));
	outcome_release(&o);
	assert_false(fsio_exists("runs"));
	the_plan_counts_what_is_done();
	after = fingerprint(".");
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void help_and_version_exit_with_0(void **state)
{
	(void)state;
	static const char *const lines[] = {"--help", "--version", "run --help", "compare -h", "keys"};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		struct outcome o = program_run(lines[i]);
		program_expect(&o, 0, lines[i]);
		assert_true(strlen(o.out) > 80);
		assert_string_equal(o.err, "");
		outcome_release(&o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_leaves_results_and_a_report),
		cmocka_unit_test(the_loss_is_what_is_minimised),
		cmocka_unit_test(a_finished_run_is_not_run_again),
		cmocka_unit_test(killed_anywhere_it_ends_with_the_same_bits),
		cmocka_unit_test(killed_at_the_end_it_ends_with_the_same_bits),
		cmocka_unit_test(interrupted_it_says_so_and_goes_on),
		cmocka_unit_test(a_full_disk_is_one_line_and_no_loss),
		cmocka_unit_test(a_loss_that_is_not_finite_stops_the_run),
		cmocka_unit_test(fewer_documents_are_scored_when_asked),
		cmocka_unit_test(a_changed_student_is_run_again_and_only_that),
		cmocka_unit_test(another_teacher_is_another_run_of_everybody_who_learns_from_it),
		cmocka_unit_test(another_architecture_is_another_teacher),
		cmocka_unit_test(another_seed_is_added),
		cmocka_unit_test(a_list_of_rates_is_searched),
		cmocka_unit_test(a_rate_that_diverges_loses),
		cmocka_unit_test(the_best_rate_at_an_edge_is_told),
		cmocka_unit_test(another_micro_batch_is_told),
		cmocka_unit_test(a_checkpoint_is_a_teacher),
		cmocka_unit_test(another_name_is_refused_and_nothing_harmed),
		cmocka_unit_test(a_directory_in_use_is_refused),
		cmocka_unit_test(another_machine_is_told),
		cmocka_unit_test(a_student_of_too_few_positions_is_refused),
		cmocka_unit_test(bad_commands_and_recipes_exit_with_2),
		cmocka_unit_test(plan_touches_nothing),
		cmocka_unit_test(help_and_version_exit_with_0),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

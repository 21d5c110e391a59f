/* Caches of soft targets through the program: the same training as beside a running teacher, shared between students, seeds and
 * runs, refused where they are another's, and what to do about a damaged one. */
#include "tests/distil_world.h"

#include "teacher/cache.h"

/* A student of two of the teacher's layers; more: beside the other keys of distill. */
#define STUDENT(NAME, MORE) "  " NAME ": {init: {layers: [0, 2]}, train: {" BRIEF ", distill: {weight: 0.5" MORE "}}}\n"
#define SHARED ", cache: {precision: fp32, top_k: 12, dir: shared}"

static void says(const char *text, const char *words, bool wanted)
{
	if (!strstr(text, words) == wanted)
		fail_msg("%s '%s' in: %s", wanted ? "no" : "unexpected", words, text);
}

static char *said(const char *line)
{
	struct outcome o = program_run(line);
	program_expect(&o, 0, line);
	free(o.out);
	return o.err;
}

static char *bytes_of(const char *path, size_t *n)
{
	struct err e;
	char *bytes;
	assert_ok(fsio_read_file(path, 1 << 26, &bytes, n, &e), &e);
	return bytes;
}

static void hidden_states_are_as_good_as_the_teacher(void **state)
{
	(void)state;
	static const char *const columns[] = {"loss", "teacher_ce", "agree", "jsd"};
	world_recipe("exact.yaml", TEACHER, STUDENT("online", ", loss: jsd, temperature: 3, temperature_end: 1") STUDENT("hidden", ", loss: jsd, temperature: 3, temperature_end: 1, cache: {hidden: true, precision: fp32}")
		     STUDENT("rounded", ", loss: jsd, temperature: 3, temperature_end: 1, cache: {hidden: true, precision: bf16}"));
	program_must("run exact.yaml --out exact");
	assert_true(world_same_weights("exact", "online", "exact", "hidden"));
	assert_false(world_same_weights("exact", "online", "exact", "rounded"));
	struct csv a = world_metrics("exact", "online"), b = world_metrics("exact", "hidden"), c = world_metrics("exact", "rounded");
	for (size_t row = 0; row < a.n_rows; row++)
		for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
			double x = world_at(&a, row, columns[i]), y = world_at(&b, row, columns[i]), z = world_at(&c, row, columns[i]);
			assert_true(fabs(x - y) <= 1e-6 * fabs(x)); /* the cache holds the teacher's own loss as it was when written */
			assert_true(fabs(x - z) <= 0.02 * fabs(x) + 1e-4);
		}
	csv_release(&a);
	csv_release(&b);
	csv_release(&c);
}

/* The first of these makes `shared`, which the tests below use. */
static void students_share_what_was_filled_once(void **state)
{
	(void)state;
	size_t n, m;
	world_recipe("share.yaml", TEACHER, STUDENT("one", SHARED) STUDENT("two", SHARED ", loss: skew_forward_kl") STUDENT("alone", ", cache: {precision: fp32, top_k: 12}"));
	char *words = said("run share.yaml --out share");
	says(words, "one cache 100 %", true);
	says(words, "two cache", false);
	says(words, "alone cache 100 %", true);
	free(words);
	char *records = bytes_of("shared/records", &n), *own;
	assert_int_equal(system("cat share/cache/*/records > own"), 0);
	own = bytes_of("own", &m);
	assert_true(n == m && !memcmp(records, own, n));
	assert_true(world_same_weights("share", "one", "share", "alone"));
	assert_false(world_same_weights("share", "one", "share", "two"));
	free(records);
	free(own);
	assert_true(world_result("share/students/one/seed-7/result", NULL, "heldout_nll") > 0);
}

static void another_run_reads_what_is_there(void **state)
{
	(void)state;
	char *before = fingerprint("shared"), *after;
	world_recipe("again.yaml", TEACHER, STUDENT("one", ", cache: {precision: fp32, top_k: 12, dir: shared, write: false}"));
	program_must("run again.yaml --out again");
	after = fingerprint("shared");
	assert_string_equal(before, after);
	assert_true(world_same_weights("share", "one", "again", "one"));
	free(before);
	free(after);
}

/* Sequences come in another order, so that pieces of documents are others: they are added, and what was there stays. */
static void another_seed_adds_to_it(void **state)
{
	(void)state;
	size_t n, m;
	char *before = bytes_of("shared/records", &n), *first = fingerprint("share/students/one/seed-7"), *after;
	program_refuses("run again.yaml --out other_seed --set seeds=[8]", 2, "write: true fills it");
	after = bytes_of("shared/records", &m);
	assert_true(n == m);
	free(after);
	program_must("run again.yaml --out other_seed --set seeds=[8] --set students.one.train.distill.cache.write=true");
	assert_false(fsio_exists("other_seed/students/one/seed-8/train.old-1")); /* who may write is not what is learned */
	program_must("run share.yaml --out share --set seeds=[7,8]");
	after = bytes_of("shared/records", &m);
	assert_true(m > n && !memcmp(before, after, n));
	free(after);
	after = fingerprint("share/students/one/seed-7");
	assert_string_equal(first, after);
	free(after);
	program_must("run again.yaml --out other_seed2 --set seeds=[8]");
	program_refuses("run again.yaml --out nothing --set students.one.train.distill.cache.dir=absent", 2, "expected a teacher cache here");
	assert_false(fsio_exists("absent"));
	free(before);
	free(first);
}

static void what_is_not_the_same_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *set, *words;
	} bad[] = {
		{"teacher=" SECOND_TEACHER, "this cache has another teacher (hash of its checkpoint): expected "},
		{"teacher.compute=bf16", "this cache has another teacher"},
		{"data.tokenizer.train_vocabulary=290", "this cache has another tokenizer (hash): expected "},
		{"data.domains.a.generate.seed=5", "this cache has another text (hash): expected "},
		{"students.one.train.distill.temperature=2", "this cache has another temperature: expected 2, found 1"},
		{"students.one.train.distill.cache.top_k=13", "this cache has another number of ids a token: expected 13, found 12"},
		{"students.one.train.distill.cache.precision=bf16", "this cache has another precision: expected BF16, found F32"},
	};
	size_t n, m;
	char *before = bytes_of("shared/records", &n), *after;
	world_recipe("other.yaml", "{model: " TEACHER "}", STUDENT("one", SHARED));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char line[300];
		snprintf(line, sizeof line, "run other.yaml --out other-%zu --set %s", i, bad[i].set);
		program_refuses(line, 2, bad[i].words);
		after = bytes_of("shared/records", &m);
		assert_true(n == m && !memcmp(before, after, n));
		free(after);
	}
	free(before);
}

static void one_directory_of_two_kinds_is_refused_before_anything_is_made(void **state)
{
	(void)state;
	world_recipe("kinds.yaml", TEACHER, STUDENT("one", SHARED) STUDENT("two", SHARED ", temperature: 2"));
	program_refuses("run kinds.yaml --out kinds", 2, "dir: shared is filled with other soft targets for 'one'");
	assert_false(fsio_exists("kinds"));
}

static void two_runs_fill_one_after_the_other(void **state)
{
	(void)state;
	struct err e;
	char words[100];
	int fd;
	assert_ok(fsio_lock("shared", &fd, &e), &e);
	snprintf(words, sizeof words, "shared: is in use by process %ld", (long)getpid());
	program_refuses("run other.yaml --out busy", 1, words);
	fsio_unlock(&fd);
	program_must("run other.yaml --out busy");
	assert_true(world_same_weights("share", "one", "busy", "one"));
}

static void flip(const char *path, size_t at)
{
	FILE *f = fopen(path, "r+");
	assert_non_null(f);
	assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
	int byte = fgetc(f);
	assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
	fputc(byte ^ 4, f);
	assert_int_equal(fclose(f), 0);
}

/* In a header near the begin, and in the middle of what is compressed. */
static void a_damaged_record_is_told_and_written_again(void **state)
{
	(void)state;
	size_t n;
	assert_int_equal(system("cp -r shared whole"), 0);
	world_recipe("damaged.yaml", TEACHER, STUDENT("one", ", cache: {precision: fp32, top_k: 12, dir: damaged}"));
	char *records = bytes_of("shared/records", &n);
	size_t places[] = {20, 300, 20000};
	for (int i = 0; i < 3; i++) {
		char line[200];
		assert_int_equal(system("rm -rf damaged; cp -r whole damaged"), 0);
		flip("damaged/records", places[i]);
		snprintf(line, sizeof line, "run damaged.yaml --out hurt-%d", i);
		program_refuses(line, 1, "remove the cache, it will be written again");
		assert_int_equal(system("rm -r damaged"), 0);
		program_must(line);
		snprintf(line, sizeof line, "hurt-%d", i);
		assert_true(world_same_weights("share", "one", line, "one"));
	}
	free(records);
}

/* ---- plan ---- */

static const struct cache_identity teacher = {.V = 300, .C = 32};
static const struct cache_spec top = {.kind = CACHE_TOP_K, .K = 12, .tau = 1, .value_type = DTYPE_F32};
static const struct cache_spec hidden = {.kind = CACHE_HIDDEN, .value_type = DTYPE_F32};
static const struct cache_spec sampled = {.kind = CACHE_SAMPLED, .K = 20, .power = 1, .tau = 1, .value_type = DTYPE_F32};

static const char *cache_row(const char *plan, const char *student)
{
	const char *table = strstr(plan, "caches of soft targets");
	char start[40];
	snprintf(start, sizeof start, "\n%s ", student);
	return table ? strstr(table, start) : NULL;
}

static void planned(const char *plan, const char *student, const char *kind, const struct cache_spec *spec, double tokens)
{
	const char *row = cache_row(plan, student);
	double got[3], bytes = (double)cache_row_bytes(spec, &teacher);
	if (!row)
		fail_msg("the plan has no cache of %s: %s", student, plan);
	const char *at = strstr(row, kind);
	assert_non_null(at);
	assert_int_equal(sscanf(at + strlen(kind), "%lf %lf %lf", &got[0], &got[1], &got[2]), 3);
	assert_true(got[0] == bytes && got[1] == tokens);
	assert_true(fabs(got[2] - bytes * tokens / 1048576) < 0.051);
}

/* Masks read the first tokens of a stream and training goes on where they end; candidates of a search read the same. */
static void plan_prices_what_will_be_filled(void **state)
{
	(void)state;
	world_recipe("plan.yaml", TEACHER,
		     STUDENT("one", SHARED)
		     "  longer: {init: {layers: [0, 2]}, train: {tokens: 64Ki, batch_tokens: 512, lr: [1e-3, 2e-3], distill: {cache: {precision: fp32, top_k: 12, dir: shared}}}}\n"
		     "  sheared:\n    init: {masks: {tokens: 4Ki, batch_tokens: 512, distill: {cache: {hidden: true, precision: fp32}}}}\n"
		     "    train: {tokens: 8Ki, batch_tokens: 512, distill: {cache: {hidden: true, precision: fp32}}}\n"
		     "  kept: {init: {masks: {tokens: 4Ki, batch_tokens: 512}}, train: {tokens: 8Ki, batch_tokens: 512, distill: {loss: hidden_mse, projection: kept}}}\n"
		     STUDENT("sampled", ", cache: {samples: 20, precision: fp32}"));
	char *before = fingerprint("."), *after;
	struct outcome o = program_run("plan plan.yaml --set seeds=[7,8]");
	program_expect(&o, 0, "plan");
	planned(o.out, "one", "top_k 12, zero", &top, 2 * 65536);
	planned(o.out, "sheared", "hidden 32", &hidden, 2 * 8192);
	planned(o.out, "sampled", "samples 20", &sampled, 2 * 8192);
	assert_null(cache_row(o.out, "longer"));
	assert_null(cache_row(o.out, "kept"));
	outcome_release(&o);
	after = fingerprint(".");
	assert_string_equal(before, after);
	free(before);
	free(after);
}

/* What the plan calls an upper bound is one, and not by much. */
static void the_price_holds(void **state)
{
	(void)state;
	struct err e;
	uint64_t n;
	world_recipe("price.yaml", TEACHER, STUDENT("one", ", cache: {precision: fp32, top_k: 12, dir: priced}"));
	struct outcome o = program_run("plan price.yaml");
	program_expect(&o, 0, "plan");
	planned(o.out, "one", "top_k 12, zero", &top, 8192);
	outcome_release(&o);
	program_must("run price.yaml --out price");
	assert_ok(fsio_size("priced/records", &n, &e), &e);
	uint64_t most = 8192 * cache_row_bytes(&top, &teacher);
	assert_true(n < most && n > most / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hidden_states_are_as_good_as_the_teacher),
		cmocka_unit_test(students_share_what_was_filled_once),
		cmocka_unit_test(another_run_reads_what_is_there),
		cmocka_unit_test(another_seed_adds_to_it),
		cmocka_unit_test(what_is_not_the_same_is_refused),
		cmocka_unit_test(one_directory_of_two_kinds_is_refused_before_anything_is_made),
		cmocka_unit_test(two_runs_fill_one_after_the_other),
		cmocka_unit_test(a_damaged_record_is_told_and_written_again),
		cmocka_unit_test(plan_prices_what_will_be_filled),
		cmocka_unit_test(the_price_holds),
	};
	return cmocka_run_group_tests(tests, world_open, world_close);
}

/* recipes/recipe.c: what the tables of keys cannot say, each with the place it points at; the resolved recipe; the reference. */
#include "tests/testing.h"

#include "tests/recipe_text.h"

static void a_recipe_becomes_structs(void **state)
{
	(void)state;
	struct recipe r;
	struct err e;
	assert_ok(open_text(&r, base, NULL, 0, &e), &e);
	const struct recipe_spec *s = r.spec;
	assert_string_equal(s->name, "shear");
	assert_string_equal(s->teacher->model, "some/model");
	assert_int_equal(s->data->sequence_length, 256);
	assert_int_equal(s->students.n, 3);
	const struct student_spec *sheared = s->students.v[0], *halved = s->students.v[1], *scratch = s->students.v[2];
	assert_int_equal(sheared->one.init->masks->tokens, 1500000);
	assert_int_equal(sheared->one.init->masks->target->intermediate, 320);
	assert_int_equal(sheared->one.train->batch_tokens, 8192);
	assert_true(sheared->one.train->distill->one.weight == 0.5);
	assert_int_equal(halved->one.init->layers.v[2], 4);
	assert_null(scratch->one.train->distill);
	assert_int_equal(scratch->one.train->tokens, 5000000);
	assert_string_equal(init_kind(sheared->one.init), "masks");
	assert_string_equal(init_kind(halved->one.init), "layers");
	assert_string_equal(init_kind(scratch->one.init), "random");
	assert_int_equal(s->target->hidden, 128);
	recipe_close(&r);
}

static void sets_override(void **state)
{
	(void)state;
	static const char *const sets[] = {"students.halved.train.lr=[1e-4, 3e-4]", "report=null", "data.separator=bos", "students.sheared.train.tokens=2M"};
	static const char *const wrong[] = {"students.halved.train.rl=1"};
	struct recipe r;
	struct err e;
	assert_ok(open_text(&r, base, sets, 4, &e), &e);
	const struct student_spec *sheared = r.spec->students.v[0], *halved = r.spec->students.v[1];
	assert_int_equal(halved->one.train->lr.n, 2);
	assert_int_equal(halved->one.train->tokens, 5000000);
	assert_int_equal(sheared->one.train->tokens, 2000000);
	assert_int_equal(sheared->one.train->lr.n, 1);
	assert_int_equal(r.spec->data->separator, DATA_SEPARATOR_BOS);
	assert_int_equal(r.spec->report->references.n, 0);
	recipe_close(&r);
	assert_fails(open_text(&r, base, wrong, 1, &e), &e, "--set:1:");
	assert_non_null(strstr(e.line, "unknown key 'rl' in train"));
	assert_int_equal(e.status, ERR_USER);
}

static void the_resolved_recipe_is_a_fixed_point(void **state)
{
	(void)state;
	struct recipe r;
	struct err e;
	assert_ok(open_text(&r, base, NULL, 0, &e), &e);
	char *text = recipe_resolved(&r);
	assert_non_null(strstr(text, "beta2: 0.95"));
	assert_non_null(strstr(text, "heldout_tokens: 32768"));
	assert_fixed_point(&r);
	free(text);
	recipe_close(&r);
}

/* ---- refusals ---- */

static void refusals_point_at_the_key(void **state)
{
	(void)state;
	static const char made[] = "teacher: {init: {random: {target: {layers: 1, hidden: 8, heads: 1, intermediate: 8}}}, train: {tokens: 8Ki}}";
	static const struct refusal refusals[] = {
		{"name:", "nmae:", "2:1", "unknown key 'nmae' in recipe; did you mean 'name'?"},
		{"recipe: 1", "recipe: 2", "1:9", "recipe: 2 is outside"},
		{"recipe: 1\n", "\n", "2:1", "the key 'recipe' is missing"},
		{"name: shear", "name: a/b", "2:7", "name: it becomes a directory"},
		{"name: shear", "name: .a", "2:7", "name: it becomes a directory"},
		{"seeds: [17]", "seeds: []", "3:8", "seeds: expected at least one"},
		{"seeds: [17]", "seeds: [1, 2, 1]", "3:8", "seeds: 1 stands twice"},
		{"{train: [a.txt], eval: [b.txt]}", "{train: [a.txt]}", "8:14", "a domain has train and eval files, or generate"},
		{"{train: [a.txt], eval: [b.txt]}", "{generate: {}, eval: [b.txt]}", "8:14", "a domain has train and eval files"},
		{"{train: [a.txt], eval: [b.txt]}", "{}", "8:14", "a domain has train and eval files"},
		{"    stories: {train: [a.txt], eval: [b.txt]}\n", "    {}\n", "8:5", "domains: expected a mapping"},
		{"teacher: some/model", "teacher: {}", "4:10", "expected a model directory, or init and train"},
		{"teacher: some/model", "teacher: {model: a, init: {model: b}}", "4:10", "expected a model directory, or init and train"},
		{"teacher: some/model", "teacher: {model: a, train: {tokens: 8Ki}}", "4:10", "a teacher to train further is written"},
		{"teacher: some/model", "teacher: {init: {model: a}}", "4:10", "the key 'train' is missing beside init"},
		{"teacher: some/model", "teacher: {init: {model: a}, train: {tokens: 8Ki, distill: {}}}", "4:36", "it has no teacher of its own"},
		{"teacher: some/model", "teacher: {init: {layers: [0]}, train: {tokens: 8Ki}}", "4:17", "init is random or model"},
		{"teacher: some/model", "teacher: {init: {random: {}}, train: {tokens: 8Ki}}", "4:17", "random needs a target of its own"},
		{"teacher: some/model", made, "6:3", "a teacher made from nothing needs a tokenizer"},
		{"sequence_length: 256", "sequence_length: 256\n  tokenizer: {train_vocabulary: 300, path: x}", "7:14", "expected a path, or train_vocabulary"},
		{"sequence_length: 256", "sequence_length: 256\n  tokenizer: {}", "7:14", "expected a path, or train_vocabulary"},
		{"sequence_length: 256", "sequence_length: 300", "12:64", "batch_tokens 4096 is not a multiple of sequence_length 300"},
		{"batch_tokens: 8Ki", "batch_tokens: 1000", "13:47", "batch_tokens 1000 is not a multiple of sequence_length 256"},
		{"seeds: [17]", "micro_batch: 3", "3:14", "micro_batch: 3 does not divide the 16 sequences of a step"},
		{"tokens: 1.5M", "tokens: 4095", "12:44", "tokens 4095 are less than one step of batch_tokens 4096"},
		{"tokens: 5M", "tokens: 8191", "13:29", "tokens 8191 are less than one step of batch_tokens 8192"},
		{"tokens: 5M", "tokens: 1.504M", "13:29", "tokens are the whole budget of the student: 1504000 leave nothing after the 1499136"},
		{"lr: 1e-3", "lr: []", "13:56", "lr: expected at least one rate"},
		{"lr: 1e-3", "lr: [1e-3, 1e-4]", "13:56", "lr: rates to search are written in rising order"},
		{"lr: 1e-3", "lr: [1e-3, 1e-3]", "13:56", "lr: rates to search are written in rising order"},
		{"lr: 1e-3", "lr: [1, 2, 3, 4, 5, 6, 7, 8, 9]", "13:56", "lr: at most 8 rates to search"},
		{"lr: 1e-3", "lr: 1e9", "13:56", "lr: 1e9 is outside 1e-09 to 10"},
		{"weight: 0.5", "weight: 1.5", "13:80", "weight: 1.5 is outside 0 to 1"},
		{"weight: 0.5", "loss: backward_kl", "13:78", "loss: expected one of forward_kl, reverse_kl, symmetric_kl, jsd,"},
		{"target: *shape, tokens: 1.5M", "method: soft_topk, control: code, tokens: 1.5M", "12:48", "control: code integrates the multipliers of hard_concrete; soft_topk solves its own"},
		{"target: *shape, tokens: 1.5M", "method: soft_topk, control: paper, tokens: 1.5M", "12:48", "control: paper integrates"},
		{"target: *shape, tokens: 1.5M", "weights: frosen, tokens: 1.5M", "12:29", "weights: expected one of train, frozen"},
		{"target: *shape, tokens: 1.5M", "mask_warmup: 0.8, tokens: 1.5M", "12:33", "mask_warmup: 0.8 is outside 0.01 to 0.75"},
		{"init: {layers: [0, 2, 4]}", "init: {importance: {layers: own}}", "15:33", "activation has no scores of layers of its own"},
		{"init: {layers: [0, 2, 4]}", "init: {importance: {tokens: 1Ki}}", "15:33", "tokens 1024 are less than one batch of 8 sequences of 256"},
		{"init: {layers: [0, 2, 4]}", "init: {importance: {tokens: 5M}}", "13:29", "leave nothing after the 4999168 of init.importance"},
		{"init: {layers: [0, 2, 4]}", "init: {importance: {scores: f, method: wanda}}", "15:44", "not beside scores"},
		{"init: {layers: [0, 2, 4]}", "init: {}", "15:11", "expected exactly one of masks, layers, importance, random, model, student; found 0"},
		{"init: {layers: [0, 2, 4]}", "init: {layers: [0], model: m}", "15:11", "expected exactly one of masks, layers, importance, random, model, student; found 2"},
		{"target: &shape {layers: 4, hidden: 128, heads: 4, kv_heads: 2, intermediate: 320}\nstudents:\n  sheared:\n    init: {masks: {target: *shape, ",
		 "students:\n  sheared:\n    init: {masks: {", "11:11", "no target: neither here nor at the top of the recipe"},
		{"  halved:", "  teacher:", "14:3", "the name 'teacher' is taken"},
		{"  halved:", "  ../x:", "14:3", "a name has at most 48 letters"},
		{"  halved:", "  x.old-1:", "14:3", "has no '.old-' in it"},
		{"seeds: [17]", "seeds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]", "3:8", "seeds: at most 16, found 17"},
		{"batch_tokens: 8Ki", "batch_tokens: 512M", "13:47", "are 2000000 sequences per step, expected at most 1000000"},
		{"tokens: 5M, batch_tokens: 8Ki", "tokens: 100G, batch_tokens: 256", "13:29", "are 390625000 steps of batch_tokens 256, expected at most 100000000"},
		{"tokens: 1.5M, batch_tokens: 4Ki", "tokens: 100G, batch_tokens: 256", "12:44", "are 390625000 steps of batch_tokens 256"},
		{"    train: *budget\n", "", "15:5", "the key 'train' is missing"},
		{"reference: scratch", "reference: scrtach", "20:21", "report.reference: no student is called 'scrtach'"},
		{"reference: scratch", "sequence_length: 1", "20:27", "a window of one token scores nothing"},
		{"sequence_length: 256", "sequence_length: 1", "6:20", "sequence_length: 1 is outside 2 to"},
		{"reference: scratch", "bootstrap: 99", "20:21", "bootstrap: 99 is outside 100 to"},
	};
	assert_refused(refusals, sizeof refusals / sizeof *refusals);
}

/* base with students more of them, called s0, s1 … */
static char *crowded(int students, int seeds)
{
	size_t n;
	char *text = NULL, *list = NULL, *with;
	FILE *f = open_memstream(&list, &n);
	fprintf(f, "seeds: [0");
	for (int i = 1; i < seeds; i++)
		fprintf(f, ", %d", i);
	fprintf(f, "]");
	fclose(f);
	with = edited("seeds: [17]", list);
	char *at = strstr(with, "report:");
	f = open_memstream(&text, &n);
	fprintf(f, "%.*s", (int)(at - with), with);
	for (int i = 0; i < students; i++)
		fprintf(f, "  s%d: {init: {layers: [0]}, train: *budget}\n", i);
	fprintf(f, "%s", at);
	fclose(f);
	free(list);
	free(with);
	return text;
}

/* A comparison that cannot be made is refused before anybody is trained for it. */
static void what_cannot_be_compared_is_refused(void **state)
{
	(void)state;
	static const struct {
		int students, seeds;
		const char *words;
	} cases[] = {
		{60, 4, NULL},
		{61, 1, "r.yaml:11:3: students: at most 63, found 64"},
		{13, 16, "r.yaml:3:8: seeds: 16 of 16 students are 256 results, expected at most 255"},
		{14, 15, NULL},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct recipe r;
		struct err e = {0};
		char *text = crowded(cases[i].students, cases[i].seeds);
		if (cases[i].words)
			assert_fails(open_text(&r, text, NULL, 0, &e), &e, cases[i].words);
		else
			assert_ok(open_text(&r, text, NULL, 0, &e), &e);
		if (!cases[i].words)
			recipe_close(&r);
		free(text);
	}
}

static void good_variants_pass(void **state)
{
	(void)state;
	static const struct {
		const char *from, *to;
	} variants[] = {
		{"teacher: some/model", "teacher: {init: {model: some/model}, train: {tokens: 8Ki}}"},
		{"teacher: some/model", "teacher: {model: some/model}"},
		{"{train: [a.txt], eval: [b.txt]}", "{generate: {}}"},
		{"{train: [a.txt], eval: [b.txt]}", "{train: a.txt, eval: b.txt, weight: 2}"},
		{"init: {layers: [0, 2, 4]}", "init: {model: m}"},
		{"init: {layers: [0, 2, 4]}", "init: {importance: {method: taylor, layers: kl, tokens: 8Ki, sequences: 4, refit: true, merge_kv: true}}"},
		{"init: {layers: [0, 2, 4]}", "init: {importance: {scores: i.safetensors, target: {hidden: 64}}}"},
		{"init: {layers: [0, 2, 4]}", "init: {layers: 0}"},
		{"report: {reference: scratch}\n", ""},
		{"report: {reference: scratch}", "report: null"},
		{"sequence_length: 256", "sequence_length: null"},
		{"batch_tokens: 8Ki", "batch_tokens: null"},
		{"lr: 1e-3", "lr: null"},
		{"lr: 1e-3", "lr: [1e-3, 3e-3]"},
	};
	for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
		struct recipe r;
		open_edited(&r, variants[i].from, variants[i].to);
		recipe_close(&r);
	}
}

static void a_missing_or_broken_file_is_one_line(void **state)
{
	(void)state;
	struct recipe r;
	struct err e;
	assert_fails(recipe_open(&r, "/nowhere/r.yaml", NULL, 0, &e), &e, "/nowhere/r.yaml: ");
	assert_int_equal(e.status, ERR_USER);
	assert_null(strchr(e.line, '\n'));
	assert_fails(open_text(&r, "recipe: [1\n", NULL, 0, &e), &e, "r.yaml:");
	assert_int_equal(e.status, ERR_USER);
	assert_fails(open_text(&r, "", NULL, 0, &e), &e, "the document is empty");
}

/* ---- the reference ---- */

static void covers(const char *text, const struct section *s)
{
	char row[128];
	snprintf(row, sizeof row, "\n**%s** ", s->name);
	const char *at = strstr(text, row);
	if (!at)
		fail_msg("no section %s in the reference", s->name);
	for (const struct key *k = s->keys; k->name; k++) {
		snprintf(row, sizeof row, "\n| `%s` |", k->name);
		const char *found = strstr(at, row), *next = strstr(at + 1, "\n**");
		if (!found || (next && found > next) || !k->doc || !*k->doc)
			fail_msg("%s.%s is not in the reference", s->name, k->name);
		if (k->section)
			covers(text, k->section);
	}
}

static void the_reference_covers_every_key(void **state)
{
	(void)state;
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	section_reference(f, &recipe_section);
	fclose(f);
	covers(text, &recipe_section);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_recipe_becomes_structs),
		cmocka_unit_test(sets_override),
		cmocka_unit_test(the_resolved_recipe_is_a_fixed_point),
		cmocka_unit_test(refusals_point_at_the_key),
		cmocka_unit_test(what_cannot_be_compared_is_refused),
		cmocka_unit_test(good_variants_pass),
		cmocka_unit_test(a_missing_or_broken_file_is_one_line),
		cmocka_unit_test(the_reference_covers_every_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

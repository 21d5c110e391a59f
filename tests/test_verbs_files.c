/* tokenize, cut, compare and the help through the command line: ids of the golden tokenizers, surgery that moves exactly
 * the weights that it should, the report over result directories, a help that knows every option. */
#include "tests/verb_world.h"

#include "base/rng.h"
#include "prune/mask_learner.h"
#include "prune/scores.h"
#include "recipes/verbs.h"
#include "results/result_file.h"

/* ---- tokenize ---- */

static json_t *golden_json(const char *name)
{
	json_error_t error;
	json_t *golden = json_load_file(test_source(name).text, JSON_ALLOW_NUL, &error);
	if (!golden)
		fail_msg("%s:%d: %s", name, error.line, error.text);
	return golden;
}

/* No white space, for certain: outside of ASCII it begins with one of these bytes. */
static bool is_dark(const char *character)
{
	return (unsigned char)*character > ' ' && !strchr("\xc2\xe1\xe2\xe3\x7f", *character);
}

/* A document is stripped, and may be no text with a NUL in it: these texts stay as they are. */
static bool stays(const json_t *text)
{
	const char *s = json_string_value(text);
	size_t n = json_string_length(text), last = n;
	while (last && ((unsigned char)s[--last] & 0xc0) == 0x80)
		;
	return n && !memchr(s, 0, n) && is_dark(s) && is_dark(s + last);
}

/* Those texts as documents of texts.jsonl. Returns how many. */
static int write_texts(const json_t *texts)
{
	FILE *f = fopen("texts.jsonl", "w");
	json_t *text;
	size_t i;
	int n = 0;
	json_array_foreach((json_t *)(uintptr_t)texts, i, text)
		if (stays(text)) {
			json_t *line = json_pack("{s:O}", "text", text);
			json_dumpf(line, f, JSON_COMPACT);
			fputc('\n', f);
			json_decref(line);
			n++;
		}
	assert_int_equal(fclose(f), 0);
	return n;
}

/* `tokenize` prints one array per document, one line each, with the golden ids. */
static void check_ids(const char *path, const json_t *texts, const json_t *plain)
{
	char line[1200];
	snprintf(line, sizeof line, "tokenize %s texts.jsonl --json", path);
	struct outcome o = program_run(line);
	program_expect(&o, 0, line);
	const char *at = o.out;
	for (size_t i = 0; i < json_array_size(texts); i++) {
		struct err e;
		json_t *ids;
		if (!stays(json_array_get(texts, i)))
			continue;
		const char *end = strchr(at, '\n');
		assert_non_null(end);
		assert_ok(json_parse(at, (size_t)(end - at), line, &ids, &e), &e);
		if (!json_equal(ids, json_array_get(plain, i)))
			fail_msg("%s: \"%s\" gives %.*s", path, json_string_value(json_array_get(texts, i)), (int)(end - at), at);
		json_decref(ids);
		at = end + 1;
	}
	assert_string_equal(at, "");
	assert_string_equal(o.err, "");
	outcome_release(&o);
}

static void tokenize_gives_the_golden_ids(void **state)
{
	(void)state;
	json_t *golden = golden_json("tests/golden/tokenizers_variants.json"), *texts = json_object_get(golden, "texts"), *c, *value;
	const char *key;
	size_t i;
	assert_true(write_texts(texts) > 20);
	json_array_foreach(json_object_get(golden, "cases"), i, c) {
		struct err e;
		json_t *t = json_deep_copy(json_object_get(json_object_get(golden, "bases"), json_string_value(json_object_get(c, "base"))));
		json_object_foreach(json_object_get(c, "patch"), key, value)
			if (!strcmp(key, "model"))
				json_object_update(json_object_get(t, key), value);
			else
				json_object_set(t, key, value);
		assert_ok(json_write_file("variant.json", t, &e), &e);
		check_ids("variant.json", texts, json_object_get(c, "plain"));
		json_decref(t);
	}
	json_decref(golden);
}

static void tokenize_reads_the_shared_tokenizers(void **state)
{
	(void)state;
	json_t *golden = golden_json("tests/golden/tokenizers_shared.json"), *texts = json_object_get(golden, "texts"), *c;
	size_t i;
	assert_true(write_texts(texts) > 20);
	json_array_foreach(json_object_get(golden, "cases"), i, c)
		check_ids(test_shared(json_string_value(json_object_get(c, "path"))).text, texts, json_object_get(c, "plain"));
	json_decref(golden);
}

/* ---- cut ---- */

static struct safetensors *weights_of(const char *model)
{
	struct err e;
	struct safetensors *file;
	char path[200];
	snprintf(path, sizeof path, "%s/model.safetensors", model);
	assert_ok(safetensors_open(&file, path, &e), &e);
	return file;
}

static const struct safetensor *tensor_of(const struct safetensors *file, const char *name)
{
	const struct safetensor *t = safetensors_find(file, name);
	if (!t)
		fail_msg("no tensor %s", name);
	return t;
}

static void same_tensor(const struct safetensor *a, const struct safetensor *b)
{
	assert_int_equal(a->n_bytes, b->n_bytes);
	assert_memory_equal(a->data, b->data, a->n_bytes);
}

static void cut_keeps_the_listed_layers(void **state)
{
	(void)state;
	program_must("cut llama_bias --layers 1 --out layers");
	struct safetensors *from = weights_of("llama_bias"), *to = weights_of("layers");
	int n = 0;
	for (int i = 0; i < safetensors_count(from); i++) {
		const struct safetensor *t = safetensors_at(from, i);
		char name[200];
		if (!strncmp(t->name, "model.layers.0.", 15))
			continue;
		snprintf(name, sizeof name, "%s", t->name);
		if (!strncmp(name, "model.layers.1.", 15))
			name[13] = '0';
		same_tensor(tensor_of(to, name), t);
		n++;
	}
	assert_int_equal(safetensors_count(to), n);
	json_t *o = world_json("inspect layers --json");
	assert_int_equal(world_number(json_object_get(o, "shape"), "layers"), 1);
	json_decref(o);
	char *copied = program_text("layers/tokenizer.json"), *original = program_text("llama_bias/tokenizer.json");
	assert_string_equal(copied, original);
	free(copied);
	free(original);
	safetensors_close(from);
	safetensors_close(to);
}

enum { L = 2, C = 24, NH = 4, F = 40 }; /* of llama_tied */
static const struct arch tied = {.family = "llama", .shape = {.L = L, .C = C, .F = F, .NH = NH, .NKV = 2, .HD = 6, .V = WORLD_V}};

static void ones(float *z, int n)
{
	for (int i = 0; i < n; i++)
		z[i] = 1;
}

static void save_masks(const char *path, const struct host_masks *z)
{
	struct err e;
	assert_ok(masks_save(path, &tied, z, &e), &e);
}

static void masks_of_ones_change_nothing(void **state)
{
	(void)state;
	float hidden[C], layers[L], heads[L * NH], ffn[L * F];
	ones(hidden, C), ones(layers, L), ones(heads, L * NH), ones(ffn, L * F);
	save_masks("ones.safetensors", &(struct host_masks){hidden, layers, heads, ffn});
	program_must("cut llama_tied --masks ones.safetensors --out same");
	struct safetensors *from = weights_of("llama_tied"), *to = weights_of("same");
	assert_int_equal(safetensors_count(to), safetensors_count(from));
	for (int i = 0; i < safetensors_count(from); i++)
		same_tensor(tensor_of(to, safetensors_at(from, i)->name), safetensors_at(from, i));
	safetensors_close(from);
	safetensors_close(to);
}

static void masks_and_layers_agree(void **state)
{
	(void)state;
	float layers[L] = {1, 0};
	save_masks("first.safetensors", &(struct host_masks){.layers = layers});
	program_must("cut llama_tied --masks first.safetensors --target {\"layers\":1} --out by-mask");
	program_must("cut llama_tied --layers 0 --out by-list");
	trees_are_equal("by-mask", "by-list");
}

/* Every fourth channel of layer 1 and the first ten of layer 0 go; one that stays counts half. */
static void masks_choose_and_scale_channels(void **state)
{
	(void)state;
	float ffn[L * F];
	int kept[F], n = 0;
	ones(ffn, L * F);
	for (int i = 0; i < 10; i++)
		ffn[i] = ffn[F + 4 * i] = 0;
	ffn[F + 5] = 0.5f;
	for (int i = 0; i < F; i++)
		if (ffn[F + i] != 0)
			kept[n++] = i;
	save_masks("ffn.safetensors", &(struct host_masks){.ffn = ffn});
	program_must("cut llama_tied --masks ffn.safetensors --out narrow");
	struct safetensors *from = weights_of("llama_tied"), *to = weights_of("narrow");
	const float *up = tensor_of(from, "model.layers.1.mlp.up_proj.weight")->data, *down = tensor_of(from, "model.layers.1.mlp.down_proj.weight")->data;
	const struct safetensor *cut_up = tensor_of(to, "model.layers.1.mlp.up_proj.weight"), *cut_down = tensor_of(to, "model.layers.1.mlp.down_proj.weight");
	assert_true(cut_up->dims[0] == (size_t)n && cut_down->dims[1] == (size_t)n && n == 30);
	for (int i = 0; i < n; i++) {
		assert_memory_equal((const float *)cut_up->data + i * C, up + kept[i] * C, C * sizeof(float));
		for (int c = 0; c < C; c++)
			assert_true(((const float *)cut_down->data)[c * n + i] == ffn[F + kept[i]] * down[c * F + kept[i]]);
	}
	same_tensor(tensor_of(to, "model.embed_tokens.weight"), tensor_of(from, "model.embed_tokens.weight"));
	safetensors_close(from);
	safetensors_close(to);
}

/* Scores that grow with the index keep the last units of every row: as masks that are 0 on the first do. */
static void scores_choose_the_best_units(void **state)
{
	(void)state;
	struct scores x;
	struct err e;
	float hidden[C], heads[L * NH], ffn[L * F];
	assert_ok(scores_alloc(&x, &tied, false, &e), &e);
	for (int i = 0; i < C; i++)
		hidden[i] = (x.hidden[i] = (float)i) >= 12;
	for (int i = 0; i < L * 2; i++)
		x.groups[i] = (float)(i % 2);
	for (int i = 0; i < L * NH; i++)
		heads[i] = (x.heads[i] = (float)(i % NH)) >= 2;
	for (int i = 0; i < L * F; i++)
		ffn[i] = (x.ffn[i] = (float)(i % F)) >= 10;
	assert_ok(scores_save("scores.safetensors", &tied, &x, &e), &e);
	scores_release(&x);
	save_masks("last.safetensors", &(struct host_masks){.hidden = hidden, .heads = heads, .ffn = ffn});
	program_must("cut llama_tied --masks last.safetensors --out by-last");
	program_must("cut llama_tied --scores scores.safetensors --target {\"hidden\":12,\"heads\":2,\"kv_heads\":1,\"intermediate\":30} --out by-scores");
	trees_are_equal("by-last", "by-scores");
	program_must("cut llama_tied --scores scores.safetensors --target {\"kv_heads\":1} --merge-kv --out merged");
	struct safetensors *from = weights_of("llama_tied"), *to = weights_of("merged");
	const float *k = tensor_of(from, "model.layers.1.self_attn.k_proj.weight")->data, *mean = tensor_of(to, "model.layers.1.self_attn.k_proj.weight")->data;
	for (int i = 0; i < 6 * C; i++)
		assert_true(mean[i] == 0.5f * k[i] + 0.5f * k[6 * C + i]);
	same_tensor(tensor_of(to, "model.layers.1.self_attn.q_proj.weight"), tensor_of(from, "model.layers.1.self_attn.q_proj.weight"));
	safetensors_close(from);
	safetensors_close(to);
}

/* ---- compare ---- */

/* Thirty-one documents that are as hard for everybody; a student is `worse` nat per token worse, give or take. */
static void write_result(const char *name, double worse)
{
	struct err e;
	struct result *r = result_new();
	struct evaluation *v = &r->evals[0].scores;
	snprintf(r->name, sizeof r->name, "%s", name);
	snprintf(r->init, sizeof r->init, "layers");
	snprintf(r->evals[0].domain, sizeof r->evals[0].domain, "letters");
	r->shape = tied.shape;
	r->parameters = 10800;
	r->bytes = 43200;
	r->flops_per_token = 2e4;
	r->n_evals = 1;
	*v = (struct evaluation){.sequence_length = 128, .stride = 64, .data_hash = 9, .dtype = "fp32"};
	for (uint32_t i = 0; i < 31; i++) {
		double hard = 2 + (double)rng_normal(3, RNG_TEST, 0, i), own = worse + 0.01 * (double)rng_normal(3, RNG_TEST, 1 + (uint64_t)name[0], i);
		assert_ok(evaluation_add(v, &(struct document_score){.nll = 40 * (hard + own), .tokens = 40, .bytes = 160}, &e), &e);
	}
	assert_ok(evaluation_finish(v, &e), &e);
	assert_ok(fsio_mkdirs(name, &e), &e);
	assert_ok(result_write(r, name, &e), &e);
	result_free(r);
}

static void compare_reads_result_directories(void **state)
{
	(void)state;
	write_result("finished/apple", 0.3);
	write_result("finished/bread", 0.1);
	struct outcome o = program_run("compare finished/apple finished/bread --reference finished/apple --out table");
	program_expect(&o, 0, "compare");
	static const char *const words[] = {"apple", "bread", "letters", "report: table/report.html"};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		assert_non_null(strstr(o.out, words[i]));
	outcome_release(&o);
	assert_true(fsio_exists("table/report.md") && fsio_exists("table/report.html"));
	char *first = program_text("table/report.json");
	assert_non_null(strstr(first, "bread"));
	program_must("compare finished --reference finished/apple --out again"); /* the directory above them */
	char *second = program_text("again/report.json");
	assert_string_equal(first, second);
	free(first);
	free(second);
	program_refuses("compare finished --reference cake --out cake", 2, "cake");
}

/* ---- help ---- */

static void help_tells_every_option(void **state)
{
	(void)state;
	struct outcome all = program_run("--help");
	program_expect(&all, 0, "--help");
	for (const struct cli_verb *v = verbs; v->name; v++) {
		char line[100];
		snprintf(line, sizeof line, "%s --help", v->name);
		struct outcome o = program_run(line);
		program_expect(&o, 0, line);
		assert_string_equal(o.err, "");
		assert_non_null(strstr(o.out, v->doc));
		assert_non_null(strstr(all.out, v->doc));
		for (const struct cli_option *option = v->options; option->name; option++) {
			snprintf(line, sizeof line, "\n  %s%s%s ", option->name, option->value ? " " : "", option->value ? option->value : "");
			const char *at = strstr(o.out, line);
			if (!at || !strstr(at, option->doc))
				fail_msg("espalier %s --help does not tell %s", v->name, option->name);
		}
		outcome_release(&o);
	}
	outcome_release(&all);
}

static void version_names_libraries_and_machine(void **state)
{
	(void)state;
	struct outcome o = program_run("--version");
	program_expect(&o, 0, "--version");
	static const char *const words[] = {"espalier 0.", "oneDNN", "CUDA"};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (!strstr(o.out, words[i]))
			fail_msg("no %s in: %s", words[i], o.out);
	outcome_release(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tokenize_gives_the_golden_ids),
		cmocka_unit_test(tokenize_reads_the_shared_tokenizers),
		cmocka_unit_test(cut_keeps_the_listed_layers),
		cmocka_unit_test(scores_choose_the_best_units),
		cmocka_unit_test(masks_of_ones_change_nothing),
		cmocka_unit_test(masks_and_layers_agree),
		cmocka_unit_test(masks_choose_and_scale_channels),
		cmocka_unit_test(compare_reads_result_directories),
		cmocka_unit_test(help_tells_every_option),
		cmocka_unit_test(version_names_libraries_and_machine),
	};
	return cmocka_run_group_tests(tests, world_open, world_close);
}

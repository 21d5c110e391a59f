/* prune/trim and the verb: rows are selected bit for bit, in whatever type and files the source has them; logits of kept tokens
 * are unchanged, and the loss is the old one over fewer columns. The tokenizer's side: tests/test_trim.c */
#include "tests/verb_world.h"

#include "model/hf.h"
#include "prune/trim.h"

/* ---- the rows ---- */

static const int32_t kept_rows[] = {3, 0, 60, 17, 5};
enum { N_KEPT = sizeof kept_rows / sizeof *kept_rows };

static size_t row_bytes(const struct safetensor *t)
{
	return t->dims[1] * dtype_size(t->dtype);
}

/* Kept rows are the source's; those behind them lie between the least and the largest of each column, and are the mean. */
static int check_rows(const struct safetensor *from, const struct safetensor *to, int V)
{
	size_t n = row_bytes(from), C = from->dims[1];
	float column[N_KEPT + 8];
	int wrong = 0;
	assert_true(to->n_dims == 2 && to->dims[0] == (size_t)V && to->dims[1] == C);
	for (int i = 0; i < N_KEPT; i++)
		wrong += memcmp((const char *)to->data + (size_t)i * n, (const char *)from->data + (size_t)kept_rows[i] * n, n) != 0;
	for (size_t c = 0; c < C; c++) {
		double mean = 0, largest = 0;
		for (int i = 0; i < V; i++) {
			char bits[8];
			memcpy(bits, (const char *)to->data + (size_t)i * n + c * dtype_size(to->dtype), dtype_size(to->dtype));
			dtype_convert(&column[i], DTYPE_F32, bits, to->dtype, 1);
			mean += i < N_KEPT ? (double)column[i] / N_KEPT : 0;
			largest = i < N_KEPT && fabs((double)column[i]) > largest ? fabs((double)column[i]) : largest;
		}
		for (int i = N_KEPT; i < V; i++)
			wrong += !(fabs((double)column[i] - mean) <= (to->dtype == DTYPE_F32 ? 1e-6 : 4e-3) * largest);
	}
	return wrong;
}

/* Tensors of `to` that are not what they should be. */
static int compare_models(const struct hf_model *from, const struct hf_model *to, int V)
{
	int wrong = 0;
	assert_int_equal(from->layout.n_tensors, to->layout.n_tensors);
	for (int i = 0; i < from->layout.n_tensors; i++) {
		const struct safetensor *a = from->tensors[i], *b = to->tensors[i];
		enum param_kind kind = from->layout.tensors[i].kind;
		assert_true(a->dtype == b->dtype);
		if (kind == PARAM_EMBED || kind == PARAM_HEAD)
			wrong += check_rows(a, b, V);
		else
			wrong += a->n_bytes != b->n_bytes || memcmp(a->data, b->data, a->n_bytes);
	}
	return wrong;
}

static void trim_and_compare(const char *dir, int multiple, int V)
{
	struct err e;
	struct hf_model from, to;
	struct trim_rows rows = {kept_rows, N_KEPT, multiple};
	assert_ok(hf_open(&from, dir, &e), &e);
	assert_ok(fsio_remove_tree("rows", &e), &e);
	assert_ok(fsio_mkdirs("rows", &e), &e);
	assert_ok(prune_trim(&from, &rows, from.config, "rows", &e), &e);
	assert_ok(hf_open(&to, "rows", &e), &e);
	assert_int_equal(to.layout.arch.shape.V, V);
	assert_int_equal(trim_vocab_size(&rows), V);
	assert_true(to.layout.arch.tied == from.layout.arch.tied);
	assert_int_equal(compare_models(&from, &to, V), 0);
	/* and a wrong bit is seen */
	char *copy = malloc(to.tensors[0]->n_bytes);
	struct safetensor bad = *to.tensors[0];
	memcpy(copy, bad.data, bad.n_bytes);
	copy[row_bytes(&bad) * 2] ^= 1;
	bad.data = copy;
	to.tensors[0] = &bad;
	assert_int_equal(compare_models(&from, &to, V), 1);
	free(copy);
	hf_close(&to);
	hf_close(&from);
}

static void rows_are_selected_bit_for_bit(void **state)
{
	(void)state;
	for (int i = 0; i < WORLD_MODELS; i++) {
		trim_and_compare(world_models[i], 1, N_KEPT);
		trim_and_compare(world_models[i], 4, 8);
	}
}

/* bf16 but for one norm in fp32, out of shards. */
static void check_sharded(const char *name)
{
	struct err e;
	struct hf_model hf;
	json_t *index;
	struct hf_save_options o = {.dtype = DTYPE_BF16, .shard_bytes = 9000};
	assert_ok(hf_open(&hf, name, &e), &e);
	assert_ok(fsio_remove_tree("sharded", &e), &e);
	float *flat = malloc(hf.layout.n_elems * sizeof *flat);
	hf_read_f32(&hf, flat);
	enum dtype *types = malloc((size_t)hf.layout.n_tensors * sizeof *types);
	for (int i = 0; i < hf.layout.n_tensors; i++)
		types[i] = hf.layout.tensors[i].kind == PARAM_FINAL_NORM ? DTYPE_F32 : DTYPE_BF16;
	o.types = types;
	o.config_from = hf.config;
	assert_ok(hf_save("sharded", &hf.layout, flat, &o, &e), &e);
	free(flat);
	free(types);
	hf_close(&hf);
	trim_and_compare("sharded", 1, N_KEPT);
	trim_and_compare("sharded", 8, 8);
	assert_ok(json_read_file("sharded/model.safetensors.index.json", &index, &e), &e);
	assert_ok(hf_open(&hf, "sharded", &e), &e);
	assert_true(hf.n_files > 1);
	size_t n_bytes = 0;
	for (int i = 0; i < hf.layout.n_tensors; i++)
		n_bytes += hf.tensors[i]->n_bytes;
	assert_int_equal(world_number(json_object_get(index, "metadata"), "total_size"), n_bytes);
	json_decref(index);
	hf_close(&hf);
}

static void types_and_shards_stay(void **state)
{
	(void)state;
	check_sharded("qwen2");
	check_sharded("llama_bias");
}

/* ---- the verb ---- */

/* Characters a to g, all pairs of them, <s> and <unk>; two ids without a token. Ids stay below WORLD_V. */
static void pairs_tokenizer(const char *path)
{
	static const char added[] = "{\"id\": %d, \"content\": \"%s\", \"special\": true, \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false}";
	static const char post[] = "{\"type\": \"TemplateProcessing\", \"pair\": [], \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, "
				   "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [57], \"tokens\": [\"<s>\"]}}}";
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs("{\"version\": \"1.0\", \"added_tokens\": [", f);
	fprintf(f, added, 56, "<unk>");
	fputs(", ", f);
	fprintf(f, added, 57, "<s>");
	fprintf(f, "], \"normalizer\": null, \"pre_tokenizer\": {\"type\": \"WhitespaceSplit\"}, \"decoder\": {\"type\": \"Fuse\"}, \"post_processor\": %s,\n", post);
	fputs("\"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", \"vocab\": {\"<unk>\": 56, \"<s>\": 57", f);
	for (int i = 0; i < 7; i++)
		fprintf(f, ", \"%c\": %d", 'a' + i, i);
	for (int i = 0; i < 49; i++)
		fprintf(f, ", \"%c%c\": %d", 'a' + i / 7, 'a' + i % 7, 7 + i);
	fputs("}, \"merges\": [", f);
	for (int i = 0; i < 49; i++)
		fprintf(f, "%s\"%c %c\"", i ? ", " : "", 'a' + i / 7, 'a' + i % 7);
	fputs("]}}\n", f);
	assert_int_equal(fclose(f), 0);
}

/* The golden model with that tokenizer, and ids in its configs. */
static void pairs_model(const char *name)
{
	struct err e;
	json_t *config;
	world_copy_model(name, "pairs");
	pairs_tokenizer("pairs/tokenizer.json");
	assert_ok(json_read_file("pairs/config.json", &config, &e), &e);
	json_object_set_new(config, "bos_token_id", json_integer(57));
	json_object_set_new(config, "eos_token_id", json_pack("[i,i]", 57, 20)); /* "bg" */
	json_object_set_new(config, "pad_token_id", json_null());
	assert_ok(json_write_file("pairs/config.json", config, &e), &e);
	json_decref(config);
	test_write("pairs/generation_config.json", "{\"bos_token_id\": 57, \"eos_token_id\": 20}");
	assert_ok(fsio_remove_tree("small", &e), &e);
}

/* Uses ac ee fa da; with a..g, bg, <unk> and <s> 14 tokens stay. */
static const char pairs_text[] = "ac ee fa da ac\n<|endoftext|>\nee ac g b";
static const int32_t pairs_old[] = {0, 1, 2, 3, 4, 5, 6, 9, 20, 28, 39, 42, 56, 57};
enum { N_PAIRS = sizeof pairs_old / sizeof *pairs_old };

static float *logits_of(const char *model, const int32_t *ids, int n, int V)
{
	struct err e;
	struct safetensors *file;
	char line[600];
	int at = snprintf(line, sizeof line, "logits %s --threads 1 --out logits.safetensors --ids ", model);
	for (int i = 0; i < n; i++)
		at += snprintf(line + at, sizeof line - (size_t)at, i ? ",%d" : "%d", ids[i]);
	program_must(line);
	assert_ok(safetensors_open(&file, "logits.safetensors", &e), &e);
	const struct safetensor *t = safetensors_find(file, "logits");
	assert_true(t && t->dims[0] == (size_t)n && t->dims[1] == (size_t)V);
	float *out = malloc(t->n_bytes);
	memcpy(out, t->data, t->n_bytes);
	safetensors_close(file);
	return out;
}

/* The new model's logits are the old one's, column by column. Returns how many differ in any bit. */
static int compare_logits(const char *small, int V)
{
	int32_t ids[13], old[13];
	int wrong = 0;
	for (int i = 0; i < 13; i++) {
		ids[i] = (i * 5 + 13) % N_PAIRS;
		old[i] = pairs_old[ids[i]];
	}
	float *was = logits_of("pairs", old, 13, WORLD_V), *is = logits_of(small, ids, 13, V);
	for (int t = 0; t < 13; t++)
		for (int v = 0; v < N_PAIRS; v++)
			wrong += memcmp(&was[t * WORLD_V + pairs_old[v]], &is[t * V + v], sizeof(float)) != 0;
	for (int t = 0; t < 13; t++) /* padding rows never win */
		for (int v = N_PAIRS; v < V; v++) {
			float largest = is[t * V];
			for (int k = 1; k < N_PAIRS; k++)
				largest = is[t * V + k] > largest ? is[t * V + k] : largest;
			wrong += is[t * V + v] > largest;
		}
	free(was);
	free(is);
	return wrong;
}

static void check_config(const char *path, const char *key, const char *expected)
{
	struct err e;
	json_t *config;
	assert_ok(json_read_file(path, &config, &e), &e);
	char *text = json_dumps(json_object_get(config, key), JSON_ENCODE_ANY | JSON_COMPACT);
	assert_string_equal(text, expected);
	free(text);
	json_decref(config);
}

static void logits_of_kept_tokens_stay(void **state)
{
	(void)state;
	test_write("pairs.txt", pairs_text);
	for (int i = 0; i < WORLD_MODELS; i++) {
		struct err e;
		pairs_model(world_models[i]);
		struct outcome o = program_run("trim pairs --data pairs.txt --out small");
		program_expect(&o, 0, "trim");
		assert_non_null(strstr(o.out, "tokens         58 -> 14"));
		assert_non_null(strstr(o.out, "vocabulary     61 -> 14 rows"));
		assert_non_null(strstr(o.out, "100.000 %"));
		outcome_release(&o);
		check_config("small/config.json", "vocab_size", "14");
		check_config("small/config.json", "bos_token_id", "13");
		check_config("small/config.json", "eos_token_id", "[13,8]");
		check_config("small/config.json", "pad_token_id", "null");
		check_config("small/generation_config.json", "eos_token_id", "8");
		assert_int_equal(compare_logits("small", N_PAIRS), 0);
		assert_ok(fsio_remove_tree("small", &e), &e);
		program_must("trim pairs --data pairs.txt --multiple 16 --out small/");
		check_config("small/config.json", "vocab_size", "16");
		assert_int_equal(compare_logits("small", 16), 0);
	}
}

/* NLL of the rows that predict a token, over the columns of `columns` (n). */
static double direct_nll(const float *logits, const int32_t *ids, int T, const int32_t *columns, int n)
{
	double sum = 0;
	for (int t = 0; t + 1 < T; t++) {
		const float *row = logits + t * WORLD_V;
		double mass = 0;
		for (int v = 0; v < n; v++)
			mass += exp((double)row[columns[v]]);
		sum += log(mass) - (double)row[ids[t + 1]];
	}
	return sum / (T - 1);
}

/* eval of the small model is the old model's logits under a softmax of the kept columns alone. Tolerance: tests/test_verbs.c. */
static void the_loss_is_the_old_one_over_fewer_columns(void **state)
{
	(void)state;
	static const int32_t ids[] = {57, 9, 39, 42, 28, 9}; /* <s> ac ee fa da ac */
	int32_t all[WORLD_V];
	for (int i = 0; i < WORLD_V; i++)
		all[i] = i;
	test_write("pairs.txt", pairs_text);
	test_write("one.txt", "ac ee fa da ac");
	pairs_model("qwen3");
	program_must("trim pairs --data pairs.txt --out small");
	float *logits = logits_of("pairs", ids, 6, WORLD_V);
	json_t *was = world_json("eval pairs --data one.txt --json --threads 1"), *is = world_json("eval small --data one.txt --json --threads 1");
	assert_int_equal(world_number(was, "tokens"), world_number(is, "tokens"));
	assert_close(world_number(was, "nll"), direct_nll(logits, ids, 6, all, WORLD_V), 2e-6, 0);
	assert_close(world_number(is, "nll"), direct_nll(logits, ids, 6, pairs_old, N_PAIRS), 2e-6, 0);
	assert_true(world_number(is, "nll") < world_number(was, "nll") - 0.1);
	json_decref(was);
	json_decref(is);
	free(logits);
}

static void limits_drop_used_tokens(void **state)
{
	(void)state;
	test_write("pairs.txt", pairs_text);
	pairs_model("llama_tied");
	struct outcome o = program_run("trim pairs --data pairs.txt --min-count 3 --out small"); /* ac alone stands there three times */
	program_expect(&o, 0, "trim");
	assert_non_null(strstr(o.out, "tokens         58 -> 11"));
	assert_non_null(strstr(o.out, "% of 11 tokens stay as they are"));
	outcome_release(&o);
	program_refuses("trim pairs --data pairs.txt --out small", 2, "small: is there already");
	program_refuses("trim pairs --data pairs.txt --max-tokens 5 --out other", 2, "--max-tokens 5: the bytes");
	program_refuses("trim pairs --data pairs.txt --multiple 0 --out other", 2, "--multiple");
	program_refuses("trim pairs --data none.txt --out other", 2, "none.txt: no such file");
	program_refuses("trim none --data pairs.txt --out other", 2, "none: no such file");
	program_refuses("trim pairs --out other", 2, "--data");
	assert_false(fsio_exists("other"));
}

/* An id in config.json that no token has: nothing is written. */
static void an_id_without_a_token_is_refused(void **state)
{
	(void)state;
	struct err e;
	json_t *config;
	struct tree t;
	test_write("pairs.txt", pairs_text);
	pairs_model("llama_tied");
	assert_ok(json_read_file("pairs/config.json", &config, &e), &e);
	json_object_set_new(config, "pad_token_id", json_integer(60));
	assert_ok(json_write_file("pairs/config.json", config, &e), &e);
	json_decref(config);
	program_refuses("trim pairs --data pairs.txt --out small", 2, "\"pad_token_id\" is an id that no token");
	tree_open(&t, ".");
	for (int i = 0; i < t.n; i++)
		assert_null(strstr(t.paths[i], "small"));
	tree_close(&t);
	/* a file that can't be written whole leaves nothing either */
	pairs_model("llama_tied");
	struct outcome o = program_wait(program_start("trim pairs --data pairs.txt --out small", 3000));
	assert_int_equal(o.status, 1);
	outcome_release(&o);
	tree_open(&t, ".");
	for (int i = 0; i < t.n; i++)
		assert_null(strstr(t.paths[i], "small"));
	tree_close(&t);
}

/* A real model, if it is there: the same pieces of unseen text, or smaller ones. */
static void stories_are_trimmed(void **state)
{
	(void)state;
	struct test_path model = test_shared("data/models/stories260K"), data = test_shared("data/corpora/stories.valid.txt.gz");
	struct err e;
	char line[4096];
	assert_ok(fsio_remove_tree("small", &e), &e);
	snprintf(line, sizeof line, "trim %s --data %s --min-count 300 --out small", model.text, data.text);
	program_must(line);
	test_write("one.txt", "Once upon a time, there was a little girl named Lily. She was happy.");
	snprintf(line, sizeof line, "eval %s --data one.txt --json", model.text);
	json_t *was = world_json(line), *is = world_json("eval small --data one.txt --json");
	assert_int_equal(world_number(was, "tokens"), world_number(is, "tokens"));
	assert_true(world_number(is, "nll") <= world_number(was, "nll") && world_number(is, "nll") > world_number(was, "nll") - 0.2);
	json_decref(was);
	json_decref(is);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_selected_bit_for_bit),
		cmocka_unit_test(types_and_shards_stay),
		cmocka_unit_test(logits_of_kept_tokens_stay),
		cmocka_unit_test(the_loss_is_the_old_one_over_fewer_columns),
		cmocka_unit_test(limits_drop_used_tokens),
		cmocka_unit_test(an_id_without_a_token_is_refused),
		cmocka_unit_test(stories_are_trimmed),
	};
	return cmocka_run_group_tests(tests, world_open, world_close);
}

/* Hugging Face directories: what is saved is loaded, byte for byte; what is wrong with one is said in one line. */
#include "tests/testing.h"

#include "base/json.h"
#include "model/hf.h"

#include <sys/stat.h>

#define MODEL "tests/golden/models/"

static void open_golden(struct hf_model *m, const char *name)
{
	char path[200];
	struct err e;
	snprintf(path, sizeof path, MODEL "%s", name);
	assert_ok(hf_open(m, test_source(path).text, &e), &e);
}

static float *read_flat(const struct hf_model *m)
{
	float *flat = malloc(m->layout.n_elems * sizeof *flat);
	hf_read_f32(m, flat);
	return flat;
}

static void save(const struct hf_model *m, const float *flat, const char *dir, enum dtype type, size_t shard_bytes)
{
	struct err e;
	struct hf_save_options o = {.dtype = type, .shard_bytes = shard_bytes, .copy_from = m->dir, .config_from = m->config};
	assert_ok(hf_save(dir, &m->layout, flat, &o, &e), &e);
}

static void assert_same_tensors(const struct hf_model *a, const struct hf_model *b)
{
	assert_int_equal(a->layout.n_tensors, b->layout.n_tensors);
	for (int i = 0; i < a->layout.n_tensors; i++) {
		assert_string_equal(a->tensors[i]->name, b->tensors[i]->name);
		assert_int_equal(a->tensors[i]->n_bytes, b->tensors[i]->n_bytes);
		assert_int_equal(a->tensors[i]->dtype, b->tensors[i]->dtype);
		assert_memory_equal(a->tensors[i]->data, b->tensors[i]->data, a->tensors[i]->n_bytes);
	}
}

/* golden -> type -> fp32 in memory -> type: the last two files agree to the byte (for F32, with the golden too). */
static void check_round_trip(const char *name, enum dtype type)
{
	struct test_path dir = test_dir_make(), first = test_join(&dir, "first"), second = test_join(&dir, "second");
	struct hf_model golden, a, b;
	struct err e;
	open_golden(&golden, name);
	float *flat = read_flat(&golden);
	save(&golden, flat, first.text, type, 0);
	free(flat);
	assert_ok(hf_open(&a, first.text, &e), &e);
	assert_int_equal(a.layout.arch.dtype, type);
	flat = read_flat(&a);
	save(&a, flat, second.text, type, 0);
	free(flat);
	assert_ok(hf_open(&b, second.text, &e), &e);
	assert_same_tensors(&a, &b);
	assert_true(hf_hash(&a) == hf_hash(&b));
	if (type == DTYPE_F32)
		assert_same_tensors(&golden, &b);
	assert_string_equal(safetensors_metadata(b.files[0], "format"), "pt");
	hf_close(&golden);
	hf_close(&a);
	hf_close(&b);
	test_dir_remove(&dir);
}

static void test_round_trips(void **state)
{
	static const char *const names[] = {"llama_tied", "llama_rope3", "llama_bias", "mistral_window", "qwen2", "qwen3"};
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		for (enum dtype type = DTYPE_F32; type <= DTYPE_F16; type++)
			check_round_trip(names[i], type);
}

static void test_real_models(void **state)
{
	static const char *const names[] = {"data/models/stories260K", "data/models/stories3M"};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct test_path source = test_shared(names[i]), dir = test_dir_make(), out = test_join(&dir, "out");
		struct hf_model a, b;
		struct err e;
		assert_ok(hf_open(&a, source.text, &e), &e);
		float *flat = read_flat(&a);
		save(&a, flat, out.text, DTYPE_F32, 0);
		free(flat);
		assert_ok(hf_open(&b, out.text, &e), &e);
		assert_same_tensors(&a, &b);
		assert_true(fsio_exists(test_join(&out, "tokenizer.json").text));
		assert_true(fsio_exists(test_join(&out, "generation_config.json").text));
		hf_close(&a);
		hf_close(&b);
		test_dir_remove(&dir);
	}
}

static void test_shards(void **state)
{
	struct test_path dir = test_dir_make(), out = test_join(&dir, "out");
	struct hf_model a, b;
	struct err e;
	json_t *index;
	struct stat st;
	(void)state;
	open_golden(&a, "llama_rope3");
	float *flat = read_flat(&a);
	/* A save that was killed left a single file: it must not be taken for the weights. */
	assert_ok(fsio_mkdirs(out.text, &e), &e);
	test_write(test_join(&out, "model.safetensors").text, "half");
	save(&a, flat, out.text, DTYPE_F32, 20000);
	free(flat);
	assert_false(fsio_exists(test_join(&out, "model.safetensors").text));
	assert_ok(hf_open(&b, out.text, &e), &e);
	assert_true(b.n_files > 3);
	assert_same_tensors(&a, &b);
	for (int i = 1; i <= b.n_files; i++) {
		char name[64];
		snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", i, b.n_files);
		assert_int_equal(stat(test_join(&out, name).text, &st), 0);
		assert_true(st.st_size < 20000 + 4096); /* limit, and the header */
	}
	assert_ok(json_read_file(test_join(&out, "model.safetensors.index.json").text, &index, &e), &e);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")),
			 4 * arch_n_params(&a.layout.arch));
	assert_int_equal(json_object_size(json_object_get(index, "weight_map")), a.layout.n_tensors);
	json_decref(index);
	hf_close(&a);
	hf_close(&b);
	test_dir_remove(&dir);
}

static void test_save_refuses_a_model(void **state)
{
	struct test_path dir = test_dir_make();
	struct hf_model m;
	struct err e;
	(void)state;
	open_golden(&m, "qwen2");
	float *flat = read_flat(&m);
	save(&m, flat, dir.text, DTYPE_F32, 0);
	struct hf_save_options o = {.dtype = DTYPE_F32};
	assert_fails(hf_save(dir.text, &m.layout, flat, &o, &e), &e, "holds a model already");
	free(flat);
	hf_close(&m);
	test_dir_remove(&dir);
}

/* A save that fails at any disk operation leaves no config.json, and the next one completes. */
static void test_full_disk(void **state)
{
	struct test_path dir = test_dir_make(), out = test_join(&dir, "out"), config = test_join(&out, "config.json");
	struct hf_model m, back;
	struct err e;
	int n = 1;
	(void)state;
	open_golden(&m, "llama_tied");
	float *flat = read_flat(&m);
	struct hf_save_options o = {.dtype = DTYPE_BF16, .shard_bytes = 8000, .config_from = m.config};
	for (;; n++) {
		fsio_fail_nth_write((unsigned long)n);
		int rc = hf_save(out.text, &m.layout, flat, &o, &e);
		fsio_fail_nth_write(0);
		if (rc == 0)
			break;
		if (fsio_exists(config.text)) /* only the directory's last sync failed */
			assert_ok(fsio_remove_tree(config.text, &e), &e);
	}
	assert_true(n > 10);
	assert_ok(hf_open(&back, out.text, &e), &e);
	hf_close(&back);
	free(flat);
	hf_close(&m);
	test_dir_remove(&dir);
}

/* ---- bad directories ---- */

/* A copy of a golden model's config and weights. */
static struct test_path copy_golden(const struct test_path *dir, const char *name)
{
	char path[200];
	struct test_path out = test_join(dir, "model");
	struct err e;
	assert_ok(fsio_mkdirs(out.text, &e), &e);
	snprintf(path, sizeof path, MODEL "%s/config.json", name);
	assert_ok(fsio_copy_file(test_source(path).text, test_join(&out, "config.json").text, &e), &e);
	snprintf(path, sizeof path, MODEL "%s/model.safetensors", name);
	assert_ok(fsio_copy_file(test_source(path).text, test_join(&out, "model.safetensors").text, &e), &e);
	return out;
}

/* Replaces the first `from` in a file of the model by `to`, of the same length in binary files. */
static void edit(const struct test_path *model, const char *file, const char *from, const char *to)
{
	struct test_path path = test_join(model, file);
	struct err e;
	char *text;
	size_t n;
	assert_ok(fsio_read_file(path.text, 1 << 20, &text, &n, &e), &e);
	char *at = memmem(text, n, from, strlen(from)), *mended = malloc(n + strlen(to));
	assert_non_null(at);
	size_t head = (size_t)(at - text), tail = n - head - strlen(from);
	memcpy(mended, text, head);
	memcpy(mended + head, to, strlen(to));
	memcpy(mended + head + strlen(to), at + strlen(from), tail);
	assert_ok(fsio_write_file(path.text, mended, head + strlen(to) + tail, &e), &e);
	free(text);
	free(mended);
}

static void assert_refused(const struct test_path *model, const char *want)
{
	struct hf_model m;
	struct err e;
	assert_fails(hf_open(&m, model->text, &e), &e, want);
	assert_ptr_equal(strstr(e.line, model->text), e.line);
	assert_null(strchr(e.line, '\n'));
	assert_null(m.dir);
}

static void test_bad_directories(void **state)
{
	static const struct {
		const char *file, *from, *to, *want;
	} bad[] = {
		{"config.json", "\"hidden_size\": 24", "\"hidden_size\": 28", "has shape [61, 24], config.json asks for [61, 28]"},
		{"config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
		 "\"model.layers.2.self_attn.q_proj.weight\" is missing"},
		{"config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1",
		 "\"model.layers.1.input_layernorm.weight\" is not part of a llama model"},
		{"config.json", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", "lm_head.weight\" is missing"},
		{"config.json", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4", "has shape [12, 24], config.json asks for [24, 24]"},
		{"config.json", "{", "", "config.json:2:18: not valid JSON"},
		{"model.safetensors", "model.norm.weight", "model.norm.w_ight", "tensor \"model.norm.weight\" is missing"},
		{"model.safetensors", "[61,24]", "[24,61]", "has shape [24, 61]"},
		{"model.safetensors", "[61,24]", "[61,25]", "do not fill"},
		{"model.safetensors", "\"F32\",\"shape\":[24]", "\"I32\",\"shape\":[24]", "has type I32; supported: F32, BF16, F16"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct test_path dir = test_dir_make(), model = copy_golden(&dir, "llama_tied");
		edit(&model, bad[i].file, bad[i].from, bad[i].to);
		assert_refused(&model, bad[i].want);
		test_dir_remove(&dir);
	}
}

static void test_missing_files(void **state)
{
	struct test_path dir = test_dir_make(), model = copy_golden(&dir, "qwen3"), none = test_join(&dir, "none");
	struct err e;
	(void)state;
	assert_refused(&none, "no such directory");
	struct test_path file = test_join(&model, "config.json");
	assert_refused(&file, "not a directory");
	assert_ok(fsio_remove_tree(test_join(&model, "model.safetensors").text, &e), &e);
	assert_refused(&model, "no model.safetensors and no model.safetensors.index.json");
	test_write(test_join(&model, "pytorch_model.bin").text, "x");
	assert_refused(&model, "save_pretrained");
	assert_ok(fsio_remove_tree(file.text, &e), &e);
	assert_refused(&model, "config.json");
	test_dir_remove(&dir);
}

static void test_bad_indexes(void **state)
{
	static const char *const bad[][2] = {
		{"{\"weight_map\": {\"a\": \"gone.safetensors\"}}", "gone.safetensors"},
		{"{\"weight_map\": {\"a\": \"../model.safetensors\"}}", "name of a file beside it"},
		{"{\"weight_map\": {\"a\": 3}}", "name of a file beside it"},
		{"{\"weight_map\": {}}", "no weight_map"},
		{"{\"weight_map\": []}", "weight_map"},
		{"{}", "no weight_map"},
	};
	struct test_path dir = test_dir_make(), model = copy_golden(&dir, "llama_tied");
	struct err e;
	(void)state;
	assert_ok(fsio_remove_tree(test_join(&model, "model.safetensors").text, &e), &e);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		test_write(test_join(&model, "model.safetensors.index.json").text, bad[i][0]);
		assert_refused(&model, bad[i][1]);
	}
	test_dir_remove(&dir);
}

/* A second file that repeats tensors, or brings those that some tools leave behind. */
static void write_second(const struct test_path *model, const char *name, const void *data, size_t rows, size_t cols)
{
	struct safetensors_writer *w;
	struct err e;
	assert_ok(safetensors_create(&w, test_join(model, "second.safetensors").text, &e), &e);
	safetensors_declare(w, name, DTYPE_F32, cols ? 2 : 1, (const size_t[]){rows, cols});
	assert_ok(safetensors_write(w, data, rows * (cols ? cols : 1) * sizeof(float), &e), &e);
	assert_ok(safetensors_commit(w, &e), &e);
}

static void test_strangers(void **state)
{
	struct test_path dir = test_dir_make(), model = copy_golden(&dir, "llama_tied");
	struct hf_model golden, m;
	struct err e;
	(void)state;
	open_golden(&golden, "llama_tied");
	float *embed = malloc(golden.tensors[0]->n_bytes);
	memcpy(embed, golden.tensors[0]->data, golden.tensors[0]->n_bytes);
	rename(test_join(&model, "model.safetensors").text, test_join(&model, "first.safetensors").text);
	test_write(test_join(&model, "model.safetensors.index.json").text,
		   "{\"weight_map\": {\"a\": \"first.safetensors\", \"b\": \"second.safetensors\"}}");
	write_second(&model, "model.layers.0.self_attn.rotary_emb.inv_freq", embed, 3, 0);
	assert_ok(hf_open(&m, model.text, &e), &e);
	hf_close(&m);
	write_second(&model, "lm_head.weight", embed, 61, 24);
	assert_ok(hf_open(&m, model.text, &e), &e);
	hf_close(&m);
	embed[100] += 1;
	write_second(&model, "lm_head.weight", embed, 61, 24);
	assert_refused(&model, "lm_head.weight differs from the embedding");
	write_second(&model, "model.norm.weight", embed, 24, 0);
	assert_refused(&model, "stands in two files");
	write_second(&model, "model.layers.0.self_attn.q_proj.bias", embed, 24, 0);
	assert_refused(&model, "\"model.layers.0.self_attn.q_proj.bias\" is not part of a llama model");
	free(embed);
	hf_close(&golden);
	test_dir_remove(&dir);
}

/* Data at odd addresses, as old writers leave them, read right. */
static void test_unaligned(void **state)
{
	struct test_path dir = test_dir_make(), model = copy_golden(&dir, "qwen2");
	struct hf_model golden, m;
	struct err e;
	char *file, *shifted;
	size_t n;
	(void)state;
	struct test_path path = test_join(&model, "model.safetensors");
	assert_ok(fsio_read_file(path.text, 1 << 20, &file, &n, &e), &e);
	uint64_t n_header;
	memcpy(&n_header, file, 8);
	shifted = malloc(n + 1);
	memcpy(shifted, file, 8 + n_header);
	shifted[8 + n_header] = ' ';
	memcpy(shifted + 9 + n_header, file + 8 + n_header, n - 8 - n_header);
	n_header++;
	memcpy(shifted, &n_header, 8);
	assert_ok(fsio_write_file(path.text, shifted, n + 1, &e), &e);
	open_golden(&golden, "qwen2");
	assert_ok(hf_open(&m, model.text, &e), &e);
	float *want = read_flat(&golden), *got = read_flat(&m);
	assert_memory_equal(got, want, m.layout.n_elems * sizeof *got);
	free(want);
	free(got);
	free(file);
	free(shifted);
	hf_close(&m);
	hf_close(&golden);
	test_dir_remove(&dir);
}

static void test_hash_sees_one_bit(void **state)
{
	struct test_path dir = test_dir_make(), model = copy_golden(&dir, "qwen2");
	struct hf_model m;
	struct err e;
	char *file;
	size_t n;
	(void)state;
	assert_ok(hf_open(&m, model.text, &e), &e);
	uint64_t before = hf_hash(&m);
	hf_close(&m);
	struct test_path path = test_join(&model, "model.safetensors");
	assert_ok(fsio_read_file(path.text, 1 << 20, &file, &n, &e), &e);
	file[n - 1000] ^= 1;
	assert_ok(fsio_write_file(path.text, file, n, &e), &e);
	free(file);
	assert_ok(hf_open(&m, model.text, &e), &e);
	assert_true(hf_hash(&m) != before);
	hf_close(&m);
	test_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips), cmocka_unit_test(test_real_models), cmocka_unit_test(test_shards),
		cmocka_unit_test(test_save_refuses_a_model), cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_bad_directories), cmocka_unit_test(test_missing_files), cmocka_unit_test(test_bad_indexes),
		cmocka_unit_test(test_strangers), cmocka_unit_test(test_unaligned), cmocka_unit_test(test_hash_sees_one_bit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A working directory for tests of the verbs: the golden models with a tokenizer of one letter per id, so that any golden
 * sequence can be written as text, and what the program says about them. */
#ifndef TESTS_VERB_WORLD_H
#define TESTS_VERB_WORLD_H

#include "tests/program.h"

#include "model/safetensors.h"

enum { WORLD_V = 61, WORLD_T = 13, WORLD_DOCUMENTS = 2, WORLD_MODELS = 6 };
static const char *const world_models[WORLD_MODELS] = {"llama_tied", "llama_rope3", "llama_bias", "mistral_window", "qwen2", "qwen3"};
static const char world_letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/* n letters, ids 0 to n-1. bos: id 1 is <s> instead of b, and stands in front of every document. */
static inline void world_tokenizer(const char *path, int n, bool bos)
{
	static const char token[] = "{\"id\": 1, \"content\": \"<s>\", \"special\": true, \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false}";
	static const char post[] = "{\"type\": \"TemplateProcessing\", \"pair\": [], \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, "
				   "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [1], \"tokens\": [\"<s>\"]}}}";
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "{\"version\": \"1.0\", \"added_tokens\": [%s], \"normalizer\": null, \"post_processor\": %s, \"decoder\": {\"type\": \"ByteLevel\"},\n",
		bos ? token : "", bos ? post : "null");
	fputs("\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true},\n", f);
	fputs("\"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {", f);
	for (int i = 0; i < n; i++)
		if (bos && i == 1)
			fputs(", \"<s>\": 1", f);
		else
			fprintf(f, "%s\"%c\": %d", i ? ", " : "", world_letters[i], i);
	fputs("}}}\n", f);
	assert_int_equal(fclose(f), 0);
}

/* to/: the golden model, and the letters as its tokenizer. */
static inline void world_copy_model(const char *name, const char *to)
{
	static const char *const files[] = {"config.json", "model.safetensors"};
	struct err e;
	char from[200], path[200];
	assert_ok(fsio_mkdirs(to, &e), &e);
	for (int i = 0; i < 2; i++) {
		snprintf(from, sizeof from, "tests/golden/models/%s/%s", name, files[i]);
		snprintf(path, sizeof path, "%s/%s", to, files[i]);
		assert_ok(fsio_copy_file(test_source(from).text, path, &e), &e);
	}
	snprintf(path, sizeof path, "%s/tokenizer.json", to);
	world_tokenizer(path, WORLD_V, false);
}

static struct test_path world_home;

static inline int world_open(void **state)
{
	(void)state;
	setenv("OMP_WAIT_POLICY", "passive", 1); /* threads that spin starve each other on a busy machine */
	world_home = test_dir_make();
	assert_int_equal(chdir(world_home.text), 0);
	for (int i = 0; i < WORLD_MODELS; i++)
		world_copy_model(world_models[i], world_models[i]);
	return 0;
}

static inline int world_close(void **state)
{
	(void)state;
	assert_int_equal(chdir("/"), 0);
	test_dir_remove(&world_home);
	return 0;
}

/* ---- golden values ---- */

static inline struct safetensors *world_golden(const char *name)
{
	struct err e;
	struct safetensors *golden;
	char path[200];
	snprintf(path, sizeof path, "tests/golden/models/%s/golden.safetensors", name);
	assert_ok(safetensors_open(&golden, test_source(path).text, &e), &e);
	return golden;
}

/* Document d's ids (WORLD_T), and the same as letters. */
static inline const int32_t *world_ids(const struct safetensors *golden, int d)
{
	return (const int32_t *)safetensors_find(golden, "ids")->data + d * WORLD_T;
}

static inline void world_text(const int32_t *ids, char text[WORLD_T + 1])
{
	for (int i = 0; i < WORLD_T; i++)
		text[i] = world_letters[ids[i]];
	text[WORLD_T] = '\0';
}

/* ---- asking the program ---- */

static inline json_t *world_json(const char *line)
{
	struct err e;
	json_t *v;
	struct outcome o = program_run(line);
	program_expect(&o, 0, line);
	assert_ok(json_parse(o.out, strlen(o.out), line, &v, &e), &e);
	outcome_release(&o);
	return v;
}

static inline double world_number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	if (!json_is_number(v))
		fail_msg("no number under \"%s\"", key);
	return json_number_value(v);
}

/* What `logits` writes for ids (n): (n, WORLD_V), the caller's. */
static inline float *world_logits(const char *model, const int32_t *ids, int n)
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
	assert_int_equal(safetensors_count(file), 1);
	assert_non_null(t);
	assert_true(t->known && t->dtype == DTYPE_F32 && t->n_dims == 2 && t->dims[0] == (size_t)n && t->dims[1] == WORLD_V);
	float *out = malloc(t->n_bytes);
	memcpy(out, t->data, t->n_bytes);
	safetensors_close(file);
	return out;
}

#endif

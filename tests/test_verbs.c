/* eval, logits, inspect and generate through the command line, on the golden models: what they say is what golden files and
 * direct arithmetic say. The other verbs: tests/test_verbs_files.c; what is refused: tests/test_verbs_bad.c */
#include "tests/verb_world.h"

#include "results/evaluation.h"

#include <zlib.h>

/* Measured, over all tests: logits within 1.3e-6 per element, NMSE 1.6e-13; NLL within 5e-7 nat per token. */
#define LOGITS_WORST 1e-5
#define LOGITS_NMSE 2e-12
#define NLL_ATOL 2e-6

/* ---- arithmetic ---- */

static double log_sum(const float *row)
{
	double max = row[0], sum = 0;
	for (int v = 1; v < WORLD_V; v++)
		max = row[v] > max ? row[v] : max;
	for (int v = 0; v < WORLD_V; v++)
		sum += exp(row[v] - max);
	return max + log(sum);
}

/* NLL of ids (n) after the first `from`, given the logits of all. */
static double nll_of(const float *logits, const int32_t *ids, int from, int n)
{
	double sum = 0;
	for (int i = from; i < n; i++)
		sum += log_sum(logits + (i - 1) * WORLD_V) - logits[(i - 1) * WORLD_V + ids[i]];
	return sum;
}

static double kl_of(const float *teacher, const float *student, int n)
{
	double sum = 0;
	for (int i = 0; i < n; i++) {
		const float *t = teacher + i * WORLD_V, *s = student + i * WORLD_V;
		double zt = log_sum(t), zs = log_sum(s);
		for (int v = 0; v < WORLD_V; v++)
			sum += exp(t[v] - zt) * ((t[v] - zt) - (s[v] - zs));
	}
	return sum;
}

static int likeliest(const float *row)
{
	int best = 0;
	for (int v = 1; v < WORLD_V; v++)
		best = row[v] > row[best] ? v : best;
	return best;
}

/* ---- eval ---- */

static void write_documents(const struct safetensors *golden, const char *path)
{
	char first[WORLD_T + 1], second[WORLD_T + 1], text[100];
	world_text(world_ids(golden, 0), first);
	world_text(world_ids(golden, 1), second);
	snprintf(text, sizeof text, "%s\n<|endoftext|>\n  %s\t\n<|endoftext|>\n", first, second);
	test_write(path, text);
}

static void eval_gives_the_golden_loss(void **state)
{
	(void)state;
	for (int i = 0; i < WORLD_MODELS; i++) {
		struct safetensors *golden = world_golden(world_models[i]);
		char line[200];
		write_documents(golden, "golden.txt");
		snprintf(line, sizeof line, "eval %s --data golden.txt --json --threads 1", world_models[i]);
		json_t *o = world_json(line);
		double nll = world_number(o, "nll");
		int tokens = WORLD_DOCUMENTS * (WORLD_T - 1), bytes = WORLD_DOCUMENTS * WORLD_T;
		assert_close(nll, *(const float *)safetensors_find(golden, "loss")->data, NLL_ATOL, 0);
		assert_int_equal(world_number(o, "tokens"), tokens);
		assert_int_equal(world_number(o, "bytes"), bytes);
		assert_int_equal(world_number(o, "documents"), WORLD_DOCUMENTS);
		assert_close(world_number(o, "perplexity"), exp(nll), 0, 1e-9);
		assert_close(world_number(o, "bits_per_byte"), nll * tokens / log(2) / bytes, 0, 1e-9);
		assert_string_equal(json_string_value(json_object_get(o, "dtype")), "fp32");
		json_decref(o);
		safetensors_close(golden);
	}
}

/* One letter changed: the bound of the test above sees it. */
static void eval_sees_one_letter(void **state)
{
	(void)state;
	struct safetensors *golden = world_golden("qwen3");
	write_documents(golden, "letter.txt");
	char *text = program_text("letter.txt");
	text[WORLD_T - 1] = text[WORLD_T - 1] == 'a' ? 'b' : 'a';
	test_write("letter.txt", text);
	json_t *o = world_json("eval qwen3 --data letter.txt --json --threads 1");
	assert_true(fabs(world_number(o, "nll") - *(const float *)safetensors_find(golden, "loss")->data) > 100 * NLL_ATOL);
	json_decref(o);
	free(text);
	safetensors_close(golden);
}

static void write_gz(const char *path, const char *text)
{
	gzFile f = gzopen(path, "wb");
	assert_int_equal(gzputs(f, text), (int)strlen(text));
	assert_int_equal(gzclose(f), Z_OK);
}

static void every_kind_of_text_scores_alike(void **state)
{
	(void)state;
	static const char *const names[] = {"kind.jsonl", "kind.txt.gz", "kind.jsonl.gz"};
	struct safetensors *golden = world_golden("llama_rope3");
	char first[WORLD_T + 1], second[WORLD_T + 1], lines[200];
	write_documents(golden, "kind.txt");
	world_text(world_ids(golden, 0), first);
	world_text(world_ids(golden, 1), second);
	snprintf(lines, sizeof lines, "{\"text\": \"%s\"}\n{\"id\": 7, \"text\": \" %s\\n\"}\n", first, second);
	test_write("kind.jsonl", lines);
	write_gz("kind.jsonl.gz", lines);
	char *text = program_text("kind.txt");
	write_gz("kind.txt.gz", text);
	json_t *want = world_json("eval llama_rope3 --data kind.txt --json --threads 1");
	drop_timings(want);
	for (int i = 0; i < 3; i++) {
		char line[100];
		snprintf(line, sizeof line, "eval llama_rope3 --data %s --json --threads 1", names[i]);
		json_t *got = world_json(line);
		drop_timings(got);
		assert_true(json_equal(got, want));
		json_decref(got);
	}
	json_decref(want);
	free(text);
	safetensors_close(golden);
}

/* Windows of 6 in steps of 3: tokens 0-5 score 1-5, 3-8 score 6-8, 6-11 score 9-11, 9-12 score 12. */
static void long_documents_go_by_half_a_window(void **state)
{
	(void)state;
	static const struct {
		int first, scored, end;
	} windows[] = {{0, 1, 6}, {3, 6, 9}, {6, 9, 12}, {9, 12, 13}};
	static const char *const models[] = {"llama_tied", "mistral_window"};
	for (int m = 0; m < 2; m++) {
		struct safetensors *golden = world_golden(models[m]);
		const int32_t *ids = world_ids(golden, 1);
		char text[WORLD_T + 1], line[200];
		double sum = 0;
		for (int w = 0; w < 4; w++) {
			float *logits = world_logits(models[m], ids + windows[w].first, windows[w].end - windows[w].first);
			sum += nll_of(logits, ids + windows[w].first, windows[w].scored - windows[w].first, windows[w].end - windows[w].first);
			free(logits);
		}
		world_text(ids, text);
		test_write("long.txt", text);
		snprintf(line, sizeof line, "eval %s --data long.txt --json --sequence-length 6 --threads 1", models[m]);
		json_t *o = world_json(line);
		assert_close(world_number(o, "nll"), sum / (WORLD_T - 1), NLL_ATOL, 0);
		assert_int_equal(world_number(o, "tokens"), WORLD_T - 1);
		assert_int_equal(world_number(o, "sequence_length"), 6);
		assert_int_equal(world_number(o, "stride"), 3);
		json_decref(o);
		safetensors_close(golden);
	}
}

static void eval_tells_documents_and_a_teacher(void **state)
{
	(void)state;
	struct safetensors *golden = world_golden("qwen2");
	struct evaluation read = {.has_teacher = true};
	struct err e;
	double kl = 0;
	int agree = 0;
	write_documents(golden, "taught.txt");
	json_t *o = world_json("eval qwen2 --data taught.txt --teacher llama_tied --documents taught.csv --json --threads 1");
	assert_ok(evaluation_read_documents(&read, "taught.csv", &e), &e);
	assert_int_equal(read.n_documents, WORLD_DOCUMENTS);
	for (int d = 0; d < WORLD_DOCUMENTS; d++) {
		const int32_t *ids = world_ids(golden, d);
		const struct document_score *got = &read.documents[d];
		float *mine = world_logits("qwen2", ids, WORLD_T), *teacher = world_logits("llama_tied", ids, WORLD_T);
		int same = 0;
		for (int i = 0; i + 1 < WORLD_T; i++)
			same += likeliest(mine + i * WORLD_V) == likeliest(teacher + i * WORLD_V);
		assert_int_equal(got->tokens, WORLD_T - 1);
		assert_int_equal(got->bytes, WORLD_T);
		assert_int_equal(got->agree, same);
		assert_close(got->nll, nll_of(mine, ids, 1, WORLD_T), NLL_ATOL * WORLD_T, 0);
		assert_close(got->kl, kl_of(teacher, mine, WORLD_T - 1), NLL_ATOL * WORLD_T, 0);
		kl += got->kl;
		agree += same;
		free(mine);
		free(teacher);
	}
	assert_close(world_number(o, "kl"), kl / (WORLD_DOCUMENTS * (WORLD_T - 1)), 0, 1e-9);
	assert_close(world_number(o, "agreement_top1"), (double)agree / (WORLD_DOCUMENTS * (WORLD_T - 1)), 0, 1e-9);
	json_decref(o);
	evaluation_release(&read);
	safetensors_close(golden);
}

/* "ac" after <s>: two scored tokens, of two bytes. */
static void bos_is_put_in_front(void **state)
{
	(void)state;
	static const int32_t ids[] = {1, 0, 2};
	world_tokenizer("bos.json", WORLD_V, true);
	test_write("ac.txt", "ac\n");
	json_t *o = world_json("eval llama_bias --tokenizer bos.json --data ac.txt --json --threads 1");
	float *logits = world_logits("llama_bias", ids, 3);
	assert_int_equal(world_number(o, "tokens"), 2);
	assert_int_equal(world_number(o, "bytes"), 2);
	assert_close(world_number(o, "nll"), nll_of(logits, ids, 1, 3) / 2, NLL_ATOL, 0);
	free(logits);
	json_decref(o);
	struct outcome plain = program_run("tokenize bos.json ac.txt --json"), special = program_run("tokenize bos.json ac.txt --json --special");
	assert_string_equal(plain.out, "[0,2]\n");
	assert_string_equal(special.out, "[1,0,2]\n");
	outcome_release(&plain);
	outcome_release(&special);
}

/* ---- logits ---- */

static void logits_are_the_golden_ones(void **state)
{
	(void)state;
	enum { ELEMS = WORLD_T * WORLD_V };
	for (int i = 0; i < WORLD_MODELS; i++) {
		struct safetensors *golden = world_golden(world_models[i]);
		const float *want = safetensors_find(golden, "logits")->data;
		for (int d = 0; d < WORLD_DOCUMENTS; d++) {
			float *got = world_logits(world_models[i], world_ids(golden, d), WORLD_T);
			assert_floats(got, want + d * ELEMS, ELEMS, LOGITS_NMSE, LOGITS_WORST);
			got[ELEMS / 2] += 1e-4f; /* the bound sees one wrong element */
			assert_true(test_distance_of(got, NULL, want + d * ELEMS, ELEMS).worst > LOGITS_WORST);
			free(got);
		}
		safetensors_close(golden);
	}
}

/* ---- inspect ---- */

static size_t elems_in_file(const char *model)
{
	struct err e;
	struct safetensors *file;
	char path[200];
	size_t n = 0;
	snprintf(path, sizeof path, "%s/model.safetensors", model);
	assert_ok(safetensors_open(&file, path, &e), &e);
	for (int i = 0; i < safetensors_count(file); i++)
		n += safetensors_at(file, i)->n_elems;
	safetensors_close(file);
	return n;
}

static void inspect_tells_shape_and_counts(void **state)
{
	(void)state;
	static const char *const keys[][2] = {{"layers", "num_hidden_layers"}, {"hidden", "hidden_size"}, {"heads", "num_attention_heads"},
					      {"kv_heads", "num_key_value_heads"}, {"intermediate", "intermediate_size"}, {"vocab", "vocab_size"}};
	for (int i = 0; i < WORLD_MODELS; i++) {
		struct err e;
		char line[200];
		json_t *config;
		snprintf(line, sizeof line, "%s/config.json", world_models[i]);
		assert_ok(json_read_file(line, &config, &e), &e);
		snprintf(line, sizeof line, "inspect %s --json", world_models[i]);
		json_t *o = world_json(line), *p = json_object_get(o, "parameters"), *shape = json_object_get(o, "shape");
		for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
			assert_int_equal(world_number(shape, keys[k][0]), world_number(config, keys[k][1]));
		int tied = json_is_true(json_object_get(config, "tie_word_embeddings"));
		size_t n = elems_in_file(world_models[i]), table = (size_t)(world_number(shape, "vocab") * world_number(shape, "hidden"));
		assert_int_equal(json_is_true(json_object_get(o, "tied")), tied);
		assert_int_equal(world_number(p, "total"), n);
		assert_int_equal(world_number(p, "embedding"), tied ? table : 2 * table);
		assert_int_equal(world_number(p, "embedding") + world_number(p, "attention") + world_number(p, "ffn") + world_number(p, "norms"), n);
		assert_int_equal(world_number(o, "bytes"), 4 * n);
		assert_string_equal(json_string_value(json_object_get(o, "family")), json_string_value(json_object_get(config, "model_type")));
		json_decref(o);
		json_decref(config);
	}
}

static void inspect_measures_latency(void **state)
{
	(void)state;
	json_t *o = world_json("inspect qwen3 --json --latency --length 9 --batch 2 --threads 1"), *l = json_object_get(o, "latency");
	assert_int_equal(world_number(l, "length"), 9);
	assert_int_equal(world_number(l, "batch"), 2);
	assert_string_equal(json_string_value(json_object_get(l, "dtype")), "fp32");
	assert_true(world_number(l, "prefill_ms") > 0 && world_number(l, "decode_ms") > 0);
	assert_true(world_number(l, "bytes") > world_number(o, "bytes"));
	json_decref(o);
	struct outcome text = program_run("inspect qwen3 --latency --length 9 --batch 2 --threads 1");
	program_expect(&text, 0, "inspect --latency");
	assert_non_null(strstr(text.out, "2 sequences of 9 tokens"));
	assert_non_null(strstr(text.out, "prefill: "));
	outcome_release(&text);
	text = program_run("inspect qwen3 --latency --length 1000000");
	program_expect(&text, 2, "too long");
	assert_non_null(strstr(text.err, "--length"));
	outcome_release(&text);
}

/* ---- generate ---- */

static char *generated(const char *options)
{
	char line[200];
	snprintf(line, sizeof line, "generate qwen2 --prompt abc --threads 1 %s", options);
	struct outcome o = program_run(line);
	program_expect(&o, 0, line);
	assert_string_equal(o.err, "");
	free(o.err);
	return o.out;
}

static void the_seed_decides_the_text(void **state)
{
	(void)state;
	char *a = generated("--tokens 24 --seed 5"), *b = generated("--tokens 24 --seed 5"), *c = generated("--tokens 24 --seed 6");
	char *none = generated("--tokens 0");
	assert_string_equal(a, b);
	assert_string_not_equal(a, c);
	assert_memory_equal(a, "abc", 3);
	assert_string_equal(none, "abc\n");
	free(a);
	free(b);
	free(c);
	free(none);
}

static void without_temperature_the_likeliest_follows(void **state)
{
	(void)state;
	int32_t ids[27] = {0, 1, 2};
	char *text = generated("--tokens 24 --temperature 0");
	size_t n = strlen(text) - 1;
	assert_true(n > 3 && n <= 27 && text[n] == '\n');
	for (size_t i = 3; i < n; i++) {
		float *logits = world_logits("qwen2", ids, (int)i);
		ids[i] = likeliest(logits + (i - 1) * WORLD_V);
		assert_int_equal(text[i], world_letters[ids[i]]);
		free(logits);
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(eval_gives_the_golden_loss),
		cmocka_unit_test(eval_sees_one_letter),
		cmocka_unit_test(every_kind_of_text_scores_alike),
		cmocka_unit_test(long_documents_go_by_half_a_window),
		cmocka_unit_test(eval_tells_documents_and_a_teacher),
		cmocka_unit_test(bos_is_put_in_front),
		cmocka_unit_test(logits_are_the_golden_ones),
		cmocka_unit_test(inspect_tells_shape_and_counts),
		cmocka_unit_test(inspect_measures_latency),
		cmocka_unit_test(the_seed_decides_the_text),
		cmocka_unit_test(without_temperature_the_likeliest_follows),
	};
	return cmocka_run_group_tests(tests, world_open, world_close);
}

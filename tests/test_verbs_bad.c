/* Bad input through the command line: each gives one line on stderr (three with a caret), nothing on stdout, the exit status
 * of the contract, and leaves every file as it was. */
#include "tests/verb_world.h"

#include "prune/mask_learner.h"

#include <zlib.h>

/* ---- what a refusal is ---- */

static int count_lines(const char *text)
{
	int n = 0;
	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* The command fails with this status, so many lines, these words, and no file is written, changed or removed. file_limit: as
 * program_start has it. */
static void refused_within(const char *line, size_t file_limit, int status, int lines, const char *words)
{
	char *before = fingerprint(".");
	struct outcome o = program_wait(program_start(line, file_limit));
	char *after = fingerprint(".");
	program_expect(&o, status, line);
	if (strncmp(o.err, "espalier: ", 10) || count_lines(o.err) != lines || !ends_in(o.err, "\n") || !strstr(o.err, words) || *o.out)
		fail_msg("espalier %s\nstdout: %s\nstderr: %s\nexpected %d line(s) with: %s", line, o.out, o.err, lines, words);
	if (strcmp(before, after))
		fail_msg("espalier %s changed files\nbefore:\n%s\nafter:\n%s", line, before, after);
	outcome_release(&o);
	free(before);
	free(after);
}

static void refused(const char *line, int status, const char *words)
{
	refused_within(line, 0, status, 1, words);
}

struct refusal {
	const char *line;
	int status;
	const char *words;
};
#define ALL_REFUSED(table)                                                             \
	do {                                                                           \
		for (size_t r = 0; r < sizeof table / sizeof *table; r++)              \
			refused(table[r].line, table[r].status, table[r].words);       \
	} while (0)

static void write_bytes(const char *path, const void *data, size_t n)
{
	struct err e;
	assert_ok(fsio_write_file(path, data, n, &e), &e);
}

/* ---- safetensors ---- */

struct blob {
	char *bytes;
	size_t n, header; /* header: bytes of its JSON, which begins at 8 */
};

static struct blob blob_read(void)
{
	struct err e;
	struct blob b;
	uint64_t header;
	assert_ok(fsio_read_file("llama_tied/model.safetensors", 1 << 20, &b.bytes, &b.n, &e), &e);
	memcpy(&header, b.bytes, 8);
	b.header = header;
	return b;
}

/* bad/model.safetensors: header, then the data of b. */
static void write_model(const struct blob *b, json_t *header)
{
	char *text = json_dumps(header, JSON_COMPACT);
	uint64_t n = strlen(text);
	size_t n_data = b->n - 8 - b->header;
	char *out = malloc(8 + n + n_data);
	memcpy(out, &n, 8);
	memcpy(out + 8, text, n);
	memcpy(out + 8 + n, b->bytes + 8 + b->header, n_data);
	write_bytes("bad/model.safetensors", out, 8 + n + n_data);
	free(out);
	free(text);
}

static void a_truncated_model_is_refused(void **state)
{
	(void)state;
	struct blob b = blob_read();
	size_t ends[] = {0, 1, 7, 8, 9, b.header / 2, 8 + b.header - 1, 8 + b.header, 8 + b.header + 1, b.n / 2, b.n - 4, b.n - 1};
	world_copy_model("llama_tied", "bad");
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		write_bytes("bad/model.safetensors", b.bytes, ends[i]);
		refused("inspect bad --json", 1, "bad/model.safetensors: ");
	}
	refused("logits bad --ids 1,2 --out never.safetensors", 1, "truncated");
	refused("cut bad --layers 0 --out never", 1, "truncated");
	free(b.bytes);
}

static void a_lying_model_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *key, *value, *words; /* of the embedding; value: JSON, NULL: the tensor goes */
	} lies[] = {
		{"dtype", "\"F16\"", "elements do not fill"},
		{"dtype", "\"I64\"", "elements do not fill"},
		{"shape", "[24, 61]", "has shape [24, 61], config.json asks for [61, 24]"},
		{"shape", "[1464]", "has shape [1464], config.json asks for [61, 24]"},
		{"shape", "[-61, -24]", "not a size"},
		{"shape", "[4611686018427387904, 4611686018427387904]", "overflows"},
		{"data_offsets", "[0, 9223372036854775807]", "leave"},
		{"data_offsets", "[96, 2]", "model.embed_tokens.weight"},
		{"data_offsets", "\"all\"", "model.embed_tokens.weight"},
	};
	struct blob b = blob_read();
	struct err e;
	json_t *header;
	assert_ok(json_parse(b.bytes + 8, b.header, "header", &header, &e), &e);
	world_copy_model("llama_tied", "bad");
	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		json_t *lying = json_deep_copy(header), *value = json_loads(lies[i].value, JSON_DECODE_ANY, NULL);
		json_object_set_new(json_object_get(lying, "model.embed_tokens.weight"), lies[i].key, value);
		write_model(&b, lying);
		refused("inspect bad", 1, lies[i].words);
		json_decref(lying);
	}
	json_decref(header);
	b.bytes[7] = 0x7f; /* a header of 2^62 bytes */
	write_bytes("bad/model.safetensors", b.bytes, b.n);
	refused("inspect bad", 1, "header of");
	free(b.bytes);
}

/* A tensor under another name is one that is missing, or one that nobody asked for; names cannot break the line. */
static void a_model_of_other_tensors_is_refused(void **state)
{
	(void)state;
	struct blob b = blob_read();
	struct err e;
	json_t *header;
	assert_ok(json_parse(b.bytes + 8, b.header, "header", &header, &e), &e);
	world_copy_model("llama_tied", "bad");
	json_t *norm = json_incref(json_object_get(header, "model.norm.weight"));
	json_object_del(header, "model.norm.weight");
	json_object_set(header, "model.norm.wait", norm);
	write_model(&b, header);
	refused("inspect bad", 1, "model.norm.");
	json_object_del(header, "model.norm.wait");
	json_object_set_new(header, "model.norm.weight", norm);
	json_object_set_new(header, "two\nlines\x1b[31m", json_pack("{s:s,s:[i],s:[i,i]}", "dtype", "F32", "shape", 0, "data_offsets", (int)(b.n - 8 - b.header),
								  (int)(b.n - 8 - b.header)));
	write_model(&b, header);
	refused("inspect bad", 1, "two?lines?[31m");
	json_decref(header);
	free(b.bytes);
}

/* ---- config.json ---- */

static void an_absurd_config_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *key, *value;
		int status;
		const char *words;
	} bad[] = {
		{"hidden_size", "0", 2, "'hidden_size': expected an integer in"},
		{"hidden_size", "-24", 2, "'hidden_size': expected an integer in"},
		{"hidden_size", "1099511627776", 2, "'hidden_size': expected an integer in"},
		{"hidden_size", "\"24\"", 2, "'hidden_size': expected an integer, found \"24\""},
		{"hidden_size", "null", 2, "'hidden_size' is missing"},
		{"hidden_size", "32", 1, "has shape [61, 24], config.json asks for [61, 32]"},
		{"num_hidden_layers", "1000000", 2, "'num_hidden_layers'"},
		{"num_hidden_layers", "3", 1, "model.layers.2."},
		{"num_hidden_layers", "1", 1, "model.layers.1."},
		{"vocab_size", "2147483647", 2, "'vocab_size'"},
		{"vocab_size", "62", 1, "config.json asks for [62, 24]"},
		{"num_attention_heads", "3", 1, "num_attention_heads 3 is not a multiple of num_key_value_heads 2"},
		{"num_key_value_heads", "0", 2, "'num_key_value_heads'"},
		{"head_dim", "7", 1, "head_dim 7 is odd"},
		{"intermediate_size", "41", 1, "config.json asks for [41, 24]"},
		{"rms_norm_eps", "-1", 2, "'rms_norm_eps'"},
		{"max_position_embeddings", "0", 2, "'max_position_embeddings'"},
		{"model_type", "\"gpt2\"", 1, "model_type \"gpt2\" is not supported"},
		{"hidden_act", "\"gelu\"", 1, "hidden_act \"gelu\" is not supported"},
		{"tie_word_embeddings", "false", 1, "\"lm_head.weight\" is missing"},
		{"rope_scaling", "{\"rope_type\": \"yarn\"}", 1, "rope_type \"yarn\" is not supported"},
		{"quantization_config", "{}", 1, "quantized"},
	};
	struct err e;
	json_t *config;
	world_copy_model("llama_tied", "bad");
	assert_ok(json_read_file("bad/config.json", &config, &e), &e);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		json_t *changed = json_deep_copy(config);
		json_object_set_new(changed, bad[i].key, json_loads(bad[i].value, JSON_DECODE_ANY, NULL));
		assert_ok(json_write_file("bad/config.json", changed, &e), &e);
		refused("inspect bad", bad[i].status, bad[i].words);
		json_decref(changed);
	}
	json_decref(config);
	test_write("bad/config.json", "{\"model_type\": \"llama\",\n");
	refused("inspect bad", 2, "bad/config.json:");
	assert_int_equal(unlink("bad/config.json"), 0);
	refused("inspect bad", 1, "bad");
}

/* ---- tokenizers, ids, prompts ---- */

static void a_vocabulary_that_does_not_fit_is_refused(void **state)
{
	(void)state;
	static const struct refusal bad[] = {
		{"eval llama_tied --data a.txt --tokenizer wide.json", 2, "wide.json: the tokenizer has 62 tokens, the vocabulary of llama_tied only 61"},
		{"eval big --data a.txt", 2, "big: the tokenizer has 62 tokens, the vocabulary of big only 61"},
		{"generate big --prompt a", 2, "big: the tokenizer has 62 tokens, the vocabulary of big only 61"},
		{"eval llama_tied --data a.txt --tokenizer broken.json", 2, "broken.json"},
		{"eval llama_tied --data a.txt --tokenizer empty", 2, "no tokenizer"},
		{"generate qwen2", 2, "the prompt is empty"},
		{"generate qwen2 --prompt \xff", 2, "no UTF-8"},
	};
	world_copy_model("llama_tied", "big");
	world_tokenizer("big/tokenizer.json", WORLD_V + 1, false);
	world_tokenizer("wide.json", WORLD_V + 1, false);
	test_write("broken.json", "{\"model\": {\"type\": \"BPE\"");
	test_write("a.txt", "abc\n");
	assert_int_equal(mkdir("empty", 0777), 0);
	ALL_REFUSED(bad);
}

/* The teacher sees the same ids in the same windows. */
static void a_teacher_that_does_not_fit_is_refused(void **state)
{
	(void)state;
	struct err e;
	json_t *config;
	test_write("a.txt", "abc\n");
	world_copy_model("qwen3", "short");
	assert_ok(json_read_file("short/config.json", &config, &e), &e);
	json_object_set_new(config, "max_position_embeddings", json_integer(100));
	assert_ok(json_write_file("short/config.json", config, &e), &e);
	json_decref(config);
	refused("eval llama_tied --data a.txt --teacher short", 2, "128 is more than the 100 positions of short");
	program_must("eval llama_tied --data a.txt --teacher short --sequence-length 100");
	struct test_path wide = test_shared("data/models/stories260K");
	char line[1200];
	snprintf(line, sizeof line, "eval %s --data a.txt --teacher llama_tied", wide.text);
	refused(line, 2, "the tokenizer has 512 tokens, the vocabulary of llama_tied only 61");
}

static void ids_out_of_range_are_refused(void **state)
{
	(void)state;
	static const struct refusal bad[] = {
		{"logits qwen3 --out never.safetensors --ids 1,61", 2, "--ids: 61 is outside the vocabulary, 0 to 60"},
		{"logits qwen3 --out never.safetensors --ids -1", 2, "--ids: -1 is outside the vocabulary"},
		{"logits qwen3 --out never.safetensors --ids 99999999999999999999", 2, "is outside the vocabulary"},
		{"logits qwen3 --out never.safetensors --ids 1,,2", 2, "--ids: expected integers with commas between them"},
		{"logits qwen3 --out never.safetensors --ids 1,2,", 2, "--ids: expected integers with commas between them"},
		{"logits qwen3 --out never.safetensors --ids=", 2, "--ids: expected integers with commas between them"},
		{"logits qwen3 --out never.safetensors --ids 1.5", 2, "--ids: expected integers with commas between them"},
	};
	char line[600] = "logits qwen3 --out never.safetensors --ids 0";
	ALL_REFUSED(bad);
	for (int i = 0; i < 128; i++)
		strcat(line, ",0");
	refused(line, 2, "--ids: 129 tokens, the model has 128 positions");
}

/* ---- text ---- */

static void write_gz_spoiled(const char *path, int at, int flip, int cut)
{
	static const char text[] = "abc def ghi\n<|endoftext|>\njkl\n";
	unsigned char packed[200];
	gzFile f = gzopen("whole.gz", "wb");
	gzputs(f, text);
	gzclose(f);
	FILE *in = fopen("whole.gz", "rb");
	size_t n = fread(packed, 1, sizeof packed, in);
	fclose(in);
	packed[(int)n + at] ^= (unsigned char)flip;
	write_bytes(path, packed, n - (size_t)cut);
}

static void unreadable_text_is_refused(void **state)
{
	(void)state;
	static const struct refusal bad[] = {
		{"utf8.txt", 2, "utf8.txt:3: byte 0xff at offset 20 is not UTF-8"},
		{"open.jsonl", 2, "open.jsonl:2:"},
		{"other.jsonl", 2, "other.jsonl:2: expected an object with a string under \"text\""},
		{"cut.txt.gz", 1, "cut.txt.gz: the gzip data ends too early"},
		{"sum.txt.gz", 1, "sum.txt.gz: unreadable"},
		{"plain.txt.gz", 2, "plain.txt.gz: not gzip data"},
		{"packed.txt", 2, "packed.txt: gzip data"},
		{"text.pdf", 2, "text.pdf: expected a name that ends in"},
		{"none.txt", 2, "none.txt: no such file"},
		{"qwen2", 2, "qwen2: expected a name that ends in"},
		{"blank.txt", 2, "no token to score"},
		{"single.txt", 2, "no token to score"},
	};
	test_write("a.txt", "abc\n");
	write_bytes("utf8.txt", "abc\n<|endoftext|>\nde\xff" "f\n", 22);
	test_write("open.jsonl", "{\"text\": \"abc\"}\n{\"text\": \"def\"\n");
	test_write("other.jsonl", "{\"text\": \"abc\"}\n{\"txt\": \"def\"}\n");
	test_write("plain.txt.gz", "abc");
	test_write("text.pdf", "abc");
	test_write("blank.txt", " \n<|endoftext|>\n\t\n");
	test_write("single.txt", "a\n<|endoftext|>\nb\n");
	write_gz_spoiled("cut.txt.gz", -1, 0, 9);
	write_gz_spoiled("sum.txt.gz", -6, 1, 0); /* the checksum */
	write_gz_spoiled("packed.txt", -1, 0, 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char line[200];
		snprintf(line, sizeof line, "eval qwen2 --data a.txt --data %s --json --documents never.csv", bad[i].line);
		if (strcmp(bad[i].words, "no token to score"))
			refused(line, bad[i].status, bad[i].words);
		snprintf(line, sizeof line, "eval qwen2 --data %s", bad[i].line);
		refused(line, bad[i].status, bad[i].words);
	}
}

/* ---- commands and recipes ---- */

static void a_wrong_command_is_refused(void **state)
{
	(void)state;
	static const struct refusal bad[] = {
		{"inspct qwen2", 2, "unknown verb 'inspct', did you mean 'inspect'?"},
		{"inspect", 2, "inspect: expected MODEL, found 0 arguments"},
		{"inspect nowhere", 2, "nowhere: no such file or directory"},
		{"eval nowhere --data a.txt", 2, "nowhere: no such file or directory"},
		{"eval qwen2", 2, "--data FILE is missing"},
		{"eval qwen2 --data", 2, "--data expects FILE"},
		{"eval qwen2 --data a.txt --jsn", 2, "unknown option --jsn, did you mean --json?"},
		{"eval qwen2 --data a.txt --json=1", 2, "--json takes no value"},
		{"eval qwen2 --data a.txt --threads 1 --threads 2", 2, "--threads is given twice"},
		{"eval qwen2 --data a.txt --threads many", 2, "--threads: expected an integer from 0 to 4096"},
		{"eval qwen2 --data a.txt --sequence-length 1", 2, "--sequence-length: expected 2 to the model's 128 positions, found 1"},
		{"eval qwen2 --data a.txt --sequence-length 129", 2, "--sequence-length: expected 2 to the model's 128 positions, found 129"},
		{"eval qwen2 --data a.txt --teacher nowhere", 2, "nowhere: no such file or directory"},
		{"eval qwen2 --data a.txt --tokenizer nowhere", 2, "nowhere: no such file or directory"},
		{"tokenize qwen2 nowhere.txt", 2, "nowhere.txt: no such file or directory"},
		{"generate qwen2 --prompt a --temperature -1", 2, "--temperature: expected a number from 0 to 100, found -1"},
		{"generate qwen2 --prompt a --top-p 0", 2, "--top-p: expected a number"},
		{"cut qwen2 --out never", 2, "cut: expected --masks FILE, --scores FILE or --layers LIST"},
		{"cut qwen2 --out never --layers 0 --masks m.safetensors", 2, "cut: expected --masks FILE, --scores FILE or --layers LIST"},
		{"cut qwen2 --out never --layers 0 --target {\"layers\":1}", 2, "cut: --target goes with --masks or --scores"},
		{"cut qwen2 --out never --layers 0 --scores s.safetensors", 2, "cut: expected --masks FILE, --scores FILE or --layers LIST"},
		{"cut qwen2 --out never --layers 0 --merge-kv", 2, "cut: --merge-kv goes with --scores"},
		{"cut qwen2 --out never --scores s.safetensors", 2, "cut: --scores needs --target SHAPE"},
		{"cut qwen2 --out never --scores none.safetensors --target {\"layers\":1}", 2, "none.safetensors: no such file or directory"},
		{"cut qwen2 --out never --layers 1,0", 2, "layers: 0 after 1"},
		{"cut qwen2 --out never --layers 2", 2, "layers: 2 is not a layer of the source, which has 0 to 1"},
		{"cut qwen2 --out never --layers one", 2, "--layers: expected layer numbers"},
		{"cut qwen2 --out never --masks none.safetensors", 2, "none.safetensors: no such file or directory"},
		{"cut qwen2 --out never --masks llama_bias/model.safetensors", 1, "unknown tensor"},
		{"compare nowhere", 2, "nowhere: not a directory with results"},
		{"compare qwen2", 2, "qwen2: no result.json"},
	};
	test_write("a.txt", "abc\n");
	ALL_REFUSED(bad);
}

static const char recipe[] =
	"recipe: 1\n"
	"name: bad\n"
	"teacher: qwen2\n"
	"data:\n"
	"  sequence_length: 16\n"
	"  domains:\n"
	"    letters: {train: [a.txt], eval: [a.txt]}\n"
	"target: {layers: 1}\n"
	"students:\n"
	"  small: {init: {layers: [0]}, train: {tokens: 1Ki, batch_tokens: 64, lr: 1e-3, %s: 1}}\n";

/* Of the error's three lines the second holds the key where the third has its caret. */
static void caret_is_below(const char *error, const char *key)
{
	const char *second = strchr(error, '\n') + 1, *third = strchr(second, '\n') + 1;
	assert_int_equal(strspn(third, " "), strstr(second, key) - second);
	assert_string_equal(third + strspn(third, " "), "^\n");
}

static void an_unknown_key_gets_a_caret(void **state)
{
	(void)state;
	char text[sizeof recipe + 40];
	struct err e;
	const struct arch qwen2 = {.family = "qwen2", .shape = {.L = 2, .C = 24, .F = 40, .NH = 4, .NKV = 2, .HD = 6, .V = WORLD_V}};
	assert_ok(masks_save("first.safetensors", &qwen2, &(struct host_masks){.layers = (float[]){1, 0}}, &e), &e);
	test_write("a.txt", "abc\n");
	snprintf(text, sizeof text, recipe, "weight_decya");
	test_write("bad.yaml", text);
	static const char words[] = "bad.yaml:10:81: unknown key 'weight_decya' in train; did you mean 'weight_decay'?\n";
	refused_within("plan bad.yaml", 0, 2, 3, words);
	refused_within("run bad.yaml", 0, 2, 3, words);
	struct outcome o = program_run("plan bad.yaml");
	caret_is_below(o.err, "weight_decya");
	outcome_release(&o);
	snprintf(text, sizeof text, recipe, "weight_decay");
	test_write("bad.yaml", text);
	refused_within("plan bad.yaml --set students.small.trian={}", 0, 2, 3, "did you mean 'train'?");
	refused_within("cut qwen2 --masks first.safetensors --target {\"hiden\":12} --out never", 0, 2, 3, "unknown key 'hiden' in target; did you mean 'hidden'?");
	refused_within("cut qwen2 --masks first.safetensors --target qwen3-0.6b --out never", 0, 2, 3, "qwen3-0.6b has heads of 128 dimensions, the source's have 6");
	refused_within("cut qwen2 --masks first.safetensors --target {\"parameters\":900} --out never", 0, 2, 3, "a budget is searched by a recipe; expected sizes");
	assert_false(fsio_exists("runs"));
}

/* ---- places that are taken ---- */

static void what_is_there_is_not_written_over(void **state)
{
	(void)state;
	static const struct refusal bad[] = {
		{"cut qwen2 --layers 0 --out llama_tied", 2, "cut: llama_tied: is not empty"},
		{"cut qwen2 --layers 0 --out qwen2", 2, "cut: qwen2: is not empty"},
		{"cut qwen2 --layers 0 --out mine", 2, "cut: mine: is not empty (model.safetensors)"},
		{"cut qwen2 --layers 0 --out taken.txt", 1, "taken.txt: "},
		{"logits qwen2 --ids 1,2 --out mine", 1, "mine: cannot write"},
		{"logits qwen2 --ids 1,2 --out nowhere/l.safetensors", 1, "nowhere/l.safetensors: cannot write"},
		{"run taken.yaml --out mine", 2, "mine: is not empty (model.safetensors) and holds no run"},
	};
	char text[sizeof recipe + 40];
	snprintf(text, sizeof text, recipe, "weight_decay");
	test_write("taken.yaml", text);
	test_write("taken.txt", "precious\n");
	test_write("a.txt", "abc\n");
	assert_int_equal(mkdir("mine", 0777), 0);
	test_write("mine/model.safetensors", "precious\n");
	ALL_REFUSED(bad);
}

static void a_directory_in_use_is_refused(void **state)
{
	(void)state;
	struct err e;
	int fd;
	char text[sizeof recipe + 40], words[80];
	snprintf(text, sizeof text, recipe, "weight_decay");
	test_write("used.yaml", text);
	test_write("a.txt", "abc\n");
	assert_int_equal(mkdir("used", 0777), 0);
	assert_ok(fsio_lock("used", &fd, &e), &e);
	snprintf(words, sizeof words, "used: is in use by process %ld", (long)getpid());
	refused("run used.yaml --out used", 1, words);
	fsio_unlock(&fd);
}

/* ---- a full disk ---- */

static void a_full_disk_is_one_line(void **state)
{
	(void)state;
	program_must("logits qwen2 --ids 1,2 --out old.safetensors");
	test_write("ten.txt", "abcdefghij\n");
	refused_within("logits qwen2 --ids 1,2,3,4 --out old.safetensors", 600, 1, 1, "old.safetensors: cannot write");
	refused_within("logits qwen2 --ids 1,2,3,4 --out new.safetensors", 600, 1, 1, "new.safetensors: cannot write");
	refused_within("cut qwen2 --layers 0 --out full", 20000, 1, 1, "full/model.safetensors: cannot write");
	assert_false(fsio_exists("full/config.json"));
	program_must("cut qwen2 --layers 0 --out full"); /* goes where there is room again */
	static const char *const lines[] = {"--version", "eval --help", "inspect qwen2", "tokenize qwen2 ten.txt"};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		char command[200];
		snprintf(command, sizeof command, "\"$ESPALIER\" %s > /dev/full 2> full.txt", lines[i]);
		assert_int_equal(WEXITSTATUS(system(command)), 1);
		char *error = program_text("full.txt");
		assert_string_equal(error, "espalier: standard output: could not be written, the disk may be full\n");
		free(error);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_truncated_model_is_refused),
		cmocka_unit_test(a_lying_model_is_refused),
		cmocka_unit_test(a_model_of_other_tensors_is_refused),
		cmocka_unit_test(an_absurd_config_is_refused),
		cmocka_unit_test(a_vocabulary_that_does_not_fit_is_refused),
		cmocka_unit_test(a_teacher_that_does_not_fit_is_refused),
		cmocka_unit_test(ids_out_of_range_are_refused),
		cmocka_unit_test(unreadable_text_is_refused),
		cmocka_unit_test(a_wrong_command_is_refused),
		cmocka_unit_test(an_unknown_key_gets_a_caret),
		cmocka_unit_test(what_is_there_is_not_written_over),
		cmocka_unit_test(a_directory_in_use_is_refused),
		cmocka_unit_test(a_full_disk_is_one_line),
	};
	return cmocka_run_group_tests(tests, world_open, world_close);
}

/* Reading, checking and writing config.json; counts and tables that follow from it. */
#include "tests/testing.h"

#include "base/json.h"
#include "model/arch.h"

static int read_text(struct arch *a, const char *text, struct err *e)
{
	json_t *config;
	assert_ok(json_parse(text, strlen(text), "config.json", &config, e), e);
	int rc = arch_from_config(a, config, "config.json", e);
	json_decref(config);
	return rc;
}

static struct arch read_shared(const char *name)
{
	char path[200];
	struct arch a;
	struct err e;
	json_t *config;
	snprintf(path, sizeof path, "data/configs/%s.json", name);
	struct test_path file = test_shared(path);
	assert_ok(json_read_file(file.text, &config, &e), &e);
	assert_ok(arch_from_config(&a, config, file.text, &e), &e);
	json_decref(config);
	return a;
}

/* Parameter counts as the model cards give them (2.7b: by hand). */
static void test_real_configs(void **state)
{
	static const struct {
		const char *name;
		size_t n_params;
		struct shape shape;
		int window;
	} real[] = {
		{"mlc_llama2_7b", 6738415616, {32, 4096, 11008, 32, 32, 128, 32000}, 0},
		{"mlc_llama3_1_8b", 8030261248, {32, 4096, 14336, 32, 8, 128, 128256}, 0},
		{"mlc_llama3_2_1b", 1235814400, {16, 2048, 8192, 32, 8, 64, 128256}, 0},
		{"mlc_tinyllama_1b_chat_v1.0", 1100048384, {22, 2048, 5632, 32, 4, 64, 32000}, 0},
		{"sheared-llama-1.3b", 1345423360, {24, 2048, 5504, 16, 16, 128, 32000}, 0},
		{"sheared-llama-2.7b", 2701560320, {32, 2560, 6912, 20, 20, 128, 32000}, 0},
		{"mlc_mistral_7b", 7241732096, {32, 4096, 14336, 32, 8, 128, 32000}, 4096},
		{"mlc_mistral_7b_v03", 7248023552, {32, 4096, 14336, 32, 8, 128, 32768}, 0},
		{"mlc_qwen2_0_5b", 494032768, {24, 896, 4864, 14, 2, 64, 151936}, 0},
		{"mlc_qwen2.5_3b", 3085938688, {36, 2048, 11008, 16, 2, 128, 151936}, 0},
		{"mlc_qwen3_0.6b", 596049920, {28, 1024, 3072, 16, 8, 128, 151936}, 0},
		{"mlc_smollm_135m", 134515008, {30, 576, 1536, 9, 3, 64, 49152}, 0},
		{"mlc_smollm_360m", 361821120, {32, 960, 2560, 15, 5, 64, 49152}, 0},
		{"mlc_smollm2_135m", 134515008, {30, 576, 1536, 9, 3, 64, 49152}, 0},
	};
	(void)state;
	for (size_t i = 0; i < sizeof real / sizeof *real; i++) {
		struct arch a = read_shared(real[i].name);
		assert_memory_equal(&a.shape, &real[i].shape, sizeof a.shape);
		assert_int_equal(arch_n_params(&a), real[i].n_params);
		assert_int_equal(a.window, real[i].window);
	}
	struct arch a = read_shared("mlc_llama3_2_1b");
	assert_true(a.rope == ROPE_LLAMA3 && a.rope_factor == 32 && a.rope_original_positions == 8192 && a.tied);
	assert_true(a.rope_theta == 500000 && a.dtype == DTYPE_BF16 && a.norm_eps == 1e-5f && a.max_positions == 131072);
	a = read_shared("mlc_qwen3_0.6b");
	assert_true(a.qk_norm && !a.qkv_bias && !strcmp(a.family, "qwen3"));
	a = read_shared("mlc_qwen2_0_5b");
	assert_true(!a.qk_norm && a.qkv_bias && !a.o_bias);
	a = read_shared("mlc_llama2_7b");
	assert_true(a.dtype == DTYPE_F16 && a.rope_theta == 10000);
}

static void test_other_families_are_named(void **state)
{
	static const char *const others[][2] = {
		{"mlc_gemma3_1b_it", "gemma3"}, {"mlc_gpt2", "gpt2"}, {"mlc_phi-2", "phi"}, {"opt-125m", "opt"},
		{"bloom-560m", "bloom"}, {"pythia-410m_seqcls", "gpt_neox"}, {"bert-base-uncased_seqcls", "bert"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		char path[200], want[200];
		struct arch a;
		struct err e;
		json_t *config;
		snprintf(path, sizeof path, "data/configs/%s.json", others[i][0]);
		snprintf(want, sizeof want, "model_type \"%s", others[i][1]);
		assert_ok(json_read_file(test_shared(path).text, &config, &e), &e);
		assert_fails(arch_from_config(&a, config, "x/config.json", &e), &e, want);
		assert_non_null(strstr(e.line, "llama, mistral, qwen2, qwen3"));
		assert_ptr_equal(strstr(e.line, "x/config.json: "), e.line);
		json_decref(config);
	}
}

#define LLAMA(more)                                                                                                  \
	"{\"model_type\": \"llama\", \"vocab_size\": 61, \"hidden_size\": 24, \"intermediate_size\": 40, "           \
	"\"num_hidden_layers\": 2, \"num_attention_heads\": 4" more "}"
#define QWEN2(more)                                                                                                  \
	"{\"model_type\": \"qwen2\", \"vocab_size\": 61, \"hidden_size\": 24, \"intermediate_size\": 40, "           \
	"\"num_hidden_layers\": 4, \"num_attention_heads\": 4, \"num_key_value_heads\": 2" more "}"
#define SIZES(V, C, F, L, NH, NKV, HD)                                                                               \
	"{\"model_type\": \"llama\", \"vocab_size\": " V ", \"hidden_size\": " C ", \"intermediate_size\": " F       \
	", \"num_hidden_layers\": " L ", \"num_attention_heads\": " NH ", \"num_key_value_heads\": " NKV             \
	", \"head_dim\": " HD "}"

static void test_defaults(void **state)
{
	struct arch a;
	struct err e;
	(void)state;
	assert_ok(read_text(&a, LLAMA(""), &e), &e);
	assert_true(a.shape.NKV == 4 && a.shape.HD == 6 && a.norm_eps == 1e-6f && a.init_std == 0.02f && !a.tied);
	assert_true(a.rope == ROPE_PLAIN && a.rope_theta == 10000 && a.dtype == DTYPE_F32 && a.window == 0);
	assert_ok(read_text(&a, LLAMA(", \"num_key_value_heads\": null, \"head_dim\": null"), &e), &e);
	assert_true(a.shape.NKV == 4 && a.shape.HD == 6);
	assert_ok(read_text(&a, LLAMA(", \"attention_bias\": true, \"mlp_bias\": true"), &e), &e);
	assert_true(a.qkv_bias && a.o_bias && a.mlp_bias);
	/* transformers 5 */
	assert_ok(read_text(&a, LLAMA(", \"dtype\": \"bfloat16\", \"rope_parameters\": {\"rope_type\": \"linear\", "
				      "\"factor\": 4, \"rope_theta\": 500}"), &e), &e);
	assert_true(a.dtype == DTYPE_BF16 && a.rope == ROPE_LINEAR && a.rope_factor == 4 && a.rope_theta == 500);
}

static void test_windows(void **state)
{
	struct arch a;
	struct err e;
	(void)state;
	assert_ok(read_text(&a, QWEN2(", \"sliding_window\": 9, \"use_sliding_window\": false"), &e), &e);
	assert_int_equal(a.window, 0);
	assert_ok(read_text(&a, QWEN2(", \"sliding_window\": 9, \"use_sliding_window\": true, \"max_window_layers\": 0"), &e),
		  &e);
	assert_int_equal(a.window, 9);
	assert_ok(read_text(&a, QWEN2(", \"sliding_window\": 9, \"use_sliding_window\": true, \"max_window_layers\": 4"), &e),
		  &e);
	assert_int_equal(a.window, 0);
	assert_fails(read_text(&a, QWEN2(", \"sliding_window\": 9, \"use_sliding_window\": true, \"max_window_layers\": 3"),
			       &e), &e, "3 of 4 layers without a sliding window");
	assert_fails(read_text(&a, QWEN2(", \"layer_types\": [\"full_attention\", \"sliding_attention\"]"), &e), &e,
		     "mixed kinds");
	assert_fails(read_text(&a, QWEN2(", \"layer_types\": [\"linear_attention\"]"), &e), &e, "\"linear_attention\"");
}

static void test_absurd_configs(void **state)
{
	static const struct {
		const char *text, *want;
	} bad[] = {
		{"[1]", "expected a JSON object"},
		{"{}", "model_type"},
		{"{\"model_type\": 7}", "model_type"},
		{"{\"model_type\": \"llama\"}", "vocab_size"},
		{SIZES("0", "24", "40", "2", "4", "2", "6"), "vocab_size"},
		{SIZES("61", "24", "40", "0", "4", "2", "6"), "num_hidden_layers"},
		{SIZES("61", "1000000000", "40", "2", "4", "2", "6"), "hidden_size"},
		{SIZES("61", "-24", "40", "2", "4", "2", "6"), "hidden_size"},
		{SIZES("61", "\"24\"", "40", "2", "4", "2", "6"), "hidden_size"},
		{SIZES("61", "24.5", "40", "2", "4", "2", "6"), "hidden_size"},
		{SIZES("61", "99999999999999999999", "40", "2", "4", "2", "6"), "hidden_size"},
		{SIZES("61", "24", "null", "2", "4", "2", "6"), "intermediate_size"},
		{SIZES("61", "24", "40", "2", "4", "3", "6"), "num_attention_heads 4 is not a multiple of num_key_value_heads 3"},
		{SIZES("61", "24", "40", "2", "4", "8", "6"), "not a multiple"},
		{SIZES("61", "24", "40", "2", "4", "2", "5"), "head_dim 5 is odd"},
		{SIZES("61", "24", "40", "2", "4", "2", "0"), "head_dim"},
		{SIZES("61", "26", "40", "2", "4", "2", "null"), "hidden_size 26 is not a multiple of num_attention_heads 4"},
		{LLAMA(", \"hidden_act\": \"gelu\""), "hidden_act \"gelu\""},
		{LLAMA(", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2}"), "rope_type \"yarn\""},
		{LLAMA(", \"rope_scaling\": {\"type\": \"linear\"}"), "factor"},
		{LLAMA(", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, "
		       "\"high_freq_factor\": 4}"), "must be larger"},
		{LLAMA(", \"rope_scaling\": 3"), "rope_scaling"},
		{LLAMA(", \"rope_theta\": -1"), "rope_theta"},
		{LLAMA(", \"partial_rotary_factor\": 0.5"), "partial_rotary_factor"},
		{LLAMA(", \"rope_parameters\": {\"full_attention\": {}}"), "per kind of layer"},
		{LLAMA(", \"torch_dtype\": \"float64\""), "dtype \"float64\""},
		{LLAMA(", \"tie_word_embeddings\": \"yes\""), "tie_word_embeddings"},
		{LLAMA(", \"quantization_config\": {}"), "quantized"},
		{LLAMA(", \"rms_norm_eps\": -1"), "rms_norm_eps"},
		{"{\"model_type\": \"mistral\", \"vocab_size\": 61, \"hidden_size\": 24, \"intermediate_size\": 40, "
		 "\"num_hidden_layers\": 2, \"num_attention_heads\": 4}", "num_key_value_heads"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct arch a = {.window = 77};
		struct err e;
		assert_fails(read_text(&a, bad[i].text, &e), &e, bad[i].want);
		assert_null(strchr(e.line, '\n'));
		assert_int_equal(a.window, 77); /* untouched */
	}
}

static void assert_same_arch(const struct arch *a, const struct arch *b)
{
	assert_string_equal(a->family, b->family);
	assert_memory_equal(&a->shape, &b->shape, sizeof a->shape);
	assert_true(a->max_positions == b->max_positions && a->window == b->window && a->norm_eps == b->norm_eps &&
		    a->init_std == b->init_std && a->tied == b->tied && a->qkv_bias == b->qkv_bias &&
		    a->o_bias == b->o_bias && a->mlp_bias == b->mlp_bias && a->qk_norm == b->qk_norm && a->rope == b->rope &&
		    a->rope_theta == b->rope_theta && a->rope_factor == b->rope_factor && a->dtype == b->dtype &&
		    a->rope_low_freq_factor == b->rope_low_freq_factor &&
		    a->rope_high_freq_factor == b->rope_high_freq_factor &&
		    a->rope_original_positions == b->rope_original_positions);
}

/* Written and read again it is the same, with a source and without one. */
static void test_config_out(void **state)
{
	static const char *const golden[] = {"llama_tied", "llama_rope3", "llama_bias", "mistral_window", "qwen2", "qwen3"};
	(void)state;
	for (size_t i = 0; i < sizeof golden / sizeof *golden; i++)
		for (int with_source = 0; with_source < 2; with_source++) {
			char path[200];
			struct arch a, back;
			struct err e;
			json_t *source;
			snprintf(path, sizeof path, "tests/golden/models/%s/config.json", golden[i]);
			assert_ok(json_read_file(test_source(path).text, &source, &e), &e);
			assert_ok(arch_from_config(&a, source, path, &e), &e);
			a.shape.L = 1;
			a.shape.F = 16;
			a.dtype = DTYPE_BF16;
			json_t *out = arch_to_config(&a, with_source ? source : NULL);
			assert_ok(arch_from_config(&back, out, "written", &e), &e);
			assert_same_arch(&a, &back);
			assert_int_equal(json_integer_value(json_object_get(out, "head_dim")), a.shape.HD);
			assert_int_equal(json_array_size(json_object_get(out, "architectures")), 1);
			if (with_source)
				assert_non_null(json_object_get(out, "transformers_version")); /* unknown keys travel */
			if (json_object_get(out, "layer_types"))
				assert_int_equal(json_array_size(json_object_get(out, "layer_types")), 1);
			json_decref(out);
			json_decref(source);
		}
}

static int count_level(const struct arch *a, enum load_level level, const char *part)
{
	struct load_finding found[16];
	int n = arch_check_loadable(a, found, 16), hits = 0;
	for (int i = 0; i < n; i++)
		hits += found[i].level == level && strstr(found[i].line, part);
	assert_true(arch_check_loadable(a, found, 1) <= 1);
	return hits;
}

static void test_loadable(void **state)
{
	struct arch a;
	struct err e;
	(void)state;
	assert_ok(read_text(&a, SIZES("512", "512", "1024", "4", "8", "4", "64"), &e), &e);
	struct load_finding none[4];
	assert_int_equal(arch_check_loadable(&a, none, 4), 0);
	a.shape.NH = 7;
	a.shape.NKV = 7;
	assert_int_equal(count_level(&a, LOAD_REFUSED, "transformers 5"), 1);
	assert_int_equal(count_level(&a, LOAD_WARN, "vLLM"), 2);
	a.shape.F = 1025;
	assert_int_equal(count_level(&a, LOAD_WARN, "vLLM: 1025 FFN channels cannot be split"), 1);
	assert_int_equal(count_level(&a, LOAD_WARN, "intermediate_size 1025 is not a multiple of 32"), 1);
	a.shape.F = 1056;
	assert_int_equal(count_level(&a, LOAD_WARN, "intermediate_size 1056 is not a multiple of 256"), 1);
	assert_int_equal(count_level(&a, LOAD_WARN, "intermediate_size"), 1);
	a.shape.V = 511;
	assert_int_equal(count_level(&a, LOAD_WARN, "vLLM: a vocabulary of 511 is padded"), 1);
	a.family = "mistral";
	assert_int_equal(count_level(&a, LOAD_REFUSED, ""), 0);
	a.family = "qwen2";
	assert_int_equal(count_level(&a, LOAD_MISREAD, "takes qwen2's head_dim"), 1);
	a.shape.C = 320;
	assert_int_equal(count_level(&a, LOAD_WARN, "hidden_size 320"), 1);
	a.shape.NKV = 2;
	assert_int_equal(count_level(&a, LOAD_REFUSED, "every tool"), 1);
}

static void test_flops(void **state)
{
	struct arch a;
	struct err e;
	(void)state;
	assert_ok(read_text(&a, LLAMA(", \"num_key_value_heads\": 2, \"tie_word_embeddings\": true"), &e), &e);
	/* Per layer: qkv 48*24, o 24*24, three of 40*24; head 61*24; keys 4*4*6*(T+1)/2. */
	double want = 2 * (2 * (48 * 24 + 24 * 24 + 3 * 40 * 24) + 61 * 24) + 2 * 4.0 * 24 * 5.5;
	assert_close(arch_flops_per_token(&a, 10), want, 0, 1e-12);
	a.window = 4; /* keys of 10 positions: 1 2 3 4 4 4 4 4 4 4 */
	want += 2 * 4.0 * 24 * (3.4 - 5.5);
	assert_close(arch_flops_per_token(&a, 10), want, 0, 1e-12);
	assert_int_equal(arch_n_embedding_params(&a), 61 * 24);
	a.tied = false;
	assert_int_equal(arch_n_embedding_params(&a), 2 * 61 * 24);
}

static void test_rope_tables(void **state)
{
	struct arch a = {.shape = {.HD = 4}, .rope_theta = 100};
	float c[6], s[6];
	(void)state;
	arch_rope_tables(&a, 3, c, s);
	assert_close(c[4], cos(2.0), 1e-7, 0);
	assert_close(s[5], sin(0.2), 1e-7, 0);
	a.rope = ROPE_LINEAR;
	a.rope_factor = 2;
	arch_rope_tables(&a, 3, c, s);
	assert_close(s[4], sin(1.0), 1e-7, 0);
	assert_close(s[5], sin(0.1), 1e-7, 0);
	assert_true(c[0] == 1 && s[0] == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real_configs), cmocka_unit_test(test_other_families_are_named),
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_windows), cmocka_unit_test(test_absurd_configs),
		cmocka_unit_test(test_config_out), cmocka_unit_test(test_loadable), cmocka_unit_test(test_flops),
		cmocka_unit_test(test_rope_tables),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* model/public_shapes.c: every row against the parameters that its model is known to have, and config.json files where we have them. */
#include "tests/testing.h"

#include "base/json.h"
#include "model/public_shapes.h"

/* Counted in the published checkpoints; three digits are sure of everybody's. */
static void they_have_their_models_parameters(void **state)
{
	(void)state;
	static const struct {
		const char *name, *family;
		bool tied;
		double millions;
	} known[] = {
		{"llama-2-7b", "llama", false, 6738}, {"llama-3.1-8b", "llama", false, 8030}, {"llama-3.2-1b", "llama", true, 1236},
		{"llama-3.2-3b", "llama", true, 3213}, {"minitron-4b-depth", "llama", false, 4540}, {"minitron-4b-width", "llama", false, 4510},
		{"mistral-7b", "mistral", false, 7242}, {"qwen2.5-0.5b", "qwen2", true, 494}, {"qwen2.5-1.5b", "qwen2", true, 1544},
		{"qwen2.5-3b", "qwen2", true, 3086}, {"qwen2.5-7b", "qwen2", false, 7616}, {"qwen3-0.6b", "qwen3", true, 596},
		{"qwen3-1.7b", "qwen3", true, 1721}, {"qwen3-4b", "qwen3", true, 4022}, {"sheared-llama-1.3b", "llama", false, 1345},
		{"sheared-llama-2.7b", "llama", false, 2700}, {"smollm2-1.7b", "llama", true, 1711}, {"smollm2-135m", "llama", true, 134.5},
		{"smollm2-360m", "llama", true, 361.8}, {"tinyllama-1.1b", "llama", false, 1100},
	};
	assert_int_equal(sizeof known / sizeof *known, PUBLIC_SHAPES);
	for (size_t i = 0; i < PUBLIC_SHAPES; i++) {
		const struct shape *s = public_shape(known[i].name);
		assert_string_equal(public_shape_names[i], known[i].name);
		assert_non_null(s);
		struct arch a = {.family = known[i].family, .shape = *s, .tied = known[i].tied, .qkv_bias = !strcmp(known[i].family, "qwen2"),
				 .qk_norm = !strcmp(known[i].family, "qwen3")};
		assert_close((double)arch_n_params(&a) / 1e6, known[i].millions, 0, 0.002);
		for (size_t k = 0; k < i; k++) /* sorted */
			assert_true(strcmp(public_shape_names[k], public_shape_names[i]) < 0);
	}
	assert_null(public_shape_names[PUBLIC_SHAPES]);
	assert_null(public_shape("llama"));
}

static void they_are_what_config_files_say(void **state)
{
	(void)state;
	static const char *const files[][2] = {
		{"llama-2-7b", "mlc_llama2_7b"}, {"llama-3.1-8b", "mlc_llama3_1_8b"}, {"llama-3.2-1b", "mlc_llama3_2_1b"}, {"mistral-7b", "mlc_mistral_7b"},
		{"qwen2.5-3b", "mlc_qwen2.5_3b"}, {"qwen2.5-0.5b", "mlc_qwen2_0_5b"}, {"qwen3-0.6b", "mlc_qwen3_0.6b"}, {"smollm2-135m", "mlc_smollm2_135m"},
		{"smollm2-360m", "mlc_smollm_360m"}, {"tinyllama-1.1b", "mlc_tinyllama_1b_chat_v1.0"}, {"sheared-llama-1.3b", "sheared-llama-1.3b"},
		{"sheared-llama-2.7b", "sheared-llama-2.7b"},
	};
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		char name[128];
		struct arch a;
		struct err e;
		json_t *config;
		snprintf(name, sizeof name, "data/configs/%s.json", files[i][1]);
		struct test_path path = test_shared(name);
		assert_ok(json_read_file(path.text, &config, &e), &e);
		assert_ok(arch_from_config(&a, config, path.text, &e), &e);
		json_decref(config);
		assert_memory_equal(&a.shape, public_shape(files[i][0]), sizeof a.shape);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(they_have_their_models_parameters),
		cmocka_unit_test(they_are_what_config_files_say),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

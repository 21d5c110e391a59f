/* The flat layout of parameters, for every family. */
#include "tests/tiny_model.h"

static size_t elems(const struct hf_tensor *t)
{
	return t->rows * (t->cols ? t->cols : 1);
}

/* Tensors neither overlap nor leave the array, every fused start is aligned, and all parameters are there. */
static void test_tensors_tile(void **state)
{
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++) {
		struct tiny t;
		tiny_open(&t, tiny_names[i], ACTIVATIONS_INFER, 1);
		const struct param_layout *p = &t.hf.layout;
		unsigned char *used = calloc(p->n_elems, 1);
		size_t sum = 0;
		for (int k = 0; k < p->n_tensors; k++) {
			const struct hf_tensor *h = &p->tensors[k];
			assert_true(h->offset + elems(h) <= p->n_elems);
			for (size_t j = 0; j < elems(h); j++)
				assert_int_equal(used[h->offset + j]++, 0);
			sum += elems(h);
		}
		assert_int_equal(sum, arch_n_params(&p->arch));
		assert_int_equal(p->n_elems % 16, 0);
		for (size_t j = 0; j < (size_t)(p->arch.shape.L + 1) * PARAM_KINDS; j++)
			assert_true(p->offsets[j] == SIZE_MAX || p->offsets[j] % 16 == 0);
		for (size_t j = 0; j < p->n_elems; j++)
			assert_true(used[j] || t.host[j] == 0); /* padding */
		free(used);
		tiny_close(&t);
	}
}

static void test_state_dict_order(void **state)
{
	static const char *const want[] = {
		"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj.bias",
		"model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.k_proj.bias",
		"model.layers.0.self_attn.v_proj.weight", "model.layers.0.self_attn.v_proj.bias",
		"model.layers.0.self_attn.o_proj.weight", "model.layers.0.self_attn.o_proj.bias",
		"model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.gate_proj.bias",
		"model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.bias",
		"model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.down_proj.bias",
		"model.layers.0.input_layernorm.weight", "model.layers.0.post_attention_layernorm.weight",
		"model.layers.1.self_attn.q_proj.weight",
	};
	struct tiny t;
	(void)state;
	tiny_open(&t, "llama_bias", ACTIVATIONS_INFER, 1);
	for (size_t i = 0; i < sizeof want / sizeof *want; i++)
		assert_string_equal(t.hf.layout.tensors[i].name, want[i]);
	assert_string_equal(t.hf.layout.tensors[t.hf.layout.n_tensors - 2].name, "model.norm.weight");
	assert_string_equal(t.hf.layout.tensors[t.hf.layout.n_tensors - 1].name, "lm_head.weight");
	tiny_close(&t);
}

static void test_addresses(void **state)
{
	struct tiny t;
	(void)state;
	tiny_open(&t, "qwen3", ACTIVATIONS_INFER, 1);
	const struct param_layout *p = &t.hf.layout;
	size_t C = (size_t)t.shape->C, q = (size_t)(t.shape->NH * t.shape->HD);
	const float *qkv = params_matrix(&t.params, PARAM_QKV, 1);
	const float *k = safetensors_find(t.hf.files[0], "model.layers.1.self_attn.k_proj.weight")->data;
	assert_memory_equal(qkv + q * C, k, C * sizeof(float)); /* queries, then keys */
	assert_ptr_equal(params_matrix(&t.params, PARAM_HEAD, -1), params_matrix(&t.params, PARAM_EMBED, -1)); /* tied */
	assert_ptr_equal(params_in(p, t.host, PARAM_HEAD, -1), params_in(p, t.host, PARAM_EMBED, -1));
	assert_null(params_vector(&t.params, PARAM_QKV_BIAS, 0));
	assert_null(params_in(p, t.host, PARAM_O_BIAS, 0));
	assert_non_null(params_vector(&t.params, PARAM_Q_NORM, 1));
	tiny_close(&t);
	tiny_open(&t, "llama_rope3", ACTIVATIONS_INFER, 1);
	assert_ptr_not_equal(params_matrix(&t.params, PARAM_HEAD, -1), params_matrix(&t.params, PARAM_EMBED, -1));
	assert_null(params_vector(&t.params, PARAM_Q_NORM, 0));
	tiny_close(&t);
}

/* A frozen bf16 model: matrices in bf16 at the layout's offsets, vectors in an array of their own. */
static void test_frozen(void **state)
{
	struct tiny t;
	(void)state;
	tiny_open(&t, "qwen2", ACTIVATIONS_INFER, 1);
	const struct param_layout *p = &t.hf.layout;
	size_t n = (size_t)(t.shape->L + 1) * PARAM_KINDS, *offsets = malloc(n * sizeof *offsets);
	for (size_t i = 0; i < n; i++)
		offsets[i] = i == PARAM_FINAL_NORM ? 16 : SIZE_MAX;
	uint16_t *copy = calloc(p->n_elems, sizeof *copy);
	float vectors[48];
	struct params frozen = {.layout = p, .type = DTYPE_BF16, .copy = copy, .vectors = vectors, .vector_offsets = offsets};
	assert_ptr_equal(params_vector(&frozen, PARAM_FINAL_NORM, -1), vectors + 16);
	assert_ptr_equal(params_matrix(&frozen, PARAM_DOWN, 1), copy + p->offsets[2 * PARAM_KINDS + PARAM_DOWN]);
	free(copy);
	free(offsets);
	tiny_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tensors_tile), cmocka_unit_test(test_state_dict_order), cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_frozen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

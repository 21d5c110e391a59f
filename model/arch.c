/* config.json -> struct arch: the table of families, and every check that a config must pass.
 * What follows from an arch (counts, tables, config out) is in arch_facts.c. Test: tests/test_arch.c */
#include "model/arch.h"

#include "base/json.h"
#include "model/family.h"

#include <string.h>

static const struct family families[] = {
	{.name = "llama", .architecture = "LlamaForCausalLM", .attention_bias_key = true, .mlp_bias_key = true,
	 .kv_heads_default = true, .hidden_multiple_of_heads = true},
	{.name = "mistral", .architecture = "MistralForCausalLM", .window = WINDOW_ALWAYS, .window_default = 4096},
	{.name = "qwen2", .architecture = "Qwen2ForCausalLM", .qkv_bias = true, .window = WINDOW_SWITCH,
	 .window_default = 4096, .head_dim_derived = true},
	{.name = "qwen3", .architecture = "Qwen3ForCausalLM", .attention_bias_key = true, .qk_norm = true,
	 .window = WINDOW_SWITCH, .window_default = 4096, .head_dim_default = 128},
};
#define SUPPORTED "llama, mistral, qwen2, qwen3"

const struct family *family_find(const char *name)
{
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		if (!strcmp(families[i].name, name))
			return &families[i];
	return NULL;
}

/* An integer in [1, max] that must be there. */
static int get_size(const json_t *config, const char *where, const char *key, int max, int *out, struct err *e)
{
	int64_t value;
	if (json_require(config, where, key, e) < 0 ||
	    json_get_int64(config, where, key, 0, 1, max, &value, e) < 0)
		return -1;
	*out = (int)value;
	return 0;
}

static int read_head_dim(struct shape *s, const struct family *f, const json_t *config, const char *where, struct err *e)
{
	int64_t head_dim;
	if (json_get_int64(config, where, "head_dim", 0, 1, ARCH_MAX_HD, &head_dim, e) < 0)
		return -1;
	if (!head_dim)
		head_dim = f->head_dim_default;
	if (!head_dim && s->C % s->NH)
		return err_run(e, "%s: hidden_size %d is not a multiple of num_attention_heads %d; give head_dim", where,
			       s->C, s->NH);
	s->HD = head_dim ? (int)head_dim : s->C / s->NH;
	return 0;
}

static int read_shape(struct shape *s, const struct family *f, const json_t *config, const char *where, struct err *e)
{
	const json_t *kv_heads = json_object_get(config, "num_key_value_heads");
	int rc = -1;
	TRY(get_size(config, where, "vocab_size", ARCH_MAX_V, &s->V, e));
	TRY(get_size(config, where, "hidden_size", ARCH_MAX_C, &s->C, e));
	TRY(get_size(config, where, "intermediate_size", ARCH_MAX_F, &s->F, e));
	TRY(get_size(config, where, "num_hidden_layers", ARCH_MAX_L, &s->L, e));
	TRY(get_size(config, where, "num_attention_heads", ARCH_MAX_NH, &s->NH, e));
	s->NKV = s->NH;
	if (!f->kv_heads_default || (kv_heads && !json_is_null(kv_heads)))
		TRY(get_size(config, where, "num_key_value_heads", ARCH_MAX_NH, &s->NKV, e));
	TRY(read_head_dim(s, f, config, where, e));
	rc = 0;
out:
	return rc;
}

/* layer_types, when given, must name one kind for all. *kind is that, or NULL. */
static int read_layer_types(const json_t *config, const char *where, const char **kind, struct err *e)
{
	json_t *types;
	*kind = NULL;
	if (json_get_child(config, where, "layer_types", JSON_ARRAY, &types, e) < 0)
		return -1;
	for (size_t i = 0; i < json_array_size(types); i++) {
		const char *type = json_string_value(json_array_get(types, i));
		if (!type || (strcmp(type, "full_attention") && strcmp(type, "sliding_attention")))
			return err_run(e, "%s: key 'layer_types': entry %zu is \"%s\"; full_attention or "
				       "sliding_attention is supported", where, i, type ? type : "(not a string)");
		if (*kind && strcmp(type, *kind))
			return err_run(e, "%s: key 'layer_types': layers of mixed kinds (full and sliding attention) are "
				       "not supported", where);
		*kind = type;
	}
	return 0;
}

static int read_window(struct arch *a, const struct family *f, const json_t *config, const char *where, struct err *e)
{
	const char *kind;
	bool on = f->window == WINDOW_ALWAYS;
	int64_t window, first;
	if (read_layer_types(config, where, &kind, e) < 0)
		return -1;
	if (f->window == WINDOW_SWITCH && json_get_bool(config, where, "use_sliding_window", false, &on, e) < 0)
		return -1;
	if (!on || json_is_null(json_object_get(config, "sliding_window")))
		return 0;
	if (json_get_int64(config, where, "sliding_window", f->window_default, 1, INT32_MAX, &window, e) < 0)
		return -1;
	if (f->window == WINDOW_SWITCH && !kind) {
		/* Layers from max_window_layers on have the window. */
		if (json_get_int64(config, where, "max_window_layers", 28, 0, INT32_MAX, &first, e) < 0)
			return -1;
		if (first > 0 && first < a->shape.L)
			return err_run(e, "%s: key 'max_window_layers': %d of %d layers without a sliding window; layers of "
				       "mixed kinds are not supported", where, (int)first, a->shape.L);
		kind = first ? "full_attention" : "sliding_attention";
	}
	a->window = f->window == WINDOW_SWITCH && !strcmp(kind, "full_attention") ? 0 : (int)window;
	return 0;
}

static int read_rope_kind(struct arch *a, const json_t *rope, const char *where, struct err *e)
{
	const char *type = NULL;
	int rc = -1;
	TRY(json_get_string(rope, where, "type", "default", &type, e));
	TRY(json_get_string(rope, where, "rope_type", type, &type, e));
	if (!strcmp(type, "default")) {
		a->rope = ROPE_PLAIN;
		return 0;
	}
	if (strcmp(type, "linear") && strcmp(type, "llama3"))
		return err_run(e, "%s: rope_type \"%s\" is not supported; supported: default, linear, llama3", where, type);
	a->rope = *type == 'l' && type[1] == 'i' ? ROPE_LINEAR : ROPE_LLAMA3;
	TRY(json_require(rope, where, "factor", e));
	TRY(json_get_double(rope, where, "factor", 1, 1, 1e6, &a->rope_factor, e));
	if (a->rope == ROPE_LLAMA3) {
		int64_t positions;
		TRY(json_require(rope, where, "low_freq_factor", e));
		TRY(json_require(rope, where, "high_freq_factor", e));
		TRY(json_get_double(rope, where, "low_freq_factor", 1, 1e-6, 1e6, &a->rope_low_freq_factor, e));
		TRY(json_get_double(rope, where, "high_freq_factor", 4, 1e-6, 1e6, &a->rope_high_freq_factor, e));
		TRY(json_get_int64(rope, where, "original_max_position_embeddings", a->max_positions, 1, INT32_MAX,
				   &positions, e));
		a->rope_original_positions = (int)positions;
		if (a->rope_high_freq_factor <= a->rope_low_freq_factor)
			return err_run(e, "%s: high_freq_factor %g must be larger than low_freq_factor %g", where,
				       a->rope_high_freq_factor, a->rope_low_freq_factor);
	}
	rc = 0;
out:
	return rc;
}

/* transformers 5 writes rope_parameters (theta inside), earlier ones rope_scaling and rope_theta. */
static int read_rope(struct arch *a, const json_t *config, const char *where, struct err *e)
{
	json_t *rope, *scaling, *empty = json_object();
	double partial;
	int rc = -1;
	TRY(json_get_child(config, where, "rope_parameters", JSON_OBJECT, &rope, e));
	TRY(json_get_child(config, where, "rope_scaling", JSON_OBJECT, &scaling, e));
	rope = scaling ? scaling : rope ? rope : empty;
	TRY(json_get_double(config, where, "rope_theta", 10000, 1e-3, 1e12, &a->rope_theta, e));
	TRY(json_get_double(rope, where, "rope_theta", a->rope_theta, 1e-3, 1e12, &a->rope_theta, e));
	TRY(json_get_double(config, where, "partial_rotary_factor", 1, 0, 1, &partial, e));
	TRY(json_get_double(rope, where, "partial_rotary_factor", partial, 0, 1, &partial, e));
	if (partial != 1) {
		err_run(e, "%s: partial_rotary_factor %g is not supported, only 1", where, partial);
		goto out;
	}
	if (json_object_get(rope, "full_attention") || json_object_get(rope, "sliding_attention")) {
		err_run(e, "%s: rotary parameters per kind of layer are not supported", where);
		goto out;
	}
	TRY(read_rope_kind(a, rope, where, e));
	rc = 0;
out:
	json_decref(empty);
	return rc;
}

static int read_flags(struct arch *a, const struct family *f, const json_t *config, const char *where, struct err *e)
{
	const char *act;
	int rc = -1;
	TRY(json_get_string(config, where, "hidden_act", "silu", &act, e));
	if (strcmp(act, "silu") && strcmp(act, "swish"))
		return err_run(e, "%s: hidden_act \"%s\" is not supported, only silu", where, act);
	if (json_is_object(json_object_get(config, "quantization_config")))
		return err_run(e, "%s: quantized weights (quantization_config) are not supported; save the model in float32, "
			       "bfloat16 or float16", where);
	TRY(json_get_bool(config, where, "tie_word_embeddings", false, &a->tied, e));
	a->qkv_bias = f->qkv_bias;
	a->qk_norm = f->qk_norm;
	if (f->attention_bias_key) {
		TRY(json_get_bool(config, where, "attention_bias", false, &a->o_bias, e));
		a->qkv_bias = a->o_bias;
	}
	if (f->mlp_bias_key)
		TRY(json_get_bool(config, where, "mlp_bias", false, &a->mlp_bias, e));
	rc = 0;
out:
	return rc;
}

static int read_dtype(struct arch *a, const json_t *config, const char *where, struct err *e)
{
	const char *name;
	if (json_get_string(config, where, "torch_dtype", "float32", &name, e) < 0 ||
	    json_get_string(config, where, "dtype", name, &name, e) < 0)
		return -1;
	for (enum dtype t = DTYPE_F32; t <= DTYPE_F16; t++)
		if (!strcmp(name, dtype_torch_name(t))) {
			a->dtype = t;
			return 0;
		}
	return err_run(e, "%s: dtype \"%s\" is not supported; supported: float32, bfloat16, float16", where, name);
}

static int read_numbers(struct arch *a, const json_t *config, const char *where, struct err *e)
{
	int64_t positions;
	double eps, std;
	if (json_get_int64(config, where, "max_position_embeddings", 2048, 1, INT32_MAX, &positions, e) < 0 ||
	    json_get_double(config, where, "rms_norm_eps", 1e-6, 0, 1, &eps, e) < 0 ||
	    json_get_double(config, where, "initializer_range", 0.02, 0, 10, &std, e) < 0)
		return -1;
	a->max_positions = (int)positions;
	a->norm_eps = (float)eps;
	a->init_std = (float)std;
	return 0;
}

static int find_family(const struct family **out, const json_t *config, const char *where, struct err *e)
{
	const char *type;
	if (!json_is_object(config))
		return err_run(e, "%s: expected a JSON object", where);
	if (json_require(config, where, "model_type", e) < 0 ||
	    json_get_string(config, where, "model_type", "", &type, e) < 0)
		return -1;
	*out = family_find(type);
	return *out ? 0 : err_run(e, "%s: model_type \"%s\" is not supported; supported: " SUPPORTED, where, type);
}

int arch_from_config(struct arch *out, const json_t *config, const char *where, struct err *e)
{
	struct arch a = {0};
	const struct family *f;
	int rc = -1;
	TRY(find_family(&f, config, where, e));
	a.family = f->name;
	TRY(read_shape(&a.shape, f, config, where, e));
	TRY(read_numbers(&a, config, where, e));
	TRY(read_window(&a, f, config, where, e));
	TRY(read_rope(&a, config, where, e));
	TRY(read_flags(&a, f, config, where, e));
	TRY(read_dtype(&a, config, where, e));
	TRY(arch_check(&a, where, e));
	*out = a;
	rc = 0;
out:
	return rc;
}

int arch_check(const struct arch *a, const char *where, struct err *e)
{
	const struct shape *s = &a->shape;
	const struct {
		const char *key;
		int value, max;
	} sizes[] = {
		{"vocab_size", s->V, ARCH_MAX_V}, {"hidden_size", s->C, ARCH_MAX_C},
		{"intermediate_size", s->F, ARCH_MAX_F}, {"num_hidden_layers", s->L, ARCH_MAX_L},
		{"num_attention_heads", s->NH, ARCH_MAX_NH}, {"num_key_value_heads", s->NKV, ARCH_MAX_NH},
		{"head_dim", s->HD, ARCH_MAX_HD},
	};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		if (sizes[i].value < 1 || sizes[i].value > sizes[i].max)
			return err_run(e, "%s: %s %d is out of range, expected 1 to %d", where, sizes[i].key,
				       sizes[i].value, sizes[i].max);
	if (s->NH % s->NKV)
		return err_run(e, "%s: num_attention_heads %d is not a multiple of num_key_value_heads %d", where, s->NH,
			       s->NKV);
	if (s->HD % 2)
		return err_run(e, "%s: head_dim %d is odd; rotary embedding needs an even one", where, s->HD);
	return 0;
}

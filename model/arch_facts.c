/* What follows from an arch: counts, rotary tables, config.json out, where it can be loaded. Test: tests/test_arch.c */
#include "base/err.h"
#include "model/arch.h"
#include "model/family.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t qkv_width(const struct shape *s)
{
	return ((size_t)s->NH + 2 * (size_t)s->NKV) * (size_t)s->HD;
}

static size_t layer_matrix_elems(const struct shape *s)
{
	size_t C = (size_t)s->C;
	return qkv_width(s) * C + C * (size_t)s->NH * (size_t)s->HD + 3 * (size_t)s->F * C;
}

size_t arch_n_embedding_params(const struct arch *a)
{
	return (size_t)a->shape.V * (size_t)a->shape.C * (a->tied ? 1 : 2);
}

size_t arch_n_params(const struct arch *a)
{
	const struct shape *s = &a->shape;
	size_t C = (size_t)s->C, layer = layer_matrix_elems(s) + 2 * C;
	if (a->qkv_bias)
		layer += qkv_width(s);
	if (a->o_bias)
		layer += C;
	if (a->mlp_bias)
		layer += 2 * (size_t)s->F + C;
	if (a->qk_norm)
		layer += 2 * (size_t)s->HD;
	return arch_n_embedding_params(a) + C + (size_t)s->L * layer;
}

/* Keys that a query sees, averaged over the positions of a sequence. */
static double mean_visible_keys(const struct arch *a, int T)
{
	double t = T, w = a->window;
	if (!a->window || a->window >= T)
		return (t + 1) / 2;
	return (w * (w + 1) / 2 + (t - w) * w) / t;
}

double arch_flops_per_token(const struct arch *a, int T)
{
	const struct shape *s = &a->shape;
	double products = (double)s->L * (double)layer_matrix_elems(s) + (double)s->V * s->C;
	return 2 * products + (double)s->L * 4.0 * s->NH * s->HD * mean_visible_keys(a, T);
}

/* Angle per position of pair i. */
static double rope_frequency(const struct arch *a, int i)
{
	double f = pow(a->rope_theta, -2.0 * i / a->shape.HD);
	if (a->rope == ROPE_LINEAR)
		return f / a->rope_factor;
	if (a->rope == ROPE_PLAIN)
		return f;
	/* Llama 3: turns within the original context decide: many, keep; few, divide; between, interpolate. */
	double turns = a->rope_original_positions * f / (2 * acos(-1));
	double low = a->rope_low_freq_factor, high = a->rope_high_freq_factor;
	if (turns > high)
		return f;
	if (turns < low)
		return f / a->rope_factor;
	double keep = (turns - low) / (high - low);
	return (1 - keep) * f / a->rope_factor + keep * f;
}

void arch_rope_tables(const struct arch *a, int positions, float *cos_table, float *sin_table)
{
	int half = a->shape.HD / 2;
	for (int i = 0; i < half; i++) {
		double f = rope_frequency(a, i);
		for (int p = 0; p < positions; p++) {
			cos_table[(size_t)p * (size_t)half + (size_t)i] = (float)cos(p * f);
			sin_table[(size_t)p * (size_t)half + (size_t)i] = (float)sin(p * f);
		}
	}
}

static void set_int(json_t *config, const char *key, int value)
{
	json_object_set_new(config, key, json_integer(value));
}

/* The shortest decimal that reads back as the same float: 1e-05, not 9.9999997473787516e-06. */
static json_t *json_short_real(float value)
{
	char text[40];
	for (int digits = 1; digits <= 9; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, (double)value);
		if (strtof(text, NULL) == value)
			break;
	}
	return json_real(strtod(text, NULL));
}

static void set_rope(json_t *config, const struct arch *a)
{
	json_object_set_new(config, "rope_theta", json_real(a->rope_theta));
	if (a->rope == ROPE_PLAIN) {
		json_object_set_new(config, "rope_scaling", json_null());
		return;
	}
	json_t *rope = json_object();
	json_object_set_new(rope, "rope_type", json_string(a->rope == ROPE_LINEAR ? "linear" : "llama3"));
	json_object_set_new(rope, "factor", json_real(a->rope_factor));
	if (a->rope == ROPE_LLAMA3) {
		json_object_set_new(rope, "low_freq_factor", json_real(a->rope_low_freq_factor));
		json_object_set_new(rope, "high_freq_factor", json_real(a->rope_high_freq_factor));
		set_int(rope, "original_max_position_embeddings", a->rope_original_positions);
	}
	json_object_set_new(config, "rope_scaling", rope);
}

/* Everything that a source would have said. */
static void set_constants(json_t *config, const struct arch *a, const struct family *f)
{
	json_object_set_new(config, "hidden_act", json_string("silu"));
	set_int(config, "max_position_embeddings", a->max_positions);
	json_object_set_new(config, "initializer_range", json_short_real(a->init_std));
	json_object_set_new(config, "rms_norm_eps", json_short_real(a->norm_eps));
	set_rope(config, a);
	if (f->attention_bias_key)
		json_object_set_new(config, "attention_bias", json_boolean(a->o_bias));
	if (f->mlp_bias_key)
		json_object_set_new(config, "mlp_bias", json_boolean(a->mlp_bias));
	if (f->window != WINDOW_NEVER)
		json_object_set_new(config, "sliding_window", a->window ? json_integer(a->window) : json_null());
	if (f->window == WINDOW_SWITCH) {
		json_object_set_new(config, "use_sliding_window", json_boolean(a->window > 0));
		set_int(config, "max_window_layers", a->window ? 0 : a->shape.L);
	}
	json_object_set_new(config, "use_cache", json_true());
}

/* Keys that hold one thing per layer, or count layers. */
static void mend_layer_keys(json_t *config, const struct arch *a)
{
	json_t *types = json_object_get(config, "layer_types"), *first = json_array_get(types, 0);
	if (json_is_array(types)) {
		json_t *mended = json_array();
		for (int l = 0; l < a->shape.L; l++)
			json_array_append(mended, first);
		json_object_set_new(config, "layer_types", mended);
	}
	if (json_is_integer(json_object_get(config, "max_window_layers")))
		set_int(config, "max_window_layers", a->window ? 0 : a->shape.L);
}

json_t *arch_to_config(const struct arch *a, const json_t *source)
{
	const struct family *f = family_find(a->family);
	const struct shape *s = &a->shape;
	json_t *config = source ? json_deep_copy(source) : json_object();
	BUG_ON(!f || !config);
	json_object_set_new(config, "architectures", json_pack("[s]", f->architecture));
	json_object_set_new(config, "model_type", json_string(a->family));
	set_int(config, "vocab_size", s->V);
	set_int(config, "hidden_size", s->C);
	set_int(config, "intermediate_size", s->F);
	set_int(config, "num_hidden_layers", s->L);
	set_int(config, "num_attention_heads", s->NH);
	set_int(config, "num_key_value_heads", s->NKV);
	set_int(config, "head_dim", s->HD);
	if (source)
		mend_layer_keys(config, a);
	else
		set_constants(config, a, f);
	json_object_set_new(config, "tie_word_embeddings", json_boolean(a->tied));
	bool new_key = json_object_get(config, "dtype") != NULL;
	if (new_key)
		json_object_set_new(config, "dtype", json_string(dtype_torch_name(a->dtype)));
	if (!new_key || json_object_get(config, "torch_dtype"))
		json_object_set_new(config, "torch_dtype", json_string(dtype_torch_name(a->dtype)));
	return config;
}

struct findings {
	struct load_finding *out;
	int n, max;
};

static void __attribute__((format(printf, 3, 4))) found(struct findings *f, enum load_level level, const char *fmt, ...)
{
	if (f->n == f->max)
		return;
	struct load_finding *out = &f->out[f->n++];
	va_list ap;
	va_start(ap, fmt);
	out->level = level;
	vsnprintf(out->line, sizeof out->line, fmt, ap);
	va_end(ap);
}

/* Matrices are quantized along rows of these lengths: in blocks of 256 values (K-quants), else of 32, else not at all. */
static void check_rows(struct findings *out, const struct shape *s)
{
	const struct {
		const char *what;
		int n;
	} rows[] = {{"hidden_size", s->C}, {"intermediate_size", s->F}, {"num_attention_heads * head_dim", s->NH * s->HD}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rows[i].n % 32)
			found(out, LOAD_WARN, "llama.cpp: %s %d is not a multiple of 32; its matrices cannot be quantized and stay in 16 bits",
			      rows[i].what, rows[i].n);
		else if (rows[i].n % 256)
			found(out, LOAD_WARN, "llama.cpp: %s %d is not a multiple of 256; K-quants fall back to larger types",
			      rows[i].what, rows[i].n);
}

/* One key-value head is copied to every GPU, a vocabulary is padded. */
static void check_split(struct findings *out, const struct shape *s)
{
	const struct {
		const char *what;
		int n;
	} split[] = {{"heads", s->NH}, {"key-value heads", s->NKV > 1 ? s->NKV : 0}, {"FFN channels", s->F}};
	for (size_t i = 0; i < sizeof split / sizeof *split; i++)
		if (split[i].n % 2)
			found(out, LOAD_WARN, "vLLM: %d %s cannot be split over 2 GPUs (tensor parallelism)", split[i].n, split[i].what);
	if (s->V % 2)
		found(out, LOAD_WARN, "vLLM: a vocabulary of %d is padded for 2 GPUs (tensor parallelism)", s->V);
}

int arch_check_loadable(const struct arch *a, struct load_finding *out, int max)
{
	const struct family *f = family_find(a->family);
	const struct shape *s = &a->shape;
	struct findings all = {.out = out, .max = max};
	BUG_ON(!f);
	if (s->NH % s->NKV)
		found(&all, LOAD_REFUSED, "every tool: num_attention_heads %d is not a multiple of num_key_value_heads %d",
		      s->NH, s->NKV);
	if (f->hidden_multiple_of_heads && s->C % s->NH)
		found(&all, LOAD_REFUSED, "transformers 5 refuses a %s config whose hidden_size (%d) is not a multiple of "
		      "num_attention_heads (%d), whatever head_dim says", a->family, s->C, s->NH);
	if (f->head_dim_derived && s->C != s->NH * s->HD)
		found(&all, LOAD_MISREAD, "vLLM takes %s's head_dim as hidden_size / num_attention_heads (%d / %d), not the %d "
		      "in the config", a->family, s->C, s->NH, s->HD);
	check_split(&all, s);
	check_rows(&all, s);
	return all.n;
}

/* What a decoder-only transformer is: family, shape, constants; read from and written to config.json.
 * Families differ by a row of a table (model/arch.c), not by copies of code. Test: tests/test_arch.c */
#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H

#include "base/err.h"
#include "kernels/dtype.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The letters of the whole project: L layers, C width, F ffn width, NH query heads, NKV key-value heads, HD head width,
 * V vocabulary. B batch, T positions, N = B*T rows; Q = (NH + 2*NKV)*HD, the width of a fused qkv row. */
struct shape {
	int L, C, F, NH, NKV, HD, V;
};

enum rope_kind { ROPE_PLAIN, ROPE_LLAMA3, ROPE_LINEAR };

struct arch {
	const char *family; /* config's model_type: "llama", "mistral", "qwen2", "qwen3" (static string) */
	struct shape shape;
	int max_positions;
	int window; /* sliding window in positions, 0: none */
	float norm_eps;
	float init_std; /* initializer_range */
	bool tied;      /* output head is the embedding */
	bool qkv_bias, o_bias, mlp_bias, qk_norm;
	enum rope_kind rope;
	double rope_theta;
	double rope_factor, rope_low_freq_factor, rope_high_freq_factor; /* llama3, linear */
	int rope_original_positions;
	enum dtype dtype; /* torch_dtype: the type that checkpoints are saved in */
};

/* Largest sizes that are believed. */
enum {
	ARCH_MAX_L = 1024, ARCH_MAX_C = 1 << 16, ARCH_MAX_F = 1 << 20, ARCH_MAX_NH = 1 << 10, ARCH_MAX_HD = 512,
	ARCH_MAX_V = 1 << 24,
};

/* Sizes in range, heads in whole groups, an even head width: what a shape that somebody made up must satisfy too.
 * Failure: one line that starts with `where`. */
int arch_check(const struct arch *, const char *where, struct err *);

/* Reads and checks a parsed config.json. Refuses, with one line that starts with `where`: an unknown family, absurd or
 * inconsistent sizes, an activation other than silu, layers of mixed window kinds, rope kinds that we lack. */
int arch_from_config(struct arch *out, const json_t *config, const char *where, struct err *);
/* A copy of source (the teacher's or original config; may be NULL for a fresh model) with shape, head_dim, dtype and
 * architectures set truthfully. Caller json_decref()s. */
json_t *arch_to_config(const struct arch *, const json_t *source);

/* Does a tool refuse, misread or run less well with this shape? Rules of transformers, vLLM and llama.cpp, one line each for those
 * that it breaks. */
enum load_level {
	LOAD_WARN,    /* it loads; something is slower, larger or on one GPU only */
	LOAD_MISREAD, /* one tool cannot load it; whoever asks for the shape may have it, a search for one leaves it out */
	LOAD_REFUSED, /* nothing is cut to it */
};
struct load_finding {
	enum load_level level;
	char line[200];
};
/* Fills at most `max` findings, returns how many. */
int arch_check_loadable(const struct arch *, struct load_finding *out, int max);

size_t arch_n_params(const struct arch *);
/* Parameters of embedding (and head, if untied) alone. */
size_t arch_n_embedding_params(const struct arch *);
/* Floating-point operations of one forward pass per token at T positions: 2 per weight of every product (the head
 * included, the embedding lookup not) and 4*NH*HD per visible key, causal average (T+1)/2. Backward is twice it. */
double arch_flops_per_token(const struct arch *, int T);

/* Rotary tables on the host: cos, sin (positions, HD/2), from angles in double precision.
 * Source: Su et al. 2021; llama3 scaling as in the Llama 3.1 release. */
void arch_rope_tables(const struct arch *, int positions, float *cos, float *sin);

#endif

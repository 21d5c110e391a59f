/* A family of models: what its config keys mean. Private to model/arch*.c. Defaults are those of transformers' config
 * classes. Test: tests/test_arch.c */
#ifndef MODEL_FAMILY_H
#define MODEL_FAMILY_H

#include <stdbool.h>

enum window_rule {
	WINDOW_NEVER,
	WINDOW_ALWAYS, /* sliding_window, null for none */
	WINDOW_SWITCH, /* the same when use_sliding_window, for layers from max_window_layers on, or as layer_types says */
};

struct family {
	const char *name, *architecture;
	bool qkv_bias;           /* always */
	bool attention_bias_key; /* attention_bias: on q, k, v and o */
	bool mlp_bias_key;       /* mlp_bias: on gate, up and down */
	bool qk_norm;
	bool kv_heads_default;         /* num_key_value_heads may be absent: as many as heads */
	bool hidden_multiple_of_heads; /* transformers 5 insists on it, whatever head_dim says */
	bool head_dim_derived;         /* some tools take hidden / heads, whatever head_dim says */
	enum window_rule window;
	int window_default;
	int head_dim_default; /* when absent; 0: hidden / heads */
};

/* NULL: unknown. */
const struct family *family_find(const char *name);

#endif

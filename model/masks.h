/* The masks that a forward pass accepts: z in [0,1] on every structure that pruning can remove. prune fills them, the
 * forward multiplies by them in its epilogues, the backward returns their gradients. NULL: all ones, no gradient.
 *   hidden: embedding output, output of every norm (whose mean runs over z != 0), attention and FFN output
 *   attn, ffn_block: attention and FFN output of a layer     heads: each query head's context     ffn: gate's product
 * The final norm's output carries hidden once; the output head does not. Masked forward == cut forward.
 * Test: tests/test_masked.c */
#ifndef MODEL_MASKS_H
#define MODEL_MASKS_H

struct masks { /* device pointers, fp32 */
	const float *hidden;    /* (C) */
	const float *attn;      /* (L) */
	const float *ffn_block; /* (L); may be the same array as attn */
	const float *heads;     /* (L, NH) */
	const float *ffn;       /* (L, F) */
};
struct mask_grads { /* device pointers, fp32, += ; an array is NULL exactly when its mask is. attn and ffn_block may be one array. */
	float *hidden, *attn, *ffn_block, *heads, *ffn;
};

#endif

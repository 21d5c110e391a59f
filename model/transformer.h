/* The transformer, forward and backward, written once over the op table.
 * Letters: model/arch.h. Nothing here allocates: activations come from an arena that was priced by the same code.
 * Test: tests/test_transformer.c (against Hugging Face transformers), tests/test_masked.c */
#ifndef MODEL_TRANSFORMER_H
#define MODEL_TRANSFORMER_H

#include "base/arena.h"
#include "kernels/ops.h"
#include "model/masks.h"
#include "model/params.h"
#include "model/taps.h"

struct kv_cache;

/* Rows of token ids, on the device. N = B*T. */
struct batch {
	int B, T;
	const int32_t *tokens; /* (N) in [0, V): the caller has checked */
	const int32_t *pos;    /* (N) position inside the document, < the rotary tables' length */
	const int32_t *start;  /* (N) index within the sequence (0..T-1) of the row's document's first row */
	/* NULL: the rows are whole sequences. Else they go on from what the cache holds (model/decode.h; forward only), which gets their
	 * keys and values; start then counts the cache's positions. */
	const struct kv_cache *cache;
};

enum activation_mode {
	ACTIVATIONS_INFER,  /* forward only: one layer's buffers, reused */
	ACTIVATIONS_TRAIN,  /* what backward needs */
	ACTIVATIONS_MASKED, /* and what the masks' gradients need */
};

struct activations; /* laid out in an arena; see transformer.c */

/* Room for batches of up to B*T = N rows of up to T positions. Called dry by plan. activations_free releases the struct,
 * the arena's owner its memory. INFER is enough for any masks; TRAIN for masks on heads and ffn; MASKED for all. */
int activations_init(struct activations **out, struct ops *, const struct arch *, int B, int T, enum activation_mode,
                     struct arena *device, struct err *);
void activations_free(struct activations *);
/* Rotary tables (host -> device) after the arena is real. positions <= as reserved (T). */
void activations_upload_tables(struct activations *, struct ops *, const struct arch *);

/* Returns the final norm's output (N, C), act storage, inside the activations: the output head's input.
 * masks, taps may be NULL. */
void *transformer_forward(struct ops *, const struct params *, struct activations *, const struct batch *,
                          const struct masks *, const struct taps *);
/* After a forward in TRAIN or MASKED mode with the same batch and masks, once: gradients are left where activations were.
 * dfinal (N, C) act is the gradient of the returned tensor; it is overwritten. grads: flat fp32 of the layout, += ; the
 * head's own gradient is the loss's affair. masks as in the forward; mask_grads NULL exactly when they are. */
void transformer_backward(struct ops *, const struct params *, struct activations *, const struct batch *,
                          const struct masks *, const struct taps *, void *dfinal, float *grads, const struct mask_grads *);

/* The largest operands, for ops_*_reserve. */
struct ops_limits transformer_limits(const struct arch *, int N, int head_rows);

#endif

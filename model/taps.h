/* Where inner losses and importance scores reach the model: tensors that come out of a forward pass, and the gradients
 * that come back into the backward. The model calls; it knows nothing of who listens. Test: tests/test_taps.c */
#ifndef MODEL_TAPS_H
#define MODEL_TAPS_H

enum tap_point {
	TAP_EMBED,      /* (N, C) residual stream before layer 0; layer = 0 */
	TAP_ATTN_NORM,  /* (N, C) attention's input */
	TAP_QKV,        /* (N, Q) after norm and rotary: queries | keys | values */
	TAP_HEADS,      /* (N, NH*HD) attention's context, masked */
	TAP_FFN_NORM,   /* (N, C) FFN's input */
	TAP_FFN,        /* (N, F) input of down_proj, masked */
	TAP_HIDDEN,     /* (N, C) residual stream after the layer (its FFN's output added) */
	TAP_FINAL,      /* (N, C) final norm's output; layer = L */
};
struct taps {
	void *user;
	/* values: device, act storage, valid during the call. NULL: not interested. */
	void (*forward)(void *user, enum tap_point, int layer, const void *values);
	/* Called where the gradient of that tensor is complete but for the listener's part: add to it (+=, act storage).
	 * Called for TAP_HIDDEN, TAP_QKV (before rotary is undone), TAP_FINAL and TAP_EMBED. NULL: nothing to add. */
	void (*backward)(void *user, enum tap_point, int layer, void *dvalues);
};

#endif

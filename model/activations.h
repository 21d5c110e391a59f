/* What a forward pass keeps, and what a backward pass works in. Private to model/. Laid out by activations.c.
 * All pointers are device memory of the arena; act storage unless fp32 is said. */
#ifndef MODEL_ACTIVATIONS_H
#define MODEL_ACTIVATIONS_H

#include "model/transformer.h"

/* In INFER mode the layers share one set of buffers, and the residual stream is one array throughout. */
struct layer_activations {
	void *attn_in;     /* (N, C) residual stream before attention */
	void *attn_h;      /* (N, C) attention norm's output */
	float *attn_rstd;  /* (N) */
	void *qkv_raw;     /* (N, Q) the product; equals qkv without q/k norm */
	void *qkv;         /* (N, Q) after norm and rotary */
	float *qk_rstd;    /* (N, NH+NKV), with q/k norm only */
	void *context;     /* (N, NH*HD) */
	float *lse;        /* (N, NH) */
	void *attn_y;      /* (N, C) attention's output before its masks; of this layer's own in MASKED mode only */
	void *ffn_in;      /* (N, C) residual stream before the FFN */
	void *ffn_h;       /* (N, C) FFN norm's output */
	float *ffn_rstd;   /* (N) */
	void *gate_up;     /* (N, 2F); backward leaves its gradient here */
	void *gated;       /* (N, F) */
	void *ffn_y;       /* (N, C) FFN's output, as attn_y */
};

struct activations {
	struct arch arch;
	int n_rows, T; /* reserved: N, and the longest sequence, which is the tables' length */
	enum activation_mode mode;
	struct layer_activations *layers; /* (L) */
	void *final_in, *final_h;         /* (N, C) */
	float *final_rstd;                /* (N) */
	float *cos, *sin;                 /* (T, HD/2) */
	float *host_tables;               /* (2, T, HD/2) */
	/* backward */
	void *dx;       /* (N, C) of the residual stream */
	void *dh;       /* (N, C) of a norm's output */
	void *dy;       /* (N, C) of a block's output, MASKED only */
	void *dqkv;     /* (N, Q) */
	void *dcontext; /* (N, NH*HD) */
	void *dgated;   /* (N, F) */
	float *attention_scratch;
	size_t attention_scratch_bytes;
};

/* activations_init in INFER mode for passes of n_rows rows anywhere in sequences of up to `positions`. */
int activations_init_decode(struct activations **out, struct ops *, const struct arch *, int n_rows, int positions, struct arena *device,
			    struct err *);

#endif

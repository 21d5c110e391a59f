/* Parameters as one flat array per role. Element i of the fp32 masters, the gradients and both moments belong together,
 * and matrices have a compute copy at the same offset when the compute type is not fp32. Fused tensors are laid out so
 * that each Hugging Face tensor is a contiguous range: qkv rows are (q | k | v), gate_up rows are (gate | up).
 * Test: tests/test_params.c */
#ifndef MODEL_PARAMS_H
#define MODEL_PARAMS_H

#include "base/arena.h"
#include "model/arch.h"

enum param_kind { /* comment: shape */
	PARAM_EMBED,        /* (V, C) */
	PARAM_HEAD,         /* (V, C); absent when tied */
	PARAM_FINAL_NORM,   /* (C) */
	PARAM_ATTN_NORM,    /* (C), per layer from here on */
	PARAM_QKV,          /* (Q, C) */
	PARAM_QKV_BIAS,     /* (Q) */
	PARAM_Q_NORM,       /* (HD) */
	PARAM_K_NORM,       /* (HD) */
	PARAM_O,            /* (C, NH*HD) */
	PARAM_O_BIAS,       /* (C) */
	PARAM_FFN_NORM,     /* (C) */
	PARAM_GATE_UP,      /* (2F, C) */
	PARAM_GATE_UP_BIAS, /* (2F) */
	PARAM_DOWN,         /* (C, F) */
	PARAM_DOWN_BIAS,    /* (C) */
	PARAM_KINDS,
};

/* One Hugging Face tensor: a range of the flat array. */
struct hf_tensor {
	char name[96];      /* "model.layers.3.self_attn.k_proj.weight" */
	enum param_kind kind;
	int layer;          /* -1: not of a layer */
	size_t offset;      /* elements from the start of the flat array; 16-element aligned at fused starts */
	size_t rows, cols;  /* cols 0: a vector of `rows` */
};

struct param_layout {
	struct arch arch;
	struct hf_tensor *tensors; /* in the order of Hugging Face's state dict */
	int n_tensors;
	size_t n_elems;            /* of the flat array, padding included (padding stays 0) */
	size_t *offsets;           /* (L+1, PARAM_KINDS): first the global ones, then each layer's; SIZE_MAX: absent */
};
int param_layout_init(struct param_layout *, const struct arch *, struct err *);
void param_layout_release(struct param_layout *);
/* Is the tensor a matrix (decayed, has a compute copy) or a vector (neither)? */
static inline bool param_is_matrix(enum param_kind k)
{
	return k == PARAM_EMBED || k == PARAM_HEAD || k == PARAM_QKV || k == PARAM_O || k == PARAM_GATE_UP || k == PARAM_DOWN;
}

/* Weights as the forward reads them. master holds every element in fp32; when type is not F32, copy holds the matrices
 * in it (same offsets) and a frozen model keeps only its vectors in master. */
struct params {
	const struct param_layout *layout;
	enum dtype type; /* of matrices, for compute */
	float *master;   /* device, (n_elems) or NULL for a frozen low-precision model, whose vectors live in `vectors` */
	void *copy;      /* device, (n_elems) of type; equals master when type is F32 */
	float *vectors;  /* device, where vectors are read: master, or a frozen model's (n_elems of vectors only) array */
	size_t *vector_offsets; /* NULL: as layout; else offsets into vectors, (L+1, PARAM_KINDS) */
};
/* Address of a matrix in params->type, of a vector in fp32; NULL when the family lacks it. layer is -1 for globals.
 * PARAM_HEAD of a tied model is the embedding. */
const void *params_matrix(const struct params *, enum param_kind, int layer);
const float *params_vector(const struct params *, enum param_kind, int layer);
/* Address inside a flat fp32 array of the same layout (gradients, moments); tied PARAM_HEAD is PARAM_EMBED. */
float *params_in(const struct param_layout *, float *flat, enum param_kind, int layer);

#endif

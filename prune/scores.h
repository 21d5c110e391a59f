/* Scores: how much each unit that pruning can remove is worth, larger is worth more. What made them is prune/importance.h;
 * here they are kept, saved, and spent: scores and a target give the units that survive, without a forward pass.
 * Tests: tests/test_scores.c, tests/test_scores_file.c */
#ifndef PRUNE_SCORES_H
#define PRUNE_SCORES_H

#include "prune/cut.h"

#include <stdint.h>

enum importance_method {
	IMPORTANCE_MAGNITUDE, IMPORTANCE_ACTIVATION, IMPORTANCE_WANDA, IMPORTANCE_FLUCTUATION, IMPORTANCE_TAYLOR, IMPORTANCE_RANDOM,
	IMPORTANCE_METHODS,
};
/* Where the layers' scores come from: the method's own, block influence, or what leaving the layer out costs. */
enum layers_method { LAYERS_OWN, LAYERS_INFLUENCE, LAYERS_LOSS, LAYERS_KL, LAYERS_METHODS };
/* "magnitude", "activation", "wanda", "fluctuation", "taylor", "random". */
const char *importance_method_name(enum importance_method);
/* "own", "influence", "loss", "kl". */
const char *layers_method_name(enum layers_method);

struct scores {
	enum importance_method method;
	enum layers_method layers_method;
	int64_t tokens;   /* that were looked at; 0: no text was needed */
	uint64_t teacher; /* hf_hash of the model that was scored, 0: unknown */
	uint64_t data;    /* hash of the calibration text, 0: none */
	uint64_t seed;
	float *hidden;    /* (C) */
	float *layers;    /* (L) */
	float *groups;    /* (L, NKV) */
	float *heads;     /* (L, NH) */
	float *ffn;       /* (L, F) */
	float *context_mean; /* (L, NH*HD) means of o's input, fluctuation alone (else NULL): what prune/compensate.h spends */
	float *ffn_mean;     /* (L, F) likewise of down's input */
	void *block;         /* where the arrays lie */
};
/* Arrays for a model of that shape, zeroed; the means only when with_means. */
int scores_alloc(struct scores *, const struct arch *source, bool with_means, struct err *);
void scores_release(struct scores *); /* a zeroed struct is fine */

/* A safetensors file: F32 tensors "hidden", "layers", "groups", "heads", "ffn" and, of fluctuation, "context_mean", "ffn_mean";
 * metadata "method", "layers_method", "tokens", "teacher", "data" (hexadecimal), "seed". Atomic. */
int scores_save(const char *path, const struct arch *source, const struct scores *, struct err *);
/* Refuses, naming the tensor: absent, superfluous, another type or shape (of another model), a score that is not finite;
 * and metadata that this program did not write. *out is released by the caller on success, zeroed on failure. */
int scores_load(const char *path, const struct arch *source, struct scores *out, struct err *);

struct select_options {
	/* Key-value groups are averaged instead of dropped: run i of NKV/NKV_T consecutive groups of the source becomes group i
	 * (prune_cut takes the mean of their k and v rows), and the target's NH/NKV best query heads of each run stay. NKV must be
	 * a multiple of NKV_T. Source: Ainslie et al. 2023 (GQA), section 2.1. */
	bool merge_kv;
};
/* The best units of every row, exactly the target's counts, ascending: the best L_T layers, C_T dimensions, in each kept layer
 * the best F_T channels, the best NKV_T groups and in each the best NH_T/NKV_T query heads. Of equal scores the lower index
 * stays. Refuses (err_user) a merge that does not divide. */
int kept_from_scores(struct kept *, const struct arch *source, const struct arch *target, const struct scores *,
                     const struct select_options *, struct err *);

#endif

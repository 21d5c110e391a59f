/* A Hugging Face model directory, in and out: config.json, *.safetensors (one, or many under an index), and the files
 * that travel along (tokenizer, generation config, chat template). Test: tests/test_hf.c */
#ifndef MODEL_HF_H
#define MODEL_HF_H

#include "model/params.h"
#include "model/safetensors.h"

struct hf_model {
	char *dir;
	json_t *config;
	struct param_layout layout;  /* layout.arch: the architecture */
	struct safetensors **files;
	int n_files;
	const struct safetensor **tensors; /* (layout.n_tensors): where each tensor of the layout lies */
};
/* Opens, maps and checks: every tensor there with the right shape and a type that we read; tensors that the family does
 * not know are refused by name (rotary inv_freq buffers, and a tied model's lm_head.weight that equals the embedding,
 * are skipped). */
int hf_open(struct hf_model *, const char *dir, struct err *);
void hf_close(struct hf_model *); /* a zeroed struct is fine */
/* Hash of config and of every tensor's bytes (XXH3-64): the model's identity. */
uint64_t hf_hash(const struct hf_model *);

/* All tensors converted to fp32 into a flat host array of layout.n_elems (padding zeroed). */
void hf_read_f32(const struct hf_model *, float *flat);
/* One tensor of the layout by index, converted. */
void hf_read_tensor(const struct hf_model *, int tensor, void *out, enum dtype type);

struct hf_save_options {
	enum dtype dtype;          /* that the weights are written in */
	const enum dtype *types;   /* (n_tensors) of each tensor instead; config.json says dtype. NULL: all are dtype */
	size_t shard_bytes;        /* a file's limit; 0: 5 GB */
	const char *copy_from;     /* directory whose tokenizer, generation and template files are carried over, or NULL */
	const json_t *config_from; /* keys to keep, or NULL */
};
/* Writes dir (made when absent) so that config.json comes last: a directory with a config.json is complete. Tensors have
 * the names and order of the layout; one file model.safetensors, or shards with an index above the limit.
 * Refuses a directory that already holds a model. */
int hf_save(const char *dir, const struct param_layout *, const float *flat, const struct hf_save_options *, struct err *);

/* Weights that are made while they are written: read puts rows [first, first + n) of a tensor of the layout (elements of a
 * vector) into out, of `type`. Asked for once each, in order. */
struct hf_rows {
	void (*read)(void *user, int tensor, size_t first, size_t n, void *out, enum dtype type);
	void *user;
};
/* hf_save of such weights: the same files, with memory for a few MiB. */
int hf_save_rows(const char *dir, const struct param_layout *, const struct hf_rows *, const struct hf_save_options *, struct err *);

#endif

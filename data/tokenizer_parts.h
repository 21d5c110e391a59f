/* The inside of a tokenizer, for the files that read, train and run it. Everybody else: data/tokenizer.h. */
#ifndef DATA_TOKENIZER_PARTS_H
#define DATA_TOKENIZER_PARTS_H

#include "base/json.h"
#include "data/added_tokens.h"
#include "data/bpe.h"
#include "data/detokenize.h"
#include "data/normalize.h"
#include "data/pretokenize.h"

struct tokenizer {
	struct normalize normalize;
	struct pretokenize pretokenize;
	struct bpe bpe;
	struct added_tokens added;
	struct detokenize detokenize;
	struct ids before, after;  /* what the post-processor puts around a text */
	int32_t bos, eos;          /* -1: none */
	int32_t vocab_size;
	struct bytes json, config; /* the files as they were read; config is empty when there was none */
};

/* ---- tokenizer_stages.c: the parts of a tokenizer.json that are lists of steps. json NULL or null: no steps. What was read
 * before a failure is released with the tokenizer. ---- */
int tokenizer_read_normalizer(struct normalize *, const json_t *json, const char *name, struct err *e);
int tokenizer_read_pre_tokenizer(struct pretokenize *, const json_t *json, const char *name, struct err *e);
int tokenizer_read_decoder(struct detokenize *, const json_t *json, const char *name, struct err *e);

/* ---- tokenizer_pair.c: vocab.json + merges.txt ---- */
/* The tokenizer.json that says the same as the pair; appended to out. config(n_config), tokenizer_config.json's text or NULL. */
int tokenizer_pair_json(const char *vocab_path, const char *merges_path, const char *config, size_t n_config, struct bytes *out,
			struct err *e);

#endif

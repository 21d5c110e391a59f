/* A model without the tokens that a text does not use, from files to a directory: the verb `trim`, and what a recipe's
 * `teacher: {trim: …}` asks for. Tests: tests/test_trim_model.c, tests/test_run_trim.c through the program. */
#ifndef RECIPES_TRIMMING_H
#define RECIPES_TRIMMING_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trimming_options {
	const char *const *files; /* (n_files) the text whose tokens stay */
	int n_files;
	int64_t max_tokens;       /* 0: no limit */
	const char *max_name;     /* how errors call that limit */
	int64_t min_count, multiple; /* >= 1; as data/tokenizer_trim.h and prune/trim.h say */
};
struct trimming { /* what was done */
	int n_old, n_new, n_used;   /* tokens of the tokenizers; how many of the old stand in the text */
	int V_old, V_new;           /* rows of the models */
	size_t params_old, params_new;
	uint64_t n_bytes, tokens_old, tokens_new; /* of the text, in either tokenizer */
	uint64_t tokens_stay;       /* of tokens_old: those whose token stays */
	bool sentencepiece;         /* a tokenizer.model was left out */
};
/* Reads the text, chooses, and writes model and tokenizer into dir, which is made and not there before. On failure dir may hold a
 * part. SIGINT ends the reading of text, as a failure. Options that leave no vocabulary are ERR_USER. */
int trimming_run(const char *model, const struct trimming_options *, const char *dir, struct trimming *out, struct err *);
/* The tokens of a text in the tokenizer of a directory. */
int trimming_count(const char *model, const char *const *files, int n_files, uint64_t *n_tokens, uint64_t *n_bytes, struct err *);
/* a/b; 0 where b is 0. */
double trimming_share(uint64_t a, uint64_t b);

#endif

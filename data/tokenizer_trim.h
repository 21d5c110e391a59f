/* A smaller vocabulary out of a tokenizer's: which tokens stay, and the files that say so.
 *
 * What always stays: special and added tokens, what the post-processor puts around a text, bos, eos, unk; the bytes
 * (the byte-level alphabet, the <0xNN> of byte fallback) and the characters that normalizer and pre-tokenizer put in. All single
 * characters where there is no such alphabet, or the decoder does not read the fallback: nothing could stand for them. With a
 * token stay those that merging passes on the way to it (bpe_derive); merges between tokens that stay keep their order.
 *
 * Hence every text whose old ids all stay gets the same pieces: the old merging of such a text uses only merges that are
 * kept, each was the first among more candidates, and none is possible at the end. Any other text is spelled out of
 * what there is, and decodes to the same text where the old tokenizer did so through bytes or characters that stay.
 *
 * New ids are dense: tokens of the model in the old order, then added tokens outside it in the old order, which is how the
 * `tokenizers` library numbers them. Tests: tests/test_trim.c, tests/test_trim_files.c */
#ifndef DATA_TOKENIZER_TRIM_H
#define DATA_TOKENIZER_TRIM_H

#include <jansson.h>

#include "data/tokenizer.h"

struct tokenizer_trim {
	int32_t *new_ids; /* (n_old) -1: dropped */
	int32_t *old_ids; /* (n_new) ascending, but for added tokens that the model lacks: they are last */
	int32_t n_old, n_new;
};

struct tokenizer_trim_options {
	const uint64_t *counts;  /* (tokenizer_vocab_size) how often the corpus uses each */
	uint64_t min_count;      /* tokens used less often are not kept for their own sake; >= 1 */
	int32_t max_tokens;      /* the most frequent are taken until their number with all they need is this; 0: no limit */
	const int32_t *required; /* (n_required) stay whatever the counts; ids without a token are passed over */
	size_t n_required;
};
/* Chooses. t is used for merging and not changed otherwise. Of equally frequent tokens the lower id goes first; one that does
 * not fit with its ancestors is passed over for the next. Fails (ERR_USER) when what always stays is more than max_tokens. */
int tokenizer_trim_choose(struct tokenizer_trim *out, struct tokenizer *t, const struct tokenizer_trim_options *o, struct err *e);
void tokenizer_trim_release(struct tokenizer_trim *); /* a zeroed struct is fine */

/* Appends the tokenizer.json of the smaller tokenizer. What is not about ids is carried over from t's own. */
int tokenizer_trim_json(const struct tokenizer_trim *, const struct tokenizer *t, struct bytes *out, struct err *e);
/* The ids under keys that end in _token_id (a number or a list of numbers), as config.json has them; appended. */
int tokenizer_trim_named_ids(const json_t *config, struct ids *out, struct err *e);
/* Renumbers those, suppress_tokens, begin_suppress_tokens (dropped tokens leave them), bad_words_ids (a word with a dropped
 * token leaves) and the keys of added_tokens_decoder. Negative ids stay as they are. Fails (ERR_USER) on an id that has no
 * new one, and on forced_decoder_ids, force_words_ids and sequence_bias that are not empty. name stands in errors. */
int tokenizer_trim_renumber(const struct tokenizer_trim *, json_t *config, const char *name, struct err *e);
/* Writes into an existing directory what the directory `from` (t was read there) has of: tokenizer.json, vocab.json with
 * merges.txt, tokenizer_config.json, added_tokens.json, generation_config.json, and as they are special_tokens_map.json and chat
 * templates. tokenizer.model is left out: a sentencepiece file is not rewritten. */
int tokenizer_trim_write(const struct tokenizer_trim *, const struct tokenizer *t, const char *from, const char *dir, struct err *e);

#endif

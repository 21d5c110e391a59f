/* What the trainer found, as the text of a tokenizer.json and of its tokenizer_config.json.
 * Test: tests/test_tokenizer_train.c */
#ifndef DATA_TRAIN_JSON_H
#define DATA_TRAIN_JSON_H

#include "data/vocabulary.h"

/* merges (n_merges): left id << 32 | right id, in the order of training. Both texts are appended. */
int train_json(const struct tokenizer_train_options *options, const struct vocabulary *vocabulary, const uint64_t *merges,
	       size_t n_merges, struct bytes *json, struct bytes *config, struct err *e);

#endif

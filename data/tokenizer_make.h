/* Pieces of a tokenizer.json that is made here: by training, and from a vocab + merges pair. All return new references,
 * NULL when out of memory (or on a name that is no UTF-8), which jansson's own functions pass on.
 * Test: tests/test_tokenizer_train.c */
#ifndef DATA_TOKENIZER_MAKE_H
#define DATA_TOKENIZER_MAKE_H

#include "base/json.h"

/* A special token that is looked for in the text as it came. */
json_t *make_special_token(const char *content, int64_t id);
/* Pre-tokenizer and decoder, with GPT-2's pattern. */
json_t *make_byte_level(bool add_prefix_space);
/* bos before a text, eos behind it; either may be NULL. */
json_t *make_template(const char *bos, int64_t bos_id, const char *eos, int64_t eos_id);

#endif

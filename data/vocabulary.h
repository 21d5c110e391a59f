/* Tokens by id and ids by token. Test: tests/test_tokenizer_bad.c */
#ifndef DATA_VOCABULARY_H
#define DATA_VOCABULARY_H

#include "data/tokenizer.h"

#define VOCABULARY_MAX (1 << 24) /* ids are below; real vocabularies stay under 2^19 */

struct vocabulary {
	struct bytes text;          /* all tokens, one after the other */
	struct vocabulary_token {
		size_t at;
		uint32_t n;
		bool used;
	} *tokens;                  /* (n_ids) */
	int32_t n_ids, capacity;    /* largest id + 1 */
	int32_t n_used;
	int32_t *slots;             /* (n_slots) ids by hash of the token, -1 free; n_slots is a power of two */
	size_t n_slots;
};

void vocabulary_release(struct vocabulary *);
/* Fails (ERR_USER) when the id is out of [0, VOCABULARY_MAX), or the id or the token is there already. */
int vocabulary_add(struct vocabulary *, int64_t id, const char *token, size_t n, struct err *e);
/* -1 if absent. */
int32_t vocabulary_find(const struct vocabulary *, const char *token, size_t n);
/* The token's bytes, NULL when no token has this id. */
const char *vocabulary_token(const struct vocabulary *, int32_t id, size_t *n);

#endif

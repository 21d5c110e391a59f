/* The normalizer of a tokenizer: a list of rewritings of the whole text before it is cut.
 * Test: tests/test_tokenizer.c */
#ifndef DATA_NORMALIZE_H
#define DATA_NORMALIZE_H

#include "data/pattern.h"

enum normalize_kind {
	NORMALIZE_PREPEND,  /* content before a text that is not empty */
	NORMALIZE_REPLACE,  /* every match of pattern by content */
	NORMALIZE_NFC,
	NORMALIZE_NFD,
	NORMALIZE_NFKC,
	NORMALIZE_NFKD,
	NORMALIZE_STRIP,    /* white space on the left, right or both sides */
	NORMALIZE_LOWERCASE,
};

struct normalize_step {
	enum normalize_kind kind;
	struct pattern pattern;
	struct bytes content;
	bool left, right;
};

#define NORMALIZE_MAX 32
struct normalize {
	struct normalize_step steps[NORMALIZE_MAX];
	size_t n;
	struct bytes a, b; /* working space */
};

void normalize_release(struct normalize *);
/* Rewrites s(n), valid UTF-8. *out (*n_out) is s itself or lies in the working space: valid until the next call. */
int normalize_run(struct normalize *, const char *s, size_t n, const char **out, size_t *n_out, struct err *e);

#endif

/* Tokens that are found in the text before anything else happens to it: special tokens and others that were added to a
 * finished vocabulary. Test: tests/test_tokenizer.c */
#ifndef DATA_ADDED_TOKENS_H
#define DATA_ADDED_TOKENS_H

#include "data/vocabulary.h"

struct added_token {
	struct bytes content;
	struct bytes pattern; /* what is looked for: the content, normalized if `normalized` says so */
	int32_t id;
	bool single_word;     /* not beside a letter, mark, digit or connector */
	bool lstrip, rstrip;  /* takes the white space on that side along */
	bool normalized;      /* looked for in the normalized text, else in the text as it came */
	bool special;
};

/* A prefix tree of patterns. */
struct token_trie {
	struct token_trie_node {
		int32_t child, sibling; /* nodes, 0: none */
		int32_t token;          /* index of the token that ends here, -1: none */
		unsigned char byte;
	} *nodes;                       /* (n), the root first */
	size_t n, capacity;
	bool first[256];                /* bytes that begin a pattern */
};

struct added_tokens {
	struct added_token *v;          /* (n) */
	size_t n, capacity;
	struct vocabulary ids;          /* of the contents; its owner fills it */
	int32_t *by_id, n_ids;          /* (n_ids) index + 1, 0: not added */
	struct token_trie as_it_came, normalized;
};

void added_tokens_release(struct added_tokens *);
/* Takes the token over, its buffers included; on failure they are released. */
int added_tokens_add(struct added_tokens *, struct added_token *token, struct err *e);
/* Once, when all are in: builds the tries from the patterns and the index. Of equal patterns the last wins. */
int added_tokens_prepare(struct added_tokens *, struct err *e);
/* The token of this id, NULL if none. */
const struct added_token *added_tokens_by_id(const struct added_tokens *, int32_t id);

/* Receives text between tokens (token NULL) and tokens, in order; start counts from the text's beginning. */
typedef int added_emit(void *context, const struct added_token *token, const char *s, size_t n, size_t start, struct err *e);
/* Cuts s(n), valid UTF-8, at the tokens of one trie: the leftmost, of those the longest. Empty text is left out. */
int added_tokens_split(const struct added_tokens *, const struct token_trie *trie, const char *s, size_t n, added_emit *emit,
		       void *context, struct err *e);

#endif

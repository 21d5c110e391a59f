/* The corpus as the trainer of a tokenizer sees it: distinct words, how often each stands, and the pairs inside them.
 * Test: tests/test_tokenizer_train.c */
#ifndef DATA_TRAIN_WORDS_H
#define DATA_TRAIN_WORDS_H

#include "data/tokenizer.h"

struct train_word {
	size_t at;        /* first symbol in train_words.symbols, first byte in train_words.text */
	uint32_t n;       /* symbols left; at first one per byte */
	uint32_t n_bytes;
	int64_t count;
};

struct train_words {
	struct bytes text;
	int32_t *symbols;         /* (text.n) ids; each word's are at its front */
	struct train_word *words; /* (n), in the order of their first appearance */
	size_t n, capacity;
	uint32_t *slots;          /* (n_slots) word + 1 by hash, 0 free */
	size_t n_slots;
};

void train_words_release(struct train_words *);
/* Counts one more of a word. */
int train_words_count(struct train_words *, const char *word, size_t n, struct err *e);
/* Once, after counting: a symbol per byte, byte_ids(256) its id. */
int train_words_spell(struct train_words *, const int32_t *byte_ids, struct err *e);

/* How often pairs of symbols stand beside one another. */
struct pair_counts {
	struct pair_count {
		uint64_t pair; /* left << 32 | right, UINT64_MAX: free */
		int64_t count;
	} *slots;
	size_t n, n_slots;
};
void pair_counts_release(struct pair_counts *);
/* The counter of a pair, 0 if new. NULL when out of memory. Valid until the next call. */
int64_t *pair_counts_at(struct pair_counts *, uint64_t pair, struct err *e);

#endif

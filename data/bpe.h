/* Byte-pair merging: a piece of text to ids. The pair of lowest rank is merged first, the leftmost of equals.
 * Source: Sennrich et al. 2016, "Neural machine translation of rare words with subword units", and the `tokenizers`
 * library for unknown characters. Test: tests/test_tokenizer.c */
#ifndef DATA_BPE_H
#define DATA_BPE_H

#include "data/vocabulary.h"

struct bpe_merge {
	uint64_t pair;      /* left id << 32 | right id; BPE_FREE: an empty slot */
	int32_t rank, id;   /* what the pair becomes */
};
#define BPE_FREE UINT64_MAX

struct bpe {
	struct vocabulary vocabulary;
	struct bpe_merge *merges;   /* (n_slots), a power of two */
	size_t n_merges, n_slots;
	int32_t unk;                /* -1: none; unknown characters vanish then */
	bool fuse_unk;              /* a run of unknown characters gives one unk */
	bool byte_fallback;         /* unknown characters become <0xNN> tokens if all of them are there */
	bool ignore_merges;         /* a piece that is a token is that token, whatever the merges */
	bool raw;                   /* pieces are bytes that stand for byte-level characters (bpe_prepare decides) */
	bool by_words;              /* pieces may be cut before each run of U+2581: no merge crosses it (bpe_prepare decides) */
	int32_t byte_ids[256];      /* raw: the id of each byte */
	struct bpe_symbol *symbols; /* working space (capacity) */
	struct bpe_candidate *heap; /* (3 capacity) */
	size_t capacity, n_heap;
	struct bytes mapped;
	struct bpe_cache *cache;
};

void bpe_release(struct bpe *);
/* The next merge, of lower priority than those before. Both tokens and the joined one must be in the vocabulary. A pair that
 * is there already gets the new rank. */
int bpe_add_merge(struct bpe *, const char *left, size_t n_left, const char *right, size_t n_right, struct err *e);
/* Once, when vocabulary and merges are complete. byte_level: the pre-tokenizer ends with a byte-level stage; raw is then set
 * if all 256 characters are in the vocabulary. */
int bpe_prepare(struct bpe *, bool byte_level, struct err *e);
/* Appends the ids of piece(n): valid UTF-8, or any bytes when raw. */
int bpe_encode(struct bpe *, const char *piece, size_t n, struct ids *out, struct err *e);

/* ---- how tokens come to be ---- */

/* Appends the symbols that merging piece(n) starts from: characters, bytes, unk. */
int bpe_spell(struct bpe *, const char *piece, size_t n, struct ids *out, struct err *e);
/* What the pair becomes and when, NULL: it does not merge. */
const struct bpe_merge *bpe_merge_find(const struct bpe *, int32_t left, int32_t right);
/* bpe_derive.c: how merging the token's own text ends in the token: 1, and every symbol on the way is appended to out, the token
 * last (some may stand there twice). 0 when it ends in something else, so that no merging ever gives the token; out is as
 * before. Wherever merging gives the token inside a longer piece it takes this same way: merges across the token's ends don't
 * happen, and those inside have the same order. */
int bpe_derive(struct bpe *, int32_t id, struct ids *out, struct err *e);

/* ---- bpe_cache.c: pieces seen before. Bounded; emptied when it is full. ---- */
struct bpe_cache *bpe_cache_new(void);
void bpe_cache_free(struct bpe_cache *);
/* The ids of a piece, NULL when it is not there. */
const int32_t *bpe_cache_find(const struct bpe_cache *, const char *piece, size_t n, size_t *n_ids);
/* Keeps a short piece; a long one is not worth it and left out. */
void bpe_cache_keep(struct bpe_cache *, const char *piece, size_t n, const int32_t *ids, size_t n_ids);

#endif

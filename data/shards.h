/* Tokenised text on disk: 32-bit ids, document boundaries and byte lengths, addressed by a hash of the tokenizer and the
 * source file's bytes, written once, mapped afterwards. Ids carry no BOS or EOS: packing and evaluation add separators.
 * Layout of <stem>-<key>.shard, little endian, written in one pass:
 *   i32 ids (n_tokens), 4 zero bytes if n_tokens is odd, u64 offsets (n_documents + 1), u32 n_bytes (n_documents), then
 *   u32 0 if n_documents is odd, and a footer of 64 bytes: "ESPSHRD1", u64 vocabulary size, n_tokens, n_documents,
 *   bytes of text, key, 0, and the XXH3-64 of all that stands before it.
 * Test: tests/test_shards.c, fuzz: tests/fuzz/fuzz_shards.c */
#ifndef DATA_SHARDS_H
#define DATA_SHARDS_H

#include "base/fsio.h"
#include "data/tokenizer.h"

struct shard {
	struct mapping map;
	const int32_t *ids;      /* (n_tokens), each in [0, vocabulary size) */
	const uint64_t *offsets; /* (n_documents + 1), tokens; document i is ids[offsets[i] .. offsets[i + 1]) */
	const uint32_t *n_bytes; /* (n_documents), UTF-8 bytes of the stripped text */
	size_t n_tokens, n_documents, text_bytes;
	uint64_t key;            /* of tokenizer, source and layout */
};

typedef void shard_progress(void *user, uint64_t bytes_done, uint64_t bytes_total); /* bytes of the source file */

/* Opens <dir>/<stem>-<key>.shard, tokenising `path` into it first when it is absent or does not check out (half-written,
 * flipped bytes: one warning). stem is the file's name without .txt, .jsonl, .gz. dir must exist. progress may be NULL.
 * Fails as text_next does, on a file without documents (ERR_USER), and on a disk that is full. *s is zeroed on failure. */
int shard_open(struct shard *s, struct tokenizer *tokenizer, const char *path, const char *dir, shard_progress *progress,
	       void *user, struct err *e);
void shard_close(struct shard *s); /* a zeroed struct is fine */

/* The checking part of shard_open: sets *s (but its map) on a file's bytes, 8-byte aligned, or says what is wrong with them.
 * Reads nothing outside data[0..n). What passes is consistent: offsets rise to n_tokens, ids are in range. */
int shard_parse(struct shard *s, const uint8_t *data, size_t n, uint64_t key, int32_t vocab_size, struct err *e);

#endif

/* Documents as token ids, one after another, whatever they come from. Test: tests/test_evaluate.c */
#ifndef RESULTS_DOCUMENTS_H
#define RESULTS_DOCUMENTS_H

#include "data/shards.h"
#include "data/text.h"

/* What evaluation reads from. */
struct document_source {
	void *user;
	/* The next document: 1 with its ids (BOS first if there is one; valid until the next call) and the UTF-8 bytes of its
	 * stripped text, 0 at the end, -1 on failure. */
	int (*next)(void *user, const int32_t **ids, size_t *n_ids, size_t *n_bytes, struct err *);
};

/* The id that stands before every document: BOS where the tokenizer adds it, else -1. EOS is never added. */
int32_t documents_bos(const struct tokenizer *);

/* From text files, in the order given. tokenizer and paths are borrowed. */
struct text_documents {
	struct tokenizer *tokenizer;
	const char *const *paths;
	int n_paths, at;
	struct text_reader *reader;
	struct ids ids;
};
struct document_source text_documents_open(struct text_documents *, struct tokenizer *, const char *const *paths, int n_paths);
void text_documents_close(struct text_documents *); /* a zeroed struct is fine */

/* From shards: documents [first, first+count) of them taken together; bos as documents_bos. Shards are borrowed. */
struct shard_documents {
	const struct shard *shards;
	int n_shards, at;
	size_t document, skip, left;
	int32_t bos;
	struct ids ids;
};
struct document_source shard_documents_open(struct shard_documents *, const struct shard *, int n_shards, size_t first,
					    size_t count, int32_t bos);
void shard_documents_close(struct shard_documents *);

/* From memory, for tests and short texts: n documents, document i is ids[offsets[i] .. offsets[i+1]). n_bytes (n). */
struct array_documents {
	const int32_t *ids;
	const size_t *offsets, *n_bytes;
	size_t n, at;
};
struct document_source array_documents_open(struct array_documents *);

#endif

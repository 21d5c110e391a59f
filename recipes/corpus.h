/* The recipe's text as token shards: generated or read, the tokenizer trained where asked, held-out documents set apart.
 * Test: tests/test_corpus.c */
#ifndef RECIPES_CORPUS_H
#define RECIPES_CORPUS_H

#include <jansson.h>

#include "data/batches.h"
#include "recipes/recipe.h"
#include "results/documents.h"

struct corpus_domain {
	const char *name;
	double weight;
	struct shard *train, *eval;
	int n_train, n_eval;
	size_t heldout_documents; /* the first of train */
	uint64_t eval_hash;       /* of the evaluation shards */
};
struct corpus {
	struct tokenizer *tokenizer;
	char *tokenizer_dir; /* what carries over into exported models; NULL: the teacher's directory */
	enum separator separator;
	int sequence_length;
	uint64_t train_hash; /* of every domain's training shards: what a cache of soft targets belongs to */
	struct corpus_domain *domains;
	int n_domains;
	struct pool pool;
};
/* The domains with their files named, generated into dir (the run's) where asked: (domains.n), in the pool. */
int corpus_texts(struct pool *, const struct data_spec *, const char *dir, struct domain_spec **out, struct err *);
/* Puts the hash of every training file into a stage's inputs, by domain and number: a run's directory may move. */
int corpus_hash_texts(json_t *inputs, const struct data_spec *, const struct domain_spec *texts, struct err *);
/* dir: the run's. teacher_dir: whose tokenizer is used when the recipe names none; may be NULL then. */
int corpus_open(struct corpus *, const struct data_spec *, const char *dir, const char *teacher_dir, struct err *);
void corpus_close(struct corpus *); /* a zeroed struct is fine */
/* The training sequences of one seed. */
int corpus_batches(const struct corpus *, uint64_t seed, struct batches **out, struct err *);
/* A domain's held-out documents; close with shard_documents_close. */
struct document_source corpus_heldout(const struct corpus *, int domain, struct shard_documents *);
/* Document i of a domain's files, in file order. */
const int32_t *corpus_document(const struct shard *, int n_shards, size_t i, size_t *n_tokens, size_t *n_bytes);
size_t corpus_n_documents(const struct shard *, int n_shards);

#endif

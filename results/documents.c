/* The sources of documents. Knows no model. Test: tests/test_evaluate.c */
#include "results/documents.h"

#include <stdlib.h>

int32_t documents_bos(const struct tokenizer *t)
{
	return tokenizer_adds_bos(t) ? tokenizer_bos(t) : -1;
}

static int begin(struct ids *ids, int32_t bos, struct err *e)
{
	ids->n = 0;
	return bos >= 0 ? ids_append(ids, &bos, 1, e) : 0;
}

static int text_document(struct text_documents *d, const char *text, size_t n_bytes, struct err *e)
{
	if (begin(&d->ids, documents_bos(d->tokenizer), e) < 0)
		return -1;
	if (tokenizer_encode(d->tokenizer, text, n_bytes, &d->ids, e) < 0)
		return err_prefix(e, "%s", d->paths[d->at]);
	return 1;
}

static int text_documents_next(void *user, const int32_t **ids, size_t *n_ids, size_t *n_bytes, struct err *e)
{
	struct text_documents *d = user;
	for (; d->at < d->n_paths; d->at++) {
		const char *text;
		if (!d->reader && text_open(&d->reader, d->paths[d->at], e) < 0)
			return -1;
		int got = text_next(d->reader, &text, n_bytes, e);
		if (got < 0 || (got > 0 && text_document(d, text, *n_bytes, e) < 0))
			return -1;
		*ids = d->ids.v;
		*n_ids = d->ids.n;
		if (got)
			return 1;
		text_close(d->reader);
		d->reader = NULL;
	}
	return 0;
}

struct document_source text_documents_open(struct text_documents *d, struct tokenizer *t, const char *const *paths, int n_paths)
{
	*d = (struct text_documents){.tokenizer = t, .paths = paths, .n_paths = n_paths};
	return (struct document_source){d, text_documents_next};
}

void text_documents_close(struct text_documents *d)
{
	text_close(d->reader);
	ids_release(&d->ids);
	*d = (struct text_documents){0};
}

static int shard_documents_next(void *user, const int32_t **ids, size_t *n_ids, size_t *n_bytes, struct err *e)
{
	struct shard_documents *d = user;
	for (; d->at < d->n_shards && d->left; d->at++, d->document = 0) {
		const struct shard *s = &d->shards[d->at];
		if (d->skip >= s->n_documents - d->document) {
			d->skip -= s->n_documents - d->document;
			continue;
		}
		size_t i = d->document + d->skip;
		const uint64_t *range = s->offsets + i;
		if (begin(&d->ids, d->bos, e) < 0 ||
		    ids_append(&d->ids, s->ids + range[0], (size_t)(range[1] - range[0]), e) < 0)
			return -1;
		d->document = i + 1;
		d->skip = 0;
		d->left--;
		*ids = d->ids.v;
		*n_ids = d->ids.n;
		*n_bytes = s->n_bytes[i];
		return 1;
	}
	return 0;
}

struct document_source shard_documents_open(struct shard_documents *d, const struct shard *shards, int n_shards, size_t first,
					    size_t count, int32_t bos)
{
	*d = (struct shard_documents){.shards = shards, .n_shards = n_shards, .skip = first, .left = count, .bos = bos};
	return (struct document_source){d, shard_documents_next};
}

void shard_documents_close(struct shard_documents *d)
{
	ids_release(&d->ids);
	*d = (struct shard_documents){0};
}

static int array_documents_next(void *user, const int32_t **ids, size_t *n_ids, size_t *n_bytes, struct err *e)
{
	struct array_documents *d = user;
	(void)e;
	if (d->at == d->n)
		return 0;
	*ids = d->ids + d->offsets[d->at];
	*n_ids = d->offsets[d->at + 1] - d->offsets[d->at];
	*n_bytes = d->n_bytes[d->at++];
	return 1;
}

struct document_source array_documents_open(struct array_documents *d)
{
	return (struct document_source){d, array_documents_next};
}

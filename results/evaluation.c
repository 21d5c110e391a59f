/* Totals, and the file of scores. Test: tests/test_evaluate.c */
#include "results/evaluation.h"

#include "base/fsio.h"
#include "base/hash.h"
#include "results/csv.h"

#include <math.h>
#include <stdlib.h>

int evaluation_add(struct evaluation *v, const struct document_score *score, struct err *e)
{
	if (v->n_documents == v->capacity) {
		size_t capacity = v->capacity ? 2 * v->capacity : 64;
		void *grown = realloc(v->documents, capacity * sizeof *v->documents);
		if (!grown)
			return err_run(e, "scores of %zu documents: out of memory", capacity);
		v->documents = grown;
		v->capacity = capacity;
	}
	v->documents[v->n_documents++] = *score;
	return 0;
}

int evaluation_finish(struct evaluation *v, struct err *e)
{
	double nll = 0, kl = 0;
	size_t agree = 0;
	v->tokens = v->bytes = 0;
	for (size_t i = 0; i < v->n_documents; i++) {
		const struct document_score *d = &v->documents[i];
		if (!isfinite(d->nll) || !isfinite(d->kl))
			return err_run(e, "document %zu: the loss is not finite; the model's weights or activations overflow", i);
		nll += d->nll;
		kl += d->kl;
		agree += d->agree;
		v->tokens += d->tokens;
		v->bytes += d->bytes;
	}
	if (!v->tokens)
		return err_user(e, "no token to score in %zu documents: a document needs two tokens (BOS included)",
				v->n_documents);
	v->nll = nll / (double)v->tokens;
	v->perplexity = exp(v->nll);
	v->bits_per_byte = v->bytes ? nll / M_LN2 / (double)v->bytes : 0;
	v->kl = kl / (double)v->tokens;
	v->agreement_top1 = (double)agree / (double)v->tokens;
	return 0;
}

void evaluation_release(struct evaluation *v)
{
	free(v->documents);
	*v = (struct evaluation){0};
}

json_t *evaluation_to_json(const struct evaluation *v)
{
	char hash[17];
	hash_hex(v->data_hash, hash);
	json_t *j = json_pack("{s:I, s:f, s:f, s:I, s:f, s:I, s:i, s:i, s:s, s:s}", "tokens", (json_int_t)v->tokens, "nll",
			      v->nll, "perplexity", isfinite(v->perplexity) ? v->perplexity : 1e308, "bytes",
			      (json_int_t)v->bytes, "bits_per_byte", v->bits_per_byte, "documents",
			      (json_int_t)v->n_documents, "sequence_length", v->sequence_length, "stride", v->stride,
			      "dtype", v->dtype, "data_hash", hash);
	if (j && v->has_teacher) {
		json_object_set_new(j, "agreement_top1", json_real(v->agreement_top1));
		json_object_set_new(j, "kl", json_real(v->kl));
	}
	if (j && v->seconds > 0) {
		json_object_set_new(j, "seconds", json_real(v->seconds));
		json_object_set_new(j, "tokens_per_s", json_real((double)v->rows / v->seconds));
		json_object_set_new(j, "memory_bytes", json_integer((json_int_t)v->memory_bytes));
	}
	return j;
}

int evaluation_write_documents(const struct evaluation *v, const char *path, struct err *e)
{
	struct fsio_writer w = {0};
	int rc = -1;
	TRY(fsio_writer_open(&w, path, e));
	TRY(fsio_printf(&w, e, "document,tokens,bytes,nll,kl,agree\n"));
	for (size_t i = 0; i < v->n_documents; i++) {
		const struct document_score *d = &v->documents[i];
		TRY(fsio_printf(&w, e, "%zu,%u,%u,%.17g,%.17g,%u\n", i, d->tokens, d->bytes, d->nll, d->kl, d->agree));
	}
	rc = fsio_writer_commit(&w, e);
out:
	fsio_writer_abort(&w);
	return rc;
}

/* A count in a file that somebody may have edited. */
static int as_count(double x, uint32_t *out)
{
	if (!(x >= 0 && x <= UINT32_MAX && x == floor(x)))
		return -1;
	*out = (uint32_t)x;
	return 0;
}

static int add_row(struct evaluation *v, const struct csv *c, size_t row, const int at[5], const char *path, struct err *e)
{
	struct document_score d = {.nll = csv_at(c, row, at[2]), .kl = csv_at(c, row, at[3])};
	if (as_count(csv_at(c, row, at[0]), &d.tokens) < 0 || as_count(csv_at(c, row, at[1]), &d.bytes) < 0 ||
	    as_count(csv_at(c, row, at[4]), &d.agree) < 0)
		return err_user(e, "%s:%zu: expected counts of tokens, bytes and agreeing tokens", path, row + 2);
	return evaluation_add(v, &d, e);
}

int evaluation_read_documents(struct evaluation *v, const char *path, struct err *e)
{
	static const char *const names[] = {"tokens", "bytes", "nll", "kl", "agree"};
	struct csv c = {0};
	int rc = -1, at[5];
	TRY(csv_read(&c, path, e));
	for (int i = 0; i < 5; i++) {
		at[i] = csv_column(&c, names[i]);
		if (at[i] < 0) {
			err_user(e, "%s: expected a column '%s'", path, names[i]);
			goto out;
		}
	}
	for (size_t row = 0; row < c.n_rows; row++)
		TRY(add_row(v, &c, row, at, path, e));
	if (evaluation_finish(v, e) < 0) {
		err_prefix(e, "%s", path);
		goto out;
	}
	rc = 0;
out:
	csv_release(&c);
	return rc;
}

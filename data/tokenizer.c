/* Encoding, decoding, and what a tokenizer says about itself. */
#include "data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "data/tokenizer_parts.h"
#include "data/unicode.h"

void tokenizer_free(struct tokenizer *t)
{
	if (!t)
		return;
	normalize_release(&t->normalize);
	pretokenize_release(&t->pretokenize);
	bpe_release(&t->bpe);
	added_tokens_release(&t->added);
	detokenize_release(&t->detokenize);
	ids_release(&t->before);
	ids_release(&t->after);
	bytes_release(&t->json);
	bytes_release(&t->config);
	free(t);
}

int32_t tokenizer_vocab_size(const struct tokenizer *t)
{
	return t->vocab_size;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
	return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
	return t->eos;
}

bool tokenizer_adds_bos(const struct tokenizer *t)
{
	return t->before.n && t->before.v[0] == t->bos;
}

bool tokenizer_adds_eos(const struct tokenizer *t)
{
	return t->after.n && t->after.v[t->after.n - 1] == t->eos;
}

int32_t tokenizer_id(const struct tokenizer *t, const char *token)
{
	int32_t id = vocabulary_find(&t->added.ids, token, strlen(token));
	return id >= 0 ? id : vocabulary_find(&t->bpe.vocabulary, token, strlen(token));
}

uint64_t tokenizer_hash(const struct tokenizer *t)
{
	struct hash h;
	unsigned char ends[8];
	for (int i = 0; i < 4; i++) {
		ends[i] = (unsigned char)((uint32_t)t->bos >> 8 * i);
		ends[4 + i] = (unsigned char)((uint32_t)t->eos >> 8 * i);
	}
	hash_init(&h);
	hash_update(&h, t->json.v, t->json.n);
	hash_update(&h, ends, sizeof ends);
	return hash_final(&h);
}

/* ---- encoding ---- */

/* text -> tokens that are looked for as it came | the rest -> normalized -> tokens | the rest -> pieces -> ids */
struct encoding {
	struct tokenizer *t;
	struct ids *out;
	bool at_start; /* of the segment that is being normalized */
};

static int encode_piece(void *context, const char *piece, size_t n, size_t start, struct err *e)
{
	struct encoding *c = context;
	(void)start;
	return bpe_encode(&c->t->bpe, piece, n, c->out, e);
}

static int encode_normalized(void *context, const struct added_token *token, const char *s, size_t n, size_t start, struct err *e)
{
	struct encoding *c = context;
	if (token)
		return ids_append(c->out, &token->id, 1, e);
	return pretokenize_run(&c->t->pretokenize, s, n, c->at_start && start == 0, encode_piece, c, e);
}

static int encode_segment(void *context, const struct added_token *token, const char *s, size_t n, size_t start, struct err *e)
{
	struct encoding *c = context;
	const char *normalized;
	if (token)
		return ids_append(c->out, &token->id, 1, e);
	c->at_start = start == 0;
	if (normalize_run(&c->t->normalize, s, n, &normalized, &n, e) < 0)
		return -1;
	return added_tokens_split(&c->t->added, &c->t->added.normalized, normalized, n, encode_normalized, c, e);
}

int tokenizer_encode(struct tokenizer *t, const char *text, size_t n_bytes, struct ids *out, struct err *e)
{
	struct encoding c = {.t = t, .out = out};
	size_t before = out->n, good = utf8_valid_prefix(text, n_bytes);
	if (good < n_bytes)
		return err_user(e, "the text is no UTF-8: byte 0x%02x at offset %zu", (unsigned char)text[good], good);
	if (added_tokens_split(&t->added, &t->added.as_it_came, text, n_bytes, encode_segment, &c, e) == 0)
		return 0;
	out->n = before;
	return -1;
}

int tokenizer_encode_document(struct tokenizer *t, const char *text, size_t n_bytes, struct ids *out, struct err *e)
{
	size_t before = out->n;
	if (ids_append(out, t->before.v, t->before.n, e) == 0 && tokenizer_encode(t, text, n_bytes, out, e) == 0 &&
	    ids_append(out, t->after.v, t->after.n, e) == 0)
		return 0;
	out->n = before;
	return -1;
}

/* ---- decoding ---- */

static int append_token(const struct tokenizer *t, int32_t id, bool skip_special, struct strings *to, struct err *e)
{
	const struct added_token *a = added_tokens_by_id(&t->added, id);
	if (id < 0 || id >= t->vocab_size)
		return err_user(e, "token id %d is outside the vocabulary of %d", id, t->vocab_size);
	if (a) { /* as its normalized form stands for it, and is then not known to be special, in `tokenizers` */
		bool changed = a->content.n != a->pattern.n || memcmp(a->content.v, a->pattern.v, a->content.n);
		return skip_special && a->special && !changed ? 0 : strings_append(to, a->pattern.v, a->pattern.n, e);
	}
	size_t n;
	const char *token = vocabulary_token(&t->bpe.vocabulary, id, &n);
	return token ? strings_append(to, token, n, e) : 0;
}

int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special, struct bytes *out, struct err *e)
{
	struct strings tokens = {0};
	size_t before = out->n;
	int rc = -1;
	for (size_t i = 0; i < n; i++)
		TRY(append_token(t, ids[i], skip_special, &tokens, e));
	TRY(detokenize_run(&t->detokenize, &tokens, out, e));
	rc = 0;
out:
	if (rc < 0)
		out->n = before;
	strings_release(&tokens);
	return rc;
}

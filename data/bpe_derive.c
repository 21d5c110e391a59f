/* The way from a token's characters to the token: what else a vocabulary needs so that merging still gets there. */
#include <string.h>

#include "data/bpe.h"
#include "data/pretokenize.h"
#include "data/unicode.h"

#define SYMBOLS_MAX 4096 /* the search below is quadratic; a longer token counts as one that merging does not give */

/* The token's text as pieces are given to the model: 1, or 0 when no piece spells it. */
static int token_piece(const struct bpe *b, int32_t id, struct bytes *out, struct err *e)
{
	size_t n = 0;
	const char *token = vocabulary_token(&b->vocabulary, id, &n);
	if (!token || !n)
		return 0;
	if (!b->raw)
		return bytes_append(out, token, n, e) < 0 ? -1 : 1;
	for (size_t i = 0; i < n;) {
		int32_t c;
		int length = utf8_next(token + i, n - i, &c), byte = length > 0 ? byte_level_byte(c) : -1;
		if (byte < 0)
			return 0;
		if (bytes_append(out, &(char){(char)byte}, 1, e) < 0)
			return -1;
		i += (size_t)length;
	}
	return 1;
}

/* Merges the pair of lowest rank, the leftmost of equals: its id, -1 when no pair merges. */
static int32_t merge_one(const struct bpe *b, struct ids *s)
{
	const struct bpe_merge *best = NULL;
	size_t at = 0;
	for (size_t i = 0; i + 1 < s->n; i++) {
		const struct bpe_merge *m = bpe_merge_find(b, s->v[i], s->v[i + 1]);
		if (m && (!best || m->rank < best->rank)) {
			best = m;
			at = i;
		}
	}
	if (!best)
		return -1;
	s->v[at] = best->id;
	memmove(s->v + at + 1, s->v + at + 2, (s->n - at - 2) * sizeof *s->v);
	s->n--;
	return best->id;
}

int bpe_derive(struct bpe *b, int32_t id, struct ids *out, struct err *e)
{
	struct bytes piece = {0};
	struct ids symbols = {0};
	size_t before = out->n;
	int32_t joined = -1;
	int rc = token_piece(b, id, &piece, e);
	if (rc <= 0)
		goto out;
	rc = -1;
	TRY(bpe_spell(b, piece.v, piece.n, &symbols, e));
	TRY(ids_append(out, symbols.v, symbols.n, e));
	while (symbols.n <= SYMBOLS_MAX && (joined = merge_one(b, &symbols)) >= 0)
		TRY(ids_append(out, &joined, 1, e));
	rc = symbols.n == 1 && symbols.v[0] == id;
out:
	if (rc <= 0)
		out->n = before;
	ids_release(&symbols);
	bytes_release(&piece);
	return rc;
}

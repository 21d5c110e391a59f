#include "data/bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/pretokenize.h"
#include "data/unicode.h"

#define NONE UINT32_MAX

/* A linked list over the positions of a piece. */
struct bpe_symbol {
	int32_t id;          /* -1: merged into the one before */
	uint32_t prev, next; /* positions, NONE at the ends */
};
struct bpe_candidate {
	uint64_t order; /* rank << 32 | position: the smallest is merged first */
	int32_t id;
};

void bpe_release(struct bpe *b)
{
	vocabulary_release(&b->vocabulary);
	bytes_release(&b->mapped);
	free(b->merges);
	free(b->symbols);
	free(b->heap);
	bpe_cache_free(b->cache);
	*b = (struct bpe){0};
}

/* ---- the table of merges ---- */

static size_t merge_slot(const struct bpe *b, uint64_t pair)
{
	uint64_t h = pair * 0x9E3779B97F4A7C15u;
	size_t slot = (h ^ h >> 32) & (b->n_slots - 1);
	while (b->merges[slot].pair != BPE_FREE && b->merges[slot].pair != pair)
		slot = (slot + 1) & (b->n_slots - 1);
	return slot;
}

const struct bpe_merge *bpe_merge_find(const struct bpe *b, int32_t left, int32_t right)
{
	if (!b->n_slots)
		return NULL;
	const struct bpe_merge *m = &b->merges[merge_slot(b, (uint64_t)left << 32 | (uint32_t)right)];
	return m->pair == BPE_FREE ? NULL : m;
}

static int grow_merges(struct bpe *b, struct err *e)
{
	if (b->n_merges * 2 < b->n_slots)
		return 0;
	struct bpe_merge *old = b->merges;
	size_t n_old = b->n_slots, want = n_old ? n_old * 2 : 1024;
	struct bpe_merge *grown = malloc(want * sizeof *grown);
	if (!grown || want > UINT32_MAX) {
		free(grown);
		return err_run(e, "out of memory for %zu merges", b->n_merges);
	}
	for (size_t i = 0; i < want; i++)
		grown[i].pair = BPE_FREE;
	b->merges = grown;
	b->n_slots = want;
	for (size_t i = 0; i < n_old; i++)
		if (old[i].pair != BPE_FREE)
			grown[merge_slot(b, old[i].pair)] = old[i];
	free(old);
	return 0;
}

static int unknown_token(const struct bpe *b, const char *token, size_t n, struct err *e)
{
	return err_user(e, "merge %zu: \"%.*s\" is not in the vocabulary", b->n_merges + 1, (int)(n > 60 ? 60 : n), token);
}

int bpe_add_merge(struct bpe *b, const char *left, size_t n_left, const char *right, size_t n_right, struct err *e)
{
	int32_t a = vocabulary_find(&b->vocabulary, left, n_left), c = vocabulary_find(&b->vocabulary, right, n_right);
	if (a < 0)
		return unknown_token(b, left, n_left, e);
	if (c < 0)
		return unknown_token(b, right, n_right, e);
	b->mapped.n = 0;
	if (bytes_append(&b->mapped, left, n_left, e) < 0 || bytes_append(&b->mapped, right, n_right, e) < 0)
		return -1;
	int32_t joined = vocabulary_find(&b->vocabulary, b->mapped.v, b->mapped.n);
	if (joined < 0)
		return unknown_token(b, b->mapped.v, b->mapped.n, e);
	if (grow_merges(b, e) < 0)
		return -1;
	uint64_t pair = (uint64_t)a << 32 | (uint32_t)c;
	b->merges[merge_slot(b, pair)] = (struct bpe_merge){.pair = pair, .rank = (int32_t)b->n_merges, .id = joined};
	b->n_merges++;
	return 0;
}

/* ---- preparation ---- */

#define META "\xE2\x96\x81" /* U+2581 */

/* Does s have U+2581 behind anything else than U+2581? */
static bool meta_inside(const char *s, size_t n)
{
	for (size_t i = 1; i + 3 <= n; i++)
		if (!memcmp(s + i, META, 3) && (i < 3 || memcmp(s + i - 3, META, 3)))
			return true;
	return false;
}

/* U+2581 is a symbol of its own, so that a run of unknown characters ends before it, and no merge joins it to the left. */
static bool can_cut_words(const struct bpe *b)
{
	if (b->raw || b->ignore_merges || vocabulary_find(&b->vocabulary, META, 3) < 0)
		return false;
	for (size_t i = 0; i < b->n_slots; i++) {
		size_t n = 0;
		if (b->merges[i].pair == BPE_FREE)
			continue;
		const char *token = vocabulary_token(&b->vocabulary, b->merges[i].id, &n);
		if (meta_inside(token, n))
			return false;
	}
	return true;
}

int bpe_prepare(struct bpe *b, bool byte_level, struct err *e)
{
	b->raw = byte_level;
	for (int byte = 0; byte < 256; byte++) {
		char text[4];
		int n = utf8_put(text, byte_level_char((unsigned char)byte));
		b->byte_ids[byte] = vocabulary_find(&b->vocabulary, text, (size_t)n);
		b->raw = b->raw && b->byte_ids[byte] >= 0;
	}
	b->by_words = can_cut_words(b);
	b->cache = bpe_cache_new();
	return b->cache ? 0 : err_run(e, "out of memory for a tokenizer's cache");
}

/* ---- symbols of a piece ---- */

struct spelling {
	struct bpe *b;
	size_t n;
	bool unk_waits; /* an unknown character that the next one may join */
};

static void put_symbol(struct spelling *s, int32_t id)
{
	uint32_t at = (uint32_t)s->n++;
	s->b->symbols[at] = (struct bpe_symbol){.id = id, .prev = at ? at - 1 : NONE, .next = at + 1};
}

static void put_unk(struct spelling *s)
{
	if (s->unk_waits)
		put_symbol(s, s->b->unk);
	s->unk_waits = false;
}

/* All bytes as <0xNN> tokens, or nothing. A waiting unk stays behind them, as in `tokenizers`. */
static bool put_fallback(struct spelling *s, const char *c, int n)
{
	int32_t ids[4];
	for (int i = 0; i < n; i++) {
		char name[8];
		snprintf(name, sizeof name, "<0x%02X>", (unsigned char)c[i]);
		ids[i] = vocabulary_find(&s->b->vocabulary, name, 6);
		if (ids[i] < 0)
			return false;
	}
	for (int i = 0; i < n; i++)
		put_symbol(s, ids[i]);
	return true;
}

static void put_character(struct spelling *s, const char *c, int n)
{
	int32_t id = vocabulary_find(&s->b->vocabulary, c, (size_t)n);
	if (id >= 0) {
		put_unk(s);
		put_symbol(s, id);
		return;
	}
	if (s->b->byte_fallback && put_fallback(s, c, n))
		return;
	if (s->b->unk < 0)
		return;
	if (!s->b->fuse_unk)
		put_unk(s);
	s->unk_waits = true;
}

static size_t spell(struct bpe *b, const char *piece, size_t n)
{
	struct spelling s = {.b = b};
	for (size_t i = 0; i < n;) {
		if (b->raw) {
			put_symbol(&s, b->byte_ids[(unsigned char)piece[i++]]);
			continue;
		}
		int32_t c;
		int length = utf8_next(piece + i, n - i, &c);
		length = length < 0 ? -length : length;
		put_character(&s, piece + i, length);
		i += (size_t)length;
	}
	put_unk(&s);
	if (s.n)
		b->symbols[s.n - 1].next = NONE;
	return s.n;
}

static int reserve(struct bpe *b, size_t n, struct err *e)
{
	if (n <= b->capacity)
		return 0;
	if (n > UINT32_MAX / 4)
		return err_user(e, "a piece of %zu bytes without a place to cut it", n);
	size_t want = n * 2;
	void *symbols = realloc(b->symbols, want * sizeof *b->symbols);
	if (symbols)
		b->symbols = symbols;
	void *heap = realloc(b->heap, 3 * want * sizeof *b->heap);
	if (heap)
		b->heap = heap;
	if (!symbols || !heap)
		return err_run(e, "out of memory for a piece of %zu bytes", n);
	b->capacity = want;
	return 0;
}

int bpe_spell(struct bpe *b, const char *piece, size_t n, struct ids *out, struct err *e)
{
	if (reserve(b, n, e) < 0)
		return -1;
	size_t n_symbols = spell(b, piece, n);
	for (size_t i = 0; i < n_symbols; i++)
		if (ids_append(out, &b->symbols[i].id, 1, e) < 0)
			return -1;
	return 0;
}

/* ---- merging ---- */

static void heap_push(struct bpe *b, uint64_t order, int32_t id)
{
	size_t i = b->n_heap++;
	while (i && b->heap[(i - 1) / 2].order > order) {
		b->heap[i] = b->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	b->heap[i] = (struct bpe_candidate){order, id};
}

static struct bpe_candidate heap_pop(struct bpe *b)
{
	struct bpe_candidate top = b->heap[0], last = b->heap[--b->n_heap];
	size_t i = 0;
	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= b->n_heap)
			break;
		if (child + 1 < b->n_heap && b->heap[child + 1].order < b->heap[child].order)
			child++;
		if (b->heap[child].order >= last.order)
			break;
		b->heap[i] = b->heap[child];
		i = child;
	}
	b->heap[i] = last;
	return top;
}

/* Queues the pair that begins at position at, if it merges. */
static void consider(struct bpe *b, uint32_t at)
{
	const struct bpe_symbol *s = &b->symbols[at];
	if (s->next == NONE)
		return;
	const struct bpe_merge *m = bpe_merge_find(b, s->id, b->symbols[s->next].id);
	if (m)
		heap_push(b, (uint64_t)m->rank << 32 | at, m->id);
}

/* Each merge removes a symbol and queues at most two pairs, so that 3n candidates suffice. */
static void merge_all(struct bpe *b, size_t n)
{
	b->n_heap = 0;
	for (size_t i = 0; i < n; i++)
		consider(b, (uint32_t)i);
	while (b->n_heap) {
		struct bpe_candidate top = heap_pop(b);
		uint32_t at = (uint32_t)top.order;
		struct bpe_symbol *s = &b->symbols[at];
		if (s->id < 0 || s->next == NONE)
			continue;
		struct bpe_symbol *right = &b->symbols[s->next];
		const struct bpe_merge *m = bpe_merge_find(b, s->id, right->id);
		if (!m || m->id != top.id)
			continue; /* one of the two has changed since */
		s->id = top.id;
		s->next = right->next;
		right->id = -1;
		if (s->next != NONE)
			b->symbols[s->next].prev = at;
		if (s->prev != NONE)
			consider(b, s->prev);
		consider(b, at);
	}
}

/* Without the cache. */
static int merge_piece(struct bpe *b, const char *piece, size_t n, struct ids *out, struct err *e)
{
	if (reserve(b, n, e) < 0)
		return -1;
	size_t n_symbols = spell(b, piece, n);
	merge_all(b, n_symbols);
	for (uint32_t at = n_symbols ? 0 : NONE; at != NONE; at = b->symbols[at].next)
		if (ids_append(out, &b->symbols[at].id, 1, e) < 0)
			return -1;
	return 0;
}

/* The id of a piece that is a token as a whole, -1 if it is none. */
static int whole(struct bpe *b, const char *piece, size_t n, int32_t *id, struct err *e)
{
	if (b->raw) {
		b->mapped.n = 0;
		if (byte_level_append(&b->mapped, piece, n, e) < 0)
			return -1;
		piece = b->mapped.v;
		n = b->mapped.n;
	}
	*id = vocabulary_find(&b->vocabulary, piece, n);
	return 0;
}

static int encode_word(struct bpe *b, const char *piece, size_t n, struct ids *out, struct err *e)
{
	size_t n_ids = 0, before = out->n;
	const int32_t *kept = bpe_cache_find(b->cache, piece, n, &n_ids);
	if (kept)
		return ids_append(out, kept, n_ids, e);
	int32_t id = -1;
	if (b->ignore_merges && whole(b, piece, n, &id, e) < 0)
		return -1;
	if ((id >= 0 ? ids_append(out, &id, 1, e) : merge_piece(b, piece, n, out, e)) < 0)
		return -1;
	if (out->n > before)
		bpe_cache_keep(b->cache, piece, n, out->v + before, out->n - before);
	return 0;
}

/* The end of the word that begins at i: the next U+2581 that has something else before it. */
static size_t word_end(const char *piece, size_t n, size_t i)
{
	bool in_run = true;
	while (i < n) {
		bool meta = i + 3 <= n && !memcmp(piece + i, META, 3);
		if (meta && !in_run)
			return i;
		in_run = meta && in_run;
		i += meta ? 3 : 1;
	}
	return n;
}

int bpe_encode(struct bpe *b, const char *piece, size_t n, struct ids *out, struct err *e)
{
	if (!b->by_words)
		return n ? encode_word(b, piece, n, out, e) : 0;
	for (size_t i = 0, end; i < n; i = end) {
		end = word_end(piece, n, i);
		if (encode_word(b, piece + i, end - i, out, e) < 0)
			return -1;
	}
	return 0;
}

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "data/bpe.h"

#define SLOTS (1 << 16)
#define FULL (SLOTS / 2)
#define PIECE_MAX 64           /* bytes */
#define TEXT_MAX (FULL * 32)   /* bytes of pieces */
#define IDS_MAX (FULL * 16)

struct entry {
	uint32_t hash, text_at, ids_at;
	uint8_t n, n_ids; /* n 0: free */
};
struct bpe_cache {
	size_t n, n_text, n_ids;
	struct entry entries[SLOTS];
	char text[TEXT_MAX];
	int32_t ids[IDS_MAX];
};

struct bpe_cache *bpe_cache_new(void)
{
	return calloc(1, sizeof(struct bpe_cache));
}

void bpe_cache_free(struct bpe_cache *c)
{
	free(c);
}

static size_t slot_of(const struct bpe_cache *c, uint32_t hash, const char *piece, size_t n)
{
	size_t slot = hash & (SLOTS - 1);
	for (; c->entries[slot].n; slot = (slot + 1) & (SLOTS - 1)) {
		const struct entry *entry = &c->entries[slot];
		if (entry->hash == hash && entry->n == n && !memcmp(c->text + entry->text_at, piece, n))
			break;
	}
	return slot;
}

const int32_t *bpe_cache_find(const struct bpe_cache *c, const char *piece, size_t n, size_t *n_ids)
{
	if (n > PIECE_MAX)
		return NULL;
	const struct entry *entry = &c->entries[slot_of(c, (uint32_t)hash_bytes(piece, n), piece, n)];
	*n_ids = entry->n_ids;
	return entry->n ? c->ids + entry->ids_at : NULL;
}

void bpe_cache_keep(struct bpe_cache *c, const char *piece, size_t n, const int32_t *ids, size_t n_ids)
{
	if (!n || n > PIECE_MAX || n_ids > UINT8_MAX)
		return;
	if (c->n == FULL || c->n_text + n > TEXT_MAX || c->n_ids + n_ids > IDS_MAX) {
		memset(c->entries, 0, sizeof c->entries);
		c->n = c->n_text = c->n_ids = 0;
	}
	uint32_t hash = (uint32_t)hash_bytes(piece, n);
	c->entries[slot_of(c, hash, piece, n)] = (struct entry){
		.hash = hash, .text_at = (uint32_t)c->n_text, .ids_at = (uint32_t)c->n_ids, .n = (uint8_t)n, .n_ids = (uint8_t)n_ids};
	memcpy(c->text + c->n_text, piece, n);
	if (n_ids)
		memcpy(c->ids + c->n_ids, ids, n_ids * sizeof *ids);
	c->n++;
	c->n_text += n;
	c->n_ids += n_ids;
}

/* A hash table from segment keys to records: keys are hashes already. Test: tests/test_cache_file.c */
#include "teacher/cache_parts.h"

#include <stdlib.h>

static struct cache_entry *slot_of(const struct cache_index *x, struct cache_key key)
{
	size_t i = key.lo & (x->n_slots - 1);
	while (x->slots[i].n_rows && (x->slots[i].key.lo != key.lo || x->slots[i].key.hi != key.hi))
		i = (i + 1) & (x->n_slots - 1);
	return &x->slots[i];
}

int cache_index_reserve(struct cache_index *x, size_t n, struct err *e)
{
	struct cache_index larger = {.n_slots = x->n_slots ? x->n_slots : 1024};
	while (larger.n_slots / 4 * 3 < x->n_entries + n)
		larger.n_slots *= 2;
	if (larger.n_slots == x->n_slots)
		return 0;
	larger.slots = calloc(larger.n_slots, sizeof *larger.slots);
	if (!larger.slots)
		return err_run(e, "out of memory for the cache's index (%zu bytes)", larger.n_slots * sizeof *larger.slots);
	for (size_t i = 0; i < x->n_slots; i++)
		if (x->slots[i].n_rows)
			cache_index_put(&larger, &x->slots[i]);
	free(x->slots);
	*x = larger;
	return 0;
}

void cache_index_put(struct cache_index *x, const struct cache_entry *entry)
{
	BUG_ON(!entry->n_rows || x->n_entries + 1 >= x->n_slots);
	struct cache_entry *slot = slot_of(x, entry->key);
	if (slot->n_rows)
		return;
	*slot = *entry;
	x->n_entries++;
}

const struct cache_entry *cache_index_find(const struct cache_index *x, struct cache_key key)
{
	const struct cache_entry *slot = x->n_slots ? slot_of(x, key) : NULL;
	return slot && slot->n_rows ? slot : NULL;
}

void cache_index_release(struct cache_index *x)
{
	free(x->slots);
	*x = (struct cache_index){0};
}

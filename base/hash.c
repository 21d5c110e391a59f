/* XXH3 through xxHash. Test: tests/test_hash.c */
#include "base/hash.h"

#include "base/fsio.h"

#include <stdio.h>
#define XXH_STATIC_LINKING_ONLY /* the size of the state */
#include <xxhash.h>

/* xxHash wants its state on 64 bytes, which malloc doesn't promise to whoever holds a struct hash. */
_Static_assert(sizeof(XXH3_state_t) + 63 <= sizeof(struct hash), "struct hash is too small for this xxHash");

static XXH3_state_t *state(const struct hash *h)
{
	return (XXH3_state_t *)(((uintptr_t)h->state + 63) / 64 * 64);
}

uint64_t hash_bytes(const void *data, size_t n_bytes)
{
	return XXH3_64bits(data, n_bytes);
}

void hash_init(struct hash *h)
{
	XXH3_INITSTATE(state(h));
	XXH3_64bits_reset(state(h));
}

void hash_update(struct hash *h, const void *data, size_t n_bytes)
{
	if (n_bytes)
		XXH3_64bits_update(state(h), data, n_bytes);
}

uint64_t hash_final(const struct hash *h)
{
	return XXH3_64bits_digest(state(h));
}

int hash_file(const char *path, uint64_t *out, struct err *e)
{
	struct mapping m;
	if (fsio_map(&m, path, e) < 0)
		return -1;
	*out = hash_bytes(m.data, m.n_bytes);
	fsio_unmap(&m);
	return 0;
}

void hash_hex(uint64_t value, char out[17])
{
	snprintf(out, 17, "%016llx", (unsigned long long)value);
}

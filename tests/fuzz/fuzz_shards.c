/* Any bytes as a shard: as they are, and with a hash that fits them, so that the checks behind it are reached. */
#include "base/hash.h"
#include "data/shards.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct shard *s, int32_t vocab_size)
{
	BUG_ON(s->offsets[s->n_documents] != s->n_tokens);
	for (size_t i = 0; i < s->n_documents; i++)
		for (uint64_t k = s->offsets[i]; k < s->offsets[i + 1]; k++)
			BUG_ON(s->ids[k] < 0 || s->ids[k] >= vocab_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct shard s;
	struct err e;
	uint64_t key = 0, hash;
	int32_t vocab_size = 0;
	uint8_t *copy = malloc(size ? size : 1);
	BUG_ON(!copy);
	memcpy(copy, data, size);
	if (shard_parse(&s, copy, size, 1, 257, &e) == 0)
		use(&s, 257);
	if (size >= 64) {
		memcpy(copy + size - 64, "ESPSHRD1", 8);
		memcpy(&vocab_size, copy + size - 56, sizeof vocab_size);
		memcpy(&key, copy + size - 24, sizeof key);
		hash = hash_bytes(copy, size - sizeof hash);
		memcpy(copy + size - sizeof hash, &hash, sizeof hash);
		if (shard_parse(&s, copy, size, key, vocab_size, &e) == 0)
			use(&s, vocab_size);
	}
	free(copy);
	return 0;
}

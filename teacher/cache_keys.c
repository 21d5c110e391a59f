/* Segments of a batch and their keys. A segment may not depend on anything but its tokens and targets: attention stays
 * inside documents and positions count from the segment's start. Test: tests/test_cache.c */
#include "teacher/cache_parts.h"

#include <xxhash.h>

static struct cache_key key_of(const int32_t *tokens, const int32_t *targets, size_t n_rows)
{
	XXH128_hash_t a = XXH3_128bits(tokens, n_rows * sizeof *tokens);
	XXH128_hash_t b = XXH3_128bits_withSeed(targets, n_rows * sizeof *targets, a.low64);
	return (struct cache_key){b.low64, b.high64 ^ a.high64};
}

struct cache_segment cache_segment_at(const struct cache_rows *rows, size_t row)
{
	size_t T = (size_t)rows->T, end = row + 1, limit = (row / T + 1) * T;
	while (end < limit && rows->start[end] == rows->start[row])
		end++;
	return (struct cache_segment){row, end - row, key_of(rows->tokens + row, rows->targets + row, end - row)};
}

void cache_row_keys(const struct cache_rows *rows, uint64_t *keys)
{
	size_t N = (size_t)rows->B * (size_t)rows->T;
	for (size_t row = 0; row < N;) {
		struct cache_segment s = cache_segment_at(rows, row);
		for (uint64_t i = 0; i < s.n_rows; i++) {
			uint64_t parts[] = {s.key.lo, s.key.hi, i};
			keys[row + i] = XXH3_64bits(parts, sizeof parts) >> 8;
		}
		row += s.n_rows;
	}
}

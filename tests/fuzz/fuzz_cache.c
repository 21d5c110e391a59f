/* Any bytes as a cache's file of records: as they are, and as a payload under a header that fits, so that the decoder is
 * reached. */
#include "teacher/cache_parts.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS = 4, K = 3, V = 50, C = 2 };

static void scan(const uint8_t *data, size_t size)
{
	char path[] = "/tmp/espalier-fuzz-XXXXXX";
	struct cache_index index = {.slots = NULL};
	struct cache_scan scan;
	struct err e;
	int fd = mkstemp(path);
	BUG_ON(fd < 0 || unlink(path) < 0 || (size && write(fd, data, size) != (ssize_t)size));
	if (cache_scan_file(fd, path, &index, &scan, &e) == 0)
		BUG_ON(scan.n_bytes > size || scan.n_file != size);
	cache_index_release(&index);
	close(fd);
}

static void decode(enum cache_kind kind, enum dtype type, const uint8_t *data, size_t size)
{
	struct cache_spec spec = {.kind = kind, .K = K, .tau = 1, .top_p = 0.5, .power = 1, .value_type = type};
	struct cache_identity id = {.V = V, .C = C};
	struct cache_codec codec;
	int32_t ids[ROWS * K], argmax[ROWS];
	float log_p[ROWS * K], tail[ROWS], lse[ROWS], ce[ROWS], hidden[ROWS * C];
	struct cache_block block = {ids, log_p, tail, lse, ce, argmax, hidden};
	BUG_ON(cache_codec_init(&codec, &spec, &id, ROWS, NULL) < 0);
	for (size_t n = 1; n <= ROWS; n++)
		if (cache_decode(&codec, data, size, &block, 0, n))
			for (size_t i = 0; kind != CACHE_HIDDEN && i < n * K; i++)
				BUG_ON(ids[i] < -1 || ids[i] >= V);
	cache_codec_release(&codec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	scan(data, size);
	const uint8_t *payload = size > sizeof(struct cache_header) ? data + sizeof(struct cache_header) : data;
	for (int kind = CACHE_TOP_K; kind <= CACHE_HIDDEN; kind++)
		for (int bf16 = 0; bf16 < 2; bf16++)
			decode((enum cache_kind)kind, bf16 ? DTYPE_BF16 : DTYPE_F32, payload, size - (size_t)(payload - data));
	return 0;
}

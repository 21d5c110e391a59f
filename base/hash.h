/* Content hashes (XXH3, 64 bits): of datasets, checkpoints and recipes. Not for adversaries. The value is the same on every
 * machine. Test: tests/test_hash.c */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* A hash in progress. Must not be copied or moved between init and final; needs no release. */
struct hash {
	unsigned char state[576 + 64];
};

uint64_t hash_bytes(const void *data, size_t n_bytes);

void hash_init(struct hash *h);
/* Cutting the data into other pieces gives the same value. */
void hash_update(struct hash *h, const void *data, size_t n_bytes);
uint64_t hash_final(const struct hash *h);

/* Content of a file. */
int hash_file(const char *path, uint64_t *out, struct err *e);
/* 16 lower-case hexadecimal digits, most significant first, and a NUL. */
void hash_hex(uint64_t value, char out[17]);

#endif

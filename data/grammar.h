/* A corpus out of nothing: a seeded generative grammar of small stories with names, subject-verb agreement, pronouns,
 * counting, brackets and repeated facts, so that a model has something to learn and something to lose.
 * Test: tests/test_grammar.c */
#ifndef DATA_GRAMMAR_H
#define DATA_GRAMMAR_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* Writes document i of the corpus `seed` into out (capacity bytes, NUL-terminated) and returns its length < capacity.
 * A pure function of (seed, i). UTF-8, no leading or trailing white space. capacity >= GRAMMAR_MAX_BYTES. */
#define GRAMMAR_MAX_BYTES 4096
size_t grammar_document(uint64_t seed, uint64_t i, char *out, size_t capacity);
/* Writes documents [first, first+n) to path as a .txt corpus (gzip if it ends in .gz), atomically. */
int grammar_write(const char *path, uint64_t seed, uint64_t first, size_t n, struct err *);

#endif

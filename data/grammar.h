/* A corpus out of nothing: a seeded generative grammar of small stories. A story keeps a world (who is where, who has what,
 * what lies in which box), tells changes of it and asks about it at the end, so that a model has something to learn and
 * something to lose: names and their pronouns, agreement across attractors, tense, a/an, sums up to twenty, number runs,
 * comparisons, spelling, copying of made-up words, quotes inside quotes, balanced brackets, facts told early and asked late.
 * Integers only: the same bytes on every machine. The sentences and word lists are ours. Test: tests/test_grammar.c */
#ifndef DATA_GRAMMAR_H
#define DATA_GRAMMAR_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define GRAMMAR_MIN_BYTES 300
#define GRAMMAR_MAX_BYTES 1024
/* Writes document i of the corpus `seed` into out (capacity bytes, NUL-terminated) and returns its length, which lies in
 * [GRAMMAR_MIN_BYTES, GRAMMAR_MAX_BYTES). A pure function of (seed, i). ASCII, no leading or trailing white space, no
 * `<|endoftext|>`. capacity >= GRAMMAR_MAX_BYTES. */
size_t grammar_document(uint64_t seed, uint64_t i, char *out, size_t capacity);
/* Writes documents [first, first+n) to path as a .txt corpus (gzip if it ends in .gz), atomically. */
int grammar_write(const char *path, uint64_t seed, uint64_t first, size_t n, struct err *e);

#endif

/* "did you mean": the nearest of some words. Test: tests/test_suggest.c */
#ifndef BASE_SUGGEST_H
#define BASE_SUGGEST_H

#include <stddef.h>

/* Insertions, deletions, changes and swaps of neighbours that lead from a to b (Damerau-Levenshtein, optimal string
 * alignment), in bytes, case ignored. Words of more than 63 bytes are as far as they are long. */
size_t suggest_distance(const char *a, const char *b);
/* The candidate nearest to word, the earlier of equals; NULL when none is near: more than a third of the longer word's
 * bytes away (one change is always near for words of two bytes and more). */
const char *suggest_nearest(const char *word, const char *const *candidates, size_t n);

#endif

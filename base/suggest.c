/* Optimal string alignment in three rows. Test: tests/test_suggest.c */
#include "base/suggest.h"

#include <string.h>

#define MAX_WORD 63

static int lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : (unsigned char)c;
}

static size_t min(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t suggest_distance(const char *a, const char *b)
{
	size_t rows[3][MAX_WORD + 1], na = strlen(a), nb = strlen(b);
	if (na > MAX_WORD || nb > MAX_WORD)
		return strcmp(a, b) == 0 ? 0 : na > nb ? na : nb;
	size_t *before = rows[0], *last = rows[1], *row = rows[2];
	for (size_t j = 0; j <= nb; j++)
		row[j] = before[j] = last[j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t *spare = before;
		before = last, last = row, row = spare;
		row[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			size_t change = last[j - 1] + (lower(a[i - 1]) != lower(b[j - 1]));
			row[j] = min(change, 1 + min(last[j], row[j - 1]));
			if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
				row[j] = min(row[j], before[j - 2] + 1);
		}
	}
	return row[nb];
}

const char *suggest_nearest(const char *word, const char *const *candidates, size_t n)
{
	const char *best = NULL;
	size_t best_distance = (size_t)-1;
	for (size_t i = 0; i < n; i++) {
		size_t na = strlen(word), nb = strlen(candidates[i]), longer = na > nb ? na : nb;
		size_t distance = suggest_distance(word, candidates[i]), near = longer / 3;
		if (near == 0 && longer >= 2)
			near = 1;
		if (distance <= near && distance < best_distance) {
			best = candidates[i];
			best_distance = distance;
		}
	}
	return best;
}

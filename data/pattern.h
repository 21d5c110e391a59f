/* What a text is cut at: a regular expression, a string, or a class of characters; and the ways of cutting.
 * Regular expressions are in Oniguruma's syntax, as in tokenizer.json; they are rewritten for PCRE2, and refused where the
 * two would differ. Knows no tokens. Test: tests/test_tokenizer_unicode.c */
#ifndef DATA_PATTERN_H
#define DATA_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "data/tokenizer.h"

struct pattern {
	void *code, *match;      /* PCRE2's; NULL when it is no regular expression */
	struct bytes string;     /* the string that is looked for, else the regular expression, for errors */
	bool (*is)(int32_t c);   /* the class; NULL when it is none */
};

int pattern_init_regex(struct pattern *p, const char *regex, size_t n, struct err *e);
/* An empty string is never found. */
int pattern_init_string(struct pattern *p, const char *string, size_t n, struct err *e);
void pattern_init_class(struct pattern *p, bool (*is)(int32_t c));
/* Zeroes; a zeroed pattern is fine. */
void pattern_release(struct pattern *p);

/* Oniguruma's syntax to PCRE2's: \s, \S, \w, \W become Unicode classes. Appends to out; fails (ERR_USER) on what would mean
 * something else in PCRE2: \h, "{n,m}+", options other than i, classes in classes, POSIX classes, &&. */
int pattern_translate(const char *regex, size_t n, struct bytes *out, struct err *e);

/* Where a search stands. Start from {0}. */
struct pattern_search {
	size_t from, last_end;
	bool matched;
};
/* The next match in s(n), valid UTF-8: returns 1 and its [start, end), 0 when there is none, -1 on error. Matches don't
 * overlap; an empty one directly after a match is passed over. */
int pattern_next(const struct pattern *p, const char *s, size_t n, struct pattern_search *at, size_t *start, size_t *end,
		 struct err *e);

enum split_behavior { SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_MERGED_WITH_PREVIOUS, SPLIT_MERGED_WITH_NEXT, SPLIT_CONTIGUOUS };
/* Receives the pieces in order; start counts from the text's beginning. */
typedef int piece_emit(void *context, const char *piece, size_t n, size_t start, struct err *e);
/* Cuts s(n) at the matches; invert swaps matches and what is between them. Empty pieces are left out. */
int pattern_split(const struct pattern *p, enum split_behavior behavior, bool invert, const char *s, size_t n, piece_emit *emit,
		  void *context, struct err *e);
/* Appends s(n) to out with every match replaced by content. */
int pattern_replace(const struct pattern *p, const char *s, size_t n, const char *content, size_t n_content, struct bytes *out,
		    struct err *e);

#endif

/* The decoder: tokens back to text, by a list of steps over a list of strings. Test: tests/test_tokenizer.c */
#ifndef DATA_DETOKENIZE_H
#define DATA_DETOKENIZE_H

#include "data/pattern.h"

enum detokenize_kind {
	DETOKENIZE_BYTE_LEVEL,    /* all tokens' bytes, joined */
	DETOKENIZE_REPLACE,       /* pattern by content */
	DETOKENIZE_BYTE_FALLBACK, /* runs of <0xNN> to the character they spell, or one U+FFFD each */
	DETOKENIZE_FUSE,          /* joins all */
	DETOKENIZE_STRIP,         /* at most `left` and `right` times the character content off the ends of each */
	DETOKENIZE_METASPACE,     /* content to space; none in the first token if `prepends` */
};

struct detokenize_step {
	enum detokenize_kind kind;
	struct pattern pattern;
	struct bytes content;
	size_t left, right;
	bool prepends;
};

#define DETOKENIZE_MAX 32
struct detokenize {
	struct detokenize_step steps[DETOKENIZE_MAX];
	size_t n;
	bool none; /* no decoder: tokens are joined by spaces */
};

/* Strings, one after the other; `ends` (n) says where each ends. */
struct strings {
	struct bytes text;
	size_t *ends;
	size_t n, capacity;
};
void strings_release(struct strings *);
int strings_append(struct strings *, const char *s, size_t n, struct err *e);

void detokenize_release(struct detokenize *);
/* Appends the text of tokens to out. tokens is used up. */
int detokenize_run(const struct detokenize *, struct strings *tokens, struct bytes *out, struct err *e);

#endif

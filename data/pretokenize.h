/* The pre-tokenizer: cuts a normalized text into the pieces inside which byte pairs are merged.
 * A chain of stages; each gets the pieces of the one before, in order. Test: tests/test_tokenizer.c */
#ifndef DATA_PRETOKENIZE_H
#define DATA_PRETOKENIZE_H

#include "data/pattern.h"

enum pretokenize_kind {
	PRETOKENIZE_SPLIT,      /* cuts by pattern, behavior, invert (Split, Digits, Whitespace, WhitespaceSplit, Punctuation) */
	PRETOKENIZE_BYTE_LEVEL, /* cuts by pattern if there is one, then every byte becomes a printable character */
	PRETOKENIZE_METASPACE,  /* spaces become `content`, then cuts before each of them if `split` */
};
enum prepend_scheme { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS };

struct pretokenize_stage {
	enum pretokenize_kind kind;
	struct pattern pattern;
	enum split_behavior behavior;
	bool invert, split;
	enum prepend_scheme prepend; /* the space (byte level) or content (Metaspace) before a piece that does not begin with it */
	struct bytes content;        /* Metaspace's replacement */
	struct bytes space, mapped;  /* working space */
};

#define PRETOKENIZE_MAX 32
struct pretokenize {
	struct pretokenize_stage stages[PRETOKENIZE_MAX];
	size_t n;
	bool raw; /* leave out the byte-level stage's mapping when it is the last: the model takes bytes */
};

/* GPT-2's pattern, which ByteLevel uses. */
extern const char pretokenize_gpt2_regex[];

void pretokenize_release(struct pretokenize *);
/* Cuts s(n), valid UTF-8. at_start: s is at the beginning of the document (for PREPEND_FIRST). Pieces are never empty; their
 * `start` argument means nothing. */
int pretokenize_run(struct pretokenize *, const char *s, size_t n, bool at_start, piece_emit *emit, void *context, struct err *e);

/* The printable character that stands for a byte in byte-level vocabularies; appends it. The source is GPT-2's encoder. */
int32_t byte_level_char(unsigned char byte);
int byte_level_append(struct bytes *out, const char *s, size_t n, struct err *e);
/* The byte that a character stands for, -1 if none. */
int byte_level_byte(int32_t c);

#endif

/* UTF-8 and the character classes that tokenizers ask for, as Rust and Oniguruma define them.
 * Knows no tokens. Tables: utf8proc. Test: tests/test_tokenizer_unicode.c */
#ifndef DATA_UNICODE_H
#define DATA_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character at p: writes its code point and returns its 1 to 4 bytes. On broken bytes returns minus the number that
 * belong together (the "maximal subpart" that one U+FFFD replaces, Unicode 3.9), and *c = -1. n > 0. */
int utf8_next(const char *p, size_t n, int32_t *c);
/* The longest valid beginning of p(n): n if all is well. */
size_t utf8_valid_prefix(const char *p, size_t n);
/* Writes the bytes of c, a valid code point; returns how many. */
int utf8_put(char out[4], int32_t c);

/* White_Space. */
bool unicode_is_space(int32_t c);
/* \w of Rust's regex: Alphabetic, marks, decimal digits, connectors, joiners. */
bool unicode_is_word(int32_t c);
/* Nd, Nl, No. */
bool unicode_is_numeric(int32_t c);
/* P*, and the ASCII symbols. */
bool unicode_is_punctuation(int32_t c);
/* Full lower case, at most 2 code points; returns how many. */
int unicode_lower(int32_t c, int32_t out[2]);

#endif

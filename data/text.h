/* Documents out of text files: .txt (documents separated by a line `<|endoftext|>`) and .jsonl (one object a line, the text
 * under the key "text"), both also .gz. The name's ending decides which. Streams: a file larger than memory is fine, a
 * document of more than TEXT_MAX_DOCUMENT bytes is not. A byte order mark at the beginning is dropped, `\r` before a
 * newline is kept. White space around a document is stripped: what Unicode calls White_Space and U+001C..U+001F, as
 * Python's str.strip does. Documents with nothing left are skipped. What comes out is valid UTF-8.
 * Knows nothing of tokens. Test: tests/test_text.c, fuzz: tests/fuzz/fuzz_text.c */
#ifndef DATA_TEXT_H
#define DATA_TEXT_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_MAX_DOCUMENT ((size_t)1 << 30)

struct text_reader;
/* Refuses other endings, a .gz that is no gzip and the reverse. On failure *out is NULL. */
int text_open(struct text_reader **out, const char *path, struct err *e);
void text_close(struct text_reader *r); /* NULL is fine */
/* The next document: 1 and its bytes (valid until the next call, not NUL-terminated), 0 at the end, -1 on unreadable text:
 * truncated or damaged gzip, invalid UTF-8 (with the line and the byte offset in the unpacked text), broken JSON (with the
 * line). After -1 only text_close is allowed. */
int text_next(struct text_reader *r, const char **document, size_t *n_bytes, struct err *e);
/* How far the file is read, in bytes of the file (packed ones for .gz): for progress, out of fsio_size. */
uint64_t text_file_offset(const struct text_reader *r);
/* Whether the name asks for .jsonl. */
bool text_is_jsonl(const char *path);

#endif

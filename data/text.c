/* The contract is in data/text.h. zlib reads packed and plain files alike. Test: tests/test_text.c */
#include "data/text.h"

#include "base/fsio.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <zlib.h>

#define SEPARATOR_LINE "<|endoftext|>"
#define INPUT_BYTES (256 * 1024)

struct text_reader {
	char *path;
	gzFile file;
	bool is_jsonl;
	char *input; /* (INPUT_BYTES), of which [input_at, input_n) is unread */
	size_t input_at, input_n;
	char *text; /* the document (.txt) or line (.jsonl) that is being read */
	size_t text_n, text_capacity;
	uint64_t offset, line; /* of the unpacked text: bytes and lines read so far */
	json_t *object;        /* .jsonl: owns the last document */
};

static bool ends_with(const char *s, size_t n, const char *end)
{
	size_t m = strlen(end);
	return n >= m && memcmp(s + n - m, end, m) == 0;
}

/* ---- UTF-8 ---- */

/* What Python's str.strip removes. */
static bool is_space(int32_t c)
{
	return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
	       (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Index of the first byte that is not UTF-8, n if there is none. */
static size_t utf8_invalid_at(const char *s, size_t n)
{
	size_t i = 0;
	while (i < n) {
		int32_t c;
		if (!(s[i] & 0x80)) {
			i++;
			continue;
		}
		utf8proc_ssize_t step = utf8proc_iterate((const uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &c);
		if (step < 1)
			break;
		i += (size_t)step;
	}
	return i;
}

static void strip(const char **s, size_t *n)
{
	const uint8_t *begin = (const uint8_t *)*s, *end = begin + *n;
	int32_t c;
	while (begin < end) {
		utf8proc_ssize_t step = utf8proc_iterate(begin, end - begin, &c);
		if (step < 1 || !is_space(c))
			break;
		begin += step;
	}
	while (end > begin) {
		const uint8_t *last = end - 1;
		while (last > begin && (*last & 0xc0) == 0x80)
			last--;
		if (utf8proc_iterate(last, end - last, &c) < 1 || !is_space(c))
			break;
		end = last;
	}
	*s = (const char *)begin;
	*n = (size_t)(end - begin);
}

/* ---- lines ---- */

/* 1: there is input, 0: the end, -1: unreadable. */
static int fill_input(struct text_reader *r, struct err *e)
{
	if (r->input_at < r->input_n)
		return 1;
	int n = gzread(r->file, r->input, INPUT_BYTES), code = Z_OK;
	const char *why = gzerror(r->file, &code);
	if (n <= 0 && code == Z_BUF_ERROR)
		return err_run(e, "%s: the gzip data ends too early: the file is truncated, fetch or write it again", r->path);
	if (n < 0)
		return err_run(e, "%s: unreadable after %llu bytes of text: %s", r->path, (unsigned long long)r->offset,
			       code == Z_ERRNO ? "read error" : why);
	r->input_at = 0;
	r->input_n = (size_t)n;
	if (r->offset == 0 && n >= 3 && memcmp(r->input, "\xef\xbb\xbf", 3) == 0) {
		r->input_at = 3;
		r->offset = 3;
	}
	return n > 0;
}

static int text_append(struct text_reader *r, const char *s, size_t n, struct err *e)
{
	size_t need = r->text_n + n;
	if (need > TEXT_MAX_DOCUMENT)
		return err_user(e, "%s:%llu: a document of more than %zu MiB; separate documents by lines " SEPARATOR_LINE, r->path,
				(unsigned long long)r->line, TEXT_MAX_DOCUMENT >> 20);
	if (need > r->text_capacity) {
		size_t capacity = need * 2 < 4096 ? 4096 : need * 2;
		char *text = realloc(r->text, capacity);
		if (!text)
			return err_run(e, "%s: out of memory for a document of %zu bytes", r->path, need);
		r->text = text;
		r->text_capacity = capacity;
	}
	memcpy(r->text + r->text_n, s, n);
	r->text_n = need;
	return 0;
}

/* Appends the next line, its newline included, to r->text. 1, 0 at the end, -1. */
static int append_line(struct text_reader *r, struct err *e)
{
	bool any = false;
	for (;;) {
		int got = fill_input(r, e);
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		if (r->input_at == r->input_n) /* a byte order mark and nothing else */
			continue;
		if (!any)
			r->line++;
		any = true;
		const char *s = r->input + r->input_at;
		size_t n = r->input_n - r->input_at;
		const char *newline = memchr(s, '\n', n);
		if (newline)
			n = (size_t)(newline - s) + 1;
		if (text_append(r, s, n, e) < 0)
			return -1;
		r->input_at += n;
		r->offset += n;
		if (newline)
			break;
	}
	return any;
}

static int check_utf8(const struct text_reader *r, uint64_t offset, uint64_t line, struct err *e)
{
	size_t bad = utf8_invalid_at(r->text, r->text_n);
	if (bad == r->text_n)
		return 0;
	for (size_t i = 0; i < bad; i++)
		line += r->text[i] == '\n';
	return err_user(e, "%s:%llu: byte 0x%02x at offset %llu is not UTF-8; convert the file to UTF-8", r->path,
			(unsigned long long)line, (unsigned)(unsigned char)r->text[bad], (unsigned long long)(offset + bad));
}

/* ---- the two formats ---- */

static bool is_separator_line(const char *s, size_t n)
{
	strip(&s, &n);
	return n == strlen(SEPARATOR_LINE) && memcmp(s, SEPARATOR_LINE, n) == 0;
}

static int next_txt(struct text_reader *r, const char **document, size_t *n_bytes, struct err *e)
{
	int got = 1;
	while (got == 1) {
		uint64_t offset, line = r->line + 1;
		size_t line_at = 0;
		r->text_n = 0;
		while ((got = append_line(r, e)) == 1 && !is_separator_line(r->text + line_at, r->text_n - line_at))
			line_at = r->text_n;
		if (got < 0)
			return -1;
		offset = r->offset - r->text_n;
		if (got == 1)
			r->text_n = line_at; /* without the separator */
		if (check_utf8(r, offset, line, e) < 0)
			return -1;
		*document = r->text;
		*n_bytes = r->text_n;
		if (r->text_n)
			strip(document, n_bytes);
		if (*n_bytes)
			return 1;
	}
	return 0;
}

static int parse_line(struct text_reader *r, const char **document, size_t *n_bytes, struct err *e)
{
	unsigned long long line = r->line;
	json_error_t why;
	json_decref(r->object);
	r->object = json_loadb(r->text, r->text_n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
	if (!r->object)
		return err_user(e, "%s:%llu:%d: broken JSON: %s", r->path, line, why.column, why.text);
	const json_t *text = json_object_get(r->object, "text");
	if (!json_is_string(text))
		return err_user(e, "%s:%llu: expected an object with a string under \"text\"%s", r->path, line,
				text ? ", found another type there" : "");
	*document = json_string_value(text);
	*n_bytes = json_string_length(text);
	strip(document, n_bytes);
	return 0;
}

static int next_jsonl(struct text_reader *r, const char **document, size_t *n_bytes, struct err *e)
{
	for (;;) {
		r->text_n = 0;
		int got = append_line(r, e);
		if (got <= 0)
			return got;
		if (check_utf8(r, r->offset - r->text_n, r->line, e) < 0)
			return -1;
		*document = r->text;
		*n_bytes = r->text_n;
		strip(document, n_bytes);
		if (!*n_bytes)
			continue;
		if (parse_line(r, document, n_bytes, e) < 0)
			return -1;
		if (*n_bytes)
			return 1;
	}
}

/* ---- the interface ---- */

bool text_is_jsonl(const char *path)
{
	size_t n = strlen(path);
	return ends_with(path, n, ".jsonl") || ends_with(path, n, ".jsonl.gz");
}

/* Everything of text_open that can fail once r->path is there. */
static int open_file(struct text_reader *r, struct err *e)
{
	const char *path = r->path;
	size_t n = strlen(path);
	uint64_t size;
	bool is_gz = ends_with(path, n, ".gz");
	r->is_jsonl = text_is_jsonl(path);
	if (!r->is_jsonl && !ends_with(path, n, ".txt") && !ends_with(path, n, ".txt.gz"))
		return err_user(e, "%s: expected a name that ends in .txt, .jsonl, .txt.gz or .jsonl.gz", path);
	if (fsio_size(path, &size, e) < 0)
		return -1;
	r->input = malloc(INPUT_BYTES);
	r->file = gzopen(path, "rbe");
	if (!r->input || !r->file)
		return err_run(e, "%s: cannot open", path);
	gzbuffer(r->file, INPUT_BYTES);
	if (is_gz && gzdirect(r->file))
		return err_user(e, "%s: not gzip data; pack it or drop the .gz from its name", path);
	if (!is_gz && !gzdirect(r->file))
		return err_user(e, "%s: gzip data; let its name end in .gz", path);
	return 0;
}

int text_open(struct text_reader **out, const char *path, struct err *e)
{
	struct text_reader *r = calloc(1, sizeof *r);
	*out = NULL;
	if (r)
		r->path = strdup(path);
	if (!r || !r->path) {
		text_close(r);
		return err_run(e, "%s: out of memory", path);
	}
	if (open_file(r, e) < 0) {
		text_close(r);
		return -1;
	}
	*out = r;
	return 0;
}

void text_close(struct text_reader *r)
{
	if (!r)
		return;
	if (r->file)
		gzclose_r(r->file);
	json_decref(r->object);
	free(r->input);
	free(r->text);
	free(r->path);
	free(r);
}

int text_next(struct text_reader *r, const char **document, size_t *n_bytes, struct err *e)
{
	return r->is_jsonl ? next_jsonl(r, document, n_bytes, e) : next_txt(r, document, n_bytes, e);
}

uint64_t text_file_offset(const struct text_reader *r)
{
	z_off_t at = gzoffset(r->file);
	return at < 0 ? 0 : (uint64_t)at;
}

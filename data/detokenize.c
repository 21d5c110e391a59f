#include "data/detokenize.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "data/pretokenize.h"
#include "data/unicode.h"

#define REPLACEMENT "\xEF\xBF\xBD"

void strings_release(struct strings *s)
{
	bytes_release(&s->text);
	free(s->ends);
	*s = (struct strings){0};
}

/* Ends the string that was written to s->text. */
static int end_string(struct strings *s, struct err *e)
{
	if (s->n == s->capacity) {
		size_t want = s->capacity ? 2 * s->capacity : 64;
		void *grown = realloc(s->ends, want * sizeof *s->ends);
		if (!grown)
			return err_run(e, "out of memory for %zu tokens", want);
		s->ends = grown;
		s->capacity = want;
	}
	s->ends[s->n++] = s->text.n;
	return 0;
}

int strings_append(struct strings *s, const char *text, size_t n, struct err *e)
{
	return bytes_append(&s->text, text, n, e) < 0 ? -1 : end_string(s, e);
}

static const char *string_at(const struct strings *s, size_t i, size_t *n)
{
	size_t start = i ? s->ends[i - 1] : 0;
	*n = s->ends[i] - start;
	return s->text.v ? s->text.v + start : "";
}

void detokenize_release(struct detokenize *d)
{
	for (size_t i = 0; i < d->n; i++) {
		pattern_release(&d->steps[i].pattern);
		bytes_release(&d->steps[i].content);
	}
	*d = (struct detokenize){0};
}

/* Appends s with each broken sequence as one U+FFFD. */
static int append_lossy(struct bytes *out, const char *s, size_t n, struct err *e)
{
	for (size_t i = 0; i < n;) {
		size_t good = utf8_valid_prefix(s + i, n - i);
		if (bytes_append(out, s + i, good, e) < 0)
			return -1;
		i += good;
		if (i == n)
			break;
		int32_t c;
		i += (size_t)-utf8_next(s + i, n - i, &c);
		if (bytes_append(out, REPLACEMENT, 3, e) < 0)
			return -1;
	}
	return 0;
}

/* Appends the bytes that a token's characters stand for; the token itself if one of them stands for none. */
static int append_bytes(struct bytes *out, const char *s, size_t n, struct err *e)
{
	size_t before = out->n;
	for (size_t i = 0; i < n;) {
		int32_t c;
		int length = utf8_next(s + i, n - i, &c), byte = length < 0 ? -1 : byte_level_byte(c);
		if (byte < 0) {
			out->n = before;
			return bytes_append(out, s, n, e);
		}
		if (bytes_append(out, &(char){(char)byte}, 1, e) < 0)
			return -1;
		i += (size_t)length;
	}
	return 0;
}

static int byte_level(const struct strings *in, struct strings *out, struct err *e)
{
	struct bytes joined = {0};
	int rc = -1;
	for (size_t i = 0, n; i < in->n; i++) {
		const char *s = string_at(in, i, &n);
		TRY(append_bytes(&joined, s, n, e));
	}
	TRY(append_lossy(&out->text, joined.v, joined.n, e));
	rc = end_string(out, e);
out:
	bytes_release(&joined);
	return rc;
}

/* The byte of "<0xNN>", -1 if the token is none. */
static int fallback_byte(const char *s, size_t n)
{
	if (n != 6 || memcmp(s, "<0x", 3) || s[5] != '>' || !isxdigit((unsigned char)s[3]) || !isxdigit((unsigned char)s[4]))
		return -1;
	return (int)strtol((char[]){s[3], s[4], '\0'}, NULL, 16);
}

/* Ends a run of byte tokens. */
static int flush_bytes(struct bytes *run, struct strings *out, struct err *e)
{
	size_t n = run->n;
	run->n = 0;
	if (utf8_valid_prefix(run->v, n) == n)
		return n ? strings_append(out, run->v, n, e) : 0;
	for (size_t i = 0; i < n; i++)
		if (strings_append(out, REPLACEMENT, 3, e) < 0)
			return -1;
	return 0;
}

static int byte_fallback(const struct strings *in, struct strings *out, struct err *e)
{
	struct bytes run = {0};
	int rc = -1;
	for (size_t i = 0, n; i < in->n; i++) {
		const char *s = string_at(in, i, &n);
		int byte = fallback_byte(s, n);
		if (byte >= 0) {
			TRY(bytes_append(&run, &(char){(char)byte}, 1, e));
			continue;
		}
		TRY(flush_bytes(&run, out, e));
		TRY(strings_append(out, s, n, e));
	}
	rc = flush_bytes(&run, out, e);
out:
	bytes_release(&run);
	return rc;
}

static int strip(const struct detokenize_step *step, const char *s, size_t n, struct strings *out, struct err *e)
{
	const struct bytes *c = &step->content;
	for (size_t i = 0; i < step->left && n >= c->n && !memcmp(s, c->v, c->n); i++) {
		s += c->n;
		n -= c->n;
	}
	for (size_t i = 0; i < step->right && n >= c->n && !memcmp(s + n - c->n, c->v, c->n); i++)
		n -= c->n;
	return strings_append(out, s, n, e);
}

static int metaspace(const struct detokenize_step *step, const char *s, size_t n, bool first, struct strings *out, struct err *e)
{
	bool drop = first && step->prepends;
	if (pattern_replace(&step->pattern, s, n, " ", drop ? 0 : 1, &out->text, e) < 0)
		return -1;
	return end_string(out, e);
}

static int each(const struct detokenize_step *step, const struct strings *in, struct strings *out, struct err *e)
{
	for (size_t i = 0, n; i < in->n; i++) {
		const char *s = string_at(in, i, &n);
		int rc;
		if (step->kind == DETOKENIZE_STRIP)
			rc = strip(step, s, n, out, e);
		else if (step->kind == DETOKENIZE_METASPACE)
			rc = metaspace(step, s, n, i == 0, out, e);
		else
			rc = pattern_replace(&step->pattern, s, n, step->content.v, step->content.n, &out->text, e) < 0 ?
				     -1 : end_string(out, e);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int run_step(const struct detokenize_step *step, const struct strings *in, struct strings *out, struct err *e)
{
	switch (step->kind) {
	case DETOKENIZE_BYTE_LEVEL:
		return byte_level(in, out, e);
	case DETOKENIZE_BYTE_FALLBACK:
		return byte_fallback(in, out, e);
	case DETOKENIZE_FUSE:
		return strings_append(out, in->text.v, in->text.n, e);
	default:
		return each(step, in, out, e);
	}
}

static int join(const struct strings *s, bool spaces, struct bytes *out, struct err *e)
{
	if (!spaces)
		return bytes_append(out, s->text.v, s->text.n, e);
	for (size_t i = 0, n; i < s->n; i++) {
		const char *text = string_at(s, i, &n);
		if ((i && bytes_append(out, " ", 1, e) < 0) || bytes_append(out, text, n, e) < 0)
			return -1;
	}
	return 0;
}

int detokenize_run(const struct detokenize *d, struct strings *tokens, struct bytes *out, struct err *e)
{
	struct strings next = {0};
	int rc = -1;
	for (size_t i = 0; i < d->n; i++) {
		next.text.n = next.n = 0;
		TRY(run_step(&d->steps[i], tokens, &next, e));
		struct strings swap = *tokens;
		*tokens = next;
		next = swap;
	}
	rc = join(tokens, d->none, out, e);
out:
	strings_release(&next);
	return rc;
}

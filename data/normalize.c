#include "data/normalize.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "data/unicode.h"

void normalize_release(struct normalize *z)
{
	for (size_t i = 0; i < z->n; i++) {
		pattern_release(&z->steps[i].pattern);
		bytes_release(&z->steps[i].content);
	}
	bytes_release(&z->a);
	bytes_release(&z->b);
	*z = (struct normalize){0};
}

/* Text that every form leaves as it is: ASCII; for NFC all below U+0300 too. */
static bool is_settled(enum normalize_kind kind, const char *s, size_t n)
{
	unsigned char limit = kind == NORMALIZE_NFC ? 0xCC : 0x80;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] >= limit)
			return false;
	return true;
}

static utf8proc_option_t form_options(enum normalize_kind kind)
{
	unsigned options = UTF8PROC_STABLE;
	options |= kind == NORMALIZE_NFC || kind == NORMALIZE_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
	if (kind == NORMALIZE_NFKC || kind == NORMALIZE_NFKD)
		options |= UTF8PROC_COMPAT;
	return (utf8proc_option_t)options;
}

static int form(enum normalize_kind kind, const char *s, size_t n, struct bytes *out, struct err *e)
{
	if (is_settled(kind, s, n))
		return bytes_append(out, s, n, e);
	utf8proc_uint8_t *mapped = NULL;
	utf8proc_ssize_t length = utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &mapped, form_options(kind));
	if (length < 0)
		return err_run(e, "Unicode normalization failed: %s", utf8proc_errmsg(length));
	int rc = bytes_append(out, (const char *)mapped, (size_t)length, e);
	free(mapped);
	return rc;
}

static size_t spaces_left(const char *s, size_t n)
{
	size_t i = 0;
	while (i < n) {
		int32_t c;
		int length = utf8_next(s + i, n - i, &c);
		if (length < 0 || !unicode_is_space(c))
			break;
		i += (size_t)length;
	}
	return i;
}

/* Where the white space at the end begins. */
static size_t spaces_right(const char *s, size_t n)
{
	while (n) {
		size_t i = n - 1;
		while (i && ((unsigned char)s[i] & 0xC0) == 0x80)
			i--;
		int32_t c;
		if (utf8_next(s + i, n - i, &c) < 0 || !unicode_is_space(c))
			break;
		n = i;
	}
	return n;
}

static int strip(const struct normalize_step *step, const char *s, size_t n, struct bytes *out, struct err *e)
{
	size_t end = step->right ? spaces_right(s, n) : n;
	size_t start = step->left ? spaces_left(s, end) : 0;
	return bytes_append(out, s + start, end - start, e);
}

static int lowercase(const char *s, size_t n, struct bytes *out, struct err *e)
{
	for (size_t i = 0; i < n;) {
		int32_t c, lower[2];
		int length = utf8_next(s + i, n - i, &c);
		if (length < 0)
			return err_run(e, "lower case of broken UTF-8");
		i += (size_t)length;
		int n_lower = unicode_lower(c, lower);
		for (int k = 0; k < n_lower; k++) {
			char text[4];
			if (bytes_append(out, text, (size_t)utf8_put(text, lower[k]), e) < 0)
				return -1;
		}
	}
	return 0;
}

static int run_step(const struct normalize_step *step, const char *s, size_t n, struct bytes *out, struct err *e)
{
	const struct bytes *content = &step->content;
	switch (step->kind) {
	case NORMALIZE_PREPEND:
		if (n && bytes_append(out, content->v, content->n, e) < 0)
			return -1;
		return bytes_append(out, s, n, e);
	case NORMALIZE_REPLACE:
		return pattern_replace(&step->pattern, s, n, content->v, content->n, out, e);
	case NORMALIZE_STRIP:
		return strip(step, s, n, out, e);
	case NORMALIZE_LOWERCASE:
		return lowercase(s, n, out, e);
	default:
		return form(step->kind, s, n, out, e);
	}
}

int normalize_run(struct normalize *z, const char *s, size_t n, const char **out, size_t *n_out, struct err *e)
{
	for (size_t i = 0; i < z->n; i++) {
		struct bytes *to = i % 2 ? &z->b : &z->a;
		to->n = 0;
		if (run_step(&z->steps[i], s, n, to, e) < 0)
			return -1;
		s = to->v;
		n = to->n;
	}
	*out = s ? s : "";
	*n_out = n;
	return 0;
}

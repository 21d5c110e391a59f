/* Oniguruma's regular expressions in PCRE2's words. */
#include "data/pattern.h"

#include <string.h>

#define SPACE "\\p{White_Space}"
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

struct translation {
	const char *regex;
	size_t n, i;
	bool in_class;
	struct bytes *out;
	struct err *e;
};

static int refuse(const struct translation *t, const char *what)
{
	return err_user(t->e, "regular expression \"%.*s\": %s is not supported (at byte %zu)", (int)(t->n > 300 ? 300 : t->n),
			t->regex, what, t->i);
}

static int put(struct translation *t, const char *text)
{
	return bytes_append(t->out, text, strlen(text), t->e);
}

static int copy(struct translation *t, size_t n)
{
	int rc = bytes_append(t->out, t->regex + t->i, n, t->e);
	t->i += n;
	return rc;
}

static char peek(const struct translation *t, size_t ahead)
{
	return t->i + ahead < t->n ? t->regex[t->i + ahead] : '\0';
}

static int escape(struct translation *t)
{
	char c = peek(t, 1);
	const char *text = NULL;
	if (c == 's')
		text = SPACE;
	else if (c == 'S')
		text = "\\P{White_Space}";
	else if (c == 'w')
		text = t->in_class ? WORD : "[" WORD "]";
	else if (c == 'W' && !t->in_class)
		text = "[^" WORD "]";
	if (text) {
		t->i += 2;
		return put(t, text);
	}
	if (!c || strchr("WhHRXKGyYOkgQE", c))
		return refuse(t, "this escape");
	size_t n = 2;
	if (peek(t, 2) == '{') /* \p{…}, \x{…} */
		while (t->i + n < t->n && t->regex[t->i + n++] != '}')
			;
	return t->i + n <= t->n ? copy(t, n) : refuse(t, "a backslash at the end");
}

static int open_class(struct translation *t)
{
	if (t->in_class)
		return refuse(t, "a class inside a class");
	t->in_class = true;
	if (copy(t, peek(t, 1) == '^' ? 2 : 1) < 0)
		return -1;
	return peek(t, 0) == ']' ? refuse(t, "an empty class") : 0;
}

/* "(?": only (?: (?i: (?i) (?= (?! (?<= (?<! (?> mean the same in both. */
static int open_group(struct translation *t)
{
	if (peek(t, 1) == '*')
		return refuse(t, "a verb");
	if (peek(t, 1) == '?') {
		char c = peek(t, 2), d = peek(t, 3);
		bool fine = (c && strchr(":=!>", c)) || (c == 'i' && (d == ':' || d == ')')) || (c == '<' && (d == '=' || d == '!'));
		if (!fine)
			return refuse(t, "this kind of group");
	}
	return copy(t, 1);
}

/* '+' after a counted repetition is possessive in PCRE2 and a second repetition in Oniguruma. */
static int close_brace(struct translation *t)
{
	return peek(t, 1) == '+' ? refuse(t, "\"}+\"") : copy(t, 1);
}

static int step(struct translation *t)
{
	switch (peek(t, 0)) {
	case '\\':
		return escape(t);
	case '[':
		return open_class(t);
	case ']':
		t->in_class = false;
		return copy(t, 1);
	case '&':
		return t->in_class && peek(t, 1) == '&' ? refuse(t, "&&") : copy(t, 1);
	case '(':
		return t->in_class ? copy(t, 1) : open_group(t);
	case '}':
		return t->in_class ? copy(t, 1) : close_brace(t);
	case '\0':
		return refuse(t, "a NUL");
	default:
		return copy(t, 1);
	}
}

int pattern_translate(const char *regex, size_t n, struct bytes *out, struct err *e)
{
	struct translation t = {.regex = regex, .n = n, .out = out, .e = e};
	while (t.i < n)
		if (step(&t) < 0)
			return -1;
	return 0;
}

#include "data/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "data/unicode.h"

#define REGEX_MAX 65536

static int regex_error(struct err *e, const struct pattern *p, int code)
{
	char text[128];
	pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
	return err_user(e, "regular expression \"%.*s\": %s", (int)(p->string.n > 300 ? 300 : p->string.n), p->string.v, text);
}

static int compile(struct pattern *p, const struct bytes *translated, struct err *e)
{
	int code = 0;
	PCRE2_SIZE at = 0;
	pcre2_compile_context *context = pcre2_compile_context_create(NULL);
	if (context)
		pcre2_set_newline(context, PCRE2_NEWLINE_LF);
	p->code = pcre2_compile((PCRE2_SPTR)translated->v, translated->n, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code, &at,
				context);
	pcre2_compile_context_free(context);
	if (!p->code)
		return regex_error(e, p, code);
	pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* where there is no JIT, pcre2_match interprets */
	p->match = pcre2_match_data_create(1, NULL);
	return p->match ? 0 : err_run(e, "out of memory for a regular expression");
}

int pattern_init_regex(struct pattern *p, const char *regex, size_t n, struct err *e)
{
	*p = (struct pattern){0};
	struct bytes translated = {0};
	int rc = -1;
	if (!n || n > REGEX_MAX)
		return err_user(e, "a regular expression of %zu bytes, expected 1 to %d", n, REGEX_MAX);
	TRY(bytes_append(&p->string, regex, n, e));
	TRY(pattern_translate(regex, n, &translated, e));
	TRY(compile(p, &translated, e));
	rc = 0;
out:
	bytes_release(&translated);
	if (rc < 0)
		pattern_release(p);
	return rc;
}

int pattern_init_string(struct pattern *p, const char *string, size_t n, struct err *e)
{
	*p = (struct pattern){0};
	return bytes_append(&p->string, string, n, e);
}

void pattern_init_class(struct pattern *p, bool (*is)(int32_t c))
{
	*p = (struct pattern){.is = is};
}

void pattern_release(struct pattern *p)
{
	pcre2_match_data_free(p->match);
	pcre2_code_free(p->code);
	bytes_release(&p->string);
	*p = (struct pattern){0};
}

static int find_string(const struct pattern *p, const char *s, size_t n, size_t from, size_t *start, size_t *end)
{
	const char *at = p->string.n ? memmem(s + from, n - from, p->string.v, p->string.n) : NULL;
	if (!at)
		return 0;
	*start = (size_t)(at - s);
	*end = *start + p->string.n;
	return 1;
}

static int find_class(const struct pattern *p, const char *s, size_t n, size_t from, size_t *start, size_t *end)
{
	for (size_t i = from; i < n;) {
		int32_t c;
		int length = utf8_next(s + i, n - i, &c);
		if (length < 0)
			return 0; /* never: the text is valid */
		if (p->is(c)) {
			*start = i;
			*end = i + (size_t)length;
			return 1;
		}
		i += (size_t)length;
	}
	return 0;
}

static int find_regex(const struct pattern *p, const char *s, size_t n, size_t from, size_t *start, size_t *end, struct err *e)
{
	int code = pcre2_match(p->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK, p->match, NULL);
	if (code == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter backtracks on the heap */
		code = pcre2_match(p->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, p->match, NULL);
	if (code == PCRE2_ERROR_NOMATCH)
		return 0;
	if (code < 0)
		return regex_error(e, p, code);
	const PCRE2_SIZE *at = pcre2_get_ovector_pointer(p->match);
	*start = at[0];
	*end = at[1];
	return *start <= *end ? 1 : err_user(e, "regular expression \"%.*s\": a match ends before it starts",
					     (int)(p->string.n > 300 ? 300 : p->string.n), p->string.v);
}

static int find(const struct pattern *p, const char *s, size_t n, size_t from, size_t *start, size_t *end, struct err *e)
{
	if (p->code)
		return find_regex(p, s, n, from, start, end, e);
	return p->is ? find_class(p, s, n, from, start, end) : find_string(p, s, n, from, start, end);
}

int pattern_next(const struct pattern *p, const char *s, size_t n, struct pattern_search *at, size_t *start, size_t *end,
		 struct err *e)
{
	while (at->from <= n) {
		int found = find(p, s, n, at->from, start, end, e);
		if (found <= 0)
			return found;
		bool again = *start == *end && at->matched && at->last_end == *end;
		if (!again) {
			at->from = at->last_end = *end;
			at->matched = true;
			return 1;
		}
		int32_t c;
		int step = at->from < n ? utf8_next(s + at->from, n - at->from, &c) : 1;
		at->from += step > 0 ? (size_t)step : 1;
	}
	return 0;
}

struct splitter {
	enum split_behavior behavior;
	const char *s;
	size_t start, end; /* the piece that may still grow */
	bool pending, was_match;
	piece_emit *emit;
	void *context;
	struct err *e;
};

static int emit(struct splitter *p, size_t start, size_t end)
{
	return start < end ? p->emit(p->context, p->s + start, end - start, start, p->e) : 0;
}

static int flush(struct splitter *p)
{
	bool pending = p->pending;
	p->pending = false;
	return pending ? emit(p, p->start, p->end) : 0;
}

/* Does this span join the piece before it? */
static bool joins(const struct splitter *p, bool match)
{
	if (p->behavior == SPLIT_CONTIGUOUS)
		return match == p->was_match;
	if (p->behavior == SPLIT_MERGED_WITH_PREVIOUS)
		return match && !p->was_match;
	return !match && p->was_match; /* a match joins what follows it */
}

static int span(struct splitter *p, size_t start, size_t end, bool match)
{
	if (p->behavior == SPLIT_ISOLATED || p->behavior == SPLIT_REMOVED)
		return p->behavior == SPLIT_REMOVED && match ? 0 : emit(p, start, end);
	bool joined = p->pending && joins(p, match);
	p->was_match = match;
	if (joined) {
		p->end = end;
		return 0;
	}
	if (flush(p) < 0)
		return -1;
	p->pending = true;
	p->start = start;
	p->end = end;
	return 0;
}

int pattern_split(const struct pattern *p, enum split_behavior behavior, bool invert, const char *s, size_t n,
		  piece_emit *emit_piece, void *context, struct err *e)
{
	struct splitter splitter = {.behavior = behavior, .s = s, .emit = emit_piece, .context = context, .e = e};
	struct pattern_search at = {0};
	size_t done = 0, start, end;
	int found;
	while ((found = pattern_next(p, s, n, &at, &start, &end, e)) > 0) {
		if (done != start && span(&splitter, done, start, invert) < 0)
			return -1;
		if (span(&splitter, start, end, !invert) < 0)
			return -1;
		done = end;
	}
	if (found < 0 || (done != n && span(&splitter, done, n, invert) < 0))
		return -1;
	return flush(&splitter);
}

int pattern_replace(const struct pattern *p, const char *s, size_t n, const char *content, size_t n_content, struct bytes *out,
		    struct err *e)
{
	struct pattern_search at = {0};
	size_t done = 0, start, end;
	int found;
	while ((found = pattern_next(p, s, n, &at, &start, &end, e)) > 0) {
		if (bytes_append(out, s + done, start - done, e) < 0 || bytes_append(out, content, n_content, e) < 0)
			return -1;
		done = end;
	}
	return found < 0 ? -1 : bytes_append(out, s + done, n - done, e);
}

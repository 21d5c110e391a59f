/* jansson with one-line errors. Test: tests/test_json.c */
#include "base/json.h"

#include "base/fsio.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)1 << 30)

/* The end of the number or string that starts at p. */
static const char *token_end(const char *p, const char *end)
{
	if (*p != '"') {
		while (p < end && strchr("+-.0123456789eE", *p) && *p)
			p++;
		return p;
	}
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\' && p + 1 < end)
			p++;
	return p < end ? p + 1 : end;
}

/* Whether the token is an integer beyond int64_t. */
static bool overflows(const char *p, size_t n)
{
	char digits[24];
	size_t sign = *p == '-';
	if (n - sign < 19 || strspn(p + sign, "0123456789") < n - sign)
		return false;
	if (n >= sizeof digits)
		return true;
	memcpy(digits, p, n);
	digits[n] = '\0';
	errno = 0;
	strtoll(digits, NULL, 10);
	return errno == ERANGE;
}

/* The text with "e0" after every integer that jansson can't hold, which makes it a real. NULL: out of memory.
 * text has a NUL at its end. */
static char *big_integers_to_reals(const char *text, size_t *n_bytes)
{
	const char *p = text, *end = text + *n_bytes;
	char *copy = malloc(*n_bytes + *n_bytes / 19 * 2 + 1), *at = copy;
	while (copy && p < end) {
		if (*p != '"' && *p != '-' && (*p < '0' || *p > '9')) {
			*at++ = *p++;
			continue;
		}
		size_t n = (size_t)(token_end(p, end) - p);
		memcpy(at, p, n);
		at += n;
		if (*p != '"' && overflows(p, n)) {
			memcpy(at, "e0", 2);
			at += 2;
		}
		p += n;
	}
	if (copy)
		*n_bytes = (size_t)(at - copy);
	return copy;
}

/* text has a NUL at its end. */
static int parse(const char *text, size_t n_bytes, const char *path, json_t **out, struct err *e)
{
	json_error_t error;
	*out = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (!*out && json_error_code(&error) == json_error_numeric_overflow) {
		char *patched = big_integers_to_reals(text, &n_bytes);
		if (!patched)
			return err_run(e, "%s: out of memory", path);
		*out = json_loadb(patched, n_bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
		free(patched);
	}
	if (!*out)
		return err_user(e, "%s:%d:%d: not valid JSON: %s", path, error.line, error.column, error.text);
	return 0;
}

int json_parse(const char *text, size_t n_bytes, const char *path, json_t **out, struct err *e)
{
	*out = NULL;
	char *copy = n_bytes > MAX_BYTES ? NULL : malloc(n_bytes + 1);
	if (!copy)
		return err_run(e, "%s: out of memory for %zu bytes of JSON", path, n_bytes);
	if (n_bytes)
		memcpy(copy, text, n_bytes);
	copy[n_bytes] = '\0';
	int rc = parse(copy, n_bytes, path, out, e);
	free(copy);
	return rc;
}

int json_read_file(const char *path, json_t **out, struct err *e)
{
	char *text;
	size_t n_bytes;
	*out = NULL;
	if (fsio_read_file(path, MAX_BYTES, &text, &n_bytes, e) < 0)
		return -1;
	int rc = parse(text, n_bytes, path, out, e);
	free(text);
	return rc;
}

/* The value of a key; null counts as absent. */
static json_t *find(const json_t *object, const char *key)
{
	json_t *v = json_object_get(object, key);
	return json_is_null(v) ? NULL : v;
}

static int wrong_type(const json_t *v, const char *path, const char *key, const char *expected, struct err *e)
{
	char found[48];
	const char *dots = "";
	char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
	snprintf(found, sizeof found, "%s", text ? text : "something else");
	if (text && strlen(text) >= sizeof found)
		dots = "…";
	/* Cut between characters. */
	size_t n = strlen(found);
	while (*dots && n && ((unsigned char)text[n] & 0xC0) == 0x80)
		found[--n] = '\0';
	free(text);
	return err_user(e, "%s: key '%s': expected %s, found %s%s", path, key, expected, found, dots);
}

int json_require(const json_t *object, const char *path, const char *key, struct err *e)
{
	if (!json_is_object(object))
		return err_user(e, "%s: expected an object with the key '%s'", path, key);
	return find(object, key) ? 0 : err_user(e, "%s: key '%s' is missing", path, key);
}

int json_get_int64(const json_t *object, const char *path, const char *key, int64_t fallback, int64_t min, int64_t max,
		   int64_t *out, struct err *e)
{
	const json_t *v = find(object, key);
	*out = fallback;
	if (!v)
		return 0;
	if (!json_is_integer(v))
		return wrong_type(v, path, key, "an integer", e);
	*out = json_integer_value(v);
	if (*out < min || *out > max)
		return err_user(e, "%s: key '%s': expected an integer in [%lld, %lld], found %lld", path, key, (long long)min,
				(long long)max, (long long)*out);
	return 0;
}

int json_get_double(const json_t *object, const char *path, const char *key, double fallback, double min, double max,
		    double *out, struct err *e)
{
	const json_t *v = find(object, key);
	*out = fallback;
	if (!v)
		return 0;
	if (!json_is_number(v))
		return wrong_type(v, path, key, "a number", e);
	*out = json_number_value(v);
	if (!(*out >= min && *out <= max))
		return err_user(e, "%s: key '%s': expected a number in [%g, %g], found %.17g", path, key, min, max, *out);
	return 0;
}

int json_get_bool(const json_t *object, const char *path, const char *key, bool fallback, bool *out, struct err *e)
{
	const json_t *v = find(object, key);
	*out = v ? json_is_true(v) : fallback;
	return !v || json_is_boolean(v) ? 0 : wrong_type(v, path, key, "true or false", e);
}

int json_get_string(const json_t *object, const char *path, const char *key, const char *fallback, const char **out,
		    struct err *e)
{
	const json_t *v = find(object, key);
	*out = v ? json_string_value(v) : fallback;
	return !v || *out ? 0 : wrong_type(v, path, key, "a string", e);
}

int json_get_child(const json_t *object, const char *path, const char *key, json_type type, json_t **out, struct err *e)
{
	static const char *const names[] = {"an object",     "an array",    "a string",    "an integer",
					    "a real number", "true or false", "true or false", "null"};
	json_t *v = find(object, key);
	*out = v && json_typeof(v) == type ? v : NULL;
	return !v || *out ? 0 : wrong_type(v, path, key, names[type], e);
}

struct sink {
	struct fsio_writer w;
	struct err *e;
};

static int put(const char *text, size_t n_bytes, void *data)
{
	struct sink *s = data;
	/* jansson may go on after a failure: the first line is the one that counts. */
	return s->w.fd < 0 ? -1 : fsio_write(&s->w, text, n_bytes, s->e);
}

int json_write_file(const char *path, const json_t *value, struct err *e)
{
	struct sink s = {.e = e};
	if (fsio_writer_open(&s.w, path, e) < 0)
		return -1;
	int rc = json_dump_callback(value, put, &s, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
	if (s.w.fd < 0)
		return -1;
	if (rc < 0) {
		fsio_writer_abort(&s.w);
		return err_run(e, "%s: cannot write this value as JSON (out of memory?)", path);
	}
	if (fsio_write(&s.w, "\n", 1, e) < 0)
		return -1;
	return fsio_writer_commit(&s.w, e);
}

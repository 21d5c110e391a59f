/* JSON through jansson: files in and out with one-line errors, and typed getters. Values are jansson's own json_t;
 * whoever gets one from json_read_file or json_parse releases it with json_decref. Test: tests/test_json.c
 * In every function `path` names the file (or whatever the object is) in errors. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Parses a file of at most 1 GiB. Duplicate keys are refused. Integers beyond 64 bits (Hugging Face's model_max_length)
 * become reals. Errors: "path:line:column: what". On failure *out is NULL. */
int json_read_file(const char *path, json_t **out, struct err *e);
/* The same for n_bytes of text, which need no NUL at the end. */
int json_parse(const char *text, size_t n_bytes, const char *path, json_t **out, struct err *e);

/* Typed getters from an object. A key that is absent or null gives `fallback` (json_require first where it must be there).
 * Failure: "path: key 'x': expected an integer, found "abc"", or the range that was missed. */
int json_get_int64(const json_t *object, const char *path, const char *key, int64_t fallback, int64_t min, int64_t max,
		   int64_t *out, struct err *e);
/* Finite; integers are taken too. min and max are allowed values. */
int json_get_double(const json_t *object, const char *path, const char *key, double fallback, double min, double max,
		    double *out, struct err *e);
int json_get_bool(const json_t *object, const char *path, const char *key, bool fallback, bool *out, struct err *e);
/* *out belongs to the object (or is the fallback, which may be NULL). */
int json_get_string(const json_t *object, const char *path, const char *key, const char *fallback, const char **out,
		    struct err *e);
/* A child of the given type (JSON_OBJECT, JSON_ARRAY …), borrowed; absent or null gives NULL. */
int json_get_child(const json_t *object, const char *path, const char *key, json_type type, json_t **out, struct err *e);
/* Fails when the key is absent or null. */
int json_require(const json_t *object, const char *path, const char *key, struct err *e);

/* Writes atomically, indented by 2, keys in insertion order, a newline at the end. Reals have 17 digits and integers all
 * of theirs, so that both round-trip; the same value gives the same bytes. NaN and infinity cannot be made (json_real). */
int json_write_file(const char *path, const json_t *value, struct err *e);

#endif

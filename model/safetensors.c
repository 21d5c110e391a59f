/* Reading safetensors: nothing is believed before it is checked. Writing is in safetensors_writer.c.
 * Test: tests/test_safetensors.c, tests/fuzz/fuzz_safetensors.c */
#include "model/safetensors.h"

#include "base/fsio.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#define MAX_HEADER_BYTES 100000000u /* the format's own limit */

struct safetensors {
	char *name; /* of the file, for errors */
	struct mapping mapping;
	json_t *header; /* owns every string below */
	struct safetensor *tensors;        /* in offset order */
	const struct safetensor **by_name; /* sorted */
	int n;
};

/* Bytes per element of the types that the format names; 0: not one of them, its size is not checked. */
static size_t known_type_size(const char *text)
{
	static const struct {
		const char *text;
		size_t size;
	} types[] = {{"F32", 4}, {"BF16", 2}, {"F16", 2}, {"F64", 8}, {"I64", 8}, {"U64", 8}, {"I32", 4}, {"U32", 4},
		     {"I16", 2}, {"U16", 2}, {"I8", 1}, {"U8", 1}, {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
		     {"F8_E8M0", 1}, {"C64", 8}};
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (!strcmp(types[i].text, text))
			return types[i].size;
	return 0;
}

static int bad_tensor(const struct safetensors *s, const char *name, const char *what, struct err *e)
{
	return err_run(e, "%s: tensor \"%.200s\": %s; the file is damaged", s->name, name, what);
}

/* A size in JSON: an integer, not negative. */
static bool json_size(const json_t *value, size_t *out)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*out = (size_t)json_integer_value(value);
	return true;
}

static int parse_dims(const struct safetensors *s, struct safetensor *t, const json_t *dims, struct err *e)
{
	if (!json_is_array(dims))
		return bad_tensor(s, t->name, "has no shape", e);
	if (json_array_size(dims) > sizeof t->dims / sizeof *t->dims)
		return bad_tensor(s, t->name, "has more than 8 dimensions", e);
	t->n_dims = (int)json_array_size(dims);
	t->n_elems = 1;
	for (int i = 0; i < t->n_dims; i++)
		if (!json_size(json_array_get(dims, (size_t)i), &t->dims[i]))
			return bad_tensor(s, t->name, "has a dimension that is not a size", e);
		else if (__builtin_mul_overflow(t->n_elems, t->dims[i], &t->n_elems))
			return bad_tensor(s, t->name, "has a shape that overflows", e);
	return 0;
}

static int parse_tensor(const struct safetensors *s, struct safetensor *t, const char *name, const json_t *entry,
			const uint8_t *data, size_t n_data, struct err *e)
{
	const char *type = json_string_value(json_object_get(entry, "dtype"));
	const json_t *offsets = json_object_get(entry, "data_offsets");
	size_t begin, end, size, want;
	t->name = name;
	if (!type)
		return bad_tensor(s, name, "has no dtype", e);
	strncpy(t->dtype_text, type, sizeof t->dtype_text - 1);
	t->known = !dtype_parse(type, &t->dtype);
	if (parse_dims(s, t, json_object_get(entry, "shape"), e) < 0)
		return -1;
	if (json_array_size(offsets) != 2 || !json_size(json_array_get(offsets, 0), &begin) ||
	    !json_size(json_array_get(offsets, 1), &end))
		return bad_tensor(s, name, "has no pair of data_offsets", e);
	if (begin > end || end > n_data)
		return err_run(e, "%s: tensor \"%.200s\": data_offsets [%zu, %zu] leave the %zu bytes of data; the file is "
			       "truncated or damaged", s->name, name, begin, end, n_data);
	t->n_bytes = end - begin;
	t->data = data + begin;
	size = known_type_size(type);
	if (size && (__builtin_mul_overflow(t->n_elems, size, &want) || want != t->n_bytes))
		return err_run(e, "%s: tensor \"%.200s\": %zu %s elements do not fill its %zu bytes; the file is damaged",
			       s->name, name, t->n_elems, type, t->n_bytes);
	return 0;
}

static int compare_offsets(const void *a, const void *b)
{
	const struct safetensor *x = a, *y = b;
	if (x->data != y->data)
		return (const char *)x->data < (const char *)y->data ? -1 : 1;
	return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp((*(const struct safetensor *const *)a)->name, (*(const struct safetensor *const *)b)->name);
}

/* The tensors tile the data: no overlap, no hole, nothing after the last. */
static int check_tiling(const struct safetensors *s, const uint8_t *data, size_t n_data, struct err *e)
{
	const char *at = (const char *)data;
	for (int i = 0; i < s->n; i++) {
		const struct safetensor *t = &s->tensors[i];
		if ((const char *)t->data != at)
			return bad_tensor(s, t->name, (const char *)t->data < at ? "overlaps the one before it"
									       : "leaves a hole before it", e);
		at += t->n_bytes;
	}
	if (at != (const char *)data + n_data)
		return err_run(e, "%s: %zu bytes follow the last tensor; the file is damaged", s->name,
			       (size_t)((const char *)data + n_data - at));
	return 0;
}

static int check_metadata(const struct safetensors *s, const json_t *metadata, struct err *e)
{
	const char *key;
	json_t *value;
	if (!json_is_object(metadata))
		return err_run(e, "%s: __metadata__ is not an object; the file is damaged", s->name);
	json_object_foreach((json_t *)metadata, key, value)
		if (!json_is_string(value))
			return err_run(e, "%s: __metadata__ \"%.100s\" is not a string; the file is damaged", s->name, key);
	return 0;
}

static int parse_header(struct safetensors *s, const uint8_t *data, size_t n_data, struct err *e)
{
	size_t n = json_object_size(s->header);
	const char *name;
	json_t *entry;
	s->tensors = calloc(n + 1, sizeof *s->tensors);
	s->by_name = calloc(n + 1, sizeof *s->by_name);
	if (!s->tensors || !s->by_name)
		return err_run(e, "%s: out of memory for the list of %zu tensors", s->name, n);
	json_object_foreach(s->header, name, entry) {
		if (!strcmp(name, "__metadata__")) {
			if (check_metadata(s, entry, e) < 0)
				return -1;
		} else if (parse_tensor(s, &s->tensors[s->n++], name, entry, data, n_data, e) < 0) {
			return -1;
		}
	}
	qsort(s->tensors, (size_t)s->n, sizeof *s->tensors, compare_offsets);
	for (int i = 0; i < s->n; i++)
		s->by_name[i] = &s->tensors[i];
	qsort(s->by_name, (size_t)s->n, sizeof *s->by_name, compare_names);
	return check_tiling(s, data, n_data, e);
}

static int open_bytes(struct safetensors *s, const uint8_t *bytes, size_t n_bytes, struct err *e)
{
	uint64_t n_header = 0;
	if (n_bytes < 8)
		return err_run(e, "%s: %zu bytes are too few for a safetensors file", s->name, n_bytes);
	for (int i = 0; i < 8; i++)
		n_header |= (uint64_t)bytes[i] << 8 * i;
	if (n_header > MAX_HEADER_BYTES)
		return err_run(e, "%s: header of %llu bytes, expected at most %u; not a safetensors file", s->name,
			       (unsigned long long)n_header, MAX_HEADER_BYTES);
	if (n_header > n_bytes - 8)
		return err_run(e, "%s: header of %llu bytes, but the file has %zu after the length; truncated or not a "
			       "safetensors file", s->name, (unsigned long long)n_header, n_bytes - 8);
	if (!n_header || bytes[8] != '{')
		return err_run(e, "%s: the header does not start with '{'; not a safetensors file", s->name);
	if (json_parse((const char *)bytes + 8, n_header, s->name, &s->header, e) < 0)
		return -1;
	if (!json_is_object(s->header))
		return err_run(e, "%s: the header is not a JSON object; the file is damaged", s->name);
	return parse_header(s, bytes + 8 + n_header, n_bytes - 8 - n_header, e);
}

static int new_file(struct safetensors **out, const char *name, struct err *e)
{
	struct safetensors *s = calloc(1, sizeof *s);
	*out = NULL;
	if (s)
		s->name = strdup(name);
	if (!s || !s->name) {
		free(s);
		return err_run(e, "%s: out of memory", name);
	}
	*out = s;
	return 0;
}

int safetensors_open_memory(struct safetensors **out, const void *data, size_t n_bytes, const char *name, struct err *e)
{
	if (new_file(out, name, e) < 0)
		return -1;
	if (open_bytes(*out, data, n_bytes, e) < 0) {
		safetensors_close(*out);
		*out = NULL;
		return -1;
	}
	return 0;
}

int safetensors_open(struct safetensors **out, const char *path, struct err *e)
{
	if (new_file(out, path, e) < 0)
		return -1;
	if (fsio_map(&(*out)->mapping, path, e) < 0 ||
	    open_bytes(*out, (*out)->mapping.data, (*out)->mapping.n_bytes, e) < 0) {
		safetensors_close(*out);
		*out = NULL;
		return -1;
	}
	return 0;
}

void safetensors_close(struct safetensors *s)
{
	if (!s)
		return;
	json_decref(s->header);
	fsio_unmap(&s->mapping);
	free(s->tensors);
	free(s->by_name);
	free(s->name);
	free(s);
}

int safetensors_count(const struct safetensors *s)
{
	return s->n;
}

const struct safetensor *safetensors_at(const struct safetensors *s, int i)
{
	BUG_ON(i < 0 || i >= s->n);
	return &s->tensors[i];
}

const struct safetensor *safetensors_find(const struct safetensors *s, const char *name)
{
	struct safetensor key = {.name = name};
	const struct safetensor *at = &key, **found;
	found = bsearch(&at, s->by_name, (size_t)s->n, sizeof *s->by_name, compare_names);
	return found ? *found : NULL;
}

const char *safetensors_metadata(const struct safetensors *s, const char *key)
{
	return json_string_value(json_object_get(json_object_get(s->header, "__metadata__"), key));
}

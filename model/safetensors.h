/* The safetensors container: mapped for reading, streamed for writing. Nothing in a file is believed before it is
 * checked: header length, JSON, offsets, overlaps, sizes against shapes. Source: the format's README.
 * Test: tests/test_safetensors.c, tests/fuzz/fuzz_safetensors.c */
#ifndef MODEL_SAFETENSORS_H
#define MODEL_SAFETENSORS_H

#include "base/err.h"
#include "kernels/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct safetensors; /* one open file */

struct safetensor {
	const char *name;
	char dtype_text[8]; /* as in the file; dtype is valid only when known */
	bool known;         /* F32, BF16 or F16 */
	enum dtype dtype;
	int n_dims;
	size_t dims[8];
	size_t n_elems, n_bytes;
	const void *data;   /* inside the mapping */
};

int safetensors_open(struct safetensors **out, const char *path, struct err *);
/* The same over bytes that the caller keeps (fuzzing, tests). */
int safetensors_open_memory(struct safetensors **out, const void *data, size_t n_bytes, const char *name, struct err *);
void safetensors_close(struct safetensors *); /* NULL is fine */
int safetensors_count(const struct safetensors *);
const struct safetensor *safetensors_at(const struct safetensors *, int i); /* in file (offset) order */
const struct safetensor *safetensors_find(const struct safetensors *, const char *name); /* NULL: absent */
/* Value of a key of __metadata__, NULL if absent. */
const char *safetensors_metadata(const struct safetensors *, const char *key);

/* Writing: declare every tensor, then give each one's bytes in order; committed atomically (base/fsio.h). */
struct safetensors_writer;
int safetensors_create(struct safetensors_writer **out, const char *path, struct err *);
void safetensors_declare_metadata(struct safetensors_writer *, const char *key, const char *value);
void safetensors_declare(struct safetensors_writer *, const char *name, enum dtype, int n_dims, const size_t *dims);
/* A tensor of another type, "I64", "F64", "U8", element size as given. */
void safetensors_declare_raw(struct safetensors_writer *, const char *name, const char *dtype_text, size_t elem_size,
                             int n_dims, const size_t *dims);
/* Bytes of the next declared tensor, possibly in several calls. */
int safetensors_write(struct safetensors_writer *, const void *data, size_t n_bytes, struct err *);
/* Every byte was given: fsync, rename. Frees the writer in any case. */
int safetensors_commit(struct safetensors_writer *, struct err *);
void safetensors_abort(struct safetensors_writer *); /* NULL is fine; removes the temporary file */

#endif

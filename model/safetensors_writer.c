/* Writing safetensors: a header of what was declared, then the bytes in that order. Test: tests/test_safetensors.c */
#include "base/fsio.h"
#include "base/json.h"
#include "model/safetensors.h"

#include <stdlib.h>
#include <string.h>

struct safetensors_writer {
	struct fsio_writer file;
	json_t *header;
	size_t declared, given; /* bytes of data */
	bool header_written;
	bool failed; /* out of memory while declaring: reported by the next call that can */
};

int safetensors_create(struct safetensors_writer **out, const char *path, struct err *e)
{
	struct safetensors_writer *w = calloc(1, sizeof *w);
	*out = NULL;
	if (w)
		w->header = json_object();
	if (!w || !w->header) {
		free(w);
		return err_run(e, "%s: out of memory", path);
	}
	if (fsio_writer_open(&w->file, path, e) < 0) {
		json_decref(w->header);
		free(w);
		return -1;
	}
	*out = w;
	return 0;
}

void safetensors_declare_metadata(struct safetensors_writer *w, const char *key, const char *value)
{
	json_t *metadata = json_object_get(w->header, "__metadata__");
	BUG_ON(w->header_written);
	if (!metadata) {
		metadata = json_object();
		if (json_object_set_new(w->header, "__metadata__", metadata) < 0) {
			w->failed = true;
			return;
		}
	}
	if (json_object_set_new(metadata, key, json_string(value)) < 0)
		w->failed = true;
}

void safetensors_declare(struct safetensors_writer *w, const char *name, enum dtype type, int n_dims, const size_t *dims)
{
	safetensors_declare_raw(w, name, dtype_name(type), dtype_size(type), n_dims, dims);
}

void safetensors_declare_raw(struct safetensors_writer *w, const char *name, const char *dtype_text, size_t elem_size,
			     int n_dims, const size_t *dims)
{
	size_t n_bytes = elem_size;
	json_t *shape = json_array(), *entry;
	BUG_ON(w->header_written || n_dims < 0 || n_dims > 8);
	BUG_ON(json_object_get(w->header, name) != NULL);
	for (int i = 0; i < n_dims; i++) {
		BUG_ON(__builtin_mul_overflow(n_bytes, dims[i], &n_bytes));
		if (json_array_append_new(shape, json_integer((json_int_t)dims[i])) < 0)
			w->failed = true;
	}
	entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_text, "shape", shape, "data_offsets",
			  (json_int_t)w->declared, (json_int_t)(w->declared + n_bytes));
	if (!entry || json_object_set_new(w->header, name, entry) < 0)
		w->failed = true;
	w->declared += n_bytes;
}

/* Padded with spaces so that the data start at a multiple of 8. */
static int write_header(struct safetensors_writer *w, struct err *e)
{
	char *text = w->failed ? NULL : json_dumps(w->header, JSON_COMPACT);
	if (!text)
		return err_run(e, "%s: out of memory for the header", w->file.path);
	size_t n_text = strlen(text), n_padded = (n_text + 7) / 8 * 8;
	uint8_t length[8];
	for (int i = 0; i < 8; i++)
		length[i] = (uint8_t)((uint64_t)n_padded >> 8 * i);
	w->header_written = true;
	int rc = -1;
	TRY(fsio_write(&w->file, length, sizeof length, e));
	TRY(fsio_write(&w->file, text, n_text, e));
	TRY(fsio_write(&w->file, "       ", n_padded - n_text, e));
	rc = 0;
out:
	free(text);
	return rc;
}

int safetensors_write(struct safetensors_writer *w, const void *data, size_t n_bytes, struct err *e)
{
	BUG_ON(n_bytes > w->declared - w->given);
	if (!w->header_written && write_header(w, e) < 0)
		return -1;
	w->given += n_bytes;
	return fsio_write(&w->file, data, n_bytes, e);
}

int safetensors_commit(struct safetensors_writer *w, struct err *e)
{
	int rc = -1;
	BUG_ON(w->given != w->declared);
	if (!w->header_written)
		TRY(write_header(w, e));
	TRY(fsio_writer_commit(&w->file, e));
	rc = 0;
out:
	safetensors_abort(w);
	return rc;
}

void safetensors_abort(struct safetensors_writer *w)
{
	if (!w)
		return;
	fsio_writer_abort(&w->file);
	json_decref(w->header);
	free(w);
}

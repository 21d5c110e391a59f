/* Rows of the vocabulary, streamed from the mapped source into files of the same names. */
#include "prune/trim.h"

#include "base/fsio.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"

struct trimming {
	const struct hf_model *hf;
	const struct trim_rows *rows;
	const char *dir;
	json_t *index;       /* of a sharded source, else NULL */
	float *row, *mean;   /* (C) */
	double *sums;        /* (C) */
};

int trim_vocab_size(const struct trim_rows *r)
{
	return (r->n + r->multiple - 1) / r->multiple * r->multiple;
}

static bool is_vocabulary(const struct trimming *t, int i)
{
	enum param_kind kind = t->hf->layout.tensors[i].kind;
	return kind == PARAM_EMBED || kind == PARAM_HEAD;
}

/* ---- one tensor ---- */

/* The mean of the kept rows in the tensor's type, into t->row. */
static void mean_row(const struct trimming *t, const struct safetensor *s)
{
	size_t C = s->dims[1], size = dtype_size(s->dtype);
	memset(t->sums, 0, C * sizeof *t->sums);
	for (int i = 0; i < t->rows->n; i++) {
		memcpy(t->row, (const char *)s->data + (size_t)t->rows->rows[i] * C * size, C * size);
		dtype_convert(t->mean, DTYPE_F32, t->row, s->dtype, C);
		for (size_t c = 0; c < C; c++)
			t->sums[c] += (double)t->mean[c];
	}
	for (size_t c = 0; c < C; c++)
		t->mean[c] = (float)(t->sums[c] / t->rows->n);
	dtype_convert(t->row, s->dtype, t->mean, DTYPE_F32, C);
}

static int write_rows(const struct trimming *t, struct safetensors_writer *w, const struct safetensor *s, struct err *e)
{
	size_t n_bytes = s->dims[1] * dtype_size(s->dtype);
	int V = trim_vocab_size(t->rows);
	for (int i = 0; i < t->rows->n; i++)
		if (safetensors_write(w, (const char *)s->data + (size_t)t->rows->rows[i] * n_bytes, n_bytes, e) < 0)
			return -1;
	if (V > t->rows->n)
		mean_row(t, s);
	for (int i = t->rows->n; i < V; i++)
		if (safetensors_write(w, t->row, n_bytes, e) < 0)
			return -1;
	return 0;
}

/* ---- files ---- */

/* The file that tensor i lies in, by name. */
static const char *file_of(const struct trimming *t, int i)
{
	const json_t *map = json_object_get(t->index, "weight_map");
	return t->index ? json_string_value(json_object_get(map, t->hf->layout.tensors[i].name)) : SINGLE;
}

static bool in_file(const struct trimming *t, int i, const char *file)
{
	const char *name = file_of(t, i);
	return name && !strcmp(name, file);
}

static int write_file(const struct trimming *t, const char *file, struct err *e)
{
	struct safetensors_writer *w = NULL;
	char *path = NULL;
	int n = t->hf->layout.n_tensors, rc = -1;
	if (asprintf(&path, "%s/%s", t->dir, file) < 0)
		return err_run(e, "%s: out of memory", t->dir);
	TRY(safetensors_create(&w, path, e));
	safetensors_declare_metadata(w, "format", "pt");
	for (int i = 0; i < n; i++) {
		const struct safetensor *s = t->hf->tensors[i];
		size_t rows = is_vocabulary(t, i) ? (size_t)trim_vocab_size(t->rows) : s->dims[0];
		if (in_file(t, i, file))
			safetensors_declare(w, s->name, s->dtype, s->n_dims, (const size_t[]){rows, s->n_dims > 1 ? s->dims[1] : 0});
	}
	for (int i = 0; i < n; i++) {
		const struct safetensor *s = t->hf->tensors[i];
		if (in_file(t, i, file))
			TRY(is_vocabulary(t, i) ? write_rows(t, w, s, e) : safetensors_write(w, s->data, s->n_bytes, e));
	}
	rc = safetensors_commit(w, e);
	w = NULL;
out:
	safetensors_abort(w);
	free(path);
	return rc;
}

static int write_json(const struct trimming *t, const char *name, json_t *value, struct err *e)
{
	char *path = NULL;
	int rc = -1;
	if (!value || asprintf(&path, "%s/%s", t->dir, name) < 0)
		err_run(e, "%s: out of memory for %s", t->dir, name);
	else
		rc = json_write_file(path, value, e);
	free(path);
	json_decref(value);
	return rc;
}

/* The source's index, if it has shards: as model/hf.c decides. */
static int read_index(struct trimming *t, struct err *e)
{
	char *single = NULL, *index = NULL;
	int rc = -1;
	if (asprintf(&single, "%s/" SINGLE, t->hf->dir) < 0 || asprintf(&index, "%s/" INDEX, t->hf->dir) < 0)
		err_run(e, "%s: out of memory", t->hf->dir);
	else
		rc = fsio_exists(single) ? 0 : json_read_file(index, &t->index, e);
	for (int i = 0; rc == 0 && i < t->hf->layout.n_tensors; i++)
		if (!file_of(t, i))
			rc = err_run(e, "%s: no file for tensor \"%s\"", index, t->hf->layout.tensors[i].name);
	free(single);
	free(index);
	return rc;
}

static int write_index(const struct trimming *t, struct err *e)
{
	json_t *map = json_object();
	size_t total = 0, removed = t->hf->layout.arch.shape.V - (size_t)trim_vocab_size(t->rows);
	for (int i = 0; i < t->hf->layout.n_tensors; i++) {
		const struct safetensor *s = t->hf->tensors[i];
		json_object_set_new(map, s->name, json_string(file_of(t, i)));
		total += s->n_bytes;
		if (is_vocabulary(t, i))
			total -= removed * s->dims[1] * dtype_size(s->dtype);
	}
	return write_json(t, INDEX, json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map), e);
}

/* Each file once, when its first tensor comes. */
static int write_weights(const struct trimming *t, struct err *e)
{
	for (int i = 0; i < t->hf->layout.n_tensors; i++) {
		const char *file = file_of(t, i);
		int first = 0;
		while (!in_file(t, first, file))
			first++;
		if (first == i && write_file(t, file, e) < 0)
			return -1;
	}
	return t->index ? write_index(t, e) : 0;
}

int prune_trim(const struct hf_model *hf, const struct trim_rows *rows, const json_t *config, const char *dir, struct err *e)
{
	struct trimming t = {.hf = hf, .rows = rows, .dir = dir};
	struct arch arch = hf->layout.arch;
	size_t C = (size_t)arch.shape.C;
	int rc = -1;
	BUG_ON(rows->n < 1 || rows->multiple < 1);
	for (int i = 0; i < rows->n; i++)
		BUG_ON(rows->rows[i] < 0 || rows->rows[i] >= arch.shape.V);
	arch.shape.V = trim_vocab_size(rows);
	t.row = malloc(C * sizeof *t.row);
	t.mean = malloc(C * sizeof *t.mean);
	t.sums = malloc(C * sizeof *t.sums);
	if (!t.row || !t.mean || !t.sums) {
		err_run(e, "%s: out of memory", dir);
		goto out;
	}
	TRY(read_index(&t, e));
	TRY(write_weights(&t, e));
	TRY(write_json(&t, "config.json", arch_to_config(&arch, config), e));
	rc = 0;
out:
	json_decref(t.index);
	free(t.row);
	free(t.mean);
	free(t.sums);
	return rc;
}

/* A Hugging Face directory out: weights, the files that travel along, and config.json last. Test: tests/test_hf.c */
#include "base/fsio.h"
#include "base/json.h"
#include "model/hf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SHARD_BYTES 5000000000u
#define CHUNK_ELEMS ((size_t)1 << 20)
#define SINGLE "model.safetensors"

static const char *const travelling[] = {
	"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
	"vocab.json", "merges.txt", "generation_config.json", "chat_template.jinja", "chat_template.json",
};

struct save {
	const char *dir;
	const struct param_layout *layout;
	const struct hf_rows *rows;
	enum dtype dtype;
	const enum dtype *types;
	size_t shard_bytes;
	int *first; /* (n_shards + 1) index of each shard's first tensor */
	int n_shards;
	char *chunk; /* rows_at_once() of any tensor */
};

static size_t row_elems(const struct hf_tensor *t)
{
	return t->cols ? t->cols : 1;
}

static size_t rows_at_once(const struct hf_tensor *t)
{
	size_t fit = CHUNK_ELEMS / row_elems(t);
	return fit < 1 ? 1 : fit < t->rows ? fit : t->rows;
}

static enum dtype type_of(const struct save *s, int tensor)
{
	return s->types ? s->types[tensor] : s->dtype;
}

static size_t tensor_bytes(const struct save *s, int tensor)
{
	const struct hf_tensor *t = &s->layout->tensors[tensor];
	return t->rows * row_elems(t) * dtype_size(type_of(s, tensor));
}

static void plan_shards(struct save *s)
{
	size_t in_shard = 0;
	s->n_shards = 0;
	for (int i = 0; i < s->layout->n_tensors; i++) {
		size_t n_bytes = tensor_bytes(s, i);
		if (i == 0 || in_shard + n_bytes > s->shard_bytes) {
			s->first[s->n_shards++] = i;
			in_shard = 0;
		}
		in_shard += n_bytes;
	}
	s->first[s->n_shards] = s->layout->n_tensors;
}

static void shard_name(const struct save *s, int shard, char *out, size_t size)
{
	if (s->n_shards == 1)
		snprintf(out, size, SINGLE);
	else
		snprintf(out, size, "model-%05d-of-%05d.safetensors", shard + 1, s->n_shards);
}

static int write_tensor(const struct save *s, struct safetensors_writer *w, int tensor, struct err *e)
{
	const struct hf_tensor *t = &s->layout->tensors[tensor];
	size_t step = rows_at_once(t), n_row = row_elems(t) * dtype_size(type_of(s, tensor));
	for (size_t i = 0; i < t->rows; i += step) {
		size_t n = t->rows - i < step ? t->rows - i : step;
		s->rows->read(s->rows->user, tensor, i, n, s->chunk, type_of(s, tensor));
		if (safetensors_write(w, s->chunk, n * n_row, e) < 0)
			return -1;
	}
	return 0;
}

static int write_shard(const struct save *s, int shard, struct err *e)
{
	struct safetensors_writer *w = NULL;
	const struct hf_tensor *tensors = s->layout->tensors;
	char name[64], *path = NULL;
	int rc = -1;
	shard_name(s, shard, name, sizeof name);
	if (asprintf(&path, "%s/%s", s->dir, name) < 0)
		return err_run(e, "%s: out of memory", s->dir);
	TRY(safetensors_create(&w, path, e));
	safetensors_declare_metadata(w, "format", "pt");
	for (int i = s->first[shard]; i < s->first[shard + 1]; i++)
		safetensors_declare(w, tensors[i].name, type_of(s, i), tensors[i].cols ? 2 : 1,
				    (const size_t[]){tensors[i].rows, tensors[i].cols});
	for (int i = s->first[shard]; i < s->first[shard + 1]; i++)
		TRY(write_tensor(s, w, i, e));
	rc = safetensors_commit(w, e);
	w = NULL;
out:
	safetensors_abort(w);
	free(path);
	return rc;
}

/* dir/name as JSON; takes the value. */
static int write_json(const char *dir, const char *name, json_t *value, struct err *e)
{
	char *path = NULL;
	int rc = -1;
	if (!value || asprintf(&path, "%s/%s", dir, name) < 0)
		err_run(e, "%s: out of memory for %s", dir, name);
	else
		rc = json_write_file(path, value, e);
	free(path);
	json_decref(value);
	return rc;
}

static int write_index(const struct save *s, struct err *e)
{
	json_t *map = json_object();
	size_t total = 0;
	for (int shard = 0; shard < s->n_shards; shard++) {
		char name[64];
		shard_name(s, shard, name, sizeof name);
		for (int i = s->first[shard]; i < s->first[shard + 1]; i++) {
			json_object_set_new(map, s->layout->tensors[i].name, json_string(name));
			total += tensor_bytes(s, i);
		}
	}
	return write_json(s->dir, "model.safetensors.index.json",
			  json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map), e);
}

static size_t chunk_elems(const struct param_layout *layout)
{
	size_t most = 1;
	for (int i = 0; i < layout->n_tensors; i++) {
		size_t n = rows_at_once(&layout->tensors[i]) * row_elems(&layout->tensors[i]);
		most = n > most ? n : most;
	}
	return most;
}

static int write_weights(struct save *s, struct err *e)
{
	char *left_over = NULL;
	int rc = -1;
	s->first = calloc((size_t)s->layout->n_tensors + 1, sizeof *s->first);
	s->chunk = malloc(chunk_elems(s->layout) * sizeof(float));
	if (!s->first || !s->chunk || asprintf(&left_over, "%s/%s", s->dir, SINGLE) < 0) {
		err_run(e, "%s: out of memory", s->dir);
		goto out;
	}
	plan_shards(s);
	for (int i = 0; i < s->n_shards; i++)
		TRY(write_shard(s, i, e));
	if (s->n_shards > 1) {
		/* A single file of a save that was killed would be taken for the weights. */
		TRY(fsio_remove_tree(left_over, e));
		TRY(write_index(s, e));
	}
	rc = 0;
out:
	free(left_over);
	free(s->first);
	free(s->chunk);
	return rc;
}

static int copy_travelling(const char *from, const char *to, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < sizeof travelling / sizeof *travelling && rc == 0; i++) {
		char *source = NULL, *target = NULL;
		if (asprintf(&source, "%s/%s", from, travelling[i]) < 0 ||
		    asprintf(&target, "%s/%s", to, travelling[i]) < 0)
			rc = err_run(e, "%s: out of memory", to);
		else if (fsio_exists(source))
			rc = fsio_copy_file(source, target, e);
		free(source);
		free(target);
	}
	return rc;
}

static int refuse_model(const char *dir, struct err *e)
{
	char *config;
	if (asprintf(&config, "%s/config.json", dir) < 0)
		return err_run(e, "%s: out of memory", dir);
	bool there = fsio_exists(config);
	free(config);
	return there ? err_run(e, "%s: holds a model already (config.json); name another directory", dir) : 0;
}

int hf_save_rows(const char *dir, const struct param_layout *layout, const struct hf_rows *rows, const struct hf_save_options *o,
		 struct err *e)
{
	struct save s = {.dir = dir, .layout = layout, .rows = rows, .dtype = o->dtype, .types = o->types,
			 .shard_bytes = o->shard_bytes ? o->shard_bytes : DEFAULT_SHARD_BYTES};
	struct arch arch = layout->arch;
	int rc = -1;
	arch.dtype = o->dtype;
	TRY(refuse_model(dir, e));
	TRY(fsio_mkdirs(dir, e));
	TRY(write_weights(&s, e));
	if (o->copy_from)
		TRY(copy_travelling(o->copy_from, dir, e));
	TRY(write_json(dir, "config.json", arch_to_config(&arch, o->config_from), e));
	rc = 0;
out:
	return rc;
}

struct flat {
	const struct param_layout *layout;
	const float *elems;
};

static void flat_rows(void *user, int tensor, size_t first, size_t n, void *out, enum dtype type)
{
	const struct flat *f = user;
	const struct hf_tensor *t = &f->layout->tensors[tensor];
	dtype_convert(out, type, f->elems + t->offset + first * row_elems(t), DTYPE_F32, n * row_elems(t));
}

int hf_save(const char *dir, const struct param_layout *layout, const float *flat, const struct hf_save_options *o,
	    struct err *e)
{
	struct flat f = {layout, flat};
	return hf_save_rows(dir, layout, &(struct hf_rows){flat_rows, &f}, o, e);
}

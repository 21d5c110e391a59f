/* A checkpoint of any size that takes no room: headers, an index, and holes where the weights would lie (all zero). */
#ifndef TESTS_SPARSE_MODEL_H
#define TESTS_SPARSE_MODEL_H

#include "base/fsio.h"
#include "base/json.h"
#include "model/hf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline size_t sparse_tensor_bytes(const struct hf_tensor *t, enum dtype type)
{
	return t->rows * (t->cols ? t->cols : 1) * dtype_size(type);
}

/* Tensors [first, last) as a file of a header and a hole; notes them in the index. */
static inline int sparse_shard(const char *dir, const char *name, const struct param_layout *layout, int first, int last, json_t *map, struct err *e)
{
	enum dtype type = layout->arch.dtype;
	json_t *header = json_object();
	size_t at = 0;
	char path[4200];
	for (int i = first; i < last; i++) {
		const struct hf_tensor *t = &layout->tensors[i];
		json_t *dims = t->cols ? json_pack("[I,I]", (json_int_t)t->rows, (json_int_t)t->cols) : json_pack("[I]", (json_int_t)t->rows);
		size_t end = at + sparse_tensor_bytes(t, type);
		json_object_set_new(header, t->name, json_pack("{s:s,s:o,s:[I,I]}", "dtype", dtype_name(type), "shape", dims, "data_offsets",
								(json_int_t)at, (json_int_t)end));
		json_object_set_new(map, t->name, json_string(name));
		at = end;
	}
	char *text = json_dumps(header, JSON_COMPACT);
	size_t n_header = strlen(text), n_file = 8 + n_header;
	char *file = malloc(n_file);
	BUG_ON(!file);
	for (int i = 0; i < 8; i++)
		file[i] = (char)(uint8_t)(n_header >> 8 * i);
	memcpy(file + 8, text, n_header);
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int rc = fsio_write_file(path, file, n_file, e);
	BUG_ON(rc == 0 && truncate(path, (off_t)(n_file + at)) < 0);
	free(file);
	free(text);
	json_decref(header);
	return rc;
}

/* dir is made. Files of at most shard_bytes under an index. Returns how many, or -1. */
static inline int sparse_model(const char *dir, const struct arch *arch, size_t shard_bytes, struct err *e)
{
	struct param_layout layout;
	char path[4200], name[64];
	int first = 0, n_shards = 0, rc = 0;
	size_t n_bytes = 0;
	if (fsio_mkdirs(dir, e) < 0 || param_layout_init(&layout, arch, e) < 0)
		return -1;
	json_t *map = json_object();
	for (int i = 0; i <= layout.n_tensors && rc == 0; i++) {
		bool end = i == layout.n_tensors;
		if (end || n_bytes + sparse_tensor_bytes(&layout.tensors[i], arch->dtype) > shard_bytes) {
			snprintf(name, sizeof name, "sparse-%d.safetensors", ++n_shards);
			rc = sparse_shard(dir, name, &layout, first, i, map, e);
			first = i;
			n_bytes = 0;
		}
		n_bytes += end ? 0 : sparse_tensor_bytes(&layout.tensors[i], arch->dtype);
	}
	json_t *index = json_pack("{s:o}", "weight_map", map), *config = arch_to_config(arch, NULL);
	snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
	rc = rc < 0 ? -1 : json_write_file(path, index, e);
	snprintf(path, sizeof path, "%s/config.json", dir);
	rc = rc < 0 ? -1 : json_write_file(path, config, e);
	json_decref(index);
	json_decref(config);
	param_layout_release(&layout);
	return rc < 0 ? -1 : n_shards;
}

#endif

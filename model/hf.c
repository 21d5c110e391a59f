/* A Hugging Face directory in: config, files, and a check that every tensor of the layout is there. hf_save.c writes.
 * Test: tests/test_hf.c */
#include "model/hf.h"

#include "base/fsio.h"
#include "base/hash.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* dir/name, to be freed. NULL: out of memory. */
static char *join(const char *dir, const char *name)
{
	char *path;
	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

static int read_config(struct hf_model *m, struct err *e)
{
	struct arch arch;
	char *path = join(m->dir, "config.json");
	int rc = -1;
	if (!fsio_is_dir(m->dir)) {
		err_run(e, "%s: %s; expected a directory with config.json and *.safetensors", m->dir,
			fsio_exists(m->dir) ? "not a directory" : "no such directory");
		goto out;
	}
	if (!path) {
		err_run(e, "%s: out of memory", m->dir);
		goto out;
	}
	TRY(json_read_file(path, &m->config, e));
	TRY(arch_from_config(&arch, m->config, path, e));
	TRY(param_layout_init(&m->layout, &arch, e));
	rc = 0;
out:
	free(path);
	return rc;
}

static int open_file(struct hf_model *m, const char *name, struct err *e)
{
	char *path = join(m->dir, name);
	int rc = path ? safetensors_open(&m->files[m->n_files], path, e) : err_run(e, "%s: out of memory", m->dir);
	m->n_files += rc == 0;
	free(path);
	return rc;
}

/* A name from an index is a file beside it, never a path elsewhere. */
static bool plain_name(const char *name)
{
	return name && *name && *name != '.' && !strchr(name, '/');
}

/* Names the shards of an index once each. files has room for as many as the map has entries. */
static int index_files(json_t *map, const char *path, const char **files, int *n, struct err *e)
{
	const char *tensor;
	json_t *value, *seen = json_object();
	*n = 0;
	json_object_foreach(map, tensor, value) {
		const char *file = json_string_value(value);
		if (!plain_name(file)) {
			json_decref(seen);
			return err_run(e, "%s: weight_map of \"%.100s\": expected the name of a file beside it", path, tensor);
		}
		if (!json_object_get(seen, file)) {
			json_object_set_new(seen, file, json_true());
			files[(*n)++] = file;
		}
	}
	json_decref(seen);
	return 0;
}

static int open_shards(struct hf_model *m, const char *index_path, struct err *e)
{
	json_t *index = NULL, *map = NULL;
	const char **names = NULL;
	int n = 0, rc = -1;
	TRY(json_read_file(index_path, &index, e));
	TRY(json_get_child(index, index_path, "weight_map", JSON_OBJECT, &map, e));
	if (!json_object_size(map)) {
		err_run(e, "%s: no weight_map", index_path);
		goto out;
	}
	names = calloc(json_object_size(map), sizeof *names);
	m->files = calloc(json_object_size(map), sizeof *m->files);
	if (!names || !m->files) {
		err_run(e, "%s: out of memory", index_path);
		goto out;
	}
	TRY(index_files(map, index_path, names, &n, e));
	for (int i = 0; i < n; i++)
		if (open_file(m, names[i], e) < 0) {
			err_prefix(e, "%s", index_path);
			goto out;
		}
	rc = 0;
out:
	free(names);
	json_decref(index);
	return rc;
}

static int open_files(struct hf_model *m, struct err *e)
{
	char *index = join(m->dir, "model.safetensors.index.json"), *single = join(m->dir, "model.safetensors");
	char *pickle = join(m->dir, "pytorch_model.bin");
	int rc = -1;
	if (!index || !single || !pickle) {
		err_run(e, "%s: out of memory", m->dir);
	} else if (!fsio_exists(single) && fsio_exists(index)) {
		rc = open_shards(m, index, e);
	} else if (!fsio_exists(single)) {
		err_run(e, "%s: no model.safetensors and no model.safetensors.index.json%s", m->dir,
			fsio_exists(pickle) ? "; convert pytorch_model.bin with transformers' save_pretrained" : "");
	} else {
		m->files = calloc(1, sizeof *m->files);
		rc = m->files ? open_file(m, "model.safetensors", e) : err_run(e, "%s: out of memory", m->dir);
	}
	free(index);
	free(single);
	free(pickle);
	return rc;
}

static int find_tensor(struct hf_model *m, const char *name, const struct safetensor **out, int *file, struct err *e)
{
	*out = NULL;
	for (int i = 0; i < m->n_files; i++) {
		const struct safetensor *t = safetensors_find(m->files[i], name);
		if (t && *out)
			return err_run(e, "%s: tensor \"%s\" stands in two files", m->dir, name);
		if (t) {
			*out = t;
			*file = i;
		}
	}
	return 0;
}

static void print_dims(char *out, size_t size, int n, const size_t *dims)
{
	size_t at = (size_t)snprintf(out, size, "[");
	for (int i = 0; i < n && at < size; i++)
		at += (size_t)snprintf(out + at, size - at, i ? ", %zu" : "%zu", dims[i]);
	if (at < size)
		snprintf(out + at, size - at, "]");
}

static int check_tensor(const struct hf_model *m, const struct hf_tensor *want, const struct safetensor *found,
			struct err *e)
{
	const size_t dims[2] = {want->rows, want->cols};
	int n_dims = want->cols ? 2 : 1;
	char expected[64], got[200];
	if (!found)
		return err_run(e, "%s: tensor \"%s\" is missing; config.json (%s, %d layers) asks for it", m->dir, want->name,
			       m->layout.arch.family, m->layout.arch.shape.L);
	if (found->n_dims != n_dims || memcmp(found->dims, dims, (size_t)n_dims * sizeof *dims) != 0) {
		print_dims(expected, sizeof expected, n_dims, dims);
		print_dims(got, sizeof got, found->n_dims, found->dims);
		return err_run(e, "%s: tensor \"%s\" has shape %s, config.json asks for %s", m->dir, want->name, got, expected);
	}
	if (!found->known)
		return err_run(e, "%s: tensor \"%s\" has type %s; supported: F32, BF16, F16", m->dir, want->name,
			       found->dtype_text);
	return 0;
}

/* Tensors that a file may hold besides the layout's. */
static int check_stranger(const struct hf_model *m, const struct safetensor *t, struct err *e)
{
	const char *inv_freq = "rotary_emb.inv_freq";
	size_t n = strlen(t->name), k = strlen(inv_freq);
	if (n >= k && !strcmp(t->name + n - k, inv_freq))
		return 0;
	if (!strcmp(t->name, "lm_head.weight") && m->layout.arch.tied) {
		const struct safetensor *embed = m->tensors[0];
		if (t->n_bytes == embed->n_bytes && !memcmp(t->data, embed->data, t->n_bytes))
			return 0;
		return err_run(e, "%s: tie_word_embeddings is true, but lm_head.weight differs from the embedding; "
			       "mend config.json or remove the tensor", m->dir);
	}
	return err_run(e, "%s: tensor \"%.200s\" is not part of a %s model with this config.json", m->dir, t->name,
		       m->layout.arch.family);
}

static bool in_layout(const struct hf_model *m, const struct safetensor *t)
{
	for (int i = 0; i < m->layout.n_tensors; i++)
		if (m->tensors[i] == t)
			return true;
	return false;
}

static int match_tensors(struct hf_model *m, struct err *e)
{
	int n = m->layout.n_tensors, n_found = 0, file;
	m->tensors = calloc((size_t)n, sizeof *m->tensors);
	if (!m->tensors)
		return err_run(e, "%s: out of memory", m->dir);
	for (int i = 0; i < n; i++)
		if (find_tensor(m, m->layout.tensors[i].name, &m->tensors[i], &file, e) < 0 ||
		    check_tensor(m, &m->layout.tensors[i], m->tensors[i], e) < 0)
			return -1;
	for (int f = 0; f < m->n_files; f++)
		n_found += safetensors_count(m->files[f]);
	if (n_found == n)
		return 0;
	for (int f = 0; f < m->n_files; f++)
		for (int i = 0; i < safetensors_count(m->files[f]); i++) {
			const struct safetensor *t = safetensors_at(m->files[f], i);
			if (!in_layout(m, t) && check_stranger(m, t, e) < 0)
				return -1;
		}
	return 0;
}

int hf_open(struct hf_model *m, const char *dir, struct err *e)
{
	int rc = -1;
	*m = (struct hf_model){.dir = strdup(dir)};
	if (!m->dir)
		return err_run(e, "%s: out of memory", dir);
	TRY(read_config(m, e));
	TRY(open_files(m, e));
	TRY(match_tensors(m, e));
	rc = 0;
out:
	if (rc < 0)
		hf_close(m);
	return rc;
}

void hf_close(struct hf_model *m)
{
	for (int i = 0; i < m->n_files; i++)
		safetensors_close(m->files[i]);
	free(m->files);
	free(m->tensors);
	free(m->dir);
	json_decref(m->config);
	param_layout_release(&m->layout);
	*m = (struct hf_model){0};
}

uint64_t hf_hash(const struct hf_model *m)
{
	struct hash h;
	char *config = json_dumps(m->config, JSON_COMPACT | JSON_SORT_KEYS);
	BUG_ON(!config);
	hash_init(&h);
	hash_update(&h, config, strlen(config));
	free(config);
	for (int i = 0; i < m->layout.n_tensors; i++)
		hash_update(&h, m->tensors[i]->data, m->tensors[i]->n_bytes);
	return hash_final(&h);
}

/* Files may lay tensors at odd addresses: those go through an aligned buffer. */
static void convert_any(void *out, enum dtype to, const void *data, enum dtype from, size_t n)
{
	uint64_t bounce[512];
	size_t size = dtype_size(from), step = sizeof bounce / size;
	if ((uintptr_t)data % size == 0) {
		dtype_convert(out, to, data, from, n);
		return;
	}
	for (size_t i = 0; i < n; i += step) {
		size_t k = n - i < step ? n - i : step;
		memcpy(bounce, (const char *)data + i * size, k * size);
		dtype_convert((char *)out + i * dtype_size(to), to, bounce, from, k);
	}
}

void hf_read_tensor(const struct hf_model *m, int tensor, void *out, enum dtype type)
{
	BUG_ON(tensor < 0 || tensor >= m->layout.n_tensors);
	const struct safetensor *t = m->tensors[tensor];
	convert_any(out, type, t->data, t->dtype, t->n_elems);
}

void hf_read_f32(const struct hf_model *m, float *flat)
{
	memset(flat, 0, m->layout.n_elems * sizeof *flat);
	for (int i = 0; i < m->layout.n_tensors; i++)
		hf_read_tensor(m, i, flat + m->layout.tensors[i].offset, DTYPE_F32);
}

/* masks.safetensors: what the header says, nothing believed before it is checked. Test: tests/test_masks_file.c */
#include "prune/mask_learner.h"

#include "prune/array_file.h"

#include <stdlib.h>
#include <string.h>

enum { N_ARRAYS = 4 };

static void list_entries(struct array_entry entries[N_ARRAYS], const struct arch *source, const struct host_masks *m)
{
	const struct shape *s = &source->shape;
	size_t C = (size_t)s->C, L = (size_t)s->L, NH = (size_t)s->NH, F = (size_t)s->F;
	entries[0] = (struct array_entry){"hidden", 1, {C, 0}, m->hidden};
	entries[1] = (struct array_entry){"layers", 1, {L, 0}, m->layers};
	entries[2] = (struct array_entry){"heads", 2, {L, NH}, m->heads};
	entries[3] = (struct array_entry){"ffn", 2, {L, F}, m->ffn};
}

int masks_save(const char *path, const struct arch *source, const struct host_masks *m, struct err *e)
{
	struct array_entry entries[N_ARRAYS];
	struct safetensors_writer *w;
	list_entries(entries, source, m);
	if (safetensors_create(&w, path, e) < 0)
		return -1;
	safetensors_declare_metadata(w, "format", "pt");
	return arrays_write(w, entries, N_ARRAYS, e);
}

static int check_values(const char *path, const char *name, const float *z, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (!(z[i] >= 0 && z[i] <= 1))
			return err_run(e, "%s: tensor '%s': element %zu is %g, a mask is in [0, 1]", path, name, i, (double)z[i]);
	return 0;
}

static int check_names(const char *path, const struct safetensors *file, const struct array_entry *entries, struct err *e)
{
	int n = safetensors_count(file);
	for (int i = 0; i < n; i++) {
		if (!array_is_known(entries, N_ARRAYS, safetensors_at(file, i)->name))
			return err_run(e, "%s: unknown tensor '%s'; a masks file holds hidden, layers, heads, ffn", path,
				       safetensors_at(file, i)->name);
	}
	return n ? 0 : err_run(e, "%s: no masks in it; expected some of hidden, layers, heads, ffn", path);
}

static int read_arrays(const char *path, const struct safetensors *file, const struct array_entry *entries, float *at,
		       struct host_masks *out, struct err *e)
{
	float **arrays[N_ARRAYS] = {&out->hidden, &out->layers, &out->heads, &out->ffn};
	for (int i = 0; i < N_ARRAYS; i++) {
		const struct safetensor *t = safetensors_find(file, entries[i].name);
		size_t n = array_elems(&entries[i]);
		if (!t)
			continue;
		if (array_check(path, t, &entries[i], "masks", e) < 0)
			return -1;
		memcpy(at, t->data, n * sizeof *at);
		if (check_values(path, entries[i].name, at, n, e) < 0)
			return -1;
		*arrays[i] = at;
		at += n;
	}
	return 0;
}

int masks_load(const char *path, const struct arch *source, struct host_masks *out, void **block, struct err *e)
{
	struct array_entry entries[N_ARRAYS];
	struct safetensors *file = NULL;
	size_t n = 0;
	int rc = -1;
	*out = (struct host_masks){0};
	*block = NULL;
	list_entries(entries, source, out);
	for (int i = 0; i < N_ARRAYS; i++)
		n += array_elems(&entries[i]);
	TRY(safetensors_open(&file, path, e));
	TRY(check_names(path, file, entries, e));
	*block = malloc(n * sizeof(float));
	if (!*block) {
		err_run(e, "%s: out of memory", path);
		goto out;
	}
	TRY(read_arrays(path, file, entries, *block, out, e));
	rc = 0;
out:
	safetensors_close(file);
	if (rc < 0) {
		free(*block);
		*block = NULL;
		*out = (struct host_masks){0};
	}
	return rc;
}

/* masks.safetensors: what the header says, nothing believed before it is checked. Test: tests/test_masks_file.c */
#include "prune/mask_learner.h"

#include "model/safetensors.h"

#include <stdlib.h>
#include <string.h>

enum { N_ARRAYS = 4 };

struct entry {
	const char *name;
	int n_dims;
	size_t dims[2];
};

static size_t entry_size(const struct entry *x)
{
	return x->dims[0] * (x->n_dims == 2 ? x->dims[1] : 1);
}

static void list_entries(struct entry entries[N_ARRAYS], const struct arch *source)
{
	const struct shape *s = &source->shape;
	size_t C = (size_t)s->C, L = (size_t)s->L, NH = (size_t)s->NH, F = (size_t)s->F;
	entries[0] = (struct entry){"hidden", 1, {C, 0}};
	entries[1] = (struct entry){"layers", 1, {L, 0}};
	entries[2] = (struct entry){"heads", 2, {L, NH}};
	entries[3] = (struct entry){"ffn", 2, {L, F}};
}

int masks_save(const char *path, const struct arch *source, const struct host_masks *m, struct err *e)
{
	const float *const arrays[N_ARRAYS] = {m->hidden, m->layers, m->heads, m->ffn};
	struct entry entries[N_ARRAYS];
	struct safetensors_writer *w;
	list_entries(entries, source);
	if (safetensors_create(&w, path, e) < 0)
		return -1;
	safetensors_declare_metadata(w, "format", "pt");
	for (int i = 0; i < N_ARRAYS; i++)
		if (arrays[i])
			safetensors_declare(w, entries[i].name, DTYPE_F32, entries[i].n_dims, entries[i].dims);
	for (int i = 0; i < N_ARRAYS; i++)
		if (arrays[i] && safetensors_write(w, arrays[i], entry_size(&entries[i]) * sizeof(float), e) < 0) {
			safetensors_abort(w);
			return -1;
		}
	return safetensors_commit(w, e);
}

static void shape_text(char *out, size_t n, int n_dims, const size_t *dims)
{
	size_t at = 0;
	out[0] = '\0';
	for (int i = 0; i < n_dims && at < n; i++)
		at += (size_t)snprintf(out + at, n - at, "%s%zu", i ? ", " : "", dims[i]);
}

static int check_values(const char *path, const char *name, const float *z, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (!(z[i] >= 0 && z[i] <= 1))
			return err_run(e, "%s: tensor '%s': element %zu is %g, a mask is in [0, 1]", path, name, i, (double)z[i]);
	return 0;
}

static int check_tensor(const char *path, const struct safetensor *t, const struct entry *x, struct err *e)
{
	char found[128], wanted[64];
	if (!t->known || t->dtype != DTYPE_F32)
		return err_run(e, "%s: tensor '%s' has type %s, masks are F32", path, x->name, t->dtype_text);
	if (t->n_dims != x->n_dims || memcmp(t->dims, x->dims, (size_t)x->n_dims * sizeof *x->dims)) {
		shape_text(found, sizeof found, t->n_dims, t->dims);
		shape_text(wanted, sizeof wanted, x->n_dims, x->dims);
		return err_run(e, "%s: tensor '%s' has shape (%s), the model wants (%s); are these masks of another model?",
			       path, x->name, found, wanted);
	}
	return 0;
}

static int check_names(const char *path, const struct safetensors *file, const struct entry *entries, struct err *e)
{
	int n = safetensors_count(file);
	for (int i = 0; i < n; i++) {
		bool known = false;
		for (int k = 0; k < N_ARRAYS; k++)
			known = known || !strcmp(safetensors_at(file, i)->name, entries[k].name);
		if (!known)
			return err_run(e, "%s: unknown tensor '%s'; a masks file holds hidden, layers, heads, ffn", path,
				       safetensors_at(file, i)->name);
	}
	return n ? 0 : err_run(e, "%s: no masks in it; expected some of hidden, layers, heads, ffn", path);
}

static int read_arrays(const char *path, const struct safetensors *file, const struct entry *entries, float *at,
		       struct host_masks *out, struct err *e)
{
	float **arrays[N_ARRAYS] = {&out->hidden, &out->layers, &out->heads, &out->ffn};
	for (int i = 0; i < N_ARRAYS; i++) {
		const struct safetensor *t = safetensors_find(file, entries[i].name);
		size_t n = entry_size(&entries[i]);
		if (!t)
			continue;
		if (check_tensor(path, t, &entries[i], e) < 0)
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
	struct entry entries[N_ARRAYS];
	struct safetensors *file = NULL;
	size_t n = 0;
	int rc = -1;
	*out = (struct host_masks){0};
	*block = NULL;
	list_entries(entries, source);
	for (int i = 0; i < N_ARRAYS; i++)
		n += entry_size(&entries[i]);
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

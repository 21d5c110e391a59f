/* A student's state on disk: one safetensors file, written under a temporary name and renamed. Knows nothing of what the
 * caller's metadata mean. Test: tests/test_checkpoint.c */
#include "student/projections.h"

#include "model/safetensors.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_ELEMS ((size_t)1 << 20) /* that pass through the host at a time */
#define KEY_LAYOUT "espalier.layout"
#define KEY_STEP "espalier.step"
#define KEY_PROJECTIONS "espalier.projections" /* only where there are any */
#define KEY_STATE "espalier.state"

struct flat {
	const char *name;
	float *device;
	size_t n_elems;
};
enum { MAX_FLATS = 6, DESCRIPTION = 1024 };

/* Returns how many there are; the masters come first. */
static int flats_of(const struct student *s, struct flat out[MAX_FLATS])
{
	const struct projections *p = s->projections;
	size_t n = s->layout.n_elems;
	int at = 0;
	out[at++] = (struct flat){"master", s->params.master, n};
	if (!s->options.frozen) {
		out[at++] = (struct flat){"m", s->m, n};
		out[at++] = (struct flat){"v", s->v, n};
	}
	if (!p)
		return at;
	out[at++] = (struct flat){"projections", p->w, p->n_elems};
	out[at++] = (struct flat){"projections.m", p->m, p->n_elems};
	out[at++] = (struct flat){"projections.v", p->v, p->n_elems};
	return at;
}

/* Everything that decides where an element lies, in words that an error can show. */
static void describe(const struct arch *a, char *out, size_t n)
{
	const struct shape *s = &a->shape;
	snprintf(out, n, "%s, %d layers, hidden %d, intermediate %d, heads %d, kv_heads %d, head_dim %d, vocabulary %d%s%s%s%s%s",
		 a->family, s->L, s->C, s->F, s->NH, s->NKV, s->HD, s->V, a->tied ? ", tied" : "",
		 a->qkv_bias ? ", qkv bias" : "", a->o_bias ? ", o bias" : "", a->mlp_bias ? ", mlp bias" : "",
		 a->qk_norm ? ", q/k norm" : "");
}

static void extra_name(const struct checkpoint_array *a, char *out, size_t n)
{
	snprintf(out, n, "extra.%s", a->name);
}

static void declare(struct safetensors_writer *w, const struct student *s, const char *metadata,
		    const struct checkpoint_array *extra, int n_extra)
{
	char text[DESCRIPTION];
	struct flat flats[MAX_FLATS];
	int n_flats = flats_of(s, flats);
	describe(&s->layout.arch, text, sizeof text);
	safetensors_declare_metadata(w, KEY_LAYOUT, text);
	snprintf(text, sizeof text, "%d", s->step);
	safetensors_declare_metadata(w, KEY_STEP, text);
	safetensors_declare_metadata(w, KEY_STATE, metadata);
	if (s->projections) {
		projections_describe(s->projections, text, sizeof text);
		safetensors_declare_metadata(w, KEY_PROJECTIONS, text);
	}
	for (int i = 0; i < n_flats; i++)
		safetensors_declare(w, flats[i].name, DTYPE_F32, 1, &flats[i].n_elems);
	for (int i = 0; i < n_extra; i++) {
		extra_name(&extra[i], text, sizeof text);
		safetensors_declare_raw(w, text, "U8", 1, 1, &extra[i].n_bytes);
	}
}

static int write_flat(struct safetensors_writer *w, struct ops *ops, const struct flat *f, float *block, struct err *e)
{
	for (size_t at = 0; at < f->n_elems; at += BLOCK_ELEMS) {
		size_t n = f->n_elems - at < BLOCK_ELEMS ? f->n_elems - at : BLOCK_ELEMS;
		ops->download(ops, block, f->device + at, n * sizeof *block);
		if (safetensors_write(w, block, n * sizeof *block, e) < 0)
			return -1;
	}
	return 0;
}

int checkpoint_save(const char *path, const struct student *s, const char *metadata, const struct checkpoint_array *extra,
		    int n_extra, struct err *e)
{
	struct safetensors_writer *w = NULL;
	struct flat flats[MAX_FLATS];
	int rc = -1, n_flats = flats_of(s, flats);
	float *block = malloc(BLOCK_ELEMS * sizeof *block);
	if (!block)
		return err_run(e, "%s: out of memory for a block of %zu bytes", path, BLOCK_ELEMS * sizeof *block);
	TRY(safetensors_create(&w, path, e));
	declare(w, s, metadata, extra, n_extra);
	for (int i = 0; i < n_flats; i++)
		TRY(write_flat(w, s->ops, &flats[i], block, e));
	for (int i = 0; i < n_extra; i++)
		TRY(safetensors_write(w, extra[i].data, extra[i].n_bytes, e));
	rc = safetensors_commit(w, e);
	w = NULL;
out:
	safetensors_abort(w);
	free(block);
	return rc;
}

static int check_layout(const struct safetensors *f, const char *path, const struct student *s, struct err *e)
{
	char want[DESCRIPTION];
	const char *found = safetensors_metadata(f, KEY_LAYOUT);
	describe(&s->layout.arch, want, sizeof want);
	if (!found)
		return err_run(e, "%s: not a checkpoint of a student (no %s)", path, KEY_LAYOUT);
	if (strcmp(found, want))
		return err_run(e, "%s: a checkpoint of another model: it holds %.300s; expected %s", path, found, want);
	found = safetensors_metadata(f, KEY_PROJECTIONS);
	projections_describe(s->projections, want, sizeof want);
	if (strcmp(found ? found : "none", want))
		return err_run(e, "%s: a checkpoint with other learned projections: %.300s; expected %.300s", path,
			       found ? found : "none", want);
	return 0;
}

static int read_step(const struct safetensors *f, const char *path, int *step, struct err *e)
{
	const char *text = safetensors_metadata(f, KEY_STEP);
	char *end = NULL;
	long value = text ? strtol(text, &end, 10) : -1;
	if (!text || end == text || *end || value < 0 || value > INT_MAX)
		return err_run(e, "%s: %s is %.40s; expected a count of steps", path, KEY_STEP, text ? text : "absent");
	*step = (int)value;
	return 0;
}

static int find_tensor(const struct safetensors *f, const char *path, const char *name, const char *type, size_t n_bytes,
		       const void **data, struct err *e)
{
	const struct safetensor *t = safetensors_find(f, name);
	if (!t)
		return err_run(e, "%s: no tensor \"%s\" in this checkpoint", path, name);
	if (strcmp(t->dtype_text, type) || t->n_bytes != n_bytes)
		return err_run(e, "%s: tensor \"%s\" holds %zu bytes of %s; expected %zu of %s", path, name, t->n_bytes,
			       t->dtype_text, n_bytes, type);
	*data = t->data;
	return 0;
}

/* Everything that can be wrong, before anything is touched. */
static int check_tensors(const struct safetensors *f, const char *path, const struct student *s,
			 const struct checkpoint_array *extra, int n_extra, struct err *e)
{
	struct flat flats[MAX_FLATS];
	const void *data;
	char name[128];
	int n_flats = flats_of(s, flats);
	for (int i = 0; i < n_flats; i++)
		if (find_tensor(f, path, flats[i].name, "F32", flats[i].n_elems * sizeof(float), &data, e) < 0)
			return -1;
	for (int i = 0; i < n_extra; i++) {
		extra_name(&extra[i], name, sizeof name);
		if (find_tensor(f, path, name, "U8", extra[i].n_bytes, &data, e) < 0)
			return -1;
	}
	if (safetensors_count(f) != n_flats + n_extra)
		return err_run(e, "%s: %d tensors in this checkpoint, expected %d: it belongs to another kind of stage", path,
			       safetensors_count(f), n_flats + n_extra);
	return 0;
}

static void take(const struct safetensors *f, struct student *s, const struct checkpoint_array *extra, int n_extra)
{
	struct flat flats[MAX_FLATS];
	char name[128];
	int n_flats = flats_of(s, flats);
	for (int i = 1; i < n_flats; i++)
		s->ops->upload(s->ops, flats[i].device, safetensors_find(f, flats[i].name)->data,
			       flats[i].n_elems * sizeof(float));
	student_load(s, safetensors_find(f, flats[0].name)->data);
	for (int i = 0; i < n_extra; i++) {
		extra_name(&extra[i], name, sizeof name);
		memcpy(extra[i].data, safetensors_find(f, name)->data, extra[i].n_bytes);
	}
}

int checkpoint_load(const char *path, struct student *s, char **metadata, const struct checkpoint_array *extra, int n_extra,
		    struct err *e)
{
	struct safetensors *f = NULL;
	int rc = -1, step = 0;
	*metadata = NULL;
	TRY(safetensors_open(&f, path, e));
	TRY(check_layout(f, path, s, e));
	TRY(read_step(f, path, &step, e));
	TRY(check_tensors(f, path, s, extra, n_extra, e));
	const char *state = safetensors_metadata(f, KEY_STATE);
	*metadata = strdup(state ? state : "");
	if (!*metadata) {
		err_run(e, "%s: out of memory for its metadata", path);
		goto out;
	}
	take(f, s, extra, n_extra);
	s->step = step;
	rc = 0;
out:
	safetensors_close(f);
	return rc;
}

/* importance.safetensors: what the header says, nothing believed before it is checked. Test: tests/test_scores_file.c */
#include "prune/scores.h"

#include "base/hash.h"
#include "prune/array_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_ARRAYS = 7, N_PLAIN = 5 };

static int list_entries(struct array_entry entries[N_ARRAYS], const struct arch *source, const struct scores *x)
{
	const struct shape *s = &source->shape;
	size_t C = (size_t)s->C, L = (size_t)s->L, NH = (size_t)s->NH, NKV = (size_t)s->NKV, F = (size_t)s->F;
	entries[0] = (struct array_entry){"hidden", 1, {C, 0}, x->hidden};
	entries[1] = (struct array_entry){"layers", 1, {L, 0}, x->layers};
	entries[2] = (struct array_entry){"groups", 2, {L, NKV}, x->groups};
	entries[3] = (struct array_entry){"heads", 2, {L, NH}, x->heads};
	entries[4] = (struct array_entry){"ffn", 2, {L, F}, x->ffn};
	entries[5] = (struct array_entry){"context_mean", 2, {L, NH * (size_t)s->HD}, x->context_mean};
	entries[6] = (struct array_entry){"ffn_mean", 2, {L, F}, x->ffn_mean};
	return x->context_mean ? N_ARRAYS : N_PLAIN;
}

static void declare_metadata(struct safetensors_writer *w, const struct scores *x)
{
	char text[32];
	safetensors_declare_metadata(w, "format", "pt");
	safetensors_declare_metadata(w, "method", importance_method_name(x->method));
	safetensors_declare_metadata(w, "layers_method", layers_method_name(x->layers_method));
	snprintf(text, sizeof text, "%" PRId64, x->tokens);
	safetensors_declare_metadata(w, "tokens", text);
	hash_hex(x->teacher, text);
	safetensors_declare_metadata(w, "teacher", text);
	hash_hex(x->data, text);
	safetensors_declare_metadata(w, "data", text);
	snprintf(text, sizeof text, "%" PRIu64, x->seed);
	safetensors_declare_metadata(w, "seed", text);
}

int scores_save(const char *path, const struct arch *source, const struct scores *x, struct err *e)
{
	struct array_entry entries[N_ARRAYS];
	struct safetensors_writer *w;
	int n = list_entries(entries, source, x);
	if (safetensors_create(&w, path, e) < 0)
		return -1;
	declare_metadata(w, x);
	return arrays_write(w, entries, n, e);
}

/* ---- reading ---- */

static int read_array(const char *path, const struct safetensors *file, const struct array_entry *x, struct err *e)
{
	const struct safetensor *t = safetensors_find(file, x->name);
	size_t n = array_elems(x);
	if (!t)
		return err_run(e, "%s: no tensor '%s'; is it a file of importance scores?", path, x->name);
	if (array_check(path, t, x, "scores", e) < 0)
		return -1;
	memcpy(x->data, t->data, n * sizeof *x->data);
	for (size_t i = 0; i < n; i++)
		if (!isfinite(x->data[i]))
			return err_run(e, "%s: tensor '%s': element %zu is not finite", path, x->name, i);
	return 0;
}

static int check_names(const char *path, const struct safetensors *file, const struct array_entry *entries, int n, struct err *e)
{
	for (int i = 0; i < safetensors_count(file); i++) {
		const char *name = safetensors_at(file, i)->name;
		if (!array_is_known(entries, n, name))
			return err_run(e, "%s: unknown tensor '%s' in a file of importance scores", path, name);
	}
	return 0;
}

/* Index of the metadata's word among n names. */
static int read_name(const char *path, const struct safetensors *file, const char *key, const char *(*name)(int), int n, int *out,
		     struct err *e)
{
	const char *text = safetensors_metadata(file, key);
	for (int i = 0; text && i < n; i++)
		if (!strcmp(text, name(i))) {
			*out = i;
			return 0;
		}
	return err_run(e, "%s: metadata '%s' is '%s', which names no method of importance", path, key, text ? text : "absent");
}

static int read_number(const char *path, const struct safetensors *file, const char *key, int base, uint64_t *out, struct err *e)
{
	const char *text = safetensors_metadata(file, key);
	char *end = NULL;
	*out = text ? strtoull(text, &end, base) : 0;
	if (!text || end == text || *end)
		return err_run(e, "%s: metadata '%s' is '%s', expected a number", path, key, text ? text : "absent");
	return 0;
}

static const char *method_at(int i)
{
	return importance_method_name((enum importance_method)i);
}

static const char *layers_method_at(int i)
{
	return layers_method_name((enum layers_method)i);
}

static int read_metadata(const char *path, const struct safetensors *file, struct scores *x, struct err *e)
{
	int method = 0, layers = 0;
	uint64_t tokens = 0;
	int rc = -1;
	TRY(read_name(path, file, "method", method_at, IMPORTANCE_METHODS, &method, e));
	TRY(read_name(path, file, "layers_method", layers_method_at, LAYERS_METHODS, &layers, e));
	TRY(read_number(path, file, "tokens", 10, &tokens, e));
	TRY(read_number(path, file, "teacher", 16, &x->teacher, e));
	TRY(read_number(path, file, "data", 16, &x->data, e));
	TRY(read_number(path, file, "seed", 10, &x->seed, e));
	x->method = (enum importance_method)method;
	x->layers_method = (enum layers_method)layers;
	x->tokens = (int64_t)tokens;
	rc = 0;
out:
	return rc;
}

int scores_load(const char *path, const struct arch *source, struct scores *out, struct err *e)
{
	struct array_entry entries[N_ARRAYS];
	struct safetensors *file = NULL;
	struct scores head = {0};
	int rc = -1, n;
	*out = (struct scores){0};
	TRY(safetensors_open(&file, path, e));
	TRY(read_metadata(path, file, &head, e));
	TRY(scores_alloc(out, source, head.method == IMPORTANCE_FLUCTUATION, e));
	n = list_entries(entries, source, out);
	TRY(check_names(path, file, entries, n, e));
	for (int i = 0; i < n; i++)
		TRY(read_array(path, file, &entries[i], e));
	out->method = head.method;
	out->layers_method = head.layers_method;
	out->tokens = head.tokens;
	out->teacher = head.teacher;
	out->data = head.data;
	out->seed = head.seed;
	rc = 0;
out:
	safetensors_close(file);
	if (rc < 0)
		scores_release(out);
	return rc;
}

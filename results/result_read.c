/* Reading of result.json: files of others are checked before they are believed. Test: tests/test_compare.c */
#include "results/result_file.h"

#include "base/json.h"
#include "results/shape_json.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int text_of(const json_t *o, const char *path, const char *key, char *out, size_t n, struct err *e)
{
	const char *text;
	if (json_get_string(o, path, key, "", &text, e) < 0)
		return -1;
	if ((size_t)snprintf(out, n, "%s", text) >= n)
		return err_user(e, "%s: key '%s': longer than %zu bytes", path, key, n - 1);
	return 0;
}
#define TEXT(o, key, field) TRY(text_of(o, path, key, field, sizeof(field), e))

static int real_of(const json_t *o, const char *path, const char *key, double *out, struct err *e)
{
	return json_get_double(o, path, key, 0, -DBL_MAX, DBL_MAX, out, e);
}

static int int_of(const json_t *o, const char *path, const char *key, int *out, struct err *e)
{
	int64_t x = 0;
	int rc = json_get_int64(o, path, key, 0, 0, INT_MAX, &x, e);
	*out = (int)x;
	return rc;
}

static int size_of(const json_t *o, const char *path, const char *key, size_t *out, struct err *e)
{
	int64_t x = 0;
	int rc = json_get_int64(o, path, key, 0, 0, INT64_MAX, &x, e);
	*out = (size_t)x;
	return rc;
}

static int seed_of(const json_t *o, const char *path, uint64_t *out, struct err *e)
{
	int64_t x = 0;
	int rc = json_get_int64(o, path, "seed", 0, INT64_MIN, INT64_MAX, &x, e);
	*out = (uint64_t)x;
	return rc;
}

static int read_shape(struct shape *s, const json_t *root, const char *path, struct err *e)
{
	json_t *j;
	return json_get_child(root, path, "shape", JSON_OBJECT, &j, e) < 0 ? -1 : shape_from_json(s, j, path, e);
}

static int read_candidates(struct result_train *t, const json_t *train, const char *path, struct err *e)
{
	json_t *list;
	if (json_get_child(train, path, "lr_candidates", JSON_ARRAY, &list, e) < 0)
		return -1;
	if (json_array_size(list) > RESULT_MAX_LRS)
		return err_user(e, "%s: key 'lr_candidates': more than %d", path, RESULT_MAX_LRS);
	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *j = json_array_get(list, i), *nll = json_object_get(j, "nll");
		if (real_of(j, path, "lr", &t->candidates[i].lr, e) < 0 || real_of(j, path, "nll", &t->candidates[i].nll, e) < 0)
			return -1;
		if (json_is_null(nll)) /* it diverged */
			t->candidates[i].nll = NAN;
	}
	t->n_candidates = (int)json_array_size(list);
	return 0;
}

static int read_train(struct result *r, const json_t *root, const char *path, struct err *e)
{
	int rc = -1;
	json_t *j;
	struct result_train *t = &r->train;
	TRY(json_get_child(root, path, "train", JSON_OBJECT, &j, e));
	r->trained = j;
	if (j) {
		TRY(real_of(j, path, "tokens", &t->tokens, e));
		TRY(real_of(j, path, "init_tokens", &t->init_tokens, e));
		TRY(real_of(j, path, "unique_tokens", &t->unique_tokens, e));
		TRY(real_of(j, path, "epochs", &t->epochs, e));
		TRY(real_of(j, path, "total_flops", &t->total_flops, e));
		TRY(real_of(j, path, "lr", &t->lr, e));
		TRY(read_candidates(t, j, path, e));
	}
	rc = 0;
out:
	return rc;
}

static int read_cache(struct result_distill *d, const json_t *distill, const char *path, struct err *e)
{
	int rc = -1;
	json_t *j;
	TRY(json_get_child(distill, path, "cache", JSON_OBJECT, &j, e));
	d->cached = j;
	if (j) {
		TEXT(j, "text", d->cache);
		TRY(json_get_double(j, path, "bytes_per_token", 0, 0, DBL_MAX, &d->cache_bytes_per_token, e));
		TRY(json_get_double(j, path, "mass", 0, 0, DBL_MAX, &d->cache_mass, e));
		TRY(json_get_double(j, path, "tokens", 0, 0, DBL_MAX, &d->cache_tokens, e));
	}
	rc = 0;
out:
	return rc;
}

static int read_distill(struct result_distill *d, const json_t *root, const char *path, struct err *e)
{
	int rc = -1;
	json_t *j;
	TRY(json_get_child(root, path, "distill", JSON_OBJECT, &j, e));
	d->present = j;
	if (j) {
		TEXT(j, "text", d->text);
		TRY(real_of(j, path, "teacher_ce", &d->teacher_ce, e));
		TRY(real_of(j, path, "ce", &d->ce, e));
		TRY(real_of(j, path, "agree", &d->agree, e));
		TRY(read_cache(d, j, path, e));
	}
	rc = 0;
out:
	return rc;
}

/* A name that stays in its directory. */
static int read_documents(struct result_eval *v, const char *dir, const char *path, struct err *e)
{
	char file[2048];
	if (!v->documents_file[0] || strchr(v->documents_file, '/'))
		return err_user(e, "%s: key 'documents_file': expected a file's name, found \"%s\"", path, v->documents_file);
	snprintf(file, sizeof file, "%s/%s", dir, v->documents_file);
	return evaluation_read_documents(&v->scores, file, e);
}

static int check_totals(const struct result_eval *v, const json_t *j, const char *path, struct err *e)
{
	double nll = 0;
	if (json_require(j, path, "nll", e) < 0 || real_of(j, path, "nll", &nll, e) < 0)
		return -1;
	if (fabs(nll - v->scores.nll) > 1e-9 * fabs(nll))
		return err_user(e, "%s: nll of '%s' is %.9g, but %s adds up to %.9g: the files are not of one run", path,
				v->domain, nll, v->documents_file, v->scores.nll);
	return 0;
}

static int read_eval(struct result_eval *v, const json_t *j, const char *dir, const char *path, struct err *e)
{
	int rc = -1;
	char hash[20];
	double tokens_per_s = 0;
	TEXT(j, "domain", v->domain);
	TEXT(j, "documents_file", v->documents_file);
	TEXT(j, "dtype", v->scores.dtype);
	TEXT(j, "data_hash", hash);
	v->scores.data_hash = strtoull(hash, NULL, 16);
	v->scores.has_teacher = json_is_real(json_object_get(j, "kl"));
	TRY(int_of(j, path, "sequence_length", &v->scores.sequence_length, e));
	TRY(int_of(j, path, "stride", &v->scores.stride, e));
	TRY(real_of(j, path, "seconds", &v->scores.seconds, e));
	TRY(real_of(j, path, "tokens_per_s", &tokens_per_s, e));
	TRY(size_of(j, path, "memory_bytes", &v->scores.memory_bytes, e));
	v->scores.rows = (size_t)llround(fmax(0, tokens_per_s * v->scores.seconds));
	TRY(read_documents(v, dir, path, e));
	rc = check_totals(v, j, path, e);
out:
	return rc;
}

static int read_evals(struct result *r, const json_t *root, const char *dir, const char *path, struct err *e)
{
	json_t *list;
	if (json_require(root, path, "eval", e) < 0 || json_get_child(root, path, "eval", JSON_ARRAY, &list, e) < 0)
		return -1;
	if (!json_array_size(list) || json_array_size(list) > RESULT_MAX_EVALS)
		return err_user(e, "%s: key 'eval': expected 1 to %d domains, found %zu", path, RESULT_MAX_EVALS,
				json_array_size(list));
	for (size_t i = 0; i < json_array_size(list); i++, r->n_evals++)
		if (read_eval(&r->evals[i], json_array_get(list, i), dir, path, e) < 0) {
			r->n_evals++; /* so that what was read of it is released */
			return -1;
		}
	return 0;
}

static int read_stamp(struct result_stamp *s, const json_t *root, const char *path, struct err *e)
{
	int rc = -1;
	json_t *j;
	TRY(json_get_child(root, path, "stamp", JSON_OBJECT, &j, e));
	TEXT(j, "commit", s->commit);
	TEXT(j, "device", s->device);
	TEXT(j, "dtype", s->dtype);
	TEXT(j, "started", s->started);
	TEXT(j, "recipe", s->recipe);
	TEXT(j, "recipe_hash", s->recipe_hash);
	TEXT(j, "model_hash", s->model_hash);
	TRY(int_of(j, path, "threads", &s->threads, e));
	rc = seed_of(j, path, &s->seed, e);
out:
	return rc;
}

static int read_earlier(struct result *r, const json_t *root, const char *path, struct err *e)
{
	int rc = -1;
	json_t *list;
	TRY(json_get_child(root, path, "earlier", JSON_ARRAY, &list, e));
	if (json_array_size(list) > RESULT_MAX_EARLIER)
		return err_user(e, "%s: key 'earlier': more than %d", path, RESULT_MAX_EARLIER);
	for (; r->n_earlier < (int)json_array_size(list); r->n_earlier++) {
		const json_t *j = json_array_get(list, (size_t)r->n_earlier);
		struct result_phase *p = &r->earlier[r->n_earlier];
		TRY(json_require(j, path, "metrics", e));
		TEXT(j, "metrics", p->metrics);
		TRY(real_of(j, path, "after", &p->after, e));
		TRY(json_get_bool(j, path, "masks", false, &p->masks, e));
	}
	rc = 0;
out:
	return rc;
}

static int read_warnings(struct result *r, const json_t *root, const char *path, struct err *e)
{
	json_t *list;
	if (json_get_child(root, path, "warnings", JSON_ARRAY, &list, e) < 0)
		return -1;
	for (size_t i = 0; i < json_array_size(list) && r->n_warnings < RESULT_MAX_WARNINGS; i++) {
		const char *text = json_string_value(json_array_get(list, i));
		snprintf(r->warnings[r->n_warnings++], sizeof r->warnings[0], "%s", text ? text : "");
	}
	return 0;
}

/* Names that stay in the directory. */
static int read_searches(struct result *r, const json_t *root, const char *path, struct err *e)
{
	json_t *list;
	if (json_get_child(root, path, "shape_searches", JSON_ARRAY, &list, e) < 0)
		return -1;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		if (!text || !*text || strchr(text, '/') || r->n_searches == RESULT_MAX_SEARCHES || strlen(text) >= sizeof r->searches[0])
			return err_user(e, "%s: key 'shape_searches': expected at most %d names of files", path, RESULT_MAX_SEARCHES);
		strcpy(r->searches[r->n_searches++], text);
	}
	return 0;
}

static int read_root(struct result *r, const json_t *j, const char *dir, const char *path, struct err *e)
{
	int rc = -1;
	TRY(json_require(j, path, "name", e));
	TRY(json_require(j, path, "parameters", e));
	TEXT(j, "name", r->name);
	TEXT(j, "role", r->role);
	TEXT(j, "init", r->init);
	TEXT(j, "init_text", r->init_text);
	TEXT(j, "init_id", r->init_id);
	TEXT(j, "model", r->model);
	TEXT(j, "metrics", r->metrics);
	TEXT(j, "masks_metrics", r->masks_metrics);
	TRY(seed_of(j, path, &r->seed, e));
	TRY(read_shape(&r->shape, j, path, e));
	TRY(size_of(j, path, "parameters", &r->parameters, e));
	TRY(size_of(j, path, "bytes", &r->bytes, e));
	TRY(real_of(j, path, "flops_per_token", &r->flops_per_token, e));
	TRY(real_of(j, path, "tokens_per_s", &r->tokens_per_s, e));
	TRY(real_of(j, path, "heldout_nll", &r->heldout_nll, e));
	TRY(real_of(j, path, "start_nll", &r->start_nll, e));
	TRY(read_train(r, j, path, e));
	TRY(read_distill(&r->distill, j, path, e));
	TRY(read_stamp(&r->stamp, j, path, e));
	TRY(real_of(j, path, "masks_after", &r->masks_after, e));
	TRY(read_earlier(r, j, path, e));
	TRY(read_searches(r, j, path, e));
	TRY(read_warnings(r, j, path, e));
	rc = read_evals(r, j, dir, path, e);
out:
	return rc;
}

int result_read(struct result **out, const char *dir, struct err *e)
{
	int rc = -1;
	char path[2048];
	json_t *j = NULL;
	struct result *r = result_new();
	*out = NULL;
	if (!r || snprintf(r->dir, sizeof r->dir, "%s", dir) >= (int)sizeof r->dir) {
		err_run(e, "%.200s: %s", dir, r ? "a name too long" : "out of memory");
		goto out;
	}
	snprintf(path, sizeof path, "%s/result.json", dir);
	TRY(json_read_file(path, &j, e));
	if (!json_is_object(j)) {
		err_user(e, "%s: expected an object", path);
		goto out;
	}
	TRY(read_root(r, j, dir, path, e));
	*out = r;
	r = NULL;
	rc = 0;
out:
	json_decref(j);
	result_free(r);
	return rc;
}

/* The file of a search for a shape. Test: tests/test_shape_search.c */
#include "results/shape_search.h"

#include "base/json.h"
#include "results/shape_json.h"
#include "results/table.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const shape_search_measures[SHAPE_SEARCH_MEASURES] = {"parameters", "memory", "flops_per_token", "prefill_ms", "decode_ms"};

void shape_search_budget(const struct shape_search *s, char *out, size_t n)
{
	bool asks_length = false;
	size_t used = 0;
	*out = '\0';
	for (int i = 0; i < SHAPE_SEARCH_MEASURES; i++) {
		char text[32];
		if (!(s->limit[i] > 0) || used >= n)
			continue;
		if (i < SHAPE_SEARCH_PREFILL_MS)
			table_count(s->limit[i], text);
		else
			snprintf(text, sizeof text, "%.4g", s->limit[i]);
		used += (size_t)snprintf(out + used, n - used, "%s%s ≤ %s", used ? ", " : "", shape_search_measures[i], text);
		asks_length |= i > 0;
	}
	if (asks_length && used < n)
		snprintf(out + used, n - used, " (%d tokens, batch %d)", s->length, s->batch);
}

/* ---- writing ---- */

static json_t *measures_json(const double x[SHAPE_SEARCH_MEASURES])
{
	json_t *o = json_object();
	for (int i = 0; i < SHAPE_SEARCH_MEASURES; i++)
		if (x[i] > 0)
			json_object_set_new(o, shape_search_measures[i], json_real(x[i]));
	return o;
}

/* A loss, absent where there is none, null where it diverged. */
static void set_nll(json_t *o, const char *key, double nll)
{
	if (nll > 0)
		json_object_set_new(o, key, isfinite(nll) ? json_real(nll) : json_null());
}

static json_t *candidate_json(const struct shape_candidate *c)
{
	json_t *predicted = measures_json(c->predicted), *achieved = measures_json(c->achieved);
	set_nll(predicted, "nll", c->predicted_nll);
	set_nll(achieved, "nll", c->nll);
	set_nll(achieved, "trained_nll", c->trained_nll);
	return json_pack("{s:o,s:o,s:o,s:i,s:b,s:b}", "shape", shape_to_json(&c->shape), "predicted", predicted, "achieved", achieved, "rank",
			 c->rank, "missed", (int)c->missed, "chosen", (int)c->chosen);
}

json_t *shape_search_to_json(const struct shape_search *s)
{
	json_t *candidates = json_array();
	for (int i = 0; i < s->n; i++)
		json_array_append_new(candidates, candidate_json(&s->candidates[i]));
	json_t *source = json_pack("{s:s,s:f,s:f,s:o}", "hash", s->source_hash, "parameters", s->source_parameters, "nll", s->source_nll, "shape",
				   shape_to_json(&s->source));
	return json_pack("{s:s,s:o,s:o,s:i,s:i,s:f,s:i,s:I,s:f,s:f,s:o}", "id", s->id, "source", source, "limits", measures_json(s->limit),
			 "length", s->length, "batch", s->batch, "slack", s->slack, "n_shapes", s->n_shapes, "seed", (json_int_t)s->seed,
			 "tokens", s->tokens, "flops", s->flops, "candidates", candidates);
}

int shape_search_write(const struct shape_search *s, const char *path, struct err *e)
{
	json_t *o = shape_search_to_json(s);
	int rc = o ? json_write_file(path, o, e) : err_run(e, "%s: out of memory", path);
	json_decref(o);
	return rc;
}

/* ---- reading ---- */

static int read_measures(double x[SHAPE_SEARCH_MEASURES], const json_t *o, const char *path, struct err *e)
{
	for (int i = 0; i < SHAPE_SEARCH_MEASURES; i++)
		if (json_get_double(o, path, shape_search_measures[i], 0, 0, DBL_MAX, &x[i], e) < 0)
			return -1;
	return 0;
}

static int read_nll(const json_t *o, const char *path, const char *key, double *out, struct err *e)
{
	*out = INFINITY;
	return json_is_null(json_object_get(o, key)) ? 0 : json_get_double(o, path, key, 0, 0, DBL_MAX, out, e);
}

static int read_shape(const json_t *o, const char *path, struct shape *out, struct err *e)
{
	json_t *shape;
	if (json_require(o, path, "shape", e) < 0 || json_get_child(o, path, "shape", JSON_OBJECT, &shape, e) < 0)
		return -1;
	return shape_from_json(out, shape, path, e);
}

/* An object that must be there. */
static int child(const json_t *o, const char *path, const char *key, json_t **out, struct err *e)
{
	return json_require(o, path, key, e) < 0 ? -1 : json_get_child(o, path, key, JSON_OBJECT, out, e);
}

static int integer(const json_t *o, const char *path, const char *key, int *out, struct err *e)
{
	int64_t x = 0;
	int rc = json_get_int64(o, path, key, 0, 0, INT_MAX, &x, e);
	*out = (int)x;
	return rc;
}

static int read_candidate(struct shape_candidate *c, const json_t *o, const char *path, struct err *e)
{
	json_t *predicted, *achieved;
	int rc = -1;
	TRY(read_shape(o, path, &c->shape, e));
	TRY(child(o, path, "predicted", &predicted, e));
	TRY(child(o, path, "achieved", &achieved, e));
	TRY(read_measures(c->predicted, predicted, path, e));
	TRY(read_measures(c->achieved, achieved, path, e));
	TRY(read_nll(predicted, path, "nll", &c->predicted_nll, e));
	TRY(read_nll(achieved, path, "nll", &c->nll, e));
	TRY(read_nll(achieved, path, "trained_nll", &c->trained_nll, e));
	TRY(integer(o, path, "rank", &c->rank, e));
	TRY(json_get_bool(o, path, "missed", false, &c->missed, e));
	TRY(json_get_bool(o, path, "chosen", false, &c->chosen, e));
	rc = 0;
out:
	return rc;
}

static int read_candidates(struct shape_search *s, const json_t *o, const char *path, struct err *e)
{
	json_t *list;
	if (json_get_child(o, path, "candidates", JSON_ARRAY, &list, e) < 0)
		return -1;
	if (json_array_size(list) > SHAPE_SEARCH_MAX)
		return err_user(e, "%s: key 'candidates': more than %d", path, SHAPE_SEARCH_MAX);
	for (size_t i = 0; i < json_array_size(list); i++)
		if (read_candidate(&s->candidates[s->n++], json_array_get(list, i), path, e) < 0)
			return -1;
	return 0;
}

static int read_text(const json_t *o, const char *path, const char *key, char out[20], struct err *e)
{
	const char *text;
	if (json_get_string(o, path, key, "", &text, e) < 0)
		return -1;
	if (strlen(text) >= 20)
		return err_user(e, "%s: key '%s': longer than 19 bytes", path, key);
	strcpy(out, text);
	return 0;
}

static int read_source(struct shape_search *s, const json_t *o, const char *path, struct err *e)
{
	json_t *source;
	if (child(o, path, "source", &source, e) < 0 || read_text(source, path, "hash", s->source_hash, e) < 0)
		return -1;
	if (json_get_double(source, path, "parameters", 0, 0, DBL_MAX, &s->source_parameters, e) < 0)
		return -1;
	if (json_get_double(source, path, "nll", 0, 0, DBL_MAX, &s->source_nll, e) < 0)
		return -1;
	return read_shape(source, path, &s->source, e);
}

static int read_root(struct shape_search *s, const json_t *o, const char *path, struct err *e)
{
	json_t *limits;
	int64_t seed;
	int rc = -1;
	TRY(read_text(o, path, "id", s->id, e));
	TRY(read_source(s, o, path, e));
	TRY(child(o, path, "limits", &limits, e));
	TRY(read_measures(s->limit, limits, path, e));
	TRY(integer(o, path, "length", &s->length, e));
	TRY(integer(o, path, "batch", &s->batch, e));
	TRY(integer(o, path, "n_shapes", &s->n_shapes, e));
	TRY(json_get_double(o, path, "slack", 0, 0, 1, &s->slack, e));
	TRY(json_get_double(o, path, "tokens", 0, 0, DBL_MAX, &s->tokens, e));
	TRY(json_get_double(o, path, "flops", 0, 0, DBL_MAX, &s->flops, e));
	TRY(json_get_int64(o, path, "seed", 0, INT64_MIN, INT64_MAX, &seed, e));
	s->seed = (uint64_t)seed;
	TRY(read_candidates(s, o, path, e));
	rc = 0;
out:
	return rc;
}

int shape_search_read(struct shape_search **out, const char *path, struct err *e)
{
	json_t *o = NULL;
	struct shape_search *s = calloc(1, sizeof *s);
	int rc = -1;
	*out = NULL;
	if (!s) {
		err_run(e, "%s: out of memory", path);
		goto out;
	}
	TRY(json_read_file(path, &o, e));
	if (!json_is_object(o)) {
		err_user(e, "%s: expected an object", path);
		goto out;
	}
	TRY(read_root(s, o, path, e));
	*out = s;
	s = NULL;
	rc = 0;
out:
	json_decref(o);
	free(s);
	return rc;
}

/* Writing of result.json. Reading: results/result_read.c. Test: tests/test_compare.c */
#include "results/result_file.h"

#include "base/json.h"
#include "results/shape_json.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct result *result_new(void)
{
	struct result *r = calloc(1, sizeof *r);
	if (r)
		strcpy(r->role, "student");
	return r;
}

void result_free(struct result *r)
{
	if (!r)
		return;
	for (int i = 0; i < r->n_evals; i++)
		evaluation_release(&r->evals[i].scores);
	free(r);
}

bool result_is_teacher(const struct result *r)
{
	return !strcmp(r->role, "teacher");
}

static json_t *number(double x)
{
	return isfinite(x) ? json_real(x) : json_null();
}

static json_t *train_json(const struct result_train *t)
{
	json_t *candidates = json_array();
	for (int i = 0; i < t->n_candidates; i++)
		json_array_append_new(candidates, json_pack("{s:o, s:o}", "lr", number(t->candidates[i].lr), "nll",
							    number(t->candidates[i].nll)));
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "tokens", number(t->tokens), "init_tokens",
			 number(t->init_tokens), "unique_tokens", number(t->unique_tokens), "epochs", number(t->epochs),
			 "total_flops", number(t->total_flops), "lr", number(t->lr), "lr_candidates", candidates);
}

static json_t *distill_json(const struct result_distill *d)
{
	if (!d->present)
		return json_null();
	json_t *cache = json_null();
	if (d->cached)
		cache = json_pack("{s:s, s:o, s:o, s:o}", "text", d->cache, "bytes_per_token", number(d->cache_bytes_per_token),
				  "mass", number(d->cache_mass), "tokens", number(d->cache_tokens));
	return json_pack("{s:s, s:o, s:o, s:o, s:o}", "text", d->text, "teacher_ce", number(d->teacher_ce), "ce", number(d->ce),
			 "agree", number(d->agree), "cache", cache);
}

static json_t *evals_json(const struct result *r)
{
	json_t *list = json_array();
	for (int i = 0; i < r->n_evals; i++) {
		json_t *j = json_pack("{s:s}", "domain", r->evals[i].domain), *scores = evaluation_to_json(&r->evals[i].scores);
		json_object_update(j, scores);
		json_decref(scores);
		json_object_set_new(j, "documents_file", json_string(r->evals[i].documents_file));
		json_array_append_new(list, j);
	}
	return list;
}

static json_t *stamp_json(const struct result_stamp *s)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:I, s:s, s:s, s:s, s:s}", "commit", s->commit, "device", s->device, "dtype",
			 s->dtype, "threads", s->threads, "seed", (json_int_t)s->seed, "started", s->started, "recipe",
			 s->recipe, "recipe_hash", s->recipe_hash, "model_hash", s->model_hash);
}

static json_t *file_json(const char *name)
{
	return *name ? json_string(name) : json_null();
}

static json_t *earlier_json(const struct result *r)
{
	json_t *list = json_array();
	for (int i = 0; i < r->n_earlier; i++)
		json_array_append_new(list, json_pack("{s:s, s:o, s:b}", "metrics", r->earlier[i].metrics, "after", number(r->earlier[i].after), "masks",
						      (int)r->earlier[i].masks));
	return list;
}

json_t *result_to_json(const struct result *r)
{
	json_t *warnings = json_array(), *searches = json_array();
	for (int i = 0; i < r->n_warnings; i++)
		json_array_append_new(warnings, json_string(r->warnings[i]));
	for (int i = 0; i < r->n_searches; i++)
		json_array_append_new(searches, json_string(r->searches[i]));
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:o, s:I, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
			 r->name, "role", r->role, "init", r->init, "init_text", r->init_text, "init_id", r->init_id, "seed", (json_int_t)r->seed, "model",
			 r->model, "shape", shape_to_json(&r->shape), "parameters", (json_int_t)r->parameters, "flops_per_token",
			 number(r->flops_per_token), "bytes", (json_int_t)r->bytes, "tokens_per_s", number(r->tokens_per_s),
			 "heldout_nll", number(r->heldout_nll), "start_nll", number(r->start_nll),
			 "train", r->trained ? train_json(&r->train) : json_null(), "distill",
			 distill_json(&r->distill), "eval", evals_json(r), "stamp",
			 stamp_json(&r->stamp), "metrics", file_json(r->metrics), "masks_metrics",
			 file_json(r->masks_metrics), "masks_after", number(r->masks_after), "earlier", earlier_json(r), "shape_searches",
			 searches, "warnings", warnings);
}

/* A domain's name is a key of a recipe; what a file name cannot hold becomes '_'. */
static void name_documents_file(struct result_eval *v)
{
	snprintf(v->documents_file, sizeof v->documents_file, "eval-%s.csv", v->domain);
	for (char *c = v->documents_file + strlen("eval-"); *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("-_.", *c))
			*c = '_';
}

int result_write(struct result *r, const char *dir, struct err *e)
{
	char path[2048];
	BUG_ON(!r->name[0] || !r->n_evals);
	for (int i = 0; i < r->n_evals; i++) {
		name_documents_file(&r->evals[i]);
		snprintf(path, sizeof path, "%s/%s", dir, r->evals[i].documents_file);
		if (evaluation_write_documents(&r->evals[i].scores, path, e) < 0)
			return -1;
	}
	snprintf(path, sizeof path, "%s/result.json", dir);
	json_t *j = result_to_json(r);
	int rc = j ? json_write_file(path, j, e) : err_run(e, "%s: out of memory", path);
	json_decref(j);
	return rc;
}

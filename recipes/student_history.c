/* What result.json says of a student's way: kinds and words of its inits, budget, distillation, metrics of every phase. */
#include "recipes/student_history.h"

#include "base/fsio.h"
#include "base/hash.h"
#include "recipes/init_text.h"
#include "recipes/stage.h"
#include "recipes/stage_shape.h"
#include "recipes/supply.h"
#include "results/csv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- init ---- */

static bool is_depth_alone(const struct shape *own, const struct shape *of)
{
	return own->L != of->L && own->C == of->C && own->F == of->F && own->NH == of->NH && own->NKV == of->NKV;
}

/* "importance, importance": the inits of the student's own stages. */
static void fill_kinds(struct result *r, const struct student_stage *s)
{
	if (s->number > 1)
		fill_kinds(r, s->before);
	size_t used = strlen(r->init);
	snprintf(r->init + used, sizeof r->init - used, "%s%s", s->number > 1 ? ", " : "", init_kind(s->spec->init));
}

/* Those of the student that it goes on from included. */
static void fill_text(struct result *r, const struct student_stage *s, size_t n)
{
	if (s->before)
		fill_text(r, s->before, n);
	if (s->before && s->before->spec->train)
		strncat(r->init_text, ", trained", n - strlen(r->init_text) - 1);
	if (!s->spec->init->student)
		init_text(s->spec->init, r->init_text, n);
}

static void fill_init(struct result *r, const struct student_stage *last, const struct arch *teacher)
{
	fill_kinds(r, last);
	hash_hex(last->init_id, r->init_id);
	fill_text(r, last, sizeof r->init_text - sizeof ", depth alone");
	if (!last->spec->init->random && is_depth_alone(&last->in.start.arch.shape, &teacher->shape))
		strcat(r->init_text, ", depth alone");
}

/* ---- training ---- */

static void fill_train(struct result *r, const struct phase *p, const struct search *s)
{
	r->trained = true;
	r->train.init_tokens = (double)p->start->spent_tokens;
	r->train.tokens = (double)(p->start->spent_tokens + p->tokens / p->spec->batch_tokens * p->spec->batch_tokens);
	r->train.unique_tokens = p->unique_tokens;
	r->train.epochs = p->epochs;
	r->train.total_flops = p->flops + p->start->spent_flops;
	r->train.lr = p->lr;
	r->train.n_candidates = s->n;
	for (int i = 0; i < s->n; i++) {
		r->train.candidates[i].lr = s->tried[i].lr;
		r->train.candidates[i].nll = s->tried[i].nll;
	}
}

static int add_search(json_t *list, const struct run *run, const struct student_stage *s, struct err *e)
{
	char *file = stage_shape_file(run, s->spec->init, &s->source_arch);
	uint64_t hash;
	if (!file)
		return 0;
	int rc = hash_file(file, &hash, e);
	free(file);
	return rc < 0 ? -1 : json_array_append_new(list, stage_hash_json(hash));
}

int student_history_inputs(json_t *inputs, const struct run *run, const struct student_stage *last, struct err *e)
{
	json_t *stages = json_array(), *searches = json_array();
	int rc = 0;
	for (const struct student_stage *s = last; s && rc == 0; s = s->before) {
		json_array_append_new(stages, stage_hash_json(s->init_id));
		json_array_append_new(stages, stage_hash_json(s->spec->train ? section_hash(&train_section, s->spec->train) : 0));
		rc = add_search(searches, run, s, e);
	}
	json_object_set_new(inputs, "stages", stages);
	json_object_set_new(inputs, "searches", searches);
	return rc;
}

/* What was found about the shapes that its own stages searched for. */
static int carry_searches(struct result *r, const struct run *run, const struct student_stage *last, const char *dir, struct err *e)
{
	int rc = 0;
	for (const struct student_stage *s = last; s && rc == 0; s = s->number > 1 ? s->before : NULL) {
		char *from = stage_shape_file(run, s->spec->init, &s->source_arch);
		if (!from)
			continue;
		snprintf(r->searches[r->n_searches], sizeof r->searches[0], "shape-%d.json", s->number);
		char *to = path_format("%s/%s", dir, r->searches[r->n_searches++]);
		rc = fsio_copy_file(from, to, e);
		free(to);
		free(from);
	}
	return rc;
}

_Static_assert((int)RESULT_MAX_SEARCHES >= (int)RECIPE_MAX_STAGES, "a result holds the searches of all stages");

/* The mean of a column of metrics over the last tenth of the steps; 0 where it has no value. */
static double tail_mean(const struct csv *c, const char *name)
{
	int column = csv_column(c, name), n = 0;
	double sum = 0;
	for (size_t row = c->n_rows - (c->n_rows + 9) / 10; column >= 0 && row < c->n_rows; row++)
		if (isfinite(csv_at(c, row, column))) {
			sum += csv_at(c, row, column);
			n++;
		}
	return n ? sum / n : 0;
}

/* How it was distilled, and what teacher and student said about the last batches. */
static int fill_distill(struct result *r, const struct phase *p, const char *metrics, struct err *e)
{
	struct result_distill *d = &r->distill;
	struct supply *supply = NULL;
	struct csv csv = {0};
	int rc = -1;
	if (!p->spec->distill)
		return 0;
	TRY(csv_read(&csv, metrics, e));
	TRY(supply_open(&supply, p->run, p->spec->distill, &p->start->arch, p->start->kept, e));
	d->present = true;
	distill_text(&supply->plan, d->text, sizeof d->text);
	d->teacher_ce = tail_mean(&csv, "teacher_ce");
	d->ce = tail_mean(&csv, supply->plan.skip_separators ? "ce_text" : "ce");
	d->agree = tail_mean(&csv, "agree");
	d->cached = supply->plan.cache != NULL;
	if (d->cached)
		supply_cache_text(supply, d->cache, sizeof d->cache);
	d->cache_bytes_per_token = p->cache_bytes_per_token;
	d->cache_mass = p->cache_mass;
	d->cache_tokens = p->cache_tokens;
	rc = 0;
out:
	csv_release(&csv);
	supply_close(supply);
	return rc;
}

/* ---- metrics ---- */

static const char *metrics_name(const struct run *run)
{
	return run->spec->report->metrics == METRICS_JSONL ? "metrics.jsonl" : "metrics.csv";
}

/* A copy beside result.json, so that the directory is whole by itself. */
static int carry_metrics(const struct run *run, const char *from_dir, const char *dir, const char *stem, char out[128], struct err *e)
{
	snprintf(out, 128, "%s%s", stem, strrchr(metrics_name(run), '.'));
	char *from = path_format("%s/%s", from_dir, metrics_name(run)), *to = path_format("%s/%s", dir, out);
	int rc = fsio_copy_file(from, to, e);
	free(from);
	free(to);
	return rc;
}

_Static_assert((int)RESULT_MAX_EARLIER >= 2 * (int)RECIPE_MAX_STAGES, "a result holds the phases of all stages");

static int carry_earlier(struct result *r, const struct run *run, const struct student_stage *s, bool masks, const char *dir, struct err *e)
{
	char stem[32];
	struct result_phase *p = &r->earlier[r->n_earlier++];
	snprintf(stem, sizeof stem, masks ? "stage-%d-masks" : "stage-%d-metrics", s->number);
	*p = (struct result_phase){.after = (double)(masks ? student_stage_begin(s) : s->in.start.spent_tokens), .masks = masks};
	return carry_metrics(run, masks ? s->in.dir : s->train_dir, dir, stem, p->metrics, e);
}

/* Metrics of every phase of the student's own stages: the last training, the last masks, and those before them. */
static int carry_all(struct result *r, const struct run *run, const struct student_stage *last, const char *dir, struct err *e)
{
	TRY(carry_metrics(run, last->train_dir, dir, "metrics", r->metrics, e));
	for (const struct student_stage *s = last; s; s = s->number > 1 ? s->before : NULL) {
		if (s != last && s->spec->train)
			TRY(carry_earlier(r, run, s, false, dir, e));
		if (s->spec->init->masks && *r->masks_metrics) {
			TRY(carry_earlier(r, run, s, true, dir, e));
		} else if (s->spec->init->masks) {
			r->masks_after = (double)student_stage_begin(s);
			TRY(carry_metrics(run, s->in.dir, dir, "masks", r->masks_metrics, e));
		}
	}
	return 0;
out:
	return -1;
}

/* ---- the whole ---- */

static void fill_warnings(struct result *r, const struct student_stage *s)
{
	if (s->number > 1)
		fill_warnings(r, s->before);
	if (*s->search.warning && r->n_warnings < RESULT_MAX_WARNINGS)
		snprintf(r->warnings[r->n_warnings++], sizeof r->warnings[0], "%s", s->search.warning);
	for (int i = 0; i < s->in.n_warnings && r->n_warnings < RESULT_MAX_WARNINGS; i++)
		snprintf(r->warnings[r->n_warnings++], sizeof r->warnings[0], "%s", s->in.warnings[i]);
}

int student_history(struct result *r, const struct run *run, const struct student_stage *last, const struct arch *teacher, const char *dir,
		    struct err *e)
{
	char *metrics = path_format("%s/%s", last->train_dir, metrics_name(run));
	int rc = -1;
	fill_init(r, last, teacher);
	fill_train(r, &last->phase, &last->search);
	TRY(fill_distill(r, &last->phase, metrics, e));
	fill_warnings(r, last);
	TRY(carry_all(r, run, last, dir, e));
	TRY(carry_searches(r, run, last, dir, e));
	rc = 0;
out:
	free(metrics);
	return rc;
}

#include "recipes/stage_student.h"

#include "base/hash.h"
#include "base/log.h"
#include "kernels/ops.h"
#include "recipes/heldout.h"
#include "recipes/stage.h"
#include "recipes/student_history.h"

#include <stdlib.h>
#include <string.h>

/* ---- evaluation and result.json ---- */

static int evaluate_domain(const struct run *run, struct loaded_model *m, const struct corpus_domain *d, struct loaded_model *teacher,
			   struct result_eval *out, struct err *e)
{
	struct evaluator_options o = {.sequence_length = (int)run->spec->report->sequence_length};
	struct shard_documents docs = {0};
	size_t n = corpus_n_documents(d->eval, d->n_eval), most = (size_t)run->spec->report->documents;
	struct document_source source = shard_documents_open(&docs, d->eval, d->n_eval, 0, most && most < n ? most : n,
							     documents_bos(run->corpus.tokenizer));
	snprintf(out->domain, sizeof out->domain, "%s", d->name);
	int rc = loaded_model_evaluate(m, teacher, &o, &source, &out->scores, NULL, NULL, e);
	shard_documents_close(&docs);
	return rc;
}

static void fill_shape(struct result *r, const struct run *run, const struct hf_model *hf)
{
	const struct arch *a = &hf->layout.arch;
	r->shape = a->shape;
	r->parameters = arch_n_params(a);
	r->flops_per_token = arch_flops_per_token(a, (int)run->spec->data->sequence_length);
	r->bytes = 0;
	for (int i = 0; i < hf->layout.n_tensors; i++)
		r->bytes += hf->tensors[i]->n_bytes;
}

static void fill_stamp(struct result *r, const struct run *run, uint64_t seed, uint64_t model_hash)
{
	struct result_stamp *s = &r->stamp;
	snprintf(s->commit, sizeof s->commit, "%s", version_commit());
	snprintf(s->device, sizeof s->device, "%s", run->ops->device);
	snprintf(s->dtype, sizeof s->dtype, "%s", run->ops->matmul_bf16 ? "bf16" : "fp32");
	snprintf(s->started, sizeof s->started, "%s", run->started);
	snprintf(s->recipe, sizeof s->recipe, "%s", run->spec->name);
	hash_hex(section_hash(&recipe_section, run->spec), s->recipe_hash);
	hash_hex(model_hash, s->model_hash);
	s->threads = run->ops->n_threads;
	s->seed = seed;
}

/* Evaluates model_dir on every domain, beside the teacher when there is one, and writes dir/result.json. */
static int write_result(const struct run *run, struct result *r, const char *dir, const char *model_dir, uint64_t model_hash,
			uint64_t seed, const char *teacher_dir, struct err *e)
{
	struct loaded_model model = {0}, teacher = {0};
	int rc = -1;
	log_line("evaluating %s", r->name);
	TRY(loaded_model_open(&model, run->eval_ops, model_dir, e));
	if (teacher_dir)
		TRY(loaded_model_open(&teacher, run->eval_ops, teacher_dir, e));
	fill_shape(r, run, &model.hf);
	fill_stamp(r, run, seed, model_hash);
	r->seed = seed;
	for (int i = 0; i < run->corpus.n_domains; i++) {
		TRY(evaluate_domain(run, &model, &run->corpus.domains[i], teacher_dir ? &teacher : NULL, &r->evals[i], e));
		r->n_evals = i + 1;
	}
	TRY(heldout_nll(run, &model, &r->heldout_nll, e));
	TRY(loaded_model_speed(&model, &r->tokens_per_s, e));
	TRY(result_write(r, dir, e));
	rc = 0;
out:
	loaded_model_close(&teacher);
	loaded_model_close(&model);
	return rc;
}

/* The loss of inherited weights before they are trained. */
static int fill_start(struct result *r, const struct run *run, const struct start *start, struct err *e)
{
	struct loaded_model m = {0};
	if (!start->dir)
		return 0;
	int rc = loaded_model_open(&m, run->eval_ops, start->dir, e) < 0 ? -1 : heldout_nll(run, &m, &r->start_nll, e);
	loaded_model_close(&m);
	return rc;
}

/* Of held-out text: its share of the training text, and the windows of training. */
static json_t *result_inputs(const struct run *run, uint64_t model_hash, uint64_t teacher_hash)
{
	json_t *domains = json_object(), *heldout = json_array();
	for (int i = 0; i < run->corpus.n_domains; i++) {
		json_object_set_new(domains, run->corpus.domains[i].name, stage_hash_json(run->corpus.domains[i].eval_hash));
		json_array_append_new(heldout, json_integer((json_int_t)run->corpus.domains[i].heldout_documents));
	}
	return json_pack("{s:o,s:o,s:o,s:I,s:I,s:{s:o,s:o,s:i}}", "model", stage_hash_json(model_hash), "teacher", stage_hash_json(teacher_hash),
			 "domains", domains, "sequence_length", (json_int_t)run->spec->report->sequence_length, "documents",
			 (json_int_t)run->spec->report->documents, "heldout", "text", stage_hash_json(run->corpus.train_hash), "documents", heldout,
			 "sequence_length", run->corpus.sequence_length);
}

/* dir: of the student; last: its last stage. */
static int finish_student(const struct run *run, const struct student_stage *last, const char *name, const char *dir, bool teacher, struct err *e)
{
	const struct phase *p = &last->phase;
	char *model = path_format("%s/model", p->dir), *at = path_format("%s/result", dir);
	struct result *r = result_new();
	bool done;
	int rc = -1;
	if (!r) {
		err_run(e, "out of memory");
		goto out;
	}
	json_t *inputs = result_inputs(run, last->source.hash, teacher ? 0 : run->teachers[0].hash);
	if (student_history_inputs(inputs, run, last, e) < 0) {
		json_decref(inputs);
		goto out;
	}
	TRY(stage_begin(at, inputs, &done, e));
	if (done) {
		rc = 0;
		goto out;
	}
	snprintf(r->name, sizeof r->name, "%s", name);
	snprintf(r->role, sizeof r->role, "%s", teacher ? "teacher" : "student");
	snprintf(r->model, sizeof r->model, "..%s/model", p->dir + strlen(dir));
	TRY(student_history(r, run, last, teacher ? &p->start->arch : &run->teachers[0].model.layout.arch, at, e));
	TRY(fill_start(r, run, p->start, e));
	TRY(write_result(run, r, at, model, last->source.hash, p->seed, teacher ? NULL : run->teachers[0].dir, e));
	TRY(stage_finish(at, e));
	rc = 0;
out:
	result_free(r);
	free(at);
	free(model);
	return rc;
}

/* ---- the stages ---- */

static int grow(const struct run *run, const char *name, const struct student_spec *spec, uint64_t seed, const char *dir, bool teacher, struct err *e)
{
	struct student_stage *last = NULL;
	int rc = student_stages_run(&last, run, name, spec, seed, dir, e);
	if (rc == 0)
		rc = finish_student(run, last, name, dir, teacher, e);
	student_stages_free(last);
	return rc;
}

int stage_student(const struct run *run, const char *name, const struct student_spec *spec, uint64_t seed, struct err *e)
{
	char *dir = student_dir(run, name, seed);
	int rc = grow(run, name, spec, seed, dir, false, e);
	if (rc < 0 && !run_interrupted())
		err_prefix(e, "student '%s'", name);
	free(dir);
	return rc;
}

int stage_train_teacher(const struct run *run, const struct teacher_spec *t, struct err *e)
{
	const struct student_spec alone = {.one = {.at = t->at, .init = t->init, .train = t->train}};
	char *dir = path_format("%s/teacher", run->dir);
	int rc = grow(run, "teacher", &alone, (uint64_t)run->spec->seeds.v[0], dir, true, e);
	free(dir);
	return rc;
}

int stage_given_teacher(const struct run *run, struct err *e)
{
	char *at = path_format("%s/teacher/result", run->dir);
	struct result *r = result_new();
	bool done;
	int rc = -1;
	if (!r) {
		err_run(e, "out of memory");
		goto out;
	}
	TRY(stage_begin(at, result_inputs(run, run->teachers[0].hash, 0), &done, e));
	if (!done) {
		snprintf(r->name, sizeof r->name, "teacher");
		snprintf(r->role, sizeof r->role, "teacher");
		snprintf(r->init, sizeof r->init, "model");
		snprintf(r->model, sizeof r->model, "%s", run->spec->teacher->trim ? "../trimmed/model" : run->teachers[0].dir);
		if (run->teachers[0].note)
			snprintf(r->warnings[r->n_warnings++], sizeof r->warnings[0], "%s", run->teachers[0].note);
		TRY(write_result(run, r, at, run->teachers[0].dir, run->teachers[0].hash, 0, NULL, e));
		TRY(stage_finish(at, e));
	}
	rc = 0;
out:
	result_free(r);
	free(at);
	return rc;
}

#include "recipes/run.h"

#include "base/fsio.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "kernels/ops.h"
#include "recipes/init.h"
#include "recipes/stage.h"
#include "recipes/stage_student.h"
#include "results/report.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- devices ---- */

int run_open_ops(const struct recipe_spec *r, int n_threads, struct ops **ops, struct ops **eval_ops, struct err *e)
{
	struct ops_options o = {.n_threads = n_threads, .bf16 = r->compute == COMPUTE_BF16};
	*ops = *eval_ops = NULL;
	if (r->device == DEVICE_CUDA)
		return yaml_caret(e, yaml_get(r->at, "device"), "device: this build has no CUDA backend; use auto or cpu");
	if (ops_cpu_open(ops, &o, e) < 0)
		return -1;
	if (o.bf16 && !(*ops)->matmul_bf16)
		log_line("compute: bf16 is asked for, but this CPU has no bf16 products: fp32 is used");
	*eval_ops = *ops;
	o.bf16 = false;
	if ((*ops)->matmul_bf16 && ops_cpu_open(eval_ops, &o, e) < 0) {
		ops_cpu_close(*ops);
		*ops = NULL;
		return -1;
	}
	return 0;
}

void run_close_ops(struct ops *ops, struct ops *eval_ops)
{
	if (eval_ops != ops)
		ops_cpu_close(eval_ops);
	ops_cpu_close(ops);
}

/* ---- the manifest: what must not change between starts ---- */

static void now_text(char out[32])
{
	time_t t = time(NULL);
	struct tm tm;
	gmtime_r(&t, &tm);
	strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static int check_manifest(struct run *run, const json_t *m, const char *path, struct err *e)
{
	const char *name, *device, *compute, *started;
	TRY(json_get_string(m, path, "name", "", &name, e));
	TRY(json_get_string(m, path, "device", "", &device, e));
	TRY(json_get_string(m, path, "compute", "", &compute, e));
	TRY(json_get_string(m, path, "started", "", &started, e));
	if (strcmp(name, run->spec->name))
		return err_user(e, "%s holds the run '%s', this recipe is '%s': give another --out", run->dir, name, run->spec->name);
	run->started = pool_strdup(&run->recipe.pool, started);
	const char *now = run->ops->matmul_bf16 ? "bf16" : "fp32";
	if (!run->allow_drift && (strcmp(device, run->ops->device) || (strcmp(compute, now) && run->spec->compute == COMPUTE_BF16)))
		return err_user(e, "%s was started on \"%s\" in %s, this is \"%s\" in %s: results would not repeat to the bit; --allow-drift goes on all the same",
				run->dir, device, compute, run->ops->device, now);
	return 0;
out:
	return -1;
}

/* From here on the run belongs to this machine. */
static int drift(const struct run *run, json_t *m, const char *path, struct err *e)
{
	json_object_set_new(m, "device", json_string(run->ops->device));
	json_object_set_new(m, "threads", json_integer(run->ops->n_threads));
	json_object_set_new(m, "compute", json_string(run->ops->matmul_bf16 ? "bf16" : "fp32"));
	return json_write_file(path, m, e);
}

static int manifest_threads(const char *path, int64_t wanted, int *out, struct err *e)
{
	json_t *m = NULL;
	int64_t threads = wanted;
	int rc = -1;
	if (!wanted && fsio_exists(path)) {
		TRY(json_read_file(path, &m, e));
		TRY(json_get_int64(m, path, "threads", 0, 0, 4096, &threads, e));
	}
	*out = (int)threads;
	rc = 0;
out:
	json_decref(m);
	return rc;
}

static int open_manifest(struct run *run, struct err *e)
{
	char *path = path_format("%s/manifest.json", run->dir), *resolved_path = path_format("%s/recipe.yaml", run->dir);
	char *resolved = recipe_resolved(&run->recipe), now[32];
	json_t *m = NULL;
	int threads, rc = -1;
	TRY(manifest_threads(path, run->spec->threads, &threads, e));
	TRY(run_open_ops(run->spec, threads, &run->ops, &run->eval_ops, e));
	if (fsio_exists(path)) {
		TRY(json_read_file(path, &m, e));
		TRY(check_manifest(run, m, path, e));
		if (run->allow_drift)
			TRY(drift(run, m, path, e));
	} else {
		now_text(now);
		run->started = pool_strdup(&run->recipe.pool, now);
		m = json_pack("{s:s,s:s,s:i,s:s,s:s,s:s,s:s}", "name", run->spec->name, "device", run->ops->device, "threads", run->ops->n_threads,
			      "compute", run->ops->matmul_bf16 ? "bf16" : "fp32", "version", version_number(), "commit", version_commit(), "started", now);
		TRY(json_write_file(path, m, e));
	}
	TRY(fsio_write_file(resolved_path, resolved, strlen(resolved), e));
	rc = 0;
out:
	json_decref(m);
	free(resolved);
	free(resolved_path);
	free(path);
	return rc;
}

/* ---- teacher ---- */

static int check_vocabulary(const struct run *run, const char *dir, const struct arch *a, struct err *e)
{
	int V = a->shape.V, n = tokenizer_vocab_size(run->corpus.tokenizer);
	if (n > V)
		return err_user(e, "%s: the tokenizer has %d tokens, the model's vocabulary only %d: they don't belong together", dir, n, V);
	return 0;
}

/* Of a model that an init names, if it does. */
static int check_init_vocabulary(const struct run *run, const struct init_spec *init, struct err *e)
{
	struct arch a;
	if (!init || !init->model)
		return 0;
	return init_arch(run, init, &a, e) < 0 ? -1 : check_vocabulary(run, init->model, &a, e);
}

static int check_vocabularies(const struct run *run, struct err *e)
{
	const struct recipe_spec *r = run->spec;
	if (run->teachers[0].dir)
		TRY(check_vocabulary(run, run->teachers[0].dir, &run->teachers[0].model.layout.arch, e));
	TRY(check_init_vocabulary(run, r->teacher->init, e));
	for (int i = 0; i < r->students.n; i++)
		TRY(check_init_vocabulary(run, ((const struct student_spec *)r->students.v[i])->init, e));
	return 0;
out:
	return -1;
}

static int open_teacher(struct run *run, const char *dir, struct err *e)
{
	TRY(hf_open(&run->teachers[0].model, dir, e));
	run->teachers[0].dir = pool_strdup(&run->recipe.pool, dir);
	run->teachers[0].hash = hf_hash(&run->teachers[0].model);
	return 0;
out:
	return -1;
}

static int check_positions(const struct recipe_spec *r, const char *who, const struct arch *a, struct err *e)
{
	const struct yaml_node *data = yaml_get(r->data->at, "sequence_length"), *report = yaml_get(r->report->at, "sequence_length");
	if (r->data->sequence_length > a->max_positions)
		return yaml_caret(e, data ? data : r->data->at, "sequence_length %lld is more than the %d positions of %s",
				  (long long)r->data->sequence_length, a->max_positions, who);
	if (r->report->sequence_length > a->max_positions)
		return yaml_caret(e, report ? report : r->report->at, "report.sequence_length %lld is more than the %d positions of %s",
				  (long long)r->report->sequence_length, a->max_positions, who);
	return 0;
}

static int check_students(const struct run *run, struct err *e)
{
	const struct recipe_spec *r = run->spec;
	if (check_positions(r, "the teacher", &run->teachers[0].model.layout.arch, e) < 0)
		return -1;
	for (int i = 0; i < r->students.n; i++) {
		const struct student_spec *s = r->students.v[i];
		struct arch arch;
		if (init_arch(run, s->init, &arch, e) < 0 || check_positions(r, r->students.names[i], &arch, e) < 0)
			return -1;
		if (s->train->distill && arch.shape.V > run->teachers[0].model.layout.arch.shape.V)
			return yaml_caret(e, s->at, "students.%s: its vocabulary of %d is larger than the teacher's %d", r->students.names[i], arch.shape.V,
					  run->teachers[0].model.layout.arch.shape.V);
	}
	return 0;
}

/* The same for a teacher that is still to be made: its shape is known. */
static int check_students_to_be(const struct run *run, struct err *e)
{
	struct run dry = *run;
	const struct tokenizer_spec *t = run->spec->data->tokenizer;
	struct arch arch;
	int rc = -1;
	if (t && t->path)
		TRY(tokenizer_open(&dry.corpus.tokenizer, t->path, e));
	TRY(init_arch(&dry, run->spec->teacher->init, &arch, e));
	TRY(param_layout_init(&dry.teachers[0].model.layout, &arch, e));
	dry.teachers[0].dir = dry.dir; /* there is one */
	rc = check_students(&dry, e);
	param_layout_release(&dry.teachers[0].model.layout);
out:
	tokenizer_free(dry.corpus.tokenizer);
	return rc;
}

/* What can be refused is refused before anything is made. */
static int check_first(struct run *run, struct err *e)
{
	if (!run->spec->teacher->model)
		return check_students_to_be(run, e);
	return open_teacher(run, run->spec->teacher->model, e) < 0 ? -1 : check_students(run, e);
}

static int make_teacher(struct run *run, struct err *e)
{
	const struct teacher_spec *t = run->spec->teacher;
	char *dir = path_format("%s/teacher/train/model", run->dir);
	int rc = -1;
	TRY(stage_train_teacher(run, t, e));
	TRY(open_teacher(run, dir, e));
	TRY(check_students(run, e));
	rc = 0;
out:
	free(dir);
	return rc;
}

/* ---- report ---- */

static int read_all(const struct run *run, struct result **results, int *n, struct err *e)
{
	const struct recipe_spec *r = run->spec;
	char *teacher = path_format("%s/teacher/result", run->dir);
	int rc = result_read(&results[0], teacher, e);
	free(teacher);
	*n = rc < 0 ? 0 : 1;
	for (int i = 0; rc == 0 && i < r->students.n; i++)
		for (int k = 0; rc == 0 && k < r->seeds.n; k++) {
			BUG_ON(*n == RECIPE_MAX_RESULTS); /* recipe.c refuses it */
			char *base = student_dir(run, r->students.names[i], (uint64_t)r->seeds.v[k]), *dir = path_format("%s/result", base);
			rc = result_read(&results[*n], dir, e);
			*n += rc == 0;
			free(dir);
			free(base);
		}
	return rc;
}

static int report(const struct run *run, struct err *e)
{
	struct result **results = calloc(RECIPE_MAX_RESULTS, sizeof(struct result *));
	struct compare_options o = compare_default();
	struct report_options ro = report_default();
	struct comparison *c = NULL;
	char *dir = path_format("%s/report", run->dir);
	int n = 0, rc = -1;
	if (!results) {
		err_run(e, "out of memory");
		goto out;
	}
	o.reference = run->spec->report->reference;
	o.bootstrap.resamples = (int)run->spec->report->bootstrap;
	TRY(read_all(run, results, &n, e));
	TRY(compare_results(&c, results, n, &o, e));
	TRY(fsio_mkdirs(dir, e));
	ro.title = run->spec->name;
	ro.dir = dir;
	ro.notes = (const char *const *)run->spec->report->notes.v;
	ro.n_notes = run->spec->report->notes.n;
	TRY(report_write(c, &ro, e));
	TRY(compare_print(c, stdout, e));
	printf("\nreport: %s/report.html\n", dir);
	rc = 0;
out:
	compare_free(c);
	for (int i = 0; i < n; i++)
		result_free(results[i]);
	free(results);
	free(dir);
	return rc;
}

/* ---- the whole ---- */

static void close_run(struct run *run)
{
	hf_close(&run->teachers[0].model);
	corpus_close(&run->corpus);
	run_close_ops(run->ops, run->eval_ops);
	fsio_unlock(&run->lock_fd);
	free(run->dir);
	recipe_close(&run->recipe);
}

static int check_files(const struct yaml_node *domain, const char *key, const struct string_list *files, struct err *e)
{
	for (int i = 0; i < files->n; i++) {
		const struct yaml_node *at = yaml_get(domain, key);
		if (!fsio_exists(files->v[i]))
			return yaml_caret(e, at->kind == YAML_SEQUENCE ? at->children[i] : at, "%s: no such file", files->v[i]);
	}
	return 0;
}

static int check_model(const struct yaml_node *section, const char *dir, struct err *e)
{
	const struct yaml_node *at = yaml_get(section, "model");
	if (!dir || fsio_is_dir(dir))
		return 0;
	return yaml_caret(e, at ? at : section, "%s: no such directory; expected one with config.json and *.safetensors", dir);
}

/* Whatever the recipe names must be there. */
static int check_paths(const struct recipe_spec *r, struct err *e)
{
	for (int i = 0; i < r->data->domains.n; i++) {
		const struct domain_spec *d = r->data->domains.v[i];
		TRY(check_files(d->at, "train", &d->train, e));
		TRY(check_files(d->at, "eval", &d->eval, e));
	}
	TRY(check_model(r->teacher->at, r->teacher->model, e));
	if (r->teacher->init)
		TRY(check_model(r->teacher->init->at, r->teacher->init->model, e));
	for (int i = 0; i < r->students.n; i++) {
		const struct student_spec *s = r->students.v[i];
		TRY(check_model(s->init->at, s->init->model, e));
	}
	return 0;
out:
	return -1;
}

/* A directory that holds something, but no run, is somebody's: nothing is written into it. */
static int check_directory(const char *dir, struct err *e)
{
	char *manifest = path_format("%s/manifest.json", dir), stranger[256] = "";
	DIR *d = fsio_exists(manifest) ? NULL : opendir(dir);
	for (const struct dirent *entry; d && (entry = readdir(d));)
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") && strcmp(entry->d_name, "lock") && strcmp(entry->d_name, "manifest.json.tmp"))
			snprintf(stranger, sizeof stranger, "%s", entry->d_name);
	if (d)
		closedir(d);
	free(manifest);
	return *stranger ? err_user(e, "%s: is not empty (%s) and holds no run: give another --out", dir, stranger) : 0;
}

static int open_run(struct run *run, const struct run_options *o, struct err *e)
{
	TRY(recipe_open(&run->recipe, o->recipe_path, o->sets, o->n_sets, e));
	TRY(check_paths(run->recipe.spec, e));
	run->spec = run->recipe.spec;
	run->allow_drift = o->allow_drift;
	run->dir = o->out ? strdup(o->out) : path_format("runs/%s", run->spec->name);
	return 0;
out:
	return -1;
}

/* Between stages; inside of them the training loop looks itself. */
static int go_on(struct err *e)
{
	return run_interrupted() ? err_run(e, "interrupted; the same command goes on") : 0;
}

static int run_stages(struct run *run, struct err *e)
{
	const struct recipe_spec *r = run->spec;
	if (go_on(e) < 0 || (r->teacher->init && make_teacher(run, e) < 0))
		return -1;
	for (int k = 0; k < r->seeds.n; k++)
		for (int i = 0; i < r->students.n; i++)
			if (go_on(e) < 0 || stage_student(run, r->students.names[i], r->students.v[i], (uint64_t)r->seeds.v[k], e) < 0)
				return -1;
	if (go_on(e) < 0 || (r->teacher->model && stage_given_teacher(run, e) < 0) || go_on(e) < 0)
		return -1;
	return report(run, e);
}

int run_recipe(const struct run_options *o, struct err *e)
{
	struct run run = {.lock_fd = -1};
	const struct recipe_spec *r;
	int rc = -1;
	TRY(open_run(&run, o, e));
	r = run.spec;
	TRY(check_first(&run, e));
	TRY(check_directory(run.dir, e));
	TRY(fsio_mkdirs(run.dir, e));
	TRY(fsio_lock(run.dir, &run.lock_fd, e));
	TRY(open_manifest(&run, e));
	TRY(corpus_open(&run.corpus, r->data, run.dir, run.teachers[0].dir ? run.teachers[0].dir : r->teacher->init->model, e));
	TRY(check_vocabularies(&run, e));
	TRY(run_stages(&run, e));
	rc = 0;
out:
	close_run(&run);
	return rc;
}

int run_plan(const struct run_options *o, struct err *e)
{
	struct run run = {.lock_fd = -1};
	int rc = -1;
	TRY(open_run(&run, o, e));
	TRY(run_open_ops(run.spec, (int)run.spec->threads, &run.ops, &run.eval_ops, e));
	TRY(check_first(&run, e));
	if (run.spec->teacher->init && run.spec->data->tokenizer && run.spec->data->tokenizer->path)
		TRY(tokenizer_open(&run.corpus.tokenizer, run.spec->data->tokenizer->path, e));
	TRY(plan_print(&run, e));
	rc = 0;
out:
	close_run(&run);
	return rc;
}

#include "recipes/run.h"

#include "base/fsio.h"
#include "base/log.h"
#include "recipes/manifest.h"
#include "recipes/preflight.h"
#include "recipes/shape_choice.h"
#include "recipes/stage.h"
#include "recipes/stage_student.h"
#include "recipes/stage_trim.h"
#include "recipes/student_stages.h"
#include "recipes/teachers.h"
#include "results/report.h"

#include <stdlib.h>
#include <string.h>

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
	o.references = (const char *const *)run->spec->report->references.v;
	o.n_references = run->spec->report->references.n;
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
	teachers_close(run);
	corpus_close(&run->corpus);
	shape_choices_free(run->shapes);
	run_close_ops(run);
	fsio_unlock(&run->lock_fd);
	free(run->dir);
	recipe_close(&run->recipe);
}

static int open_run(struct run *run, const struct run_options *o, struct err *e)
{
	TRY(recipe_open(&run->recipe, o->recipe_path, o->sets, o->n_sets, e));
	TRY(preflight_paths(run->recipe.spec, e));
	TRY(shape_choices_init(&run->shapes, e));
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

static int make_teacher(struct run *run, struct err *e)
{
	char *dir = path_format("%s/teacher/train/model", run->dir);
	int rc = -1;
	TRY(stage_train_teacher(run, run->spec->teacher, e));
	TRY(teachers_open(run, 0, dir, e));
	TRY(preflight_students(run, e));
	rc = 0;
out:
	free(dir);
	return rc;
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
	TRY(preflight_models(&run, e));
	TRY(preflight_directory(run.dir, e));
	TRY(fsio_mkdirs(run.dir, e));
	TRY(fsio_lock(run.dir, &run.lock_fd, e));
	TRY(manifest_open(&run, e));
	TRY(stage_trim(&run, e));
	TRY(corpus_open(&run.corpus, r->data, run.dir, run.teachers[0].dir ? run.teachers[0].dir : r->teacher->init->model, e));
	TRY(preflight_vocabularies(&run, e));
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
	TRY(run_open_ops(&run, (int)run.spec->threads, e));
	TRY(preflight_models(&run, e));
	if (run.spec->teacher->init && run.spec->data->tokenizer && run.spec->data->tokenizer->path)
		TRY(tokenizer_open(&run.corpus.tokenizer, run.spec->data->tokenizer->path, e));
	TRY(plan_print(&run, e));
	rc = 0;
out:
	close_run(&run);
	return rc;
}

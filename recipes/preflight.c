#include "recipes/preflight.h"

#include "base/fsio.h"
#include "prune/cut.h"
#include "recipes/init.h"
#include "recipes/outline.h"
#include "recipes/shape_choice.h"
#include "recipes/stage.h"
#include "recipes/supply.h"
#include "recipes/teachers.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* ---- files ---- */

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

int preflight_paths(const struct recipe_spec *r, struct err *e)
{
	for (int i = 0; i < r->data->domains.n; i++) {
		const struct domain_spec *d = r->data->domains.v[i];
		TRY(check_files(d->at, "train", &d->train, e));
		TRY(check_files(d->at, "eval", &d->eval, e));
	}
	for (int i = 0; i < r->teachers.n; i++) {
		const struct teacher_spec *t = r->teachers.v[i];
		TRY(check_model(t->at, t->model, e));
		if (t->init)
			TRY(check_model(t->init->at, t->init->model, e));
	}
	for (int i = 0; i < r->students.n; i++) {
		const struct init_spec *first = recipe_stage(r->students.v[i], 0)->init;
		TRY(check_model(first->at, first->model, e));
	}
	return 0;
out:
	return -1;
}

int preflight_directory(const char *dir, struct err *e)
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

/* ---- vocabularies ---- */

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
	const struct source from = source_teacher(run);
	struct arch a;
	if (!init || !init->model)
		return 0;
	return init_arch(run, &from, init, &a, e) < 0 ? -1 : check_vocabulary(run, init->model, &a, e);
}

int preflight_vocabularies(const struct run *run, struct err *e)
{
	const struct recipe_spec *r = run->spec;
	for (int i = 0; i < run->n_teachers; i++)
		if (run->teachers[i].dir)
			TRY(check_vocabulary(run, run->teachers[i].dir, &run->teachers[i].model.layout.arch, e));
	TRY(check_init_vocabulary(run, r->teacher->init, e));
	for (int i = 0; i < r->students.n; i++)
		TRY(check_init_vocabulary(run, recipe_stage(r->students.v[i], 0)->init, e));
	TRY(teachers_check_tokenizers(run, e));
	return run->teachers[0].dir ? preflight_students(run, e) : 0; /* what a cache may hold is known now */
out:
	return -1;
}

/* ---- students ---- */

enum { PHASES = 2 * RECIPE_MAX_STAGES }; /* of a student, at most */

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

static int check_losses(const struct run *run, const struct source *from, const struct stage_spec *s, const struct arch *arch, struct err *e)
{
	struct kept kept = {0};
	struct supply *supply = NULL;
	int rc = -1;
	if (s->init->masks && s->init->masks->distill) {
		TRY(supply_open(&supply, run, s->init->masks->distill, &from->model->layout.arch, from->kept, e));
		supply_close(supply);
	}
	if (s->train && s->train->distill) {
		TRY(init_kept(from, s->init, arch, &kept, e));
		TRY(supply_open(&supply, run, s->train->distill, arch, kept.block ? &kept : NULL, e));
		supply_close(supply);
	}
	rc = 0;
out:
	kept_release(&kept);
	return rc;
}

/* Losses that candidates of its search are trained by. */
static int check_search(const struct run *run, const struct source *from, const struct init_spec *init, const struct arch *arch, struct err *e)
{
	if (!init_stands_in(run, init, &from->model->layout.arch))
		return 0;
	const struct shape_search_spec *search = target_spec(run->spec, init_target(init))->search;
	struct init_spec cut = {.at = init->at, .importance = search->init};
	return check_losses(run, from, &(struct stage_spec){.init = &cut, .train = search->train}, arch, e);
}

static int check_student(const struct run *run, const char *name, const struct student_spec *s, struct err *e)
{
	struct outline from;
	struct arch arch;
	int rc = 0;
	for (int i = 0; i < recipe_n_stages(s) && rc == 0; i++) {
		const struct stage_spec *stage = recipe_stage(s, i);
		rc = outline_open(&from, run, s, i, e);
		if (rc == 0 && (init_arch(run, &from.source, stage->init, &arch, e) < 0 || check_positions(run->spec, name, &arch, e) < 0 ||
				check_losses(run, &from.source, stage, &arch, e) < 0 || check_search(run, &from.source, stage->init, &arch, e) < 0))
			rc = -1;
		outline_close(&from);
	}
	return rc;
}

/* Of phase k of all students' stages: mask phases are even, trainings odd. */
static const struct distill_spec *distill_of(const struct recipe_spec *r, int k)
{
	const struct student_spec *s = r->students.v[k / PHASES];
	int i = k % PHASES / 2;
	if (i >= recipe_n_stages(s))
		return NULL;
	const struct stage_spec *stage = recipe_stage(s, i);
	const struct masks_spec *m = stage->init->masks;
	return k % 2 ? (stage->train ? stage->train->distill : NULL) : m ? m->distill : NULL;
}

static bool same_content(const struct run *run, const struct distill_spec *one, const struct distill_spec *two)
{
	struct cache_spec a = supply_cache_spec(run, one), b = supply_cache_spec(run, two);
	return a.kind == b.kind && a.K == b.K && a.top_p == b.top_p && a.power == b.power && a.seed == b.seed && a.tau == b.tau &&
	       a.value_type == b.value_type;
}

/* Students may share a directory of soft targets when they want the same ones. */
static int check_shared_caches(const struct run *run, struct err *e)
{
	const struct recipe_spec *r = run->spec;
	for (int k = 0; k < PHASES * r->students.n; k++) {
		const struct distill_spec *own = distill_of(r, k);
		for (int i = 0; own && own->cache && own->cache->dir && i < k; i++) {
			const struct distill_spec *other = distill_of(r, i);
			if (other && other->cache && other->cache->dir && !strcmp(own->cache->dir, other->cache->dir) && !same_content(run, own, other))
				return yaml_caret(e, yaml_get(own->cache->at, "dir"), "dir: %s is filled with other soft targets for '%s'; give each kind and temperature its own",
						  own->cache->dir, r->students.names[i / PHASES]);
		}
	}
	return 0;
}

int preflight_students(const struct run *run, struct err *e)
{
	const struct recipe_spec *r = run->spec;
	for (int i = 0; i < run->n_teachers; i++)
		if (check_positions(r, "the teacher", &run->teachers[i].model.layout.arch, e) < 0)
			return -1;
	for (int i = 0; i < r->students.n; i++)
		if (check_student(run, r->students.names[i], r->students.v[i], e) < 0)
			return -1;
	return check_shared_caches(run, e);
}

/* The same for a teacher that is still to be made: its shape is known. */
static int check_students_to_be(const struct run *run, struct err *e)
{
	struct run dry = *run;
	const struct tokenizer_spec *t = run->spec->data->tokenizer;
	const struct source nothing = source_teacher(run);
	struct arch arch;
	int rc = -1;
	if (t && t->path)
		TRY(tokenizer_open(&dry.corpus.tokenizer, t->path, e));
	TRY(init_arch(&dry, &nothing, run->spec->teacher->init, &arch, e));
	TRY(param_layout_init(&dry.teachers[0].model.layout, &arch, e));
	dry.teachers[0].dir = dry.dir; /* there is one */
	dry.n_teachers = 1;
	rc = preflight_students(&dry, e);
	param_layout_release(&dry.teachers[0].model.layout);
out:
	tokenizer_free(dry.corpus.tokenizer);
	return rc;
}

int preflight_models(struct run *run, struct err *e)
{
	if (teachers_open_given(run, e) < 0)
		return -1;
	return run->spec->teacher->model ? preflight_students(run, e) : check_students_to_be(run, e);
}

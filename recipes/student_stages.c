#include "recipes/student_stages.h"

#include "recipes/outline.h"
#include "recipes/stage.h"
#include "recipes/stage_shape.h"

#include <stdlib.h>
#include <string.h>

char *student_dir(const struct run *run, const char *name, uint64_t seed)
{
	return path_format("%s/students/%s/seed-%llu", run->dir, name, (unsigned long long)seed);
}

char *init_dir(const struct run *run, const struct init_spec *spec, uint64_t id, uint64_t seed)
{
	if (spec->layers.n && id == section_hash(&init_section, spec)) /* of the teacher: nothing random in it */
		return path_format("%s/init/layers-%08x", run->dir, (unsigned)id);
	return path_format("%s/init/%s-%08x-seed-%llu", run->dir, init_kind(spec), (unsigned)id, (unsigned long long)seed);
}

int64_t student_stage_begin(const struct student_stage *s)
{
	return s->before ? s->before->source.spent_tokens : 0;
}

void student_stages_free(struct student_stage *s)
{
	while (s) {
		struct student_stage *before = s->before;
		hf_close(&s->model);
		init_close(&s->in);
		free(s->train_dir);
		free(s);
		s = before;
	}
}

/* The search for its learning rate, and the training itself. */
static int train(struct student_stage *s, const struct run *run, const struct source *from, uint64_t seed, const char *dir, struct err *e)
{
	const struct train_spec *t = s->spec->train;
	char *search = s->number > 1 ? path_format("%s/stage-%d/search", dir, s->number) : path_format("%s/search", dir);
	int64_t budget = t->tokens - (s->in.start.spent_tokens - from->spent_tokens);
	int rc = -1;
	s->train_dir = s->number > 1 ? path_format("%s/stage-%d/train", dir, s->number) : path_format("%s/train", dir);
	s->phase = (struct phase){.run = run, .dir = s->train_dir, .label = s->label, .spec = t, .start = &s->in.start, .seed = seed};
	s->phase.tokens = search_tokens(t, budget);
	TRY(search_rate(&s->search, &s->phase, search, e));
	s->phase.tokens = budget;
	s->phase.keep = true;
	TRY(phase_train(&s->phase, e));
	rc = 0;
out:
	free(search);
	return rc;
}

/* What the stage leaves, as the source of another. */
static int open_end(struct student_stage *s, const struct source *from, struct err *e)
{
	const struct start *start = &s->in.start;
	const struct train_spec *t = s->spec->train;
	char *dir = t ? path_format("%s/model", s->train_dir) : NULL;
	int rc = hf_open(&s->model, dir ? dir : start->dir, e);
	free(dir);
	if (rc < 0)
		return -1;
	s->model.layout.arch.dtype = start->arch.dtype; /* a cut lies there in fp32; what it becomes is saved as its source was */
	s->source = (struct source){.model = &s->model, .dir = s->model.dir, .hash = hf_hash(&s->model),
				    .from_teacher = from->from_teacher && start->kept, .kept = start->kept, .spent_tokens = start->spent_tokens,
				    .spent_flops = start->spent_flops + (t ? s->phase.flops : 0)};
	if (t)
		s->source.spent_tokens += s->phase.tokens / t->batch_tokens * t->batch_tokens;
	return 0;
}

static int run_stage(struct student_stage *s, const struct run *run, uint64_t seed, const char *dir, struct err *e)
{
	const struct source from = s->before ? s->before->source : source_teacher(run);
	char *where = init_dir(run, s->spec->init, s->init_id, seed);
	int rc = -1;
	s->source_arch = from.model->layout.arch;
	TRY(stage_shape(run, &from, s->spec->init, e));
	TRY(init_open(&s->in, run, &from, s->spec->init, where, seed, e));
	if (s->spec->train)
		TRY(train(s, run, &from, seed, dir, e));
	TRY(open_end(s, &from, e));
	rc = 0;
out:
	free(where);
	return rc;
}

/* The end of the student that this one goes on from: it is finished. */
static int open_other(struct student_stage **out, const struct run *run, const struct student_spec *spec, uint64_t seed, struct err *e)
{
	const char *name = recipe_stage(spec, 0)->init->student;
	*out = NULL;
	if (!name)
		return 0;
	char *dir = student_dir(run, name, seed);
	int rc = student_stages_run(out, run, name, recipe_student(run->spec, name), seed, dir, e);
	free(dir);
	return rc;
}

int student_stages_run(struct student_stage **out, const struct run *run, const char *name, const struct student_spec *spec, uint64_t seed,
		       const char *dir, struct err *e)
{
	int n = recipe_n_stages(spec);
	if (open_other(out, run, spec, seed, e) < 0)
		return -1;
	for (int i = 0; i < n; i++) {
		struct student_stage *s = calloc(1, sizeof *s);
		BUG_ON(!s);
		*s = (struct student_stage){.before = *out, .spec = recipe_stage(spec, i), .number = i + 1};
		*out = s;
		s->init_id = stages_init_id(stages_id(run->spec, spec, i), s->spec->init);
		snprintf(s->label, sizeof s->label, n > 1 ? "%s, stage %d" : "%s", name, i + 1);
		if (run_interrupted() ? err_run(e, "interrupted; the same command goes on") < 0 : run_stage(s, run, seed, dir, e) < 0) {
			if (n > 1 && !run_interrupted())
				err_prefix(e, "stage %d", i + 1);
			student_stages_free(*out);
			*out = NULL;
			return -1;
		}
	}
	return 0;
}

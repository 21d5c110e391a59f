#include "recipes/outline.h"

#include "base/hash.h"
#include "recipes/init.h"

#include <string.h>

int64_t stage_tokens(const struct recipe_spec *r, const struct stage_spec *s)
{
	const struct train_spec *t = s->train;
	int64_t init = init_tokens(r, s->init);
	return t ? init + (t->tokens - init) / t->batch_tokens * t->batch_tokens : init;
}

/* ---- identity ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	const uint64_t both[] = {a, b};
	return a ? hash_bytes(both, sizeof both) : b;
}

uint64_t stages_init_id(uint64_t before, const struct init_spec *init)
{
	return init->student ? before : mix(before, section_hash(&init_section, init));
}

/* The student whose end the first stage starts from; NULL: none. */
static const struct student_spec *other_of(const struct recipe_spec *r, const struct student_spec *s)
{
	const char *name = recipe_stage(s, 0)->init->student;
	return name ? recipe_student(r, name) : NULL;
}

uint64_t stages_id(const struct recipe_spec *r, const struct student_spec *s, int n)
{
	if (!n) {
		const struct student_spec *other = other_of(r, s);
		return other ? stages_id(r, other, recipe_n_stages(other)) : 0;
	}
	const struct stage_spec *last = recipe_stage(s, n - 1);
	uint64_t start = stages_init_id(stages_id(r, s, n - 1), last->init);
	return last->train ? mix(start, section_hash(&train_section, last->train)) : start;
}

/* ---- shapes ---- */

static int follow(struct outline *o, const struct run *run, const struct source *from, const struct stage_spec *stage, struct err *e)
{
	struct arch arch;
	if (init_arch(run, from, stage->init, &arch, e) < 0 || init_kept(from, stage->init, &arch, &o->kept, e) < 0 ||
	    param_layout_init(&o->model.layout, &arch, e) < 0)
		return -1;
	o->source = (struct source){.model = &o->model, .dir = run->dir, /* there will be one */
				    .from_teacher = from->from_teacher && (init_is_cut(stage->init) || stage->init->student),
				    .kept = o->kept.block ? &o->kept : NULL,
				    .spent_tokens = from->spent_tokens + stage_tokens(run->spec, stage)};
	return 0;
}

int outline_open(struct outline *o, const struct run *run, const struct student_spec *s, int n, struct err *e)
{
	memset(o, 0, sizeof *o);
	if (!n) {
		const struct student_spec *other = other_of(run->spec, s);
		if (other)
			return outline_open(o, run, other, recipe_n_stages(other), e);
		o->source = source_teacher(run);
		return 0;
	}
	struct outline before;
	int rc = outline_open(&before, run, s, n - 1, e);
	if (rc == 0)
		rc = follow(o, run, &before.source, recipe_stage(s, n - 1), e);
	outline_close(&before);
	if (rc < 0)
		outline_close(o);
	return rc;
}

void outline_close(struct outline *o)
{
	hf_close(&o->model);
	kept_release(&o->kept);
	memset(o, 0, sizeof *o);
}

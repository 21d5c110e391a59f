/* What the tables of keys cannot say of a student's stages: where each may start, and what its budget leaves.
 * Test: tests/test_recipe_stages.c */
#include "recipes/check.h"

#include "base/suggest.h"
#include "recipes/init.h"

#include <string.h>

/* One that is listed before student i: then it is finished when it is needed. */
static int check_named(const struct recipe_spec *r, int i, const struct init_spec *init, struct err *e)
{
	const char *near = suggest_nearest(init->student, (const char *const *)r->students.names, (size_t)i);
	for (int k = 0; k < r->students.n; k++)
		if (!strcmp(init->student, r->students.names[k]) && k >= i)
			return yaml_caret(e, yaml_get(init->at, "student"), "student: '%s' is listed %s; expected one that is made earlier", init->student,
					  k > i ? "later" : "here");
	if (recipe_student(r, init->student))
		return 0;
	return yaml_caret(e, yaml_get(init->at, "student"), "student: nobody before this one is called '%s'%s%s%s", init->student,
			  near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* whose: "student", "stage". */
static int check_budget(const struct recipe_spec *r, const struct stage_spec *s, const char *whose, struct err *e)
{
	const struct train_spec *t = s->train;
	int64_t before = init_tokens(r, s->init);
	if (!before || t->tokens >= before + t->batch_tokens)
		return 0;
	return yaml_caret(e, check_place(t->at, "tokens"), "tokens are the whole budget of the %s: %lld leave nothing after the %lld of init.%s",
			  whose, (long long)t->tokens, (long long)before, init_kind(s->init));
}

static int check_stage(const struct recipe_spec *r, int student, int i, int n, const struct stage_spec *s, struct err *e)
{
	const char *kind = init_kind(s->init);
	if (check_init(r, s->init, e) < 0 || (s->train && (check_train(r, s->train, e) < 0 || check_budget(r, s, n > 1 ? "stage" : "student", e) < 0)))
		return -1;
	if (i && !init_is_cut(s->init))
		return yaml_caret(e, s->init->at, "init: a later stage cuts what the stage before it left; expected masks, layers or importance, found %s", kind);
	if (i == n - 1 && !s->train)
		return yaml_caret(e, s->at, "stage: the key 'train' is missing from the last one");
	if (s->init->random && !s->train)
		return yaml_caret(e, s->at, "stage: fresh weights are cut when they have learned something; add train");
	return s->init->student ? check_named(r, student, s->init, e) : 0;
}

int check_stages(const struct recipe_spec *r, int student, struct err *e)
{
	const struct student_spec *s = r->students.v[student];
	int n = recipe_n_stages(s);
	if (n > RECIPE_MAX_STAGES)
		return yaml_caret(e, s->stages.at[RECIPE_MAX_STAGES], "stages: at most %d, found %d", RECIPE_MAX_STAGES, n);
	for (int i = 0; i < n; i++)
		if (check_stage(r, student, i, n, recipe_stage(s, i), e) < 0)
			return -1;
	return 0;
}

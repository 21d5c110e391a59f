/* From a file to structs: parsing, what sections say of each other, checks; questions that many ask of a recipe. */
#include "recipes/recipe.h"

#include "recipes/check.h"
#include "recipes/distill.h"
#include "recipes/shape_choice.h"

#include <stdlib.h>
#include <string.h>

/* A budget is searched as the defaults say where nothing else is said. */
static int finish_shape(struct shape_spec *s, struct pool *p, struct err *e)
{
	if (!s)
		return 0;
	if (!s->search && shape_is_budget(s))
		s->search = section_default(&shape_search_section, s->at, p);
	return s->search ? distill_finish(s->search->train->distill, p, e) : 0;
}

static int finish_stage(const struct stage_spec *s, struct pool *p, struct err *e)
{
	const struct init_spec *i = s->init;
	if (s->train && distill_finish(s->train->distill, p, e) < 0)
		return -1;
	if (i->masks && distill_finish(i->masks->distill, p, e) < 0)
		return -1;
	return finish_shape(init_target(i), p, e);
}

/* What other sections said of these: the first teacher, presets as the lists that they stand for. */
static int finish(struct recipe_spec *r, struct pool *p, struct err *e)
{
	r->teacher = r->teachers.v[0];
	if (finish_shape(r->target, p, e) < 0)
		return -1;
	for (int i = 0; i < r->students.n; i++) {
		const struct student_spec *s = r->students.v[i];
		for (int k = 0; k < recipe_n_stages(s); k++)
			if (finish_stage(recipe_stage(s, k), p, e) < 0)
				return -1;
	}
	return 0;
}

int recipe_open(struct recipe *r, const char *path, const char *const *sets, int n_sets, struct err *e)
{
	memset(r, 0, sizeof *r);
	int rc = -1;
	if (yaml_parse_file(&r->tree, path, e) < 0) {
		e->status = ERR_USER; /* no such file: the command is wrong */
		goto out;
	}
	for (int i = 0; i < n_sets; i++)
		TRY(yaml_path_set(&r->tree, sets[i], e));
	r->path = pool_strdup(&r->pool, path);
	TRY(section_parse((void **)&r->spec, &recipe_section, r->tree.root, &r->pool, e));
	TRY(finish(r->spec, &r->pool, e));
	TRY(check_recipe(r->spec, e));
	rc = 0;
out:
	if (rc < 0)
		recipe_close(r);
	return rc;
}

void recipe_close(struct recipe *r)
{
	yaml_release(&r->tree);
	pool_release(&r->pool);
	memset(r, 0, sizeof *r);
}

char *recipe_resolved(const struct recipe *r)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	BUG_ON(!f);
	section_dump(f, &recipe_section, r->spec, 0);
	fclose(f);
	return text;
}

const char *init_kind(const struct init_spec *i)
{
	return i->masks ? "masks" : i->layers.n ? "layers" : i->importance ? "importance" : i->random ? "random" : i->student ? "student" : "model";
}

struct shape_spec *init_target(const struct init_spec *i)
{
	return i->masks ? i->masks->target : i->importance ? i->importance->target : i->random ? i->random->target : NULL;
}

int recipe_n_stages(const struct student_spec *s)
{
	return s->stages.n ? s->stages.n : 1;
}

const struct stage_spec *recipe_stage(const struct student_spec *s, int i)
{
	return s->stages.n ? s->stages.v[i] : &s->one;
}

const struct student_spec *recipe_student(const struct recipe_spec *r, const char *name)
{
	for (int i = 0; i < r->students.n; i++)
		if (!strcmp(r->students.names[i], name))
			return r->students.v[i];
	return NULL;
}

double teacher_weight(const struct teacher_spec *t, const char *domain)
{
	for (int i = 0; i < t->domains.n; i++)
		if (!strcmp(t->domains.names[i], domain))
			return ((const struct share_spec *)t->domains.v[i])->weight;
	return t->weight;
}

double teacher_share(const struct recipe_spec *r, int teacher, const char *domain)
{
	double sum = 0;
	for (int i = 0; i < r->teachers.n; i++)
		sum += teacher_weight(r->teachers.v[i], domain);
	return sum > 0 ? teacher_weight(r->teachers.v[teacher], domain) / sum : 0;
}

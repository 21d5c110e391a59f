/* What the tables of keys cannot say of a target. Test: tests/test_recipe_shapes.c */
#include "recipes/check.h"

#include "recipes/shape_choice.h"

static int check_candidates(const struct recipe_spec *r, const struct shape_search_spec *s, struct err *e)
{
	if (s->init->merge_kv)
		return yaml_caret(e, check_place(s->init->at, "merge_kv"), "merge_kv: a search keeps whole groups of query heads, whose key-value heads are not merged");
	if (check_scores(r, s->init, e) < 0 || check_train(r, s->train, e) < 0)
		return -1;
	if (s->train->lr.n > 1)
		return yaml_caret(e, check_place(s->train->at, "lr"), "lr: candidates of a search learn at one rate, found %d", s->train->lr.n);
	return 0;
}

/* Without a budget there is nothing that these could belong to. */
static int check_sizes(const struct shape_spec *s, struct err *e)
{
	struct target ignored;
	const char *stray = s->length ? "length" : s->batch > 1 ? "batch" : s->search ? "search" : NULL;
	if (stray)
		return yaml_caret(e, check_place(s->at, stray), "%s: it belongs to a budget; expected parameters, memory, flops_per_token, prefill_ms or decode_ms beside it",
				  stray);
	return shape_sizes(s, NULL, &ignored, e);
}

int check_shape(const struct recipe_spec *r, const struct shape_spec *s, struct err *e)
{
	if (!s)
		return 0;
	return shape_is_budget(s) ? check_candidates(r, s->search, e) : check_sizes(s, e);
}

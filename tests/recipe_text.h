/* A recipe as text, edited and opened: what the tests of the recipe language share. Include testing.h first. */
#ifndef TESTS_RECIPE_TEXT_H
#define TESTS_RECIPE_TEXT_H

#include "recipes/recipe.h"

static const char base[] =
	"recipe: 1\n"                                                                /* 1 */
	"name: shear\n"                                                              /* 2 */
	"seeds: [17]\n"                                                              /* 3 */
	"teacher: some/model\n"                                                      /* 4 */
	"data:\n"                                                                    /* 5 */
	"  sequence_length: 256\n"                                                   /* 6 */
	"  domains:\n"                                                               /* 7 */
	"    stories: {train: [a.txt], eval: [b.txt]}\n"                             /* 8 */
	"target: &shape {layers: 4, hidden: 128, heads: 4, kv_heads: 2, intermediate: 320}\n"
	"students:\n"                                                                /* 10 */
	"  sheared:\n"                                                               /* 11 */
	"    init: {masks: {target: *shape, tokens: 1.5M, batch_tokens: 4Ki}}\n"     /* 12 */
	"    train: &budget {tokens: 5M, batch_tokens: 8Ki, lr: 1e-3, distill: {weight: 0.5}}\n"
	"  halved:\n"                                                                /* 14 */
	"    init: {layers: [0, 2, 4]}\n"                                            /* 15 */
	"    train: *budget\n"                                                       /* 16 */
	"  scratch:\n"                                                               /* 17 */
	"    init: {random: {}}\n"                                                   /* 18 */
	"    train: {<<: *budget, distill: null}\n"                                  /* 19 */
	"report: {reference: scratch}\n";                                            /* 20 */

/* base with the first `from` made `to`. */
static inline char *edited(const char *from, const char *to)
{
	const char *at = strstr(base, from);
	if (!at)
		fail_msg("the recipe has no '%s'", from);
	char *text = malloc(sizeof base + strlen(to));
	BUG_ON(!text);
	sprintf(text, "%.*s%s%s", (int)(at - base), base, to, at + strlen(from));
	return text;
}

/* As the file r.yaml. */
static inline int open_text(struct recipe *r, const char *text, const char *const *sets, int n_sets, struct err *e)
{
	struct test_path dir = test_dir_make(), file = test_join(&dir, "r.yaml");
	test_write(file.text, text);
	int rc = recipe_open(r, file.text, sets, n_sets, e);
	test_dir_remove(&dir);
	return rc;
}

/* What must be taken. */
static inline void open_edited(struct recipe *r, const char *from, const char *to)
{
	struct err e = {0};
	char *text = edited(from, to);
	if (open_text(r, text, NULL, 0, &e) < 0)
		fail_msg("refused: %s", e.line);
	free(text);
}

/* The resolved recipe parses to itself. */
static inline void assert_fixed_point(const struct recipe *r)
{
	struct recipe again;
	struct err e;
	char *first = recipe_resolved(r);
	assert_ok(open_text(&again, first, NULL, 0, &e), &e);
	char *second = recipe_resolved(&again);
	assert_string_equal(first, second);
	assert_true(section_hash(&recipe_section, r->spec) == section_hash(&recipe_section, again.spec));
	free(first);
	free(second);
	recipe_close(&again);
}

/* ---- refusals ---- */

struct refusal {
	const char *from, *to, *place, *words; /* the edit of base; "line:column" of the caret; what the line says */
};

static inline bool refused(const struct refusal *r)
{
	struct recipe recipe;
	struct err e = {0};
	char place[32], *text = edited(r->from, r->to);
	snprintf(place, sizeof place, "r.yaml:%s: ", r->place);
	int rc = open_text(&recipe, text, NULL, 0, &e);
	free(text);
	if (rc < 0 && strstr(e.line, place) && strstr(e.line, r->words) && e.status == ERR_USER && e.line[strlen(e.line) - 1] == '^')
		return true;
	print_error("for '%s': %s\nexpected %s and: %s\n", r->to, rc < 0 ? e.line : "taken", place, r->words);
	return false;
}

static inline void assert_refused(const struct refusal *refusals, size_t n)
{
	bool all = true;
	for (size_t i = 0; i < n; i++)
		all &= refused(&refusals[i]);
	assert_true(all);
}

#endif

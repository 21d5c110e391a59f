#include "recipes/keys.h"

#include "base/suggest.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

struct pool_block {
	struct pool_block *next;
	max_align_t data[];
};

void *pool_alloc(struct pool *p, size_t n_bytes)
{
	struct pool_block *b = calloc(1, sizeof *b + n_bytes);
	BUG_ON(!b); /* a recipe is at most a megabyte */
	b->next = p->first;
	p->first = b;
	return b->data;
}

char *pool_strdup(struct pool *p, const char *s)
{
	size_t n = strlen(s) + 1;
	return memcpy(pool_alloc(p, n), s, n);
}

void pool_release(struct pool *p)
{
	for (struct pool_block *b = p->first, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	p->first = NULL;
}

/* ---- scalars ---- */

static int real_parse(const char *text, double *out)
{
	char *end;
	if (!*text)
		return -1;
	errno = 0;
	*out = strtod(text, &end);
	return *end || !isfinite(*out) ? -1 : 0;
}

int count_parse(const char *text, int64_t *out)
{
	static const struct {
		const char *suffix;
		double factor;
	} suffixes[] = {{"", 1}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"Ki", 1024.}, {"Mi", 1048576.}, {"Gi", 1073741824.}};
	char *end;
	double v = strtod(text, &end);
	if (end == text || !isfinite(v) || strpbrk(text, "xX") || strchr(" \t\n\v\f\r", *text))
		return -1;
	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		double n = v * suffixes[i].factor, whole = round(n);
		if (strcmp(end, suffixes[i].suffix))
			continue;
		if (fabs(n) > 9e15 || fabs(n - whole) > 1e-15 * fabs(n)) /* 2.01k is 2009.9999999999998 */
			return -1;
		*out = (int64_t)whole;
		return 0;
	}
	return -1;
}

static const char *number_word(enum key_type t)
{
	return t == KEY_REAL || t == KEY_REALS ? "a number" : t == KEY_COUNT ? "a count (500k, 1.5M, 4Ki)" : "an integer";
}

static int number_value(const struct key *k, const struct yaml_node *node, double *out, struct err *e)
{
	int64_t n = 0;
	bool real = k->type == KEY_REAL || k->type == KEY_REALS;
	if (node->kind != YAML_SCALAR || (real ? real_parse(node->text, out) : count_parse(node->text, &n)) < 0)
		return yaml_caret(e, node, "%s: expected %s%s%s, found %s", k->name, number_word(k->type), k->unit ? " of " : "",
				  k->unit ? k->unit : "", node->kind == YAML_SCALAR ? node->text : "a list or mapping");
	if (!real)
		*out = (double)n;
	if (k->min < k->max && (*out < k->min || *out > k->max))
		return yaml_caret(e, node, "%s: %s is outside %g to %g", k->name, node->text, k->min, k->max);
	return 0;
}

static int bool_value(const struct key *k, const struct yaml_node *node, bool *out, struct err *e)
{
	bool yes = node->kind == YAML_SCALAR && !strcmp(node->text, "true");
	if (!yes && (node->kind != YAML_SCALAR || strcmp(node->text, "false")))
		return yaml_caret(e, node, "%s: expected true or false", k->name);
	*out = yes;
	return 0;
}

static int choice_value(const struct key *k, const struct yaml_node *node, int *out, struct err *e)
{
	size_t n = 0;
	for (; k->choices[n]; n++)
		if (node->kind == YAML_SCALAR && !strcmp(node->text, k->choices[n])) {
			*out = (int)n;
			return 0;
		}
	char all[256] = "";
	for (size_t i = 0; i < n; i++)
		snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", k->choices[i]);
	const char *near = node->kind == YAML_SCALAR ? suggest_nearest(node->text, k->choices, n) : NULL;
	return yaml_caret(e, node, "%s: expected one of %s%s%s%s", k->name, all, near ? "; did you mean " : "", near ? near : "",
			  near ? "?" : "");
}

static int string_value(const struct key *k, const struct yaml_node *node, char **out, struct pool *p, struct err *e)
{
	if (node->kind != YAML_SCALAR || !*node->text)
		return yaml_caret(e, node, "%s: expected text", k->name);
	*out = pool_strdup(p, node->text);
	return 0;
}

/* ---- lists and sections ---- */

static int list_value(const struct key *k, const struct yaml_node *node, char *member, struct pool *p, struct err *e)
{
	struct yaml_node *self = (struct yaml_node *)(uintptr_t)node;
	bool one = node->kind == YAML_SCALAR;
	if (node->kind == YAML_MAPPING)
		return yaml_caret(e, node, "%s: expected a list", k->name);
	size_t n = one ? 1 : node->n;
	struct yaml_node **items = one ? &self : node->children;
	char **strings = pool_alloc(p, n * sizeof *strings);
	double *reals = pool_alloc(p, n * sizeof *reals);
	int64_t *ints = pool_alloc(p, n * sizeof *ints);
	for (size_t i = 0; i < n; i++) {
		if (k->type == KEY_STRINGS ? string_value(k, items[i], &strings[i], p, e) < 0 :
					     number_value(k, items[i], &reals[i], e) < 0)
			return -1;
		ints[i] = (int64_t)reals[i];
	}
	if (k->type == KEY_STRINGS)
		*(struct string_list *)(void *)member = (struct string_list){strings, (int)n};
	else if (k->type == KEY_REALS)
		*(struct real_list *)(void *)member = (struct real_list){reals, (int)n};
	else
		*(struct int_list *)(void *)member = (struct int_list){ints, (int)n};
	return 0;
}

static bool is_name(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
	return n && n <= 48 && !s[n] && s[0] != '.' && s[0] != '-' && !strstr(s, ".old-");
}

static int named_value(const struct key *k, const struct yaml_node *node, struct named_list *out, struct pool *p, struct err *e)
{
	if (node->kind != YAML_MAPPING || !node->n)
		return yaml_caret(e, node, "%s: expected a mapping of names to %ss", k->name, k->section->name);
	*out = (struct named_list){pool_alloc(p, node->n * sizeof(char *)), pool_alloc(p, node->n * sizeof(void *)),
				   pool_alloc(p, node->n * sizeof(void *)), (int)node->n};
	for (size_t i = 0; i < node->n; i++) {
		if (!is_name(node->keys[i]->text))
			return yaml_caret(e, node->keys[i], "a name has at most 48 letters, digits, '_', '-' and '.', starts with a letter, digit or '_', and has no '.old-' in it");
		out->names[i] = pool_strdup(p, node->keys[i]->text);
		out->at[i] = node->keys[i];
		if (section_parse(&out->v[i], k->section, node->children[i], p, e) < 0)
			return -1;
	}
	return 0;
}

static int sections_value(const struct key *k, const struct yaml_node *node, struct section_list *out, struct pool *p, struct err *e)
{
	bool several = node->kind == YAML_SEQUENCE;
	size_t n = several ? node->n : 1;
	if (!n)
		return yaml_caret(e, node, "%s: expected at least one", k->name);
	*out = (struct section_list){pool_alloc(p, n * sizeof(void *)), pool_alloc(p, n * sizeof(void *)), (int)n};
	for (size_t i = 0; i < n; i++) {
		out->at[i] = several ? node->children[i] : node;
		if (section_parse(&out->v[i], k->section, out->at[i], p, e) < 0)
			return -1;
	}
	return 0;
}

static int key_value(const struct key *k, const struct yaml_node *node, char *member, struct pool *p, struct err *e)
{
	double number;
	switch (k->type) {
	case KEY_STRING:
		return string_value(k, node, (char **)(void *)member, p, e);
	case KEY_BOOL:
		return bool_value(k, node, (bool *)member, e);
	case KEY_CHOICE:
		return choice_value(k, node, (int *)(void *)member, e);
	case KEY_SECTION:
		return section_parse((void **)(void *)member, k->section, node, p, e);
	case KEY_NAMED:
		return named_value(k, node, (struct named_list *)(void *)member, p, e);
	case KEY_SECTIONS:
		return sections_value(k, node, (struct section_list *)(void *)member, p, e);
	case KEY_INT:
	case KEY_COUNT:
		if (number_value(k, node, &number, e) < 0)
			return -1;
		*(int64_t *)(void *)member = (int64_t)number;
		return 0;
	case KEY_REAL:
		return number_value(k, node, (double *)(void *)member, e);
	default:
		return list_value(k, node, member, p, e);
	}
}

const struct key *section_key(const struct section *s, const char *name)
{
	for (const struct key *k = s->keys; k->name; k++)
		if (!strcmp(k->name, name))
			return k;
	return NULL;
}

static int unknown_key(const struct section *s, const struct yaml_node *at, struct err *e)
{
	const char *names[64];
	size_t n = 0;
	for (const struct key *k = s->keys; k->name && n < 64; k++)
		names[n++] = k->name;
	const char *near = suggest_nearest(at->text, names, n);
	return yaml_caret(e, at, "unknown key '%s' in %s%s%s%s", at->text, s->name, near ? "; did you mean '" : "",
			  near ? near : "", near ? "'?" : "");
}

static void place_default(const struct key *, const struct yaml_node *at, char *member);

/* The text of a default is gone when it has been read: its sections, and those inside them, stand where they are missing. */
static void place(const struct section *s, void *values, const struct yaml_node *at)
{
	*(const struct yaml_node **)values = at;
	for (const struct key *k = s->keys; k->name; k++)
		place_default(k, at, (char *)values + k->offset);
}

static void place_default(const struct key *k, const struct yaml_node *at, char *member)
{
	const struct section_list *list = (const void *)member;
	void *section = k->type == KEY_SECTION ? *(void **)(void *)member : NULL;
	if (section)
		place(k->section, section, at);
	for (int i = 0; k->type == KEY_SECTIONS && i < list->n; i++) {
		place(k->section, list->v[i], at);
		list->at[i] = at;
	}
}

static int fill_default(const struct key *k, const struct yaml_node *parent, char *member, struct pool *p, struct err *e)
{
	struct yaml_tree t = {0};
	int rc = -1;
	TRY(yaml_parse_text(&t, "default", k->fallback, strlen(k->fallback), e));
	TRY(yaml_is_null(t.root) ? 0 : key_value(k, t.root, member, p, e));
	place_default(k, parent, member);
	rc = 0;
out:
	BUG_ON(rc < 0); /* a default of ours that our own parser refuses */
	yaml_release(&t);
	return rc;
}

/* What stands at a key of a section that may be written short; NULL: nothing, or null. */
static const struct yaml_node *given(const struct section *s, const struct yaml_node *node, const char *name)
{
	const char *sole = node->kind == YAML_SCALAR ? s->scalar_key : s->list_key;
	const struct yaml_node *v = node->kind == YAML_MAPPING ? yaml_get(node, name) : sole && !strcmp(sole, name) ? node : NULL;
	return v && !yaml_is_null(v) ? v : NULL;
}

static int parse_key(const struct section *s, const struct key *k, const struct yaml_node *node, char *member, struct pool *p, struct err *e)
{
	const struct yaml_node *v = given(s, node, k->name);
	bool out_of_place = k->unless && given(s, node, k->unless);
	if (k->type == KEY_REAL)
		*(double *)(void *)member = (double)NAN;
	if (v && out_of_place)
		return yaml_caret(e, v, "%s: not beside %s, which takes its place", k->name, k->unless);
	if (v)
		return key_value(k, v, member, p, e);
	if (k->fallback && !out_of_place)
		return fill_default(k, node, member, p, e);
	return k->required && !out_of_place ? yaml_caret(e, node, "%s: the key '%s' is missing (%s)", s->name, k->name, k->doc) : 0;
}

int section_parse(void **out, const struct section *s, const struct yaml_node *node, struct pool *p, struct err *e)
{
	char *values = pool_alloc(p, s->size);
	*(const struct yaml_node **)(void *)values = node;
	*out = values;
	if ((node->kind == YAML_SEQUENCE && !s->list_key) || (node->kind == YAML_SCALAR && !yaml_is_null(node) && !s->scalar_key))
		return yaml_caret(e, node, "%s: expected a mapping%s", s->name, s->list_key ? " or a list" : "");
	for (size_t i = 0; node->kind == YAML_MAPPING && i < node->n; i++)
		if (!section_key(s, node->keys[i]->text))
			return unknown_key(s, node->keys[i], e);
	for (const struct key *k = s->keys; k->name; k++)
		if (parse_key(s, k, node, values + k->offset, p, e) < 0)
			return -1;
	return 0;
}

void *section_default(const struct section *s, const struct yaml_node *at, struct pool *p)
{
	static const struct yaml_node nothing = {.kind = YAML_MAPPING};
	struct err e;
	void *values;
	BUG_ON(section_parse(&values, s, &nothing, p, &e) < 0); /* a section that needs a key has no default */
	place(s, values, at);
	return values;
}

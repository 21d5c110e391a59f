/* The tree: nodes, their places in the text, looking up and --set. The parser is in yaml_reader.c, the way out in
 * yaml_dump.c. Nodes stay in the tree's list until yaml_release, also those that an edit replaced. Test: tests/test_yaml.c */
#include "base/yaml.h"

#include "base/fsio.h"
#include "base/yaml_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_COLUMNS 100 /* of a source line under an error */

/* ---- the tree ---- */

const struct yaml_source *yaml_source_add(struct yaml_tree *t, const char *name, const char *text, size_t n_bytes,
					  struct err *e)
{
	struct yaml_source *s = calloc(1, sizeof *s);
	if (!s || !(s->name = strdup(name)) || !(s->text = malloc(n_bytes + 1))) {
		free(s ? s->name : NULL);
		free(s);
		err_run(e, "%s: out of memory", name);
		return NULL;
	}
	if (n_bytes)
		memcpy(s->text, text, n_bytes);
	s->text[n_bytes] = '\0';
	s->n_bytes = n_bytes;
	s->next = t->sources;
	return t->sources = s;
}

struct yaml_node *yaml_node_new(struct yaml_tree *t, enum yaml_kind kind, const struct yaml_node *at, const char *text,
				struct err *e)
{
	if (t->n_nodes >= YAML_MAX_NODES) {
		yaml_caret(e, at, "more than %d nodes (aliases expanded); make the document smaller", YAML_MAX_NODES);
		return NULL;
	}
	struct yaml_node *n = calloc(1, sizeof *n);
	if (!n || (text && !(n->text = strdup(text)))) {
		free(n);
		err_run(e, "%s: out of memory", at->source->name);
		return NULL;
	}
	n->kind = kind, n->line = at->line, n->column = at->column, n->source = at->source;
	n->next_owned = t->nodes;
	t->nodes = n;
	t->n_nodes++;
	return n;
}

int yaml_node_append(struct yaml_node *n, struct yaml_node *key, struct yaml_node *value, struct err *e)
{
	if ((n->n & (n->n - 1)) == 0) { /* full at every power of two */
		size_t room = n->n ? 2 * n->n : 1;
		struct yaml_node **children = realloc(n->children, room * sizeof *children);
		if (children)
			n->children = children;
		struct yaml_node **keys = key ? realloc(n->keys, room * sizeof *keys) : NULL;
		if (keys)
			n->keys = keys;
		if (!children || (key && !keys))
			return err_run(e, "%s: out of memory", n->source->name);
	}
	n->children[n->n] = value;
	if (key)
		n->keys[n->n] = key;
	n->n++;
	return 0;
}

void yaml_release(struct yaml_tree *t)
{
	for (struct yaml_node *n = t->nodes, *next; n; n = next) {
		next = n->next_owned;
		free(n->children);
		free(n->keys);
		free(n->text);
		free(n);
	}
	for (struct yaml_source *s = t->sources, *next; s; s = next) {
		next = s->next;
		free(s->name);
		free(s->text);
		free(s);
	}
	*t = (struct yaml_tree){0};
}

int yaml_parse_text(struct yaml_tree *t, const char *name, const char *text, size_t n_bytes, struct err *e)
{
	*t = (struct yaml_tree){0};
	if (n_bytes > YAML_MAX_BYTES)
		return err_user(e, "%s: %zu bytes, expected at most %d", name, n_bytes, YAML_MAX_BYTES);
	size_t bom = n_bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
	const struct yaml_source *s = yaml_source_add(t, name, text + bom, n_bytes - bom, e);
	if (s)
		t->root = yaml_read(t, s, 0, e);
	if (t->root)
		return 0;
	yaml_release(t);
	return -1;
}

int yaml_parse_file(struct yaml_tree *t, const char *path, struct err *e)
{
	char *text;
	size_t n_bytes;
	*t = (struct yaml_tree){0};
	if (fsio_read_file(path, YAML_MAX_BYTES, &text, &n_bytes, e) < 0)
		return -1;
	int rc = yaml_parse_text(t, path, text, n_bytes, e);
	free(text);
	return rc;
}

/* ---- places ---- */

static bool is_character_start(char c)
{
	return ((unsigned char)c & 0xC0) != 0x80;
}

int yaml_columns(const char *from, const char *to)
{
	int n = 0;
	for (; from < to; from++)
		n += is_character_start(*from);
	return n;
}

/* Bytes of the line break at p, as YAML 1.1 counts lines: CR LF, CR, LF, NEL, LS, PS; 0 for none. */
static int line_break(const char *p)
{
	if (*p == '\r')
		return p[1] == '\n' ? 2 : 1;
	if (*p == '\n')
		return 1;
	if (strncmp(p, "\xC2\x85", 2) == 0)
		return 2;
	return strncmp(p, "\xE2\x80\xA8", 3) == 0 || strncmp(p, "\xE2\x80\xA9", 3) == 0 ? 3 : 0;
}

/* p moved on by n characters, but not over the end of the line. */
static const char *skip_characters(const char *p, int n)
{
	while (n > 0 && *p && !line_break(p)) {
		p++;
		while (!is_character_start(*p))
			p++;
		n--;
	}
	return p;
}

static const char *line_start(const struct yaml_source *s, int line)
{
	const char *p = s->text;
	while (line > 1 && *p) {
		int n = line_break(p);
		line -= n > 0;
		p += n ? n : 1;
	}
	return p;
}

/* "\n<source line>\n<spaces>^": long lines are cut to a window around the place, tabs stay tabs, so that the caret fits. */
static void draw(char *out, size_t room, const struct yaml_node *at)
{
	const char *p = line_start(at->source, at->line);
	int skip = at->column > SHOWN_COLUMNS * 3 / 4 ? at->column - SHOWN_COLUMNS / 2 : 0;
	const char *from = skip_characters(p, skip), *place = skip_characters(p, at->column - 1);
	const char *to = skip_characters(from, SHOWN_COLUMNS);
	int n = snprintf(out, room, "\n  %.*s\n  ", (int)(to - from), from);
	if (from == to || n < 0 || (size_t)n >= room) {
		*out = '\0';
		return;
	}
	size_t used = (size_t)n;
	for (const char *c = from; c < place && used + 2 < room; c++)
		if (is_character_start(*c))
			out[used++] = *c == '\t' ? '\t' : ' ';
	if (used + 1 < room)
		out[used++] = '^';
	out[used] = '\0';
}

int yaml_caret(struct err *e, const struct yaml_node *at, const char *fmt, ...)
{
	char text[256], picture[5 * SHOWN_COLUMNS + 8];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	draw(picture, sizeof picture, at);
	err_user(e, "%.200s:%d:%d: %s", at->source->name, at->line, at->column, text);
	if (e)
		strncat(e->line, picture, sizeof e->line - strlen(e->line) - 1);
	return -1;
}

/* ---- looking up ---- */

/* Index of a key in a mapping, n when it is absent. */
static size_t find(const struct yaml_node *map, const char *key, size_t n_bytes)
{
	size_t i = 0;
	while (i < map->n && (strncmp(map->keys[i]->text, key, n_bytes) != 0 || map->keys[i]->text[n_bytes]))
		i++;
	return i;
}

struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
	if (!map || map->kind != YAML_MAPPING)
		return NULL;
	size_t i = find(map, key, strlen(key));
	return i < map->n ? map->children[i] : NULL;
}

bool yaml_is_null(const struct yaml_node *n)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
	if (n->kind != YAML_SCALAR || n->quoted)
		return false;
	for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++)
		if (strcmp(n->text, nulls[i]) == 0)
			return true;
	return false;
}

/* ---- --set ---- */

/* A path on its way down. */
struct walk {
	struct yaml_tree *tree;
	const struct yaml_source *source;
	const char *step, *end; /* the path that is left; step > end: nothing */
	struct yaml_node at;    /* the place of `step` */
	int depth;              /* steps so far */
	struct err *e;
};

/* The length of the next step in bytes; 0: refused. */
static size_t step_length(struct walk *w)
{
	size_t n = 0;
	while (w->step + n < w->end && w->step[n] != '.')
		n++;
	w->at = (struct yaml_node){
		.source = w->source, .line = 1, .column = yaml_columns(w->source->text, w->step) + 1};
	if (n == 0)
		yaml_caret(w->e, &w->at, "expected a key, as in students.small.train.lr=1e-3");
	if (++w->depth > YAML_MAX_DEPTH) {
		yaml_caret(w->e, &w->at, "deeper than %d", YAML_MAX_DEPTH);
		return 0;
	}
	return n;
}

/* The item of a sequence that this step names. */
static struct yaml_node **sequence_slot(struct walk *w, const struct yaml_node *seq, size_t n_bytes)
{
	char *end;
	unsigned long i = strtoul(w->step, &end, 10);
	if (end == w->step + n_bytes && *w->step >= '0' && *w->step <= '9' && i < seq->n)
		return &seq->children[i];
	if (seq->n)
		yaml_caret(w->e, &w->at, "expected an index in 0..%zu: this is a list", seq->n - 1);
	else
		yaml_caret(w->e, &w->at, "the list is empty");
	return NULL;
}

/* value wrapped in mappings for all steps that are left: {step: {step: value}}. */
static struct yaml_node *wrap(struct walk *w, struct yaml_node *value)
{
	if (w->step > w->end)
		return value;
	size_t n = step_length(w);
	if (!n)
		return NULL;
	char *name = strndup(w->step, n);
	if (!name) {
		err_run(w->e, "--set: out of memory");
		return NULL;
	}
	struct yaml_node *key = yaml_node_new(w->tree, YAML_SCALAR, &w->at, name, w->e);
	struct yaml_node *map = yaml_node_new(w->tree, YAML_MAPPING, &w->at, NULL, w->e);
	free(name);
	w->step += n + 1;
	struct yaml_node *inner = key && map ? wrap(w, value) : NULL;
	return inner && yaml_node_append(map, key, inner, w->e) == 0 ? map : NULL;
}

/* Puts the value below *slot, the node that the path has reached. */
static int descend(struct walk *w, struct yaml_node **slot, struct yaml_node *value)
{
	while (w->step <= w->end) {
		struct yaml_node *here = *slot;
		if (yaml_is_null(here))
			break;
		size_t n = step_length(w);
		if (!n)
			return -1;
		if (here->kind == YAML_SCALAR)
			return yaml_caret(w->e, &w->at, "no key can be set here: the value is '%s'", here->text);
		if (here->kind == YAML_SEQUENCE) {
			slot = sequence_slot(w, here, n);
			if (!slot)
				return -1;
			w->step += n + 1;
			continue;
		}
		size_t i = find(here, w->step, n);
		if (i == here->n) {
			struct yaml_node *rest = wrap(w, value);
			return rest ? yaml_node_append(here, rest->keys[0], rest->children[0], w->e) : -1;
		}
		slot = &here->children[i];
		w->step += n + 1;
	}
	struct yaml_node *rest = wrap(w, value);
	if (!rest)
		return -1;
	*slot = rest;
	return 0;
}

int yaml_path_set(struct yaml_tree *t, const char *assignment, struct err *e)
{
	const char *equals = strchr(assignment, '=');
	size_t n_bytes = strlen(assignment);
	if (!equals || !equals[1] || equals == assignment)
		return err_user(e, "--set: expected key=value, as in students.small.train.lr=1e-3, found '%s'", assignment);
	if (n_bytes > YAML_MAX_BYTES)
		return err_user(e, "--set: %zu bytes, expected at most %d", n_bytes, YAML_MAX_BYTES);
	const struct yaml_source *s = yaml_source_add(t, "--set", assignment, n_bytes, e);
	if (!s)
		return -1;
	size_t at = (size_t)(equals - assignment);
	struct yaml_node *value = yaml_read(t, s, at + 1, e);
	if (!value)
		return -1;
	struct walk w = {.tree = t, .source = s, .step = s->text, .end = s->text + at, .e = e};
	return descend(&w, &t->root, value);
}

/* The parser: libyaml's events -> a tree. Nodes, places and --set are in yaml.c, the way out in yaml_dump.c.
 * Whatever is made belongs to the tree, also on failure: nothing is freed here but scratch. Test: tests/test_yaml.c */
#include "base/yaml.h"

#include "base/yaml_internal.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define MAX_ANCHORS 1000 /* looked up one by one */

struct anchor {
	char *name;
	const struct yaml_node *node;
	bool open; /* its node is still being read */
};

struct reader {
	yaml_parser_t parser;
	struct yaml_tree *tree;
	const struct yaml_source *source;
	size_t offset;    /* where the parsed text starts in the source, in bytes, */
	int first_column; /* and in characters */
	struct anchor anchors[MAX_ANCHORS];
	size_t n_anchors;
	struct err *e;
};

/* A mapping's pair while its keys may still clash. */
struct pair {
	struct yaml_node *key, *value;
	size_t order;
	bool merged;
};

/* A deep copy for an alias at `at`, or NULL. */
static struct yaml_node *copy(struct reader *r, const struct yaml_node *from, const struct yaml_node *at, int depth)
{
	if (from->kind != YAML_SCALAR && depth >= YAML_MAX_DEPTH) {
		yaml_caret(r->e, at, "nested deeper than %d once the alias is expanded", YAML_MAX_DEPTH);
		return NULL;
	}
	struct yaml_node *to = yaml_node_new(r->tree, from->kind, at, from->text, r->e);
	if (!to)
		return NULL;
	to->line = from->line, to->column = from->column, to->source = from->source, to->quoted = from->quoted;
	for (size_t i = 0; i < from->n; i++) {
		struct yaml_node *key = from->keys ? copy(r, from->keys[i], at, depth + 1) : NULL;
		if (from->keys && !key)
			return NULL;
		struct yaml_node *value = copy(r, from->children[i], at, depth + 1);
		if (!value || yaml_node_append(to, key, value, r->e) < 0)
			return NULL;
	}
	return to;
}

/* ---- events ---- */

/* Where a mark of libyaml is in our source. */
static struct yaml_node place(const struct reader *r, yaml_mark_t m)
{
	return (struct yaml_node){.line = (int)m.line + 1,
				  .column = (int)m.column + 1 + (m.line ? 0 : r->first_column),
				  .source = r->source};
}

static int next(struct reader *r, yaml_event_t *event)
{
	if (yaml_parser_parse(&r->parser, event))
		return 0;
	const yaml_parser_t *p = &r->parser;
	if (p->error == YAML_MEMORY_ERROR)
		return err_run(r->e, "%s: out of memory", r->source->name);
	if (p->error == YAML_READER_ERROR)
		return err_user(r->e, "%s: byte %zu: not valid UTF-8 text: %s", r->source->name, p->problem_offset, p->problem);
	/* What is missing at the very end is shown where it began. */
	const char *text = r->source->text, *start = text + r->offset;
	bool at_end = p->problem_mark.index >= (size_t)yaml_columns(start, text + r->source->n_bytes);
	struct yaml_node at = place(r, p->context && at_end ? p->context_mark : p->problem_mark);
	return yaml_caret(r->e, &at, "not valid YAML: %s%s%s", p->problem ? p->problem : "unknown error", p->context ? " " : "",
			  p->context ? p->context : "");
}

/* Announces the anchor of a node that is about to be read; *slot is its index, or -1 without an anchor. */
static int anchor_open(struct reader *r, const yaml_char_t *name, const struct yaml_node *at, int *slot)
{
	*slot = -1;
	if (!name)
		return 0;
	if (r->n_anchors == MAX_ANCHORS)
		return yaml_caret(r->e, at, "more than %d anchors", MAX_ANCHORS);
	char *text = strdup((const char *)name);
	if (!text)
		return err_run(r->e, "%s: out of memory", r->source->name);
	*slot = (int)r->n_anchors;
	r->anchors[r->n_anchors++] = (struct anchor){.name = text, .open = true};
	return 0;
}

static void anchor_close(struct reader *r, int slot, const struct yaml_node *node)
{
	if (slot >= 0)
		r->anchors[slot] = (struct anchor){.name = r->anchors[slot].name, .node = node};
}

static struct yaml_node *read_alias(struct reader *r, const char *name, const struct yaml_node *at, int depth)
{
	for (size_t i = r->n_anchors; i-- > 0;) {
		const struct anchor *a = &r->anchors[i];
		if (strcmp(a->name, name) != 0)
			continue;
		if (!a->open)
			return copy(r, a->node, at, depth);
		yaml_caret(r->e, at, "alias *%s inside of its own anchor", name);
		return NULL;
	}
	yaml_caret(r->e, at, "alias *%s: there is no anchor &%s above it", name, name);
	return NULL;
}

static struct yaml_node *read_scalar(struct reader *r, const yaml_event_t *event, const struct yaml_node *at)
{
	const char *text = (const char *)event->data.scalar.value;
	if (strlen(text) != event->data.scalar.length) {
		yaml_caret(r->e, at, "a NUL character in a text");
		return NULL;
	}
	struct yaml_node *node = yaml_node_new(r->tree, YAML_SCALAR, at, text, r->e);
	if (node)
		node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE || event->data.scalar.tag;
	return node;
}

static struct yaml_node *read_node(struct reader *r, yaml_event_t *event, int depth);

static struct yaml_node *read_sequence(struct reader *r, const struct yaml_node *at, int depth)
{
	yaml_event_t event;
	struct yaml_node *seq = yaml_node_new(r->tree, YAML_SEQUENCE, at, NULL, r->e);
	while (seq && next(r, &event) == 0) {
		if (event.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&event);
			return seq;
		}
		struct yaml_node *item = read_node(r, &event, depth + 1);
		if (!item || yaml_node_append(seq, NULL, item, r->e) < 0)
			return NULL;
	}
	return NULL;
}

/* ---- mappings ---- */

struct pairs {
	struct pair *v;
	size_t n;
};

static int pairs_append(struct reader *r, struct pairs *p, struct yaml_node *key, struct yaml_node *value, bool merged)
{
	if ((p->n & (p->n - 1)) == 0) { /* full at every power of two */
		struct pair *v = realloc(p->v, (p->n ? 2 * p->n : 1) * sizeof *v);
		if (!v)
			return err_run(r->e, "%s: out of memory", r->source->name);
		p->v = v;
	}
	p->v[p->n] = (struct pair){.key = key, .value = value, .order = p->n, .merged = merged};
	p->n++;
	return 0;
}

/* Appends the pairs of a mapping, or of each mapping of a sequence. `from` is in no tree afterwards: its nodes may be shared. */
static int merge(struct reader *r, struct pairs *p, const struct yaml_node *from, const struct yaml_node *at)
{
	const struct yaml_node *const *maps = &from;
	size_t n = 1;
	if (from->kind == YAML_SEQUENCE) {
		maps = (const struct yaml_node *const *)from->children;
		n = from->n;
	}
	for (size_t i = 0; i < n; i++) {
		if (maps[i]->kind != YAML_MAPPING)
			return yaml_caret(r->e, at, "<< expects a mapping or a list of mappings");
		for (size_t j = 0; j < maps[i]->n; j++)
			if (pairs_append(r, p, maps[i]->keys[j], maps[i]->children[j], true) < 0)
				return -1;
	}
	return 0;
}

static int by_key(const void *a, const void *b)
{
	const struct pair *p = a, *q = b;
	int c = strcmp(p->key->text, q->key->text);
	if (c == 0)
		c = p->merged - q->merged;
	return c ? c : (p->order > q->order) - (p->order < q->order);
}

static int by_order(const void *a, const void *b)
{
	const struct pair *p = a, *q = b;
	return (p->order > q->order) - (p->order < q->order);
}

/* Drops merged pairs that an explicit or an earlier one hides; refuses explicit twins. Order stays. */
static int settle(struct reader *r, struct pairs *p)
{
	size_t kept = 0;
	if (p->n)
		qsort(p->v, p->n, sizeof *p->v, by_key);
	for (size_t i = 0; i < p->n; i++) {
		const struct yaml_node *key = p->v[i].key, *last = kept ? p->v[kept - 1].key : NULL;
		bool twin = last && strcmp(last->text, key->text) == 0;
		if (twin && !p->v[i].merged)
			return yaml_caret(r->e, key, "the key '%s' is there twice, first in line %d", key->text, last->line);
		if (!twin)
			p->v[kept++] = p->v[i];
	}
	p->n = kept;
	if (p->n)
		qsort(p->v, p->n, sizeof *p->v, by_order);
	return 0;
}

static int check_key(struct reader *r, const struct yaml_node *key)
{
	if (key->kind != YAML_SCALAR)
		return yaml_caret(r->e, key, "expected a word as key, found a %s",
				  key->kind == YAML_MAPPING ? "mapping" : "list");
	if (!*key->text)
		return yaml_caret(r->e, key, "expected a key before the colon");
	return 0;
}

static bool is_merge(const struct yaml_node *key)
{
	return !key->quoted && strcmp(key->text, "<<") == 0;
}

/* One pair, whose key starts with the given event. Spends the event. */
static int read_pair(struct reader *r, struct pairs *p, yaml_event_t *event, bool *merged, int depth)
{
	yaml_event_t value_event;
	struct yaml_node *key = read_node(r, event, depth + 1);
	if (!key || check_key(r, key) < 0 || next(r, &value_event) < 0)
		return -1;
	struct yaml_node *value = read_node(r, &value_event, depth + 1);
	if (!value)
		return -1;
	if (!is_merge(key))
		return pairs_append(r, p, key, value, false);
	if (*merged)
		return yaml_caret(r->e, key, "a second << in one mapping; write <<: [*a, *b]");
	*merged = true;
	return merge(r, p, value, key);
}

/* Pairs until the end of the mapping. */
static int read_pairs(struct reader *r, struct pairs *p, int depth)
{
	bool merged = false;
	yaml_event_t event;
	while (next(r, &event) == 0) {
		if (event.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&event);
			return settle(r, p);
		}
		if (read_pair(r, p, &event, &merged, depth) < 0)
			return -1;
	}
	return -1;
}

static struct yaml_node *read_mapping(struct reader *r, const struct yaml_node *at, int depth)
{
	struct pairs p = {0};
	struct yaml_node *map = yaml_node_new(r->tree, YAML_MAPPING, at, NULL, r->e);
	int rc = map ? read_pairs(r, &p, depth) : -1;
	for (size_t i = 0; !rc && i < p.n; i++)
		rc = yaml_node_append(map, p.v[i].key, p.v[i].value, r->e);
	free(p.v);
	return rc ? NULL : map;
}

/* ---- any node, documents ---- */

static const yaml_char_t *event_tag(const yaml_event_t *event)
{
	return event->type == YAML_SCALAR_EVENT           ? event->data.scalar.tag
	       : event->type == YAML_SEQUENCE_START_EVENT ? event->data.sequence_start.tag
							  : event->data.mapping_start.tag;
}

static const yaml_char_t *event_anchor(const yaml_event_t *event)
{
	return event->type == YAML_SCALAR_EVENT           ? event->data.scalar.anchor
	       : event->type == YAML_SEQUENCE_START_EVENT ? event->data.sequence_start.anchor
							  : event->data.mapping_start.anchor;
}

/* The node that starts with this event, NULL on failure. Spends the event. depth: how many collections are around it. */
static struct yaml_node *read_node(struct reader *r, yaml_event_t *event, int depth)
{
	struct yaml_node *node = NULL, at = place(r, event->start_mark);
	int slot;
	if (event->type == YAML_ALIAS_EVENT) {
		node = read_alias(r, (const char *)event->data.alias.anchor, &at, depth + 1);
		goto out;
	}
	const yaml_char_t *tag = event_tag(event);
	bool scalar = event->type == YAML_SCALAR_EVENT;
	if (tag && !(scalar && strcmp((const char *)tag, YAML_STR_TAG) == 0)) {
		yaml_caret(r->e, &at, "the tag %s is not supported; leave it out", (const char *)tag);
		goto out;
	}
	if (!scalar && depth >= YAML_MAX_DEPTH) {
		yaml_caret(r->e, &at, "nested deeper than %d", YAML_MAX_DEPTH);
		goto out;
	}
	if (anchor_open(r, event_anchor(event), &at, &slot) < 0)
		goto out;
	if (scalar)
		node = read_scalar(r, event, &at);
	else
		node = event->type == YAML_SEQUENCE_START_EVENT ? read_sequence(r, &at, depth) : read_mapping(r, &at, depth);
	anchor_close(r, slot, node);
out:
	yaml_event_delete(event);
	return node;
}

/* Reads the next event and wants it to be of this type. */
static int expect(struct reader *r, yaml_event_type_t type, const char *problem)
{
	yaml_event_t event;
	if (next(r, &event) < 0)
		return -1;
	struct yaml_node at = place(r, event.start_mark);
	int rc = event.type == type ? 0 : yaml_caret(r->e, &at, "%s", problem);
	yaml_event_delete(&event);
	return rc;
}

static struct yaml_node *read_document(struct reader *r)
{
	yaml_event_t event;
	if (expect(r, YAML_STREAM_START_EVENT, "expected YAML") < 0 ||
	    expect(r, YAML_DOCUMENT_START_EVENT, "the document is empty") < 0 || next(r, &event) < 0)
		return NULL;
	struct yaml_node *node = read_node(r, &event, 0);
	if (node && expect(r, YAML_DOCUMENT_END_EVENT, "expected the end of the document") == 0 &&
	    expect(r, YAML_STREAM_END_EVENT, "a second document; expected one in a file") == 0)
		return node;
	return NULL;
}

struct yaml_node *yaml_read(struct yaml_tree *t, const struct yaml_source *source, size_t offset, struct err *e)
{
	struct yaml_node *node = NULL;
	struct reader *r = calloc(1, sizeof *r);
	if (!r || !yaml_parser_initialize(&r->parser)) {
		free(r);
		err_run(e, "%s: out of memory", source->name);
		return NULL;
	}
	r->tree = t, r->source = source, r->e = e, r->offset = offset;
	r->first_column = yaml_columns(source->text, source->text + offset);
	yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r->parser, (const unsigned char *)source->text + offset, source->n_bytes - offset);
	node = read_document(r);
	for (size_t i = 0; i < r->n_anchors; i++)
		free(r->anchors[i].name);
	yaml_parser_delete(&r->parser);
	free(r);
	return node;
}

/* YAML through libyaml: text -> a tree that remembers where everything stood. No numbers here: a scalar is its text, the
 * reader of the recipe gives it a type. Test: tests/test_yaml.c, fuzz: tests/fuzz/fuzz_yaml.c
 * Aliases are expanded (deep copies: changing one leaves the others) and `<<` is merged: explicit keys win, then the
 * earlier of a list. Refused, each with its place: duplicate keys, keys that are not scalars, tags other than !!str,
 * several documents, more than YAML_MAX_NODES nodes after expansion, deeper than YAML_MAX_DEPTH, text over
 * YAML_MAX_BYTES, bytes that are not UTF-8, NUL. All errors are err_user (but out of memory and an unreadable file). */
#ifndef BASE_YAML_H
#define BASE_YAML_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define YAML_MAX_NODES 100000
#define YAML_MAX_DEPTH 64
#define YAML_MAX_BYTES (1024 * 1024)

enum yaml_kind { YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING };

struct yaml_source; /* a file or a --set argument: its name and lines */

struct yaml_node {
	enum yaml_kind kind;
	char *text;                  /* scalar: its text, NUL-terminated; else NULL */
	bool quoted;                 /* scalar: quoted or block style, hence a string whatever it looks like */
	int line, column;            /* from 1, in characters; an alias keeps the place of its anchor's node */
	size_t n;                    /* sequence: items; mapping: pairs */
	struct yaml_node **children; /* (n) items or values */
	struct yaml_node **keys;     /* mapping: (n) scalars, in the order of the text; else NULL */
	const struct yaml_source *source;
	struct yaml_node *next_owned; /* the tree's list, for yaml_release */
};

struct yaml_tree {
	struct yaml_node *root;      /* never NULL after a successful parse */
	struct yaml_node *nodes;     /* owned: all there ever were */
	struct yaml_source *sources; /* owned */
	size_t n_nodes;
};

int yaml_parse_file(struct yaml_tree *t, const char *path, struct err *e);
/* name stands for the file in errors. The text is copied. */
int yaml_parse_text(struct yaml_tree *t, const char *name, const char *text, size_t n_bytes, struct err *e);
/* Releases everything and zeroes *t; a zeroed tree, as a failed parse leaves it, is fine. (The name yaml_free is libyaml's.) */
void yaml_release(struct yaml_tree *t);

/* Value of a key, NULL if absent or if map is not a mapping. */
struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
/* A plain null, ~ or nothing at all. */
bool yaml_is_null(const struct yaml_node *node);

/* `--set`: assignment is "students.sheared.train.lr=1e-3". The value is YAML ("[0, 2]", "{a: 1}", "null"); a path step is a
 * key, or an index from 0 in a sequence. Mappings on the way are made where they are absent or null. On failure the
 * tree is unchanged. Errors and the new nodes point into the argument, under the name "--set". */
int yaml_path_set(struct yaml_tree *t, const char *assignment, struct err *e);

/* err_user "file:line:column: text", the source line and a caret below it: the one error of several lines. Returns -1. */
int yaml_caret(struct err *e, const struct yaml_node *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The tree as canonical YAML: no aliases, block style, lists of scalars in one line, null as null, quotes only where
 * the bare text would be something else than a string, or no YAML. Comments are lost, order is kept. Parsing it gives
 * the same dump. *out is the caller's to free(), NUL-terminated; n_bytes may be NULL. On failure *out is NULL. */
int yaml_dump_text(const struct yaml_node *node, char **out, size_t *n_bytes, struct err *e);
struct fsio_writer;
int yaml_dump(const struct yaml_node *node, struct fsio_writer *w, struct err *e);

#endif

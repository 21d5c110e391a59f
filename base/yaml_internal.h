/* What yaml.c, yaml_reader.c and yaml_dump.c share; not for others. */
#ifndef BASE_YAML_INTERNAL_H
#define BASE_YAML_INTERNAL_H

#include "base/yaml.h"

struct yaml_source {
	char *name;
	char *text; /* NUL-terminated */
	size_t n_bytes;
	struct yaml_source *next;
};

/* A copy of the text, owned by the tree. NULL: out of memory. */
const struct yaml_source *yaml_source_add(struct yaml_tree *t, const char *name, const char *text, size_t n_bytes,
					  struct err *e);
/* The document that starts at this byte of the source; its nodes belong to the tree. NULL on failure. */
struct yaml_node *yaml_read(struct yaml_tree *t, const struct yaml_source *source, size_t offset, struct err *e);

/* A node at the place of `at`, owned by the tree until yaml_release; text is copied, NULL for collections. NULL on failure. */
struct yaml_node *yaml_node_new(struct yaml_tree *t, enum yaml_kind kind, const struct yaml_node *at, const char *text,
				struct err *e);
/* key is NULL for a sequence. */
int yaml_node_append(struct yaml_node *n, struct yaml_node *key, struct yaml_node *value, struct err *e);

/* Characters of UTF-8 between two bytes. */
int yaml_columns(const char *from, const char *to);

#endif

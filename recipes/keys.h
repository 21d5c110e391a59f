/* Tables of recipe keys: one row (name, type, unit, default, range, doc) drives the parser, its errors, `--help`, the
 * README's reference and the resolved dump. Knows nothing of what the keys mean. Test: tests/test_keys.c */
#ifndef RECIPES_KEYS_H
#define RECIPES_KEYS_H

#include "base/yaml.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum key_type {       /* C type of the member */
	KEY_STRING,   /* char *, NULL when absent */
	KEY_BOOL,     /* bool */
	KEY_INT,      /* int64_t */
	KEY_COUNT,    /* int64_t; "1.5M" k/M/G decimal, Ki/Mi/Gi binary */
	KEY_REAL,     /* double, NaN when absent and without a default */
	KEY_CHOICE,   /* int: index into choices */
	KEY_INTS,     /* struct int_list; a scalar is a list of one */
	KEY_REALS,    /* struct real_list; likewise */
	KEY_STRINGS,  /* struct string_list; likewise */
	KEY_SECTION,  /* struct <section> *, NULL when absent or null */
	KEY_NAMED,    /* struct named_list: a mapping of names to sections */
	KEY_SECTIONS, /* struct section_list: sections in order; one alone is a list of one. Never empty when it is there */
};
struct int_list {
	int64_t *v;
	int n;
};
struct real_list {
	double *v;
	int n;
};
struct string_list {
	char **v;
	int n;
};
struct named_list {
	char **names;
	void **v; /* each a struct of the section */
	const struct yaml_node **at;
	int n;
};
struct section_list {
	void **v; /* each a struct of the section */
	const struct yaml_node **at;
	int n;
};

struct section;
struct key {
	const char *name;
	enum key_type type;
	size_t offset;           /* of the member in the section's struct */
	const char *unit;        /* "tokens", NULL: none */
	const char *fallback;    /* as one would write it; NULL: no default */
	bool required;           /* must be there and not null */
	double min, max;         /* INT, COUNT, REAL and their lists; min == max: no range */
	const char *const *choices; /* NULL-terminated */
	const struct section *section;
	const char *unless;      /* a key without a default, beside which this one is refused, not required and without a default; NULL: none */
	const char *doc;
};
struct section {
	const char *name;       /* "train", for the reference */
	const char *doc;
	size_t size;            /* of the struct; its first member is `const struct yaml_node *at` */
	const struct key *keys; /* ends with a NULL name */
	const char *scalar_key; /* a scalar given for the section is this key's value; NULL: refused */
	const char *list_key;   /* a sequence likewise */
};

/* All memory of one parsed recipe. */
struct pool {
	struct pool_block *first;
};
void *pool_alloc(struct pool *, size_t n_bytes); /* zeroed */
char *pool_strdup(struct pool *, const char *);
void pool_release(struct pool *);

/* Fills a struct (from the pool) from node, which must be a mapping (or what scalar_key and list_key allow). Unknown
 * keys get "did you mean", wrong values their range; every error is a caret. Defaults fill what is absent or null. */
int section_parse(void **out, const struct section *, const struct yaml_node *node, struct pool *, struct err *);
/* The section as if `{}` had been written at `at`: defaults alone. */
void *section_default(const struct section *, const struct yaml_node *at, struct pool *);
/* "1.5M" -> 1500000. Returns -1 unless the whole text is a count. */
int count_parse(const char *text, int64_t *out);
/* A section's key, NULL if it has none of that name. */
const struct key *section_key(const struct section *, const char *name);

/* ---- keys_write.c ---- */

/* The struct as YAML with every default spelled out; sections that are absent are left out. */
void section_dump(FILE *f, const struct section *, const void *values, int indent);
/* XXH3-64 of that text. */
uint64_t section_hash(const struct section *, const void *values);
/* The reference: a Markdown table per section, nested ones after it, each once. */
void section_reference(FILE *f, const struct section *);

#endif

/* What the tables of keys print: a section as YAML that parses back, its hash, the reference. Test: tests/test_keys.c */
#include "recipes/keys.h"

#include "base/hash.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>


static void print_real(FILE *f, double v)
{
	char text[40];
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	fputs(text, f);
}

static void print_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		if ((unsigned char)*s < ' ')
			fprintf(f, "\\x%02x", (unsigned)*s);
		else
			fputc(*s, f);
	}
	fputc('"', f);
}

static void print_list(FILE *f, const struct key *k, const char *member)
{
	const struct int_list *ints = (const void *)member; /* all three lists begin alike: pointer, count */
	fputc('[', f);
	for (int i = 0; i < ints->n; i++) {
		if (i)
			fputs(", ", f);
		if (k->type == KEY_INTS)
			fprintf(f, "%lld", (long long)ints->v[i]);
		else if (k->type == KEY_REALS)
			print_real(f, ((const struct real_list *)(const void *)member)->v[i]);
		else
			print_string(f, ((const struct string_list *)(const void *)member)->v[i]);
	}
	fputs("]\n", f);
}

static void print_value(FILE *f, const struct key *k, const char *member)
{
	switch (k->type) {
	case KEY_STRING:
		print_string(f, *(char *const *)(const void *)member);
		break;
	case KEY_BOOL:
		fputs(*(const bool *)member ? "true" : "false", f);
		break;
	case KEY_CHOICE:
		fputs(k->choices[*(const int *)(const void *)member], f);
		break;
	case KEY_REAL:
		print_real(f, *(const double *)(const void *)member);
		break;
	default:
		fprintf(f, "%lld", (long long)*(const int64_t *)(const void *)member);
	}
	fputc('\n', f);
}

static bool is_absent(const struct key *k, const char *member)
{
	if (k->type == KEY_NAMED)
		return !((const struct named_list *)(const void *)member)->n;
	if (k->type == KEY_SECTIONS)
		return !((const struct section_list *)(const void *)member)->n;
	if (k->type == KEY_REAL)
		return isnan(*(const double *)(const void *)member);
	if (k->type == KEY_INTS || k->type == KEY_REALS || k->type == KEY_STRINGS)
		return !k->fallback && !((const struct int_list *)(const void *)member)->n;
	return (k->type == KEY_STRING || k->type == KEY_SECTION) && !*(void *const *)(const void *)member;
}

static bool is_left_out(const struct section *s, const struct key *k, const char *values)
{
	const struct key *other = k->unless ? section_key(s, k->unless) : NULL;
	return is_absent(k, values + k->offset) || (other && !is_absent(other, values + other->offset));
}

static void dump_named(FILE *f, const struct section *s, const struct named_list *list, int indent)
{
	for (int i = 0; i < list->n; i++) {
		fprintf(f, "%*s%s:\n", indent, "", list->names[i]);
		section_dump(f, s, list->v[i], indent + 2);
	}
}

static void dump_sections(FILE *f, const struct section *s, const struct section_list *list, int indent)
{
	for (int i = 0; i < list->n; i++) {
		fprintf(f, "%*s-\n", indent, "");
		section_dump(f, s, list->v[i], indent + 2);
	}
}

static void dump_key(FILE *f, const struct key *k, const char *member, int indent)
{
	fprintf(f, "%*s%s:%s", indent, "", k->name, k->section ? "\n" : " ");
	switch (k->type) {
	case KEY_SECTION:
		section_dump(f, k->section, *(void *const *)(const void *)member, indent + 2);
		break;
	case KEY_NAMED:
		dump_named(f, k->section, (const void *)member, indent + 2);
		break;
	case KEY_SECTIONS:
		dump_sections(f, k->section, (const void *)member, indent + 2);
		break;
	case KEY_INTS:
	case KEY_REALS:
	case KEY_STRINGS:
		print_list(f, k, member);
		break;
	default:
		print_value(f, k, member);
	}
}

void section_dump(FILE *f, const struct section *s, const void *values, int indent)
{
	for (const struct key *k = s->keys; k->name; k++)
		if (!is_left_out(s, k, values))
			dump_key(f, k, (const char *)values + k->offset, indent);
}

uint64_t section_hash(const struct section *s, const void *values)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	BUG_ON(!f);
	if (values)
		section_dump(f, s, values, 0);
	fclose(f);
	uint64_t h = hash_bytes(text, n);
	free(text);
	return h;
}

static void reference_row(FILE *f, const struct key *k)
{
	static const char *const words[] = {"text", "true/false", "integer", "count", "number", "", "integers", "numbers", "texts"};
	fprintf(f, "| `%s` | ", k->name);
	if (k->section)
		fprintf(f, "%s%s%s", k->type == KEY_NAMED ? "names → " : "", k->section->name, k->type == KEY_SECTIONS ? ", or a list of them" : "");
	else if (k->type == KEY_CHOICE)
		for (int i = 0; k->choices[i]; i++)
			fprintf(f, "%s%s", i ? ", " : "", k->choices[i]);
	else
		fputs(words[k->type], f);
	if (k->unit)
		fprintf(f, " of %s", k->unit);
	if (k->min < k->max)
		fprintf(f, ", %g to %g", k->min, k->max);
	fprintf(f, " | %s | %s |\n", k->fallback ? k->fallback : k->required ? "required" : "–", k->doc);
}

static void reference_section(FILE *f, const struct section *s, const struct section **seen, int *n_seen)
{
	for (int i = 0; i < *n_seen; i++)
		if (seen[i] == s)
			return;
	BUG_ON(*n_seen >= 32);
	seen[(*n_seen)++] = s;
	fprintf(f, "\n**%s** — %s\n\n| key | value | default | meaning |\n|---|---|---|---|\n", s->name, s->doc);
	for (const struct key *k = s->keys; k->name; k++)
		reference_row(f, k);
	for (const struct key *k = s->keys; k->name; k++)
		if (k->section)
			reference_section(f, k->section, seen, n_seen);
}

void section_reference(FILE *f, const struct section *s)
{
	const struct section *seen[32];
	int n_seen = 0;
	reference_section(f, s, seen, &n_seen);
}

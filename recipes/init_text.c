#include "recipes/init_text.h"

#include <stdarg.h>
#include <string.h>

struct text {
	char *out;
	size_t n;
};

static void say(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct text *t, const char *fmt, ...)
{
	size_t used = strlen(t->out);
	va_list args;
	va_start(args, fmt);
	vsnprintf(t->out + used, t->n - used, fmt, args);
	va_end(args);
}

static const void *member(const void *values, const struct key *k)
{
	return (const char *)values + k->offset;
}

static bool is_present(const void *values, const struct key *k)
{
	if (k->type == KEY_SECTION || k->type == KEY_STRING)
		return *(void *const *)member(values, k);
	return k->type == KEY_INTS && ((const struct int_list *)member(values, k))->n;
}

/* A key that a present one stands instead of says nothing. */
static bool is_replaced(const struct section *s, const void *values, const struct key *k)
{
	return k->unless && is_present(values, section_key(s, k->unless));
}

static void say_choice(struct text *t, const struct key *k, int choice)
{
	const char *value = k->choices[choice];
	if (!strcmp(k->name, "method"))
		say(t, " %s", value);
	else if (k->fallback && strcmp(value, k->fallback))
		say(t, ", %s %s", k->name, value);
}

static void say_bool(struct text *t, const struct key *k, bool on)
{
	if (on != (k->fallback && !strcmp(k->fallback, "true")))
		say(t, ", %s%s", on ? "" : "no ", k->name);
}

static void say_key(struct text *t, const struct key *k, const void *values)
{
	const void *at = member(values, k);
	if (k->type == KEY_CHOICE)
		say_choice(t, k, *(const int *)at);
	else if (k->type == KEY_BOOL)
		say_bool(t, k, *(const bool *)at);
	else if (k->type == KEY_STRING && is_present(values, k) && !k->fallback)
		say(t, ", %s", k->name);
	else if (k->section == &distill_section && is_present(values, k))
		say(t, ", distilled");
}

void init_text(const struct init_spec *spec, char *out, size_t n)
{
	struct text t = {out, n};
	if (*out)
		say(&t, " → ");
	for (const struct key *k = init_section.keys; k->name; k++) {
		if (!is_present(spec, k))
			continue;
		say(&t, "%s", strcmp(k->name, "random") ? k->name : "fresh weights");
		const void *values = k->section ? *(void *const *)member(spec, k) : NULL;
		for (const struct key *own = values ? k->section->keys : NULL; own && own->name; own++)
			if (!is_replaced(k->section, values, own))
				say_key(&t, own, values);
	}
}

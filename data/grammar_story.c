/* See data/grammar_story.h. */
#include "data/grammar_story.h"

#include "base/err.h"
#include "base/rng.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct phrase phrase(const char *fmt, ...)
{
	struct phrase p;
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(p.text, sizeof p.text, fmt, args);
	va_end(args);
	BUG_ON(n < 0 || n >= (int)sizeof p.text);
	return p;
}

/* ---- draws ---- */

int draw(struct story *s, int n)
{
	return (int)rng_below(s->seed, RNG_GRAMMAR, s->document, s->n_drawn++, (uint32_t)n);
}

int draw_early(struct story *s, int n)
{
	int a = draw(s, n), b = draw(s, n);
	return a < b ? a : b;
}

bool once_in(struct story *s, int n)
{
	return draw(s, n) == 0;
}

const char *draw_word(struct story *s, const struct words *list)
{
	return list->v[draw_early(s, list->n)];
}

const struct noun *draw_noun(struct story *s, const struct nouns *list)
{
	return &list->v[draw_early(s, list->n)];
}

const struct verb *draw_verb(struct story *s, const struct verbs *list)
{
	return &list->v[draw_early(s, list->n)];
}

int draw_person(struct story *s)
{
	return draw_early(s, s->n_cast);
}

int draw_other(struct story *s, int p)
{
	return (p + 1 + draw(s, s->n_cast - 1)) % s->n_cast;
}

/* ---- text ---- */

void tell(struct story *s, const char *fmt, ...)
{
	size_t begin = s->n;
	va_list args;
	if (begin)
		s->out[s->n++] = s->paragraph ? '\n' : ' ';
	begin = s->n;
	s->paragraph = false;
	va_start(args, fmt);
	int n = vsnprintf(s->out + s->n, s->capacity - s->n, fmt, args);
	va_end(args);
	BUG_ON(n < 0 || (size_t)n >= s->capacity - s->n);
	s->n += (size_t)n;
	while (s->out[begin] == '"' || s->out[begin] == '(')
		begin++;
	s->out[begin] = (char)toupper((unsigned char)s->out[begin]);
}

/* ---- words in their forms ---- */

const char *article(const char *next_word)
{
	return strchr("aeiou", next_word[0]) || strcmp(next_word, "honest") == 0 ? "an" : "a";
}

const char *noun_form(const struct noun *n, int count)
{
	return count == 1 ? n->one : n->many;
}

const char *verb_form(const struct story *s, const struct verb *v, bool many)
{
	return s->past ? v->past : many ? v->base : v->third;
}

const char *tense(const struct story *s, const char *past, const char *present)
{
	return s->past ? past : present;
}

const char *be(const struct story *s, bool many)
{
	return s->past ? (many ? "were" : "was") : many ? "are" : "is";
}

const char *name_of(const struct story *s, int p)
{
	return s->cast[p].name->text;
}

const char *he(const struct story *s, int p)
{
	return s->cast[p].name->female ? "she" : "he";
}

const char *him(const struct story *s, int p)
{
	return s->cast[p].name->female ? "her" : "him";
}

const char *his(const struct story *s, int p)
{
	return s->cast[p].name->female ? "her" : "his";
}

const char *subject(struct story *s, int p)
{
	bool pronoun = s->focus == p && !s->paragraph && !once_in(s, 3);
	s->focus = p;
	return pronoun ? he(s, p) : name_of(s, p);
}

struct phrase thing_text(const struct thing *t)
{
	return phrase("%s %s", t->color, t->noun->one);
}

struct phrase container_text(const struct thing *t)
{
	return phrase("%s %s", t->material, t->container->one);
}

struct phrase place_text(const struct place *p)
{
	return phrase("%s the %s", p->at, p->text);
}

/* One story of the generated corpus while it is told: its world, its draws, its text. See data/grammar.h. */
#ifndef DATA_GRAMMAR_STORY_H
#define DATA_GRAMMAR_STORY_H

#include "data/grammar_words.h"

#include <stddef.h>
#include <stdint.h>

#define STORY_MAX_CAST 3
#define STORY_THINGS 2

struct person {
	const struct name *name;
	const struct place *place;
};
struct thing {
	const char *color;
	const struct noun *noun;
	const char *material; /* of the container */
	const struct noun *container;
	int holder;           /* cast index; -1: it lies in the container */
};
struct story {
	uint64_t seed, document, n_drawn;
	char *out; /* (capacity), of which n are told */
	size_t n, capacity;
	bool past;            /* the tense of the whole story */
	bool paragraph;       /* the next sentence begins one */
	int n_cast, focus;    /* focus: whom a pronoun would mean, -1: nobody */
	struct person cast[STORY_MAX_CAST];
	struct thing things[STORY_THINGS];
	const char *relation[STORY_MAX_CAST]; /* to cast[0]: "aunt" */
	int day;
	bool compared;        /* one comparison a story, so that none contradicts another */
	char password[24];    /* empty: none was told */
};

/* A phrase by value, to be used inside one expression. */
struct phrase {
	char text[160];
};
struct phrase phrase(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- draws ---- */
/* At most one draw in an argument list or an initialiser: C leaves their order open, and the bytes must not. */
/* Uniform in [0, n). */
int draw(struct story *s, int n);
/* In [0, n), early ones more often: the smaller of two draws. */
int draw_early(struct story *s, int n);
/* True once in n. */
bool once_in(struct story *s, int n);
const char *draw_word(struct story *s, const struct words *list);
const struct noun *draw_noun(struct story *s, const struct nouns *list);
const struct verb *draw_verb(struct story *s, const struct verbs *list);
int draw_person(struct story *s);
/* Somebody else than p. */
int draw_other(struct story *s, int p);

/* ---- text ---- */
/* Adds a sentence: a blank or paragraph break before it, its first letter made a capital. */
void tell(struct story *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- words in their forms ---- */
/* "a", "an". */
const char *article(const char *next_word);
const char *noun_form(const struct noun *n, int count);
const char *verb_form(const struct story *s, const struct verb *v, bool many);
/* One of the two, by the story's tense. */
const char *tense(const struct story *s, const char *past, const char *present);
const char *be(const struct story *s, bool many);
const char *name_of(const struct story *s, int p);
const char *he(const struct story *s, int p);
const char *him(const struct story *s, int p);
const char *his(const struct story *s, int p);
/* The person as a subject: sometimes a pronoun, when it can only mean that person. Moves the focus. */
const char *subject(struct story *s, int p);
/* "red key", "wooden box", "in the garden". */
struct phrase thing_text(const struct thing *t);
struct phrase container_text(const struct thing *t);
struct phrase place_text(const struct place *p);

/* ---- scenes: each tells one to three sentences and changes the world (grammar_scenes.c, grammar_drills.c) ---- */
typedef void scene(struct story *s);
struct scene_choice {
	scene *tell;
	int weight;
};
extern const struct scene_choice grammar_scenes[], grammar_drills[];
extern const int grammar_n_scenes, grammar_n_drills;
/* The beginning; the facts that the end asks for; the end. */
void scene_opening(struct story *s);
void scene_facts(struct story *s);
void scene_ending(struct story *s);

#endif

/* The words of the generated corpus: tables only. Earlier words are drawn more often. See data/grammar.h. */
#ifndef DATA_GRAMMAR_WORDS_H
#define DATA_GRAMMAR_WORDS_H

#include <stdbool.h>

struct noun {
	const char *one, *many;
};
struct verb {
	const char *base, *third, *past, *ing;
};
struct adjective {
	const char *plain, *more, *most;
};
struct name {
	const char *text;
	bool female;
};
struct place {
	const char *at; /* "in", "at", "on" */
	const char *text;
};
/* What somebody does, and why. */
struct cause {
	const char *past, *present, *then_past, *then_present;
};

struct nouns { int n; const struct noun *v; };
struct verbs { int n; const struct verb *v; };
struct adjectives { int n; const struct adjective *v; };
struct names { int n; const struct name *v; };
struct places { int n; const struct place *v; };
struct causes { int n; const struct cause *v; };
struct words { int n; const char *const *v; };

extern const struct nouns grammar_animals, grammar_things, grammar_fruits, grammar_containers, grammar_jobs;
extern const struct verbs grammar_doing;    /* without an object: sleep */
extern const struct verbs grammar_handling; /* with a thing: carry */
extern const struct verbs grammar_meeting;  /* with an animal or a person: follow */
extern const struct adjectives grammar_degrees;
extern const struct names grammar_names;
extern const struct places grammar_places;
extern const struct causes grammar_causes;
extern const struct words grammar_colors, grammar_materials, grammar_traits, grammar_adverbs, grammar_feelings, grammar_sayings,
	grammar_beside, grammar_days, grammar_syllables, grammar_weathers;
extern const char *const grammar_numbers[21]; /* "no", "one" … "twenty" */

#endif

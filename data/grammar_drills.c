/* Scenes that leave the world alone and exercise one thing: agreement, sums, runs, lists, brackets, spelling, comparison.
 * See data/grammar_story.h. */
#include "base/err.h"
#include "data/grammar_story.h"

#include <stdio.h>
#include <string.h>

/* ---- agreement across attractors ---- */

/* "the dogs near the old house that the cat follows": the verb that comes next agrees with `many`. */
static struct phrase noun_phrase(struct story *s, bool many, int depth)
{
	const struct noun *head = draw_noun(s, &grammar_animals);
	const char *text = many ? head->many : head->one;
	if (depth == 0)
		return phrase("the %s", text);
	bool other = once_in(s, 2);
	struct phrase inner = noun_phrase(s, other, depth - 1);
	switch (draw(s, 4)) {
	case 0:
		return phrase("the %s that %.60s %s", text, inner.text, verb_form(s, draw_verb(s, &grammar_meeting), other));
	case 1:
		return phrase("the %s that %s %.60s", text, verb_form(s, draw_verb(s, &grammar_meeting), many), inner.text);
	case 2:
		return phrase("the %s %s", draw_word(s, &grammar_colors), text);
	default:
		return phrase("the %s %s %.60s", text, draw_word(s, &grammar_beside), inner.text);
	}
}

static void drill_agreement(struct story *s)
{
	bool many = once_in(s, 2), too = once_in(s, 2);
	struct phrase np = noun_phrase(s, many, draw(s, 3)), other;
	const struct verb *v = draw_verb(s, &grammar_doing);
	switch (draw(s, 4)) {
	case 0:
		tell(s, "%s %s %s.", np.text, be(s, many), v->ing);
		break;
	case 1:
		tell(s, "%s %s %s.", np.text, verb_form(s, v, many), draw_word(s, &grammar_adverbs));
		break;
	case 2:
		do {
			other = noun_phrase(s, too, 0);
		} while (strstr(np.text, other.text));
		tell(s, "%s %s, and %s %s too.", np.text, verb_form(s, v, many), other.text, verb_form(s, v, too));
		break;
	default:
		tell(s, "%s %s not %s, so %s %s %s.", np.text, tense(s, "did", many ? "do" : "does"), v->base, many ? "they" : "it", be(s, many),
		     draw_word(s, &grammar_feelings));
	}
	s->focus = -1;
}

/* ---- numbers ---- */

static void drill_sum(struct story *s)
{
	int p = draw_person(s), a = 1 + draw(s, 10), b = 1 + draw(s, 10);
	const struct noun *n = draw_noun(s, &grammar_fruits), *m = draw_noun(s, &grammar_fruits);
	const char *const *number = grammar_numbers;
	const char *had = tense(s, "had", "has");
	if (n == m) {
		tell(s, "%s %s %s %s.", subject(s, p), had, number[a], noun_form(n, a));
		tell(s, "%s %s %s more, so %s %s %s %s.", he(s, p), tense(s, "found", "finds"), number[b], he(s, p), had, number[a + b], n->many);
		return;
	}
	if (once_in(s, 2))
		tell(s, "%s %s %s %s and %s %s.", subject(s, p), had, number[a], noun_form(n, a), number[b], noun_form(m, b));
	else
		tell(s, "there %s %s %s and %s %s on the table.", be(s, a > 1), number[a], noun_form(n, a), number[b], noun_form(m, b));
	tell(s, "%s %s %s fruits.", "together that", tense(s, "made", "makes"), number[a + b]);
}

static void drill_account(struct story *s)
{
	int p = draw_person(s), have = 2 + draw(s, 11);
	const struct noun *n = once_in(s, 2) ? draw_noun(s, &grammar_fruits) : draw_noun(s, &grammar_things);
	const char *had = tense(s, "had", "has");
	tell(s, "%s %s %s %s.", subject(s, p), had, grammar_numbers[have], noun_form(n, have));
	for (int i = 1 + draw(s, 2); i > 0 && have > 0; i--) {
		int change = 1 + draw_early(s, 6);
		bool loses = once_in(s, 2) ? change <= have : change + have > 20;
		if (loses && change > have)
			change = have;
		have += loses ? -change : change;
		if (loses)
			tell(s, "%s %s %s, so %s %s %s left.", he(s, p), tense(s, "lost", "loses"), grammar_numbers[change], grammar_numbers[have],
			     noun_form(n, have), be(s, have != 1));
		else
			tell(s, "%s %s %s %s more, and now %s %s %s %s.", name_of(s, draw_other(s, p)), tense(s, "gave", "gives"),
			     him(s, p), grammar_numbers[change], he(s, p), had, grammar_numbers[have], noun_form(n, have));
	}
	s->focus = p;
}

static void drill_product(struct story *s)
{
	int a = 2 + draw(s, 4), b = 2 + draw(s, 3);
	const struct noun *n = draw_noun(s, &grammar_containers), *m = draw_noun(s, &grammar_things);
	tell(s, "in each of the %s %s there %s %s %s: %s %s in all.", grammar_numbers[a], n->many, be(s, true), grammar_numbers[b],
	     m->many, grammar_numbers[a * b], m->many);
	s->focus = -1;
}

static void drill_run(struct story *s)
{
	int p = draw_person(s), step = once_in(s, 3) ? 2 : 1, n = 3 + draw(s, 5), first = 1 + draw(s, 20 - step * (n - 1));
	bool down = once_in(s, 3);
	char run[160] = "";
	for (int i = 0; i < n; i++) {
		int at = first + step * (down ? n - 1 - i : i);
		strcat(strcat(run, i ? ", " : ""), grammar_numbers[at]);
	}
	tell(s, "%s %s%s%s: %s.", subject(s, p), tense(s, "counted", "counts"), down ? " down" : "", step == 2 ? " by twos" : "", run);
}

/* ---- lists, spelling, comparison ---- */

static void drill_list(struct story *s)
{
	int p = draw_person(s), n = 2 + draw(s, 3);
	char list[160] = "";
	uint64_t taken = 0; /* bit: index in the table */
	BUG_ON(grammar_things.n > 64);
	for (int i = 0; i < n; i++) {
		const struct noun *noun;
		do {
			noun = draw_noun(s, &grammar_things);
		} while (taken >> (noun - grammar_things.v) & 1);
		taken |= UINT64_C(1) << (noun - grammar_things.v);
		int count = 1 + draw_early(s, 6);
		const char *joint = i == 0 ? "" : i < n - 1 ? ", " : n > 2 ? ", and " : " and ";
		size_t used = strlen(list);
		snprintf(list + used, sizeof list - used, "%s%s %s", joint, count == 1 ? article(noun->one) : grammar_numbers[count],
			 noun_form(noun, count));
	}
	tell(s, "%s %s %s.", subject(s, p), tense(s, "packed", "packs"), list);
	if (once_in(s, 2))
		tell(s, "these %s %s kinds of things.", be(s, true), grammar_numbers[n]);
}

static void drill_spelling(struct story *s)
{
	int p = draw_person(s);
	const char *word = once_in(s, 2) ? draw_noun(s, &grammar_animals)->one : draw_noun(s, &grammar_things)->one;
	char letters[64] = "";
	for (size_t i = 0; word[i]; i++)
		snprintf(letters + strlen(letters), sizeof letters - strlen(letters), "%s%c", i ? "-" : "", word[i]);
	tell(s, "%s %s \"%s\": %s.", subject(s, p), tense(s, "spelled", "spells"), word, letters);
}

static void drill_compare(struct story *s)
{
	const struct adjective *a = &grammar_degrees.v[draw_early(s, grammar_degrees.n)];
	int p = draw(s, s->n_cast), q = draw_other(s, p), r = STORY_MAX_CAST - p - q;
	if (s->compared)
		return;
	s->compared = true;
	if (s->n_cast == 2) {
		tell(s, "%s %s %s than %s, so %s %s not as %s as %s.", name_of(s, p), be(s, false), a->more, name_of(s, q), name_of(s, q),
		     be(s, false), a->plain, name_of(s, p));
	} else {
		tell(s, "%s %s %s than %s, and %s %s %s than %s.", name_of(s, p), be(s, false), a->more, name_of(s, q), name_of(s, q),
		     be(s, false), a->more, name_of(s, r));
		tell(s, "so %s %s the %s of the three.", name_of(s, p), be(s, false), a->most);
	}
	s->focus = -1;
}

/* ---- brackets ---- */

/* Appends n_pairs nested and joined pairs. */
static void balanced(struct story *s, char *out, int n_pairs)
{
	static const char open[] = "([{<", close[] = ")]}>";
	while (n_pairs > 0) {
		int inside = draw(s, n_pairs), kind = draw_early(s, 4);
		size_t n = strlen(out);
		out[n] = open[kind];
		out[n + 1] = '\0';
		balanced(s, out, inside);
		n = strlen(out);
		out[n] = close[kind];
		out[n + 1] = '\0';
		n_pairs -= 1 + inside;
	}
}

/* A call such as "mi(ro, [ta, 3])". */
static void call(struct story *s, char *out, size_t capacity, int depth)
{
	size_t n = strlen(out);
	int n_arguments = 1 + draw(s, 2);
	bool list = depth > 0 && once_in(s, 3);
	snprintf(out + n, capacity - n, "%s%s", list ? "" : grammar_syllables.v[draw(s, grammar_syllables.n)], list ? "[" : "(");
	for (int i = 0; i < n_arguments; i++) {
		if (i)
			strcat(out, ", ");
		n = strlen(out);
		if (depth < 3 && once_in(s, 2))
			call(s, out, capacity, depth + 1);
		else if (once_in(s, 2))
			snprintf(out + n, capacity - n, "%d", draw(s, 10));
		else
			snprintf(out + n, capacity - n, "%s", grammar_syllables.v[draw(s, grammar_syllables.n)]);
	}
	strcat(out, list ? "]" : ")");
}

static void drill_brackets(struct story *s)
{
	int p = draw_person(s), q = 1 + draw(s, s->n_cast - 1);
	const char *trait = draw_word(s, &grammar_traits), *adverb = draw_word(s, &grammar_adverbs);
	const struct verb *v = draw_verb(s, &grammar_doing);
	char text[512] = "";
	switch (draw(s, 3)) {
	case 0:
		balanced(s, text, 3 + draw(s, 7));
		tell(s, "on the wall %s %s %s: %s", subject(s, p), tense(s, "saw", "sees"), "a pattern", text);
		tell(s, "%s %s it twice.", he(s, p), tense(s, "read", "reads"));
		break;
	case 1:
		call(s, text, sizeof text, 0);
		tell(s, "the machine %s %s.", tense(s, "printed", "prints"), text);
		s->focus = -1;
		break;
	default:
		tell(s, "%s (who, as %s (%s %s) often %s, %s %s) %s %s.", name_of(s, 0), name_of(s, q), his(s, 0),
		     s->relation[q], tense(s, "said", "says"), be(s, false), trait, verb_form(s, v, false), adverb);
		s->focus = -1;
	}
}

const struct scene_choice grammar_drills[] = {
	{ drill_agreement, 5 }, { drill_sum, 3 }, { drill_account, 2 }, { drill_product, 1 }, { drill_run, 2 },
	{ drill_list, 2 }, { drill_spelling, 1 }, { drill_compare, 2 }, { drill_brackets, 2 },
};
const int grammar_n_drills = sizeof grammar_drills / sizeof *grammar_drills;

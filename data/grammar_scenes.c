/* Scenes that change the story's world, its beginning and its end. See data/grammar_story.h. */
#include "data/grammar_story.h"

#include <string.h>

/* ---- the beginning ---- */

static const char *kind_of_person(struct story *s, int p)
{
	bool female = s->cast[p].name->female;
	switch (draw(s, 4)) {
	case 0:
		return female ? "girl" : "boy";
	case 1:
		return female ? "woman" : "man";
	default:
		return draw_noun(s, &grammar_jobs)->one;
	}
}

static const char *relation(struct story *s, int p)
{
	bool female = s->cast[p].name->female;
	switch (draw(s, 4)) {
	case 0:
		return female ? "sister" : "brother";
	case 1:
		return female ? "aunt" : "uncle";
	case 2:
		return "neighbour";
	default:
		return "friend";
	}
}

static void introduce_rest(struct story *s)
{
	for (int p = 1; p < s->n_cast; p++) {
		const char *who = s->relation[p] = relation(s, p), *own = his(s, 0), *name = name_of(s, p);
		struct phrase where = place_text(s->cast[p].place);
		if (once_in(s, 2))
			tell(s, "%s %s %s %s %s.", own, who, name, be(s, false), where.text);
		else
			tell(s, "%s, %s %s, %s %s.", name, own, who, be(s, false), where.text);
	}
	s->focus = -1;
}

void scene_opening(struct story *s)
{
	const char *name = name_of(s, 0), *trait = draw_word(s, &grammar_traits), *who = kind_of_person(s, 0);
	const char *day = grammar_days.v[s->day], *weather = draw_word(s, &grammar_weathers);
	struct phrase where = place_text(s->cast[0].place);
	switch (draw(s, 5)) {
	case 0:
		tell(s, "once upon a time there %s %s %s %s named %s.", be(s, false), article(trait), trait, who, name);
		tell(s, "%s %s %s.", he(s, 0), be(s, false), where.text);
		break;
	case 1:
		tell(s, "%s %s %s %s %s.", name, be(s, false), article(trait), trait, who);
		tell(s, "on %s %s %s %s.", day, he(s, 0), be(s, false), where.text);
		break;
	case 2:
		tell(s, "it %s %s %s %s.", be(s, false), article(weather), weather, day);
		tell(s, "%s, %s %s %s, %s %s.", name, article(trait), trait, who, be(s, false), where.text);
		break;
	case 3:
		tell(s, "on %s %s %s %s %s %s.", article(weather), weather, day, name, be(s, false), where.text);
		break;
	default:
		tell(s, "this is the story of %s, %s %s %s who %s %s.", name, article(trait), trait, who, be(s, false), where.text);
	}
	introduce_rest(s);
}

void scene_facts(struct story *s)
{
	for (int i = 0; i < STORY_THINGS; i++) {
		const struct thing *t = &s->things[i];
		struct phrase what = thing_text(t), where = container_text(t);
		int p = draw_person(s);
		switch (draw(s, 4)) {
		case 0:
			tell(s, "the %s %s in the %s.", what.text, be(s, false), where.text);
			break;
		case 1:
			tell(s, "in %s %s there %s %s %s.", article(where.text), where.text, be(s, false), article(what.text), what.text);
			break;
		case 2:
			tell(s, "%s %s %s %s in the %s.", subject(s, p), tense(s, "hid", "hides"), article(what.text), what.text, where.text);
			break;
		default:
			tell(s, "%s %s %s %s and %s it into the %s.", subject(s, p), tense(s, "had", "has"), article(what.text),
			     what.text, tense(s, "put", "puts"), where.text);
		}
	}
}

/* ---- what happens ---- */

static void scene_move(struct story *s)
{
	int p = draw_person(s);
	const struct place *to = &grammar_places.v[draw_early(s, grammar_places.n)], *from = s->cast[p].place;
	if (to == from)
		return;
	s->cast[p].place = to;
	switch (draw(s, 3)) {
	case 0:
		tell(s, "%s %s to the %s.", subject(s, p), tense(s, "went", "goes"), to->text);
		break;
	case 1:
		tell(s, "%s %s the %s and %s to the %s.", subject(s, p), tense(s, "left", "leaves"), from->text,
		     tense(s, "walked", "walks"), to->text);
		break;
	default:
		tell(s, "then %s %s from the %s to the %s.", subject(s, p), tense(s, "ran", "runs"), from->text, to->text);
	}
	for (int q = 0; q < s->n_cast; q++) {
		if (q != p && s->cast[q].place == to)
			tell(s, "there %s %s %s.", he(s, p), tense(s, "met", "meets"), name_of(s, q));
	}
}

static void scene_where(struct story *s)
{
	int p = draw_person(s), q = draw_other(s, p);
	struct phrase at = place_text(s->cast[p].place), other = place_text(s->cast[q].place);
	if (s->cast[p].place == s->cast[q].place)
		tell(s, "%s and %s %s both %s.", name_of(s, p), name_of(s, q), be(s, true), at.text);
	else
		tell(s, "%s %s %s, but %s %s %s.", name_of(s, p), be(s, false), at.text, name_of(s, q), be(s, false), other.text);
	s->focus = -1;
}

static void scene_take(struct story *s)
{
	struct thing *t = &s->things[draw(s, STORY_THINGS)];
	int p = draw_person(s);
	struct phrase what = thing_text(t), where = container_text(t);
	if (t->holder >= 0)
		return;
	t->holder = p;
	if (once_in(s, 2))
		tell(s, "%s %s the %s out of the %s.", subject(s, p), tense(s, "took", "takes"), what.text, where.text);
	else
		tell(s, "%s %s the %s and %s the %s.", subject(s, p), tense(s, "opened", "opens"), where.text, tense(s, "took", "takes"),
		     what.text);
	if (once_in(s, 2))
		tell(s, "now the %s %s empty.", where.text, be(s, false));
}

static void scene_give(struct story *s)
{
	struct thing *t = &s->things[draw(s, STORY_THINGS)];
	struct phrase what = thing_text(t), where = container_text(t);
	int p = t->holder;
	if (p < 0)
		return;
	int q = draw_other(s, p);
	if (once_in(s, 3)) {
		t->holder = -1;
		tell(s, "%s %s the %s back into the %s.", subject(s, p), tense(s, "put", "puts"), what.text, where.text);
		return;
	}
	t->holder = q;
	tell(s, "%s %s the %s to %s.", subject(s, p), tense(s, "gave", "gives"), what.text, name_of(s, q));
	if (once_in(s, 2)) {
		tell(s, "\"Thank you, %s,\" %s %s.", name_of(s, p), tense(s, "said", "says"), name_of(s, q));
		s->focus = q;
	}
}

static const char *say(const struct story *s)
{
	return tense(s, "said", "says");
}

static void scene_talk(struct story *s)
{
	int p = draw_person(s), q = draw_other(s, p);
	const struct thing *t = &s->things[draw(s, STORY_THINGS)];
	struct phrase what = thing_text(t), where = container_text(t), at = place_text(s->cast[q].place);
	const char *saying = draw_word(s, &grammar_sayings), *feeling = draw_word(s, &grammar_feelings);
	s->paragraph = true;
	switch (draw(s, 5)) {
	case 0:
		tell(s, "\"Where is the %s?\" %s %s.", what.text, tense(s, "asked", "asks"), name_of(s, p));
		if (t->holder < 0)
			tell(s, "\"It is in the %s,\" %s %s.", where.text, say(s), name_of(s, q));
		else if (t->holder == q)
			tell(s, "\"I have it,\" %s %s.", say(s), name_of(s, q));
		else
			tell(s, "\"%s %s it,\" %s %s.", t->holder == p ? "You" : name_of(s, t->holder), t->holder == p ? "have" : "has",
			     say(s), name_of(s, q));
		break;
	case 1:
		tell(s, "\"Why are you so %s, %s?\" %s %s.", feeling, name_of(s, q), tense(s, "asked", "asks"), name_of(s, p));
		tell(s, "\"I am not %s,\" %s %s.", feeling, say(s), name_of(s, q));
		break;
	case 2:
		tell(s, "\"My mother always says, '%s,'\" %s %s.", saying, say(s), name_of(s, p));
		break;
	case 3:
		tell(s, "\"Where are you, %s?\" %s %s.", name_of(s, q), tense(s, "called", "calls"), name_of(s, p));
		tell(s, "\"I am %s!\" %s %s.", at.text, tense(s, "answered", "answers"), name_of(s, q));
		break;
	default:
		tell(s, "\"Did you hear what %s said?\" %s %s.", name_of(s, q), tense(s, "asked", "asks"), name_of(s, p));
		tell(s, "\"%s said, 'I am %s (but not %s).'\"", he(s, q), feeling, draw_word(s, &grammar_traits));
	}
	s->focus = -1;
	s->paragraph = once_in(s, 2);
}

static void scene_feel(struct story *s)
{
	int p = draw_person(s);
	const struct cause *c = &grammar_causes.v[draw(s, grammar_causes.n)];
	const char *because = tense(s, c->past, c->present), *then = tense(s, c->then_past, c->then_present);
	switch (draw(s, 3)) {
	case 0:
		tell(s, "%s, so %s %s.", because, subject(s, p), then);
		break;
	case 1:
		tell(s, "because %s, %s %s.", because, subject(s, p), then);
		break;
	default:
		tell(s, "%s %s because %s.", subject(s, p), then, because);
	}
	if (once_in(s, 3))
		tell(s, "that %s %s very %s.", tense(s, "made", "makes"), him(s, p), draw_word(s, &grammar_feelings));
}

static void scene_mirror(struct story *s)
{
	int p = draw_person(s);
	const struct verb *v = draw_verb(s, &grammar_handling);
	const struct noun *n = draw_noun(s, &grammar_things);
	const char *self = s->cast[p].name->female ? "herself" : "himself", *adverb = draw_word(s, &grammar_adverbs);
	switch (draw(s, 4)) {
	case 0:
		tell(s, "%s %s %s in the mirror and %s at %s.", subject(s, p), tense(s, "saw", "sees"), self, tense(s, "laughed", "laughs"), self);
		break;
	case 1:
		tell(s, "yesterday %s %s the %s; tomorrow %s will %s %s own %s.", name_of(s, p), v->past, n->one, he(s, p), v->base, his(s, p), n->one);
		s->focus = p;
		break;
	case 2:
		tell(s, "%s %s %s the %s, but %s not %s it.", subject(s, p), tense(s, "wanted to", "wants to"), v->base, noun_form(n, 1),
		     tense(s, "did", "does"), v->base);
		break;
	default:
		tell(s, "%s %s %s %s all by %s.", subject(s, p), adverb, verb_form(s, v, false), phrase("the %s", n->many).text, self);
	}
}

static void scene_day(struct story *s)
{
	const char *today = grammar_days.v[s->day], *tomorrow = grammar_days.v[(s->day + 1) % 7];
	if (once_in(s, 2)) {
		tell(s, "%s was over, and %s came.", today, tomorrow);
		s->day = (s->day + 1) % 7;
	} else {
		tell(s, "it %s %s, so the next day %s %s.", be(s, false), today, tense(s, "would be", "is"), tomorrow);
	}
	s->focus = -1;
}

static void scene_password(struct story *s)
{
	int p = draw_person(s);
	if (!s->password[0]) {
		for (int i = 2 + draw(s, 3); i > 0; i--)
			strcat(s->password, grammar_syllables.v[draw(s, grammar_syllables.n)]);
		tell(s, "the secret word %s \"%s\".", be(s, false), s->password);
		return;
	}
	tell(s, "\"%s!\" %s %s, and a door %s.", s->password, tense(s, "cried", "cries"), name_of(s, p), tense(s, "opened", "opens"));
	s->focus = p;
}

const struct scene_choice grammar_scenes[] = {
	{ scene_move, 4 }, { scene_where, 2 }, { scene_take, 4 }, { scene_give, 4 }, { scene_talk, 4 },
	{ scene_feel, 2 }, { scene_mirror, 2 }, { scene_day, 1 }, { scene_password, 2 },
};
const int grammar_n_scenes = sizeof grammar_scenes / sizeof *grammar_scenes;

/* ---- the end ---- */

/* `then` begins an answer that is no question: "so in the end". */
static void ask_thing(struct story *s, const struct thing *t, const char *then)
{
	struct phrase what = thing_text(t), where = container_text(t);
	int p = t->holder >= 0 ? t->holder : draw_person(s);
	if (t->holder < 0 && once_in(s, 2))
		tell(s, "%s %s %s the %s in the %s.", then, name_of(s, p), tense(s, "found", "finds"), what.text, where.text);
	else if (t->holder < 0)
		tell(s, "where %s the %s? It %s in the %s.", be(s, false), what.text, be(s, false), where.text);
	else if (once_in(s, 2))
		tell(s, "%s %s %s the %s.", then, name_of(s, p), tense(s, "had", "has"), what.text);
	else
		tell(s, "who %s the %s? %s %s it.", tense(s, "had", "has"), what.text, name_of(s, p), tense(s, "had", "has"));
}

void scene_ending(struct story *s)
{
	int first = draw(s, STORY_THINGS), p = draw_person(s);
	s->paragraph = true;
	ask_thing(s, &s->things[first], "so in the end");
	if (once_in(s, 2))
		ask_thing(s, &s->things[1 - first], "later");
	if (once_in(s, 2))
		tell(s, "%s %s %s.", name_of(s, p), be(s, false), place_text(s->cast[p].place).text);
	if (once_in(s, 4)) {
		int q = 1 + draw(s, s->n_cast - 1);
		tell(s, "%s %s %s's %s.", name_of(s, q), be(s, false), name_of(s, 0), s->relation[q]);
	}
	if (s->password[0] && once_in(s, 2))
		tell(s, "nobody ever %s the word \"%s\".", tense(s, "forgot", "forgets"), s->password);
	if (once_in(s, 6))
		tell(s, "the end.");
}

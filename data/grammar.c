/* Puts a story together and writes corpora. The contract is in data/grammar.h. Test: tests/test_grammar.c */
#include "data/grammar.h"

#include "base/fsio.h"
#include "data/grammar_story.h"

#include <string.h>
#include <zlib.h>

/* ---- a document ---- */

static void cast_and_things(struct story *s)
{
	s->n_cast = once_in(s, 3) ? 3 : 2;
	for (int p = 0; p < s->n_cast; p++) {
		bool taken;
		do {
			s->cast[p].name = &grammar_names.v[draw_early(s, grammar_names.n)];
			taken = false;
			for (int q = 0; q < p; q++)
				taken |= s->cast[q].name == s->cast[p].name;
		} while (taken);
		s->cast[p].place = &grammar_places.v[draw_early(s, grammar_places.n)];
	}
	for (int i = 0; i < STORY_THINGS; i++) {
		struct thing *t = &s->things[i];
		do {
			t->color = draw_word(s, &grammar_colors);
			t->noun = draw_noun(s, &grammar_things);
			t->material = draw_word(s, &grammar_materials);
			t->container = draw_noun(s, &grammar_containers);
			t->holder = -1;
		} while (i && (t->noun == s->things[0].noun || t->container == s->things[0].container));
	}
}

static void tell_one_of(struct story *s, const struct scene_choice *choices, int n)
{
	int total = 0, at;
	for (int i = 0; i < n; i++)
		total += choices[i].weight;
	at = draw(s, total);
	while (at >= choices->weight)
		at -= choices++->weight;
	choices->tell(s);
}

size_t grammar_document(uint64_t seed, uint64_t i, char *out, size_t capacity)
{
	BUG_ON(capacity < GRAMMAR_MAX_BYTES);
	struct story s = { .seed = seed, .document = i, .out = out, .capacity = capacity, .focus = -1 };
	s.past = draw(&s, 3) > 0;
	s.day = draw(&s, 7);
	cast_and_things(&s);
	scene_opening(&s);
	scene_facts(&s);
	size_t enough = 300 + (size_t)draw(&s, 280);
	while (s.n < enough) {
		s.paragraph |= once_in(&s, 5);
		if (once_in(&s, 2))
			tell_one_of(&s, grammar_scenes, grammar_n_scenes);
		else
			tell_one_of(&s, grammar_drills, grammar_n_drills);
	}
	scene_ending(&s);
	BUG_ON(s.n < GRAMMAR_MIN_BYTES || s.n >= GRAMMAR_MAX_BYTES);
	return s.n;
}

/* ---- a corpus ---- */

/* Plain or gzip, into an atomic writer. */
struct sink {
	struct fsio_writer file;
	z_stream z;
	bool packs;
};

static int sink_open(struct sink *k, const char *path, struct err *e)
{
	size_t n = strlen(path);
	k->packs = n >= 3 && strcmp(path + n - 3, ".gz") == 0;
	if (fsio_writer_open(&k->file, path, e) < 0)
		return -1;
	if (k->packs && deflateInit2(&k->z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
		k->packs = false;
		return err_run(e, "%s: out of memory for gzip", path);
	}
	return 0;
}

static int sink_put(struct sink *k, const char *data, size_t n, int flush, struct err *e)
{
	unsigned char packed[16384];
	if (!k->packs)
		return fsio_write(&k->file, data, n, e);
	k->z.next_in = (unsigned char *)(uintptr_t)data; /* zlib only reads it */
	k->z.avail_in = (unsigned)n;
	do {
		k->z.next_out = packed;
		k->z.avail_out = sizeof packed;
		BUG_ON(deflate(&k->z, flush) == Z_STREAM_ERROR);
		if (fsio_write(&k->file, packed, sizeof packed - k->z.avail_out, e) < 0)
			return -1;
	} while (k->z.avail_out == 0);
	return 0;
}

static void sink_close(struct sink *k)
{
	if (k->packs)
		deflateEnd(&k->z);
	fsio_writer_abort(&k->file);
}

int grammar_write(const char *path, uint64_t seed, uint64_t first, size_t n, struct err *e)
{
	static const char separator[] = "\n<|endoftext|>\n";
	struct sink k = { .file.fd = -1 };
	char text[GRAMMAR_MAX_BYTES + sizeof separator];
	int rc = -1;
	TRY(sink_open(&k, path, e));
	for (size_t i = 0; i < n; i++) {
		size_t n_bytes = grammar_document(seed, first + i, text, GRAMMAR_MAX_BYTES);
		memcpy(text + n_bytes, separator, sizeof separator - 1);
		TRY(sink_put(&k, text, n_bytes + sizeof separator - 1, Z_NO_FLUSH, e));
	}
	TRY(sink_put(&k, "", 0, Z_FINISH, e));
	TRY(fsio_writer_commit(&k.file, e));
	rc = 0;
out:
	sink_close(&k);
	return rc;
}

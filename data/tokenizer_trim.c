/* Which tokens stay. */
#include "data/tokenizer_trim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_parts.h"
#include "data/unicode.h"

struct choice {
	struct tokenizer *t;
	int32_t n_old, n_kept;
	bool *kept, *made;        /* (n_old) made: some merge gives it */
	struct ids fresh, derived;
};

void tokenizer_trim_release(struct tokenizer_trim *m)
{
	free(m->new_ids);
	free(m->old_ids);
	*m = (struct tokenizer_trim){0};
}

/* ---- one token with its ancestors ---- */

static int mark(struct choice *c, int32_t id, struct err *e)
{
	size_t n;
	bool there = id >= 0 && id < c->n_old && (vocabulary_token(&c->t->bpe.vocabulary, id, &n) || added_tokens_by_id(&c->t->added, id));
	if (!there || c->kept[id])
		return 0;
	c->kept[id] = true;
	c->n_kept++;
	return ids_append(&c->fresh, &id, 1, e);
}

/* A token that merges give, but not out of its own text (out of bytes of the fallback, for example): all its merges. */
static int mark_parents(struct choice *c, int32_t id, struct err *e)
{
	const struct bpe *b = &c->t->bpe;
	for (size_t i = 0; i < b->n_slots; i++) {
		const struct bpe_merge *m = &b->merges[i];
		if (m->pair == BPE_FREE || m->id != id)
			continue;
		if (mark(c, (int32_t)(m->pair >> 32), e) < 0 || mark(c, (int32_t)(uint32_t)m->pair, e) < 0)
			return -1;
	}
	return 0;
}

static int mark_ancestors(struct choice *c, int32_t id, struct err *e)
{
	c->derived.n = 0;
	int got = bpe_derive(&c->t->bpe, id, &c->derived, e);
	if (got < 0)
		return -1;
	if (got == 0 && c->made[id])
		return mark_parents(c, id, e);
	for (size_t i = 0; i < c->derived.n; i++)
		if (mark(c, c->derived.v[i], e) < 0)
			return -1;
	return 0;
}

/* The token and all that it needs; c->fresh lists those that were not kept before. */
static int keep(struct choice *c, int32_t id, struct err *e)
{
	c->fresh.n = 0;
	if (mark(c, id, e) < 0)
		return -1;
	for (size_t i = 0; i < c->fresh.n; i++)
		if (mark_ancestors(c, c->fresh.v[i], e) < 0)
			return -1;
	return 0;
}

static void take_back(struct choice *c)
{
	for (size_t i = 0; i < c->fresh.n; i++)
		c->kept[c->fresh.v[i]] = false;
	c->n_kept -= (int32_t)c->fresh.n;
}

/* ---- what always stays ---- */

static int keep_all(struct choice *c, const int32_t *ids, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (keep(c, ids[i], e) < 0)
			return -1;
	return 0;
}

static bool byte_level(const struct tokenizer *t)
{
	const struct pretokenize *p = &t->pretokenize;
	return p->n && p->stages[p->n - 1].kind == PRETOKENIZE_BYTE_LEVEL;
}

static bool decodes_bytes(const struct detokenize *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->steps[i].kind == DETOKENIZE_BYTE_FALLBACK)
			return true;
	return false;
}

/* The 256 tokens <0xNN>; *all: none is missing and the decoder reads them, so that they can stand for any character. */
static int keep_fallback(struct choice *c, bool *all, struct err *e)
{
	*all = c->t->bpe.byte_fallback && decodes_bytes(&c->t->detokenize);
	for (int byte = 0; byte < 256; byte++) {
		char name[8];
		snprintf(name, sizeof name, "<0x%02X>", byte);
		int32_t id = vocabulary_find(&c->t->bpe.vocabulary, name, 6);
		*all = *all && id >= 0;
		if (c->t->bpe.byte_fallback && keep(c, id, e) < 0)
			return -1;
	}
	return 0;
}

static int keep_characters(struct choice *c, struct err *e)
{
	for (int32_t id = 0; id < c->n_old; id++) {
		size_t n = 0;
		int32_t character;
		const char *token = vocabulary_token(&c->t->bpe.vocabulary, id, &n);
		if (token && n && utf8_next(token, n, &character) == (int)n && keep(c, id, e) < 0)
			return -1;
	}
	return 0;
}

/* Every character of a text that the normalizer or the pre-tokenizer writes. */
static int keep_spelling(struct choice *c, const struct bytes *text, struct err *e)
{
	for (size_t i = 0; i < text->n;) {
		int32_t character;
		int n = utf8_next(text->v + i, text->n - i, &character);
		n = n < 0 ? -n : n;
		if (keep(c, vocabulary_find(&c->t->bpe.vocabulary, text->v + i, (size_t)n), e) < 0)
			return -1;
		i += (size_t)n;
	}
	return 0;
}

static int keep_written(struct choice *c, struct err *e)
{
	const struct tokenizer *t = c->t;
	for (size_t i = 0; i < t->normalize.n; i++)
		if (keep_spelling(c, &t->normalize.steps[i].content, e) < 0)
			return -1;
	for (size_t i = 0; i < t->pretokenize.n; i++)
		if (keep_spelling(c, &t->pretokenize.stages[i].content, e) < 0)
			return -1;
	return 0;
}

static int keep_base(struct choice *c, const struct tokenizer_trim_options *o, struct err *e)
{
	const struct tokenizer *t = c->t;
	const int32_t ends[] = {t->bos, t->eos, t->bpe.unk};
	bool fallback;
	for (size_t i = 0; i < t->added.n; i++)
		if (keep(c, t->added.v[i].id, e) < 0)
			return -1;
	if (keep_all(c, ends, 3, e) < 0 || keep_all(c, t->before.v, t->before.n, e) < 0 || keep_all(c, t->after.v, t->after.n, e) < 0 ||
	    keep_all(c, o->required, o->n_required, e) < 0 || keep_fallback(c, &fallback, e) < 0 || keep_written(c, e) < 0)
		return -1;
	if (byte_level(t) && keep_all(c, t->bpe.byte_ids, 256, e) < 0)
		return -1;
	return byte_level(t) || fallback ? 0 : keep_characters(c, e);
}

/* ---- what the corpus uses ---- */

struct used {
	uint64_t count;
	int32_t id;
};

static int by_count(const void *a, const void *b)
{
	const struct used *x = a, *y = b;
	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int keep_used(struct choice *c, const struct tokenizer_trim_options *o, struct err *e)
{
	struct used *used = malloc((size_t)c->n_old * sizeof *used);
	size_t n = 0;
	int rc = -1;
	if (!used)
		return err_run(e, "out of memory for the counts of %d tokens", c->n_old);
	for (int32_t id = 0; id < c->n_old; id++)
		if (o->counts[id] && o->counts[id] >= o->min_count)
			used[n++] = (struct used){o->counts[id], id};
	qsort(used, n, sizeof *used, by_count);
	for (size_t i = 0; i < n && (!o->max_tokens || c->n_kept < o->max_tokens); i++) {
		TRY(keep(c, used[i].id, e));
		if (o->max_tokens && c->n_kept > o->max_tokens)
			take_back(c);
	}
	rc = 0;
out:
	free(used);
	return rc;
}

/* ---- all ---- */

static void number(struct tokenizer_trim *m, const struct choice *c)
{
	size_t n;
	for (int32_t id = 0; id < m->n_old; id++)
		m->new_ids[id] = -1;
	for (int outside = 0; outside < 2; outside++)
		for (int32_t id = 0; id < m->n_old; id++)
			if (c->kept[id] && (vocabulary_token(&c->t->bpe.vocabulary, id, &n) == NULL) == outside) {
				m->old_ids[m->n_new] = id;
				m->new_ids[id] = m->n_new++;
			}
}

int tokenizer_trim_choose(struct tokenizer_trim *out, struct tokenizer *t, const struct tokenizer_trim_options *o, struct err *e)
{
	struct choice c = {.t = t, .n_old = t->vocab_size};
	size_t n = (size_t)c.n_old;
	int rc = -1;
	*out = (struct tokenizer_trim){.n_old = c.n_old};
	c.kept = calloc(n, 1);
	c.made = calloc(n, 1);
	out->new_ids = malloc(n * sizeof *out->new_ids);
	out->old_ids = malloc(n * sizeof *out->old_ids);
	if (!c.kept || !c.made || !out->new_ids || !out->old_ids) {
		err_run(e, "out of memory for a vocabulary of %zu tokens", n);
		goto out;
	}
	for (size_t i = 0; i < t->bpe.n_slots; i++)
		if (t->bpe.merges[i].pair != BPE_FREE)
			c.made[t->bpe.merges[i].id] = true;
	TRY(keep_base(&c, o, e));
	if (o->max_tokens && c.n_kept > o->max_tokens) {
		err_user(e, "the bytes, special tokens and whatever else must stay are %d tokens, more than the %d that were asked for",
			 c.n_kept, o->max_tokens);
		goto out;
	}
	TRY(keep_used(&c, o, e));
	number(out, &c);
	rc = 0;
out:
	if (rc < 0)
		tokenizer_trim_release(out);
	free(c.kept);
	free(c.made);
	ids_release(&c.fresh);
	ids_release(&c.derived);
	return rc;
}

#include "data/train_words.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

void train_words_release(struct train_words *w)
{
	bytes_release(&w->text);
	free(w->symbols);
	free(w->words);
	free(w->slots);
	*w = (struct train_words){0};
}

static size_t word_slot(const struct train_words *w, const char *word, size_t n)
{
	size_t slot = hash_bytes(word, n) & (w->n_slots - 1);
	for (; w->slots[slot]; slot = (slot + 1) & (w->n_slots - 1)) {
		const struct train_word *t = &w->words[w->slots[slot] - 1];
		if (t->n_bytes == n && !memcmp(w->text.v + t->at, word, n))
			break;
	}
	return slot;
}

static int grow(struct train_words *w, struct err *e)
{
	if (w->n * 2 < w->n_slots)
		return 0;
	size_t want = w->n_slots ? 2 * w->n_slots : 4096;
	uint32_t *slots = calloc(want, sizeof *slots);
	void *words = realloc(w->words, want * sizeof *w->words);
	if (words)
		w->words = words;
	if (!slots || !words || want > UINT32_MAX) {
		free(slots);
		return err_run(e, "out of memory for %zu words", want);
	}
	free(w->slots);
	w->slots = slots;
	w->n_slots = want;
	for (size_t i = 0; i < w->n; i++)
		slots[word_slot(w, w->text.v + w->words[i].at, w->words[i].n_bytes)] = (uint32_t)i + 1;
	return 0;
}

int train_words_count(struct train_words *w, const char *word, size_t n, struct err *e)
{
	if (grow(w, e) < 0)
		return -1;
	size_t slot = word_slot(w, word, n);
	if (!w->slots[slot]) {
		if (n > UINT32_MAX)
			return err_user(e, "a word of %zu bytes", n);
		w->words[w->n] = (struct train_word){.at = w->text.n, .n = (uint32_t)n, .n_bytes = (uint32_t)n};
		if (bytes_append(&w->text, word, n, e) < 0)
			return -1;
		w->slots[slot] = (uint32_t)++w->n;
	}
	w->words[w->slots[slot] - 1].count++;
	return 0;
}

int train_words_spell(struct train_words *w, const int32_t *byte_ids, struct err *e)
{
	w->symbols = malloc((w->text.n + 1) * sizeof *w->symbols);
	if (!w->symbols)
		return err_run(e, "out of memory for %zu symbols", w->text.n);
	for (size_t i = 0; i < w->text.n; i++)
		w->symbols[i] = byte_ids[(unsigned char)w->text.v[i]];
	return 0;
}

void pair_counts_release(struct pair_counts *p)
{
	free(p->slots);
	*p = (struct pair_counts){0};
}

static struct pair_count *pair_slot(const struct pair_counts *p, uint64_t pair)
{
	uint64_t h = pair * 0x9E3779B97F4A7C15u;
	size_t slot = (h ^ h >> 32) & (p->n_slots - 1);
	while (p->slots[slot].pair != UINT64_MAX && p->slots[slot].pair != pair)
		slot = (slot + 1) & (p->n_slots - 1);
	return &p->slots[slot];
}

static int grow_pairs(struct pair_counts *p, struct err *e)
{
	if (p->n * 2 < p->n_slots)
		return 0;
	struct pair_counts bigger = {.n = p->n, .n_slots = p->n_slots ? 2 * p->n_slots : 4096};
	bigger.slots = malloc(bigger.n_slots * sizeof *bigger.slots);
	if (!bigger.slots)
		return err_run(e, "out of memory for %zu pairs", p->n);
	for (size_t i = 0; i < bigger.n_slots; i++)
		bigger.slots[i] = (struct pair_count){UINT64_MAX, 0};
	for (size_t i = 0; i < p->n_slots; i++)
		if (p->slots[i].pair != UINT64_MAX)
			*pair_slot(&bigger, p->slots[i].pair) = p->slots[i];
	free(p->slots);
	*p = bigger;
	return 0;
}

int64_t *pair_counts_at(struct pair_counts *p, uint64_t pair, struct err *e)
{
	if (grow_pairs(p, e) < 0)
		return NULL;
	struct pair_count *slot = pair_slot(p, pair);
	if (slot->pair == UINT64_MAX) {
		slot->pair = pair;
		p->n++;
	}
	return &slot->count;
}

#include "data/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

void vocabulary_release(struct vocabulary *v)
{
	bytes_release(&v->text);
	free(v->tokens);
	free(v->slots);
	*v = (struct vocabulary){0};
}

const char *vocabulary_token(const struct vocabulary *v, int32_t id, size_t *n)
{
	if (id < 0 || id >= v->n_ids || !v->tokens[id].used)
		return NULL;
	*n = v->tokens[id].n;
	return *n ? v->text.v + v->tokens[id].at : "";
}

/* The slot that holds the token, or the free one where it belongs. */
static size_t slot_of(const struct vocabulary *v, const char *token, size_t n)
{
	size_t slot = hash_bytes(token, n) & (v->n_slots - 1);
	for (; v->slots[slot] >= 0; slot = (slot + 1) & (v->n_slots - 1)) {
		const struct vocabulary_token *t = &v->tokens[v->slots[slot]];
		if (t->n == n && (!n || !memcmp(v->text.v + t->at, token, n)))
			break;
	}
	return slot;
}

int32_t vocabulary_find(const struct vocabulary *v, const char *token, size_t n)
{
	return v->n_slots ? v->slots[slot_of(v, token, n)] : -1;
}

/* Keeps the table less than half full. */
static int grow_slots(struct vocabulary *v, struct err *e)
{
	if ((size_t)v->n_used * 2 < v->n_slots)
		return 0;
	size_t want = v->n_slots ? v->n_slots * 2 : 1024;
	int32_t *old = v->slots, *slots = malloc(want * sizeof *slots);
	if (!slots)
		return err_run(e, "out of memory for a vocabulary of %d tokens", v->n_used);
	memset(slots, 0xFF, want * sizeof *slots);
	v->slots = slots;
	v->n_slots = want;
	for (int32_t id = 0; id < v->n_ids; id++)
		if (v->tokens[id].used)
			slots[slot_of(v, v->text.v + v->tokens[id].at, v->tokens[id].n)] = id;
	free(old);
	return 0;
}

static int grow_ids(struct vocabulary *v, int32_t id, struct err *e)
{
	if (id >= v->capacity) {
		int32_t want = v->capacity ? v->capacity : 1024;
		while (want <= id)
			want *= 2;
		void *grown = realloc(v->tokens, (size_t)want * sizeof *v->tokens);
		if (!grown)
			return err_run(e, "out of memory for a vocabulary of %d ids", want);
		v->tokens = grown;
		memset(v->tokens + v->capacity, 0, (size_t)(want - v->capacity) * sizeof *v->tokens);
		v->capacity = want;
	}
	if (id >= v->n_ids)
		v->n_ids = id + 1;
	return 0;
}

int vocabulary_add(struct vocabulary *v, int64_t id, const char *token, size_t n, struct err *e)
{
	int shown = (int)(n > 60 ? 60 : n);
	if (id < 0 || id >= VOCABULARY_MAX || n > UINT32_MAX)
		return err_user(e, "token \"%.*s\" has id %lld, expected one in [0, %d)", shown, token, (long long)id,
				VOCABULARY_MAX);
	size_t n_other = 0;
	const char *other = vocabulary_token(v, (int32_t)id, &n_other);
	if (other)
		return err_user(e, "tokens \"%.*s\" and \"%.*s\" share id %lld", (int)(n_other > 60 ? 60 : n_other), other, shown,
				token, (long long)id);
	int32_t there = vocabulary_find(v, token, n);
	if (there >= 0)
		return err_user(e, "token \"%.*s\" has two ids, %d and %lld", shown, token, there, (long long)id);
	if (grow_slots(v, e) < 0 || grow_ids(v, (int32_t)id, e) < 0)
		return -1;
	size_t at = v->text.n;
	if (bytes_append(&v->text, token, n, e) < 0)
		return -1;
	size_t slot = slot_of(v, token, n);
	v->tokens[id] = (struct vocabulary_token){.at = at, .n = (uint32_t)n, .used = true};
	v->slots[slot] = (int32_t)id;
	v->n_used++;
	return 0;
}

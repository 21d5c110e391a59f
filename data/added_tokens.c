#include "data/added_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "data/unicode.h"

static void token_release(struct added_token *t)
{
	bytes_release(&t->content);
	bytes_release(&t->pattern);
}

void added_tokens_release(struct added_tokens *a)
{
	for (size_t i = 0; i < a->n; i++)
		token_release(&a->v[i]);
	free(a->v);
	free(a->by_id);
	vocabulary_release(&a->ids);
	free(a->as_it_came.nodes);
	free(a->normalized.nodes);
	*a = (struct added_tokens){0};
}

int added_tokens_add(struct added_tokens *a, struct added_token *token, struct err *e)
{
	if (a->n == a->capacity) {
		size_t want = a->capacity ? 2 * a->capacity : 16;
		void *grown = realloc(a->v, want * sizeof *a->v);
		if (!grown) {
			token_release(token);
			return err_run(e, "out of memory for %zu added tokens", want);
		}
		a->v = grown;
		a->capacity = want;
	}
	a->v[a->n++] = *token;
	return 0;
}

const struct added_token *added_tokens_by_id(const struct added_tokens *a, int32_t id)
{
	return id >= 0 && id < a->n_ids && a->by_id[id] ? &a->v[a->by_id[id] - 1] : NULL;
}

/* ---- the trie ---- */

static int new_node(struct token_trie *t, unsigned char byte, struct err *e)
{
	if (t->n == t->capacity) {
		size_t want = t->capacity ? 2 * t->capacity : 64;
		void *grown = realloc(t->nodes, want * sizeof *t->nodes);
		if (!grown || want > INT32_MAX)
			return err_run(e, "out of memory for the added tokens");
		t->nodes = grown;
		t->capacity = want;
	}
	t->nodes[t->n] = (struct token_trie_node){.token = -1, .byte = byte};
	return (int)t->n++;
}

static int32_t step(const struct token_trie *t, int32_t node, unsigned char byte)
{
	int32_t child = t->nodes[node].child;
	while (child && t->nodes[child].byte != byte)
		child = t->nodes[child].sibling;
	return child;
}

static int insert(struct token_trie *t, const struct bytes *pattern, size_t token, struct err *e)
{
	int32_t node = 0;
	if (!t->n && new_node(t, 0, e) < 0)
		return -1;
	if (!pattern->n)
		return 0;
	for (size_t i = 0; i < pattern->n; i++) {
		unsigned char byte = (unsigned char)pattern->v[i];
		int32_t next = step(t, node, byte);
		if (!next) {
			next = new_node(t, byte, e);
			if (next < 0)
				return -1;
			t->nodes[next].sibling = t->nodes[node].child;
			t->nodes[node].child = next;
		}
		node = next;
	}
	t->nodes[node].token = (int32_t)token;
	t->first[(unsigned char)pattern->v[0]] = true;
	return 0;
}

int added_tokens_prepare(struct added_tokens *a, struct err *e)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->v[i].id >= a->n_ids)
			a->n_ids = a->v[i].id + 1;
	a->by_id = calloc((size_t)a->n_ids + 1, sizeof *a->by_id);
	if (!a->by_id)
		return err_run(e, "out of memory for %d ids", a->n_ids);
	for (size_t i = 0; i < a->n; i++) {
		a->by_id[a->v[i].id] = (int32_t)i + 1;
		struct token_trie *trie = a->v[i].normalized ? &a->normalized : &a->as_it_came;
		if (insert(trie, &a->v[i].pattern, i, e) < 0)
			return -1;
	}
	return 0;
}

/* The longest token that begins s(n), -1 if none. */
static int32_t longest(const struct token_trie *t, const char *s, size_t n)
{
	int32_t node = 0, found = -1;
	for (size_t i = 0; i < n; i++) {
		node = step(t, node, (unsigned char)s[i]);
		if (!node)
			break;
		if (t->nodes[node].token >= 0)
			found = t->nodes[node].token;
	}
	return found;
}

/* ---- the text around a token ---- */

/* The character that ends before position at; its start goes to *start. at > 0. */
static int32_t before(const char *s, size_t at, size_t *start)
{
	int32_t c;
	*start = at - 1;
	while (*start && ((unsigned char)s[*start] & 0xC0) == 0x80)
		--*start;
	utf8_next(s + *start, at - *start, &c);
	return c;
}

static size_t strip_left(const char *s, size_t at, size_t limit)
{
	size_t start;
	while (at > limit && unicode_is_space(before(s, at, &start)))
		at = start;
	return at > limit ? at : limit;
}

static size_t strip_right(const char *s, size_t n, size_t at)
{
	int32_t c;
	while (at < n) {
		int length = utf8_next(s + at, n - at, &c);
		if (length < 0 || !unicode_is_space(c))
			break;
		at += (size_t)length;
	}
	return at;
}

static bool is_alone(const char *s, size_t n, size_t start, size_t end)
{
	size_t ignored;
	int32_t c;
	if (start && unicode_is_word(before(s, start, &ignored)))
		return false;
	return end == n || utf8_next(s + end, n - end, &c) < 0 || !unicode_is_word(c);
}

int added_tokens_split(const struct added_tokens *a, const struct token_trie *trie, const char *s, size_t n, added_emit *emit,
		       void *context, struct err *e)
{
	size_t done = 0;
	for (size_t i = 0; i < n;) {
		int32_t found = trie->n && trie->first[(unsigned char)s[i]] ? longest(trie, s + i, n - i) : -1;
		if (found < 0) {
			i++;
			continue;
		}
		const struct added_token *token = &a->v[found];
		size_t start = i, end = i + token->pattern.n;
		i = end;
		if (token->single_word && !is_alone(s, n, start, end))
			continue;
		if (token->lstrip)
			start = strip_left(s, start, done < start ? done : start);
		if (token->rstrip)
			end = strip_right(s, n, end);
		if (done < start && emit(context, NULL, s + done, start - done, done, e) < 0)
			return -1;
		if (emit(context, token, s + start, end - start, start, e) < 0)
			return -1;
		done = end;
	}
	return done < n ? emit(context, NULL, s + done, n - done, done, e) : 0;
}

/* The smaller tokenizer as JSON: ids are renumbered in the tree that was read, all else in it stays. */
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_parts.h"
#include "data/tokenizer_trim.h"

/* -1: none. */
static int32_t new_id(const struct tokenizer_trim *m, json_int_t old)
{
	return old >= 0 && old < m->n_old ? m->new_ids[old] : -1;
}

/* ---- model ---- */

static int trim_vocab(const struct tokenizer_trim *m, const struct tokenizer *t, json_t *model, struct err *e)
{
	json_t *vocab = json_object();
	int bad = 0;
	for (int32_t id = 0; id < m->n_new; id++) {
		size_t n;
		const char *token = vocabulary_token(&t->bpe.vocabulary, m->old_ids[id], &n);
		bad |= token && json_object_setn_new(vocab, token, n, json_integer(id)) < 0;
	}
	return bad | json_object_set_new(model, "vocab", vocab) ? err_run(e, "out of memory for a vocabulary of %d tokens", m->n_new) : 0;
}

/* The two tokens of "a b" or ["a", "b"]; the reader has checked that it is one of these. */
static void merge_parts(const json_t *merge, const char *part[2], size_t n[2])
{
	if (json_is_string(merge)) {
		part[0] = json_string_value(merge);
		part[1] = memchr(part[0], ' ', json_string_length(merge));
		n[0] = (size_t)(part[1]++ - part[0]);
		n[1] = json_string_length(merge) - n[0] - 1;
		return;
	}
	for (size_t i = 0; i < 2; i++) {
		part[i] = json_string_value(json_array_get(merge, i));
		n[i] = json_string_length(json_array_get(merge, i));
	}
}

/* Do both tokens and what they become stay? joined is working space. */
static int merge_stays(const struct tokenizer_trim *m, const struct tokenizer *t, const json_t *merge, struct bytes *joined, struct err *e)
{
	const struct vocabulary *v = &t->bpe.vocabulary;
	const char *part[2];
	size_t n[2];
	merge_parts(merge, part, n);
	joined->n = 0;
	if (bytes_append(joined, part[0], n[0], e) < 0 || bytes_append(joined, part[1], n[1], e) < 0)
		return -1;
	return new_id(m, vocabulary_find(v, part[0], n[0])) >= 0 && new_id(m, vocabulary_find(v, part[1], n[1])) >= 0 &&
	       new_id(m, vocabulary_find(v, joined->v, joined->n)) >= 0;
}

static int trim_merges(const struct tokenizer_trim *m, const struct tokenizer *t, json_t *model, struct err *e)
{
	json_t *merges = json_array(), *merge;
	struct bytes joined = {0};
	size_t i;
	int stays = 0;
	json_array_foreach(json_object_get(model, "merges"), i, merge) {
		stays = merge_stays(m, t, merge, &joined, e);
		if (stays < 0)
			break;
		if (stays && json_array_append(merges, merge) < 0)
			stays = err_run(e, "out of memory for merges");
		if (stays < 0)
			break;
	}
	bytes_release(&joined);
	if (stays < 0) {
		json_decref(merges);
		return -1;
	}
	return json_object_set_new(model, "merges", merges) < 0 ? err_run(e, "out of memory for merges") : 0;
}

/* ---- what else has ids ---- */

/* The reader takes an added token's id from its content, and so do we; one without content is not read. */
static void trim_added(const struct tokenizer_trim *m, const struct tokenizer *t, json_t *list)
{
	for (size_t i = json_array_size(list); i-- > 0;) {
		json_t *token = json_array_get(list, i);
		const char *content = json_string_value(json_object_get(token, "content"));
		if (!content || !*content)
			json_array_remove(list, i);
		else
			json_object_set_new(token, "id", json_integer(new_id(m, tokenizer_id(t, content))));
	}
}

static void trim_post_processor(const struct tokenizer_trim *m, json_t *p)
{
	json_t *special, *child;
	const char *name;
	size_t i;
	json_object_foreach(json_object_get(p, "special_tokens"), name, special) {
		json_t *ids = json_object_get(special, "ids");
		json_array_foreach(ids, i, child)
			json_array_set_new(ids, i, json_integer(new_id(m, json_integer_value(child))));
	}
	json_array_foreach(json_object_get(p, "processors"), i, child)
		trim_post_processor(m, child);
}

/* A template may name tokens that single texts don't get (the reader looks at those alone): they must stay too. */
static bool post_processor_fits(const json_t *p)
{
	json_t *special, *child;
	const char *name;
	size_t i;
	json_object_foreach(json_object_get(p, "special_tokens"), name, special)
		json_array_foreach(json_object_get(special, "ids"), i, child)
			if (json_integer_value(child) < 0)
				return false;
	json_array_foreach(json_object_get(p, "processors"), i, child)
		if (!post_processor_fits(child))
			return false;
	return true;
}

static int trim_rest(const struct tokenizer_trim *m, const struct tokenizer *t, json_t *root, struct err *e)
{
	json_t *padding = json_object_get(root, "padding"), *pad = json_object_get(padding, "pad_id");
	json_t *post = json_object_get(root, "post_processor");
	trim_added(m, t, json_object_get(root, "added_tokens"));
	trim_post_processor(m, post);
	if (!post_processor_fits(post))
		return err_user(e, "tokenizer.json: post_processor: a special token is not among added_tokens; add it there");
	if (!pad)
		return 0;
	if (new_id(m, json_integer_value(pad)) < 0)
		return err_user(e, "tokenizer.json: padding.pad_id %lld is no added token; mend it, or set padding to null",
				(long long)json_integer_value(pad));
	json_object_set_new(padding, "pad_id", json_integer(new_id(m, json_integer_value(pad))));
	return 0;
}

static int dump(const json_t *root, struct bytes *out, struct err *e)
{
	char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
	int rc = text ? bytes_append(out, text, strlen(text), e) : err_run(e, "out of memory for tokenizer.json");
	free(text);
	return rc < 0 ? -1 : bytes_append(out, "\n", 1, e);
}

int tokenizer_trim_json(const struct tokenizer_trim *m, const struct tokenizer *t, struct bytes *out, struct err *e)
{
	json_t *root = NULL;
	int rc = -1;
	TRY(json_parse(t->json.v, t->json.n, "tokenizer.json", &root, e));
	TRY(trim_vocab(m, t, json_object_get(root, "model"), e));
	TRY(trim_merges(m, t, json_object_get(root, "model"), e));
	TRY(trim_rest(m, t, root, e));
	rc = dump(root, out, e);
out:
	json_decref(root);
	return rc;
}

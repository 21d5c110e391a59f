#include "data/train_json.h"

#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_make.h"
#include "data/train_words.h"

static json_t *token_text(const struct vocabulary *v, int32_t id)
{
	size_t n;
	const char *s = vocabulary_token(v, id, &n);
	return json_stringn(s, n);
}

/* "left right" */
static json_t *merge_text(const struct vocabulary *v, uint64_t merge)
{
	json_t *l = token_text(v, (int32_t)(merge >> 32)), *r = token_text(v, (int32_t)(uint32_t)merge);
	json_t *text = l && r ? json_sprintf("%s %s", json_string_value(l), json_string_value(r)) : NULL;
	json_decref(l);
	json_decref(r);
	return text;
}

/* A pair that was merged twice counts where it came last. */
static json_t *merges_list(const struct vocabulary *v, const uint64_t *merges, size_t n, struct err *e)
{
	struct pair_counts last = {0};
	json_t *list = json_array();
	int rc = -1;
	for (size_t i = 0; i < n; i++) {
		int64_t *at = pair_counts_at(&last, merges[i], e);
		if (!at)
			goto out;
		*at = (int64_t)i;
	}
	for (size_t i = 0; i < n; i++) {
		const int64_t *at = pair_counts_at(&last, merges[i], e);
		if (!at || (*at == (int64_t)i && json_array_append_new(list, merge_text(v, merges[i])) < 0))
			goto out;
	}
	rc = 0;
out:
	pair_counts_release(&last);
	if (rc == 0)
		return list;
	json_decref(list);
	err_run(e, "out of memory for %zu merges", n);
	return NULL;
}

static int32_t id_of(const struct vocabulary *v, const char *token)
{
	return token ? vocabulary_find(v, token, strlen(token)) : -1;
}

static bool same(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
}

static json_t *added_list(const struct tokenizer_train_options *o, const struct vocabulary *v)
{
	const char *const names[] = {o->bos, same(o->bos, o->eos) ? NULL : o->eos};
	json_t *list = json_array();
	for (int i = 0; i < 2; i++)
		if (names[i])
			json_array_append_new(list, make_special_token(names[i], id_of(v, names[i])));
	return list;
}

static json_t *template_processing(const struct tokenizer_train_options *o, const struct vocabulary *v)
{
	const char *bos = o->add_bos ? o->bos : NULL, *eos = o->add_eos ? o->eos : NULL;
	return make_template(bos, id_of(v, bos), eos, id_of(v, eos));
}

static json_t *vocab_object(const struct vocabulary *v)
{
	json_t *vocab = json_object();
	for (int32_t id = 0; id < v->n_ids; id++) {
		json_t *token = token_text(v, id);
		if (token)
			json_object_set_new(vocab, json_string_value(token), json_integer(id));
		json_decref(token);
	}
	return vocab;
}

/* Takes root over. */
static int dump(json_t *root, size_t indent, struct bytes *out, struct err *e)
{
	char *text = root ? json_dumps(root, JSON_INDENT(indent)) : NULL;
	int rc = text ? bytes_append(out, text, strlen(text), e)
		      : err_run(e, "out of memory for a tokenizer.json (or a special token that is no UTF-8)");
	free(text);
	json_decref(root);
	return rc < 0 ? -1 : bytes_append(out, "\n", 1, e);
}

int train_json(const struct tokenizer_train_options *o, const struct vocabulary *v, const uint64_t *merges, size_t n_merges,
	       struct bytes *json, struct bytes *config, struct err *e)
{
	json_t *list = merges_list(v, merges, n_merges, e);
	if (!list)
		return -1;
	json_t *root = json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:o, s:o, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}}",
				 "version", "1.0", "truncation", "padding", "added_tokens", added_list(o, v), "normalizer",
				 "pre_tokenizer", make_byte_level(false), "post_processor", template_processing(o, v), "decoder",
				 make_byte_level(false), "model", "type", "BPE", "dropout", "unk_token",
				 "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
				 "ignore_merges", 0, "vocab", vocab_object(v), "merges", list);
	if (dump(root, 1, json, e) < 0)
		return -1;
	return dump(json_pack("{s:s, s:s*, s:s*, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "bos_token", o->bos,
			      "eos_token", o->eos, "clean_up_tokenization_spaces", 0), 2, config, e);
}

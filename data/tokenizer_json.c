/* A tokenizer from the text of tokenizer.json and tokenizer_config.json. */
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_parts.h"

/* ---- model ---- */

static int read_vocab(struct bpe *b, json_t *vocab, const char *name, struct err *e)
{
	for (void *at = json_object_iter(vocab); at; at = json_object_iter_next(vocab, at)) {
		const json_t *id = json_object_iter_value(at);
		const char *token = json_object_iter_key(at);
		if (!json_is_integer(id))
			return err_user(e, "%s: model.vocab: the id of \"%.60s\" is no integer", name, token);
		if (vocabulary_add(&b->vocabulary, json_integer_value(id), token, json_object_iter_key_len(at), e) < 0)
			return err_prefix(e, "%s: model.vocab", name);
	}
	return 0;
}

/* "a b" or ["a", "b"] */
static int read_merge(struct bpe *b, const json_t *merge, struct err *e)
{
	if (json_is_string(merge)) {
		const char *s = json_string_value(merge);
		size_t n = json_string_length(merge);
		const char *space = memchr(s, ' ', n);
		if (!space || memchr(space + 1, ' ', n - (size_t)(space + 1 - s)))
			return err_user(e, "merge %zu: \"%.60s\" is not two tokens", b->n_merges + 1, s);
		return bpe_add_merge(b, s, (size_t)(space - s), space + 1, n - (size_t)(space + 1 - s), e);
	}
	const json_t *l = json_array_get(merge, 0), *r = json_array_get(merge, 1);
	if (json_array_size(merge) != 2 || !json_is_string(l) || !json_is_string(r))
		return err_user(e, "merge %zu: expected two tokens", b->n_merges + 1);
	return bpe_add_merge(b, json_string_value(l), json_string_length(l), json_string_value(r), json_string_length(r), e);
}

static int read_merges(struct bpe *b, const json_t *merges, const char *name, struct err *e)
{
	for (size_t i = 0; i < json_array_size(merges); i++)
		if (read_merge(b, json_array_get(merges, i), e) < 0)
			return err_prefix(e, "%s: model.merges", name);
	return 0;
}

static int check_model_type(const json_t *model, const char *name, struct err *e)
{
	const char *type = json_string_value(json_object_get(model, "type"));
	if (!type && json_object_get(model, "merges"))
		return 0; /* as written by old versions */
	if (type && !strcmp(type, "BPE"))
		return 0;
	if (type && !strcmp(type, "WordPiece"))
		return err_user(e, "%s: a WordPiece tokenizer (BERT's kind); only BPE can be read: convert the model to a BPE "
				   "tokenizer.json, or choose one that has it", name);
	return err_user(e, "%s: a tokenizer model of type %s; only BPE can be read: convert it to a BPE tokenizer.json, or choose a "
			   "model that has one", name, type ? type : "(none)");
}

/* Options of the model that change ids and are not supported: they must be absent, null, empty or 0. */
static int check_model_options(const json_t *model, const char *name, struct err *e)
{
	static const char *const keys[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		const json_t *v = json_object_get(model, keys[i]);
		bool idle = !v || json_is_null(v) || (json_is_number(v) && json_number_value(v) == 0) ||
			    (json_is_string(v) && !json_string_length(v));
		if (!idle)
			return err_user(e, "%s: model.%s is not supported", name, keys[i]);
	}
	return 0;
}

static bool ends_byte_level(const struct pretokenize *p)
{
	return p->n && p->stages[p->n - 1].kind == PRETOKENIZE_BYTE_LEVEL;
}

static int read_unk(struct bpe *b, const json_t *model, const char *name, struct err *e)
{
	const char *unk;
	if (json_get_string(model, name, "unk_token", NULL, &unk, e) < 0)
		return -1;
	b->unk = unk ? vocabulary_find(&b->vocabulary, unk, strlen(unk)) : -1;
	if (unk && *unk && b->unk < 0 && !b->raw)
		return err_user(e, "%s: unk_token \"%.60s\" is not in the vocabulary", name, unk);
	return 0;
}

static int read_model(struct tokenizer *t, const json_t *root, const char *name, struct err *e)
{
	struct bpe *b = &t->bpe;
	json_t *model, *vocab, *merges;
	if (json_require(root, name, "model", e) < 0 || json_get_child(root, name, "model", JSON_OBJECT, &model, e) < 0 ||
	    check_model_type(model, name, e) < 0 || check_model_options(model, name, e) < 0 ||
	    json_require(model, name, "vocab", e) < 0 || json_get_child(model, name, "vocab", JSON_OBJECT, &vocab, e) < 0 ||
	    json_require(model, name, "merges", e) < 0 || json_get_child(model, name, "merges", JSON_ARRAY, &merges, e) < 0 ||
	    json_get_bool(model, name, "fuse_unk", false, &b->fuse_unk, e) < 0 ||
	    json_get_bool(model, name, "byte_fallback", false, &b->byte_fallback, e) < 0 ||
	    json_get_bool(model, name, "ignore_merges", false, &b->ignore_merges, e) < 0)
		return -1;
	if (read_vocab(b, vocab, name, e) < 0 || read_merges(b, merges, name, e) < 0 ||
	    bpe_prepare(b, ends_byte_level(&t->pretokenize), e) < 0)
		return -1;
	t->pretokenize.raw = b->raw;
	return read_unk(b, model, name, e);
}

/* ---- added tokens ---- */

static int added_fields(struct added_token *a, int64_t *id, const json_t *json, const char *name, struct err *e)
{
	const char *content;
	if (!json_is_object(json))
		return err_user(e, "%s: added_tokens: expected objects", name);
	if (json_get_string(json, name, "content", "", &content, e) < 0 ||
	    json_get_int64(json, name, "id", -1, 0, VOCABULARY_MAX - 1, id, e) < 0 ||
	    json_get_bool(json, name, "single_word", false, &a->single_word, e) < 0 ||
	    json_get_bool(json, name, "lstrip", false, &a->lstrip, e) < 0 ||
	    json_get_bool(json, name, "rstrip", false, &a->rstrip, e) < 0 ||
	    json_get_bool(json, name, "special", false, &a->special, e) < 0 ||
	    json_get_bool(json, name, "normalized", !a->special, &a->normalized, e) < 0)
		return -1;
	return bytes_append(&a->content, content, strlen(content), e);
}

static int set_pattern(struct tokenizer *t, struct added_token *a, struct err *e)
{
	const char *text = a->content.v;
	size_t n = a->content.n;
	if (a->normalized && normalize_run(&t->normalize, a->content.v, a->content.n, &text, &n, e) < 0)
		return -1;
	return bytes_append(&a->pattern, text, n, e);
}

/* As `tokenizers` does: the vocabulary's id, else the next free number. A file that says another id is refused, because its
 * author and the library would disagree. */
static int added_id(struct tokenizer *t, struct added_token *a, int64_t declared, int64_t *next, const char *name, struct err *e)
{
	int32_t known = vocabulary_find(&t->bpe.vocabulary, a->content.v, a->content.n);
	int64_t id = known >= 0 ? known : (*next)++;
	size_t n_other;
	if (declared >= 0 && declared != id)
		return err_user(e, "%s: added token \"%.60s\" has id %lld, but by its place in the vocabulary it is %lld", name,
				a->content.v, (long long)declared, (long long)id);
	if (known < 0 && vocabulary_token(&t->bpe.vocabulary, (int32_t)id, &n_other))
		return err_user(e, "%s: added token \"%.60s\" shares id %lld with another token", name, a->content.v,
				(long long)id);
	a->id = (int32_t)id;
	return vocabulary_add(&t->added.ids, id, a->content.v, a->content.n, e);
}

static int read_added(struct tokenizer *t, const json_t *json, int64_t *next, const char *name, struct err *e)
{
	struct added_token a = {0};
	int64_t declared = -1;
	int rc = added_fields(&a, &declared, json, name, e);
	bool skip = rc == 0 && (!a.content.n || vocabulary_find(&t->added.ids, a.content.v, a.content.n) >= 0);
	if (rc < 0 || skip || bytes_append(&a.content, "", 1, e) < 0)
		goto drop;
	a.content.n--; /* the NUL is for errors */
	if ((rc = added_id(t, &a, declared, next, name, e)) < 0 || (rc = set_pattern(t, &a, e)) < 0)
		goto drop;
	return added_tokens_add(&t->added, &a, e);
drop:
	bytes_release(&a.content);
	bytes_release(&a.pattern);
	return skip ? 0 : -1;
}

static int read_added_tokens(struct tokenizer *t, const json_t *root, const char *name, struct err *e)
{
	json_t *list;
	int64_t next = t->bpe.vocabulary.n_used;
	if (json_get_child(root, name, "added_tokens", JSON_ARRAY, &list, e) < 0)
		return -1;
	for (size_t i = 0; i < json_array_size(list); i++)
		if (read_added(t, json_array_get(list, i), &next, name, e) < 0)
			return -1;
	if (added_tokens_prepare(&t->added, e) < 0)
		return -1;
	int32_t model = t->bpe.vocabulary.n_ids, added = t->added.n_ids;
	t->vocab_size = model > added ? model : added;
	return t->vocab_size ? 0 : err_user(e, "%s: an empty vocabulary", name);
}

/* ---- post-processor ---- */

static int append_special(struct tokenizer *t, struct ids *to, const json_t *json, const json_t *piece, const char *name,
			  struct err *e)
{
	const char *id = json_string_value(json_object_get(piece, "id"));
	const json_t *ids = json_object_get(json_object_get(json_object_get(json, "special_tokens"), id ? id : ""), "ids");
	if (!json_array_size(ids))
		return err_user(e, "%s: post_processor: special token \"%.60s\" has no ids", name, id ? id : "");
	for (size_t i = 0; i < json_array_size(ids); i++) {
		const json_t *v = json_array_get(ids, i);
		json_int_t value = json_is_integer(v) ? json_integer_value(v) : -1;
		if (value < 0 || value >= t->vocab_size)
			return err_user(e, "%s: post_processor: an id of \"%.60s\" is outside the vocabulary of %d", name, id,
					t->vocab_size);
		if (ids_append(to, &(int32_t){(int32_t)value}, 1, e) < 0)
			return -1;
	}
	return 0;
}

/* Wraps the template around what is there. */
static int read_template(struct tokenizer *t, const json_t *json, const char *name, struct err *e)
{
	struct ids before = {0}, after = {0};
	const json_t *single = json_object_get(json, "single");
	int sequences = 0, rc = -1;
	for (size_t i = 0; i < json_array_size(single); i++) {
		const json_t *piece = json_array_get(single, i), *sequence = json_object_get(piece, "Sequence");
		const char *id = json_string_value(json_object_get(sequence, "id"));
		if (id && !strcmp(id, "A")) {
			sequences++;
			continue;
		}
		TRY(append_special(t, sequences ? &after : &before, json, json_object_get(piece, "SpecialToken"), name, e));
	}
	if (sequences != 1) {
		err_user(e, "%s: post_processor: expected \"single\" with one sequence A", name);
		goto out;
	}
	TRY(ids_append(&before, t->before.v, t->before.n, e));
	TRY(ids_append(&t->after, after.v, after.n, e));
	ids_release(&t->before);
	t->before = before;
	before = (struct ids){0};
	rc = 0;
out:
	ids_release(&before);
	ids_release(&after);
	return rc;
}

static int read_post_processor(struct tokenizer *t, const json_t *json, const char *name, struct err *e)
{
	const char *type = json_string_value(json_object_get(json, "type"));
	if (!json || json_is_null(json) || (type && !strcmp(type, "ByteLevel")))
		return 0; /* ByteLevel moves offsets, not ids */
	if (type && !strcmp(type, "TemplateProcessing"))
		return read_template(t, json, name, e);
	if (!type || strcmp(type, "Sequence"))
		return err_user(e, "%s: a post_processor of type \"%s\" is not supported (TemplateProcessing is)", name,
				type ? type : "");
	const json_t *list = json_object_get(json, "processors");
	for (size_t i = 0; i < json_array_size(list); i++)
		if (read_post_processor(t, json_array_get(list, i), name, e) < 0)
			return -1;
	return 0;
}

/* ---- bos and eos ---- */

static int32_t special_id(const struct tokenizer *t, const char *token)
{
	int32_t id = tokenizer_id(t, token);
	const struct added_token *a = added_tokens_by_id(&t->added, id);
	return a && a->special ? id : -1;
}

/* The token that the config names: "…" or {"content": "…"}. *id is left alone when it does not say. */
static int config_token(const struct tokenizer *t, const json_t *config, const char *key, const char *name, int32_t *id,
			struct err *e)
{
	const json_t *v = json_object_get(config, key);
	const json_t *content = json_is_object(v) ? json_object_get(v, "content") : v;
	if (!v)
		return 0;
	if (!json_is_string(content) && !json_is_null(v))
		return err_user(e, "%s: tokenizer_config.json: \"%s\": expected a string", name, key);
	*id = json_is_string(content) ? tokenizer_id(t, json_string_value(content)) : -1;
	return 0;
}

static int find_ends(struct tokenizer *t, const json_t *config, const char *name, struct err *e)
{
	t->bos = t->before.n ? t->before.v[0] : special_id(t, "<s>");
	t->eos = t->after.n ? t->after.v[t->after.n - 1] : special_id(t, "</s>");
	if (t->bos < 0)
		t->bos = special_id(t, "<|endoftext|>");
	if (t->eos < 0)
		t->eos = special_id(t, "<|endoftext|>");
	if (config_token(t, config, "bos_token", name, &t->bos, e) < 0)
		return -1;
	return config_token(t, config, "eos_token", name, &t->eos, e);
}

/* ---- all ---- */

static int read_parts(struct tokenizer *t, const json_t *root, const json_t *config, const char *name, struct err *e)
{
	if (!json_is_object(root))
		return err_user(e, "%s: expected a JSON object, as tokenizer.json is", name);
	if (tokenizer_read_normalizer(&t->normalize, json_object_get(root, "normalizer"), name, e) < 0 ||
	    tokenizer_read_pre_tokenizer(&t->pretokenize, json_object_get(root, "pre_tokenizer"), name, e) < 0 ||
	    tokenizer_read_decoder(&t->detokenize, json_object_get(root, "decoder"), name, e) < 0 ||
	    read_model(t, root, name, e) < 0 || read_added_tokens(t, root, name, e) < 0 ||
	    read_post_processor(t, json_object_get(root, "post_processor"), name, e) < 0)
		return -1;
	return find_ends(t, config, name, e);
}

int tokenizer_parse(struct tokenizer **out, const char *name, const char *json, size_t n_bytes, const char *config_json,
		    size_t n_config_bytes, struct err *e)
{
	json_t *root = NULL, *config = NULL;
	int rc = -1;
	struct tokenizer *t = calloc(1, sizeof *t);
	*out = NULL;
	if (!t)
		return err_run(e, "%s: out of memory", name);
	TRY(json_parse(json, n_bytes, name, &root, e));
	if (config_json) {
		TRY(json_parse(config_json, n_config_bytes, "tokenizer_config.json", &config, e));
		TRY(bytes_append(&t->config, config_json, n_config_bytes, e));
	}
	TRY(bytes_append(&t->json, json, n_bytes, e));
	TRY(read_parts(t, root, config, name, e));
	*out = t;
	rc = 0;
out:
	json_decref(root);
	json_decref(config);
	if (rc < 0)
		tokenizer_free(t);
	return rc;
}

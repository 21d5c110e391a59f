/* GPT-2's two files as one tokenizer.json: what transformers makes of them. */
#include <stdlib.h>
#include <string.h>

#include "base/fsio.h"
#include "data/tokenizer_make.h"
#include "data/tokenizer_parts.h"

#define FILE_MAX ((size_t)1 << 30)

/* Lines "left right" after a line "#version…". */
static json_t *parse_merges(const char *path, const char *text, size_t n, struct err *e)
{
	json_t *merges = json_array();
	size_t line = 0;
	for (const char *s = text, *end = text + n; merges && s < end;) {
		const char *stop = memchr(s, '\n', (size_t)(end - s));
		size_t length = (size_t)((stop ? stop : end) - s);
		size_t used = length && s[length - 1] == '\r' ? length - 1 : length;
		line++;
		if (used && !(used >= 8 && !memcmp(s, "#version", 8)) && json_array_append_new(merges, json_stringn(s, used)) < 0) {
			json_decref(merges);
			err_user(e, "%s:%zu: a merge that is no UTF-8", path, line);
			return NULL;
		}
		s += length + 1;
	}
	if (!merges)
		err_run(e, "%s: out of memory", path);
	return merges;
}

/* The name of a special token in tokenizer_config.json; GPT-2's when it does not say; NULL when it says null. */
static const char *config_name(const json_t *config, const char *key)
{
	const json_t *v = json_object_get(config, key);
	if (!v)
		return "<|endoftext|>";
	return json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
}

static const char *const named[] = {"bos_token", "eos_token", "unk_token", "pad_token"};

static json_t *added_tokens(const json_t *vocab, const json_t *config)
{
	json_t *list = json_array();
	for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
		const char *name = config_name(config, named[i]);
		const json_t *id = name ? json_object_get(vocab, name) : NULL;
		bool again = false;
		for (size_t k = 0; k < i && name; k++) {
			const char *other = config_name(config, named[k]);
			again = again || (other && !strcmp(other, name));
		}
		if (id && !again)
			json_array_append_new(list, make_special_token(name, json_integer_value(id)));
	}
	return list;
}

/* add_bos_token and add_eos_token, which transformers obeys where there is no tokenizer.json. */
static json_t *post_processor(const json_t *vocab, const json_t *config)
{
	const char *bos = json_is_true(json_object_get(config, "add_bos_token")) ? config_name(config, "bos_token") : NULL;
	const char *eos = json_is_true(json_object_get(config, "add_eos_token")) ? config_name(config, "eos_token") : NULL;
	const json_t *bos_id = bos ? json_object_get(vocab, bos) : NULL, *eos_id = eos ? json_object_get(vocab, eos) : NULL;
	return make_template(bos_id ? bos : NULL, json_integer_value(bos_id), eos_id ? eos : NULL, json_integer_value(eos_id));
}

static int dump(json_t *root, struct bytes *out, struct err *e)
{
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	if (!text)
		return err_run(e, "out of memory for a tokenizer.json");
	int rc = bytes_append(out, text, strlen(text), e);
	free(text);
	return rc;
}

/* Takes merges over. */
static json_t *assemble(json_t *vocab, json_t *merges, const json_t *config)
{
	bool space = json_is_true(json_object_get(config, "add_prefix_space"));
	return json_pack("{s:s, s:o, s:n, s:o, s:o, s:o, s:{s:s, s:n, s:b, s:b, s:b, s:O, s:o}}", "version", "1.0", "added_tokens",
			 added_tokens(vocab, config), "normalizer", "pre_tokenizer", make_byte_level(space), "post_processor",
			 post_processor(vocab, config), "decoder", make_byte_level(true), "model", "type", "BPE", "unk_token",
			 "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", 0, "vocab", vocab, "merges", merges);
}

int tokenizer_pair_json(const char *vocab_path, const char *merges_path, const char *config, size_t n_config, struct bytes *out,
			struct err *e)
{
	json_t *vocab = NULL, *options = NULL, *merges = NULL, *root = NULL;
	char *text = NULL;
	size_t n = 0;
	int rc = -1;
	TRY(json_read_file(vocab_path, &vocab, e));
	if (!json_is_object(vocab)) {
		err_user(e, "%s: expected a JSON object of tokens and ids", vocab_path);
		goto out;
	}
	TRY(fsio_read_file(merges_path, FILE_MAX, &text, &n, e));
	if (config)
		TRY(json_parse(config, n_config, "tokenizer_config.json", &options, e));
	merges = parse_merges(merges_path, text, n, e);
	if (!merges)
		goto out;
	root = assemble(vocab, merges, options);
	rc = dump(root, out, e);
out:
	free(text);
	json_decref(root);
	json_decref(options);
	json_decref(vocab);
	return rc;
}

/* The files of a directory that hold token ids beside tokenizer.json, with the new ids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fsio.h"
#include "data/tokenizer_parts.h"
#include "data/tokenizer_trim.h"

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);
	return n >= m && !strcmp(s + n - m, end);
}

/* ---- configs ---- */

/* A number, or a list of them. */
static int collect(const json_t *v, struct ids *out, struct err *e)
{
	const json_t *child;
	size_t i;
	json_int_t id = json_integer_value(v);
	if (json_is_integer(v) && id >= 0 && id <= INT32_MAX)
		return ids_append(out, &(int32_t){(int32_t)id}, 1, e);
	json_array_foreach(v, i, child)
		if (json_is_integer(child) && collect(child, out, e) < 0)
			return -1;
	return 0;
}

int tokenizer_trim_named_ids(const json_t *config, struct ids *out, struct err *e)
{
	const char *key;
	json_t *v;
	json_object_foreach((json_t *)(uintptr_t)config, key, v)
		if (ends_with(key, "_token_id") && collect(v, out, e) < 0)
			return -1;
	return 0;
}

/* A new reference to v with new ids; lists lose elements that are gone (`whole`: and are then gone themselves). NULL: gone. */
static json_t *renumbered(const struct tokenizer_trim *m, const json_t *v, bool whole)
{
	if (json_is_integer(v)) {
		json_int_t id = json_integer_value(v);
		if (id < 0)
			return json_integer(id);
		return id < m->n_old && m->new_ids[id] >= 0 ? json_integer(m->new_ids[id]) : NULL;
	}
	if (!json_is_array(v))
		return json_deep_copy(v);
	json_t *list = json_array();
	for (size_t i = 0; i < json_array_size(v); i++) {
		const json_t *element = json_array_get(v, i);
		json_t *child = renumbered(m, element, true);
		if (child)
			json_array_append_new(list, child);
		else if (whole) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* The keys of added_tokens_decoder are ids. */
static int renumber_decoder(const struct tokenizer_trim *m, json_t *config, const char *name, struct err *e)
{
	json_t *old = json_object_get(config, "added_tokens_decoder"), *fresh = json_object(), *v;
	const char *key;
	json_object_foreach(old, key, v) {
		char text[16], *end;
		long id = strtol(key, &end, 10);
		if (*end || id < 0 || id >= m->n_old || m->new_ids[id] < 0) {
			json_decref(fresh);
			return err_user(e, "%s: added_tokens_decoder: no added token of tokenizer.json has id \"%.40s\"", name, key);
		}
		snprintf(text, sizeof text, "%d", m->new_ids[id]);
		json_object_set(fresh, text, v);
	}
	return json_object_set_new(config, "added_tokens_decoder", fresh) < 0 ? err_run(e, "%s: out of memory", name) : 0;
}

static int renumber_key(const struct tokenizer_trim *m, json_t *config, const char *key, const char *name, struct err *e)
{
	bool strict = ends_with(key, "_token_id");
	json_t *v = renumbered(m, json_object_get(config, key), strict);
	if (v)
		return json_object_set_new(config, key, v) < 0 ? err_run(e, "%s: out of memory", name) : 0;
	return err_user(e, "%s: \"%s\" is an id that no token of tokenizer.json has; mend it, or set it to null", name, key);
}

int tokenizer_trim_renumber(const struct tokenizer_trim *m, json_t *config, const char *name, struct err *e)
{
	static const char *const lists[] = {"suppress_tokens", "begin_suppress_tokens", "bad_words_ids"};
	static const char *const refused[] = {"forced_decoder_ids", "force_words_ids", "sequence_bias"};
	const char *key;
	json_t *v;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		v = json_object_get(config, refused[i]);
		if (json_array_size(v) || json_object_size(v))
			return err_user(e, "%s: \"%s\" can't be renumbered; remove it", name, refused[i]);
	}
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
		if (json_object_get(config, lists[i]) && renumber_key(m, config, lists[i], name, e) < 0)
			return -1;
	json_object_foreach(config, key, v)
		if (ends_with(key, "_token_id") && renumber_key(m, config, key, name, e) < 0)
			return -1;
	return json_object_get(config, "added_tokens_decoder") ? renumber_decoder(m, config, name, e) : 0;
}

/* ---- files ---- */

struct place {
	const struct tokenizer_trim *m;
	const struct tokenizer *t;
	const char *from, *to;
};

/* dir/name, to be freed; NULL and an error when out of memory. */
static char *join(const char *dir, const char *name, struct err *e)
{
	char *path;
	if (asprintf(&path, "%s/%s", dir, name) >= 0)
		return path;
	err_run(e, "%s: out of memory", dir);
	return NULL;
}

/* 1 and the path when the source has such a file, 0 when not. */
static int source_has(const struct place *p, const char *name, char **path, struct err *e)
{
	*path = join(p->from, name, e);
	return *path ? fsio_exists(*path) : -1;
}

static int write_json(const struct place *p, const char *name, const json_t *value, struct err *e)
{
	char *path = join(p->to, name, e);
	int rc = path ? json_write_file(path, value, e) : -1;
	free(path);
	return rc;
}

static int write_config(const struct place *p, const char *name, struct err *e)
{
	json_t *config = NULL;
	char *path;
	int rc = source_has(p, name, &path, e);
	if (rc <= 0)
		goto out;
	rc = -1;
	TRY(json_read_file(path, &config, e));
	TRY(tokenizer_trim_renumber(p->m, config, path, e));
	TRY(write_json(p, name, config, e));
	rc = 0;
out:
	json_decref(config);
	free(path);
	return rc;
}

/* vocab.json, added_tokens.json: an object of tokens and ids. all: none of them may be gone. */
static int write_map(const struct place *p, const char *name, bool all, struct err *e)
{
	json_t *map = NULL, *fresh = json_object();
	char *path;
	int rc = source_has(p, name, &path, e);
	if (rc <= 0)
		goto out;
	rc = -1;
	TRY(json_read_file(path, &map, e));
	for (void *at = json_object_iter(map); at; at = json_object_iter_next(map, at)) {
		json_t *id = renumbered(p->m, json_object_iter_value(at), true);
		if (!id && all) {
			err_user(e, "%s: \"%.60s\" has an id that no token of tokenizer.json has", path, json_object_iter_key(at));
			goto out;
		}
		if (id)
			json_object_setn_new(fresh, json_object_iter_key(at), json_object_iter_key_len(at), id);
	}
	TRY(write_json(p, name, fresh, e));
	rc = 0;
out:
	json_decref(fresh);
	json_decref(map);
	free(path);
	return rc;
}

static int append_merge(struct bytes *out, const json_t *merge, struct err *e)
{
	const json_t *l = json_array_get(merge, 0), *r = json_array_get(merge, 1);
	if (json_is_string(merge))
		return bytes_append(out, json_string_value(merge), json_string_length(merge), e) < 0 ? -1 : bytes_append(out, "\n", 1, e);
	if (bytes_append(out, json_string_value(l), json_string_length(l), e) < 0 || bytes_append(out, " ", 1, e) < 0 ||
	    bytes_append(out, json_string_value(r), json_string_length(r), e) < 0)
		return -1;
	return bytes_append(out, "\n", 1, e);
}

/* merges.txt as the trimmed tokenizer.json has them. */
static int write_merges(const struct place *p, const struct bytes *json, struct err *e)
{
	static const char version[] = "#version: 0.2\n";
	struct bytes text = {0};
	json_t *root = NULL, *merge;
	char *path = join(p->to, "merges.txt", e);
	size_t i;
	int rc = -1;
	if (!path)
		return -1;
	TRY(json_parse(json->v, json->n, "tokenizer.json", &root, e));
	TRY(bytes_append(&text, version, sizeof version - 1, e));
	json_array_foreach(json_object_get(json_object_get(root, "model"), "merges"), i, merge)
		TRY(append_merge(&text, merge, e));
	TRY(fsio_write_file(path, text.v, text.n, e));
	rc = 0;
out:
	json_decref(root);
	bytes_release(&text);
	free(path);
	return rc;
}

static int copy(const struct place *p, const char *name, struct err *e)
{
	char *path, *to = NULL;
	int rc = source_has(p, name, &path, e);
	if (rc > 0) {
		to = join(p->to, name, e);
		rc = to ? fsio_copy_file(path, to, e) : -1;
	}
	free(path);
	free(to);
	return rc;
}

/* tokenizer.json, or the pair, or both, as the source has them. */
static int write_model(const struct place *p, struct err *e)
{
	struct bytes json = {0};
	char *source = NULL, *target = NULL, *merges = NULL;
	int has, has_merges, rc = -1;
	TRY(tokenizer_trim_json(p->m, p->t, &json, e));
	TRY(has = source_has(p, "tokenizer.json", &source, e));
	TRY(has_merges = source_has(p, "merges.txt", &merges, e));
	if (has) {
		target = join(p->to, "tokenizer.json", e);
		if (!target || fsio_write_file(target, json.v, json.n, e) < 0)
			goto out;
	}
	TRY(write_map(p, "vocab.json", false, e));
	if (has_merges)
		TRY(write_merges(p, &json, e));
	rc = 0;
out:
	free(source);
	free(target);
	free(merges);
	bytes_release(&json);
	return rc;
}

int tokenizer_trim_write(const struct tokenizer_trim *m, const struct tokenizer *t, const char *from, const char *dir, struct err *e)
{
	static const char *const same[] = {"special_tokens_map.json", "chat_template.jinja", "chat_template.json"};
	const struct place p = {m, t, from, dir};
	if (write_model(&p, e) < 0 || write_map(&p, "added_tokens.json", true, e) < 0 || write_config(&p, "tokenizer_config.json", e) < 0 ||
	    write_config(&p, "generation_config.json", e) < 0)
		return -1;
	for (size_t i = 0; i < sizeof same / sizeof *same; i++)
		if (copy(&p, same[i], e) < 0)
			return -1;
	return 0;
}

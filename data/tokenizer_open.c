/* Which files make a tokenizer: reading them by path, writing them into a directory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fsio.h"
#include "data/tokenizer_parts.h"

#define FILE_MAX ((size_t)1 << 30)
#define PATH_SIZE 4096

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), n_end = strlen(end);
	return n >= n_end && !strcmp(s + n - n_end, end);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static int join(char out[PATH_SIZE], const char *dir, size_t n_dir, const char *name, struct err *e)
{
	int n = snprintf(out, PATH_SIZE, "%.*s%s", (int)n_dir, dir, name);
	return n > 0 && n < PATH_SIZE ? 0 : err_user(e, "%s: the path is too long", dir);
}

static int refuse_sentencepiece(const char *path, struct err *e)
{
	return err_user(e, "%s: a sentencepiece file can't be read; convert it to tokenizer.json once, with transformers: "
			   "AutoTokenizer.from_pretrained(DIR, use_fast=True).save_pretrained(DIR)", path);
}

static int refuse_wordpiece(const char *path, struct err *e)
{
	return err_user(e, "%s: a WordPiece vocabulary (BERT's kind) can't be read; only BPE can: convert the model to a BPE "
			   "tokenizer.json, or choose one that has it", path);
}

/* tokenizer_config.json beside path; *text NULL when there is none. */
static int read_config(const char *path, char **text, size_t *n, struct err *e)
{
	char config[PATH_SIZE];
	*text = NULL;
	*n = 0;
	if (join(config, path, (size_t)(base_name(path) - path), "tokenizer_config.json", e) < 0)
		return -1;
	return fsio_exists(config) ? fsio_read_file(config, FILE_MAX, text, n, e) : 0;
}

static int open_json(struct tokenizer **out, const char *path, struct err *e)
{
	char *text = NULL, *config = NULL;
	size_t n, n_config = 0;
	int rc = -1;
	TRY(fsio_read_file(path, FILE_MAX, &text, &n, e));
	if (!strcmp(base_name(path), "tokenizer.json"))
		TRY(read_config(path, &config, &n_config, e));
	rc = tokenizer_parse(out, path, text, n, config, n_config, e);
out:
	free(text);
	free(config);
	return rc;
}

/* path ends with vocab.json. */
static int open_pair(struct tokenizer **out, const char *path, struct err *e)
{
	struct bytes json = {0};
	char merges[PATH_SIZE], *config = NULL;
	size_t n_config = 0;
	int rc = -1;
	TRY(join(merges, path, strlen(path) - strlen("vocab.json"), "merges.txt", e));
	if (!strcmp(base_name(path), "vocab.json"))
		TRY(read_config(path, &config, &n_config, e));
	TRY(tokenizer_pair_json(path, merges, config, n_config, &json, e));
	rc = tokenizer_parse(out, path, json.v, json.n, config, n_config, e);
out:
	bytes_release(&json);
	free(config);
	return rc;
}

static int open_dir(struct tokenizer **out, const char *dir, struct err *e)
{
	static const char *const names[] = {"/tokenizer.json", "/vocab.json", "/tokenizer.model", "/vocab.txt"};
	char path[PATH_SIZE];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (join(path, dir, strlen(dir), names[i], e) < 0)
			return -1;
		if (fsio_exists(path))
			return tokenizer_open(out, path, e);
	}
	return err_user(e, "%s: no tokenizer: expected tokenizer.json, or vocab.json with merges.txt", dir);
}

int tokenizer_open(struct tokenizer **out, const char *path, struct err *e)
{
	*out = NULL;
	int rc;
	if (!fsio_exists(path))
		return err_user(e, "%s: no such file; expected a Hugging Face directory or a tokenizer.json", path);
	if (fsio_is_dir(path))
		return open_dir(out, path, e);
	if (ends_with(path, ".model"))
		return refuse_sentencepiece(path, e);
	if (ends_with(path, "vocab.txt"))
		return refuse_wordpiece(path, e);
	rc = ends_with(path, "vocab.json") ? open_pair(out, path, e) : open_json(out, path, e);
	if (rc < 0 && e && !strstr(e->line, base_name(path)))
		err_prefix(e, "%s", path);
	return rc;
}

/* ---- writing ---- */

/* A tokenizer_config.json for a tokenizer that came without one. */
static int make_config(const struct tokenizer *t, struct bytes *out, struct err *e)
{
	json_t *config = json_object();
	const int32_t ids[] = {t->bos, t->eos};
	const char *const keys[] = {"bos_token", "eos_token"};
	json_object_set_new(config, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
	for (int i = 0; i < 2; i++) {
		const struct added_token *a = added_tokens_by_id(&t->added, ids[i]);
		if (a)
			json_object_set_new(config, keys[i], json_stringn(a->content.v, a->content.n));
	}
	json_object_set_new(config, "clean_up_tokenization_spaces", json_false());
	char *text = json_dumps(config, JSON_INDENT(2));
	json_decref(config);
	if (!text)
		return err_run(e, "out of memory for tokenizer_config.json");
	int rc = bytes_append(out, text, strlen(text), e);
	free(text);
	return rc < 0 ? -1 : bytes_append(out, "\n", 1, e);
}

int tokenizer_write(const struct tokenizer *t, const char *dir, struct err *e)
{
	char path[PATH_SIZE];
	struct bytes config = {0};
	int rc = -1;
	TRY(join(path, dir, strlen(dir), "/tokenizer.json", e));
	TRY(fsio_write_file(path, t->json.v, t->json.n, e));
	TRY(t->config.n ? bytes_append(&config, t->config.v, t->config.n, e) : make_config(t, &config, e));
	TRY(join(path, dir, strlen(dir), "/tokenizer_config.json", e));
	TRY(fsio_write_file(path, config.v, config.n, e));
	rc = 0;
out:
	bytes_release(&config);
	return rc;
}

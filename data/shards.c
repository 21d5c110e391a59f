/* The contract and the layout are in data/shards.h. Test: tests/test_shards.c */
#include "data/shards.h"

#include "base/hash.h"
#include "base/log.h"
#include "data/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "shards are mapped as they are: little endian");

struct footer {
	char magic[8];
	uint64_t vocab_size, n_tokens, n_documents, text_bytes, key, zero, hash;
};
_Static_assert(sizeof(struct footer) == 64, "the footer has 64 bytes");

static const char magic[8] = { 'E', 'S', 'P', 'S', 'H', 'R', 'D', '1' };

/* ---- reading ---- */

/* Bytes in front of the footer; UINT64_MAX for counts that no file has. */
static uint64_t payload_bytes(uint64_t n_tokens, uint64_t n_documents)
{
	if (n_tokens >> 48 || n_documents >> 48)
		return UINT64_MAX;
	return (n_tokens + n_tokens % 2) * 4 + (n_documents + 1) * 8 + (n_documents + n_documents % 2) * 4;
}

static int check_contents(const struct shard *s, int32_t vocab_size, struct err *e)
{
	uint64_t bytes = 0;
	if (s->offsets[0] != 0 || s->offsets[s->n_documents] != s->n_tokens)
		return err_run(e, "its documents do not cover its tokens");
	for (size_t i = 0; i < s->n_documents; i++) {
		if (s->offsets[i] > s->offsets[i + 1])
			return err_run(e, "the boundaries of document %zu are out of order", i);
		bytes += s->n_bytes[i];
	}
	if (bytes != s->text_bytes)
		return err_run(e, "its documents have %llu bytes, expected %zu", (unsigned long long)bytes, s->text_bytes);
	for (size_t i = 0; i < s->n_tokens; i++)
		if (s->ids[i] < 0 || s->ids[i] >= vocab_size)
			return err_run(e, "id %d is outside the vocabulary of %d", s->ids[i], vocab_size);
	return 0;
}

int shard_parse(struct shard *s, const uint8_t *data, size_t n, uint64_t key, int32_t vocab_size, struct err *e)
{
	struct footer f;
	memset(s, 0, sizeof *s);
	if (n < sizeof f)
		return err_run(e, "%zu bytes are too few", n);
	memcpy(&f, data + n - sizeof f, sizeof f);
	if (memcmp(f.magic, magic, sizeof magic) != 0)
		return err_run(e, "it does not end in a footer: half-written");
	if (payload_bytes(f.n_tokens, f.n_documents) != n - sizeof f)
		return err_run(e, "%zu bytes do not fit its counts", n);
	if (hash_bytes(data, n - sizeof f.hash) != f.hash)
		return err_run(e, "its hash is wrong: bytes have changed");
	if (f.key != key || f.vocab_size != (uint64_t)vocab_size || f.zero)
		return err_run(e, "it is of another text or tokenizer");
	struct shard found = {
		.ids = (const int32_t *)(const void *)data,
		.offsets = (const uint64_t *)(const void *)(data + (f.n_tokens + f.n_tokens % 2) * 4),
		.n_tokens = f.n_tokens,
		.n_documents = f.n_documents,
		.text_bytes = f.text_bytes,
		.key = key,
	};
	found.n_bytes = (const uint32_t *)(const void *)(found.offsets + f.n_documents + 1);
	if (check_contents(&found, vocab_size, e) < 0)
		return -1;
	*s = found;
	return 0;
}

static int map_shard(struct shard *s, const char *path, uint64_t key, int32_t vocab_size, struct err *e)
{
	struct mapping map = { 0 };
	if (fsio_map(&map, path, e) < 0)
		return -1;
	if (shard_parse(s, map.data, map.n_bytes, key, vocab_size, e) < 0) {
		fsio_unmap(&map);
		return err_prefix(e, "%s", path);
	}
	s->map = map;
	return 0;
}

void shard_close(struct shard *s)
{
	fsio_unmap(&s->map);
	memset(s, 0, sizeof *s);
}

/* ---- writing ---- */

struct shard_writer {
	struct fsio_writer file;
	struct hash hash;
	struct footer footer;
	struct ids ids;    /* of the document at hand */
	uint64_t *offsets; /* (n_documents + 1) */
	uint32_t *n_bytes; /* (n_documents) */
	size_t capacity;   /* documents that the two hold */
};

static int put(struct shard_writer *w, const void *data, size_t n, struct err *e)
{
	hash_update(&w->hash, data, n);
	return fsio_write(&w->file, data, n, e);
}

static int grow(struct shard_writer *w, struct err *e)
{
	if (w->footer.n_documents < w->capacity)
		return 0;
	size_t capacity = w->capacity ? 2 * w->capacity : 1024;
	uint64_t *offsets = realloc(w->offsets, (capacity + 1) * sizeof *offsets);
	if (offsets)
		w->offsets = offsets;
	uint32_t *n_bytes = realloc(w->n_bytes, capacity * sizeof *n_bytes);
	if (n_bytes)
		w->n_bytes = n_bytes;
	if (!offsets || !n_bytes)
		return err_run(e, "out of memory for the boundaries of %zu documents", capacity);
	w->capacity = capacity;
	return 0;
}

static int put_document(struct shard_writer *w, struct tokenizer *t, const char *text, size_t n_bytes, struct err *e)
{
	struct footer *f = &w->footer;
	w->ids.n = 0;
	if (grow(w, e) < 0 || tokenizer_encode(t, text, n_bytes, &w->ids, e) < 0)
		return -1;
	w->offsets[f->n_documents] = f->n_tokens;
	w->n_bytes[f->n_documents] = (uint32_t)n_bytes;
	f->n_documents++;
	f->n_tokens += w->ids.n;
	f->text_bytes += n_bytes;
	w->offsets[f->n_documents] = f->n_tokens;
	return put(w, w->ids.v, w->ids.n * sizeof *w->ids.v, e);
}

static int put_tables(struct shard_writer *w, struct err *e)
{
	struct footer *f = &w->footer;
	static const uint32_t zero = 0;
	if (f->n_tokens % 2 && put(w, &zero, 4, e) < 0)
		return -1;
	if (put(w, w->offsets, (f->n_documents + 1) * sizeof *w->offsets, e) < 0 ||
	    put(w, w->n_bytes, f->n_documents * sizeof *w->n_bytes, e) < 0)
		return -1;
	if (f->n_documents % 2 && put(w, &zero, 4, e) < 0)
		return -1;
	hash_update(&w->hash, f, offsetof(struct footer, hash));
	f->hash = hash_final(&w->hash);
	return fsio_write(&w->file, f, sizeof *f, e);
}

static int tokenise(const char *shard_path, struct tokenizer *t, const char *path, uint64_t key, shard_progress *progress,
		    void *user, struct err *e)
{
	struct shard_writer *w = calloc(1, sizeof *w);
	struct text_reader *reader = NULL;
	const char *text;
	size_t n_bytes;
	uint64_t total;
	int rc = -1, got;
	if (!w)
		return err_run(e, "%s: out of memory", path);
	w->file.fd = -1;
	memcpy(w->footer.magic, magic, sizeof magic);
	w->footer.vocab_size = (uint64_t)tokenizer_vocab_size(t);
	w->footer.key = key;
	hash_init(&w->hash);
	TRY(fsio_size(path, &total, e));
	TRY(text_open(&reader, path, e));
	TRY(fsio_writer_open(&w->file, shard_path, e));
	while ((got = text_next(reader, &text, &n_bytes, e)) == 1) {
		if (put_document(w, t, text, n_bytes, e) < 0) {
			err_prefix(e, "%s: document %llu", path, (unsigned long long)w->footer.n_documents);
			goto out;
		}
		if (progress)
			progress(user, text_file_offset(reader), total);
	}
	TRY(got);
	if (!w->footer.n_documents) {
		err_user(e, "%s: no documents: the file has no text", path);
		goto out;
	}
	TRY(put_tables(w, e));
	TRY(fsio_writer_commit(&w->file, e));
	rc = 0;
out:
	fsio_writer_abort(&w->file);
	text_close(reader);
	ids_release(&w->ids);
	free(w->offsets);
	free(w->n_bytes);
	free(w);
	return rc;
}

/* ---- the interface ---- */

/* Length of the name at path's end without .gz, .txt, .jsonl; *name is where it begins. */
static size_t stem(const char *path, const char **name)
{
	static const char *const endings[] = { ".gz", ".txt", ".jsonl" };
	const char *slash = strrchr(path, '/');
	*name = slash ? slash + 1 : path;
	size_t n = strlen(*name);
	for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
		size_t m = strlen(endings[i]);
		if (n > m && memcmp(*name + n - m, endings[i], m) == 0)
			n -= m;
	}
	return n;
}

static int key_of(const struct tokenizer *t, const char *path, uint64_t *key, struct err *e)
{
	/* the first number changes with the layout and with the meaning of text_next; the last tells .txt from .jsonl */
	uint64_t parts[4] = { 1, tokenizer_hash(t), 0, text_is_jsonl(path) };
	if (hash_file(path, &parts[2], e) < 0)
		return -1;
	*key = hash_bytes(parts, sizeof parts);
	return 0;
}

int shard_open(struct shard *s, struct tokenizer *tokenizer, const char *path, const char *dir, shard_progress *progress,
	       void *user, struct err *e)
{
	char *shard_path = NULL, hex[17];
	const char *name;
	uint64_t key;
	int rc = -1, vocab_size = tokenizer_vocab_size(tokenizer);
	struct err why;
	memset(s, 0, sizeof *s);
	TRY(key_of(tokenizer, path, &key, e));
	hash_hex(key, hex);
	int n = (int)stem(path, &name);
	if (asprintf(&shard_path, "%s/%.*s-%s.shard", dir, n, name, hex) < 0) {
		shard_path = NULL;
		err_run(e, "%s: out of memory", path);
		goto out;
	}
	if (fsio_exists(shard_path)) {
		if (map_shard(s, shard_path, key, vocab_size, &why) == 0) {
			rc = 0;
			goto out;
		}
		log_warn("%s; tokenising %s again", why.line, path);
	}
	TRY(tokenise(shard_path, tokenizer, path, key, progress, user, e));
	TRY(map_shard(s, shard_path, key, vocab_size, e));
	rc = 0;
out:
	free(shard_path);
	return rc;
}

/* The cache as a whole: a directory, its lock, the index, and batches in and out. Test: tests/test_cache.c */
#include "teacher/cache_parts.h"

#include "base/fsio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

struct cache {
	char *dir, *records;
	struct cache_spec spec;
	struct cache_identity identity;
	bool write;
	int lock, fd; /* fd: of the records, for reading */
	struct cache_index index;
	struct cache_scan held;
	struct cache_codec codec;
	size_t max_rows;           /* of a batch; 0: nothing reserved */
	uint8_t *bytes;            /* of a batch's records */
	struct cache_entry *fresh; /* (max_rows) of a batch, not yet in the index */
};

/* ---- opening ---- */

static char *path_of(const char *dir, const char *name)
{
	char *path;
	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

static int check_spec(const struct cache_spec *s, const struct cache_identity *id, const char *dir, struct err *e)
{
	BUG_ON(s->value_type != DTYPE_F32 && s->value_type != DTYPE_BF16);
	BUG_ON(id->V < 1 || id->C < 1);
	if (s->kind == CACHE_HIDDEN)
		return 0;
	if (s->K > id->V && s->kind != CACHE_SAMPLED)
		return err_user(e, "%s: a cache of %d ids a token, expected at most the vocabulary's %d", dir, s->K, id->V);
	BUG_ON(s->K < 1 || !(s->tau > 0));
	BUG_ON(s->kind == CACHE_TOP_P && !(s->top_p > 0 && s->top_p < 1));
	BUG_ON(s->kind == CACHE_SAMPLED && !(s->power > 0 && s->power <= 1));
	return 0;
}

/* Makes what is absent, or says that it is. */
static int prepare_dir(struct cache *c, const char *manifest, struct err *e)
{
	int rc = -1;
	bool there = fsio_exists(manifest);
	if (!c->write && !there)
		return err_user(e, "%s: expected a teacher cache here, found no manifest.json; let the run write it", c->dir);
	if (!c->write)
		return 0;
	TRY(fsio_mkdirs(c->dir, e));
	TRY(fsio_lock(c->dir, &c->lock, e));
	if (!there && fsio_exists(c->records)) {
		err_run(e, "%s: expected a manifest.json beside it; remove the directory", c->records);
		goto out;
	}
	if (!there)
		TRY(cache_manifest_write(manifest, &c->spec, &c->identity, e));
	rc = 0;
out:
	return rc;
}

static int open_records(struct cache *c, struct err *e)
{
	c->fd = open(c->records, (c->write ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC, 0666);
	if (c->fd < 0)
		return c->write || errno != ENOENT ? err_run(e, "%s: cannot open: %s", c->records, strerror(errno)) : 0;
	if (cache_scan_file(c->fd, c->records, &c->index, &c->held, e) < 0)
		return -1;
	return c->write && c->held.n_bytes < c->held.n_file ? fsio_truncate_to(c->records, c->held.n_bytes, e) : 0;
}

int cache_open(struct cache **out, const char *dir, const struct cache_spec *spec, const struct cache_identity *id, bool write,
	       struct err *e)
{
	int rc = -1;
	char *manifest = path_of(dir, "manifest.json");
	struct cache *c = calloc(1, sizeof *c);
	*out = NULL;
	if (c)
		*c = (struct cache){.dir = strdup(dir), .records = path_of(dir, "records"), .spec = *spec, .identity = *id,
				    .write = write, .lock = -1, .fd = -1};
	if (!c || !c->dir || !c->records || !manifest) {
		err_run(e, "%s: out of memory", dir);
		goto out;
	}
	TRY(check_spec(spec, id, dir, e));
	TRY(prepare_dir(c, manifest, e));
	TRY(cache_manifest_check(manifest, dir, spec, id, e));
	TRY(open_records(c, e));
	*out = c;
	c = NULL;
	rc = 0;
out:
	free(manifest);
	cache_close(c);
	return rc;
}

void cache_close(struct cache *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	fsio_unlock(&c->lock);
	cache_index_release(&c->index);
	cache_codec_release(&c->codec);
	free(c->bytes);
	free(c->fresh);
	free(c->dir);
	free(c->records);
	free(c);
}

const struct cache_spec *cache_spec_of(const struct cache *c)
{
	return &c->spec;
}

const struct cache_identity *cache_identity_of(const struct cache *c)
{
	return &c->identity;
}

struct cache_stats cache_stats(const struct cache *c)
{
	uint64_t n = c->held.n_rows;
	return (struct cache_stats){.tokens = n, .bytes = c->held.n_bytes, .mass = n ? c->held.mass / (double)n : 0};
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

int cache_reserve(struct cache *c, int B, int T, struct err *e)
{
	size_t n = larger((size_t)B * (size_t)T, c->max_rows), n_segment = larger((size_t)T, c->codec.max_rows);
	BUG_ON(B < 1 || T < 1);
	if (n == c->max_rows && n_segment == c->codec.max_rows)
		return 0;
	cache_codec_release(&c->codec);
	c->max_rows = 0;
	if (cache_codec_init(&c->codec, &c->spec, &c->identity, n_segment, e) < 0)
		return -1;
	/* a reader has one record at a time, a writer all of a batch: at worst a record for each row */
	size_t n_bytes = c->write ? n * (sizeof(struct cache_header) + cache_encode_bound(&c->codec, 1))
				  : sizeof(struct cache_header) + cache_encode_bound(&c->codec, n_segment);
	uint8_t *bytes = realloc(c->bytes, n_bytes);
	if (bytes)
		c->bytes = bytes;
	struct cache_entry *fresh = realloc(c->fresh, n * sizeof *fresh);
	if (fresh)
		c->fresh = fresh;
	if (!bytes || !fresh)
		return err_run(e, "out of memory for the cache's rows of a batch (%zu bytes)", n_bytes + n * sizeof *fresh);
	c->max_rows = n;
	return 0;
}

/* ---- looking and writing ---- */

static size_t rows_in(const struct cache_rows *rows)
{
	BUG_ON(rows->B < 1 || rows->T < 1);
	return (size_t)rows->B * (size_t)rows->T;
}

size_t cache_missing(const struct cache *c, const struct cache_rows *rows, bool *missing)
{
	size_t n_missing = 0, N = rows_in(rows);
	for (size_t row = 0; row < N;) {
		struct cache_segment s = cache_segment_at(rows, row);
		bool absent = !cache_index_find(&c->index, s.key);
		for (size_t i = 0; missing && i < s.n_rows; i++)
			missing[row + i] = absent;
		n_missing += absent ? s.n_rows : 0;
		row += s.n_rows;
	}
	return n_missing;
}

static bool in_batch(const struct cache *c, size_t n_fresh, struct cache_key key)
{
	for (size_t i = 0; i < n_fresh; i++)
		if (c->fresh[i].key.lo == key.lo && c->fresh[i].key.hi == key.hi)
			return true;
	return false;
}

/* Header and payload of a segment, at c->bytes + at; returns the bytes of both, 0 on failure. */
static size_t encode_record(struct cache *c, const struct cache_segment *s, const struct cache_block *block, size_t at,
			    struct cache_header *h, struct err *e)
{
	uint8_t *payload = c->bytes + at + sizeof *h;
	size_t n_bytes;
	double mass;
	if (cache_encode(&c->codec, block, s->row, s->n_rows, payload, &n_bytes, &mass, e) < 0)
		return 0;
	*h = cache_header_make(s, payload, n_bytes, mass);
	memcpy(c->bytes + at, h, sizeof *h);
	return sizeof *h + n_bytes;
}

int cache_add(struct cache *c, const struct cache_rows *rows, const struct cache_block *block, struct err *e)
{
	size_t N = rows_in(rows), n_fresh = 0, at = 0;
	struct cache_scan held = c->held;
	BUG_ON(!c->write || N > c->max_rows || (size_t)rows->T > c->codec.max_rows);
	for (size_t row = 0; row < N;) {
		struct cache_segment s = cache_segment_at(rows, row);
		struct cache_header h;
		row += s.n_rows;
		if (cache_index_find(&c->index, s.key) || in_batch(c, n_fresh, s.key))
			continue;
		size_t n = encode_record(c, &s, block, at, &h, e);
		if (!n)
			return -1;
		c->fresh[n_fresh++] = (struct cache_entry){s.key, c->held.n_bytes + at, h.n_rows, h.n_bytes};
		held.n_rows += h.n_rows;
		held.mass += h.mass;
		at += n;
	}
	if (!n_fresh)
		return 0;
	if (cache_index_reserve(&c->index, n_fresh, e) < 0 || fsio_append(c->records, c->bytes, at, e) < 0)
		return -1;
	for (size_t i = 0; i < n_fresh; i++)
		cache_index_put(&c->index, &c->fresh[i]);
	held.n_bytes += at;
	c->held = held;
	return 0;
}

int cache_sync(struct cache *c, struct err *e)
{
	BUG_ON(!c->write);
	return fsio_truncate_to(c->records, c->held.n_bytes, e);
}

/* ---- reading ---- */

static int absent(const struct cache *c, const struct cache_rows *rows, const struct cache_segment *s, struct err *e)
{
	size_t N = rows_in(rows);
	int32_t next = s->n_rows > 1 && s->row + 1 < N ? rows->tokens[s->row + 1] : -1;
	return err_run(e, "%s: holds no record of a document of %zu tokens that begins with %d %d; it was not written to the end, or "
		       "from other text: let the run write it", c->dir, s->n_rows, rows->tokens[s->row], next);
}

/* Whether c->bytes is the whole record that the index promised. */
static bool record_valid(const struct cache *c, const struct cache_entry *entry, const struct cache_segment *s)
{
	struct cache_header h;
	memcpy(&h, c->bytes, sizeof h);
	return cache_header_valid(&h) && h.key.lo == s->key.lo && h.key.hi == s->key.hi && h.n_rows == s->n_rows &&
	       h.n_bytes == entry->n_bytes && h.payload_checksum == XXH64(c->bytes + sizeof h, h.n_bytes, 0);
}

static int read_segment(struct cache *c, const struct cache_segment *s, const struct cache_entry *entry,
			const struct cache_block *block, struct err *e)
{
	size_t n_bytes = sizeof(struct cache_header) + entry->n_bytes;
	bool fits = entry->n_bytes <= cache_encode_bound(&c->codec, s->n_rows);
	if (fits && cache_pread(c->fd, c->bytes, n_bytes, entry->offset)) {
		const uint8_t *payload = c->bytes + sizeof(struct cache_header);
		if (record_valid(c, entry, s) && cache_decode(&c->codec, payload, entry->n_bytes, block, s->row, s->n_rows))
			return 0;
	} else if (fits && errno) {
		return err_run(e, "%s: cannot read: %s", c->records, strerror(errno));
	}
	return err_run(e, "%s: the record at byte %llu is damaged; remove the cache, it will be written again", c->records,
		       (unsigned long long)entry->offset);
}

int cache_read(struct cache *c, const struct cache_rows *rows, const struct cache_block *block, struct err *e)
{
	size_t N = rows_in(rows);
	BUG_ON(N > c->max_rows || (size_t)rows->T > c->codec.max_rows);
	for (size_t row = 0; row < N;) {
		struct cache_segment s = cache_segment_at(rows, row);
		const struct cache_entry *entry = cache_index_find(&c->index, s.key);
		if (!entry)
			return absent(c, rows, &s, e);
		if (read_segment(c, &s, entry, block, e) < 0)
			return -1;
		row += s.n_rows;
	}
	return 0;
}

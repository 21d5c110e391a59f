/* The cache as a whole: a directory, its lock, the index, room for batches. Test: tests/test_cache_file.c */
#include "teacher/cache_parts.h"

#include "base/fsio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static void release_workers(struct cache *c)
{
	for (int i = 0; i < c->n_workers; i++) {
		cache_codec_release(&c->workers[i].codec);
		free(c->workers[i].record);
	}
	free(c->workers);
	c->workers = NULL;
	c->n_workers = 0;
}

void cache_close(struct cache *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	fsio_unlock(&c->lock);
	cache_index_release(&c->index);
	release_workers(c);
	free(c->bytes);
	free(c->jobs);
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

static int init_workers(struct cache *c, int n, size_t n_rows, struct err *e)
{
	c->workers = calloc((size_t)n, sizeof *c->workers);
	if (!c->workers)
		return err_run(e, "out of memory for the cache's %d threads", n);
	for (int i = 0; i < n; i++) {
		struct cache_worker *w = &c->workers[i];
		c->n_workers = i + 1;
		if (cache_codec_init(&w->codec, &c->spec, &c->identity, n_rows, e) < 0)
			return -1;
		size_t n_bytes = sizeof(struct cache_header) + cache_encode_bound(&w->codec, n_rows);
		w->record = malloc(n_bytes);
		if (!w->record)
			return err_run(e, "out of memory for a record of the cache (%zu bytes)", n_bytes);
	}
	return 0;
}

int cache_reserve(struct cache *c, int B, int T, int n_threads, struct err *e)
{
	BUG_ON(B < 1 || T < 1 || n_threads < 1);
	size_t n = larger((size_t)B * (size_t)T, c->max_rows), n_segment = larger((size_t)T, c->max_segment), n_bytes = 0;
	int n_workers = n_threads > c->n_workers ? n_threads : c->n_workers;
	if (n == c->max_rows && n_segment == c->max_segment && n_workers == c->n_workers)
		return 0;
	release_workers(c);
	c->max_rows = c->max_segment = 0;
	if (init_workers(c, n_workers, n_segment, e) < 0)
		return -1;
	if (c->write) { /* all records of a batch: at worst one for each row */
		n_bytes = n * (sizeof(struct cache_header) + cache_encode_bound(&c->workers[0].codec, 1));
		uint8_t *bytes = realloc(c->bytes, n_bytes);
		if (!bytes)
			return err_run(e, "out of memory for the cache's rows of a batch (%zu bytes)", n_bytes);
		c->bytes = bytes;
	}
	struct cache_job *jobs = realloc(c->jobs, n * sizeof *jobs);
	if (!jobs)
		return err_run(e, "out of memory for the cache's rows of a batch (%zu bytes)", n * sizeof *jobs);
	c->jobs = jobs;
	c->max_rows = n;
	c->max_segment = n_segment;
	return 0;
}

/* ---- looking ---- */

size_t cache_missing(const struct cache *c, const struct cache_rows *rows, bool *missing)
{
	size_t n_missing = 0, N = cache_rows_in(rows);
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

int cache_sync(struct cache *c, struct err *e)
{
	BUG_ON(!c->write);
	return fsio_truncate_to(c->records, c->held.n_bytes, e);
}

/* Batches in and out of a cache, segments in parallel: each is a job that any thread may take, with memory of its own, so
 * that neither what is written nor what is read depends on how many threads there are. Test: tests/test_cache_file.c */
#include "teacher/cache_parts.h"

#include "base/fsio.h"

#include <errno.h>
#include <omp.h>
#include <string.h>
#include <xxhash.h>

size_t cache_rows_in(const struct cache_rows *rows)
{
	BUG_ON(rows->B < 1 || rows->T < 1);
	return (size_t)rows->B * (size_t)rows->T;
}

typedef int job_function(struct cache *c, struct cache_worker *w, struct cache_job *j, const struct cache_block *block,
			 struct err *e);

/* All of them, whatever fails; the error is that of the first in order that did. */
static int run_jobs(struct cache *c, size_t n, job_function *run, const struct cache_block *block, struct err *e)
{
	size_t failed = n;
#pragma omp parallel for schedule(dynamic) num_threads(c->n_workers) if (n > 1)
	for (size_t i = 0; i < n; i++) {
		struct err own;
		if (run(c, &c->workers[omp_get_thread_num()], &c->jobs[i], block, &own) == 0)
			continue;
#pragma omp critical(cache_jobs)
		if (i < failed) {
			failed = i;
			if (e)
				*e = own;
		}
	}
	return failed < n ? -1 : 0;
}

/* ---- writing ---- */

static bool in_batch(const struct cache *c, size_t n_jobs, struct cache_key key)
{
	for (size_t i = 0; i < n_jobs; i++)
		if (c->jobs[i].segment.key.lo == key.lo && c->jobs[i].segment.key.hi == key.hi)
			return true;
	return false;
}

/* Every segment that is not there yet, with room in c->bytes for the longest record that it can become. */
static size_t list_fresh(struct cache *c, const struct cache_rows *rows)
{
	size_t n = 0, at = 0, N = cache_rows_in(rows);
	for (size_t row = 0; row < N;) {
		struct cache_segment s = cache_segment_at(rows, row);
		row += s.n_rows;
		if (cache_index_find(&c->index, s.key) || in_batch(c, n, s.key))
			continue;
		c->jobs[n++] = (struct cache_job){.segment = s, .at = at};
		at += sizeof(struct cache_header) + cache_encode_bound(&c->workers[0].codec, s.n_rows);
	}
	return n;
}

static int encode_job(struct cache *c, struct cache_worker *w, struct cache_job *j, const struct cache_block *block, struct err *e)
{
	const struct cache_segment *s = &j->segment;
	uint8_t *record = c->bytes + j->at;
	size_t n_bytes;
	if (cache_encode(&w->codec, block, s->row, s->n_rows, record + sizeof(struct cache_header), &n_bytes, &j->mass, e) < 0)
		return -1;
	struct cache_header h = cache_header_make(s, record + sizeof h, n_bytes, j->mass);
	memcpy(record, &h, sizeof h);
	j->entry = (struct cache_entry){s->key, 0, h.n_rows, h.n_bytes};
	return 0;
}

/* Moves the records together, in order; returns the bytes of all. */
static size_t close_ranks(struct cache *c, size_t n, struct cache_scan *held)
{
	size_t at = 0;
	for (size_t i = 0; i < n; i++) {
		struct cache_job *j = &c->jobs[i];
		size_t n_bytes = sizeof(struct cache_header) + j->entry.n_bytes;
		memmove(c->bytes + at, c->bytes + j->at, n_bytes);
		j->entry.offset = held->n_bytes + at;
		at += n_bytes;
		held->n_rows += j->entry.n_rows;
		held->mass += j->mass;
	}
	return at;
}

int cache_add(struct cache *c, const struct cache_rows *rows, const struct cache_block *block, struct err *e)
{
	struct cache_scan held = c->held;
	BUG_ON(!c->write || cache_rows_in(rows) > c->max_rows || (size_t)rows->T > c->max_segment);
	size_t n = list_fresh(c, rows);
	if (!n)
		return 0;
	if (run_jobs(c, n, encode_job, block, e) < 0)
		return -1;
	size_t n_bytes = close_ranks(c, n, &held);
	if (cache_index_reserve(&c->index, n, e) < 0 || fsio_append(c->records, c->bytes, n_bytes, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		cache_index_put(&c->index, &c->jobs[i].entry);
	held.n_bytes += n_bytes;
	c->held = held;
	return 0;
}

/* ---- reading ---- */

static int absent(const struct cache *c, const struct cache_rows *rows, const struct cache_segment *s, struct err *e)
{
	size_t N = cache_rows_in(rows);
	int32_t next = s->n_rows > 1 && s->row + 1 < N ? rows->tokens[s->row + 1] : -1;
	return err_run(e, "%s: holds no record of a document of %zu tokens that begins with %d %d; it was not written to the end, or "
		       "from other text: let the run write it", c->dir, s->n_rows, rows->tokens[s->row], next);
}

/* Whether these bytes are the whole record that the index promised. */
static bool record_valid(const uint8_t *record, const struct cache_job *j)
{
	struct cache_header h;
	const struct cache_segment *s = &j->segment;
	memcpy(&h, record, sizeof h);
	return cache_header_valid(&h) && h.key.lo == s->key.lo && h.key.hi == s->key.hi && h.n_rows == s->n_rows &&
	       h.n_bytes == j->entry.n_bytes && h.payload_checksum == XXH64(record + sizeof h, h.n_bytes, 0);
}

static int decode_job(struct cache *c, struct cache_worker *w, struct cache_job *j, const struct cache_block *block, struct err *e)
{
	const struct cache_segment *s = &j->segment;
	size_t n_bytes = j->entry.n_bytes;
	bool fits = n_bytes <= cache_encode_bound(&w->codec, s->n_rows);
	if (fits && cache_pread(c->fd, w->record, sizeof(struct cache_header) + n_bytes, j->entry.offset)) {
		const uint8_t *payload = w->record + sizeof(struct cache_header);
		if (record_valid(w->record, j) && cache_decode(&w->codec, payload, n_bytes, block, s->row, s->n_rows))
			return 0;
	} else if (fits && errno) {
		return err_run(e, "%s: cannot read: %s", c->records, strerror(errno));
	}
	return err_run(e, "%s: the record at byte %llu is damaged; remove the cache, it will be written again", c->records,
		       (unsigned long long)j->entry.offset);
}

int cache_read(struct cache *c, const struct cache_rows *rows, const struct cache_block *block, struct err *e)
{
	size_t N = cache_rows_in(rows), n = 0, row = 0;
	struct cache_segment s = {.n_rows = 0};
	BUG_ON(N > c->max_rows || (size_t)rows->T > c->max_segment);
	for (; row < N; row += s.n_rows) {
		s = cache_segment_at(rows, row);
		const struct cache_entry *entry = cache_index_find(&c->index, s.key);
		if (!entry)
			break;
		c->jobs[n++] = (struct cache_job){.segment = s, .entry = *entry};
	}
	if (run_jobs(c, n, decode_job, block, e) < 0)
		return -1;
	return row < N ? absent(c, rows, &s, e) : 0;
}

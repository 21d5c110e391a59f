/* Filling a cache before a phase reads it: the teacher runs over what the phase's stream shows and the cache lacks.
 * Test: tests/test_run_caches.c */
#include "recipes/supply.h"

#include "base/progress.h"
#include "recipes/rows.h"
#include "recipes/stage.h"
#include "teacher/cache_writer.h"

#include <stdlib.h>
#include <string.h>

enum { FILLER_BLOCKS = 3 }; /* the teacher's weights, its activations, the writer's chunk */
struct filler { /* one teacher beside one cache */
	struct supply *supply;
	int index, B, T;
	struct cache *cache;
	struct teacher teacher;
	struct cache_writer *writer;
	void *blocks[FILLER_BLOCKS];
	bool open;
};

static int lay_out(struct filler *f, struct arena a[FILLER_BLOCKS], struct err *e)
{
	const struct run_teacher *t = &f->supply->run->teachers[f->index];
	struct cache_identity id = supply_cache_identity(f->supply, f->index);
	struct teacher_options o = {.type = t->ops->matmul_bf16 ? DTYPE_BF16 : DTYPE_F32, .B = f->B, .T = f->T, .columns = id.V};
	struct cache_writer_options wo = {.spec = f->supply->spec, .V = id.V, .C = id.C, .B = f->B, .T = f->T};
	if (teacher_init(&f->teacher, t->ops, &t->model, &o, &a[0], &a[1], e) < 0)
		return -1;
	return cache_writer_init(&f->writer, t->ops, &wo, &a[2], e);
}

static void release_parts(struct filler *f)
{
	cache_writer_free(f->writer);
	f->writer = NULL;
	teacher_release(&f->teacher);
}

/* What the blocks hold, by lay_out's arenas. */
static int price(struct filler *f, size_t n_bytes[FILLER_BLOCKS], struct err *e)
{
	struct arena a[FILLER_BLOCKS] = {arena_dry(), arena_dry(), arena_dry()};
	int rc = lay_out(f, a, e);
	release_parts(f);
	for (int i = 0; i < FILLER_BLOCKS; i++)
		n_bytes[i] = a[i].used;
	return rc;
}

/* fp32 operands of fp32 products: nothing is converted. */
static struct ops_limits limits_of(const struct filler *f)
{
	const struct arch *arch = &f->supply->run->teachers[f->index].model.layout.arch;
	struct ops_limits l = transformer_limits(arch, f->B * f->T, fused_head_chunk_rows(arch->shape.V, FUSED_HEAD_CHUNK_BYTES));
	if (!f->supply->run->teachers[f->index].ops->matmul_bf16)
		l.max_operand_elems = 0;
	return l;
}

/* The teacher runs only when the cache lacks something. */
static int open_filler(struct filler *f, struct err *e)
{
	struct ops *ops = f->supply->run->teachers[f->index].ops;
	struct ops_limits limits = limits_of(f);
	struct arena a[FILLER_BLOCKS];
	size_t n_bytes[FILLER_BLOCKS];
	TRY(price(f, n_bytes, e));
	TRY(ops_cpu_reserve(ops, &limits, e));
	for (int i = 0; i < FILLER_BLOCKS; i++) {
		TRY(ops->alloc(ops, n_bytes[i] + 1, &f->blocks[i], e));
		a[i] = (struct arena){f->blocks[i], 0, n_bytes[i]};
	}
	TRY(lay_out(f, a, e));
	f->open = true;
	return 0;
out:
	return err_prefix(e, "the teacher that fills the cache");
}

static void close_filler(struct filler *f)
{
	struct ops *ops = f->supply->run->teachers[f->index].ops;
	release_parts(f);
	for (int i = 0; i < FILLER_BLOCKS; i++)
		if (f->blocks[i])
			ops->release(ops, f->blocks[i]);
}

static int fill_batch(struct filler *f, const struct cache_rows *rows, size_t *n_missing, struct err *e)
{
	size_t n = cache_missing(f->cache, rows, NULL);
	*n_missing += n;
	if (!n || !f->supply->plan.cache->write)
		return 0;
	if (!f->open && open_filler(f, e) < 0)
		return -1;
	return cache_writer_batch(f->writer, f->cache, &f->teacher, rows, e);
}

enum { SYNC_EVERY = 64 }; /* batches */

static int walk(struct filler *f, const struct supply_stream *stream, struct batches *b, struct rows *rows, size_t *n_missing, struct err *e)
{
	struct progress bar;
	char label[48], note[64] = "";
	int64_t N = (int64_t)f->B * f->T;
	int rc = -1;
	snprintf(label, sizeof label, "%.34s cache", stream->label);
	progress_init(&bar, label, "tokens", 0, (uint64_t)stream->tokens);
	for (int64_t done = 0, k = 1; done < stream->tokens; done += N, k++) {
		rows_next(rows, b);
		struct cache_rows shown = {f->B, f->T, rows->tokens, rows->targets, rows->start};
		TRY(fill_batch(f, &shown, n_missing, e));
		if (f->open && k % SYNC_EVERY == 0)
			TRY(cache_sync(f->cache, e));
		if (f->open)
			progress_update(&bar, (uint64_t)(done + N), NULL);
		if (run_interrupted()) {
			err_run(e, "interrupted while a cache was filled; the same command goes on");
			goto out;
		}
	}
	if (f->open)
		TRY(cache_sync(f->cache, e));
	rc = 0;
out:
	if (f->open)
		progress_finish(&bar, note);
	return rc;
}

static int refuse_lacking(const struct supply *s, const char *dir, size_t n_missing, int64_t tokens, struct err *e)
{
	if (!n_missing || s->plan.cache->write)
		return 0;
	return err_user(e, "%s lacks %zu of the %lld tokens that this phase reads: it was filled from other sequences (seed, sequence_length or budget); "
			   "write: true fills it", dir, n_missing, (long long)tokens);
}

static int fill_one(struct supply *s, int i, const struct supply_stream *stream, struct session_options *o, struct err *e)
{
	struct filler f = {.supply = s, .index = i, .B = o->student.B, .T = o->student.T};
	struct cache_identity id = supply_cache_identity(s, i);
	int n_threads = s->run->teachers[i].ops->n_threads;
	struct batches *b = NULL;
	struct rows rows = {0};
	char *dir = supply_cache_dir(s, i);
	size_t n_missing = 0;
	int rc = -1;
	TRY(cache_open(&f.cache, dir, &s->spec, &id, s->plan.cache->write, e));
	TRY(cache_reserve(f.cache, f.B, f.T, n_threads, e));
	TRY(corpus_batches(&s->run->corpus, stream->seed, &b, e));
	TRY(rows_init(&rows, f.B, f.T, e));
	rows_skip(&rows, b, stream->skip_tokens / f.T);
	TRY(walk(&f, stream, b, &rows, &n_missing, e));
	TRY(refuse_lacking(s, dir, n_missing, stream->tokens, e));
	cache_close(f.cache); /* lets others write; what is read from here on is there */
	f.cache = NULL;
	TRY(cache_open(&s->caches[i], dir, &s->spec, &id, false, e));
	TRY(cache_reserve(s->caches[i], f.B, f.T, n_threads, e));
	o->teachers[i].cache = s->caches[i];
	rc = 0;
out:
	close_filler(&f);
	cache_close(f.cache);
	batches_close(b);
	rows_release(&rows);
	free(dir);
	return rc;
}

int supply_fill(struct supply *s, const struct supply_stream *stream, struct session_options *o, struct err *e)
{
	for (int i = 0; i < s->run->n_teachers && s->plan.cache; i++)
		if (fill_one(s, i, stream, o, e) < 0)
			return -1;
	return 0;
}

int supply_price_filling(struct supply *s, int B, int T, size_t bytes[MEMORY_OWNERS], struct err *e)
{
	memset(bytes, 0, MEMORY_OWNERS * sizeof *bytes);
	for (int i = 0; i < s->run->n_teachers && s->plan.cache && s->plan.cache->write; i++) {
		struct filler f = {.supply = s, .index = i, .B = B, .T = T};
		struct ops_limits limits = limits_of(&f);
		size_t n[FILLER_BLOCKS], own[MEMORY_OWNERS] = {0};
		if (price(&f, n, e) < 0)
			return -1;
		own[MEMORY_TEACHER_WEIGHTS] = n[0];
		own[MEMORY_TEACHER_ACTIVATIONS] = n[1];
		own[MEMORY_LOSS] = n[2];
		own[MEMORY_BACKEND] = ops_cpu_reserve_bytes(s->run->teachers[i].ops, &limits);
		if (session_total(own) > session_total(bytes))
			memcpy(bytes, own, sizeof own);
	}
	return 0;
}

/* From a teacher's forward pass to records of a cache. Test: tests/test_cache.c */
#include "teacher/cache_writer.h"

#include "losses/fused_head.h"

#include <stdlib.h>

/* What a chunk of rows yields, on the device; then of a whole batch, on the host. */
struct yield {
	int32_t *ids;      /* (rows, K) */
	float *log_p;      /* (rows, K) */
	float *tail;       /* (rows) not SAMPLED */
	float *lse, *ce;   /* (rows) */
	int32_t *argmax;   /* (rows) SAMPLED */
};
struct cache_writer {
	struct ops *ops;
	struct cache_writer_options options;
	int max_rows, chunk_rows;
	float *logits;            /* (chunk_rows, V) */
	struct yield chunk;
	uint64_t *keys;           /* (chunk_rows) SAMPLED */
	int32_t *tokens, *pos, *start, *targets; /* (max_rows) device */
	/* host */
	void *memory;
	struct cache_block block; /* (max_rows) */
	uint64_t *host_keys;      /* (max_rows) */
	int32_t *host_pos;        /* (max_rows) */
	bool *missing;            /* (max_rows) */
	void *act;                /* (max_rows, C) HIDDEN, act storage */
};

/* ---- memory: one layout each for device and host ---- */

static void place_device(struct cache_writer *w, struct arena *a)
{
	const struct cache_spec *s = &w->options.spec;
	size_t N = (size_t)w->max_rows, rows = (size_t)w->chunk_rows, K = (size_t)s->K;
	w->tokens = arena_alloc(a, N * sizeof(int32_t));
	w->pos = arena_alloc(a, N * sizeof(int32_t));
	w->start = arena_alloc(a, N * sizeof(int32_t));
	if (s->kind == CACHE_HIDDEN)
		return;
	w->targets = arena_alloc(a, N * sizeof(int32_t));
	w->logits = arena_alloc(a, rows * (size_t)w->options.V * sizeof(float));
	w->chunk = (struct yield){.ids = arena_alloc(a, rows * K * sizeof(int32_t)),
				  .log_p = arena_alloc(a, rows * K * sizeof(float)),
				  .lse = arena_alloc(a, rows * sizeof(float)), .ce = arena_alloc(a, rows * sizeof(float))};
	if (s->kind == CACHE_SAMPLED) {
		w->chunk.argmax = arena_alloc(a, rows * sizeof(int32_t));
		w->keys = arena_alloc(a, rows * sizeof(uint64_t));
	} else {
		w->chunk.tail = arena_alloc(a, rows * sizeof(float));
	}
}

/* Dry: counts. Every array is there in every kind: a little room for less code. */
static void place_host(struct cache_writer *w, struct arena *a)
{
	bool hidden = w->options.spec.kind == CACHE_HIDDEN;
	size_t N = (size_t)w->max_rows, C = (size_t)w->options.C, K = hidden ? 0 : (size_t)w->options.spec.K;
	w->block = (struct cache_block){
		.ids = arena_alloc(a, N * K * sizeof(int32_t)), .log_p = arena_alloc(a, N * K * sizeof(float)),
		.tail = arena_alloc(a, N * sizeof(float)), .lse = arena_alloc(a, N * sizeof(float)),
		.ce = arena_alloc(a, N * sizeof(float)), .argmax = arena_alloc(a, N * sizeof(int32_t)),
		.hidden = arena_alloc(a, hidden ? N * C * sizeof(float) : 0),
	};
	w->act = arena_alloc(a, hidden ? N * C * dtype_size(w->ops->act) : 0);
	w->host_keys = arena_alloc(a, N * sizeof(uint64_t));
	w->host_pos = arena_alloc(a, N * sizeof(int32_t));
	w->missing = arena_alloc(a, N * sizeof(bool));
}

int cache_writer_init(struct cache_writer **out, struct ops *ops, const struct cache_writer_options *o, struct arena *device,
		      struct err *e)
{
	*out = NULL;
	BUG_ON(o->B < 1 || o->T < 1 || o->V < 1 || o->C < 1);
	struct cache_writer *w = calloc(1, sizeof *w);
	if (!w)
		return err_run(e, "out of memory to write the cache (%zu bytes)", sizeof *w);
	int rows = fused_head_chunk_rows(o->V, o->chunk_bytes), N = o->B * o->T;
	*w = (struct cache_writer){.ops = ops, .options = *o, .max_rows = N, .chunk_rows = rows < N ? rows : N};
	place_device(w, device);
	if (!arena_is_dry(device)) {
		struct arena host = arena_dry();
		place_host(w, &host);
		host = (struct arena){.capacity = host.used, .base = aligned_alloc(ARENA_ALIGN, host.used)};
		w->memory = host.base;
		if (!host.base) {
			free(w);
			return err_run(e, "out of memory for a batch of the cache (%zu bytes)", host.capacity);
		}
		place_host(w, &host);
	}
	*out = w;
	return 0;
}

void cache_writer_free(struct cache_writer *w)
{
	if (!w)
		return;
	free(w->memory);
	free(w);
}

/* ---- a batch ---- */

static struct batch upload(struct cache_writer *w, const struct cache_rows *rows)
{
	size_t N = (size_t)rows->B * (size_t)rows->T, n_bytes = N * sizeof(int32_t);
	for (size_t i = 0; i < N; i++)
		w->host_pos[i] = (int32_t)(i % (size_t)rows->T) - rows->start[i];
	w->ops->upload(w->ops, w->tokens, rows->tokens, n_bytes);
	w->ops->upload(w->ops, w->pos, w->host_pos, n_bytes);
	w->ops->upload(w->ops, w->start, rows->start, n_bytes);
	if (w->targets)
		w->ops->upload(w->ops, w->targets, rows->targets, n_bytes);
	return (struct batch){.B = rows->B, .T = rows->T, .tokens = w->tokens, .pos = w->pos, .start = w->start};
}

static void top(struct cache_writer *w, int row, int n)
{
	const struct cache_spec *s = &w->options.spec;
	const struct yield *y = &w->chunk;
	w->ops->top_rows(w->ops, &(struct top_rows){
		.n_rows = n, .V = w->options.V, .ld = w->options.V, .K = s->K, .t = w->logits, .tau = (float)s->tau,
		.top_p = s->kind == CACHE_TOP_P ? (float)s->top_p : 0, .target = w->targets + row, .ids = y->ids,
		.log_p = y->log_p, .tail = y->tail, .lse = y->lse, .ce = y->ce,
	});
}

static void sample(struct cache_writer *w, int row, int n)
{
	const struct cache_spec *s = &w->options.spec;
	const struct yield *y = &w->chunk;
	w->ops->upload(w->ops, w->keys, w->host_keys + row, (size_t)n * sizeof *w->keys);
	w->ops->sample_rows(w->ops, &(struct sample_rows){
		.n_rows = n, .V = w->options.V, .ld = w->options.V, .K = s->K, .t = w->logits, .tau = (float)s->tau,
		.power = (float)s->power, .seed = s->seed, .keys = w->keys, .target = w->targets + row, .ids = y->ids,
		.log_w = y->log_p, .argmax = y->argmax, .lse = y->lse, .ce = y->ce,
	});
}

static void download(struct cache_writer *w, int row, int n)
{
	const struct yield *y = &w->chunk;
	size_t r = (size_t)row, K = (size_t)w->options.spec.K, n4 = (size_t)n * 4;
	w->ops->download(w->ops, w->block.ids + r * K, y->ids, n4 * K);
	w->ops->download(w->ops, w->block.log_p + r * K, y->log_p, n4 * K);
	w->ops->download(w->ops, w->block.lse + r, y->lse, n4);
	w->ops->download(w->ops, w->block.ce + r, y->ce, n4);
	if (y->tail)
		w->ops->download(w->ops, w->block.tail + r, y->tail, n4);
	if (y->argmax)
		w->ops->download(w->ops, w->block.argmax + r, y->argmax, n4);
}

static bool any(const bool *missing, int n)
{
	for (int i = 0; i < n; i++)
		if (missing[i])
			return true;
	return false;
}

/* Logits of the rows that somebody misses; a chunk's borders do not depend on what is missing. */
static void fill_ids(struct cache_writer *w, const struct soft_targets *soft, int N)
{
	for (int row = 0; row < N; row += w->chunk_rows) {
		int n = N - row < w->chunk_rows ? N - row : w->chunk_rows;
		if (!any(w->missing + row, n))
			continue;
		const char *x = (const char *)soft->hidden + (size_t)row * (size_t)soft->C * dtype_size(w->ops->act);
		fused_head_logits(w->ops, x, soft->head, soft->head_type, n, soft->C, w->options.V, w->logits);
		if (w->options.spec.kind == CACHE_SAMPLED)
			sample(w, row, n);
		else
			top(w, row, n);
		download(w, row, n);
	}
}

static void fill_hidden(struct cache_writer *w, const struct soft_targets *soft, int N)
{
	size_t n = (size_t)N * (size_t)soft->C;
	w->ops->download(w->ops, w->act, soft->hidden, n * dtype_size(w->ops->act));
	dtype_convert(w->block.hidden, DTYPE_F32, w->act, w->ops->act, n);
}

int cache_writer_batch(struct cache_writer *w, struct cache *cache, struct teacher *online, const struct cache_rows *rows,
		       struct err *e)
{
	int N = rows->B * rows->T;
	struct soft_targets soft;
	BUG_ON(N > w->max_rows || online->cached || online->V != w->options.V || online->layout.arch.shape.C != w->options.C);
	if (!cache_missing(cache, rows, w->missing))
		return 0;
	struct batch batch = upload(w, rows);
	if (teacher_targets(online, &(struct teacher_batch){.device = &batch}, &soft, e) < 0)
		return -1;
	if (w->options.spec.kind == CACHE_HIDDEN) {
		fill_hidden(w, &soft, N);
	} else {
		if (w->keys)
			cache_row_keys(rows, w->host_keys);
		fill_ids(w, &soft, N);
	}
	return cache_add(cache, rows, &w->block, e);
}

/* Soft targets from a cache: a batch's rows are read on the host and put on the device. Test: tests/test_cache.c */
#include "teacher/teacher_parts.h"

#include <stdlib.h>

struct cached_rows {
	struct ops *ops;
	struct cache *cache;
	struct cache_spec spec;
	enum missing_mass missing;
	size_t max_rows;
	int V, C;
	void *memory;             /* of the block, host */
	struct cache_block block; /* (max_rows) */
	void *act;                /* (max_rows, C) host, act storage */
	struct cache_block device;
	void *hidden, *head;      /* device: (max_rows, C) act; (V, C) head_type */
	enum dtype head_type;
};

/* The same layout on host and device: ids, log_p, tail, ce, argmax. */
static void place_ids(const struct cached_rows *c, struct arena *a, struct cache_block *b)
{
	size_t N = c->max_rows, K = (size_t)c->spec.K;
	b->ids = arena_alloc(a, N * K * sizeof(int32_t));
	b->log_p = arena_alloc(a, N * K * sizeof(float));
	b->tail = arena_alloc(a, N * sizeof(float));
	b->ce = arena_alloc(a, N * sizeof(float));
	b->argmax = arena_alloc(a, N * sizeof(int32_t));
}

static void place_host(struct cached_rows *c, struct arena *a)
{
	size_t n = c->max_rows * (size_t)c->C;
	if (c->spec.kind != CACHE_HIDDEN) {
		place_ids(c, a, &c->block);
		return;
	}
	c->block.hidden = arena_alloc(a, n * sizeof(float));
	c->act = arena_alloc(a, n * dtype_size(c->ops->act));
}

static void place_device(struct cached_rows *c, struct arena *weights, struct arena *activations)
{
	size_t C = (size_t)c->C;
	if (c->spec.kind != CACHE_HIDDEN) {
		place_ids(c, activations, &c->device);
		return;
	}
	c->head = arena_alloc(weights, (size_t)c->V * C * dtype_size(c->head_type));
	c->hidden = arena_alloc(activations, c->max_rows * C * dtype_size(c->ops->act));
}

static int host_memory(struct cached_rows *c, struct err *e)
{
	struct arena host = arena_dry();
	place_host(c, &host);
	host = (struct arena){.capacity = host.used, .base = aligned_alloc(ARENA_ALIGN, host.used)};
	if (!host.base)
		return err_run(e, "out of memory for a batch of the teacher's cache (%zu bytes)", host.capacity);
	c->memory = host.base;
	place_host(c, &host);
	return 0;
}

int cached_rows_init(struct cached_rows **out, struct teacher *t, const struct hf_model *hf, struct cache *cache,
		     const struct teacher_options *o, struct arena *weights, struct arena *activations, struct err *e)
{
	int rc = -1;
	bool dry = arena_is_dry(activations);
	BUG_ON(o->B < 1 || o->T < 1 || (o->cache.kind != CACHE_HIDDEN && o->cache.K < 1));
	BUG_ON((o->cache.kind == CACHE_SAMPLED) != (o->missing == MISSING_SAMPLED));
	struct cached_rows *c = calloc(1, sizeof *c);
	*out = c;
	if (!c)
		return err_run(e, "out of memory for the teacher's cache (%zu bytes)", sizeof *c);
	*c = (struct cached_rows){.ops = t->ops, .cache = cache, .spec = o->cache, .missing = o->missing,
				  .max_rows = (size_t)o->B * (size_t)o->T, .V = t->V, .C = t->layout.arch.shape.C,
				  .head_type = o->type};
	place_device(c, weights, activations);
	if (dry)
		return 0;
	BUG_ON(!cache || cache_spec_of(cache)->kind != o->cache.kind || cache_spec_of(cache)->K != o->cache.K ||
	       cache_identity_of(cache)->V != c->V);
	TRY(host_memory(c, e));
	TRY(cache_reserve(cache, o->B, o->T, t->ops->n_threads, e));
	if (c->head)
		TRY(weights_upload_head(t->ops, hf, c->head_type, c->V, c->head, e));
	rc = 0;
out:
	return rc;
}

void cached_rows_free(struct cached_rows *c)
{
	if (!c)
		return;
	free(c->memory);
	free(c);
}

static struct soft_targets dense(struct cached_rows *c, size_t N)
{
	size_t n = N * (size_t)c->C;
	dtype_convert(c->act, c->ops->act, c->block.hidden, DTYPE_F32, n);
	c->ops->upload(c->ops, c->hidden, c->act, n * dtype_size(c->ops->act));
	return (struct soft_targets){.kind = SOFT_TARGETS_DENSE, .V = c->V, .C = c->C, .hidden = c->hidden, .head = c->head,
				     .head_type = c->head_type};
}

static struct soft_targets sparse(struct cached_rows *c, size_t N)
{
	size_t K = (size_t)c->spec.K;
	const struct cache_block *h = &c->block, *d = &c->device;
	c->ops->upload(c->ops, d->ids, h->ids, N * K * sizeof *h->ids);
	c->ops->upload(c->ops, d->log_p, h->log_p, N * K * sizeof *h->log_p);
	c->ops->upload(c->ops, d->tail, h->tail, N * sizeof *h->tail);
	c->ops->upload(c->ops, d->ce, h->ce, N * sizeof *h->ce);
	c->ops->upload(c->ops, d->argmax, h->argmax, N * sizeof *h->argmax);
	return (struct soft_targets){
		.kind = SOFT_TARGETS_SPARSE, .V = c->V, .ce = d->ce, .argmax = d->argmax,
		.sparse = {.K = c->spec.K, .missing = c->missing, .tau = (float)c->spec.tau, .ids = d->ids, .log_p = d->log_p,
			   .tail = d->tail},
	};
}

int cached_rows_targets(struct cached_rows *c, const struct teacher_batch *batch, struct soft_targets *out, struct err *e)
{
	struct cache_rows rows = {batch->device->B, batch->device->T, batch->tokens, batch->targets, batch->start};
	size_t N = (size_t)rows.B * (size_t)rows.T;
	BUG_ON(N > c->max_rows);
	if (cache_read(c->cache, &rows, &c->block, e) < 0)
		return -1;
	*out = c->spec.kind == CACHE_HIDDEN ? dense(c, N) : sparse(c, N);
	return 0;
}

/* Decoding with a cache of keys and values. Test: tests/test_decode.c */
#include "model/decode.h"

#include "model/activations.h"
#include "model/kv_cache.h"

#include <stdlib.h>
#include <string.h>

struct decoder {
	struct ops *ops;
	struct activations *act;
	struct kv_cache cache;
	int rows;                      /* of a sequence in one pass */
	int32_t *tokens, *pos, *start; /* (B, rows) device */
	int32_t *host;                 /* (B, rows) */
	void *last;                    /* (B, C) act, device */
};

int decoder_init(struct decoder **out, struct ops *ops, const struct arch *arch, int B, int positions, int rows, struct arena *device,
		 struct err *e)
{
	size_t n = (size_t)B * (size_t)rows * sizeof(int32_t);
	struct decoder *d = calloc(1, sizeof *d);
	BUG_ON(B < 1 || rows < 1 || rows > positions);
	*out = d;
	if (!d || !(d->host = malloc(n))) {
		decoder_free(d);
		*out = NULL;
		return err_run(e, "out of memory: %zu bytes for the rows of a decoder", n);
	}
	d->ops = ops;
	d->rows = rows;
	if (activations_init_decode(&d->act, ops, arch, B * rows, positions, device, e) < 0) {
		decoder_free(d);
		*out = NULL;
		return -1;
	}
	kv_cache_init(&d->cache, ops, &arch->shape, B, positions, device);
	d->tokens = arena_alloc(device, n);
	d->pos = arena_alloc(device, n);
	d->start = arena_alloc(device, n);
	d->last = arena_alloc(device, (size_t)B * (size_t)arch->shape.C * dtype_size(ops->act));
	return 0;
}

void decoder_free(struct decoder *d)
{
	if (!d)
		return;
	activations_free(d->act);
	free(d->host);
	free(d);
}

void decoder_upload_tables(struct decoder *d)
{
	activations_upload_tables(d->act, d->ops, &d->act->arch);
}

int decoder_filled(const struct decoder *d)
{
	return d->cache.filled;
}

void decoder_rewind(struct decoder *d, int n)
{
	BUG_ON(n < 0 || n > d->cache.filled);
	d->cache.filled = n;
}

/* Columns [at, at+T) of ids (B, all), and their positions. */
static struct batch upload(struct decoder *d, const int32_t *ids, int all, int at, int T)
{
	int B = d->cache.B;
	size_t n = (size_t)(B * T) * sizeof(int32_t);
	for (int b = 0; b < B; b++)
		memcpy(d->host + b * T, ids + (size_t)b * (size_t)all + at, (size_t)T * sizeof *ids);
	d->ops->upload(d->ops, d->tokens, d->host, n);
	for (int i = 0; i < B * T; i++)
		d->host[i] = d->cache.filled + i % T;
	d->ops->upload(d->ops, d->pos, d->host, n);
	d->ops->zero(d->ops, d->start, n);
	return (struct batch){.B = B, .T = T, .tokens = d->tokens, .pos = d->pos, .start = d->start, .cache = &d->cache};
}

static const void *last_rows(struct decoder *d, const char *final, int T)
{
	int C = d->cache.shape.C;
	enum dtype act = d->ops->act;
	if (T == 1)
		return final;
	d->ops->scale_rows(d->ops, &(struct scale_rows){
		.n_rows = d->cache.B, .C = C, .factor = 1, .x = final + (size_t)(T - 1) * (size_t)C * dtype_size(act), .x_type = act,
		.ld_x = T * C, .y = d->last, .y_type = act, .ld_y = C,
	});
	return d->last;
}

const void *decoder_append(struct decoder *d, const struct params *params, const int32_t *ids, int T)
{
	const void *last = NULL;
	BUG_ON(T < 1 || d->cache.filled + T > d->cache.positions);
	for (int at = 0; at < T; at += d->rows) {
		int n = T - at < d->rows ? T - at : d->rows;
		struct batch batch = upload(d, ids, T, at, n);
		last = last_rows(d, transformer_forward(d->ops, params, d->act, &batch, NULL, NULL), n);
		d->cache.filled += n;
	}
	return last;
}

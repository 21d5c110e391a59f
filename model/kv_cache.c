/* Rows of keys and values. Test: tests/test_decode.c */
#include "model/kv_cache.h"

#include <limits.h>

static size_t width_of(const struct kv_cache *c)
{
	return 2 * (size_t)c->shape.NKV * (size_t)c->shape.HD;
}

void kv_cache_init(struct kv_cache *c, const struct ops *ops, const struct shape *s, int B, int positions, struct arena *device)
{
	*c = (struct kv_cache){.shape = *s, .B = B, .positions = positions};
	c->rows = arena_alloc(device, (size_t)s->L * (size_t)B * (size_t)positions * width_of(c) * dtype_size(ops->act));
}

void *kv_cache_layer(const struct kv_cache *c, const struct ops *ops, int layer)
{
	return (char *)c->rows + (size_t)layer * (size_t)c->B * (size_t)c->positions * width_of(c) * dtype_size(ops->act);
}

void kv_cache_store(const struct kv_cache *c, struct ops *ops, int layer, const void *qkv, int T)
{
	const struct shape *s = &c->shape;
	size_t act = dtype_size(ops->act), Q = (size_t)((s->NH + 2 * s->NKV) * s->HD), width = width_of(c);
	size_t sequence = (size_t)c->positions * width;
	bool at_once = T == 1 && sequence <= INT_MAX; /* one row of each sequence */
	const char *from = (const char *)qkv + (size_t)(s->NH * s->HD) * act;
	char *to = (char *)kv_cache_layer(c, ops, layer) + (size_t)c->filled * width * act;
	for (size_t b = 0; b < (at_once ? 1 : (size_t)c->B); b++)
		ops->scale_rows(ops, &(struct scale_rows){
			.n_rows = at_once ? c->B : T, .C = (int)width, .factor = 1, .x = from + b * (size_t)T * Q * act, .x_type = ops->act,
			.ld_x = (int)Q, .y = to + b * sequence * act, .y_type = ops->act, .ld_y = (int)(at_once ? sequence : width),
		});
}

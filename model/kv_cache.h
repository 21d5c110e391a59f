/* Keys and values of the positions that a decoder has seen, so that the next token costs one row of a forward pass.
 * Private to model/: callers use model/decode.h. Test: tests/test_decode.c */
#ifndef MODEL_KV_CACHE_H
#define MODEL_KV_CACHE_H

#include "base/arena.h"
#include "kernels/ops.h"
#include "model/arch.h"

struct kv_cache {
	struct shape shape;
	int B, positions; /* room */
	int filled;       /* positions that every sequence holds; the next rows go there */
	void *rows;       /* (L, B, positions, 2*NKV*HD) act, device: keys after rotary | values */
};
void kv_cache_init(struct kv_cache *, const struct ops *, const struct shape *, int B, int positions, struct arena *device);
/* Copies the keys and values of qkv (B*T, Q) to positions filled .. filled+T-1 of a layer; `filled` stays. */
void kv_cache_store(const struct kv_cache *, struct ops *, int layer, const void *qkv, int T);
/* (B, positions, 2*NKV*HD) */
void *kv_cache_layer(const struct kv_cache *, const struct ops *, int layer);

#endif

/* Fills a cache from a running teacher: forward pass, logits a chunk of rows at a time, the table's top_rows or
 * sample_rows, records. Test: tests/test_cache.c */
#ifndef TEACHER_CACHE_WRITER_H
#define TEACHER_CACHE_WRITER_H

#include "teacher/cache.h"
#include "teacher/teacher.h"

struct cache_writer_options {
	struct cache_spec spec;
	int V, C;            /* of the cache's identity */
	int B, T;            /* at most; as the teacher's */
	size_t chunk_bytes;  /* of logits, as the fused head's; 0: its default */
};
struct cache_writer;
/* Scratch in the arena: one (rows, V) fp32 matrix and what a chunk yields. Called dry (priced) and real.
 * Fails when host memory for a batch's rows is short. */
int cache_writer_init(struct cache_writer **out, struct ops *, const struct cache_writer_options *, struct arena *device,
                      struct err *);
void cache_writer_free(struct cache_writer *); /* NULL is fine */
/* Adds what the cache lacks of these B*T rows (at most the options'). The online teacher runs over the whole batch when a
 * segment is missing, never when none is: a batch's values do not depend on how much of it was written before. pos of a
 * row is its index - start. The cache is open for writing, with the writer's spec, and the same rows reserved. */
int cache_writer_batch(struct cache_writer *, struct cache *, struct teacher *online, const struct cache_rows *, struct err *);

#endif

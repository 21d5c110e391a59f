/* Eleven documents that fill sequences of 12, 24 or 72 rows in either order, and made-up teacher outputs: a row's are a
 * function of its tokens alone. */
#ifndef TESTS_CACHE_WORLD_H
#define TESTS_CACHE_WORLD_H

#include "tests/testing.h"

#include "base/rng.h"
#include "teacher/cache.h"

enum { WORLD_DOCS = 11, WORLD_N = 72, WORLD_V = 1009, WORLD_C = 5, WORLD_K = 6 };

struct world {
	struct cache_rows rows;
	int32_t tokens[WORLD_N], targets[WORLD_N], start[WORLD_N];
	int doc[WORLD_N], at[WORLD_N]; /* of a row: its document, and its place in it */
};

static inline uint32_t world_draw(int doc, int at, int what)
{
	return rng_u32(5, RNG_TEST, (uint64_t)(doc * 100 + at), (uint64_t)what);
}

static inline int32_t world_token(int doc, int at)
{
	return (int32_t)(2 + world_draw(doc, at, 0) % (WORLD_V - 2));
}

/* All documents, backwards or not, in sequences of T. */
static inline void world_make(struct world *w, int T, bool backwards)
{
	static const int lengths[WORLD_DOCS] = {5, 7, 4, 8, 12, 3, 9, 6, 6, 2, 10};
	int row = 0;
	for (int i = 0; i < WORLD_DOCS; i++) {
		int doc = backwards ? WORLD_DOCS - 1 - i : i, first = row;
		for (int at = 0; at < lengths[doc]; at++, row++) {
			w->doc[row] = doc;
			w->at[row] = at;
			w->tokens[row] = world_token(doc, at);
			w->targets[row] = at + 1 < lengths[doc] ? world_token(doc, at + 1) : 1;
			w->start[row] = first % T;
		}
	}
	assert_int_equal(row, WORLD_N);
	w->rows = (struct cache_rows){WORLD_N / T, T, w->tokens, w->targets, w->start};
}

static inline struct cache_spec world_spec(enum cache_kind kind, enum dtype type)
{
	return (struct cache_spec){.kind = kind, .K = WORLD_K, .top_p = 0.9, .power = 0.5, .seed = 3, .tau = 2, .value_type = type};
}

static inline struct cache_identity world_identity(void)
{
	return (struct cache_identity){.teacher = 0x1234, .tokenizer = 0x77, .corpus = 0x99, .V = WORLD_V, .C = WORLD_C};
}

/* Owned arrays of a block. */
struct world_block {
	int32_t ids[WORLD_N * WORLD_K], argmax[WORLD_N];
	float log_p[WORLD_N * WORLD_K], tail[WORLD_N], lse[WORLD_N], ce[WORLD_N], hidden[WORLD_N * WORLD_C];
	struct cache_block block;
};

static inline void world_block_init(struct world_block *b)
{
	memset(b, 0x55, sizeof *b);
	b->block = (struct cache_block){.ids = b->ids, .log_p = b->log_p, .tail = b->tail, .lse = b->lse, .ce = b->ce,
					.argmax = b->argmax, .hidden = b->hidden};
}

static inline int world_count(enum cache_kind kind, int doc, int at)
{
	return kind == CACHE_TOP_K ? WORLD_K : 1 + (int)(world_draw(doc, at, 1) % WORLD_K);
}

static inline void world_fill_row(const struct world *w, enum cache_kind kind, struct world_block *b, int row)
{
	int doc = w->doc[row], at = w->at[row], n = world_count(kind, doc, at);
	double mass = kind == CACHE_SAMPLED ? 1 : 0.5 + 0.4999 * (double)rng_uniform(6, RNG_TEST, (uint64_t)doc, (uint64_t)at), sum = 0;
	for (int i = 0; i < n; i++)
		sum += exp(-0.7 * i);
	for (int i = 0; i < WORLD_K; i++) {
		b->ids[row * WORLD_K + i] = i < n ? (int32_t)((world_draw(doc, at, 2) + 7 * (uint32_t)i) % WORLD_V) : -1;
		b->log_p[row * WORLD_K + i] = i < n ? (float)log(mass * exp(-0.7 * i) / sum) : 0;
	}
	b->argmax[row] = b->ids[row * WORLD_K];
	b->tail[row] = kind == CACHE_SAMPLED ? 0 : (float)(1 - mass);
	b->lse[row] = 3 + rng_normal(7, RNG_TEST, (uint64_t)doc, (uint64_t)at);
	b->ce[row] = 1 + rng_uniform(8, RNG_TEST, (uint64_t)doc, (uint64_t)at);
	for (int i = 0; i < WORLD_C; i++)
		b->hidden[row * WORLD_C + i] = rng_normal(9, RNG_TEST, (uint64_t)(doc * 100 + at), (uint64_t)i);
}

static inline void world_fill(const struct world *w, enum cache_kind kind, struct world_block *b)
{
	world_block_init(b);
	for (int row = 0; row < WORLD_N; row++)
		world_fill_row(w, kind, b, row);
}

/* Whether what was read is what such a world's rows are; bf16 values to their rounding. */
static inline bool world_equal(enum cache_kind kind, enum dtype type, const struct world_block *got,
			       const struct world_block *want)
{
	size_t n4 = WORLD_N * sizeof(float);
	bool bf16 = type == DTYPE_BF16, hidden = kind == CACHE_HIDDEN;
	const float *a = hidden ? got->hidden : got->log_p, *b = hidden ? want->hidden : want->log_p;
	for (int i = 0; i < WORLD_N * (hidden ? WORLD_C : WORLD_K); i++)
		if (!(fabsf(a[i] - b[i]) <= (bf16 ? 0.01f * (1 + fabsf(b[i])) : 0)))
			return false;
	if (hidden)
		return true;
	return !memcmp(got->ids, want->ids, sizeof got->ids) && !memcmp(got->argmax, want->argmax, n4) &&
	       !memcmp(got->tail, want->tail, n4) && !memcmp(got->lse, want->lse, n4) && !memcmp(got->ce, want->ce, n4);
}

static inline struct cache *world_open(const char *dir, enum cache_kind kind, enum dtype type, bool write)
{
	struct cache *c;
	struct err e;
	struct cache_spec spec = world_spec(kind, type);
	struct cache_identity id = world_identity();
	assert_ok(cache_open(&c, dir, &spec, &id, write, &e), &e);
	assert_ok(cache_reserve(c, 1, WORLD_N, 2, &e), &e);
	return c;
}

/* A cache of all documents, written in sequences of 12. */
static inline void world_write(const char *dir, enum cache_kind kind, enum dtype type)
{
	struct err e;
	struct world w;
	static struct world_block b;
	world_make(&w, 12, false);
	world_fill(&w, kind, &b);
	struct cache *c = world_open(dir, kind, type, true);
	assert_ok(cache_add(c, &w.rows, &b.block, &e), &e);
	assert_ok(cache_sync(c, &e), &e);
	cache_close(c);
}

/* The file of records, the caller's. */
static inline char *world_records(const char *path, size_t *n_bytes)
{
	struct err e;
	struct test_path base;
	char *bytes;
	snprintf(base.text, sizeof base.text, "%s", path);
	assert_ok(fsio_read_file(test_join(&base, "records").text, 1 << 20, &bytes, n_bytes, &e), &e);
	return bytes;
}

#endif

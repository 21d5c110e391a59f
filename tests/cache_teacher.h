/* A small teacher online, caches written from it, teachers that read them. */
#ifndef TESTS_CACHE_TEACHER_H
#define TESTS_CACHE_TEACHER_H

#include "tests/device.h"

#include "base/rng.h"
#include "teacher/cache_writer.h"

enum { B = 2, T = 13, N = B * T, V = 64, C = 32, STUDENT_C = 16 };

struct world {
	struct test_path dir;
	struct ops *ops;
	struct hf_model hf;
	struct teacher online;
	struct arena weights, activations;
	struct cache_rows rows;
	int32_t tokens[N], targets[N], start[N], pos[N];
	int32_t *device[3];
	struct batch batch;
	int columns;
};

/* ---- a teacher, online ---- */

static inline struct teacher_options options(const struct world *w)
{
	return (struct teacher_options){.type = DTYPE_F32, .B = B, .T = T, .columns = w->columns};
}

/* Documents of 5 and 8 rows in one sequence, of 13 in the other; swapped, the other way round. */
static inline void make_batch(struct world *w, bool swapped)
{
	for (int i = 0; i < N; i++) {
		int at = swapped ? (i + T) % N : i, sequence = at / T, within = at % T, start = !sequence && within >= 5 ? 5 : 0;
		bool last = within == T - 1 || (!sequence && within == 4);
		w->tokens[i] = (int32_t)rng_below(1, RNG_TEST, 0, (uint64_t)at, V - 4);
		w->targets[i] = last ? -1 : (int32_t)rng_below(1, RNG_TEST, 0, (uint64_t)at + 1, V - 4);
		w->start[i] = start;
		w->pos[i] = within - start;
	}
	w->rows = (struct cache_rows){B, T, w->tokens, w->targets, w->start};
	w->ops->upload(w->ops, w->device[0], w->tokens, sizeof w->tokens);
	w->ops->upload(w->ops, w->device[1], w->pos, sizeof w->pos);
	w->ops->upload(w->ops, w->device[2], w->start, sizeof w->start);
	w->batch = (struct batch){.B = B, .T = T, .tokens = w->device[0], .pos = w->device[1], .start = w->device[2]};
}

static inline void open_online(struct world *w)
{
	struct teacher_options o = options(w);
	struct err e;
	w->weights = w->activations = arena_dry();
	assert_ok(teacher_init(&w->online, w->ops, &w->hf, &o, &w->weights, &w->activations, &e), &e);
	teacher_release(&w->online);
	test_arena_back(w->ops, &w->weights);
	test_arena_back(w->ops, &w->activations);
	assert_ok(teacher_init(&w->online, w->ops, &w->hf, &o, &w->weights, &w->activations, &e), &e);
}

static inline int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct err e;
	w->dir = test_dir_make();
	w->columns = V - 3;
	assert_ok(hf_open(&w->hf, test_source("tests/golden/adamw/teacher").text, &e), &e);
	assert_int_equal(w->hf.layout.arch.shape.V, V);
	assert_int_equal(w->hf.layout.arch.shape.C, C);
	struct ops_limits limits = transformer_limits(&w->hf.layout.arch, N, N);
	w->ops = test_ops(2, false, &limits);
	for (int i = 0; i < 3; i++)
		w->device[i] = test_device(w->ops, NULL, N * sizeof(int32_t));
	make_batch(w, false);
	open_online(w);
	*state = w;
	return 0;
}

static inline int teardown(void **state)
{
	struct world *w = *state;
	teacher_release(&w->online);
	w->ops->release(w->ops, w->weights.base);
	w->ops->release(w->ops, w->activations.base);
	for (int i = 0; i < 3; i++)
		w->ops->release(w->ops, w->device[i]);
	ops_cpu_close(w->ops);
	hf_close(&w->hf);
	test_dir_remove(&w->dir);
	free(w);
	return 0;
}

static inline struct soft_targets online_targets(struct world *w)
{
	struct soft_targets soft;
	struct err e;
	assert_ok(teacher_targets(&w->online, &(struct teacher_batch){.device = &w->batch}, &soft, &e), &e);
	return soft;
}

/* ---- caches ---- */

static inline struct cache_spec spec_of(enum cache_kind kind, int K, double tau)
{
	return (struct cache_spec){.kind = kind, .K = K, .top_p = 0.8, .power = 1, .seed = 11, .tau = tau, .value_type = DTYPE_F32};
}

static inline struct cache *open_cache(const struct world *w, const char *name, const struct cache_spec *spec)
{
	struct cache_identity id = {.teacher = w->online.hash, .V = w->columns, .C = C};
	struct cache *c;
	struct err e;
	assert_ok(cache_open(&c, test_join(&w->dir, name).text, spec, &id, true, &e), &e);
	assert_ok(cache_reserve(c, B, T, w->ops->n_threads, &e), &e);
	return c;
}

/* Runs the writer over the batch, logits 16 rows at a time. */
static inline void write_batch(struct world *w, struct cache *c)
{
	struct cache_writer_options o = {*cache_spec_of(c), w->columns, C, B, T, 1};
	struct arena a = arena_dry();
	struct cache_writer *writer;
	struct err e;
	assert_ok(cache_writer_init(&writer, w->ops, &o, &a, &e), &e);
	cache_writer_free(writer);
	test_arena_back(w->ops, &a);
	assert_ok(cache_writer_init(&writer, w->ops, &o, &a, &e), &e);
	assert_int_equal(a.used, a.capacity);
	assert_ok(cache_writer_batch(writer, c, &w->online, &w->rows, &e), &e);
	assert_int_equal(cache_missing(c, &w->rows, NULL), 0);
	cache_writer_free(writer);
	w->ops->release(w->ops, a.base);
	assert_ok(cache_sync(c, &e), &e);
}

/* A teacher that reads the cache, its arenas real. */
struct reader {
	struct teacher teacher;
	struct arena weights, activations;
};
static inline void open_reader(struct world *w, struct reader *r, struct cache *c, enum missing_mass missing)
{
	struct teacher_options o = options(w);
	struct err e;
	o.cache = *cache_spec_of(c);
	o.missing = missing;
	*r = (struct reader){.weights = arena_dry()};
	assert_ok(teacher_init_cached(&r->teacher, w->ops, &w->hf, NULL, &o, &r->weights, &r->activations, &e), &e);
	teacher_release(&r->teacher);
	test_arena_back(w->ops, &r->weights);
	test_arena_back(w->ops, &r->activations);
	assert_ok(teacher_init_cached(&r->teacher, w->ops, &w->hf, c, &o, &r->weights, &r->activations, &e), &e);
	assert_true(r->weights.used == r->weights.capacity && r->activations.used == r->activations.capacity);
}

static inline void close_reader(struct world *w, struct reader *r)
{
	teacher_release(&r->teacher);
	w->ops->release(w->ops, r->weights.base);
	w->ops->release(w->ops, r->activations.base);
}

static inline struct soft_targets cached_targets(struct world *w, struct reader *r)
{
	struct batch nothing = {.B = B, .T = T};
	struct soft_targets soft;
	struct err e;
	assert_ok(teacher_targets(&r->teacher, &(struct teacher_batch){&nothing, w->tokens, w->targets, w->start}, &soft, &e), &e);
	return soft;
}

#endif

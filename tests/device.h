/* What tests of training share: the CPU backend, arrays on the device, golden tensors. */
#ifndef TESTS_DEVICE_H
#define TESTS_DEVICE_H

#include "tests/testing.h"

#include "base/arena.h"
#include "kernels/ops.h"
#include "model/safetensors.h"

static inline struct ops *test_ops(int n_threads, bool bf16, const struct ops_limits *limits)
{
	struct ops *ops;
	struct err e;
	assert_ok(ops_cpu_open(&ops, &(struct ops_options){.n_threads = n_threads, .bf16 = bf16}, &e), &e);
	assert_ok(ops_cpu_reserve(ops, limits, &e), &e);
	return ops;
}

/* Device memory of n_bytes, filled from `host`, or with zeros when that is NULL. ops->release()d by the caller. */
static inline void *test_device(struct ops *ops, const void *host, size_t n_bytes)
{
	void *p;
	struct err e;
	assert_ok(ops->alloc(ops, n_bytes, &p, &e), &e);
	if (host)
		ops->upload(ops, p, host, n_bytes);
	else
		ops->zero(ops, p, n_bytes);
	return p;
}

/* Turns a priced arena into a real one of exactly that size. */
static inline void test_arena_back(struct ops *ops, struct arena *a)
{
	struct err e;
	void *base;
	size_t n_bytes = a->used;
	assert_ok(ops->alloc(ops, n_bytes ? n_bytes : 1, &base, &e), &e);
	memset(base, 0xff, n_bytes); /* NaNs: nobody may count on zeros */
	*a = (struct arena){.base = base, .capacity = n_bytes};
}

/* A golden tensor "prefix/key", NULL when absent. */
static inline const struct safetensor *test_golden_find(const struct safetensors *f, const char *prefix, const char *key)
{
	char name[256];
	snprintf(name, sizeof name, "%s/%s", prefix, key);
	return safetensors_find(f, name);
}
static inline const struct safetensor *test_golden(const struct safetensors *f, const char *prefix, const char *key)
{
	const struct safetensor *t = test_golden_find(f, prefix, key);
	if (!t)
		fail_msg("golden file has no %s/%s", prefix, key);
	return t;
}

#endif

#include "base/arena.h"

#include "base/err.h"

#include <stdint.h>

void *arena_alloc(struct arena *a, size_t n_bytes)
{
	BUG_ON(n_bytes > SIZE_MAX / 2);
	size_t at = a->used, size = (n_bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
	a->used += size;
	if (arena_is_dry(a))
		return (void *)(uintptr_t)(ARENA_ALIGN + at);
	BUG_ON(a->used > a->capacity);
	return a->base + at;
}

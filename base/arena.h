/* An arena: every large buffer of a run, priced first and allocated once.
 * The same code runs twice: dry (counts bytes, hands out addresses that nobody reads) and real. `plan` prints the dry
 * figure, `run` allocates exactly it. Knows nothing of devices: the caller brings the memory. Test: tests/test_arena.c */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#define ARENA_ALIGN 64

struct arena {
	char *base;      /* NULL: dry */
	size_t used;     /* bytes handed out, alignment included */
	size_t capacity; /* bytes at base; ignored when dry */
};

/* A dry arena: arena_alloc only counts. */
static inline struct arena arena_dry(void)
{
	return (struct arena){0};
}
static inline bool arena_is_dry(const struct arena *a)
{
	return !a->base;
}
/* n_bytes at 64-byte alignment. Dry: an address that must not be read. Real: BUG_ON when the plan was wrong.
 * The memory is the caller's to clear. Never returns NULL. */
void *arena_alloc(struct arena *a, size_t n_bytes);

#endif

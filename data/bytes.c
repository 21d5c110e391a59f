/* The growing arrays of data/tokenizer.h. */
#include "data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* Room for n more elements of the given size; doubles. */
static int reserve(void **v, size_t have, size_t *capacity, size_t n, size_t size, struct err *e)
{
	if (n <= *capacity - have)
		return 0;
	size_t want = *capacity ? *capacity : 64;
	while (want - have < n) {
		if (want > SIZE_MAX / 2 / size)
			return err_run(e, "out of memory: an array of more than %zu elements", want);
		want *= 2;
	}
	void *grown = realloc(*v, want * size);
	if (!grown)
		return err_run(e, "out of memory: %zu bytes for text or tokens", want * size);
	*v = grown;
	*capacity = want;
	return 0;
}

void ids_release(struct ids *ids)
{
	free(ids->v);
	*ids = (struct ids){0};
}

void bytes_release(struct bytes *bytes)
{
	free(bytes->v);
	*bytes = (struct bytes){0};
}

int ids_append(struct ids *ids, const int32_t *v, size_t n, struct err *e)
{
	void *grown = ids->v;
	if (!n)
		return 0;
	if (reserve(&grown, ids->n, &ids->capacity, n, sizeof *v, e) < 0)
		return -1;
	ids->v = grown;
	memcpy(ids->v + ids->n, v, n * sizeof *v);
	ids->n += n;
	return 0;
}

int bytes_append(struct bytes *bytes, const char *v, size_t n, struct err *e)
{
	void *grown = bytes->v;
	if (!n)
		return 0;
	if (reserve(&grown, bytes->n, &bytes->capacity, n, 1, e) < 0)
		return -1;
	bytes->v = grown;
	memcpy(bytes->v + bytes->n, v, n);
	bytes->n += n;
	return 0;
}

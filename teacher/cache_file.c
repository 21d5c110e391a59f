/* The file of records: what a header says of itself, and what a crash may have left at the end.
 * Test: tests/test_cache_file.c, tests/fuzz/fuzz_cache.c */
#include "teacher/cache_parts.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static const char MAGIC[4] = {'E', 'S', 'P', 'C'};

struct cache_header cache_header_make(const struct cache_segment *s, const uint8_t *payload, size_t n_bytes, double mass)
{
	struct cache_header h = {.n_rows = (uint32_t)s->n_rows, .key = s->key, .n_bytes = (uint32_t)n_bytes,
				 .payload_checksum = XXH64(payload, n_bytes, 0), .mass = mass};
	BUG_ON(n_bytes > UINT32_MAX || s->n_rows > UINT32_MAX);
	memcpy(h.magic, MAGIC, sizeof MAGIC);
	h.checksum = XXH64(&h, offsetof(struct cache_header, checksum), 0);
	return h;
}

bool cache_header_valid(const struct cache_header *h)
{
	return !memcmp(h->magic, MAGIC, sizeof MAGIC) && h->n_rows && h->n_bytes &&
	       h->checksum == XXH64(h, offsetof(struct cache_header, checksum), 0);
}

bool cache_pread(int fd, void *to, size_t n_bytes, uint64_t at)
{
	for (size_t done = 0; done < n_bytes;) {
		ssize_t n = pread(fd, (char *)to + done, n_bytes - done, (off_t)(at + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = n ? errno : 0;
			return false;
		}
		done += (size_t)n;
	}
	return true;
}

/* Whether a whole header stands anywhere in [from, end): then what is before it was not the end of a crash. */
static bool header_after(int fd, uint64_t from, uint64_t end)
{
	uint8_t block[1 << 16];
	struct cache_header h;
	while (end - from >= sizeof h) {
		size_t n = end - from < sizeof block ? (size_t)(end - from) : sizeof block;
		if (!cache_pread(fd, block, n, from))
			return false;
		for (size_t i = 0; i + sizeof h <= n; i++) {
			if (block[i] != (uint8_t)MAGIC[0])
				continue;
			memcpy(&h, block + i, sizeof h);
			if (cache_header_valid(&h))
				return true;
		}
		from += n - sizeof h + 1;
	}
	return false;
}

static int read_error(const char *path, struct err *e)
{
	return err_run(e, "%s: cannot read: %s", path, errno ? strerror(errno) : "the file became shorter meanwhile");
}

int cache_scan_file(int fd, const char *path, struct cache_index *index, struct cache_scan *out, struct err *e)
{
	struct cache_header h;
	struct stat st;
	*out = (struct cache_scan){0};
	if (fstat(fd, &st) < 0)
		return read_error(path, e);
	uint64_t end = out->n_file = (uint64_t)st.st_size, at = 0;
	while (end - at >= sizeof h) {
		if (!cache_pread(fd, &h, sizeof h, at))
			return read_error(path, e);
		if (!cache_header_valid(&h)) {
			if (header_after(fd, at + 1, end))
				return err_run(e, "%s: damaged at byte %llu, with records after it; remove the cache, it will be "
					       "written again", path, (unsigned long long)at);
			break;
		}
		if (end - at - sizeof h < h.n_bytes)
			break;
		if (cache_index_reserve(index, 1, e) < 0)
			return -1;
		cache_index_put(index, &(struct cache_entry){h.key, at, h.n_rows, h.n_bytes});
		out->n_rows += h.n_rows;
		out->mass += h.mass;
		at += sizeof h + h.n_bytes;
	}
	out->n_bytes = at;
	return 0;
}

/* What the files of the cache share: keys, the index, the record's bytes, the file of records. Private to teacher/. */
#ifndef TEACHER_CACHE_PARTS_H
#define TEACHER_CACHE_PARTS_H

#include "teacher/cache.h"

#include <zlib.h>

/* ---- cache_keys.c: which segments a batch shows ---- */

struct cache_key {
	uint64_t lo, hi;
};
struct cache_segment {
	size_t row, n_rows; /* of the batch's rows */
	struct cache_key key;
};
/* The segment that begins at `row`, 0 first, then row + n_rows until that is B*T. */
struct cache_segment cache_segment_at(const struct cache_rows *rows, size_t row);

/* ---- cache_index.c: where a segment's record lies ---- */

struct cache_entry {
	struct cache_key key;
	uint64_t offset;  /* of its header in the file */
	uint32_t n_rows;  /* 0: an empty slot */
	uint32_t n_bytes; /* of the payload */
};
struct cache_index { /* open addressing; zeroed: empty */
	struct cache_entry *slots;
	size_t n_slots, n_entries; /* n_slots a power of two, or 0 */
};
/* Room for n more, so that cache_index_put cannot fail. */
int cache_index_reserve(struct cache_index *x, size_t n, struct err *e);
/* A key that is there keeps its first entry. */
void cache_index_put(struct cache_index *x, const struct cache_entry *entry);
/* NULL: not there. */
const struct cache_entry *cache_index_find(const struct cache_index *x, struct cache_key key);
void cache_index_release(struct cache_index *x);

/* ---- cache_record.c: rows to bytes and back ---- */

/* A payload is the byte planes of all arrays of a segment: first those that compress, deflated, then those of the arrays'
 * noisy low bytes as they are. Ids are 32 bits, less the high bytes that the vocabulary never fills; a row's log-probabilities
 * are differences of their bits; ragged rows stand one after another. */
struct cache_codec {
	struct cache_spec spec;
	int V, C;
	z_stream deflater, inflater;
	bool deflates, inflates; /* the streams are open */
	uint8_t *planes;         /* (plane_bytes) what is deflated, before */
	size_t plane_bytes, max_rows;
	uint32_t *numbers;       /* (K), HIDDEN (C): a row's ids or bits of its values */
};
/* Room for segments of up to max_rows rows. */
int cache_codec_init(struct cache_codec *c, const struct cache_spec *spec, const struct cache_identity *id, size_t max_rows,
		     struct err *e);
void cache_codec_release(struct cache_codec *c); /* a zeroed struct is fine */
/* The most bytes that encode writes for n_rows. */
size_t cache_encode_bound(const struct cache_codec *c, size_t n_rows);
/* Rows [row, row + n_rows) of the block; *mass: sum over rows of the probability kept. Fails on a value that is not finite. */
int cache_encode(struct cache_codec *c, const struct cache_block *block, size_t row, size_t n_rows, uint8_t *out,
		 size_t *n_bytes, double *mass, struct err *e);
/* Back into rows [row, row + n_rows). false: these bytes are no such record; never reads or writes past anything. */
bool cache_decode(struct cache_codec *c, const uint8_t *payload, size_t n_bytes, const struct cache_block *block, size_t row,
		  size_t n_rows);

/* ---- cache_file.c: headers and payloads in one append-only file ---- */

struct cache_header {
	char magic[4];
	uint32_t n_rows;
	struct cache_key key;
	uint32_t n_bytes, unused;  /* payload */
	uint64_t payload_checksum; /* XXH64 */
	double mass;               /* sum over rows */
	uint64_t checksum;         /* XXH64 of what stands before */
};
_Static_assert(sizeof(struct cache_header) == CACHE_SEGMENT_BYTES, "the header's layout is the file format");
struct cache_header cache_header_make(const struct cache_segment *s, const uint8_t *payload, size_t n_bytes, double mass);
bool cache_header_valid(const struct cache_header *h);

struct cache_scan {
	uint64_t n_bytes, n_file; /* of whole records; of the file */
	uint64_t n_rows;
	double mass;
};
/* Reads all headers of an open file into the index. What is unfinished at the end is left out; a header that is damaged
 * with whole records after it is an error. */
int cache_scan_file(int fd, const char *path, struct cache_index *index, struct cache_scan *out, struct err *e);
/* Reads exactly n bytes; false at an end of file or a failure (errno; 0 for the end). */
bool cache_pread(int fd, void *to, size_t n_bytes, uint64_t at);

/* ---- cache.c: the whole; cache_batch.c: batches in and out ---- */

/* What a thread works with: nothing of it is shared. */
struct cache_worker {
	struct cache_codec codec;
	uint8_t *record; /* bytes of one, when reading */
};
/* A segment to write or to read. */
struct cache_job {
	struct cache_segment segment;
	struct cache_entry entry;
	size_t at;   /* its record's place in the batch's bytes; writing */
	double mass; /* likewise */
};
struct cache {
	char *dir, *records;
	struct cache_spec spec;
	struct cache_identity identity;
	bool write;
	int lock, fd; /* fd: of the records, for reading */
	struct cache_index index;
	struct cache_scan held;
	struct cache_worker *workers;
	int n_workers;
	size_t max_rows, max_segment; /* of a batch, of a segment; 0: nothing reserved */
	uint8_t *bytes;               /* of a batch's records; writing */
	struct cache_job *jobs;       /* (max_rows) */
};
size_t cache_rows_in(const struct cache_rows *rows); /* B*T */

/* ---- cache_manifest.c ---- */

int cache_manifest_write(const char *path, const struct cache_spec *spec, const struct cache_identity *id, struct err *e);
/* Refuses what differs, in the name of the directory. */
int cache_manifest_check(const char *path, const char *dir, const struct cache_spec *spec, const struct cache_identity *id,
			 struct err *e);

#endif

/* Soft targets on disk: what a teacher said about a text, written once and read by any run that shows the same text.
 *
 * Addressing is by content. The rows of a batch fall into segments: the longest runs of rows of one document. A segment's
 * key is a hash of its tokens and targets; what a teacher says about a segment depends on nothing else, so that any
 * order, micro-batch or packing that shows the segment again reads what was written.
 *
 * On disk: a directory with manifest.json (format, kind, identity: what may be mixed) and `records`, append-only:
 * headers and compressed payloads (cache_file.h, cache_record.h). kill -9 at any byte loses the last batch at most; a
 * half-written cache goes on. One writer at a time (lock); readers see what was there when they opened. Little-endian.
 * Tests: tests/test_cache.c, test_cache_learn.c, test_cache_file.c, test_cache_damage.c */
#ifndef TEACHER_CACHE_H
#define TEACHER_CACHE_H

#include "kernels/dtype.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cache_kind {
	CACHE_TOP_K,   /* the K most probable ids */
	CACHE_TOP_P,   /* the fewest ids whose probabilities reach top_p, at most K */
	CACHE_SAMPLED, /* K draws from the proposal p^power, merged: at most K ids */
	CACHE_HIDDEN,  /* the last hidden states (C values a row): any divergence at any temperature */
};
const char *cache_kind_name(enum cache_kind); /* "top_k", "top_p", "sampled", "hidden" */

struct cache_spec {
	enum cache_kind kind;
	int K;             /* 1..V; SAMPLED: draws, any number >= 1; not HIDDEN */
	double top_p;      /* in (0,1); TOP_P */
	double power;      /* in (0,1]; SAMPLED */
	uint64_t seed;     /* SAMPLED */
	double tau;        /* > 0, temperature of the probabilities; not HIDDEN */
	enum dtype value_type; /* of log-probabilities or hidden states: F32 or BF16 (halves them; rounded to nearest) */
};
/* What a cache belongs to. One that was written from another teacher, tokenizer or text is refused. */
struct cache_identity {
	uint64_t teacher, tokenizer, corpus; /* hashes */
	int V;             /* columns that count */
	int C;             /* the teacher's width; compared for HIDDEN alone */
};
/* Bytes of a row before compression, an upper bound for what a row costs on disk; a segment has
 * CACHE_SEGMENT_BYTES more. For plan: needs nothing on disk. */
size_t cache_row_bytes(const struct cache_spec *, const struct cache_identity *);
enum { CACHE_SEGMENT_BYTES = 56 };

/* Host arrays (B*T) that say which segments a batch shows: tokens; targets (< 0: does not count); start as in
 * struct batch. */
struct cache_rows {
	int B, T;
	const int32_t *tokens, *targets, *start;
};
/* Host arrays of B*T rows. NULL: not there in that kind (cache_add), or not asked for (cache_read). */
struct cache_block {
	int32_t *ids;    /* (N, K) by falling probability, -1 in unused slots */
	float *log_p;    /* (N, K) at tau; SAMPLED: log weights; 0 in unused slots when read */
	float *tail;     /* (N) 0 when read from SAMPLED */
	float *lse;      /* (N) log sum exp(logits/tau) */
	float *ce;       /* (N) teacher's cross-entropy at the target, temperature 1; 0 for a target < 0 */
	int32_t *argmax; /* (N) */
	float *hidden;   /* (N, C) HIDDEN */
};

struct cache;
/* Opens dir. write: the directory and its manifest are made when absent, the lock is taken until cache_close, and a record
 * that a crash left unfinished at the end is cut off; else the cache must be there, and an unfinished record is passed over.
 * Refuses (ERR_USER) more ids than the vocabulary has, and a cache of another kind, temperature, teacher, tokenizer or
 * text, with what differs and both values; (ERR_RUN) one with damage before its end, or that another process writes. On
 * failure *out is NULL. */
int cache_open(struct cache **out, const char *dir, const struct cache_spec *, const struct cache_identity *, bool write,
               struct err *);
/* NULL is fine. What was added is written, though not synced: cache_sync before. */
void cache_close(struct cache *);
const struct cache_spec *cache_spec_of(const struct cache *);
const struct cache_identity *cache_identity_of(const struct cache *);

/* How many rows lie in segments that the cache does not hold. missing (N) or NULL: written, whose those are. */
size_t cache_missing(const struct cache *, const struct cache_rows *, bool *missing);
/* Appends a record for every segment that is not there yet, all in one write; on failure nothing is added. Needs every
 * array of the kind: ids, log_p, tail (not SAMPLED), lse, ce, argmax (SAMPLED alone: otherwise it is the first id); or
 * hidden. Opened for writing. */
int cache_add(struct cache *, const struct cache_rows *, const struct cache_block *, struct err *);
/* Puts what was added on the disk. */
int cache_sync(struct cache *, struct err *);
/* Room for reading and writing batches of up to B*T rows, so that neither allocates afterwards (but for the index, which
 * grows when segments are added). Once, before cache_read and cache_add, which spread a batch's segments over n_threads >= 1
 * (the backend's: ops->n_threads); what is written and what is read are the same bits for any number. A second call keeps
 * the larger numbers. */
int cache_reserve(struct cache *, int B, int T, int n_threads, struct err *);
/* Fills the block for all rows. A segment that is not there, or whose record is damaged: one line, and the block's content
 * is undefined. BF16 log-probabilities are shifted by one number a row, so that they and the tail sum to 1 again.
 * Works on a cache that is open for writing too: what was added is there. */
int cache_read(struct cache *, const struct cache_rows *, const struct cache_block *, struct err *);

struct cache_stats {
	uint64_t tokens;   /* rows held */
	uint64_t bytes;    /* of the records, headers included */
	double mass;       /* mean over rows of the teacher's probability that is kept; 1 for SAMPLED and HIDDEN; 0 when empty */
};
struct cache_stats cache_stats(const struct cache *);

/* keys (N): for each row a number < 2^56 from its segment's key and its place in it: what draws depend on, whatever the
 * order of rows. */
void cache_row_keys(const struct cache_rows *, uint64_t *keys);

#endif

/* A frozen model that yields soft targets for a batch: online, from a forward pass, or from a cache on disk, behind one
 * call. Online it can also hand out tensors from inside. Test: tests/test_teacher.c, tests/test_cache.c */
#ifndef TEACHER_TEACHER_H
#define TEACHER_TEACHER_H

#include "losses/soft_targets.h"
#include "model/hf.h"
#include "model/transformer.h"
#include "teacher/cache.h"

struct teacher_options {
	enum dtype type;   /* of matrices; vectors stay fp32 */
	int B, T;          /* the student's micro-batch */
	int columns;       /* of the vocabulary that count (the tokenizer's size): padded ids past it are left out; 0: all */
	const bool *keep_hidden, *keep_qkv; /* [L] or NULL: inner tensors that a loss asked for; online alone */
	struct cache_spec cache;   /* cached: what the cache holds */
	enum missing_mass missing; /* cached: convention of a loss; SAMPLED with a sampled cache and only there */
};
struct inner_buffers; /* which inner tensors are kept, and where */
struct cached_rows;   /* of a cached teacher: host rows on their way to the device */
struct teacher {
	struct ops *ops;
	struct param_layout layout; /* its own: the checkpoint may be closed */
	struct params params;       /* frozen; points to layout, so the struct must not be moved */
	size_t n_vector_elems;      /* of params.vectors when they stand alone (type not F32) */
	struct activations *act;
	struct inner_buffers *inner; /* NULL: none asked for */
	struct cached_rows *cached;  /* NULL: online */
	int V;                      /* of its targets: the smaller of columns and the model's */
	uint64_t hash;              /* of the checkpoint; 0 when dry or cached */
};
/* Rows of a batch: on the device for a forward pass, and host arrays (B*T), which a cache is looked up by. A cached teacher
 * reads the host arrays alone (and device's B and T), an online one the device alone: its host arrays may be NULL. */
struct teacher_batch {
	const struct batch *device;
	const int32_t *tokens, *targets, *start;
};

/* Online: weights from an open checkpoint, which may be closed afterwards. Two arenas, because plan prices them apart; called
 * dry (both arenas dry: nothing is read or uploaded) and real. Fails when memory for small host tables is short; on
 * failure nothing is left to release. */
int teacher_init(struct teacher *, struct ops *, const struct hf_model *, const struct teacher_options *,
                 struct arena *weights, struct arena *activations, struct err *);
/* From a cache, the caller's, open as long as the teacher is; NULL when dry. hf: the teacher's checkpoint; only a cache of
 * hidden states reads anything from it, the output matrix. Otherwise as teacher_init. */
int teacher_init_cached(struct teacher *, struct ops *, const struct hf_model *, struct cache *,
                        const struct teacher_options *, struct arena *weights, struct arena *activations, struct err *);
/* What the struct owns, not the arenas' memory; a zeroed struct is fine. */
void teacher_release(struct teacher *);
/* Soft targets of a batch of at most B*T rows; they point into the teacher and live until the next call. The batch's tokens
 * are ids of the teacher's vocabulary too. Online and CACHE_HIDDEN give DENSE targets, the other caches SPARSE ones with ce
 * and argmax. Online it never fails; cached: a record that is not there or damaged. Allocates nothing. */
int teacher_targets(struct teacher *, const struct teacher_batch *, struct soft_targets *out, struct err *);

#endif

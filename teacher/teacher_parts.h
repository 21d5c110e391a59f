/* What the files of teacher/ share. Private to the folder. */
#ifndef TEACHER_TEACHER_PARTS_H
#define TEACHER_TEACHER_PARTS_H

#include "teacher/teacher.h"

/* ---- teacher_weights.c: a checkpoint's weights on the device ---- */

/* All of them, in t->params. place: arena memory and small host tables. */
int weights_place(struct teacher *t, enum dtype type, struct arena *weights, struct err *e);
int weights_upload(struct teacher *t, const struct hf_model *hf, struct err *e);
/* The output matrix alone, its first n_rows: (n_rows, C) of type at `to`. */
int weights_upload_head(struct ops *ops, const struct hf_model *hf, enum dtype type, int n_rows, void *to, struct err *e);

/* ---- teacher_inner.c: tensors from inside, copied while the forward pass goes by ---- */

/* *out stays NULL when the options ask for nothing. */
int inner_buffers_init(struct inner_buffers **out, struct ops *ops, const struct shape *s, const struct teacher_options *o,
		       struct arena *activations, struct err *e);
void inner_buffers_free(struct inner_buffers *b); /* NULL is fine */
/* A forward pass of n_rows follows: what listens to it (NULL for no buffers), and what it will have kept. */
const struct taps *inner_buffers_taps(struct inner_buffers *b, int n_rows);
const struct inner_targets *inner_buffers_targets(const struct inner_buffers *b);

/* ---- teacher_cached.c: rows of a cache on their way to the device ---- */

int cached_rows_init(struct cached_rows **out, struct teacher *t, const struct hf_model *hf, struct cache *cache,
		     const struct teacher_options *o, struct arena *weights, struct arena *activations, struct err *e);
void cached_rows_free(struct cached_rows *c); /* NULL is fine */
int cached_rows_targets(struct cached_rows *c, const struct teacher_batch *batch, struct soft_targets *out, struct err *e);

#endif

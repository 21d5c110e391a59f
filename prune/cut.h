/* Surgery: a model and its masks become a smaller model with exactly the target shape, whose forward equals the masked one.
 * Folding: hidden z into the embedding (once, when tied), norm weights, rows and biases of o and down; head z into o's
 * columns; ffn z into down's columns; layer z into o and down (and their biases). The final norm carries hidden z unless
 * the head is tied. Which units survive is prune/kept.c, what they become prune/cut.c. Tests: tests/test_cut.c,
 * tests/test_cut_files.c */
#ifndef PRUNE_CUT_H
#define PRUNE_CUT_H

#include "model/hf.h"
#include "prune/mask_learner.h"

/* The units that survive, ascending. Arrays in one block. */
struct kept {
	int *layers;  /* (L_T) */
	int *hidden;  /* (C_T) */
	int *groups;  /* (L_T, NKV_T) key-value heads of the source, or the first of each run that is merged */
	int *heads;   /* (L_T, NH_T) query heads of the source, group by group */
	int *ffn;     /* (L_T, F_T) */
	int merge;    /* each kept group is the mean of `merge` consecutive ones of the source; 1: it is one of them */
	void *block;
};
/* Room for the units of that target, zeroed, merge 1. */
int kept_alloc(struct kept *, const struct shape *target, struct err *);
/* The kept units of z != 0 (NULL: all kept), checked to have the target's counts: a mask that has not is refused by name
 * (err_user). Rows of layers that go are not looked at. A group is kept when one of its query heads is. */
int kept_from_masks(struct kept *, const struct arch *source, const struct arch *target, const struct host_masks *,
                    struct err *);
/* Keep the listed layers whole. Refuses (err_user) an empty list, layers out of range, and a list that does not ascend. */
int kept_from_layers(struct kept *, const struct arch *source, const int *layers, int n_layers, struct err *);
void kept_release(struct kept *); /* a zeroed struct is fine */

/* src: flat host array in source layout; dst: flat host array in target layout (zeroed by the call; not src). The layouts'
 * architectures differ in shape alone, and kept fits them. z: arrays of the source, may be NULL: no folding. */
void prune_cut(const struct param_layout *source, const float *src, const struct param_layout *target, float *dst,
               const struct kept *, const struct host_masks *z);
/* The same from the files of a model into a Hugging Face directory, as hf_save of prune_cut would write it, byte for byte, with
 * memory for a few MiB: rows are read, cut and written, and their pages given back. Failures are hf_save's. */
int prune_cut_files(const struct hf_model *source, const struct arch *target, const struct kept *, const struct host_masks *z,
                    const char *dir, const struct hf_save_options *, struct err *);

#endif

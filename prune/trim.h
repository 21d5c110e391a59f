/* A checkpoint with fewer rows of vocabulary: rows of the embedding and of the output head are selected, every other tensor
 * is copied, all of them bit for bit in the type that they are stored in. Logits of the kept rows are therefore unchanged.
 * Knows no tokens; which rows stay is said by the caller. Test: tests/test_trim_model.c */
#ifndef PRUNE_TRIM_H
#define PRUNE_TRIM_H

#include "model/hf.h"

struct trim_rows {
	const int32_t *rows; /* (n) rows of the source, each in [0, V), new order */
	int n;               /* > 0 */
	int multiple;        /* >= 1: the new vocabulary is n rounded up to a multiple of it */
};
/* n rounded up. Rows from n on are the mean of the kept ones (rounded to the stored type), so that their logit is the mean
 * of the others and, up to rounding, no more than the largest. */
int trim_vocab_size(const struct trim_rows *);
/* Writes weights, in files as hf_save makes them, and config.json last (source's keys, `config` carrying them, vocab_size set)
 * into dir, which holds no model. Needs memory for a few MiB. Tensors that espalier skips on reading
 * (rotary inv_freq, a tied model's second copy of the head) are left out. */
int prune_trim(const struct hf_model *, const struct trim_rows *, const json_t *config, const char *dir, struct err *);

#endif

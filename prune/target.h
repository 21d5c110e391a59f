/* The shape that pruning aims at, and whether it can be reached. Test: tests/test_target.c */
#ifndef PRUNE_TARGET_H
#define PRUNE_TARGET_H

#include "model/arch.h"

/* A wanted shape: 0 means "as the source". HD and V cannot change here. */
struct target {
	int layers, hidden, heads, kv_heads, intermediate;
};
/* The architecture of the cut model. Refuses (err_user), naming the key and both numbers: negative; larger than the source;
 * heads not a multiple of kv_heads; a query group that would grow; a shape that arch_check_loadable refuses. On failure
 * *out is untouched. */
int target_arch(struct arch *out, const struct arch *source, const struct target *, struct err *);
/* The same without the last question. */
int target_sizes(struct arch *out, const struct arch *source, const struct target *, struct err *);
/* As target_arch where key-value heads are merged (struct select_options): a query group may grow, but kv_heads must divide the
 * source's. */
int target_arch_merged(struct arch *out, const struct arch *source, const struct target *, struct err *);

#endif

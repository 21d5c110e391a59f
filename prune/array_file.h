/* Named host arrays of known shapes in a safetensors file: what masks and scores are kept in. Test: tests/test_masks_file.c,
 * tests/test_scores_file.c */
#ifndef PRUNE_ARRAY_FILE_H
#define PRUNE_ARRAY_FILE_H

#include "model/safetensors.h"

struct array_entry {
	const char *name;
	int n_dims;
	size_t dims[2]; /* (n_dims) */
	float *data;    /* NULL: not in the file */
};
size_t array_elems(const struct array_entry *);
/* Is it the name of one of n entries? */
bool array_is_known(const struct array_entry *, int n, const char *name);
/* Type and shape of a tensor that was found under the entry's name; what: "masks", "scores", for the line. */
int array_check(const char *path, const struct safetensor *, const struct array_entry *, const char *what, struct err *);
/* Those with data, after the metadata that the caller has declared; commits, or aborts and leaves what was there. */
int arrays_write(struct safetensors_writer *, const struct array_entry *, int n, struct err *);

#endif

/* What a student is cut from: the first teacher, or what an earlier stage of a student has left. Borrowed all through: it is
 * valid as long as its owner keeps the model open. Test: tests/test_run_stages.c through the program. */
#ifndef RECIPES_SOURCE_H
#define RECIPES_SOURCE_H

#include "prune/cut.h"
#include "recipes/run.h"

struct source {
	const struct hf_model *model; /* of one that is still to be made, the layout alone */
	const char *dir;              /* its directory; NULL: there is no model yet */
	uint64_t hash;                /* of the checkpoint; 0: still to be made */
	bool from_teacher;            /* it is the first teacher, or was cut from it: */
	const struct kept *kept;      /* the first teacher's layers and dimensions that are left in it (no other unit); NULL: all */
	int64_t spent_tokens;         /* on the way there: where the training stream goes on */
	double spent_flops;
};
struct source source_teacher(const struct run *);
/* What a cut of the source leaves of the first teacher: layers and dimensions. own: what it keeps of the source, in a model of
 * the shape `cut`. *out is released by the caller. The source is from_teacher. */
void source_kept(const struct source *, const struct kept *own, const struct shape *cut, struct kept *out);

#endif

/* A stage's first weights: learned masks and the cut, importance scores and the cut, kept layers, fresh weights, somebody's
 * model, or another student's. Each becomes a start; cuts leave a Hugging Face directory behind. Test: tests/test_run.c through the program. */
#ifndef RECIPES_INIT_H
#define RECIPES_INIT_H

#include "recipes/phase.h"
#include "recipes/source.h"

enum { INIT_MAX_WARNINGS = 8 };
struct init {
	struct start start;
	char *dir;         /* of the stage; NULL: nothing was run */
	struct kept kept;  /* after a cut from a source that is from_teacher: the first teacher's layers and dimensions */
	struct hf_model model; /* open while the start is in use, when it has a directory */
	struct mask_report report; /* masks: before the cut */
	double soft_nll, hard_nll; /* masks: held-out, of both cuts */
	bool soft;         /* masks: which was taken */
	double unmasked_nll[2]; /* masks: held-out, of the whole model before the phase and after it: the weights' damage */
	char warnings[INIT_MAX_WARNINGS][200];
	int n_warnings;
};
/* It cuts a source: masks, layers, importance. */
bool init_is_cut(const struct init_spec *);
/* Tokens of text that it reads. */
int64_t init_tokens(const struct recipe_spec *, const struct init_spec *);
/* The architecture that an init leads to from that source, of a budget not yet searched the one that stands in; refuses what
 * cannot be reached or loaded elsewhere. */
int init_arch(const struct run *, const struct source *, const struct init_spec *, struct arch *out, struct err *);
/* What a cut will leave of the first teacher, as far as it is known before: kept layers exactly; for masks and importance
 * the first layers and dimensions stand for those that will be chosen. Of a student that goes on, what is left of the first teacher
 * in the source. Zeroed where there is no such thing. arch: init_arch's. */
int init_kept(const struct source *, const struct init_spec *, const struct arch *, struct kept *, struct err *);
/* dir: where its stage may live (made when needed). What the source has spent is spent by the start too. */
int init_open(struct init *, const struct run *, const struct source *, const struct init_spec *, const char *dir, uint64_t seed,
              struct err *);
void init_close(struct init *); /* a zeroed struct is fine */

#endif

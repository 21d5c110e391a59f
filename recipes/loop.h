/* The training loop, for plain training and for the mask phase: steps, metrics, held-out loss, checkpoints, resume.
 * Killed at any instant, the same call goes on and ends with the same bits. Test: tests/test_run.c */
#ifndef RECIPES_LOOP_H
#define RECIPES_LOOP_H

#include "prune/mask_learner.h"
#include "recipes/run.h"
#include "recipes/session.h"
#include "recipes/supply.h"
#include "student/schedule.h"

struct loop {
	/* the caller's: */
	const struct run *run;
	const char *dir, *label;    /* metrics and checkpoint lie in dir */
	struct session *session;    /* weights loaded: step 0 */
	struct mask_learner *masks; /* NULL: plain training */
	const struct supply *supply; /* NULL: text alone */
	struct schedule schedule;
	uint64_t seed;              /* of the data's order */
	int64_t skip_tokens;        /* of the training stream, spent by an earlier phase */
	int64_t batch_tokens, eval_every, checkpoint_every; /* tokens; 0: 20 times */
	/* results: */
	bool diverged;              /* loop_run failed because a loss or gradient is not finite */
	double heldout_nll;         /* of the model at the end (unmasked, in a mask phase) */
	double masked_nll;          /* mask phase: under hard masks of the final shape, as if cut now */
	double seconds;             /* measured */
	double epochs, unique_tokens;
	struct mask_report report;
};
/* Runs to the schedule's last step. -1 with "interrupted" after SIGINT: the checkpoint is written. */
int loop_run(struct loop *, struct err *);
/* Removes the checkpoint of a stage that is finished: nothing reads it again. */
void loop_forget(const char *dir);
/* Mean NLL per token over the held-out documents of all domains, each domain weighing the same; masks may be NULL.
 * On failure *nll is +infinity when the loss of a document is not finite, else untouched. */
int loop_heldout(const struct run *, struct session *, const struct host_masks *z, double *nll, struct err *);

#endif

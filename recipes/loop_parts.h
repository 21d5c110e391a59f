/* Inside the training loop: its state, and the parts that live in files of their own. */
#ifndef RECIPES_LOOP_PARTS_H
#define RECIPES_LOOP_PARTS_H

#include "recipes/loop.h"
#include "recipes/metrics.h"
#include "recipes/rows.h"

struct loop_state { /* what one call of loop_run owns */
	struct batches *batches;
	struct metrics metrics;
	char names[MASK_STRUCTURES * 6][40]; /* of the columns of masks */
	char loss_columns[STUDENT_MAX_TERMS + STUDENT_MAX_INNER][40]; /* of the plan's terms, then of its inner losses */
	char *checkpoint;
	struct rows rows;
	float *share[RECIPE_MAX_TEACHERS]; /* (B*T) of each teacher, where there are several */
	/* running means that balance inner losses: of the divergences' sum, then of each inner loss of the plan; 0: not yet known */
	double magnitude[1 + STUDENT_MAX_INNER];
	struct host_masks z, dz;
	void *z_block, *dz_block;
	float *mask_state;
	size_t n_mask_state;
	double earlier_s, begin_s;
};

/* ---- loop_heldout.c ---- */

/* Host masks to the session's; NULL where nothing of the structure is pruned. */
void loop_upload_masks(struct session *, const struct host_masks *, struct masks *out);

/* ---- loop_metrics.c ---- */

int loop_open_metrics(const struct loop *, struct loop_state *, uint64_t n_bytes, struct err *);
/* Everything of a step but its held-out loss and its rate. */
void loop_set_metrics(const struct loop *, struct loop_state *, int step, double loss, const struct step_sums *, double lr, double norm);

/* ---- loop_loss.c ---- */

/* sum / n; NaN of nothing. */
double loop_mean(double sum, size_t n);
/* The mean of an inner loss of the plan over its pairs of layers and rows; *at goes on to the next one's. */
double loop_inner_mean(const struct distill_inner *, const struct step_sums *, int *at);
/* The loss whose gradient was taken: rows without soft targets count with cross-entropy alone. */
double loop_total_loss(const struct step_loss *, const struct step_sums *, int n_inner);
/* Puts inner losses on the scale of the weighted divergences (of cross-entropy where there are none): each weight is multiplied
 * by the ratio of running means. The first step has none yet and leaves inner losses out. */
void loop_balance(const struct loop *, const struct loop_state *, struct step_loss *);
void loop_follow_magnitudes(const struct loop *, struct loop_state *, const struct step_loss *, const struct step_sums *);

#endif

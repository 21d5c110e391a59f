/* What is cut, on calibration text: passes that importance scores and the re-fit of a cut listen to. In fp32, in batches
 * of a fixed number of sequences, so that the result depends on neither memory nor micro-batch.
 * Tests: tests/test_calibrate.c, tests/test_run_importance.c through the program. */
#ifndef RECIPES_CALIBRATE_H
#define RECIPES_CALIBRATE_H

#include "prune/refit.h"
#include "prune/scores.h"
#include "recipes/corpus.h"
#include "recipes/session.h"

struct calibration {
	struct ops *ops;             /* fp32 */
	const struct param_layout *layout;
	const float *weights;        /* host; NULL where only a price is asked for */
	const struct corpus *corpus; /* likewise */
	uint64_t seed;               /* of the order of the text: the first sequences of that seed's training text are read, */
	int64_t skip_tokens;         /* after these: an earlier stage has read them */
	int T, sequences, n_batches; /* a batch is sequences * T tokens: one forward pass, and one gradient of taylor */
};
/* What the two methods need text for. */
bool calibrate_needs_text(enum importance_method, enum layers_method);
/* In one pass over the text, or two where layers are left out. out: released by the caller; its teacher and data are left 0. */
int calibrate_scores(const struct calibration *, enum importance_method, enum layers_method, struct scores *out, struct err *);
/* Mends dst, as refit_apply says; in as many passes over the text as memory asks for (the result is the same). */
int calibrate_refit(const struct calibration *, const struct param_layout *target, const struct kept *, float *dst, struct err *);
/* Memory of the scores' pass by owner, of two the larger, never more than a training step of as many sequences needs; and operations
 * per token (times the tokens of all batches). */
int calibrate_price(const struct calibration *, enum importance_method, enum layers_method, size_t bytes[MEMORY_OWNERS], double *flops,
                    struct err *);

#endif

/* A checkpoint ready to be asked: frozen weights on the device, in fp32. For `eval`, `logits`, `generate` and tests.
 * Test: tests/test_evaluate.c */
#ifndef RESULTS_LOADED_MODEL_H
#define RESULTS_LOADED_MODEL_H

#include "model/hf.h"
#include "results/evaluate.h"

struct loaded_model {
	struct ops *ops;  /* borrowed, in fp32 */
	struct hf_model hf;
	struct params params;
	float *weights;   /* device, (layout.n_elems) */
};
/* Opens dir (model/hf.h says what is refused) and uploads it. */
int loaded_model_open(struct loaded_model *, struct ops *, const char *dir, struct err *);
/* The same of weights in memory: flat (layout->n_elems), on the host, copied. */
int loaded_model_from(struct loaded_model *, struct ops *, const struct param_layout *, const float *flat, struct err *);
void loaded_model_close(struct loaded_model *); /* a zeroed struct is fine */

/* One evaluation with buffers of its own: prices them, allocates, runs, releases. teacher: to compare with, on the same ops, or
 * NULL. Other arguments as evaluator_run. ops has been reserved for evaluator_limits of both architectures. */
int loaded_model_evaluate(struct loaded_model *, struct loaded_model *teacher, const struct evaluator_options *,
			  const struct document_source *, struct evaluation *out, void (*progress)(void *user, size_t rows),
			  void *user, struct err *);
/* Tokens per second of forward passes with their loss, 8 documents of 256 tokens at a time: the median of five after one to
 * warm up, so that models are timed alike whatever they are scored on. ops as above. */
int loaded_model_speed(struct loaded_model *, double *tokens_per_s, struct err *);

/* Logits of one sequence: ids (T) in [0, V), T <= max_positions; logits (T, V) host, written. */
int loaded_model_logits(struct loaded_model *, const int32_t *ids, int T, float *logits, struct err *);

#endif

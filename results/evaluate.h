/* A model on text: the NLL of every document, scored alone.
 *   A document is its ids d_0 .. d_{n-1}, BOS first where the tokenizer adds it, never EOS. Every token after the first is
 *   scored once, -log p(d_i | what the window holds before it). n <= S = sequence_length: one window. Longer: window k holds
 *   tokens [k*S/2, k*S/2 + S) with positions from 0; window 0 scores all but its first token, window k > 0 those that window
 *   k-1 does not hold, so that a scored token has at least S/2 - 1 tokens before it.
 * Several windows share one forward pass: attention stays inside a document, and the sums are those of scoring alone but
 * for the rounding of the products. Deterministic. Test: tests/test_evaluate.c */
#ifndef RESULTS_EVALUATE_H
#define RESULTS_EVALUATE_H

#include "losses/fused_head.h"
#include "model/transformer.h"
#include "results/documents.h"
#include "results/evaluation.h"

struct evaluator_options {
	int sequence_length;        /* S >= 2; 0: evaluator_sequence_length(arch) */
	int B, T;                   /* of a forward pass, T >= S - 1; 0: one row of T = max(S, 2048) positions */
	int teacher_V;              /* 0: no teacher */
	struct activations *act;    /* NULL: its own (ACTIVATIONS_INFER); else room for B, T, any mode, tables uploaded */
	struct fused_head *head;    /* NULL: its own; else for max_rows >= B*T and teacher_V */
};
/* min(max_positions, 2048). */
int evaluator_sequence_length(const struct arch *);
/* The options with every 0 that means a default replaced by it. */
struct evaluator_options evaluator_resolve(const struct arch *, const struct evaluator_options *);

struct evaluator;
/* Lays out buffers in the arena. Called dry first (arena dry: only counts), then real. ops is borrowed and must have been
 * reserved for transformer_limits(arch, B*T, head rows): evaluator_limits says what. ops decides the arithmetic: `eval` and
 * `logits` open it in fp32. Free with evaluator_free. */
int evaluator_init(struct evaluator **out, struct ops *, const struct arch *, const struct evaluator_options *,
		   struct arena *device, struct err *);
void evaluator_free(struct evaluator *); /* NULL is fine; the arena's memory stays */
struct ops_limits evaluator_limits(const struct arch *, const struct evaluator_options *);

/* The model that is scored, live or frozen, with masks or NULL. */
struct evaluated {
	const struct params *params;
	const struct masks *masks;
	/* The teacher to compare with, or NULL; it sees the same rows. Its activations have room for B, T. */
	const struct params *teacher;
	struct activations *teacher_act;
};
/* Reads the source to its end. *out is written; release it with evaluation_release, after a failure too. Refuses an id that
 * the vocabulary has not. progress (tokens fed so far) may be NULL. */
int evaluator_run(struct evaluator *, const struct evaluated *, const struct document_source *, struct evaluation *out,
		  void (*progress)(void *user, size_t rows), void *user, struct err *);

#endif

/* What an evaluation found, per document and in all. Arrays of numbers only. Test: tests/test_evaluate.c */
#ifndef RESULTS_EVALUATION_H
#define RESULTS_EVALUATION_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct document_score {
	double nll;      /* nat, summed over the scored tokens */
	double kl;       /* nat, KL(teacher || model) summed; 0 without a teacher */
	uint32_t tokens; /* scored: every token after the first */
	uint32_t agree;  /* of these, top-1 is the teacher's */
	uint32_t bytes;  /* UTF-8 bytes of the stripped text */
};
struct evaluation {
	struct document_score *documents; /* (n_documents), in the order of the source */
	size_t n_documents, capacity;
	/* totals, from evaluation_finish */
	size_t tokens, bytes;
	double nll;           /* nat per scored token */
	double perplexity;    /* exp(nll) */
	double bits_per_byte; /* sum of nll / ln 2 / bytes */
	bool has_teacher;
	double kl;             /* nat per token, mean */
	double agreement_top1; /* in [0,1] */
	/* stamp */
	int sequence_length, stride;
	uint64_t data_hash;    /* XXH3-64 of all ids and of the documents' lengths: equal for equal tokens only */
	char dtype[8];         /* of the matrix products: "fp32", "bf16" */
	/* measured; not part of what must repeat */
	double seconds;        /* of forward passes and losses */
	size_t rows;           /* tokens fed; rows / seconds is the speed */
	size_t memory_bytes;   /* of the evaluator's arena, weights not counted */
};

int evaluation_add(struct evaluation *, const struct document_score *, struct err *);
/* Totals from the documents. Refuses data without a scored token, and a NLL that is not finite (naming the document). */
int evaluation_finish(struct evaluation *, struct err *);
void evaluation_release(struct evaluation *); /* a zeroed struct is fine */

/* The totals as `eval --json` prints them: tokens nll perplexity bytes bits_per_byte documents sequence_length stride
 * dtype data_hash [agreement_top1 kl] seconds tokens_per_s memory_bytes. Caller json_decref()s; NULL: out of memory. */
json_t *evaluation_to_json(const struct evaluation *);

/* Scores of documents as CSV: document,tokens,bytes,nll,kl,agree; numbers round-trip. Written atomically. */
int evaluation_write_documents(const struct evaluation *, const char *path, struct err *);
/* Appends the documents of such a file and finishes the totals. */
int evaluation_read_documents(struct evaluation *, const char *path, struct err *);

#endif

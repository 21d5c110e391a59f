/* What a search for the shape within a budget found: candidates, what was predicted of them and what came out. Its file lies beside
 * result.json of every student that has the shape, so that a result stands alone when it is moved. Test: tests/test_shape_search.c
 *
 *   {"id": "00ff…" (equal for one and the same search), "source": {"hash": "00ff…", "parameters": 1, "nll": 1, "shape": {as in result.json}},
 *    "limits": {"parameters" "memory" "flops_per_token" "prefill_ms" "decode_ms"} (those that there are), "length": 512, "batch": 1,
 *    "slack": 0.05, "n_shapes": 100 (that keep the budget and load elsewhere), "seed": 17, "tokens": 1, "flops": 1 (that the search spent),
 *    "candidates": [{"shape": {…}, "predicted": {the five measures, "nll"}, "achieved": {the same, "trained_nll"}, "rank": 1 (0: not
 *      ranked), "missed": false, "chosen": true}]}
 * Measures are those of the recipe's budgets; what was not predicted or not measured is absent. All losses are held-out, in nat/token:
 * nll right after the cut, trained_nll after the short training; null: it diverged. */
#ifndef RESULTS_SHAPE_SEARCH_H
#define RESULTS_SHAPE_SEARCH_H

#include "base/err.h"
#include "model/arch.h"

#include <jansson.h>

enum { SHAPE_SEARCH_MEASURES = 5, SHAPE_SEARCH_MAX = 128 };
extern const char *const shape_search_measures[SHAPE_SEARCH_MEASURES]; /* "parameters", "memory", "flops_per_token", "prefill_ms", "decode_ms" */
enum { SHAPE_SEARCH_PREFILL_MS = 3, SHAPE_SEARCH_DECODE_MS };

struct shape_candidate {
	struct shape shape;
	double predicted[SHAPE_SEARCH_MEASURES], achieved[SHAPE_SEARCH_MEASURES]; /* 0: not known */
	double predicted_nll, nll; /* right after the cut; nll 0: it was not cut */
	double trained_nll;        /* 0: not trained; +infinity: it diverged */
	int rank;                  /* 1: the lowest trained_nll; 0: not trained */
	bool missed;               /* timed, it takes longer than the budget says */
	bool chosen;
};
struct shape_search {
	char id[20], source_hash[20];
	struct shape source;
	double source_parameters, source_nll;
	double limit[SHAPE_SEARCH_MEASURES]; /* 0: none */
	int length, batch, n_shapes;
	double slack, tokens, flops;
	uint64_t seed;
	int n;
	struct shape_candidate candidates[SHAPE_SEARCH_MAX];
};

/* The file's content; caller json_decref()s. NULL: out of memory. */
json_t *shape_search_to_json(const struct shape_search *);
/* Atomic. */
int shape_search_write(const struct shape_search *, const char *path, struct err *);
/* *out is the caller's to free(), NULL on failure. */
int shape_search_read(struct shape_search **out, const char *path, struct err *);
/* "parameters ≤ 1.20 M, decode_ms ≤ 2.5 (512 tokens, batch 1)". */
void shape_search_budget(const struct shape_search *, char *out, size_t n);

#endif

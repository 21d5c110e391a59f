/* result.json: what is known about one finished student (or the teacher) of one seed. Stages write it, `compare` and the
 * report read it; its directory may be moved. Test: tests/test_compare.c
 *
 *   {"name": "sheared", "role": "student" | "teacher", "init": "masks" ("masks, importance" of two stages), "init_text": "masks
 *    hard_concrete" (what was done, without sizes and budgets; "" or absent: unknown), "init_id": "00ff…" (students with the same one started
 *    alike, seed by seed; "" or absent: unknown), "seed": 17, "model": "model",
 *    "shape": {"layers" "hidden" "heads" "kv_heads" "head_dim" "intermediate" "vocab"},
 *    "parameters": 1, "flops_per_token": 1 (one forward pass at sequence_length), "bytes": 1 (weights on disk),
 *    "tokens_per_s": 1 (measured, forward; 0 unknown), "heldout_nll": 1 (nat/token on the held-out set of the curves; 0 unknown),
 *    "start_nll": 1 (the same of inherited weights before they are trained: after the cut; 0 or absent: unknown),
 *    "train": {"tokens" "init_tokens" "unique_tokens" "epochs" "total_flops" "lr" "lr_candidates": [{"lr", "nll"}]} | absent,
 *    "distill": {"text": "forward_kl w 0.9 tau 1", "teacher_ce" "ce" "agree" (means over the last tenth of the training steps,
 *      on the training batches; the teacher's and the student's CE on the same rows), "cache": {"text": "top_k 32, tail",
 *      "bytes_per_token" "mass" "tokens"} | absent: online} | absent: trained on text alone,
 *    "eval": [{"domain", …what evaluation_to_json gives…, "documents_file": "eval-stories.csv"}],
 *    "stamp": {"commit" "device" "dtype" "threads" "seed" "started" "recipe" "recipe_hash" "model_hash"},
 *    "metrics": "metrics.csv" | null, "masks_metrics": "masks.csv" | null (of the last mask phase, if any), "masks_after": 0 (tokens of the
 *    budget that were spent before it), "earlier": [{"metrics": "stage-1-metrics.csv", "after": 0, "masks": false}] (the other phases of a
 *    student with several stages; "masks": a mask phase) | absent, "shape_searches": ["shape-1.json"] (results/shape_search.h, of the
 *    stages whose shape was searched) | absent, "warnings": ["…"]}
 *
 * metrics.csv has the columns step,tokens,lr,loss,ce,kl,grad_norm,agree,heldout_nll,tokens_per_s; the masks phase
 * step,tokens,loss,ce,heldout_nll,unmasked_nll, and <structure>_target, _expected, _lambda1 … per structure. `tokens` counts the
 * tokens of that phase; reports add train.init_tokens to those of training. Other columns are ignored. */
#ifndef RESULTS_RESULT_FILE_H
#define RESULTS_RESULT_FILE_H

#include "model/arch.h"
#include "results/evaluation.h"

enum { RESULT_MAX_EVALS = 32, RESULT_MAX_LRS = 32, RESULT_MAX_WARNINGS = 8, RESULT_MAX_EARLIER = 16, RESULT_MAX_SEARCHES = 8 };

struct result_eval {
	char domain[64];
	char documents_file[128]; /* beside result.json; "" when written: eval-<domain>.csv */
	struct evaluation scores; /* owned */
};
struct result_train {
	double tokens;        /* budget that was spent, init_tokens included */
	double init_tokens;   /* of these, in init (mask learning) */
	double unique_tokens; /* distinct tokens seen */
	double epochs;
	double total_flops;   /* teacher's forward passes included */
	double lr;            /* peak */
	int n_candidates;
	struct {
		double lr, nll; /* held-out, nat per token */
	} candidates[RESULT_MAX_LRS];
};
struct result_distill {
	bool present;          /* false: trained on text alone; the rest is 0 then */
	char text[200];        /* the losses, weights and temperatures; equal for equal distillation */
	double teacher_ce, ce; /* nat per token */
	double agree;          /* in [0,1], same top-1 */
	bool cached;           /* soft targets from disk: */
	char cache[96];        /* what was kept, "top_k 32, tail": the first number is the size, the rest names the convention */
	double cache_bytes_per_token, cache_mass, cache_tokens; /* mass kept, in [0,1]; 0: not known */
};
struct result_phase {
	char metrics[128];
	double after;          /* tokens of the budget that were spent before it */
	bool masks;            /* a mask phase */
};
struct result_stamp {
	char commit[64], device[160], dtype[8], started[32], recipe[64], recipe_hash[20], model_hash[20];
	int threads;
	uint64_t seed;
};
struct result {
	char dir[1024];  /* where it was read from; not in the file */
	char name[64], role[16], init[96], init_id[20], init_text[160];
	char model[256]; /* the checkpoint, relative to result.json's directory or absolute */
	uint64_t seed;
	struct shape shape;
	size_t parameters, bytes;
	double flops_per_token, tokens_per_s, heldout_nll, start_nll;
	bool trained;    /* train holds something */
	struct result_train train;
	struct result_distill distill;
	int n_evals;
	struct result_eval evals[RESULT_MAX_EVALS];
	struct result_stamp stamp;
	char metrics[128], masks_metrics[128]; /* beside result.json; "" when there are none */
	double masks_after;
	int n_earlier;
	struct result_phase earlier[RESULT_MAX_EARLIER];
	int n_searches;
	char searches[RESULT_MAX_SEARCHES][32]; /* beside result.json */
	int n_warnings;
	char warnings[RESULT_MAX_WARNINGS][256];
};

/* A student that has nothing yet: zeroed, role "student". On the heap: the struct is large. NULL: out of memory. */
struct result *result_new(void);
void result_free(struct result *); /* NULL is fine */
bool result_is_teacher(const struct result *);

/* Writes the documents' files, then <dir>/result.json, each atomically. dir exists. Fills documents_file. */
int result_write(struct result *, const char *dir, struct err *);
/* Reads and checks <dir>/result.json and the files it names. *out is the caller's, NULL on failure. */
int result_read(struct result **out, const char *dir, struct err *);
/* The file's content; caller json_decref()s. NULL: out of memory. */
json_t *result_to_json(const struct result *);

#endif

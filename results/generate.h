/* Text from a model: one token after another, greedy or sampled, one sequence at a time. A token costs one row of a forward pass
 * and the keys and values of the context are kept (model/decode.h). Test: tests/test_generate.c */
#ifndef RESULTS_GENERATE_H
#define RESULTS_GENERATE_H

#include "results/loaded_model.h"

struct generate_options {
	int max_tokens;     /* >= 0, new ones; default 128 */
	int context;        /* tokens that the model sees at most, >= 1; 0: the model's positions, at most 2048. Of a longer prompt it
			     * sees the last `context`; when new tokens have filled it, it is read again from the last half, at
			     * positions from 0, so that it always sees at least context/2 of them */
	double temperature; /* >= 0; 0: greedy (default), the lowest id of equal logits */
	double top_p;       /* in (0,1]; 1 (default): all. The fewest tokens whose probabilities reach it */
	uint64_t seed;
	int32_t stop[2];    /* ids that end the text and are not part of it, -1: none. generate_default: EOS and BOS */
};
struct generate_options generate_default(const struct tokenizer *);

/* The token that follows logits (V), draw `index` of the seed. Greedy: seed and index do nothing.
 * order (V) scratch. Deterministic. */
int32_t generate_pick(const float *logits, int V, const struct generate_options *, uint64_t index, int32_t *order);

/* What to reserve ops for. */
struct ops_limits generate_limits(const struct arch *, const struct generate_options *);

/* Appends up to max_tokens new ids to ids, which hold the prompt (BOS included), at least one token. ops has been reserved
 * for generate_limits. on_token is called for each new id before the next is computed: non-zero stops. Ids of the prompt outside
 * the vocabulary are refused. */
int generate_ids(struct loaded_model *, const struct generate_options *, struct ids *ids,
		 int (*on_token)(void *user, const struct ids *), void *user, struct err *);

/* From text to text: encodes prompt (BOS where the tokenizer adds it), and gives each piece of new text as soon as its bytes are
 * whole characters. An empty prompt needs a tokenizer with BOS. */
int generate_text(struct loaded_model *, struct tokenizer *, const struct generate_options *, const char *prompt,
		  void (*on_text)(void *user, const char *text, size_t n_bytes), void *user, struct err *);

#endif

/* Training sequences: documents shuffled per epoch, joined by separators, cut into windows, domains mixed by weight.
 * A sequence is a pure function of (options, domains, its number): the same after resume, whatever the micro-batch.
 *
 * A domain's stream is its documents in the order of epoch 0's shuffle, then epoch 1's …, each with its separators. The
 * domain's sequence c has the inputs stream[c*T .. c*T + T) and the targets one further on: nothing is dropped, also not
 * where an epoch ends; a sequence may lie across that end. Sequence k of the run is the next of the domain that
 * f(seed, RNG_DOMAIN, k) draws by weight. Test: tests/test_batches.c */
#ifndef DATA_BATCHES_H
#define DATA_BATCHES_H

#include "data/shards.h"

/* What stands around a document: NONE doc · BOS <bos> doc · EOS doc <eos> · BOTH <bos> doc <eos>. */
enum separator { SEPARATOR_NONE, SEPARATOR_BOS, SEPARATOR_EOS, SEPARATOR_BOTH };
/* "none", "bos", "eos", "both". */
const char *separator_name(enum separator s);
/* The reverse; -1 if it is none of them. */
int separator_parse(const char *name, enum separator *out);
/* What the tokenizer adds to a document by itself; when it adds nothing: eos if it has one, else bos, else none. */
enum separator separator_default(const struct tokenizer *t);

struct domain {
	const char *name;           /* for errors */
	double weight;              /* > 0, relative */
	const struct shard *shards; /* (n_shards) several files are one domain */
	int n_shards;
	/* Training uses the domain's documents from this one on, in file order; those before are held out (selection set). */
	size_t first_document;
};
struct batches_options {
	int sequence_length; /* T > 0: a sequence has T inputs and T targets */
	uint64_t seed;
	enum separator separator;
	int32_t bos, eos;    /* ids as the separator needs them; others are not looked at */
};

struct batches; /* position: next sequence number, and one cursor per domain */
/* domains are copied, shards are borrowed. Allocates all it will ever need: 8 bytes per document and domain.
 * Fails (ERR_USER) on a domain with fewer than T+1 tokens (held-out ones don't count), a separator without an id, a weight
 * that is not positive and finite. On failure *out is NULL. */
int batches_open(struct batches **out, const struct batches_options *options, const struct domain *domains, int n_domains,
		 struct err *e);
void batches_close(struct batches *b); /* NULL is fine */

/* The next n sequences, never fails, never allocates. All arrays (n*T), row-major:
 * tokens, targets: targets[i] is the stream's token after tokens[i].
 * start: index within the sequence (0..T-1) of the first row of the row's document, its leading separator included; 0 for a
 *   document that began in an earlier sequence.
 * pos: row index - start: the position inside the document as far as this sequence shows it, hence always < T: a window that
 *   begins inside a document counts from 0 there.
 * flags: bits below. Any of pos, start, flags may be NULL. */
enum { TARGET_IS_SEPARATOR = 1 };
void batches_next(struct batches *b, int n, int32_t *tokens, int32_t *targets, int32_t *pos, int32_t *start, uint8_t *flags);

/* Domain of the sequence that comes after `ahead` others. */
int batches_domain(const struct batches *b, int ahead);

/* Position, for checkpoints: (1 + n_domains) numbers: next sequence, then the sequences taken from each domain. */
int batches_n_state(const struct batches *b);
void batches_get_state(const struct batches *b, uint64_t *state);
/* Goes there, exactly; O(documents). Fails on numbers that do not add up; the position is then as before. */
int batches_set_state(struct batches *b, const uint64_t *state, struct err *e);
/* Tokens in one epoch of domain d (separators included), and epochs consumed so far (fraction). */
size_t batches_epoch_tokens(const struct batches *b, int d);
double batches_epochs(const struct batches *b, int d);
/* Hash of everything that determines the sequences: shards' keys, options, weights. */
uint64_t batches_hash(const struct batches *b);

#endif

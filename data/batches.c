/* The contract is in data/batches.h. A cursor walks a domain's shuffled documents; nothing here depends on how the caller
 * groups sequences. Test: tests/test_batches.c */
#include "data/batches.h"

#include "base/hash.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A place in a domain's stream. at == the document's length: the next token is in the next document. */
struct cursor {
	uint64_t epoch;
	uint32_t rank;  /* of the document in the epoch's order */
	uint64_t at;    /* tokens of the document that lie behind, separators counted */
};

struct stream {
	struct domain domain;
	int index;           /* of the domain: another shuffle for each */
	uint32_t n_documents;
	uint64_t epoch_tokens;
	uint32_t *order[2];  /* (n_documents) of epoch e at [e % 2]: a sequence may lie across an epoch's end */
	uint64_t order_of[2];/* the epoch that is there */
	struct cursor cursor;
	uint64_t n_taken;    /* sequences */
	uint64_t threshold;  /* a 32-bit draw below it, and not below the one before, chooses this domain */
};

struct batches {
	struct batches_options options;
	bool leads, trails; /* a separator in front of, behind a document */
	uint64_t next_sequence;
	int n_domains;
	struct stream streams[];
};

/* ---- separators ---- */

static const char *const separator_names[] = { "none", "bos", "eos", "both" };

const char *separator_name(enum separator s)
{
	BUG_ON((unsigned)s > SEPARATOR_BOTH);
	return separator_names[s];
}

int separator_parse(const char *name, enum separator *out)
{
	for (int i = 0; i <= SEPARATOR_BOTH; i++) {
		if (strcmp(name, separator_names[i]) == 0) {
			*out = (enum separator)i;
			return 0;
		}
	}
	return -1;
}

enum separator separator_default(const struct tokenizer *t)
{
	if (tokenizer_adds_bos(t))
		return tokenizer_adds_eos(t) ? SEPARATOR_BOTH : SEPARATOR_BOS;
	if (tokenizer_adds_eos(t) || tokenizer_eos(t) >= 0)
		return SEPARATOR_EOS;
	return tokenizer_bos(t) >= 0 ? SEPARATOR_BOS : SEPARATOR_NONE;
}

/* ---- walking a stream ---- */

struct document {
	const int32_t *ids;
	uint64_t n; /* without separators */
};

static struct document document_at(const struct stream *s, size_t i)
{
	const struct shard *shard = s->domain.shards;
	i += s->domain.first_document;
	while (i >= shard->n_documents)
		i -= shard++->n_documents;
	return (struct document){ shard->ids + shard->offsets[i], shard->offsets[i + 1] - shard->offsets[i] };
}

static const uint32_t *order_of_epoch(struct stream *s, uint64_t seed, uint64_t epoch)
{
	int slot = epoch % 2;
	if (s->order_of[slot] != epoch) {
		rng_permutation(seed, RNG_SHUFFLE, (uint64_t)s->index << 32 | (uint32_t)epoch, s->n_documents, s->order[slot]);
		s->order_of[slot] = epoch;
	}
	return s->order[slot];
}

static void cursor_next_document(const struct stream *s, struct cursor *c)
{
	c->at = 0;
	if (++c->rank == s->n_documents) {
		c->rank = 0;
		c->epoch++;
	}
}

/* Puts s->cursor to where the domain's sequence n_taken begins. */
static void seek(struct batches *b, struct stream *s)
{
	uint64_t position = s->n_taken * (uint64_t)b->options.sequence_length, n;
	struct cursor c = { .epoch = position / s->epoch_tokens };
	const uint32_t *order = order_of_epoch(s, b->options.seed, c.epoch);
	position %= s->epoch_tokens;
	while (position >= (n = document_at(s, order[c.rank]).n + b->leads + b->trails)) {
		position -= n;
		c.rank++;
	}
	c.at = position;
	s->cursor = c;
}

/* The sequence that is being written. */
struct window {
	int32_t *tokens, *targets, *pos, *start;
	uint8_t *flags;
	int n; /* tokens put, up to T + 1 */
};

/* Puts the run of a document's tokens [c->at, …) that still fits. */
static void put_document(const struct batches *b, struct window *w, struct document d, struct cursor *c)
{
	int T = b->options.sequence_length, first = w->n;
	uint64_t length = d.n + b->leads + b->trails;
	for (; c->at < length && w->n <= T; c->at++, w->n++) {
		bool leading = b->leads && c->at == 0, trailing = b->trails && c->at == length - 1;
		int32_t id = leading ? b->options.bos : trailing ? b->options.eos : d.ids[c->at - b->leads];
		int i = w->n;
		if (i > 0) {
			w->targets[i - 1] = id;
			if (w->flags)
				w->flags[i - 1] = leading || trailing ? TARGET_IS_SEPARATOR : 0;
		}
		if (i == T)
			continue;
		w->tokens[i] = id;
		if (w->start)
			w->start[i] = first;
		if (w->pos)
			w->pos[i] = i - first;
	}
}

/* The next sequence of a stream. The last target is the next sequence's first input: the cursor stays in front of it. */
static void take(struct batches *b, struct stream *s, struct window w)
{
	struct cursor c = s->cursor;
	int T = b->options.sequence_length;
	for (;;) {
		const uint32_t *order = order_of_epoch(s, b->options.seed, c.epoch);
		put_document(b, &w, document_at(s, order[c.rank]), &c);
		if (w.n > T)
			break;
		cursor_next_document(s, &c);
	}
	c.at--;
	s->cursor = c;
	s->n_taken++;
}

int batches_domain(const struct batches *b, int ahead)
{
	uint32_t draw = rng_u32(b->options.seed, RNG_DOMAIN, b->next_sequence + (uint64_t)ahead, 0);
	int d = 0;
	while (draw >= b->streams[d].threshold)
		d++;
	return d;
}

void batches_next(struct batches *b, int n, int32_t *tokens, int32_t *targets, int32_t *pos, int32_t *start, uint8_t *flags)
{
	size_t T = (size_t)b->options.sequence_length;
	for (size_t i = 0; i < (size_t)n; i++) {
		struct window w = {
			.tokens = tokens + i * T,
			.targets = targets + i * T,
			.pos = pos ? pos + i * T : NULL,
			.start = start ? start + i * T : NULL,
			.flags = flags ? flags + i * T : NULL,
		};
		take(b, &b->streams[batches_domain(b, 0)], w);
		b->next_sequence++;
	}
}

/* ---- position ---- */

int batches_n_state(const struct batches *b)
{
	return 1 + b->n_domains;
}

void batches_get_state(const struct batches *b, uint64_t *state)
{
	state[0] = b->next_sequence;
	for (int d = 0; d < b->n_domains; d++)
		state[1 + d] = b->streams[d].n_taken;
}

int batches_set_state(struct batches *b, const uint64_t *state, struct err *e)
{
	uint64_t left = state[0];
	bool fits = true;
	for (int d = 0; d < b->n_domains && fits; d++) {
		fits = state[1 + d] <= left && state[1 + d] < UINT64_C(1) << 31;
		left -= state[1 + d];
	}
	if (!fits || left)
		return err_run(e, "data position: %llu sequences, but the domains' do not add up to them; the checkpoint is of another run",
			       (unsigned long long)state[0]);
	b->next_sequence = state[0];
	for (int d = 0; d < b->n_domains; d++) {
		b->streams[d].n_taken = state[1 + d];
		seek(b, &b->streams[d]);
	}
	return 0;
}

size_t batches_epoch_tokens(const struct batches *b, int d)
{
	BUG_ON(d < 0 || d >= b->n_domains);
	return b->streams[d].epoch_tokens;
}

double batches_epochs(const struct batches *b, int d)
{
	BUG_ON(d < 0 || d >= b->n_domains);
	const struct stream *s = &b->streams[d];
	return (double)s->n_taken * b->options.sequence_length / (double)s->epoch_tokens;
}

static void hash_u64(struct hash *h, uint64_t value)
{
	hash_update(h, &value, sizeof value);
}

uint64_t batches_hash(const struct batches *b)
{
	struct hash h;
	const struct batches_options *o = &b->options;
	hash_init(&h);
	hash_u64(&h, (uint64_t)o->sequence_length);
	hash_u64(&h, o->seed);
	hash_u64(&h, o->separator);
	hash_u64(&h, b->leads ? (uint64_t)o->bos : 0);
	hash_u64(&h, b->trails ? (uint64_t)o->eos : 0);
	hash_u64(&h, (uint64_t)b->n_domains);
	for (const struct stream *s = b->streams; s < b->streams + b->n_domains; s++) {
		hash_u64(&h, s->threshold);
		hash_u64(&h, s->domain.first_document);
		hash_u64(&h, (uint64_t)s->domain.n_shards);
		for (int i = 0; i < s->domain.n_shards; i++)
			hash_u64(&h, s->domain.shards[i].key);
	}
	return hash_final(&h);
}

/* ---- opening ---- */

static int check_options(const struct batches_options *o, bool leads, bool trails, struct err *e)
{
	if (o->sequence_length < 1)
		return err_user(e, "sequence_length: expected at least 1, found %d", o->sequence_length);
	if ((leads && o->bos < 0) || (trails && o->eos < 0))
		return err_user(e, "separator '%s': the tokenizer has no %s token; choose another separator",
				separator_name(o->separator), leads && o->bos < 0 ? "bos" : "eos");
	return 0;
}

static int stream_init(struct batches *b, struct stream *s, struct err *e)
{
	const struct domain *d = &s->domain;
	size_t n_documents = 0;
	for (int i = 0; i < d->n_shards; i++)
		n_documents += d->shards[i].n_documents;
	n_documents -= d->first_document < n_documents ? d->first_document : n_documents;
	if (n_documents >= UINT32_MAX)
		return err_user(e, "domain '%s': %zu documents, expected fewer than 2^32", d->name, n_documents);
	s->n_documents = (uint32_t)n_documents;
	for (size_t i = 0; i < n_documents; i++)
		s->epoch_tokens += document_at(s, i).n + b->leads + b->trails;
	if (s->epoch_tokens < (uint64_t)b->options.sequence_length + 1)
		return err_user(e, "domain '%s': expected at least sequence_length + 1 = %lld tokens, found %llu in %zu documents "
				"(%zu held out); add text or shorten the sequences", d->name,
				(long long)b->options.sequence_length + 1, (unsigned long long)s->epoch_tokens, n_documents,
				d->first_document);
	for (int slot = 0; slot < 2; slot++) {
		s->order[slot] = malloc(n_documents * sizeof *s->order[slot]);
		s->order_of[slot] = UINT64_MAX;
		if (!s->order[slot])
			return err_run(e, "domain '%s': out of memory for the order of %zu documents", d->name, n_documents);
	}
	seek(b, s);
	return 0;
}

/* Cumulative shares of 2^32; the last is 2^32 exactly. */
static int set_thresholds(struct batches *b, struct err *e)
{
	double sum = 0, below = 0;
	for (int d = 0; d < b->n_domains; d++) {
		double weight = b->streams[d].domain.weight;
		if (!(weight > 0) || !isfinite(weight) || !isfinite(sum + weight))
			return err_user(e, "domain '%s': expected a positive weight, found %g", b->streams[d].domain.name, weight);
		sum += weight;
	}
	for (int d = 0; d < b->n_domains; d++) {
		below += b->streams[d].domain.weight;
		b->streams[d].threshold = (uint64_t)(below / sum * 4294967296.0);
	}
	b->streams[b->n_domains - 1].threshold = UINT64_C(1) << 32;
	return 0;
}

int batches_open(struct batches **out, const struct batches_options *options, const struct domain *domains, int n_domains,
		 struct err *e)
{
	BUG_ON(n_domains < 1);
	struct batches *b = calloc(1, sizeof *b + (size_t)n_domains * sizeof *b->streams);
	int rc = -1;
	*out = NULL;
	if (!b)
		return err_run(e, "out of memory for %d domains", n_domains);
	b->options = *options;
	b->leads = options->separator == SEPARATOR_BOS || options->separator == SEPARATOR_BOTH;
	b->trails = options->separator == SEPARATOR_EOS || options->separator == SEPARATOR_BOTH;
	b->n_domains = n_domains;
	for (int d = 0; d < n_domains; d++) {
		b->streams[d].domain = domains[d];
		b->streams[d].index = d;
	}
	TRY(check_options(options, b->leads, b->trails, e));
	TRY(set_thresholds(b, e));
	for (int d = 0; d < n_domains; d++)
		TRY(stream_init(b, &b->streams[d], e));
	*out = b;
	b = NULL;
	rc = 0;
out:
	batches_close(b);
	return rc;
}

void batches_close(struct batches *b)
{
	if (!b)
		return;
	for (int d = 0; d < b->n_domains; d++) {
		free(b->streams[d].order[0]);
		free(b->streams[d].order[1]);
	}
	free(b);
}

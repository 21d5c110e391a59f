/* Training of a byte-level BPE. The merges of one step touch only the words that hold the pair; a heap gives the most
 * frequent pair; an entry whose count has changed since goes back with the new one. Entries keep the words that they were
 * made with, as in the `tokenizers` library, so that the two find the same merges in the same order. */
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_parts.h"
#include "data/train_json.h"
#include "data/train_words.h"
#include "data/unicode.h"

struct entry {
	uint64_t pair;
	int64_t count;
	uint32_t *words; /* (n) owned, ascending */
	size_t n;
};
/* A pair that a word has gained in this step. */
struct gain {
	uint64_t pair;
	uint32_t word;
};

struct trainer {
	const struct tokenizer_train_options *options;
	struct pretokenize pretokenize;
	struct train_words words;
	struct pair_counts counts;
	struct vocabulary vocabulary;
	uint64_t *merges;    /* (n_merges) pairs */
	size_t n_merges;
	struct entry *heap;  /* (n_heap) the most frequent first; of equals the smallest pair */
	size_t n_heap, heap_capacity;
	struct gain *gains;
	size_t n_gains, gains_capacity;
};

struct tokenizer_train_options tokenizer_train_default(void)
{
	return (struct tokenizer_train_options){
		.vocab_size = 4096, .min_frequency = 2, .bos = "<|endoftext|>", .eos = "<|endoftext|>", .add_bos = true};
}

static void release(struct trainer *t)
{
	pretokenize_release(&t->pretokenize);
	train_words_release(&t->words);
	pair_counts_release(&t->counts);
	vocabulary_release(&t->vocabulary);
	for (size_t i = 0; i < t->n_heap; i++)
		free(t->heap[i].words);
	free(t->merges);
	free(t->heap);
	free(t->gains);
}

/* ---- the heap ---- */

static bool goes_first(const struct entry *a, const struct entry *b)
{
	return a->count != b->count ? a->count > b->count : a->pair < b->pair;
}

static int heap_push(struct trainer *t, struct entry entry, struct err *e)
{
	if (t->n_heap == t->heap_capacity) {
		size_t want = t->heap_capacity ? 2 * t->heap_capacity : 4096;
		void *grown = realloc(t->heap, want * sizeof *t->heap);
		if (!grown) {
			free(entry.words);
			return err_run(e, "out of memory for %zu pairs", want);
		}
		t->heap = grown;
		t->heap_capacity = want;
	}
	size_t i = t->n_heap++;
	while (i && goes_first(&entry, &t->heap[(i - 1) / 2])) {
		t->heap[i] = t->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	t->heap[i] = entry;
	return 0;
}

static struct entry heap_pop(struct trainer *t)
{
	struct entry top = t->heap[0], last = t->heap[--t->n_heap];
	size_t i = 0;
	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= t->n_heap)
			break;
		if (child + 1 < t->n_heap && goes_first(&t->heap[child + 1], &t->heap[child]))
			child++;
		if (!goes_first(&t->heap[child], &last))
			break;
		t->heap[i] = t->heap[child];
		i = child;
	}
	t->heap[i] = last;
	return top;
}

/* ---- counting ---- */

static uint64_t pair_of(int32_t left, int32_t right)
{
	return (uint64_t)left << 32 | (uint32_t)right;
}

static int change(struct trainer *t, int32_t left, int32_t right, int64_t by, uint32_t word, struct err *e)
{
	int64_t *count = pair_counts_at(&t->counts, pair_of(left, right), e);
	if (!count)
		return -1;
	*count += by;
	if (by < 0)
		return 0;
	if (t->n_gains == t->gains_capacity) {
		size_t want = t->gains_capacity ? 2 * t->gains_capacity : 4096;
		void *grown = realloc(t->gains, want * sizeof *t->gains);
		if (!grown)
			return err_run(e, "out of memory for %zu pairs", want);
		t->gains = grown;
		t->gains_capacity = want;
	}
	t->gains[t->n_gains++] = (struct gain){pair_of(left, right), word};
	return 0;
}

static int by_pair(const void *a, const void *b)
{
	const struct gain *x = a, *y = b;
	if (x->pair != y->pair)
		return x->pair < y->pair ? -1 : 1;
	return x->word < y->word ? -1 : x->word > y->word;
}

/* One entry for gains[start, end), which are of one pair. */
static int queue_pair(struct trainer *t, size_t start, size_t end, struct err *e)
{
	struct entry entry = {.pair = t->gains[start].pair};
	const int64_t *count = pair_counts_at(&t->counts, entry.pair, e);
	if (!count)
		return -1;
	entry.count = *count;
	if (entry.count <= 0)
		return 0;
	entry.words = malloc((end - start) * sizeof *entry.words);
	if (!entry.words)
		return err_run(e, "out of memory for %zu words", end - start);
	for (size_t i = start; i < end; i++)
		if (i == start || t->gains[i].word != t->gains[i - 1].word)
			entry.words[entry.n++] = t->gains[i].word;
	return heap_push(t, entry, e);
}

static int queue_gains(struct trainer *t, struct err *e)
{
	if (t->n_gains)
		qsort(t->gains, t->n_gains, sizeof *t->gains, by_pair);
	for (size_t start = 0, end; start < t->n_gains; start = end) {
		for (end = start + 1; end < t->n_gains && t->gains[end].pair == t->gains[start].pair;)
			end++;
		if (queue_pair(t, start, end, e) < 0)
			return -1;
	}
	t->n_gains = 0;
	return 0;
}

static int count_pairs(struct trainer *t, struct err *e)
{
	for (size_t i = 0; i < t->words.n; i++) {
		const struct train_word *w = &t->words.words[i];
		const int32_t *s = t->words.symbols + w->at;
		for (uint32_t k = 1; k < w->n; k++)
			if (change(t, s[k - 1], s[k], w->count, (uint32_t)i, e) < 0)
				return -1;
	}
	return queue_gains(t, e);
}

/* ---- merging ---- */

/* Joins the pair everywhere in one word. The pair's own count is left as it is. */
static int merge_word(struct trainer *t, uint32_t word, uint64_t pair, int32_t joined, struct err *e)
{
	struct train_word *w = &t->words.words[word];
	int32_t *s = t->words.symbols + w->at, left = (int32_t)(pair >> 32), right = (int32_t)(uint32_t)pair;
	uint32_t to = 0;
	for (uint32_t from = 0; from < w->n; to++) {
		if (from + 1 == w->n || s[from] != left || s[from + 1] != right) {
			s[to] = s[from++];
			continue;
		}
		from += 2;
		if (to &&
		    (change(t, s[to - 1], left, -w->count, word, e) < 0 || change(t, s[to - 1], joined, w->count, word, e) < 0))
			return -1;
		if (from < w->n &&
		    (change(t, right, s[from], -w->count, word, e) < 0 || change(t, joined, s[from], w->count, word, e) < 0))
			return -1;
		s[to] = joined;
	}
	w->n = to;
	return 0;
}

/* The id of the joined token; a new one if the two were never joined, whatever the way. */
static int join_tokens(struct trainer *t, uint64_t pair, int32_t *id, struct err *e)
{
	struct bytes token = {0};
	int rc = -1;
	size_t n;
	const char *s = vocabulary_token(&t->vocabulary, (int32_t)(pair >> 32), &n);
	TRY(bytes_append(&token, s, n, e));
	s = vocabulary_token(&t->vocabulary, (int32_t)(uint32_t)pair, &n);
	TRY(bytes_append(&token, s, n, e));
	*id = vocabulary_find(&t->vocabulary, token.v, token.n);
	if (*id < 0) {
		*id = t->vocabulary.n_ids;
		TRY(vocabulary_add(&t->vocabulary, *id, token.v, token.n, e));
	}
	rc = 0;
out:
	bytes_release(&token);
	return rc;
}

static int keep_merge(struct trainer *t, uint64_t pair, struct err *e)
{
	void *grown = (t->n_merges & (t->n_merges - 1)) ? t->merges
							: realloc(t->merges, (2 * t->n_merges + 2) * sizeof *t->merges);
	if (!grown)
		return err_run(e, "out of memory for %zu merges", t->n_merges);
	t->merges = grown;
	t->merges[t->n_merges++] = pair;
	return 0;
}

/* Takes the entry's words. Returns 1 when training is over. */
static int step(struct trainer *t, struct entry *top, struct err *e)
{
	int32_t joined;
	const int64_t *count = pair_counts_at(&t->counts, top->pair, e);
	if (!count)
		return -1;
	if (top->count != *count) {
		struct entry again = *top;
		again.count = *count;
		top->words = NULL;
		return heap_push(t, again, e);
	}
	if (top->count < 1 || top->count < t->options->min_frequency)
		return 1;
	if (join_tokens(t, top->pair, &joined, e) < 0 || keep_merge(t, top->pair, e) < 0)
		return -1;
	for (size_t i = 0; i < top->n; i++)
		if (merge_word(t, top->words[i], top->pair, joined, e) < 0)
			return -1;
	return queue_gains(t, e);
}

static int find_merges(struct trainer *t, struct err *e)
{
	if (count_pairs(t, e) < 0)
		return -1;
	while (t->vocabulary.n_used < t->options->vocab_size && t->n_heap) {
		struct entry top = heap_pop(t);
		int rc = step(t, &top, e);
		free(top.words);
		if (rc)
			return rc < 0 ? -1 : 0;
	}
	return 0;
}

/* ---- before and after ---- */

/* Special tokens, then the 256 byte characters by code point. */
static int first_tokens(struct trainer *t, int32_t byte_ids[256], struct err *e)
{
	const char *const specials[] = {t->options->bos, t->options->eos};
	for (int i = 0; i < 2; i++)
		if (specials[i] && vocabulary_find(&t->vocabulary, specials[i], strlen(specials[i])) < 0 &&
		    vocabulary_add(&t->vocabulary, t->vocabulary.n_ids, specials[i], strlen(specials[i]), e) < 0)
			return -1;
	for (int32_t c = 0; c < 0x144; c++) {
		char text[4];
		int byte = byte_level_byte(c);
		if (byte < 0)
			continue;
		byte_ids[byte] = t->vocabulary.n_ids;
		if (vocabulary_add(&t->vocabulary, byte_ids[byte], text, (size_t)utf8_put(text, c), e) < 0)
			return -1;
	}
	return 0;
}

static int count_word(void *context, const char *piece, size_t n, size_t start, struct err *e)
{
	struct trainer *t = context;
	(void)start;
	return train_words_count(&t->words, piece, n, e);
}

static int read_documents(struct trainer *t, tokenizer_next_document *next, void *context, struct err *e)
{
	const char *text;
	size_t n;
	int more;
	for (size_t i = 0; (more = next(context, &text, &n, e)) > 0; i++) {
		size_t good = utf8_valid_prefix(text, n);
		if (good < n)
			return err_user(e, "document %zu is no UTF-8: byte 0x%02x at offset %zu", i + 1,
					(unsigned char)text[good], good);
		if (pretokenize_run(&t->pretokenize, text, n, true, count_word, t, e) < 0)
			return -1;
	}
	return more;
}

static int finish(const struct trainer *t, struct tokenizer **out, struct err *e)
{
	struct bytes json = {0}, config = {0};
	int rc = -1;
	TRY(train_json(t->options, &t->vocabulary, t->merges, t->n_merges, &json, &config, e));
	rc = tokenizer_parse(out, "trained tokenizer", json.v, json.n, config.v, config.n, e);
out:
	bytes_release(&json);
	bytes_release(&config);
	return rc;
}

static int check_options(const struct tokenizer_train_options *o, struct err *e)
{
	int least = 256 + !!o->bos + (o->eos && !(o->bos && !strcmp(o->bos, o->eos)));
	if (o->vocab_size < least || o->vocab_size > VOCABULARY_MAX)
		return err_user(e, "a tokenizer's vocabulary of %d: expected %d to %d", o->vocab_size, least, VOCABULARY_MAX);
	if ((o->bos && strlen(o->bos) < 2) || (o->eos && strlen(o->eos) < 2))
		return err_user(e, "a special token of less than two characters");
	return 0;
}

int tokenizer_train(struct tokenizer **out, const struct tokenizer_train_options *options, tokenizer_next_document *next,
		    void *context, struct err *e)
{
	struct trainer t = {.options = options};
	struct pretokenize_stage *stage = &t.pretokenize.stages[0];
	int32_t byte_ids[256];
	int rc = -1;
	*out = NULL;
	if (check_options(options, e) < 0)
		return -1;
	t.pretokenize.n = 1;
	stage->behavior = SPLIT_ISOLATED;
	TRY(pattern_init_regex(&stage->pattern, pretokenize_gpt2_regex, strlen(pretokenize_gpt2_regex), e));
	TRY(first_tokens(&t, byte_ids, e));
	TRY(read_documents(&t, next, context, e));
	TRY(train_words_spell(&t.words, byte_ids, e));
	TRY(find_merges(&t, e));
	rc = finish(&t, out, e);
out:
	release(&t);
	return rc;
}

/* data/batches.c against a stream built the slow way: every document of every epoch written out, then cut. */
#include "tests/testing.h"

#include "base/rng.h"
#include "data/batches.h"

#define BOS 1
#define EOS 2
#define SEED 17

/* A shard in memory: document i has `lengths[i]` tokens, each one unique: base, base + 1, … */
static struct shard make_shard(const int *lengths, size_t n, int32_t base, uint64_t key)
{
	struct shard s = { .n_documents = n, .key = key };
	uint64_t *offsets = calloc(n + 1, sizeof *offsets);
	assert_non_null(offsets);
	for (size_t i = 0; i < n; i++)
		offsets[i + 1] = offsets[i] + (uint64_t)lengths[i];
	int32_t *ids = calloc(offsets[n] + 1, sizeof *ids);
	assert_non_null(ids);
	for (size_t i = 0; i < offsets[n]; i++)
		ids[i] = base + (int32_t)i;
	s.offsets = offsets;
	s.ids = ids;
	s.n_tokens = offsets[n];
	return s;
}

static void free_shard(struct shard *s)
{
	free((void *)(uintptr_t)s->ids);
	free((void *)(uintptr_t)s->offsets);
}

static const int lengths_a[] = { 7, 1, 12, 30, 2, 0, 5, 9, 3, 16 }; /* an empty one among them */
static const int lengths_b[] = { 4, 4, 21, 11, 6 };
static struct shard two[2], one;
static const struct domain *pair(void)
{
	static struct domain d[2];
	d[0] = (struct domain){ .name = "a", .weight = 3, .shards = two, .n_shards = 2 };
	d[1] = (struct domain){ .name = "b", .weight = 1, .shards = &one, .n_shards = 1 };
	return d;
}

static int setup(void **state)
{
	(void)state;
	two[0] = make_shard(lengths_a, 10, 100, 11);
	two[1] = make_shard(lengths_b, 5, 1000, 12);
	one = make_shard(lengths_b, 5, 2000, 13);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free_shard(&two[0]);
	free_shard(&two[1]);
	free_shard(&one);
	return 0;
}

static struct batches *open_pair(int T, enum separator separator, int n_domains)
{
	struct batches_options o = { .sequence_length = T, .seed = SEED, .separator = separator, .bos = BOS, .eos = EOS };
	struct batches *b;
	struct err e;
	assert_ok(batches_open(&b, &o, pair(), n_domains, &e), &e);
	return b;
}

struct rows {
	int32_t *tokens, *targets, *pos, *start;
	uint8_t *flags;
	size_t n;
};

static struct rows make_rows(size_t n)
{
	struct rows r = { .n = n };
	r.tokens = calloc(n, 4);
	r.targets = calloc(n, 4);
	r.pos = calloc(n, 4);
	r.start = calloc(n, 4);
	r.flags = calloc(n, 1);
	assert_true(r.tokens && r.targets && r.pos && r.start && r.flags);
	return r;
}

static void free_rows(struct rows *r)
{
	free(r->tokens);
	free(r->targets);
	free(r->pos);
	free(r->start);
	free(r->flags);
}

static void next(struct batches *b, int n, struct rows *r, size_t at)
{
	batches_next(b, n, r->tokens + at, r->targets + at, r->pos + at, r->start + at, r->flags + at);
}

static void check_equal(const struct rows *a, const struct rows *b)
{
	assert_int_equal(a->n, b->n);
	assert_memory_equal(a->tokens, b->tokens, a->n * 4);
	assert_memory_equal(a->targets, b->targets, a->n * 4);
	assert_memory_equal(a->pos, b->pos, a->n * 4);
	assert_memory_equal(a->start, b->start, a->n * 4);
	assert_memory_equal(a->flags, b->flags, a->n);
}

/* The stream of domain a written out: ids, whether a separator, whether a document's first. */
struct stream {
	int32_t id[4096];
	bool separator[4096], first[4096];
	size_t n;
};

static void push(struct stream *s, int32_t id, bool separator, bool first)
{
	assert_true(s->n < 4096);
	s->id[s->n] = id;
	s->separator[s->n] = separator;
	s->first[s->n++] = first;
}

static void write_out(struct stream *s, enum separator separator, uint32_t first_document, int n_epochs)
{
	bool leads = separator == SEPARATOR_BOS || separator == SEPARATOR_BOTH, trails = separator >= SEPARATOR_EOS;
	uint32_t order[15], n = 15 - first_document;
	s->n = 0;
	for (int epoch = 0; epoch < n_epochs; epoch++) {
		rng_permutation(SEED, RNG_SHUFFLE, (uint64_t)epoch, n, order);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t d = order[i] + first_document;
			const struct shard *shard = d < 10 ? &two[0] : &two[1];
			d = d < 10 ? d : d - 10;
			if (leads)
				push(s, BOS, true, true);
			for (uint64_t k = shard->offsets[d]; k < shard->offsets[d + 1]; k++)
				push(s, shard->ids[k], false, !leads && k == shard->offsets[d]);
			if (trails)
				push(s, EOS, true, !leads && shard->offsets[d] == shard->offsets[d + 1]);
		}
	}
}

/* Every T up to the longest that the domain has, all separators: rows as the written-out stream has them. */
static void check_length(int T, enum separator kind)
{
	static struct stream s;
	struct batches *b = open_pair(T, kind, 1);
	struct rows r = make_rows((size_t)T);
	write_out(&s, kind, 0, 5);
	assert_int_equal(s.n, 5 * batches_epoch_tokens(b, 0));
	for (size_t at = 0; at + (size_t)T < s.n; at += (size_t)T) {
		int start = 0;
		next(b, 1, &r, 0);
		for (int i = 0; i < T; i++) {
			size_t k = at + (size_t)i;
			if (s.first[k])
				start = i;
			assert_int_equal(r.tokens[i], s.id[k]);
			assert_int_equal(r.targets[i], s.id[k + 1]);
			assert_int_equal(r.flags[i], s.separator[k + 1] ? TARGET_IS_SEPARATOR : 0);
			assert_int_equal(r.start[i], start);
			assert_int_equal(r.pos[i], i - start);
		}
	}
	free_rows(&r);
	batches_close(b);
}

static void test_against_stream(void **state)
{
	(void)state;
	for (int kind = SEPARATOR_NONE; kind <= SEPARATOR_BOTH; kind++)
		for (int T = 1; T <= 130; T++)
			check_length(T, (enum separator)kind);
}

static void test_every_token_once(void **state)
{
	(void)state;
	struct batches *b = open_pair(1, SEPARATOR_BOTH, 1);
	size_t n = batches_epoch_tokens(b, 0);
	assert_int_equal(n, two[0].n_tokens + two[1].n_tokens + 2 * 15);
	int32_t previous[256] = { 0 };
	for (int epoch = 0; epoch < 3; epoch++) {
		struct rows r = make_rows(n);
		int seen[1200] = { 0 };
		assert_close(batches_epochs(b, 0), epoch, 1e-12, 0);
		next(b, (int)n, &r, 0);
		for (size_t i = 0; i < n; i++)
			seen[r.tokens[i]]++;
		assert_int_equal(seen[BOS], 15);
		assert_int_equal(seen[EOS], 15);
		for (size_t i = 0; i < two[0].n_tokens; i++)
			assert_int_equal(seen[100 + i], 1);
		for (size_t i = 0; i < two[1].n_tokens; i++)
			assert_int_equal(seen[1000 + i], 1);
		assert_true(memcmp(previous, r.tokens, n * 4) != 0); /* another order */
		memcpy(previous, r.tokens, n * 4);
		free_rows(&r);
	}
	batches_close(b);
}

static void test_any_grouping(void **state)
{
	(void)state;
	struct batches *b = open_pair(7, SEPARATOR_BOS, 2);
	struct rows whole = make_rows(7 * 60), parts = make_rows(7 * 60);
	next(b, 60, &whole, 0);
	batches_close(b);
	for (int size = 1; size <= 60; size += 1 + size / 2) {
		b = open_pair(7, SEPARATOR_BOS, 2);
		for (int at = 0; at < 60; at += size)
			next(b, at + size > 60 ? 60 - at : size, &parts, (size_t)at * 7);
		check_equal(&parts, &whole);
		batches_close(b);
	}
	b = open_pair(7, SEPARATOR_BOS, 2);
	batches_next(b, 60, parts.tokens, parts.targets, NULL, NULL, NULL);
	check_equal(&parts, &whole);
	batches_close(b);
	free_rows(&whole);
	free_rows(&parts);
}

static void test_resume(void **state)
{
	(void)state;
	enum { N = 120, T = 5 };
	struct rows whole = make_rows(N * T), rest = make_rows(T);
	uint64_t states[N][3], now[3];
	struct err e;
	struct batches *b = open_pair(T, SEPARATOR_EOS, 2);
	assert_int_equal(batches_n_state(b), 3);
	for (int i = 0; i < N; i++) {
		batches_get_state(b, states[i]);
		assert_int_equal(states[i][0], i);
		next(b, 1, &whole, (size_t)i * T);
	}
	for (int i = N - 1; i >= 0; i--) { /* the same reader, backwards; and two in a row */
		assert_ok(batches_set_state(b, states[i], &e), &e);
		batches_get_state(b, now);
		assert_memory_equal(now, states[i], sizeof now);
		for (int k = i; k < i + 2 && k < N; k++) {
			next(b, 1, &rest, 0);
			assert_memory_equal(rest.tokens, whole.tokens + k * T, T * 4);
			assert_memory_equal(rest.targets, whole.targets + k * T, T * 4);
			assert_memory_equal(rest.pos, whole.pos + k * T, T * 4);
			assert_memory_equal(rest.start, whole.start + k * T, T * 4);
			assert_memory_equal(rest.flags, whole.flags + k * T, T);
		}
	}
	batches_get_state(b, now);
	static const uint64_t bad[][3] = { { 5, 2, 2 }, { 5, 6, UINT64_MAX }, { UINT64_MAX, UINT64_MAX, 0 }, { 0, 1, 0 } };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		uint64_t still[3];
		assert_fails(batches_set_state(b, bad[i], &e), &e, "data position");
		batches_get_state(b, still);
		assert_memory_equal(still, now, sizeof now);
	}
	batches_close(b);
	free_rows(&whole);
	free_rows(&rest);
}

/* 3 : 1 over 4000 sequences: the share lies within four standard deviations of 3/4. */
static void test_mixture(void **state)
{
	(void)state;
	struct batches *b = open_pair(4, SEPARATOR_NONE, 2);
	uint64_t at[3];
	struct rows r = make_rows(4 * 4000);
	bool told[4000];
	for (int i = 0; i < 4000; i++)
		told[i] = batches_domain(b, i);
	next(b, 4000, &r, 0);
	batches_get_state(b, at);
	assert_int_equal(at[0], 4000);
	assert_int_equal(at[1] + at[2], 4000);
	assert_close(at[1] / 4000.0, 0.75, 4 * sqrt(0.75 * 0.25 / 4000), 0);
	for (size_t i = 0; i < 4000; i++) { /* a sequence is of one domain */
		bool second = r.tokens[i * 4] >= 2000;
		assert_int_equal(told[i], second);
		for (int k = 0; k < 4; k++)
			assert_int_equal(r.tokens[i * 4 + (size_t)k] >= 2000, second);
	}
	assert_close(batches_epochs(b, 1), (double)at[2] * 4 / (double)batches_epoch_tokens(b, 1), 0, 1e-12);
	free_rows(&r);
	batches_close(b);
}

/* Two domains of the same text are not read in the same order. */
static void test_own_order(void **state)
{
	(void)state;
	struct batches_options o = { .sequence_length = 10, .seed = SEED };
	struct domain d[2] = { pair()[0], pair()[0] };
	struct batches *b;
	struct err e;
	int32_t stream[2][1300], targets[10];
	uint64_t at[3] = { 0 };
	assert_ok(batches_open(&b, &o, d, 2, &e), &e);
	for (int i = 0; i < 120; i++) {
		uint64_t before = at[1];
		batches_next(b, 1, stream[0] + 1200, targets, NULL, NULL, NULL);
		batches_get_state(b, at);
		int which = at[1] == before;
		memcpy(stream[which] + (at[1 + which] - 1) * 10, stream[0] + 1200, 10 * 4);
	}
	assert_true(at[1] > 13 && at[2] > 13); /* an epoch of both */
	assert_true(memcmp(stream[0], stream[1], 130 * 4) != 0);
	batches_close(b);
}

static void test_held_out(void **state)
{
	(void)state;
	static struct stream s;
	struct batches_options o = { .sequence_length = 9, .seed = SEED, .separator = SEPARATOR_BOS, .bos = BOS, .eos = -1 };
	struct batches *b;
	struct err e;
	for (uint32_t first = 0; first < 14; first++) {
		struct domain d = pair()[0];
		d.first_document = first;
		assert_ok(batches_open(&b, &o, &d, 1, &e), &e);
		write_out(&s, o.separator, first, 4);
		assert_int_equal(batches_epoch_tokens(b, 0) * 4, s.n);
		size_t n = s.n / 9 - 1;
		struct rows r = make_rows(n * 9);
		next(b, (int)n, &r, 0);
		assert_memory_equal(r.tokens, s.id, n * 9 * 4);
		for (size_t i = 0; i < n * 9; i++) {
			assert_false(first <= 10 && r.tokens[i] >= 100 && r.tokens[i] < 1000 &&
				     r.tokens[i] < 100 + (int32_t)two[0].offsets[first]);
			assert_false(first > 10 && r.tokens[i] >= 100 && r.tokens[i] < 1000 + (int32_t)two[1].offsets[first - 10]);
		}
		free_rows(&r);
		batches_close(b);
	}
}

static void test_refused(void **state)
{
	(void)state;
	/* domain a has 85 + 46 tokens: 131 are enough for T = 130, and no more */
	struct batches_options o = { .sequence_length = 130, .seed = SEED, .bos = -1, .eos = -1 };
	struct domain d[2] = { pair()[0], pair()[1] };
	struct batches *b;
	struct err e;
	assert_ok(batches_open(&b, &o, d, 1, &e), &e);
	batches_close(b);
	o.sequence_length = 131;
	assert_fails(batches_open(&b, &o, d, 1, &e), &e, "domain 'a': expected at least sequence_length + 1 = 132 tokens, found 131");
	assert_int_equal(e.status, ERR_USER);
	assert_null(b);
	o.sequence_length = 100;
	assert_fails(batches_open(&b, &o, d, 2, &e), &e, "domain 'b'");
	d[0].first_document = 99;
	assert_fails(batches_open(&b, &o, d, 1, &e), &e, "found 0 in 0 documents (99 held out)");
	d[0].first_document = 0;
	o.sequence_length = 0;
	assert_fails(batches_open(&b, &o, d, 1, &e), &e, "sequence_length");
	o.sequence_length = 8;
	o.separator = SEPARATOR_BOS;
	assert_fails(batches_open(&b, &o, d, 1, &e), &e, "no bos token");
	o.bos = 1;
	assert_ok(batches_open(&b, &o, d, 1, &e), &e);
	batches_close(b);
	o.separator = SEPARATOR_BOTH;
	assert_fails(batches_open(&b, &o, d, 1, &e), &e, "no eos token");
	o.separator = SEPARATOR_NONE;
	static const double weights[] = { 0, -1, NAN, INFINITY };
	for (size_t i = 0; i < 4; i++) {
		d[1].weight = weights[i];
		assert_fails(batches_open(&b, &o, d, 2, &e), &e, "domain 'b': expected a positive weight");
	}
}

/* Whatever decides the sequences decides the hash; equal inputs give equal hashes. */
static void test_hash(void **state)
{
	(void)state;
	struct batches_options o[7];
	struct domain d[6][2];
	uint64_t hash[15];
	int n = 0;
	struct batches *b;
	struct err e;
	for (int i = 0; i < 7; i++)
		o[i] = (struct batches_options){ .sequence_length = 8, .seed = SEED, .separator = SEPARATOR_BOTH, .bos = BOS, .eos = EOS };
	o[1].sequence_length = 9;
	o[2].seed++;
	o[3].separator = SEPARATOR_BOS;
	o[4].bos = 7;
	o[5].eos = 7;
	o[6].separator = SEPARATOR_NONE;
	for (int i = 0; i < 6; i++)
		memcpy(d[i], pair(), sizeof d[i]);
	d[1][0].weight = 2;
	d[2][0].first_document = 1;
	d[3][0].n_shards = 1;
	d[4][0].shards = &one;
	d[4][0].n_shards = 1;
	for (int i = 0; i < 7; i++, n++) {
		assert_ok(batches_open(&b, &o[i], d[0], 2, &e), &e);
		hash[n] = batches_hash(b);
		batches_close(b);
	}
	for (int i = 1; i < 5; i++, n++) {
		assert_ok(batches_open(&b, &o[0], d[i], 2, &e), &e);
		hash[n] = batches_hash(b);
		batches_close(b);
	}
	for (int i = 0; i < n; i++)
		for (int k = 0; k < i; k++)
			if (hash[i] == hash[k])
				fail_msg("variants %d and %d have one hash", i, k);
	d[5][0].weight = 6; /* 6 : 2 is 3 : 1 */
	d[5][1].weight = 2;
	assert_ok(batches_open(&b, &o[0], d[5], 2, &e), &e);
	batches_next(b, 1, (int32_t[8]){ 0 }, (int32_t[8]){ 0 }, NULL, NULL, NULL);
	assert_int_equal(batches_hash(b), hash[0]);
	batches_close(b);
}

static void test_separator_names(void **state)
{
	(void)state;
	enum separator s = SEPARATOR_NONE;
	for (int i = 0; i <= SEPARATOR_BOTH; i++) {
		assert_int_equal(separator_parse(separator_name((enum separator)i), &s), 0);
		assert_int_equal(s, i);
	}
	assert_int_equal(separator_parse("bros", &s), -1);
}

/* A tokenizer of two tokens with the given template (TemplateProcessing's "single") and tokenizer_config. */
static enum separator default_of(const char *single, const char *config)
{
	char json[2048];
	struct tokenizer *t;
	struct err e;
	int n = snprintf(json, sizeof json,
			 "{\"added_tokens\":[{\"id\":1,\"content\":\"<b>\",\"special\":true},{\"id\":2,\"content\":\"<e>\",\"special\":true}],"
			 "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[%s],\"pair\":[],\"special_tokens\":{"
			 "\"<b>\":{\"id\":\"<b>\",\"ids\":[1],\"tokens\":[\"<b>\"]},"
			 "\"<e>\":{\"id\":\"<e>\",\"ids\":[2],\"tokens\":[\"<e>\"]}}},"
			 "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"<b>\":1,\"<e>\":2},\"merges\":[]}}", single);
	assert_ok(tokenizer_parse(&t, "test", json, (size_t)n, config, strlen(config), &e), &e);
	enum separator s = separator_default(t);
	tokenizer_free(t);
	return s;
}

#define TEXT "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define LEAD "{\"SpecialToken\":{\"id\":\"<b>\",\"type_id\":0}},"
#define TRAIL ",{\"SpecialToken\":{\"id\":\"<e>\",\"type_id\":0}}"
#define BOTH_KNOWN "{\"bos_token\":\"<b>\",\"eos_token\":\"<e>\"}"

static void test_separator_default(void **state)
{
	(void)state;
	assert_int_equal(default_of(LEAD TEXT, BOTH_KNOWN), SEPARATOR_BOS);
	assert_int_equal(default_of(TEXT TRAIL, BOTH_KNOWN), SEPARATOR_EOS);
	assert_int_equal(default_of(LEAD TEXT TRAIL, BOTH_KNOWN), SEPARATOR_BOTH);
	assert_int_equal(default_of(TEXT, BOTH_KNOWN), SEPARATOR_EOS);
	assert_int_equal(default_of(TEXT, "{\"bos_token\":\"<b>\"}"), SEPARATOR_BOS);
	assert_int_equal(default_of(TEXT, "{}"), SEPARATOR_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_stream), cmocka_unit_test(test_every_token_once), cmocka_unit_test(test_any_grouping),
		cmocka_unit_test(test_resume),	       cmocka_unit_test(test_mixture),		cmocka_unit_test(test_held_out),
		cmocka_unit_test(test_refused),	       cmocka_unit_test(test_hash),		cmocka_unit_test(test_separator_names),
		cmocka_unit_test(test_separator_default), cmocka_unit_test(test_own_order),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}

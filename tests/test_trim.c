/* data/tokenizer_trim: a trimmed tokenizer gives the same pieces for every text whose old ids all stay, and what is left out is
 * spelled by what stays. Over the golden variants and the shared tokenizers. The files of a directory:
 * tests/test_trim_files.c, the model's rows and the verb: tests/test_trim_model.c */
#include "tests/testing.h"

#include "base/rng.h"
#include "data/text.h"
#include "data/tokenizer_parts.h"
#include "data/tokenizer_trim.h"
#include "data/unicode.h"

/* ---- a tokenizer and its trimmed one ---- */

struct pair {
	struct tokenizer *old, *small;
	uint64_t *counts;
	struct tokenizer_trim trim;
	struct ids was, is;
	struct bytes before, after;
	int n_whole, n_other; /* texts whose ids all stay, and the others */
};

static void pair_open(struct pair *p, struct tokenizer *old)
{
	*p = (struct pair){.old = old};
	p->counts = calloc((size_t)tokenizer_vocab_size(old), sizeof *p->counts);
	assert_non_null(p->counts);
}

static void pair_drop(struct pair *p)
{
	tokenizer_free(p->small);
	p->small = NULL;
	tokenizer_trim_release(&p->trim);
}

static void pair_close(struct pair *p)
{
	pair_drop(p);
	free(p->counts);
	ids_release(&p->was);
	ids_release(&p->is);
	bytes_release(&p->before);
	bytes_release(&p->after);
	tokenizer_free(p->old);
}

static struct tokenizer *trimmed(const struct tokenizer_trim *m, const struct tokenizer *old)
{
	struct err e;
	struct tokenizer *t;
	struct bytes json = {0};
	assert_ok(tokenizer_trim_json(m, old, &json, &e), &e);
	assert_ok(tokenizer_parse(&t, "trimmed", json.v, json.n, old->config.n ? old->config.v : NULL, old->config.n, &e), &e);
	bytes_release(&json);
	return t;
}

static void pair_trim(struct pair *p, uint64_t min_count, int32_t max_tokens)
{
	struct err e;
	struct tokenizer_trim_options o = {.counts = p->counts, .min_count = min_count, .max_tokens = max_tokens};
	pair_drop(p);
	assert_ok(tokenizer_trim_choose(&p->trim, p->old, &o, &e), &e);
	p->small = trimmed(&p->trim, p->old);
	assert_int_equal(tokenizer_vocab_size(p->small), p->trim.n_new);
	assert_true(!max_tokens || p->trim.n_new <= max_tokens);
}

static void count(struct pair *p, const char *s, size_t n)
{
	struct err e;
	p->was.n = 0;
	assert_ok(tokenizer_encode_document(p->old, s, n, &p->was, &e), &e);
	for (size_t i = 0; i < p->was.n; i++)
		p->counts[p->was.v[i]]++;
}

/* ---- what must hold ---- */

/* Ids out of both. Returns whether all the old ones stay. */
static bool encode_both(struct pair *p, const char *s, size_t n)
{
	struct err e;
	bool whole = true;
	p->was.n = p->is.n = 0;
	assert_ok(tokenizer_encode_document(p->old, s, n, &p->was, &e), &e);
	assert_ok(tokenizer_encode_document(p->small, s, n, &p->is, &e), &e);
	for (size_t i = 0; i < p->was.n; i++)
		whole = whole && p->trim.new_ids[p->was.v[i]] >= 0;
	return whole;
}

static bool same_pieces(const struct pair *p)
{
	bool same = p->was.n == p->is.n;
	for (size_t i = 0; same && i < p->is.n; i++)
		same = p->trim.old_ids[p->is.v[i]] == p->was.v[i];
	return same;
}

static bool same_text(struct pair *p, bool skip_special)
{
	struct err e;
	p->before.n = p->after.n = 0;
	assert_ok(tokenizer_decode(p->old, p->was.v, p->was.n, skip_special, &p->before, &e), &e);
	assert_ok(tokenizer_decode(p->small, p->is.v, p->is.n, skip_special, &p->after, &e), &e);
	return p->before.n == p->after.n && (!p->before.n || !memcmp(p->before.v, p->after.v, p->before.n));
}

/* 1: something is wrong with this text. */
static int check_text(struct pair *p, const char *name, const char *s, size_t n)
{
	bool whole = encode_both(p, s, n);
	p->n_whole += whole;
	p->n_other += !whole;
	if (whole && !same_pieces(p)) {
		print_error("%s: \"%.*s\": other pieces\n", name, (int)(n > 200 ? 200 : n), s);
		return 1;
	}
	if (!whole && p->old->detokenize.none) /* tokens are joined by spaces: other pieces are another text */
		return 0;
	if (same_text(p, false) && same_text(p, true))
		return 0;
	print_error("%s: \"%.*s\": decodes to \"%.*s\", formerly \"%.*s\"\n", name, (int)(n > 200 ? 200 : n), s, (int)p->after.n,
		    p->after.v, (int)p->before.n, p->before.v);
	return 1;
}

/* How many tokens merging no longer reaches, or reaches by another way. */
static int check_ancestors(struct pair *p)
{
	struct err e;
	int wrong = 0;
	for (int32_t id = 0; id < p->trim.n_new; id++) {
		p->was.n = p->is.n = 0;
		int was = bpe_derive(&p->old->bpe, p->trim.old_ids[id], &p->was, &e), is = bpe_derive(&p->small->bpe, id, &p->is, &e);
		assert_true(was >= 0 && is >= 0);
		wrong += was == 1 && (is != 1 || !same_pieces(p));
	}
	return wrong;
}

static void check_ends(const struct pair *p)
{
	const struct tokenizer *a = p->old, *b = p->small;
	const int32_t was[] = {a->bos, a->eos, a->bpe.unk}, is[] = {b->bos, b->eos, b->bpe.unk};
	for (int i = 0; i < 3; i++)
		assert_int_equal(was[i] < 0 ? -1 : p->trim.new_ids[was[i]], is[i]);
	assert_int_equal(a->before.n, b->before.n);
	for (size_t i = 0; i < a->before.n; i++)
		assert_int_equal(p->trim.new_ids[a->before.v[i]], b->before.v[i]);
	assert_int_equal(a->added.n, b->added.n);
	assert_true(a->bpe.raw == b->bpe.raw);
	for (size_t i = 0; i < a->added.n; i++)
		assert_int_equal(p->trim.new_ids[a->added.v[i].id], b->added.v[i].id);
}

/* ---- texts ---- */

static uint32_t draw(uint64_t seed, uint64_t i, uint32_t below)
{
	return rng_u32(seed, RNG_TEST, 0, i) % below;
}

/* Kept tokens, any tokens, characters of all planes, white space, special tokens, behind one another. */
static void random_text(const struct pair *p, uint64_t seed, struct bytes *out)
{
	static const char *const spaces[] = {" ", "  ", "\n", "\t", "\r\n", "\xC2\xA0", "\xE3\x80\x80", "\xE2\x96\x81", "   "};
	struct err e;
	uint32_t n = 1 + draw(seed, 0, 12), style = draw(seed, 1, 4);
	out->n = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t at = 10 + 4 * i;
		uint32_t kind = style ? 0 : draw(seed, at, 5);
		char c[4];
		int32_t id = p->trim.old_ids[draw(seed, at + 1, (uint32_t)p->trim.n_new)];
		if (kind == 1)
			id = (int32_t)draw(seed, at + 1, (uint32_t)p->trim.n_old);
		if (kind <= 1) {
			assert_ok(tokenizer_decode(p->old, &id, 1, style == 1, out, &e), &e);
		} else if (kind == 2) {
			const char *s = spaces[draw(seed, at + 1, sizeof spaces / sizeof *spaces)];
			assert_ok(bytes_append(out, s, strlen(s), &e), &e);
		} else {
			uint32_t code = draw(seed, at + 1, kind == 3 ? 0x250 : 0x20000);
			code = code >= 0xD800 && code < 0xE000 ? 'x' : code;
			assert_ok(bytes_append(out, c, (size_t)utf8_put(c, (int32_t)code), &e), &e);
		}
	}
}

static int check_random(struct pair *p, const char *name, uint64_t seed, int n_texts)
{
	struct bytes text = {0};
	int wrong = 0;
	for (int i = 0; i < n_texts; i++) {
		random_text(p, seed + (uint64_t)i, &text);
		wrong += check_text(p, name, text.v, text.n);
	}
	bytes_release(&text);
	return wrong;
}

/* ---- the golden variants: every kind of tokenizer that is read ---- */

static json_t *variants(void)
{
	json_error_t error;
	json_t *golden = json_load_file(test_source("tests/golden/tokenizers_variants.json").text, JSON_ALLOW_NUL, &error);
	if (!golden)
		fail_msg("tokenizers_variants.json:%d: %s", error.line, error.text);
	return golden;
}

static struct tokenizer *open_variant(const json_t *bases, const json_t *c)
{
	struct err e;
	struct tokenizer *t;
	const char *key;
	json_t *value, *json = json_deep_copy(json_object_get(bases, json_string_value(json_object_get(c, "base"))));
	json_object_foreach(json_object_get(c, "patch"), key, value) {
		if (!strcmp(key, "model"))
			json_object_update(json_object_get(json, key), value);
		else
			json_object_set(json, key, value);
	}
	char *text = json_dumps(json, JSON_COMPACT);
	assert_ok(tokenizer_parse(&t, json_string_value(json_object_get(c, "name")), text, strlen(text), NULL, 0, &e), &e);
	free(text);
	json_decref(json);
	return t;
}

static int check_texts(struct pair *p, const char *name, const json_t *texts)
{
	int wrong = 0;
	for (size_t i = 0; i < json_array_size(texts); i++) {
		const json_t *text = json_array_get(texts, i);
		wrong += check_text(p, name, json_string_value(text), json_string_length(text));
	}
	return wrong;
}

static void count_randomly(struct pair *p, uint64_t seed, uint32_t percent)
{
	for (int32_t id = 0; id < p->old->vocab_size; id++)
		p->counts[id] = draw(seed, (uint64_t)id, 100) < percent ? 1 + draw(seed + 1, (uint64_t)id, 50) : 0;
}

static int check_variant(struct pair *p, const char *name, const json_t *texts)
{
	static const uint32_t percents[] = {0, 5, 30, 70, 100};
	int wrong = 0;
	for (size_t i = 0; i < sizeof percents / sizeof *percents; i++) {
		count_randomly(p, 100 * i + 7, percents[i]);
		pair_trim(p, 1, 0);
		wrong += check_texts(p, name, texts) + check_random(p, name, 1000 * i, 60) + check_ancestors(p);
		check_ends(p);
	}
	int32_t all = p->trim.n_new;
	pair_trim(p, 25, 0); /* 100 %, but half of them too rare */
	wrong += check_texts(p, name, texts) + check_ancestors(p);
	assert_true(p->trim.n_new < all);
	pair_trim(p, 1, p->trim.n_new - 3);
	return wrong + check_texts(p, name, texts) + check_random(p, name, 9000, 60) + check_ancestors(p);
}

static void every_kind_keeps_its_pieces(void **state)
{
	(void)state;
	json_t *golden = variants(), *c;
	const json_t *texts = json_object_get(golden, "texts"), *bases = json_object_get(golden, "bases");
	size_t i;
	int wrong = 0, whole = 0, other = 0;
	json_array_foreach(json_object_get(golden, "cases"), i, c) {
		struct pair p;
		pair_open(&p, open_variant(bases, c));
		wrong += check_variant(&p, json_string_value(json_object_get(c, "name")), texts);
		whole += p.n_whole;
		other += p.n_other;
		pair_close(&p);
	}
	print_message("%d texts whose tokens all stay, %d others\n", whole, other);
	assert_true(i > 30 && whole > 5000 && other > 3000);
	assert_int_equal(wrong, 0);
	json_decref(golden);
}

/* ---- the checks can fail ---- */

/* The last token that takes two merges or more; -1: none. Its derivation is in p->was. */
static int32_t composed(struct pair *p)
{
	struct err e;
	for (int32_t id = p->trim.n_new; id-- > 0;) {
		p->was.n = 0;
		if (bpe_derive(&p->old->bpe, p->trim.old_ids[id], &p->was, &e) == 1 && p->was.n >= 5)
			return id;
	}
	return -1;
}

/* An ancestor is taken out of what was chosen. */
static void a_missing_ancestor_is_seen(void **state)
{
	(void)state;
	json_t *golden = variants();
	struct pair p;
	pair_open(&p, open_variant(json_object_get(golden, "bases"), json_array_get(json_object_get(golden, "cases"), 0)));
	count_randomly(&p, 3, 50);
	pair_trim(&p, 1, 0);
	assert_true(composed(&p) >= 0);
	int32_t victim = p.trim.new_ids[p.was.v[p.was.n - 2]]; /* the symbol before the last one came up */
	assert_int_equal(check_ancestors(&p), 0);
	assert_true(victim >= 0);
	p.trim.new_ids[p.trim.old_ids[victim]] = -1;
	for (int32_t id = victim; id + 1 < p.trim.n_new; id++) {
		p.trim.old_ids[id] = p.trim.old_ids[id + 1];
		p.trim.new_ids[p.trim.old_ids[id]] = id;
	}
	p.trim.n_new--;
	tokenizer_free(p.small);
	p.small = trimmed(&p.trim, p.old);
	assert_true(check_ancestors(&p) > 0);
	pair_close(&p);
	json_decref(golden);
}

static void a_wrong_id_is_seen(void **state)
{
	(void)state;
	json_t *golden = variants();
	struct pair p;
	pair_open(&p, open_variant(json_object_get(golden, "bases"), json_array_get(json_object_get(golden, "cases"), 0)));
	count(&p, "Once upon a time", 16);
	pair_trim(&p, 1, 0);
	assert_true(encode_both(&p, "Once upon a time", 16) && same_pieces(&p));
	p.trim.old_ids[p.is.v[p.is.n - 1]]++;
	assert_false(same_pieces(&p));
	pair_close(&p);
	json_decref(golden);
}

/* Bytes of the fallback merge to <0xE2><0x82><0xAC>, number 260, by way of 259: no text of the tokens' own leads there. The
 * vocabulary has a gap, in which the added token <new> gets the number 262; <s> in the model is 265. */
static struct tokenizer *open_fallback_merges(void)
{
	static const char parts[] =
		"{\"normalizer\": null, \"pre_tokenizer\": null, \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}]},"
		"\"added_tokens\": [{\"id\": 265, \"content\": \"<s>\", \"special\": true}, {\"id\": 262, \"content\": \"<new>\", \"special\": true}],"
		"\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}, {\"Sequence\": {\"id\": \"A\"}}],"
		"\"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [265], \"tokens\": [\"<s>\"]}}},"
		"\"model\": {\"type\": \"BPE\", \"byte_fallback\": true, \"merges\": [\"<0xE2> <0x82>\", \"<0xE2><0x82> <0xAC>\", \"a b\"], \"vocab\": {"
		"\"a\": 256, \"b\": 257, \"ab\": 258, \"<0xE2><0x82>\": 259, \"<0xE2><0x82><0xAC>\": 260, \"<s>\": 265";
	struct err e;
	struct tokenizer *t;
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	fputs(parts, f);
	for (int i = 0; i < 256; i++)
		fprintf(f, ", \"<0x%02X>\": %d", (unsigned)i, i);
	fputs("}}}", f);
	fclose(f);
	assert_ok(tokenizer_parse(&t, "fallback", text, n, NULL, 0, &e), &e);
	free(text);
	return t;
}

static void merges_of_fallback_bytes_stay(void **state)
{
	(void)state;
	static const char text[] = "\xE2\x82\xAC<new>";
	struct pair p;
	pair_open(&p, open_fallback_merges());
	count(&p, text, sizeof text - 1);
	pair_trim(&p, 1, 0);
	assert_int_equal(p.trim.n_new, 260);
	assert_true(encode_both(&p, text, sizeof text - 1));
	assert_int_equal(p.was.n, 3);
	assert_memory_equal(p.was.v, ((int32_t[]){265, 260, 262}), sizeof(int32_t[3]));
	assert_int_equal(p.is.n, 3);
	assert_memory_equal(p.is.v, ((int32_t[]){258, 257, 259}), sizeof(int32_t[3]));
	assert_int_equal(check_text(&p, "fallback", "ab\xE2\x82\xAC", 5), 0);
	check_ends(&p);
	pair_close(&p);
}

/* ---- the shared tokenizers, on text that they didn't see ---- */

/* The first documents of a corpus, up to n_bytes. Counts them or checks them. */
static int over_corpus(struct pair *p, const char *name, const char *corpus, size_t n_bytes, bool counts)
{
	struct err e;
	struct text_reader *r;
	const char *s;
	size_t n, seen = 0;
	int wrong = 0;
	assert_ok(text_open(&r, test_shared(corpus).text, &e), &e);
	while (seen < n_bytes && text_next(r, &s, &n, &e) > 0) {
		seen += n;
		if (counts)
			count(p, s, n > 4000 ? utf8_valid_prefix(s, 4000) : n);
		for (size_t at = 0; !counts && at < n && at < 4000;) { /* short texts, so that many of them stay whole */
			const char *line = memchr(s + at, '.', n - at);
			size_t end = line ? (size_t)(line - s) + 1 : n;
			wrong += check_text(p, name, s + at, end - at);
			at = end;
		}
	}
	text_close(r);
	return wrong;
}

static void shared_tokenizers_keep_their_pieces(void **state)
{
	(void)state;
	static const char *const paths[] = {"data/models/stories260K", "data/models/stories3M", "data/tokenizers/gpt2.vocab.json",
					    "data/tokenizers/pythia_neox.tokenizer.json", "data/tokenizers/tinystories_bpe4096.tokenizer.json"};
	static const char *const unseen[] = {"data/corpora/stories.valid.txt.gz", "data/corpora/wiki.valid.txt.gz",
					     "data/corpora/code.valid.txt.gz", "data/corpora/math.valid.txt.gz"};
	struct err e;
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		struct tokenizer *t;
		struct pair p;
		int wrong = 0;
		assert_ok(tokenizer_open(&t, test_shared(paths[i]).text, &e), &e);
		pair_open(&p, t);
		over_corpus(&p, paths[i], "data/corpora/stories.train.txt.gz", 150000, true);
		for (int limit = 0; limit < 2; limit++) {
			pair_trim(&p, 1, limit ? 400 : 0);
			for (size_t k = 0; k < sizeof unseen / sizeof *unseen; k++)
				wrong += over_corpus(&p, paths[i], unseen[k], 25000, false);
			wrong += check_random(&p, paths[i], 77, 200) + check_ancestors(&p);
			check_ends(&p);
			print_message("%s: %d of %d tokens, %d texts whose tokens all stay, %d others\n", paths[i], p.trim.n_new, p.trim.n_old,
				      p.n_whole, p.n_other);
			assert_true(p.trim.n_new < p.trim.n_old && p.n_whole > 150);
		}
		assert_int_equal(wrong, 0);
		pair_close(&p);
	}
}

/* ---- the choice ---- */

static void too_few_tokens_are_refused(void **state)
{
	(void)state;
	struct err e;
	json_t *golden = variants();
	struct pair p;
	pair_open(&p, open_variant(json_object_get(golden, "bases"), json_array_get(json_object_get(golden, "cases"), 0)));
	struct tokenizer_trim_options o = {.counts = p.counts, .min_count = 1, .max_tokens = 256};
	assert_fails(tokenizer_trim_choose(&p.trim, p.old, &o, &e), &e, "must stay are 257 tokens, more than the 256");
	assert_int_equal(e.status, ERR_USER);
	assert_null(p.trim.new_ids);
	o.max_tokens = 257;
	assert_ok(tokenizer_trim_choose(&p.trim, p.old, &o, &e), &e);
	assert_int_equal(p.trim.n_new, 257);
	int32_t wanted[] = {300, 999999, -1};
	o.required = wanted;
	o.n_required = 3;
	o.max_tokens = 0;
	tokenizer_trim_release(&p.trim);
	assert_ok(tokenizer_trim_choose(&p.trim, p.old, &o, &e), &e);
	assert_true(p.trim.n_new > 257 && p.trim.new_ids[300] >= 0);
	pair_close(&p);
	json_decref(golden);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_keeps_its_pieces),
		cmocka_unit_test(merges_of_fallback_bytes_stay),
		cmocka_unit_test(a_missing_ancestor_is_seen),
		cmocka_unit_test(a_wrong_id_is_seen),
		cmocka_unit_test(shared_tokenizers_keep_their_pieces),
		cmocka_unit_test(too_few_tokens_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

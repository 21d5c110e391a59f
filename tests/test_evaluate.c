/* results/evaluate.c, windows.c, documents.c, loaded_model.c: windows score each token once, packing changes nothing,
 * two real checkpoints agree with a float64 reference (tests/golden/evaluate.py). */
#include "tests/eval_ops.h"

#include "base/json.h"
#include "base/rng.h"
#include "results/loaded_model.h"
#include "results/windows.h"

/* ---- windows ---- */

static void every_token_is_scored_once(void **state)
{
	(void)state;
	for (int S = 2; S <= 9; S++)
		for (size_t n = 0; n <= 60; n++) {
			size_t next = 1;
			struct window w;
			for (size_t k = 0; window_at(n, S, k, &w); k++) {
				assert_int_equal(w.scored, next);
				assert_true(w.end - w.first <= (size_t)S && w.first == k * ((size_t)S / 2));
				assert_true(!k || w.scored - w.first >= (size_t)S / 2);
				next = w.end;
			}
			assert_int_equal(next, n < 2 ? 1 : n);
		}
}

static void packing_keeps_documents_apart(void **state)
{
	(void)state;
	enum { B = 2, T = 8 };
	int filled[B];
	int32_t tokens[B * T], targets[B * T], pos[B * T], start[B * T];
	float weight[B * T];
	size_t document[B * T];
	struct packing p = {.B = B, .T = T, .filled = filled, .tokens = tokens, .targets = targets, .pos = pos, .start = start,
			    .weight = weight, .document = document};
	const int32_t ids[] = {10, 11, 12, 13, 14};
	struct window whole = {0, 5, 1}, later = {1, 5, 3};
	packing_clear(&p);
	assert_true(packing_add(&p, ids, &whole, 7)); /* 4 rows at 0 */
	assert_true(packing_add(&p, ids, &later, 8)); /* 3 rows at 4 */
	assert_true(packing_add(&p, ids, &whole, 9)); /* 4 rows of the second sequence */
	assert_int_equal(p.used_T, 7);
	packing_close(&p);
	static const int32_t want_tokens[] = {10, 11, 12, 13, 11, 12, 13, 10, 11, 12, 13};
	static const int32_t want_targets[] = {11, 12, 13, 14, 12, 13, 14, 11, 12, 13, 14};
	static const int32_t want_start[] = {0, 0, 0, 0, 4, 4, 4, 0, 0, 0, 0};
	static const int32_t want_pos[] = {0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3};
	static const float want_weight[] = {1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1};
	assert_memory_equal(tokens, want_tokens, sizeof want_tokens);
	assert_memory_equal(targets, want_targets, sizeof want_targets);
	assert_memory_equal(start, want_start, sizeof want_start);
	assert_memory_equal(pos, want_pos, sizeof want_pos);
	assert_memory_equal(weight, want_weight, sizeof want_weight);
	assert_int_equal(document[6], 8);
	assert_int_equal(weight[11] + weight[12] + weight[13], 0);
	assert_true(packing_add(&p, ids, &later, 8));
	assert_false(packing_add(&p, ids, &later, 8));
}

/* ---- packed against alone, on a tiny random model ---- */

enum { N_DOCUMENTS = 37, TINY_V = 61 };
struct corpus {
	int32_t ids[8192];
	size_t offsets[N_DOCUMENTS + 1], n_bytes[N_DOCUMENTS];
};

/* Lengths 0, 1, 2, 3 and up to 150 tokens: empty, unscored, and longer than a window. */
static void corpus_make(struct corpus *c)
{
	c->offsets[0] = 0;
	for (size_t d = 0; d < N_DOCUMENTS; d++) {
		size_t n = d < 4 ? d : 1 + rng_below(5, RNG_TEST, 0, d, d % 5 ? 40 : 150);
		for (size_t i = 0; i < n; i++)
			c->ids[c->offsets[d] + i] = (int32_t)rng_below(5, RNG_TEST, 1 + d, i, TINY_V);
		c->offsets[d + 1] = c->offsets[d] + n;
		c->n_bytes[d] = 3 * n + 1;
	}
}

static struct array_documents documents_of(const struct corpus *c, size_t first, size_t count)
{
	return (struct array_documents){.ids = c->ids, .offsets = c->offsets + first, .n_bytes = c->n_bytes + first, .n = count};
}

static void run_tiny(struct loaded_model *m, const struct corpus *c, size_t first, size_t count, struct evaluator_options o,
		     struct evaluation *out)
{
	struct err e;
	struct array_documents a = documents_of(c, first, count);
	struct document_source source = array_documents_open(&a);
	assert_ok(loaded_model_evaluate(m, NULL, &o, &source, out, NULL, NULL, &e), &e);
}

static void check_same_scores(const struct evaluation *a, const struct evaluation *b)
{
	assert_int_equal(a->n_documents, b->n_documents);
	assert_int_equal(a->tokens, b->tokens);
	assert_int_equal(a->bytes, b->bytes);
	for (size_t i = 0; i < a->n_documents; i++) {
		assert_int_equal(a->documents[i].tokens, b->documents[i].tokens);
		assert_close(a->documents[i].nll, b->documents[i].nll, 0, 1e-6);
	}
}

static void packed_equals_alone(void **state)
{
	static const char *const models[] = {"llama_tied", "llama_rope3", "mistral_window", "qwen3"};
	struct corpus c;
	struct ops *ops = open_ops();
	struct err e;
	(void)state;
	corpus_make(&c);
	for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
		struct loaded_model m;
		struct evaluation packed, batch;
		char path[128];
		snprintf(path, sizeof path, "tests/golden/models/%s", models[i]);
		assert_ok(loaded_model_open(&m, ops, test_source(path).text, &e), &e);
		run_tiny(&m, &c, 0, N_DOCUMENTS, (struct evaluator_options){.sequence_length = 48}, &packed);
		run_tiny(&m, &c, 0, N_DOCUMENTS, (struct evaluator_options){.sequence_length = 48, .B = 3, .T = 53}, &batch);
		check_same_scores(&packed, &batch);
		assert_true(packed.data_hash == batch.data_hash);
		for (size_t d = 2; d < N_DOCUMENTS; d++) {
			struct evaluation alone;
			run_tiny(&m, &c, d, 1, (struct evaluator_options){.sequence_length = 48, .T = 47}, &alone);
			assert_int_equal(alone.documents[0].tokens, packed.documents[d].tokens);
			assert_close(alone.documents[0].nll, packed.documents[d].nll, 0, 1e-6);
			evaluation_release(&alone);
		}
		evaluation_release(&packed);
		evaluation_release(&batch);
		loaded_model_close(&m);
	}
	ops_cpu_close(ops);
}

static void assert_same_documents(const struct evaluation *a, const struct evaluation *b)
{
	assert_int_equal(a->n_documents, b->n_documents);
	for (size_t i = 0; i < a->n_documents; i++) {
		const struct document_score *x = &a->documents[i], *y = &b->documents[i];
		assert_true(x->nll == y->nll && x->kl == y->kl);
		assert_true(x->tokens == y->tokens && x->agree == y->agree && x->bytes == y->bytes);
	}
}

/* Two runs, the same bits. */
static void deterministic(void **state)
{
	struct corpus c;
	struct ops *ops = open_ops();
	struct loaded_model m;
	struct evaluation a, b;
	struct err e;
	(void)state;
	corpus_make(&c);
	assert_ok(loaded_model_open(&m, ops, test_source("tests/golden/models/qwen2").text, &e), &e);
	run_tiny(&m, &c, 0, N_DOCUMENTS, (struct evaluator_options){0}, &a);
	run_tiny(&m, &c, 0, N_DOCUMENTS, (struct evaluator_options){0}, &b);
	assert_int_equal(a.sequence_length, 128);
	assert_same_documents(&a, &b);
	evaluation_release(&a);
	evaluation_release(&b);
	loaded_model_close(&m);
	ops_cpu_close(ops);
}

/* ---- a teacher, masks, buffers of others ---- */

struct bench { /* one evaluator with a teacher's activations beside it */
	struct ops *ops;
	struct evaluator *evaluator;
	struct activations *own, *teacher_act;
	void *memory;
};

static void bench_lay_out(struct bench *b, const struct arch *student, const struct arch *teacher, struct arena *a)
{
	struct err e;
	assert_ok(activations_init(&b->own, b->ops, student, 2, 64, ACTIVATIONS_MASKED, a, &e), &e);
	assert_ok(activations_init(&b->teacher_act, b->ops, teacher, 2, 64, ACTIVATIONS_INFER, a, &e), &e);
	struct evaluator_options o = {.sequence_length = 48, .B = 2, .T = 64, .teacher_V = teacher->shape.V, .act = b->own};
	assert_ok(evaluator_init(&b->evaluator, b->ops, student, &o, a, &e), &e);
}

static void bench_close(struct bench *b)
{
	evaluator_free(b->evaluator);
	activations_free(b->own);
	activations_free(b->teacher_act);
}

static void bench_open(struct bench *b, struct ops *ops, const struct arch *student, const struct arch *teacher)
{
	struct err e;
	struct arena a = arena_dry();
	b->ops = ops;
	bench_lay_out(b, student, teacher, &a);
	bench_close(b);
	assert_ok(ops->alloc(ops, a.used, &b->memory, &e), &e);
	struct arena real = {.base = b->memory, .capacity = a.used};
	bench_lay_out(b, student, teacher, &real);
	activations_upload_tables(b->own, ops, student);
	activations_upload_tables(b->teacher_act, ops, teacher);
	assert_int_equal(real.used, a.used);
}

static void run_bench(struct bench *b, const struct corpus *c, const struct evaluated *m, struct evaluation *out)
{
	struct err e;
	struct array_documents a = documents_of(c, 0, N_DOCUMENTS);
	struct document_source source = array_documents_open(&a);
	assert_ok(evaluator_run(b->evaluator, m, &source, out, NULL, NULL, &e), &e);
}

static void teacher_and_masks(void **state)
{
	struct corpus c;
	struct ops *ops = open_ops();
	struct loaded_model student, teacher;
	struct evaluation plain, same, other, ones, halved, whole;
	struct bench b;
	struct err e;
	(void)state;
	corpus_make(&c);
	assert_ok(loaded_model_open(&student, ops, test_source("tests/golden/models/llama_tied").text, &e), &e);
	assert_ok(loaded_model_open(&teacher, ops, test_source("tests/golden/models/llama_rope3").text, &e), &e);
	const struct arch *arch = &student.hf.layout.arch;
	run_tiny(&student, &c, 0, N_DOCUMENTS, (struct evaluator_options){.sequence_length = 48}, &plain);

	bench_open(&b, ops, arch, arch);
	run_bench(&b, &c, &(struct evaluated){.params = &student.params, .teacher = &student.params, .teacher_act = b.teacher_act},
		  &same);
	check_same_scores(&same, &plain);
	assert_true(same.has_teacher && same.agreement_top1 == 1);
	assert_close(same.kl, 0, 1e-6, 0);

	float *z = malloc((size_t)arch->shape.L * (size_t)arch->shape.F * sizeof *z);
	for (int i = 0; i < arch->shape.L * arch->shape.F; i++)
		z[i] = 1;
	struct masks masks = {.ffn = z};
	run_bench(&b, &c, &(struct evaluated){.params = &student.params, .masks = &masks}, &ones);
	check_same_scores(&ones, &plain);
	assert_false(ones.has_teacher);
	z[0] = 0; /* one channel of one layer: seen */
	run_bench(&b, &c, &(struct evaluated){.params = &student.params, .masks = &masks}, &halved);
	assert_true(fabs(halved.nll - plain.nll) > 1e-6);
	free(z);
	bench_close(&b);
	ops->release(ops, b.memory);

	bench_open(&b, ops, arch, &teacher.hf.layout.arch);
	run_bench(&b, &c, &(struct evaluated){.params = &student.params, .teacher = &teacher.params, .teacher_act = b.teacher_act},
		  &other);
	check_same_scores(&other, &plain);
	assert_true(other.kl > 1e-3 && other.agreement_top1 < 1);
	bench_close(&b);
	ops->release(ops, b.memory);

	/* The same through buffers of its own. */
	struct array_documents a = documents_of(&c, 0, N_DOCUMENTS);
	struct document_source source = array_documents_open(&a);
	struct evaluator_options o = {.sequence_length = 48};
	assert_ok(loaded_model_evaluate(&student, &teacher, &o, &source, &whole, NULL, NULL, &e), &e);
	check_same_scores(&whole, &plain);
	assert_close(whole.kl, other.kl, 0, 1e-5);
	assert_close(whole.agreement_top1, other.agreement_top1, 1e-12, 0);
	double tokens_per_s;
	assert_ok(loaded_model_speed(&student, &tokens_per_s, &e), &e);
	assert_true(tokens_per_s > 0);

	struct evaluation *all[] = {&plain, &same, &other, &ones, &halved, &whole};
	for (int i = 0; i < 6; i++)
		evaluation_release(all[i]);
	loaded_model_close(&student);
	loaded_model_close(&teacher);
	ops_cpu_close(ops);
}

static int fail_if(struct loaded_model *m, const int32_t *ids, size_t n, struct evaluator_options o, struct err *e)
{
	size_t offsets[2] = {0, n}, n_bytes[1] = {5};
	struct array_documents a = {.ids = ids, .offsets = offsets, .n_bytes = n_bytes, .n = 1};
	struct document_source source = array_documents_open(&a);
	struct evaluation out;
	int rc = loaded_model_evaluate(m, NULL, &o, &source, &out, NULL, NULL, e);
	evaluation_release(&out);
	return rc;
}

static void bad_input(void **state)
{
	struct ops *ops = open_ops();
	struct loaded_model m;
	struct err e;
	const int32_t high[] = {1, 2, TINY_V}, negative[] = {1, -1}, one[] = {1};
	(void)state;
	assert_ok(loaded_model_open(&m, ops, test_source("tests/golden/models/llama_tied").text, &e), &e);
	assert_fails(fail_if(&m, high, 3, (struct evaluator_options){0}, &e), &e, "token 2 has id 61");
	assert_fails(fail_if(&m, negative, 2, (struct evaluator_options){0}, &e), &e, "id -1");
	assert_fails(fail_if(&m, one, 1, (struct evaluator_options){0}, &e), &e, "no token to score");
	assert_fails(fail_if(&m, one, 1, (struct evaluator_options){.sequence_length = 1}, &e), &e, "at least 2");
	assert_fails(fail_if(&m, one, 1, (struct evaluator_options){.sequence_length = 65, .T = 63}, &e), &e, "do not fit");
	loaded_model_close(&m);
	assert_fails(loaded_model_open(&m, ops, "/nonexistent", &e), &e, "/nonexistent");
	ops_cpu_close(ops);
}

/* ---- scores on disk ---- */

static void documents_file_round_trip(void **state)
{
	(void)state;
	struct test_path dir = test_dir_make();
	struct evaluation a = {.has_teacher = true}, b = {0};
	struct err e;
	for (uint32_t i = 0; i < 100; i++) {
		struct document_score d = {.nll = exp((double)rng_normal(1, RNG_TEST, 0, i)) * 1e3, .kl = 1.0 / (i + 3),
					   .tokens = i, .bytes = 4 * i, .agree = i / 2};
		assert_ok(evaluation_add(&a, &d, &e), &e);
	}
	assert_ok(evaluation_finish(&a, &e), &e);
	assert_ok(evaluation_write_documents(&a, test_join(&dir, "d.csv").text, &e), &e);
	assert_ok(evaluation_read_documents(&b, test_join(&dir, "d.csv").text, &e), &e);
	assert_same_documents(&a, &b);
	assert_true(a.nll == b.nll && a.kl == b.kl && a.bits_per_byte == b.bits_per_byte);
	a.documents[3].nll = NAN;
	assert_fails(evaluation_finish(&a, &e), &e, "document 3");
	evaluation_release(&a);
	evaluation_release(&b);
	test_dir_remove(&dir);
}

/* ---- real checkpoints against float64 ---- */

enum { GOLDEN_DOCUMENTS = 40 };

/* The first documents of a longer source. */
struct head_of {
	struct document_source all;
	int left;
};
static int head_next(void *user, const int32_t **ids, size_t *n_ids, size_t *n_bytes, struct err *e)
{
	struct head_of *h = user;
	return h->left-- > 0 ? h->all.next(h->all.user, ids, n_ids, n_bytes, e) : 0;
}

static void evaluate_golden(struct loaded_model *m, struct tokenizer *t, const char *text, int length, struct evaluation *out)
{
	struct text_documents d;
	struct err e;
	struct head_of head = {.all = text_documents_open(&d, t, &text, 1), .left = GOLDEN_DOCUMENTS};
	struct document_source source = {&head, head_next};
	assert_ok(loaded_model_evaluate(m, NULL, &(struct evaluator_options){.sequence_length = length}, &source, out, NULL, NULL, &e), &e);
	text_documents_close(&d);
}

/* 1e-5 nat per token is asked for, of the whole and of every document. */
static double worst_gap(const struct evaluation *v, const json_t *want)
{
	double worst = fabs(v->nll - json_number_value(json_object_get(want, "nll")));
	const json_t *documents = json_object_get(want, "documents");
	assert_int_equal(json_array_size(documents), v->n_documents);
	for (size_t i = 0; i < v->n_documents; i++) {
		const json_t *d = json_array_get(documents, i);
		assert_int_equal(v->documents[i].tokens, json_integer_value(json_array_get(d, 0)));
		double gap = fabs(v->documents[i].nll - json_number_value(json_array_get(d, 1))) / v->documents[i].tokens;
		worst = gap > worst ? gap : worst;
	}
	return worst;
}

static void check_golden(struct loaded_model *m, struct tokenizer *t, const char *text, const json_t *want)
{
	struct evaluation v;
	int length = (int)json_integer_value(json_object_get(want, "sequence_length"));
	evaluate_golden(m, t, text, length, &v);
	double worst = worst_gap(&v, want);
	print_message("%s at %d: nll %.7f, worst gap to float64 %.2g nat/token, %.0f tokens/s\n",
		      json_string_value(json_object_get(want, "model")), length, v.nll, worst, (double)v.rows / v.seconds);
	assert_int_equal(v.tokens, json_integer_value(json_object_get(want, "tokens")));
	assert_int_equal(v.bytes, json_integer_value(json_object_get(want, "bytes")));
	assert_true(worst < 1e-5);
	assert_close(v.bits_per_byte, json_number_value(json_object_get(want, "bits_per_byte")), 1e-5, 0);
	evaluation_release(&v);
}

/* One weight of millions off by a tenth is seen. */
static void check_seeded_fault(struct loaded_model *m, struct tokenizer *t, const char *text, const json_t *want)
{
	struct evaluation v;
	float w;
	const float *at = params_vector(&m->params, PARAM_FFN_NORM, 2) + 5;
	m->ops->download(m->ops, &w, at, sizeof w);
	w *= 1.1f;
	m->ops->upload(m->ops, m->weights + (at - m->weights), &w, sizeof w);
	evaluate_golden(m, t, text, (int)json_integer_value(json_object_get(want, "sequence_length")), &v);
	assert_true(worst_gap(&v, want) > 1e-5);
	evaluation_release(&v);
}

static void agrees_with_float64(void **state)
{
	(void)state;
	struct test_path text = test_shared("data/corpora/stories.valid.txt.gz");
	struct err e;
	json_t *golden;
	assert_ok(json_read_file(test_source("tests/golden/evaluate.json").text, &golden, &e), &e);
	json_t *results = json_object_get(golden, "results");
	struct ops *ops = open_ops();
	for (size_t i = 0; i < json_array_size(results); i++) {
		const json_t *want = json_array_get(results, i);
		char name[128];
		struct loaded_model m;
		struct tokenizer *t;
		snprintf(name, sizeof name, "data/models/%s", json_string_value(json_object_get(want, "model")));
		struct test_path dir = test_shared(name);
		assert_ok(loaded_model_open(&m, ops, dir.text, &e), &e);
		assert_ok(tokenizer_open(&t, dir.text, &e), &e);
		check_golden(&m, t, text.text, want);
		if (!i)
			check_seeded_fault(&m, t, text.text, want);
		tokenizer_free(t);
		loaded_model_close(&m);
	}
	ops_cpu_close(ops);
	json_decref(golden);
}

/* Shards and text give the same scores, and a part of the shards the part of the scores. */
static void shards_equal_text(void **state)
{
	(void)state;
	struct test_path dir = test_dir_make(), model = test_shared("data/models/stories260K"), file = test_join(&dir, "a.txt");
	test_write(file.text, "Once upon a time there was a dog.\n<|endoftext|>\n  She sat \n<|endoftext|>\nThe end, said Tim. He ran.\n");
	struct ops *ops = open_ops();
	struct loaded_model m;
	struct tokenizer *t;
	struct shard shard;
	struct evaluation from_text, from_shards, part;
	struct text_documents td;
	struct shard_documents sd;
	struct err e;
	const char *paths[] = {file.text};
	assert_ok(loaded_model_open(&m, ops, model.text, &e), &e);
	assert_ok(tokenizer_open(&t, model.text, &e), &e);
	assert_ok(shard_open(&shard, t, file.text, dir.text, NULL, NULL, &e), &e);
	struct shard twice[2] = {shard, shard};
	struct evaluator_options o = {0};
	struct document_source source = text_documents_open(&td, t, paths, 1);
	assert_ok(loaded_model_evaluate(&m, NULL, &o, &source, &from_text, NULL, NULL, &e), &e);
	source = shard_documents_open(&sd, twice, 2, 0, SIZE_MAX, documents_bos(t));
	assert_ok(loaded_model_evaluate(&m, NULL, &o, &source, &from_shards, NULL, NULL, &e), &e);
	shard_documents_close(&sd);
	source = shard_documents_open(&sd, twice, 2, 2, 3, documents_bos(t));
	assert_ok(loaded_model_evaluate(&m, NULL, &o, &source, &part, NULL, NULL, &e), &e);
	shard_documents_close(&sd);
	text_documents_close(&td);
	assert_int_equal(from_text.n_documents, 3);
	assert_int_equal(from_text.documents[1].bytes, 7);
	assert_int_equal(from_shards.n_documents, 6);
	assert_int_equal(part.n_documents, 3);
	static const size_t of_part[] = {2, 0, 1};
	for (size_t i = 0; i < 3; i++) {
		assert_close(from_shards.documents[i].nll, from_text.documents[i].nll, 0, 1e-6);
		assert_int_equal(from_shards.documents[i + 3].bytes, from_text.documents[i].bytes);
		assert_close(part.documents[i].nll, from_text.documents[of_part[i]].nll, 0, 1e-6);
	}
	evaluation_release(&from_text);
	evaluation_release(&from_shards);
	evaluation_release(&part);
	shard_close(&shard);
	tokenizer_free(t);
	loaded_model_close(&m);
	ops_cpu_close(ops);
	test_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_token_is_scored_once),
		cmocka_unit_test(packing_keeps_documents_apart),
		cmocka_unit_test(packed_equals_alone),
		cmocka_unit_test(deterministic),
		cmocka_unit_test(teacher_and_masks),
		cmocka_unit_test(bad_input),
		cmocka_unit_test(documents_file_round_trip),
		cmocka_unit_test(agrees_with_float64),
		cmocka_unit_test(shards_equal_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

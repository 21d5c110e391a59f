/* Decoding against the whole forward pass: step by step, a prompt in passes of any length, several sequences, rewinding; on the
 * golden models, so that every family, rotary kind, window and group is there. */
#include "tests/tiny_model.h"

#include "model/decode.h"

/* Measured: worst element of the final states 1.6e-6 over the six models. */
#define FINAL_WORST 1e-5
#define NMSE 1e-11

struct decoding {
	struct tiny tiny;
	struct decoder *decoder;
	struct arena arena;
	int32_t ids[TINY_N]; /* (B, T) */
	float *whole;        /* (N, C) final states of the whole pass */
};

static void open_decoding(struct decoding *d, const char *name, int rows, int n_threads)
{
	struct err e;
	tiny_open(&d->tiny, name, ACTIVATIONS_INFER, n_threads);
	for (int i = 0; i < TINY_N; i++)
		d->ids[i] = tiny_id(&d->tiny, i);
	d->whole = tiny_forward(&d->tiny, NULL, NULL);
	struct ops *ops = d->tiny.ops;
	const struct arch *arch = &d->tiny.hf.layout.arch;
	d->arena = arena_dry();
	assert_ok(decoder_init(&d->decoder, ops, arch, TINY_B, TINY_T, rows, &d->arena, &e), &e);
	decoder_free(d->decoder);
	test_arena_back(ops, &d->arena);
	assert_ok(decoder_init(&d->decoder, ops, arch, TINY_B, TINY_T, rows, &d->arena, &e), &e);
	assert_int_equal(d->arena.used, d->arena.capacity);
	decoder_upload_tables(d->decoder);
}

static void close_decoding(struct decoding *d)
{
	d->tiny.ops->release(d->tiny.ops, d->arena.base);
	decoder_free(d->decoder);
	free(d->whole);
	tiny_close(&d->tiny);
}

/* Appends columns [at, at+n) and compares with row at+n-1 of the whole pass. */
static double append_and_check(struct decoding *d, int at, int n)
{
	enum { MAX_C = 64 };
	size_t C = (size_t)d->tiny.shape->C;
	int32_t ids[TINY_N];
	float got[TINY_B * MAX_C], want[TINY_B * MAX_C];
	assert_true(C <= MAX_C);
	for (int b = 0; b < TINY_B; b++) {
		memcpy(ids + b * n, d->ids + b * TINY_T + at, (size_t)n * sizeof *ids);
		memcpy(want + (size_t)b * C, d->whole + (size_t)(b * TINY_T + at + n - 1) * C, C * sizeof *want);
	}
	assert_int_equal(decoder_filled(d->decoder), at);
	d->tiny.ops->download(d->tiny.ops, got, decoder_append(d->decoder, &d->tiny.params, ids, n), TINY_B * C * sizeof *got);
	assert_int_equal(decoder_filled(d->decoder), at + n);
	assert_floats(got, want, TINY_B * C, NMSE, FINAL_WORST);
	return test_distance_of(got, NULL, want, TINY_B * C).worst;
}

static double check_steps(struct decoding *d, const int *lengths)
{
	double worst = 0;
	for (int at = decoder_filled(d->decoder); at < TINY_T; at += *lengths++) {
		double gap = append_and_check(d, at, *lengths);
		worst = gap > worst ? gap : worst;
	}
	return worst;
}

static void steps_are_the_whole_pass(void **state)
{
	static const int singly[TINY_T] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, prompt[] = {7, 1, 1, 3, 1}, at_once[] = {TINY_T};
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++)
		for (int rows = 1; rows <= TINY_T; rows += 4) { /* 1, 5, 9, 13: passes cut the prompt anywhere */
			struct decoding d;
			open_decoding(&d, tiny_names[i], rows, 1 + i % 2);
			double worst = check_steps(&d, singly), gap;
			decoder_rewind(d.decoder, 0);
			worst = (gap = check_steps(&d, prompt)) > worst ? gap : worst;
			decoder_rewind(d.decoder, 0);
			worst = (gap = check_steps(&d, at_once)) > worst ? gap : worst;
			print_message("%-15s passes of %2d rows: %.2g\n", tiny_names[i], rows, worst);
			close_decoding(&d);
		}
}

/* What stood after the position that it went back to has no influence. */
static void rewinding_forgets(void **state)
{
	static const int rest[] = {4, 1, 1, 1, 1};
	int32_t other[TINY_B * 6];
	struct decoding d;
	(void)state;
	open_decoding(&d, "mistral_window", 4, 2);
	append_and_check(&d, 0, 5);
	for (int i = 0; i < TINY_B * 6; i++)
		other[i] = (d.ids[i] + 11) % d.tiny.shape->V;
	decoder_append(d.decoder, &d.tiny.params, other, 6);
	decoder_rewind(d.decoder, 5);
	check_steps(&d, rest);
	close_decoding(&d);
}

/* The test would see a token at a wrong place: a prompt with two tokens exchanged is far from the whole pass. */
static void wrong_context_is_seen(void **state)
{
	struct decoding d;
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++) {
		float got[64];
		open_decoding(&d, tiny_names[i], TINY_T, 1);
		size_t C = (size_t)d.tiny.shape->C;
		int32_t swapped[TINY_N];
		memcpy(swapped, d.ids, sizeof swapped);
		swapped[TINY_T - 2] = d.ids[TINY_T - 3];
		swapped[TINY_T - 3] = d.ids[TINY_T - 2];
		d.tiny.ops->download(d.tiny.ops, got, decoder_append(d.decoder, &d.tiny.params, swapped, TINY_T), C * sizeof *got);
		struct test_distance far = test_distance_of(got, NULL, d.whole + (TINY_T - 1) * C, C);
		assert_true(far.worst > 100 * FINAL_WORST);
		close_decoding(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steps_are_the_whole_pass),
		cmocka_unit_test(rewinding_forgets),
		cmocka_unit_test(wrong_context_is_seen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Masks in the forward, and their gradients, for every family. That a masked model equals the cut one is checked here
 * for one structure at a time by hand; the whole cut is prune's test. */
#include "tests/tiny_model.h"

enum { HIDDEN, ATTN, FFN_BLOCK, HEADS, FFN, MASKS };
static const char *const mask_names[MASKS] = {"hidden", "attn", "ffn_block", "heads", "ffn"};

struct mask_set {
	size_t n[MASKS];
	float *host[MASKS], *z[MASKS], *dz[MASKS]; /* host; device */
	struct masks masks;
	struct mask_grads grads;
};

static void set_upload(struct mask_set *s, struct ops *ops)
{
	for (int m = 0; m < MASKS; m++)
		ops->upload(ops, s->z[m], s->host[m], s->n[m] * sizeof(float));
}

/* Soft masks in (0.3, 1), with a zero in `zeros` of each array where it has more than two entries. */
static void set_open(struct mask_set *s, const struct tiny *t, int zeros)
{
	size_t L = (size_t)t->shape->L;
	const size_t n[MASKS] = {(size_t)t->shape->C, L, L, L * (size_t)t->shape->NH, L * (size_t)t->shape->F};
	for (int m = 0; m < MASKS; m++) {
		s->n[m] = n[m];
		s->host[m] = malloc(n[m] * sizeof(float));
		for (size_t i = 0; i < n[m]; i++)
			s->host[m][i] = 0.3f + 0.7f * rng_uniform(7, RNG_TEST, (uint64_t)m, i);
		for (int i = 0; n[m] > 2 && i < zeros; i++)
			s->host[m][(size_t)(3 * i + 1) % n[m]] = 0;
		s->z[m] = test_device(t->ops, s->host[m], n[m] * sizeof(float));
		s->dz[m] = test_device(t->ops, NULL, n[m] * sizeof(float));
	}
	s->masks = (struct masks){s->z[HIDDEN], s->z[ATTN], s->z[FFN_BLOCK], s->z[HEADS], s->z[FFN]};
	s->grads = (struct mask_grads){s->dz[HIDDEN], s->dz[ATTN], s->dz[FFN_BLOCK], s->dz[HEADS], s->dz[FFN]};
}

static void set_fill(struct mask_set *s, struct ops *ops, float value)
{
	for (int m = 0; m < MASKS; m++)
		for (size_t i = 0; i < s->n[m]; i++)
			s->host[m][i] = value;
	set_upload(s, ops);
}

static void set_close(struct mask_set *s, struct ops *ops)
{
	for (int m = 0; m < MASKS; m++) {
		ops->release(ops, s->z[m]);
		ops->release(ops, s->dz[m]);
		free(s->host[m]);
	}
}

static void test_ones_are_no_masks(void **state)
{
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++) {
		struct tiny t;
		struct mask_set s;
		tiny_open(&t, tiny_names[i], ACTIVATIONS_MASKED, 2);
		set_open(&s, &t, 0);
		set_fill(&s, t.ops, 1);
		float *plain = tiny_forward(&t, NULL, NULL), *masked = tiny_forward(&t, &s.masks, NULL);
		size_t n = tiny_rows(&t) * (size_t)t.shape->C;
		assert_floats(masked, plain, n, 1e-12, 1e-5);
		tiny_step(&t, NULL, NULL, NULL, 1);
		float *want = tiny_grads(&t);
		t.ops->zero(t.ops, t.grads, t.n_elems * sizeof(float));
		tiny_step(&t, &s.masks, &s.grads, NULL, 1);
		float *got = tiny_grads(&t);
		assert_floats(got, want, t.n_elems, 1e-11, 1e-4);
		free(plain);
		free(masked);
		free(want);
		free(got);
		set_close(&s, t.ops);
		tiny_close(&t);
	}
}

/* Measured: |difference - dz| <= 8e-5 of the largest dz of the array. */
#define DZ_WORST 3e-4

static double difference_of_mask(struct tiny *t, struct mask_set *s, int m, size_t i)
{
	const double h = 0.02;
	const double steps[4] = {-2 * h, -h, h, 2 * h};
	float z = s->host[m][i];
	double loss[4];
	for (int k = 0; k < 4; k++) {
		s->host[m][i] = z + (float)steps[k];
		set_upload(s, t->ops);
		loss[k] = tiny_loss_only(t, &s->masks, TINY_N);
	}
	s->host[m][i] = z;
	set_upload(s, t->ops);
	return tiny_difference(loss, h);
}

static double check_mask(struct tiny *t, struct mask_set *s, int m)
{
	float *dz = malloc(s->n[m] * sizeof *dz);
	double worst = 0, scale = 0;
	t->ops->download(t->ops, dz, s->dz[m], s->n[m] * sizeof *dz);
	for (size_t i = 0; i < s->n[m]; i++)
		scale = fabs((double)dz[i]) > scale ? fabs((double)dz[i]) : scale;
	assert_true(scale > 1e-5);
	for (size_t i = 0; i < s->n[m]; i += 1 + s->n[m] / 12) {
		/* The masked mean has a jump at z = 0 and a head of 0 has no gradient by contract. */
		if (s->host[m][i] == 0 && (m == HIDDEN || m == HEADS))
			continue;
		double got = (double)dz[i], want = difference_of_mask(t, s, m, i), gap = fabs(got - want) / scale;
		if (!(gap <= DZ_WORST))
			fail_msg("d%s[%zu] = %.9g, finite difference %.9g", mask_names[m], i, got, want);
		worst = gap > worst ? gap : worst;
	}
	free(dz);
	return worst;
}

static void test_mask_gradients(void **state)
{
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++)
		for (int zeros = 0; zeros <= 2; zeros += 2) {
			struct tiny t;
			struct mask_set s;
			tiny_open(&t, tiny_names[i], ACTIVATIONS_MASKED, 1);
			set_open(&s, &t, zeros);
			tiny_step(&t, &s.masks, &s.grads, NULL, TINY_N);
			print_message("%-15s", tiny_names[i]);
			for (int m = 0; m < MASKS; m++)
				print_message(" %s %.1g", mask_names[m], check_mask(&t, &s, m));
			print_message("\n");
			set_close(&s, t.ops);
			tiny_close(&t);
		}
}

static void test_head_of_zero_has_no_gradient(void **state)
{
	struct tiny t;
	struct mask_set s;
	float dz[2];
	(void)state;
	tiny_open(&t, "qwen2", ACTIVATIONS_MASKED, 2);
	set_open(&s, &t, 1);
	assert_true(s.host[HEADS][1] == 0);
	tiny_step(&t, &s.masks, &s.grads, NULL, 1);
	t.ops->download(t.ops, dz, s.dz[HEADS], sizeof dz);
	assert_true(dz[0] != 0 && dz[1] == 0);
	set_close(&s, t.ops);
	tiny_close(&t);
}

/* The gradients of the weights, along a random direction, with soft masks and zeros in force. */
static void test_weight_gradients(void **state)
{
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++) {
		struct tiny t;
		struct mask_set s;
		const float h = 0.001f, steps[4] = {-2 * h, -h, h, 2 * h};
		double loss[4];
		tiny_open(&t, tiny_names[i], ACTIVATIONS_MASKED, 1);
		set_open(&s, &t, 2);
		tiny_step(&t, &s.masks, &s.grads, NULL, TINY_N);
		double want = tiny_along(&t, 11);
		for (int k = 0; k < 4; k++) {
			tiny_move(&t, 11, steps[k]);
			loss[k] = tiny_loss_only(&t, &s.masks, TINY_N);
		}
		assert_close(tiny_difference(loss, h), want, 1e-3, 1e-3);
		set_close(&s, t.ops);
		tiny_close(&t);
	}
}

/* Layers as one decision: attn and ffn_block may be one array, whose gradient is then the sum. */
static void test_one_array_for_both_blocks(void **state)
{
	struct tiny t;
	struct mask_set s;
	float apart[2][2], both[2];
	(void)state;
	tiny_open(&t, "llama_tied", ACTIVATIONS_MASKED, 1);
	set_open(&s, &t, 0);
	memcpy(s.host[FFN_BLOCK], s.host[ATTN], sizeof both);
	set_upload(&s, t.ops);
	tiny_step(&t, &s.masks, &s.grads, NULL, 1);
	t.ops->download(t.ops, apart[0], s.dz[ATTN], sizeof both);
	t.ops->download(t.ops, apart[1], s.dz[FFN_BLOCK], sizeof both);
	t.ops->zero(t.ops, s.dz[ATTN], sizeof both);
	s.masks.ffn_block = s.masks.attn;
	s.grads.ffn_block = s.grads.attn;
	tiny_step(&t, &s.masks, &s.grads, NULL, 1);
	t.ops->download(t.ops, both, s.dz[ATTN], sizeof both);
	for (int l = 0; l < 2; l++)
		assert_close(both[l], apart[0][l] + apart[1][l], 1e-6, 1e-5);
	set_close(&s, t.ops);
	tiny_close(&t);
}

/* TRAIN mode carries masks on heads and ffn, NULL elsewhere. */
static void test_heads_and_ffn_in_train_mode(void **state)
{
	(void)state;
	double loss[2];
	float dz[2][4];
	for (int k = 0; k < 2; k++) {
		struct tiny t;
		struct mask_set s;
		tiny_open(&t, "llama_bias", k ? ACTIVATIONS_MASKED : ACTIVATIONS_TRAIN, 1);
		set_open(&s, &t, 1);
		s.masks.hidden = s.masks.attn = s.masks.ffn_block = NULL;
		s.grads.hidden = s.grads.attn = s.grads.ffn_block = NULL;
		loss[k] = tiny_step(&t, &s.masks, &s.grads, NULL, 1);
		t.ops->download(t.ops, dz[k], s.dz[FFN], sizeof dz[k]);
		set_close(&s, t.ops);
		tiny_close(&t);
	}
	assert_true(loss[0] == loss[1]);
	assert_memory_equal(dz[0], dz[1], sizeof dz[0]);
}

/* ---- removed structures: whatever stands in their weights cannot be seen ---- */

/* Fills a weight tensor's row or column with garbage. */
static void spoil(struct tiny *t, enum param_kind kind, int layer, size_t rows, size_t cols, size_t row, size_t col)
{
	float *w = params_in(&t->hf.layout, t->host, kind, layer);
	if (!w)
		return;
	for (size_t r = row == SIZE_MAX ? 0 : row; r < (row == SIZE_MAX ? rows : row + 1); r++)
		for (size_t c = col == SIZE_MAX ? 0 : col; c < (col == SIZE_MAX ? cols : col + 1); c++)
			w[r * cols + c] = 17.0f + (float)(r + c);
}

static void spoil_hidden(struct tiny *t, size_t i)
{
	const struct shape *s = t->shape;
	size_t C = (size_t)s->C, Q = (size_t)((s->NH + 2 * s->NKV) * s->HD), F = (size_t)s->F, H = (size_t)(s->NH * s->HD);
	spoil(t, PARAM_EMBED, -1, (size_t)s->V, C, SIZE_MAX, i);
	spoil(t, PARAM_FINAL_NORM, -1, 1, C, 0, i);
	for (int l = 0; l < s->L; l++) {
		spoil(t, PARAM_ATTN_NORM, l, 1, C, 0, i);
		spoil(t, PARAM_FFN_NORM, l, 1, C, 0, i);
		spoil(t, PARAM_QKV, l, Q, C, SIZE_MAX, i);
		spoil(t, PARAM_GATE_UP, l, 2 * F, C, SIZE_MAX, i);
		spoil(t, PARAM_O, l, C, H, i, SIZE_MAX);
		spoil(t, PARAM_O_BIAS, l, 1, C, 0, i);
		spoil(t, PARAM_DOWN, l, C, F, i, SIZE_MAX);
		spoil(t, PARAM_DOWN_BIAS, l, 1, C, 0, i);
	}
}

/* Hidden dimension, query head and FFN channel of every zero in the masks. */
static void spoil_removed(struct tiny *t, const struct mask_set *m)
{
	const struct shape *s = t->shape;
	size_t C = (size_t)s->C, F = (size_t)s->F, HD = (size_t)s->HD, NH = (size_t)s->NH;
	for (size_t i = 0; i < C; i++)
		if (m->host[HIDDEN][i] == 0)
			spoil_hidden(t, i);
	for (int l = 0; l < s->L; l++)
		for (size_t h = 0; h < NH; h++)
			for (size_t d = 0; m->host[HEADS][(size_t)l * NH + h] == 0 && d < HD; d++) {
				spoil(t, PARAM_QKV, l, 0, C, h * HD + d, SIZE_MAX);
				spoil(t, PARAM_O, l, C, NH * HD, SIZE_MAX, h * HD + d);
			}
	for (int l = 0; l < s->L; l++)
		for (size_t f = 0; f < F; f++)
			if (m->host[FFN][(size_t)l * F + f] == 0) {
				spoil(t, PARAM_GATE_UP, l, 0, C, f, SIZE_MAX);
				spoil(t, PARAM_GATE_UP, l, 0, C, F + f, SIZE_MAX);
				spoil(t, PARAM_DOWN, l, C, F, SIZE_MAX, f);
			}
}

static void test_removed_weights_are_not_seen(void **state)
{
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++) {
		struct tiny t;
		struct mask_set s;
		tiny_open(&t, tiny_names[i], ACTIVATIONS_INFER, 1);
		set_open(&s, &t, 2);
		float *before = tiny_forward(&t, &s.masks, NULL);
		spoil_removed(&t, &s);
		t.ops->upload(t.ops, t.weights, t.host, t.n_elems * sizeof(float));
		float *after = tiny_forward(&t, &s.masks, NULL);
		assert_floats(after, before, tiny_rows(&t) * (size_t)t.shape->C, 1e-12, 1e-5);
		for (size_t n = 0; n < tiny_rows(&t); n++)
			assert_true(after[n * (size_t)t.shape->C + 1] == 0); /* hidden dimension 1 is masked */
		free(before);
		free(after);
		set_close(&s, t.ops);
		tiny_close(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ones_are_no_masks), cmocka_unit_test(test_mask_gradients),
		cmocka_unit_test(test_head_of_zero_has_no_gradient), cmocka_unit_test(test_weight_gradients),
		cmocka_unit_test(test_one_array_for_both_blocks), cmocka_unit_test(test_heads_and_ffn_in_train_mode),
		cmocka_unit_test(test_removed_weights_are_not_seen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

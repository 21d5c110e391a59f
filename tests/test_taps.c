/* What the taps show, and that what a listener adds to a gradient reaches every weight. */
#include "tests/tiny_model.h"

enum { MAX_CALLS = 64 };

struct call {
	enum tap_point point;
	int layer;
	const void *values;
};
struct listener {
	struct call calls[MAX_CALLS];
	int n;
};

static void listen(void *user, enum tap_point point, int layer, const void *values)
{
	struct listener *l = user;
	assert_true(l->n < MAX_CALLS);
	l->calls[l->n++] = (struct call){point, layer, values};
}

static void listen_backward(void *user, enum tap_point point, int layer, void *dvalues)
{
	listen(user, point, layer, dvalues);
}

static void assert_calls(const struct listener *l, const struct call *want, int n)
{
	assert_int_equal(l->n, n);
	for (int i = 0; i < n; i++) {
		assert_int_equal(l->calls[i].point, want[i].point);
		assert_int_equal(l->calls[i].layer, want[i].layer);
		assert_non_null(l->calls[i].values);
	}
}

static void test_order(void **state)
{
	static const struct call forward[] = {
		{TAP_EMBED, 0, 0}, {TAP_ATTN_NORM, 0, 0}, {TAP_QKV, 0, 0}, {TAP_HEADS, 0, 0}, {TAP_FFN_NORM, 0, 0},
		{TAP_FFN, 0, 0}, {TAP_HIDDEN, 0, 0}, {TAP_ATTN_NORM, 1, 0}, {TAP_QKV, 1, 0}, {TAP_HEADS, 1, 0},
		{TAP_FFN_NORM, 1, 0}, {TAP_FFN, 1, 0}, {TAP_HIDDEN, 1, 0}, {TAP_FINAL, 2, 0},
	};
	static const struct call backward[] = {
		{TAP_FINAL, 2, 0}, {TAP_HIDDEN, 1, 0}, {TAP_QKV, 1, 0}, {TAP_HIDDEN, 0, 0}, {TAP_QKV, 0, 0}, {TAP_EMBED, 0, 0},
	};
	struct listener l = {0};
	struct tiny t;
	(void)state;
	tiny_open(&t, "qwen3", ACTIVATIONS_TRAIN, 1);
	tiny_step(&t, NULL, NULL, &(struct taps){.user = &l, .forward = listen}, 1);
	assert_calls(&l, forward, 14);
	l.n = 0;
	tiny_step(&t, NULL, NULL, &(struct taps){.user = &l, .backward = listen_backward}, 1);
	assert_calls(&l, backward, 6);
	tiny_close(&t);
}

static size_t tap_width(const struct shape *s, enum tap_point point)
{
	switch (point) {
	case TAP_QKV:
		return (size_t)((s->NH + 2 * s->NKV) * s->HD);
	case TAP_HEADS:
		return (size_t)(s->NH * s->HD);
	case TAP_FFN:
		return (size_t)s->F;
	default:
		return (size_t)s->C;
	}
}

struct capture {
	struct tiny *t;
	float *values[8][3]; /* by point and layer */
};

static void keep(void *user, enum tap_point point, int layer, const void *values)
{
	struct capture *c = user;
	size_t n_bytes = tiny_rows(c->t) * tap_width(c->t->shape, point) * sizeof(float);
	c->values[point][layer] = malloc(n_bytes);
	c->t->ops->download(c->t->ops, c->values[point][layer], values, n_bytes);
}

static void capture_free(struct capture *c)
{
	for (int p = 0; p < 8; p++)
		for (int l = 0; l < 3; l++)
			free(c->values[p][l]);
}

/* Each tap shows what its name says: the same values in inference and training, and rows that follow from one another. */
static void test_values(void **state)
{
	struct tiny t[2];
	struct capture c[2];
	(void)state;
	for (int k = 0; k < 2; k++) {
		tiny_open(&t[k], "llama_bias", k ? ACTIVATIONS_TRAIN : ACTIVATIONS_INFER, 1);
		c[k] = (struct capture){.t = &t[k]};
		free(tiny_forward(&t[k], NULL, &(struct taps){.user = &c[k], .forward = keep}));
	}
	for (int p = 0; p < 8; p++)
		for (int l = 0; l < 3; l++) {
			assert_int_equal(!c[0].values[p][l], !c[1].values[p][l]);
			if (c[0].values[p][l])
				assert_memory_equal(c[0].values[p][l], c[1].values[p][l],
						    tiny_rows(&t[0]) * tap_width(t[0].shape, (enum tap_point)p) * sizeof(float));
		}
	/* hidden_1 = hidden_0 + o context + o_bias + down gated + down_bias, row 5, column 3 */
	const struct shape *s = t[0].shape;
	size_t C = (size_t)s->C, F = (size_t)s->F, H = (size_t)(s->NH * s->HD), row = 5, col = 3;
	const struct param_layout *layout = &t[0].hf.layout;
	double want = (double)c[0].values[TAP_HIDDEN][0][row * C + col];
	for (size_t i = 0; i < H; i++)
		want += (double)params_in(layout, t[0].host, PARAM_O, 1)[col * H + i] *
			(double)c[0].values[TAP_HEADS][1][row * H + i];
	for (size_t i = 0; i < F; i++)
		want += (double)params_in(layout, t[0].host, PARAM_DOWN, 1)[col * F + i] *
			(double)c[0].values[TAP_FFN][1][row * F + i];
	want += (double)params_in(layout, t[0].host, PARAM_O_BIAS, 1)[col];
	want += (double)params_in(layout, t[0].host, PARAM_DOWN_BIAS, 1)[col];
	assert_close(c[0].values[TAP_HIDDEN][1][row * C + col], want, 1e-5, 1e-5);
	for (int k = 0; k < 2; k++) {
		capture_free(&c[k]);
		tiny_close(&t[k]);
	}
}

/* A listener whose loss is weight * sum of r * values at one point; r is random, a function of the index. */
struct addition {
	struct tiny *t;
	enum tap_point point;
	int layer;
	double loss;
};

static float addition_weight(size_t i)
{
	return 0.02f * rng_normal(3, RNG_TEST, 1, i);
}

static void add_forward(void *user, enum tap_point point, int layer, const void *values)
{
	struct addition *a = user;
	size_t n = tiny_rows(a->t) * tap_width(a->t->shape, point);
	if (point != a->point || layer != a->layer)
		return;
	float *host = malloc(n * sizeof *host);
	a->t->ops->download(a->t->ops, host, values, n * sizeof *host);
	a->loss = 0;
	for (size_t i = 0; i < n; i++)
		a->loss += (double)addition_weight(i) * (double)host[i];
	free(host);
}

static void add_backward(void *user, enum tap_point point, int layer, void *dvalues)
{
	struct addition *a = user;
	size_t n = tiny_rows(a->t) * tap_width(a->t->shape, point);
	if (point != a->point || layer != a->layer)
		return;
	float *host = malloc(n * sizeof *host);
	a->t->ops->download(a->t->ops, host, dvalues, n * sizeof *host);
	for (size_t i = 0; i < n; i++)
		host[i] += addition_weight(i);
	a->t->ops->upload(a->t->ops, dvalues, host, n * sizeof *host);
	free(host);
}

/* d/dh of (cross-entropy + addition) along a random direction of the weights, against the backward. */
static void check_addition(const char *name, enum tap_point point, int layer)
{
	struct tiny t;
	struct addition a = {.t = &t, .point = point, .layer = layer};
	struct taps taps = {.user = &a, .forward = add_forward, .backward = add_backward};
	const float h = 0.001f, steps[4] = {-2 * h, -h, h, 2 * h};
	double loss[4];
	tiny_open(&t, name, ACTIVATIONS_TRAIN, 1);
	double plain = tiny_step(&t, NULL, NULL, NULL, TINY_N), without = tiny_along(&t, 5);
	t.ops->zero(t.ops, t.grads, t.n_elems * sizeof(float));
	assert_true(tiny_step(&t, NULL, NULL, &taps, TINY_N) == plain);
	double want = tiny_along(&t, 5);
	assert_true(fabs(want - without) > 0.02); /* the addition matters */
	for (int k = 0; k < 4; k++) {
		tiny_move(&t, 5, steps[k]);
		float *final = tiny_forward(&t, NULL, &taps);
		double *logits = tiny_logits(&t, final);
		loss[k] = tiny_loss(&t, logits, TINY_N) + a.loss;
		free(final);
		free(logits);
	}
	assert_close(tiny_difference(loss, h), want, 2e-3, 1e-3);
	tiny_close(&t);
}

static void test_additions(void **state)
{
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++) {
		check_addition(tiny_names[i], TAP_QKV, 1);
		check_addition(tiny_names[i], TAP_HIDDEN, 0);
	}
	check_addition("qwen3", TAP_QKV, 0);
	check_addition("llama_bias", TAP_HIDDEN, 1);
	check_addition("llama_tied", TAP_EMBED, 0);
	check_addition("mistral_window", TAP_FINAL, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order), cmocka_unit_test(test_values), cmocka_unit_test(test_additions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

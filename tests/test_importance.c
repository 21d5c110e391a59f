/* prune/importance.c, unit_sums.c, leave_out.c: every method against plain torch on the golden models (golden/importance.py).
 * Measured noise floor: NMSE 1.1e-13, worst element 6.3e-7. */
#include "tests/tiny_model.h"

#include "prune/importance.h"
#include "prune/leave_out.h"

#define SCORE_NMSE 1e-11
#define SCORE_WORST 1e-5

enum { STRUCTURES = 5 };
static const char *const structure_names[STRUCTURES] = {"hidden", "layers", "groups", "heads", "ffn"};

static struct safetensors *golden_open(void)
{
	struct safetensors *f;
	struct err e;
	assert_ok(safetensors_open(&f, test_source("tests/golden/importance.safetensors").text, &e), &e);
	return f;
}

/* One array against its golden tensor, and again with one element off. */
static void check(const struct safetensors *f, const char *model, const char *key, const float *got)
{
	const struct safetensor *want = test_golden(f, model, key);
	size_t n = want->n_elems, at = n / 2;
	char what[128];
	snprintf(what, sizeof what, "%s/%s", model, key);
	struct test_distance d = test_distance_of(got, NULL, want->data, n);
	test_distance_check(d, SCORE_NMSE, SCORE_WORST, what, __FILE__, __LINE__);
	float *wrong = malloc(n * sizeof *wrong), largest = 0;
	memcpy(wrong, got, n * sizeof *wrong);
	for (size_t i = 0; i < n; i++)
		largest = fmaxf(largest, fabsf(got[i]));
	wrong[at] += 1e-3f * largest;
	assert_true(test_distance_of(wrong, NULL, want->data, n).worst > SCORE_WORST);
	free(wrong);
}

static void check_scores(const struct safetensors *f, const char *model, const struct scores *x)
{
	const float *const arrays[STRUCTURES] = {x->hidden, x->layers, x->groups, x->heads, x->ffn};
	char key[64];
	for (int i = 0; i < STRUCTURES; i++) {
		if (i == 1 && x->layers_method != LAYERS_OWN)
			continue;
		snprintf(key, sizeof key, "%s.%s", importance_method_name(x->method), structure_names[i]);
		check(f, model, key, arrays[i]);
	}
	if (x->layers_method == LAYERS_INFLUENCE)
		check(f, model, "influence", x->layers);
}

struct listener {
	struct importance *importance;
	struct arena arena;
};

static void listener_open(struct listener *x, struct tiny *t, enum importance_method method, enum layers_method layers)
{
	const struct importance_options o = {.method = method, .layers_method = layers, .max_rows = TINY_N, .seed = 5};
	struct err e;
	x->arena = arena_dry();
	assert_ok(importance_open(&x->importance, t->ops, &t->hf.layout, &o, &x->arena, &e), &e);
	importance_close(x->importance);
	test_arena_back(t->ops, &x->arena);
	assert_ok(importance_open(&x->importance, t->ops, &t->hf.layout, &o, &x->arena, &e), &e);
	assert_int_equal(x->arena.used, x->arena.capacity);
}

static void listener_close(struct listener *x, struct tiny *t)
{
	importance_close(x->importance);
	t->ops->release(t->ops, x->arena.base);
}

/* The gradients of the golden loss, in the layout. */
static float *golden_gradients(const struct tiny *t)
{
	float *grads = calloc(t->n_elems, sizeof *grads);
	char name[128];
	for (int i = 0; i < t->hf.layout.n_tensors; i++) {
		const struct hf_tensor *x = &t->hf.layout.tensors[i];
		snprintf(name, sizeof name, "grad.%s", x->name);
		const struct safetensor *g = safetensors_find(t->golden, name);
		assert_non_null(g);
		memcpy(grads + x->offset, g->data, g->n_bytes);
	}
	return grads;
}

static void score(struct tiny *t, enum importance_method method, enum layers_method layers, struct scores *out)
{
	struct listener x;
	struct err e;
	listener_open(&x, t, method, layers);
	importance_batch(x.importance, TINY_B, TINY_T, NULL);
	if (importance_needs_forward(method, layers))
		free(tiny_forward(t, NULL, importance_taps(x.importance)));
	if (importance_needs_gradients(method)) {
		float *grads = golden_gradients(t);
		importance_gradients(x.importance, t->host, grads);
		free(grads);
	}
	assert_ok(importance_finish(x.importance, t->host, out, &e), &e);
	assert_int_equal(out->tokens, TINY_N);
	listener_close(&x, t);
}

static void every_method_agrees_with_torch(void **state)
{
	struct safetensors *golden = golden_open();
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++) {
		struct tiny t;
		tiny_open(&t, tiny_names[i], ACTIVATIONS_INFER, 2);
		for (int m = 0; m < IMPORTANCE_RANDOM; m++) {
			struct scores x;
			score(&t, (enum importance_method)m, m == IMPORTANCE_ACTIVATION ? LAYERS_INFLUENCE : LAYERS_OWN, &x);
			check_scores(golden, tiny_names[i], &x);
			if (m == IMPORTANCE_FLUCTUATION) {
				check(golden, tiny_names[i], "context_mean", x.context_mean);
				check(golden, tiny_names[i], "ffn_mean", x.ffn_mean);
			}
			scores_release(&x);
		}
		tiny_close(&t);
	}
	safetensors_close(golden);
}

/* Sequences one at a time, with rows that do not count among them, give what one batch gives. */
static void batches_add_up(void **state)
{
	const struct { enum importance_method m; enum layers_method l; } cases[] = {
		{IMPORTANCE_ACTIVATION, LAYERS_INFLUENCE}, {IMPORTANCE_WANDA, LAYERS_OWN}, {IMPORTANCE_FLUCTUATION, LAYERS_OWN}};
	const float weight[TINY_N] = {[0] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
	struct safetensors *golden = golden_open();
	struct tiny t;
	(void)state;
	tiny_open(&t, "qwen3", ACTIVATIONS_INFER, 1);
	for (int i = 0; i < 3; i++) {
		struct listener x;
		struct scores s;
		struct err e;
		listener_open(&x, &t, cases[i].m, cases[i].l);
		importance_batch(x.importance, TINY_B, TINY_T, weight); /* the second sequence does not count */
		tiny_batch(&t, TINY_B, TINY_T, 0, NULL);
		free(tiny_forward(&t, NULL, importance_taps(x.importance)));
		importance_batch(x.importance, 1, TINY_T, NULL);
		tiny_batch(&t, 1, TINY_T, TINY_T, NULL);
		free(tiny_forward(&t, NULL, importance_taps(x.importance)));
		assert_ok(importance_finish(x.importance, t.host, &s, &e), &e);
		check_scores(golden, "qwen3", &s);
		scores_release(&s);
		listener_close(&x, &t);
	}
	tiny_close(&t);
	safetensors_close(golden);
}

/* Gradients of opposite sign do not cancel between batches. */
static void taylor_adds_absolute_values(void **state)
{
	struct tiny t;
	struct scores once, twice;
	struct listener x;
	struct err e;
	(void)state;
	tiny_open(&t, "llama_bias", ACTIVATIONS_INFER, 1);
	score(&t, IMPORTANCE_TAYLOR, LAYERS_OWN, &once);
	float *grads = golden_gradients(&t);
	listener_open(&x, &t, IMPORTANCE_TAYLOR, LAYERS_OWN);
	importance_gradients(x.importance, t.host, grads);
	for (size_t i = 0; i < t.n_elems; i++)
		grads[i] *= -2;
	importance_gradients(x.importance, t.host, grads);
	assert_ok(importance_finish(x.importance, t.host, &twice, &e), &e);
	for (int i = 0; i < t.shape->L * t.shape->F; i++)
		assert_close(twice.ffn[i], 3 * once.ffn[i], 0, 1e-6);
	scores_release(&once);
	scores_release(&twice);
	free(grads);
	listener_close(&x, &t);
	tiny_close(&t);
}

/* values: by loss, by kl. */
static void leave_layers_out(struct tiny *t, double values[2][8])
{
	struct leave_out *x;
	struct err e;
	struct arena arena = arena_dry();
	int32_t target[TINY_N];
	float weight[TINY_N];
	for (int n = 0; n < TINY_N; n++) {
		weight[n] = n % TINY_T + 1 < TINY_T;
		target[n] = weight[n] > 0 ? tiny_id(t, n + 1) : 0;
	}
	assert_ok(leave_out_open(&x, t->ops, &t->hf.layout.arch, TINY_N, &arena, &e), &e);
	leave_out_close(x);
	test_arena_back(t->ops, &arena);
	assert_ok(leave_out_open(&x, t->ops, &t->hf.layout.arch, TINY_N, &arena, &e), &e);
	leave_out_batch(x, &t->params, t->acts, &t->batch, target, weight);
	leave_out_batch(x, &t->params, t->acts, &t->batch, target, weight);
	leave_out_finish(x, values[0], values[1]);
	leave_out_close(x);
	t->ops->release(t->ops, arena.base);
}

static void layers_left_out_agree_with_torch(void **state)
{
	struct safetensors *golden = golden_open();
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++) {
		struct tiny t;
		double values[2][8];
		tiny_open(&t, tiny_names[i], ACTIVATIONS_INFER, 2);
		leave_layers_out(&t, values);
		for (int k = 0; k < 2; k++) {
			const struct safetensor *want = test_golden(golden, tiny_names[i], k ? "kl" : "loss");
			for (int l = 0; l < t.shape->L; l++)
				assert_close(values[k][l], ((const float *)want->data)[l], 2e-6, 1e-5);
		}
		tiny_close(&t);
	}
	safetensors_close(golden);
}

/* What a layer adds is 0 when its output projections are: nothing changes without it, to the last bit. */
static void a_dead_layer_is_worth_nothing(void **state)
{
	static const enum param_kind outputs[] = {PARAM_O, PARAM_O_BIAS, PARAM_DOWN, PARAM_DOWN_BIAS};
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++) {
		struct tiny t;
		double values[2][8];
		tiny_open(&t, tiny_names[i], ACTIVATIONS_INFER, 2);
		int dead = i % t.shape->L;
		for (int k = 0; k < t.hf.layout.n_tensors; k++) {
			const struct hf_tensor *x = &t.hf.layout.tensors[k];
			for (size_t o = 0; o < sizeof outputs / sizeof *outputs; o++)
				if (x->layer == dead && x->kind == outputs[o])
					memset(t.host + x->offset, 0, x->rows * (x->cols ? x->cols : 1) * sizeof(float));
		}
		t.ops->upload(t.ops, t.weights, t.host, t.n_elems * sizeof(float));
		leave_layers_out(&t, values);
		for (int l = 0; l < t.shape->L; l++)
			assert_true(l == dead ? values[0][l] == 0 && values[1][l] == 0 : values[0][l] != 0 && values[1][l] > 1e-6);
		tiny_close(&t);
	}
}

static void random_scores_depend_on_the_seed_alone(void **state)
{
	struct tiny t;
	struct scores a, b;
	(void)state;
	tiny_open(&t, "qwen2", ACTIVATIONS_INFER, 1);
	score(&t, IMPORTANCE_RANDOM, LAYERS_OWN, &a);
	score(&t, IMPORTANCE_RANDOM, LAYERS_OWN, &b);
	assert_memory_equal(a.hidden, b.hidden, (size_t)t.shape->C * sizeof *a.hidden);
	assert_true(a.hidden[0] != a.hidden[1] && a.ffn[0] != a.hidden[0] && a.layers[0] > 0 && a.layers[0] < 1);
	scores_release(&a);
	scores_release(&b);
	tiny_close(&t);
}

static void two_runs_give_the_same_bits(void **state)
{
	struct scores x[2];
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct tiny t;
		tiny_open(&t, "llama_tied", ACTIVATIONS_INFER, 2);
		score(&t, IMPORTANCE_FLUCTUATION, LAYERS_INFLUENCE, &x[i]);
		tiny_close(&t);
	}
	assert_memory_equal(x[0].ffn, x[1].ffn, 2 * 40 * sizeof(float));
	assert_memory_equal(x[0].layers, x[1].layers, 2 * sizeof(float));
	scores_release(&x[0]);
	scores_release(&x[1]);
}

static void activation_has_no_layers_of_its_own(void **state)
{
	struct tiny t;
	struct importance *m;
	struct arena arena = arena_dry();
	struct err e;
	const struct importance_options o = {.method = IMPORTANCE_ACTIVATION, .layers_method = LAYERS_OWN, .max_rows = 4};
	(void)state;
	tiny_open(&t, "qwen2", ACTIVATIONS_INFER, 1);
	assert_fails(importance_open(&m, t.ops, &t.hf.layout, &o, &arena, &e), &e, "choose influence, loss or kl");
	assert_int_equal(e.status, ERR_USER);
	tiny_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_method_agrees_with_torch),
		cmocka_unit_test(batches_add_up),
		cmocka_unit_test(taylor_adds_absolute_values),
		cmocka_unit_test(layers_left_out_agree_with_torch),
		cmocka_unit_test(a_dead_layer_is_worth_nothing),
		cmocka_unit_test(random_scores_depend_on_the_seed_alone),
		cmocka_unit_test(two_runs_give_the_same_bits),
		cmocka_unit_test(activation_has_no_layers_of_its_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

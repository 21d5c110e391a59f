/* teacher/: its targets are what the same checkpoint gives as a model, in fp32 and in bf16, for families with every kind
 * of vector. (Values against torch: tests/test_student.c, distilled_gradients_equal_torch.) */
#include "tests/testing.h"

#include "tests/rig.h"

static const char *const MODELS[] = {"adamw/teacher", "models/llama_tied", "models/llama_bias", "models/qwen2", "models/qwen3"};

static struct ops *open_ops(const struct hf_model *hf)
{
	struct ops_limits limits = transformer_limits(&hf->layout.arch, RIG_N, RIG_N);
	return test_ops(2, false, &limits);
}

/* The matrices of a flat array as bf16 would keep them. */
static void round_matrices(const struct param_layout *layout, float *flat)
{
	for (int i = 0; i < layout->n_tensors; i++) {
		const struct hf_tensor *t = &layout->tensors[i];
		for (size_t j = 0; param_is_matrix(t->kind) && j < t->rows * t->cols; j++)
			flat[t->offset + j] = bf16_to_f32(bf16_from_f32(flat[t->offset + j]));
	}
}

static struct batch rig_device_batch(struct ops *ops, int V, int32_t *const memory[3])
{
	int32_t tokens[RIG_N], pos[RIG_N];
	for (int i = 0; i < RIG_N; i++) {
		tokens[i] = (i * 7 + 3) % V;
		pos[i] = i % RIG_T;
	}
	ops->upload(ops, memory[0], tokens, sizeof tokens);
	ops->upload(ops, memory[1], pos, sizeof pos);
	return (struct batch){.B = RIG_B, .T = RIG_T, .tokens = memory[0], .pos = memory[1], .start = memory[2]};
}

/* What a student with these weights feeds its head, the caller's. */
static float *reference(struct ops *ops, const struct hf_model *hf, enum dtype type, const struct batch *batch)
{
	struct student_options o = rig_options();
	struct student_arenas arenas;
	struct student s;
	rig_student(&s, ops, &hf->layout.arch, &o, &arenas);
	float *flat = calloc(hf->layout.n_elems, sizeof *flat);
	hf_read_f32(hf, flat);
	if (type == DTYPE_BF16)
		round_matrices(&hf->layout, flat);
	student_load(&s, flat);
	size_t n_bytes = (size_t)(RIG_N * hf->layout.arch.shape.C) * sizeof(float);
	float *out = malloc(n_bytes);
	ops->download(ops, out, transformer_forward(ops, &s.params, s.act, batch, NULL, NULL), n_bytes);
	free(flat);
	student_release(&s);
	rig_arenas_release(ops, &arenas);
	return out;
}

static void check_targets(struct teacher *t, const struct hf_model *hf, const struct batch *batch, const float *want)
{
	struct soft_targets soft;
	const struct shape *s = &hf->layout.arch.shape;
	size_t n_bytes = (size_t)(RIG_N * s->C) * sizeof(float);
	float *got = malloc(n_bytes);
	for (int twice = 0; twice < 2; twice++) {
		assert_int_equal(teacher_targets(t, &(struct teacher_batch){.device = batch}, &soft, NULL), 0);
		assert_int_equal(soft.kind, SOFT_TARGETS_DENSE);
		assert_true(soft.C == s->C && soft.V == s->V && soft.head_type == t->params.type);
		assert_ptr_equal(soft.head, params_matrix(&t->params, PARAM_HEAD, -1));
		t->ops->download(t->ops, got, soft.hidden, n_bytes);
		assert_memory_equal(got, want, n_bytes);
	}
	free(got);
}

static void check_model(const char *name, enum dtype type)
{
	struct hf_model hf;
	struct teacher t;
	struct arena weights = arena_dry(), activations = arena_dry();
	struct err e;
	struct teacher_options o = {.type = type, .B = RIG_B, .T = RIG_T};
	char path[256];
	int32_t *memory[3];
	snprintf(path, sizeof path, "tests/golden/%s", name);
	assert_ok(hf_open(&hf, test_source(path).text, &e), &e);
	struct ops *ops = open_ops(&hf);
	for (int i = 0; i < 3; i++)
		memory[i] = test_device(ops, NULL, RIG_N * sizeof(int32_t));
	struct batch batch = rig_device_batch(ops, hf.layout.arch.shape.V, memory);
	float *want = reference(ops, &hf, type, &batch);
	assert_ok(teacher_init(&t, ops, &hf, &o, &weights, &activations, &e), &e);
	assert_int_equal(t.hash, 0);
	teacher_release(&t);
	if (type == DTYPE_BF16)
		assert_true(weights.used < hf.layout.n_elems * 3);
	test_arena_back(ops, &weights);
	test_arena_back(ops, &activations);
	assert_ok(teacher_init(&t, ops, &hf, &o, &weights, &activations, &e), &e);
	assert_true(weights.used == weights.capacity && activations.used == activations.capacity);
	assert_true(t.hash == hf_hash(&hf));
	check_targets(&t, &hf, &batch, want);
	teacher_release(&t);
	free(want);
	ops->release(ops, weights.base);
	ops->release(ops, activations.base);
	for (int i = 0; i < 3; i++)
		ops->release(ops, memory[i]);
	ops_cpu_close(ops);
	hf_close(&hf);
}

static void targets_are_the_models(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof MODELS / sizeof MODELS[0]; i++) {
		check_model(MODELS[i], DTYPE_F32);
		check_model(MODELS[i], DTYPE_BF16);
	}
}

/* What a forward pass shows of the layers that were asked for. */
struct listener {
	struct ops *ops;
	size_t hidden_bytes, qkv_bytes;
	char *hidden, *qkv; /* [L] of those bytes */
};

static void listen(void *user, enum tap_point point, int layer, const void *values)
{
	struct listener *l = user;
	if (point == TAP_HIDDEN)
		l->ops->download(l->ops, l->hidden + (size_t)layer * l->hidden_bytes, values, l->hidden_bytes);
	if (point == TAP_QKV)
		l->ops->download(l->ops, l->qkv + (size_t)layer * l->qkv_bytes, values, l->qkv_bytes);
}

static void check_inner(const struct inner_targets *inner, const struct listener *l, const struct shape *s, const bool *hidden,
			const bool *qkv)
{
	assert_non_null(inner);
	assert_true(inner->L == s->L && inner->C == s->C && inner->NH == s->NH && inner->NKV == s->NKV && inner->HD == s->HD);
	for (int i = 0; i < s->L; i++) {
		assert_true(!inner->hidden[i] == !hidden[i] && !inner->qkv[i] == !qkv[i]);
		if (hidden[i])
			assert_memory_equal(inner->hidden[i], l->hidden + (size_t)i * l->hidden_bytes, l->hidden_bytes);
		if (qkv[i])
			assert_memory_equal(inner->qkv[i], l->qkv + (size_t)i * l->qkv_bytes, l->qkv_bytes);
	}
}

static void inner_tensors_are_those_of_the_layers(void **state)
{
	(void)state;
	static const bool hidden[8] = {true, true}, qkv[8] = {false, true};
	struct hf_model hf;
	struct teacher t;
	struct arena weights = arena_dry(), activations = arena_dry(), plain = arena_dry();
	struct soft_targets soft;
	struct err e;
	int32_t *memory[3];
	assert_ok(hf_open(&hf, test_source("tests/golden/models/qwen3").text, &e), &e);
	const struct shape *s = &hf.layout.arch.shape;
	assert_in_range(s->L, 2, 8);
	struct ops *ops = open_ops(&hf);
	for (int i = 0; i < 3; i++)
		memory[i] = test_device(ops, NULL, RIG_N * sizeof(int32_t));
	struct batch batch = rig_device_batch(ops, s->V, memory);
	struct teacher_options o = {.type = DTYPE_F32, .B = RIG_B, .T = RIG_T};
	assert_ok(teacher_init(&t, ops, &hf, &o, &weights, &plain, &e), &e);
	teacher_release(&t);
	o.keep_hidden = hidden;
	o.keep_qkv = qkv;
	weights = arena_dry();
	assert_ok(teacher_init(&t, ops, &hf, &o, &weights, &activations, &e), &e);
	teacher_release(&t);
	assert_true(activations.used > plain.used);
	test_arena_back(ops, &weights);
	test_arena_back(ops, &activations);
	assert_ok(teacher_init(&t, ops, &hf, &o, &weights, &activations, &e), &e);
	struct listener l = {.ops = ops, .hidden_bytes = (size_t)(RIG_N * s->C) * sizeof(float),
			     .qkv_bytes = (size_t)(RIG_N * (s->NH + 2 * s->NKV) * s->HD) * sizeof(float)};
	l.hidden = malloc((size_t)s->L * l.hidden_bytes);
	l.qkv = malloc((size_t)s->L * l.qkv_bytes);
	transformer_forward(ops, &t.params, t.act, &batch, NULL, &(struct taps){.user = &l, .forward = listen});
	assert_int_equal(teacher_targets(&t, &(struct teacher_batch){.device = &batch}, &soft, &e), 0);
	check_inner(soft.inner, &l, s, hidden, qkv);
	free(l.hidden);
	free(l.qkv);
	teacher_release(&t);
	ops->release(ops, weights.base);
	ops->release(ops, activations.base);
	for (int i = 0; i < 3; i++)
		ops->release(ops, memory[i]);
	ops_cpu_close(ops);
	hf_close(&hf);
}

static void release_of_nothing_is_fine(void **state)
{
	(void)state;
	struct teacher t = {0};
	teacher_release(&t);
	teacher_release(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(targets_are_the_models),
		cmocka_unit_test(inner_tensors_are_those_of_the_layers),
		cmocka_unit_test(release_of_nothing_is_fine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

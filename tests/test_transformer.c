/* The transformer against Hugging Face transformers (tests/golden/models.py): logits, loss, every gradient; packing,
 * inference mode, determinism. */
#include "tests/tiny_model.h"

/* Measured: worst element 1.4e-6 for logits and 6e-6 for gradients, over the six models. The issue asks for 1e-4. */
#define LOGITS_WORST 1e-5
#define GRADS_WORST 3e-5
#define NMSE 1e-11
#define GOLDEN_TARGETS (TINY_B * (TINY_T - 1))

static float *to_floats(const double *values, size_t n)
{
	float *out = malloc(n * sizeof *out);
	for (size_t i = 0; i < n; i++)
		out[i] = (float)values[i];
	return out;
}

static void check_logits(struct tiny *t, const char *name)
{
	const struct safetensor *want = safetensors_find(t->golden, "logits");
	float *final = tiny_forward(t, NULL, NULL);
	double *logits = tiny_logits(t, final);
	float *got = to_floats(logits, want->n_elems);
	struct test_distance d = test_distance_of(got, NULL, want->data, want->n_elems);
	print_message("%-15s logits %.2g", name, d.worst);
	assert_floats(got, want->data, want->n_elems, NMSE, LOGITS_WORST);
	got[want->n_elems / 2] += 1e-4f * (fabsf(got[want->n_elems / 2]) + 1); /* one wrong element is seen */
	assert_true(test_distance_of(got, NULL, want->data, want->n_elems).worst > LOGITS_WORST);
	assert_close(tiny_loss(t, logits, GOLDEN_TARGETS), *(const float *)safetensors_find(t->golden, "loss")->data, 0, 1e-6);
	free(final);
	free(logits);
	free(got);
}

static void check_gradients(struct tiny *t)
{
	double worst = 0;
	tiny_step(t, NULL, NULL, NULL, GOLDEN_TARGETS);
	float *grads = tiny_grads(t);
	assert_int_equal(safetensors_count(t->golden), t->hf.layout.n_tensors + 3); /* none left out */
	for (int i = 0; i < t->hf.layout.n_tensors; i++) {
		const struct hf_tensor *h = &t->hf.layout.tensors[i];
		char name[128];
		snprintf(name, sizeof name, "grad.%s", h->name);
		const struct safetensor *want = safetensors_find(t->golden, name);
		assert_non_null(want);
		struct test_distance d = test_distance_of(grads + h->offset, NULL, want->data, want->n_elems);
		test_distance_check(d, NMSE, GRADS_WORST, name, __FILE__, __LINE__);
		worst = d.worst > worst ? d.worst : worst;
		grads[h->offset] += 1e-3f * (fabsf(grads[h->offset]) + 1);
		assert_true(test_distance_of(grads + h->offset, NULL, want->data, want->n_elems).worst > GRADS_WORST);
	}
	print_message(", gradients %.2g\n", worst);
	free(grads);
}

static void test_golden_models(void **state)
{
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++) {
		struct tiny t;
		tiny_open(&t, tiny_names[i], ACTIVATIONS_TRAIN, 2);
		check_logits(&t, tiny_names[i]);
		check_gradients(&t);
		tiny_close(&t);
	}
}

static void test_gradients_accumulate(void **state)
{
	struct tiny t;
	(void)state;
	tiny_open(&t, "qwen3", ACTIVATIONS_TRAIN, 1);
	tiny_step(&t, NULL, NULL, NULL, 1);
	float *once = tiny_grads(&t);
	tiny_step(&t, NULL, NULL, NULL, 1);
	float *twice = tiny_grads(&t);
	for (size_t i = 0; i < t.n_elems; i++)
		twice[i] /= 2;
	assert_floats(twice, once, t.n_elems, 1e-12, 1e-5);
	free(once);
	free(twice);
	tiny_close(&t);
}

/* All modes compute the same forward, bit for bit, whatever stood in their memory. */
static void test_inference_mode(void **state)
{
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++) {
		float *final[3];
		size_t n_bytes = 0, bytes[3];
		for (enum activation_mode mode = ACTIVATIONS_INFER; mode <= ACTIVATIONS_MASKED; mode++) {
			struct tiny t;
			tiny_open(&t, tiny_names[i], mode, 2);
			final[mode] = tiny_forward(&t, NULL, NULL);
			n_bytes = tiny_rows(&t) * (size_t)t.shape->C * sizeof(float);
			bytes[mode] = t.arena.used;
			tiny_close(&t);
		}
		assert_memory_equal(final[0], final[1], n_bytes);
		assert_memory_equal(final[0], final[2], n_bytes);
		assert_true(bytes[0] < bytes[1] && bytes[1] < bytes[2]);
		for (int m = 0; m < 3; m++)
			free(final[m]);
	}
}

/* Documents of 5 and 8 tokens in one row give what they give alone: final states, and gradients that add up. */
static void check_packed(const char *name)
{
	static const int starts[TINY_T] = {0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 5, 5, 5};
	struct tiny packed, alone;
	tiny_open(&packed, name, ACTIVATIONS_TRAIN, 2);
	tiny_open(&alone, name, ACTIVATIONS_TRAIN, 2);
	size_t C = (size_t)packed.shape->C;
	tiny_batch(&packed, 1, TINY_T, 0, starts);
	float *together = tiny_forward(&packed, NULL, NULL);
	tiny_step(&packed, NULL, NULL, NULL, 1);
	for (int document = 0; document < 2; document++) {
		int first = document ? 5 : 0, n = document ? 8 : 5;
		tiny_batch(&alone, 1, n, first, NULL);
		float *single = tiny_forward(&alone, NULL, NULL);
		float *part = together + (size_t)first * C;
		assert_floats(part, single, (size_t)n * C, 1e-12, 1e-5);
		tiny_step(&alone, NULL, NULL, NULL, 1);
		free(single);
	}
	float *sum = tiny_grads(&alone), *got = tiny_grads(&packed);
	assert_floats(got, sum, packed.n_elems, 1e-11, 1e-4);
	free(sum);
	free(got);
	free(together);
	tiny_close(&packed);
	tiny_close(&alone);
}

static void test_packed_documents(void **state)
{
	(void)state;
	for (int i = 0; i < TINY_MODELS; i++)
		check_packed(tiny_names[i]);
}

static void test_same_bits_again(void **state)
{
	struct tiny a, b;
	(void)state;
	tiny_open(&a, "llama_bias", ACTIVATIONS_TRAIN, 2);
	tiny_open(&b, "llama_bias", ACTIVATIONS_TRAIN, 2);
	double loss_a = tiny_step(&a, NULL, NULL, NULL, 1), loss_b = tiny_step(&b, NULL, NULL, NULL, 1);
	float *x = tiny_grads(&a), *y = tiny_grads(&b);
	assert_true(loss_a == loss_b);
	assert_memory_equal(x, y, a.n_elems * sizeof *x);
	free(x);
	free(y);
	tiny_close(&a);
	tiny_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_models), cmocka_unit_test(test_gradients_accumulate),
		cmocka_unit_test(test_inference_mode), cmocka_unit_test(test_packed_documents),
		cmocka_unit_test(test_same_bits_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

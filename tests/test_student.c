/* student/: ten AdamW steps and a distillation step against torch (tests/golden/adamw.py), token-averaged accumulation,
 * steps that must not happen. */
#include "tests/testing.h"

#include "tests/rig.h"

#define LR 2e-3f

/* Largest distance over all tensors, relative to |element| + the tensor's rms. */
static double worst_of(const struct rig *r, const char *prefix, const float *flat)
{
	double worst = 0;
	for (int i = 0; i < r->student.layout.n_tensors; i++) {
		const struct hf_tensor *t = &r->student.layout.tensors[i];
		const struct safetensor *want = test_golden(r->golden, prefix, t->name);
		assert_int_equal(want->n_elems, t->rows * (t->cols ? t->cols : 1));
		struct test_distance d = test_distance_of(flat + t->offset, NULL, want->data, want->n_elems);
		if (!(d.worst <= worst))
			worst = d.worst;
	}
	return worst;
}

static const float *values(const struct rig *r, const char *prefix, const char *key)
{
	return test_golden(r->golden, prefix, key)->data;
}

/* Measured: losses 2e-7 apart, weights 1.4e-6; a wrong constant moves weights by 1.5e-3 (every_constant_matters). */
static void ten_steps_equal_torch(void **state)
{
	(void)state;
	struct student_options o = rig_options();
	for (int threads = 1; threads <= 2; threads++) {
		struct rig r;
		float norm;
		rig_open(&r, &o, threads);
		for (int step = 0; step < RIG_STEPS; step++) {
			assert_close(rig_step(&r, step, LR, &norm), values(&r, "plain", "loss")[step], 0, 2e-6);
			assert_close(norm, values(&r, "plain", "norm")[step], 0, 1e-5);
		}
		assert_int_equal(r.student.step, RIG_STEPS);
		float *flat = rig_download(&r, r.student.params.master);
		double worst = worst_of(&r, "plain/final", flat);
		flat[r.student.layout.tensors[3].offset + 5] += 1e-5f;
		assert_true(worst <= 1e-5);
		assert_true(worst_of(&r, "plain/final", flat) > 1e-5);
		free(flat);
		rig_close(&r);
	}
}

static double worst_after_ten(const struct student_options *o)
{
	struct rig r;
	rig_open(&r, o, 1);
	for (int step = 0; step < RIG_STEPS; step++)
		rig_step(&r, step, LR, NULL);
	float *flat = rig_download(&r, r.student.params.master);
	double worst = worst_of(&r, "plain/final", flat);
	free(flat);
	rig_close(&r);
	return worst;
}

/* The bound of the test above sees each of the optimizer's constants. */
static void every_constant_matters(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++) {
		struct student_options o = rig_options();
		float *constants[] = {&o.beta1, &o.beta2, &o.eps, &o.weight_decay, &o.clip_norm};
		*constants[i] = i < 2 ? 0.99f : i == 2 ? 1e-5f : 0;
		assert_true(worst_after_ten(&o) > 1e-3);
	}
}

/* Measured: 9e-4. */
static void bf16_follows(void **state)
{
	(void)state;
	struct student_options o = rig_options();
	struct rig r;
	o.type = DTYPE_BF16;
	rig_open(&r, &o, 2);
	for (int step = 0; step < RIG_STEPS; step++)
		assert_close(rig_step(&r, step, LR, NULL), values(&r, "plain", "loss")[step], 0, 0.004);
	rig_close(&r);
}

/* A teacher from the golden directory, its arenas real. */
struct rig_teacher {
	struct teacher teacher;
	struct arena weights, activations;
};
static void teacher_open(struct rig_teacher *t, struct ops *ops)
{
	struct hf_model hf;
	struct err e;
	struct teacher_options o = {.type = DTYPE_F32, .B = RIG_B, .T = RIG_T};
	*t = (struct rig_teacher){0};
	assert_ok(hf_open(&hf, test_source("tests/golden/adamw/teacher").text, &e), &e);
	assert_ok(teacher_init(&t->teacher, ops, &hf, &o, &t->weights, &t->activations, &e), &e);
	teacher_release(&t->teacher);
	test_arena_back(ops, &t->weights);
	test_arena_back(ops, &t->activations);
	assert_ok(teacher_init(&t->teacher, ops, &hf, &o, &t->weights, &t->activations, &e), &e);
	hf_close(&hf);
}
static void teacher_close(struct rig_teacher *t, struct ops *ops)
{
	teacher_release(&t->teacher);
	ops->release(ops, t->weights.base);
	ops->release(ops, t->activations.base);
}

static struct student_options kd_options(void)
{
	struct student_options o = rig_options();
	o.teacher_V = 64;
	o.n_teachers = o.n_terms = 1;
	return o;
}

static void distilled_gradients_equal_torch(void **state)
{
	(void)state;
	struct student_options o = kd_options();
	struct rig r;
	struct rig_teacher t;
	rig_open(&r, &o, 2);
	teacher_open(&t, r.ops);
	struct train_batch b = rig_batch(&r, 0);
	struct step_loss loss = {.ce_weight = 0.3f, .n_terms = 1, .terms = {{.weight = 0.7f, .tau = 2}}, .kd_skip_separators = true, .step_tokens = rig_counted(&b)};
	struct step_sums sums = {0};
	student_begin(&r.student);
	rig_microbatch(&r, &b, &loss, &t.teacher, &sums);
	assert_close(sums.ce, values(&r, "kd", "ce")[0], 0, 1e-6);
	assert_close(sums.terms[0], values(&r, "kd", "kl")[0], 0, 2e-6);
	const int32_t *counts = test_golden(r.golden, "kd", "counts")->data;
	assert_int_equal(sums.tokens, counts[0]);
	assert_int_equal(sums.kd_tokens, counts[1]);
	assert_int_equal(sums.agree, counts[2]);
	float *flat = rig_download(&r, r.student.grads);
	assert_true(worst_of(&r, "kd/grad", flat) <= 2e-5);
	flat[r.student.layout.tensors[0].offset + 7] *= 1.001f;
	assert_true(worst_of(&r, "kd/grad", flat) > 2e-5);
	free(flat);
	teacher_close(&t, r.ops);
	rig_close(&r);
}

/* Sums of one batch at weight w. */
static struct step_sums sums_at(struct rig *r, struct teacher *t, float w, bool skip)
{
	struct train_batch b = rig_batch(r, 0);
	struct step_loss loss = {.ce_weight = 1 - w, .n_terms = 1, .terms = {{.weight = w, .tau = 1.5f}},
				 .kd_skip_separators = skip, .step_tokens = rig_counted(&b)};
	struct step_sums sums = {0};
	student_begin(&r->student);
	rig_microbatch(r, &b, &loss, t, &sums);
	return sums;
}

/* The cross-entropy is watched whatever its weight; at w = 1 it leaves no trace in the gradient. */
static void sums_do_not_depend_on_weights(void **state)
{
	(void)state;
	struct student_options o = kd_options();
	struct rig r;
	struct rig_teacher t;
	rig_open(&r, &o, 1);
	teacher_open(&t, r.ops);
	struct step_sums half = sums_at(&r, &t.teacher, 0.5f, false), all = sums_at(&r, &t.teacher, 1, false);
	float *pure = rig_download(&r, r.student.grads);
	struct step_sums none = sums_at(&r, NULL, 0, false), skip = sums_at(&r, &t.teacher, 1, true);
	assert_true(half.ce == all.ce && half.terms[0] == all.terms[0] && none.ce == all.ce);
	assert_true(none.kd_tokens == 0 && none.terms[0] == 0 && none.agree == 0);
	assert_int_equal(all.kd_tokens, all.tokens);
	assert_int_equal(skip.kd_tokens, skip.text_tokens);
	assert_true(skip.text_tokens < skip.tokens && skip.ce_text < skip.ce && skip.ce == all.ce);
	struct train_batch b = rig_batch(&r, 0);
	int32_t other[RIG_N];
	for (int i = 0; i < RIG_N; i++)
		other[i] = b.targets[i] < 0 ? -1 : (b.targets[i] + 1) % 61;
	b.targets = other;
	struct step_loss loss = {.n_terms = 1, .terms = {{.weight = 1, .tau = 1.5f}}, .step_tokens = rig_counted(&b)};
	student_begin(&r.student);
	rig_microbatch(&r, &b, &loss, &t.teacher, &half);
	float *moved = rig_download(&r, r.student.grads);
	assert_memory_equal(pure, moved, r.student.layout.n_elems * sizeof(float));
	free(pure);
	free(moved);
	teacher_close(&t, r.ops);
	rig_close(&r);
}

/* Two micro-batches with different numbers of counted tokens give the gradient of the batch of both. */
static void accumulation_averages_over_tokens(void **state)
{
	(void)state;
	enum { N2 = 2 * RIG_N };
	struct student_options o = rig_options(), big = rig_options();
	struct student_arenas arenas;
	struct student wide;
	struct rig r;
	int32_t pos[N2], start[N2] = {0};
	rig_open(&r, &o, 2);
	big.B = 2 * RIG_B;
	rig_student(&wide, r.ops, &r.hf.layout.arch, &big, &arenas);
	float *flat = rig_download(&r, r.student.params.master);
	student_load(&wide, flat);
	free(flat);
	struct train_batch a = rig_batch(&r, 0), b = rig_batch(&r, 1), both = a; /* the golden file holds b after a */
	for (int i = 0; i < N2; i++)
		pos[i] = i % RIG_T;
	both.pos = pos;
	both.start = start;
	assert_true(rig_counted(&a) != rig_counted(&b));
	struct step_loss loss = {.step_tokens = rig_counted(&a) + rig_counted(&b)};
	struct step_sums two = {0}, one = {0};
	student_begin(&r.student);
	rig_microbatch(&r, &a, &loss, NULL, &two);
	rig_microbatch(&r, &b, &loss, NULL, &two);
	student_begin(&wide);
	student_upload(&wide, &both);
	student_microbatch(&wide, &loss, 0, NULL, NULL, NULL, NULL, &one);
	assert_int_equal(one.tokens, two.tokens);
	assert_close(one.ce, two.ce, 0, 1e-6);
	float *got = rig_download(&r, r.student.grads), *want = rig_download(&r, wide.grads);
	assert_floats(got, want, r.student.layout.n_elems, 1e-12, 4e-6);
	free(got);
	free(want);
	student_release(&wide);
	rig_arenas_release(r.ops, &arenas);
	rig_close(&r);
}

/* A poisoned weight or gradient stops the step and names it. */
static void nothing_happens_when_not_finite(void **state)
{
	(void)state;
	struct student_options o = rig_options();
	struct rig r;
	struct err e;
	rig_open(&r, &o, 1);
	rig_step(&r, 0, LR, NULL);
	float *before = rig_download(&r, r.student.params.master), *m = rig_download(&r, r.student.m);
	const float bad = NAN;
	const struct hf_tensor *victim = &r.student.layout.tensors[4];
	r.ops->upload(r.ops, r.student.grads + victim->offset + 3, &bad, sizeof bad);
	float norm = -1;
	assert_fails(student_update(&r.student, LR, &norm, &e), &e, "step 2");
	assert_non_null(strstr(e.line, victim->name));
	assert_non_null(strstr(e.line, "the loss is finite"));
	float *after = rig_download(&r, r.student.params.master), *m_after = rig_download(&r, r.student.m);
	size_t n_bytes = r.student.layout.n_elems * sizeof(float);
	assert_memory_equal(before, after, n_bytes);
	assert_memory_equal(m, m_after, n_bytes);
	assert_int_equal(r.student.step, 1);
	assert_true(norm == -1);
	r.ops->upload(r.ops, (float *)params_vector(&r.student.params, PARAM_FINAL_NORM, -1), &bad, sizeof bad);
	struct train_batch b = rig_batch(&r, 1);
	struct step_sums sums = {0};
	student_begin(&r.student);
	rig_microbatch(&r, &b, &(struct step_loss){.step_tokens = rig_counted(&b)}, NULL, &sums);
	assert_fails(student_update(&r.student, LR, NULL, &e), &e, "the loss is not finite");
	free(before);
	free(after);
	free(m);
	free(m_after);
	rig_close(&r);
}

/* No moments in memory, the weights as they were to the bit, and gradients that flow all the same. */
static void frozen_weights_stay(void **state)
{
	(void)state;
	struct student_options o = rig_options();
	struct rig r;
	float norm = 0;
	o.frozen = true;
	rig_open(&r, &o, 1);
	size_t n = r.student.layout.n_elems;
	float *before = malloc(n * sizeof *before), *after = malloc(n * sizeof *after);
	assert_int_equal(r.arenas.moments.used, 0);
	student_weights(&r.student, before);
	rig_step(&r, 0, 1e-2f, &norm);
	rig_step(&r, 1, 1e-2f, NULL);
	student_weights(&r.student, after);
	assert_memory_equal(before, after, n * sizeof *before);
	assert_true(norm > 0);
	assert_int_equal(r.student.step, 2);
	free(before);
	free(after);
	rig_close(&r);
}

static void random_weights_have_the_scale_of_their_kind(void **state)
{
	(void)state;
	struct student_options o = rig_options();
	struct rig r;
	rig_open(&r, &o, 1);
	student_randomise(&r.student, 5);
	float *a = rig_download(&r, r.student.params.master);
	student_randomise(&r.student, 6);
	float *b = rig_download(&r, r.student.params.master);
	student_randomise(&r.student, 5);
	float *c = rig_download(&r, r.student.params.master);
	assert_memory_equal(a, c, r.student.layout.n_elems * sizeof(float));
	for (int i = 0; i < r.student.layout.n_tensors; i++) {
		const struct hf_tensor *t = &r.student.layout.tensors[i];
		size_t n = t->rows * (t->cols ? t->cols : 1), differ = 0;
		double sum = 0, squares = 0;
		for (size_t j = t->offset; j < t->offset + n; j++) {
			sum += (double)a[j];
			squares += (double)a[j] * (double)a[j];
			differ += a[j] != b[j];
		}
		double want = t->kind == PARAM_O || t->kind == PARAM_DOWN ? 0.02 / 2 : 0.02; /* L = 2 */
		if (!param_is_matrix(t->kind)) {
			assert_true(sum == (double)n && differ == 0);
			continue;
		}
		assert_close(sqrt(squares / (double)n), want, 0, 6 / sqrt(2.0 * (double)n));
		assert_close(sum / (double)n, 0, 5 * want / sqrt((double)n), 0);
		assert_true(differ > n * 9 / 10);
	}
	free(a);
	free(b);
	free(c);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_steps_equal_torch),
		cmocka_unit_test(every_constant_matters),
		cmocka_unit_test(bf16_follows),
		cmocka_unit_test(distilled_gradients_equal_torch),
		cmocka_unit_test(sums_do_not_depend_on_weights),
		cmocka_unit_test(accumulation_averages_over_tokens),
		cmocka_unit_test(nothing_happens_when_not_finite),
		cmocka_unit_test(frozen_weights_stay),
		cmocka_unit_test(random_weights_have_the_scale_of_their_kind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

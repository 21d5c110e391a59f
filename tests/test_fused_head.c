/* losses/fused_head.c against tests/golden/losses.py (float64 autograd of every divergence, of lists, of several teachers,
 * dense and sparse, of vocabularies that differ): losses, both gradients and arg-maxima, in whatever chunks the rows are cut. */
#include "tests/testing.h"

#include "tests/head_case.h"

struct head_bounds {
	double nmse, worst;
};
static const struct head_bounds F32_BOUNDS = {F32_NMSE, F32_WORST}, BF16_BOUNDS = {BF16_NMSE, BF16_WORST};
/* Logits of +-3e4: a log-ratio is rounded to 1e-3 before the mean is taken off. Measured: 9.3e-8 and 9.5e-4, reverse KL. */
static const struct head_bounds HUGE_BOUNDS = {1e-6, 3e-3};
static const struct ops_limits LIMITS = {.max_operand_elems = 1 << 16, .max_columns = 256};

/* want: n floats of the golden file, or of a part of it. */
static void check_floats(const struct head_case *c, const char *what, const void *device, const float *want, size_t n,
			 struct head_bounds b)
{
	char text[2 * HEAD_CASE_TEXT];
	snprintf(text, sizeof text, "%s: %s", c->name, what);
	float *got = head_fetch(c, device, n * sizeof(float));
	test_distance_check(test_distance_of(got, NULL, want, n), b.nmse, b.worst, text, __FILE__, __LINE__);
	free(got);
}

static void check_tensor(const struct head_case *c, const char *prefix, const char *key, const void *device, struct head_bounds b)
{
	const struct safetensor *t = test_golden(c->golden, prefix, key);
	check_floats(c, key, device, t->data, t->n_elems, b);
}

static void check_ids(const struct head_case *c, const char *prefix, const char *key, const void *device)
{
	const struct safetensor *t = test_golden(c->golden, prefix, key);
	int32_t *got = head_fetch(c, device, t->n_bytes);
	assert_memory_equal(got, t->data, t->n_bytes);
	free(got);
}

/* Losses come from fp32 logits of exact inputs in either path: b is for the gradients. */
static void check_case(const struct head_case *c, struct head_bounds b)
{
	const struct head_loss *l = &c->loss;
	if (!strcmp(c->scene, "huge") && b.worst < HUGE_BOUNDS.worst)
		b = HUGE_BOUNDS;
	check_tensor(c, c->scene, "ce", l->ce, F32_BOUNDS);
	check_ids(c, c->name, "argmax_s", l->argmax_s);
	check_tensor(c, c->name, "dhidden", l->dhidden, b);
	check_tensor(c, c->name, "dhead", l->dhead, b);
	size_t n = (size_t)(l->N * l->n_terms);
	for (int m = 0; m < l->n_teachers; m++) {
		const struct head_teacher *t = &l->teachers[m];
		if (n)
			check_floats(c, c->teacher[m], t->divergence,
				     (const float *)test_golden(c->golden, c->name, "divergence")->data + (size_t)m * n, n, F32_BOUNDS);
		if (!t->ce)
			continue;
		check_tensor(c, c->teacher[m], "ce", t->ce, F32_BOUNDS);
		check_ids(c, c->teacher[m], "argmax", t->argmax);
	}
}

/* The name of the i-th tensor without "/terms", which every case has. */
static bool is_case(const struct safetensors *f, int i, char name[HEAD_CASE_TEXT])
{
	const char *text = safetensors_at(f, i)->name, *end = strstr(text, "/terms");
	if (end)
		snprintf(name, HEAD_CASE_TEXT, "%.*s", (int)(end - text), text);
	return end != NULL;
}

/* In chunks of 16 rows and in one. */
static void check_every_case(struct ops *ops, enum dtype head_type, struct head_bounds b)
{
	static const size_t chunk_bytes[] = {1, 0};
	struct safetensors *f = head_golden_open();
	struct head_case c;
	char name[HEAD_CASE_TEXT];
	int n = 0;
	for (int i = 0; i < safetensors_count(f); i++) {
		if (!is_case(f, i, name))
			continue;
		for (int k = 0; k < 2; k++) {
			head_case_open(&c, ops, f, name, head_type);
			head_case_run(&c, chunk_bytes[k]);
			check_case(&c, b);
			head_case_close(&c);
		}
		n++;
	}
	assert_true(n >= 70);
	safetensors_close(f);
}

static void equals_autograd(void **state)
{
	(void)state;
	for (int threads = 1; threads <= 2; threads++) {
		struct ops *ops = test_ops(threads, false, &LIMITS);
		check_every_case(ops, DTYPE_F32, F32_BOUNDS);
		ops_cpu_close(ops);
	}
}

static void equals_autograd_in_bf16(void **state)
{
	(void)state;
	struct ops *ops = test_ops(2, true, &LIMITS);
	if (ops->matmul_bf16) {
		check_every_case(ops, DTYPE_BF16, BF16_BOUNDS);
		ops_cpu_close(ops);
		return;
	}
	ops_cpu_close(ops);
	print_message("SKIP: this processor has no bf16 products\n");
	skip();
}

/* The bounds see one wrong element of each output. */
static void one_wrong_element_is_seen(void **state)
{
	(void)state;
	static const char *const names[] = {"large:dense:warm", "small:narrow+dense+wide:list", "small:narrow_tail+narrow+zero:list"};
	struct safetensors *f = head_golden_open();
	struct ops *ops = test_ops(1, false, &LIMITS);
	for (int i = 0; i < 3; i++) {
		struct head_case c;
		head_case_open(&c, ops, f, names[i], DTYPE_F32);
		head_case_run(&c, 0);
		const struct safetensor *want = test_golden(f, names[i], "dhead");
		float *got = head_fetch(&c, c.loss.dhead, want->n_bytes);
		struct test_distance right = test_distance_of(got, NULL, want->data, want->n_elems);
		got[77] += 3e-4f * (fabsf(got[77]) + 0.3f);
		struct test_distance wrong = test_distance_of(got, NULL, want->data, want->n_elems);
		assert_true(right.worst < F32_WORST / 4 && wrong.worst > F32_WORST && wrong.at == 77);
		free(got);
		head_case_close(&c);
	}
	ops_cpu_close(ops);
	safetensors_close(f);
}

enum { N_QUIET = 2 };
static const int QUIET[N_QUIET] = {3, 17}; /* one in each chunk */

static void silence(struct head_case *c, const float *weight)
{
	for (int i = 0; i < N_QUIET; i++)
		c->ops->zero(c->ops, (float *)weight + QUIET[i], sizeof(float));
}

static void fill_row(struct head_case *c, const void *base, int row, int width, float even, float odd)
{
	float x[64];
	for (int j = 0; j < width; j++)
		x[j] = j % 2 ? odd : even;
	c->ops->upload(c->ops, (float *)base + row * width, x, (size_t)width * sizeof(float));
}

/* Runs a case with rows that do not count: tame, or wild (the student's logits infinite or NaN, the teachers' NaN). */
static void run_quiet(struct head_case *c, struct ops *ops, const struct safetensors *f, bool wild)
{
	head_case_open(c, ops, f, "small:narrow+dense+wide:list", DTYPE_F32);
	silence(c, c->loss.ce_weight);
	for (int m = 0; m < c->loss.n_teachers; m++)
		silence(c, c->loss.teachers[m].weight);
	for (int i = 0; wild && i < N_QUIET; i++) {
		fill_row(c, c->loss.hidden, QUIET[i], c->loss.C, -1e38f, 3e38f);
		for (int m = 0; m < c->loss.n_teachers; m++)
			fill_row(c, c->soft[m].hidden, QUIET[i], c->soft[m].C, NAN, NAN);
	}
	head_case_run(c, 1);
}

static void assert_same(const struct head_case *a, const void *x, const struct head_case *b, const void *y, int n)
{
	void *p = head_fetch(a, x, (size_t)n * 4), *q = head_fetch(b, y, (size_t)n * 4);
	assert_memory_equal(p, q, (size_t)n * 4);
	free(p);
	free(q);
}

static void assert_same_losses(const struct head_case *a, const struct head_case *b)
{
	const struct head_loss *l = &a->loss;
	assert_same(a, l->ce, b, b->loss.ce, l->N);
	for (int m = 0; m < l->n_teachers; m++) {
		assert_same(a, l->teachers[m].divergence, b, b->loss.teachers[m].divergence, l->N * l->n_terms);
		if (l->teachers[m].ce)
			assert_same(a, l->teachers[m].ce, b, b->loss.teachers[m].ce, l->N);
	}
}

static void rows_without_weight_leave_no_trace(void **state)
{
	(void)state;
	struct safetensors *f = head_golden_open();
	struct ops *ops = test_ops(2, false, &LIMITS);
	struct head_case tame, wild;
	run_quiet(&tame, ops, f, false);
	run_quiet(&wild, ops, f, true);
	assert_same_losses(&tame, &wild);
	assert_same(&tame, tame.loss.dhidden, &wild, wild.loss.dhidden, tame.loss.N * tame.loss.C);
	assert_same(&tame, tame.loss.dhead, &wild, wild.loss.dhead, tame.loss.V * tame.loss.C);
	head_case_close(&tame);
	head_case_close(&wild);
	ops_cpu_close(ops);
	safetensors_close(f);
}

/* Without gradients the losses are the same bits. */
static void loss_alone(void **state)
{
	(void)state;
	static const char *const names[] = {"small:narrow+dense+wide:list", "small:dense+tail:list", "small:narrow_tail:list"};
	struct safetensors *f = head_golden_open();
	struct ops *ops = test_ops(2, false, &LIMITS);
	for (int i = 0; i < 3; i++) {
		struct head_case a, b;
		head_case_open(&a, ops, f, names[i], DTYPE_F32);
		head_case_open(&b, ops, f, names[i], DTYPE_F32);
		b.loss.dhidden = b.loss.dhead = NULL;
		head_case_run(&a, 1);
		head_case_run(&b, 1);
		assert_same_losses(&a, &b);
		assert_same(&a, a.loss.argmax_s, &b, b.loss.argmax_s, a.loss.N);
		head_case_close(&a);
		head_case_close(&b);
	}
	ops_cpu_close(ops);
	safetensors_close(f);
}

static size_t scratch(int max_rows, int V, int teacher_V, int n_teachers)
{
	struct arena a = arena_dry();
	struct fused_head *head;
	struct err e;
	struct ops *ops = test_ops(1, false, &LIMITS);
	struct fused_head_options o = {.max_rows = max_rows, .V = V, .C = 64, .teacher_V = teacher_V, .n_teachers = n_teachers};
	assert_ok(fused_head_init(&head, ops, &o, &a, &e), &e);
	fused_head_free(head);
	ops_cpu_close(ops);
	return a.used;
}

/* One matrix of a chunk's rows by V, two or three, however many rows and teachers there are. */
static void scratch_does_not_grow_with_rows(void **state)
{
	(void)state;
	enum { V = 32000, MANY = 1 << 20 };
	size_t matrix = (size_t)fused_head_chunk_rows(V, 0) * V * sizeof(float);
	assert_true(2 * matrix <= FUSED_HEAD_CHUNK_BYTES);
	assert_int_equal(scratch(MANY, V, 0, 0), matrix);
	assert_int_equal(scratch(MANY, V, V, 1), 2 * matrix);
	assert_int_equal(scratch(4096, V, V, 1), 2 * matrix);
	assert_int_equal(scratch(MANY, V, 0, 1), 2 * matrix);
	assert_int_equal(scratch(MANY, V, V - 1, 1), 3 * matrix);
	assert_int_equal(scratch(MANY, V, V, 2), 3 * matrix);
	assert_int_equal(scratch(MANY, V, V - 1, FUSED_HEAD_MAX_TEACHERS), 3 * matrix);
	assert_int_equal(fused_head_chunk_rows(1 << 22, 0), 16);
	assert_int_equal(fused_head_chunk_rows(61, 0), FUSED_HEAD_MAX_ROWS);
}

static void logits_are_the_product(void **state)
{
	(void)state;
	enum { n = 3, C = 2, V = 5 };
	const float x[n * C] = {1, 2, -3, 4, 0.5f, -1}, w[V * C] = {1, 0, 0, 1, 2, 3, -1, -1, 4, 0.25f};
	struct ops *ops = test_ops(1, false, &LIMITS);
	void *dx = test_device(ops, x, sizeof x), *dw = test_device(ops, w, sizeof w), *out = test_device(ops, NULL, n * V * 4);
	float got[n * V];
	fused_head_logits(ops, dx, dw, DTYPE_F32, n, C, V, out);
	ops->download(ops, got, out, sizeof got);
	for (int i = 0; i < n * V; i++)
		assert_close(got[i], x[i / V * C] * w[i % V * C] + x[i / V * C + 1] * w[i % V * C + 1], 1e-6, 0);
	ops->release(ops, dx);
	ops->release(ops, dw);
	ops->release(ops, out);
	ops_cpu_close(ops);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equals_autograd),
		cmocka_unit_test(equals_autograd_in_bf16),
		cmocka_unit_test(one_wrong_element_is_seen),
		cmocka_unit_test(rows_without_weight_leave_no_trace),
		cmocka_unit_test(loss_alone),
		cmocka_unit_test(scratch_does_not_grow_with_rows),
		cmocka_unit_test(logits_are_the_product),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

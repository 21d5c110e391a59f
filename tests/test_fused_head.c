/* losses/fused_head.c against tests/golden/losses.py (float64 autograd): losses, both gradients and arg-maxima, in whatever
 * chunks the rows are cut. */
#include "tests/testing.h"

#include "losses/fused_head.h"
#include "tests/device.h"

static const char *const CASES[] = {"plain", "kd", "warm", "cold", "teacher_padded", "student_padded", "huge"};
enum { N_CASES = sizeof CASES / sizeof CASES[0] };

struct head_case {
	const struct safetensors *golden;
	const char *name;
	int N, C, V, teacher_C, teacher_V; /* teacher_V 0: none */
	float tau;
};

struct head_result { /* host, the caller's to release */
	float *ce, *kl, *dhidden, *dhead;
	int32_t *argmax_s, *argmax_t;
};

struct head_bounds {
	double nmse, worst;
};
static const struct head_bounds F32_BOUNDS = {F32_NMSE, F32_WORST}, BF16_BOUNDS = {BF16_NMSE, BF16_WORST};

static struct safetensors *golden_open(void)
{
	struct safetensors *f;
	struct err e;
	assert_ok(safetensors_open(&f, test_source("tests/golden/losses.safetensors").text, &e), &e);
	return f;
}

static struct head_case case_of(const struct safetensors *f, const char *name)
{
	const struct safetensor *hidden = test_golden(f, name, "hidden"), *head = test_golden(f, name, "head");
	const struct safetensor *teacher = test_golden_find(f, name, "teacher_head");
	struct head_case c = {.golden = f, .name = name, .N = (int)hidden->dims[0], .C = (int)hidden->dims[1],
			      .V = (int)head->dims[0]};
	memcpy(&c.tau, test_golden(f, name, "tau")->data, sizeof c.tau);
	if (teacher) {
		c.teacher_V = (int)teacher->dims[0];
		c.teacher_C = (int)teacher->dims[1];
	}
	return c;
}

static void *device_of(struct ops *ops, const struct head_case *c, const char *key)
{
	const struct safetensor *t = test_golden(c->golden, c->name, key);
	return test_device(ops, t->data, t->n_bytes);
}

/* As device_of, in `type`. */
static void *device_as(struct ops *ops, const struct head_case *c, const char *key, enum dtype type)
{
	const struct safetensor *t = test_golden(c->golden, c->name, key);
	void *host = malloc(t->n_bytes);
	dtype_convert(host, type, t->data, DTYPE_F32, t->n_elems);
	void *p = test_device(ops, host, t->n_elems * dtype_size(type));
	free(host);
	return p;
}

static void *host_of(struct ops *ops, void *device, size_t n_bytes)
{
	void *host = malloc(n_bytes);
	ops->download(ops, host, device, n_bytes);
	ops->release(ops, device);
	return host;
}

static void *zeros(struct ops *ops, int n)
{
	return test_device(ops, NULL, (size_t)n * 4);
}

static void run_loss(struct ops *ops, const struct head_case *c, struct head_loss *l, size_t chunk_bytes)
{
	struct fused_head_options o = {.max_rows = c->N, .V = c->V, .C = c->C, .teacher_V = c->teacher_V,
				       .n_teachers = c->teacher_V > 0, .chunk_bytes = chunk_bytes};
	struct arena arena = arena_dry();
	struct fused_head *head;
	struct err e;
	assert_ok(fused_head_init(&head, ops, &o, &arena, &e), &e);
	fused_head_free(head);
	test_arena_back(ops, &arena);
	assert_ok(fused_head_init(&head, ops, &o, &arena, &e), &e);
	assert_int_equal(arena.used, arena.capacity);
	fused_head_run(head, ops, l);
	fused_head_free(head);
	ops->release(ops, arena.base);
}

/* hidden replaces the golden hidden states unless NULL. */
static struct head_result run_case(struct ops *ops, const struct head_case *c, enum dtype head_type, size_t chunk_bytes,
				   const float *hidden)
{
	bool kd = c->teacher_V > 0;
	int N = c->N;
	struct soft_targets soft = {.kind = SOFT_TARGETS_NONE};
	struct head_loss l = {.N = N, .C = c->C, .V = c->V, .head_type = head_type};
	const struct divergence_term kl = {.kind = DIVERGENCE_FORWARD_KL, .weight = 1, .tau = c->tau};
	float *divergence = NULL;
	int32_t *argmax_t = NULL;
	void *x = hidden ? test_device(ops, hidden, (size_t)(N * c->C) * 4) : device_as(ops, c, "hidden", ops->act);
	void *w = device_as(ops, c, "head", head_type), *target = device_of(ops, c, "target");
	void *ce_weight = device_of(ops, c, "ce_weight"), *kd_weight = NULL, *tx = NULL, *tw = NULL;
	l.hidden = x;
	l.head = w;
	l.target = target;
	l.ce_weight = ce_weight;
	l.dhidden = zeros(ops, N * c->C);
	l.dhead = zeros(ops, c->V * c->C);
	l.ce = zeros(ops, N);
	l.argmax_s = zeros(ops, N);
	if (kd) {
		tx = device_as(ops, c, "teacher_hidden", ops->act);
		tw = device_as(ops, c, "teacher_head", head_type);
		soft = (struct soft_targets){.kind = SOFT_TARGETS_DENSE, .C = c->teacher_C, .V = c->teacher_V, .hidden = tx,
					     .head = tw, .head_type = head_type};
		kd_weight = device_of(ops, c, "kd_weight");
		divergence = zeros(ops, N);
		argmax_t = zeros(ops, N);
		l.n_terms = l.n_teachers = 1;
		l.terms = &kl;
		l.teachers[0] = (struct head_teacher){.soft = &soft, .weight = kd_weight, .divergence = divergence, .argmax = argmax_t};
	}
	run_loss(ops, c, &l, chunk_bytes);
	struct head_result r = {.ce = host_of(ops, l.ce, (size_t)N * 4), .dhidden = host_of(ops, l.dhidden, (size_t)(N * c->C) * 4),
				.dhead = host_of(ops, l.dhead, (size_t)(c->V * c->C) * 4),
				.argmax_s = host_of(ops, l.argmax_s, (size_t)N * 4)};
	if (kd) {
		r.kl = host_of(ops, divergence, (size_t)N * 4);
		r.argmax_t = host_of(ops, argmax_t, (size_t)N * 4);
	}
	void *used[] = {x, w, target, ce_weight, kd_weight, tx, tw};
	for (size_t i = 0; i < sizeof used / sizeof used[0]; i++)
		if (used[i])
			ops->release(ops, used[i]);
	return r;
}

static void result_release(struct head_result *r)
{
	void *all[] = {r->ce, r->kl, r->dhidden, r->dhead, r->argmax_s, r->argmax_t};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		free(all[i]);
}

static void check_floats(const struct head_case *c, const char *key, const float *got, struct head_bounds b)
{
	const struct safetensor *t = test_golden(c->golden, c->name, key);
	char what[128];
	snprintf(what, sizeof what, "%s/%s", c->name, key);
	test_distance_check(test_distance_of(got, NULL, t->data, t->n_elems), b.nmse, b.worst, what, __FILE__, __LINE__);
}

static void check_ids(const struct head_case *c, const char *key, const int32_t *got)
{
	const struct safetensor *t = test_golden(c->golden, c->name, key);
	assert_memory_equal(got, t->data, t->n_bytes);
}

static void check_result(const struct head_case *c, const struct head_result *r, struct head_bounds b)
{
	check_floats(c, "ce", r->ce, b);
	check_floats(c, "dhidden", r->dhidden, b);
	check_floats(c, "dhead", r->dhead, b);
	check_ids(c, "argmax_s", r->argmax_s);
	if (!c->teacher_V)
		return;
	check_floats(c, "kl", r->kl, b);
	check_ids(c, "argmax_t", r->argmax_t);
}

static const struct ops_limits LIMITS = {.max_operand_elems = 1 << 16, .max_columns = 256};

/* Chunks of 16, 16 and 5 rows, and one chunk of all 37. */
static void check_every_case(struct ops *ops, enum dtype head_type, struct head_bounds b)
{
	static const size_t chunk_bytes[] = {1, 0};
	struct safetensors *f = golden_open();
	for (int i = 0; i < N_CASES; i++)
		for (int k = 0; k < 2; k++) {
			struct head_case c = case_of(f, CASES[i]);
			struct head_result r = run_case(ops, &c, head_type, chunk_bytes[k], NULL);
			check_result(&c, &r, b);
			result_release(&r);
		}
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
	struct safetensors *f = golden_open();
	struct ops *ops = test_ops(1, false, &LIMITS);
	struct head_case c = case_of(f, "warm");
	struct head_result r = run_case(ops, &c, DTYPE_F32, 0, NULL);
	const struct safetensor *want = test_golden(f, "warm", "dhead");
	struct test_distance right = test_distance_of(r.dhead, NULL, want->data, want->n_elems);
	r.dhead[777] += 3e-4f * (fabsf(r.dhead[777]) + 0.1f);
	struct test_distance wrong = test_distance_of(r.dhead, NULL, want->data, want->n_elems);
	assert_true(right.worst < F32_WORST / 4 && wrong.worst > F32_WORST && wrong.at == 777);
	result_release(&r);
	ops_cpu_close(ops);
	safetensors_close(f);
}

/* Rows that do not count may hold anything finite: nothing changes anywhere. */
static void rows_without_weight_leave_no_trace(void **state)
{
	(void)state;
	struct safetensors *f = golden_open();
	struct ops *ops = test_ops(2, false, &LIMITS);
	struct head_case c = case_of(f, "kd");
	const struct safetensor *x = test_golden(f, "kd", "hidden");
	const float *ce_weight = test_golden(f, "kd", "ce_weight")->data, *kd_weight = test_golden(f, "kd", "kd_weight")->data;
	float *wild = malloc(x->n_bytes);
	memcpy(wild, x->data, x->n_bytes);
	int n = 0;
	for (int i = 0; i < c.N; i++)
		if (ce_weight[i] == 0 && kd_weight[i] == 0 && ++n)
			for (int j = 0; j < c.C; j++)
				wild[i * c.C + j] = j % 2 ? 1e30f : -1e37f;
	assert_true(n > 0);
	struct head_result a = run_case(ops, &c, DTYPE_F32, 1, NULL), b = run_case(ops, &c, DTYPE_F32, 1, wild);
	assert_memory_equal(a.ce, b.ce, (size_t)c.N * 4);
	assert_memory_equal(a.kl, b.kl, (size_t)c.N * 4);
	assert_memory_equal(a.dhidden, b.dhidden, (size_t)(c.N * c.C) * 4);
	assert_memory_equal(a.dhead, b.dhead, (size_t)(c.V * c.C) * 4);
	result_release(&a);
	result_release(&b);
	free(wild);
	ops_cpu_close(ops);
	safetensors_close(f);
}

static size_t scratch(int max_rows, int V, int teacher_V)
{
	struct arena a = arena_dry();
	struct fused_head *head;
	struct err e;
	struct ops *ops = test_ops(1, false, &LIMITS);
	struct fused_head_options o = {.max_rows = max_rows, .V = V, .C = 64, .teacher_V = teacher_V, .n_teachers = teacher_V > 0};
	assert_ok(fused_head_init(&head, ops, &o, &a, &e), &e);
	fused_head_free(head);
	ops_cpu_close(ops);
	return a.used;
}

static void scratch_does_not_grow_with_rows(void **state)
{
	(void)state;
	size_t few = scratch(4096, 32000, 32000), many = scratch(1 << 20, 32000, 32000);
	assert_int_equal(few, many);
	assert_true(many <= FUSED_HEAD_CHUNK_BYTES);
	assert_int_equal(scratch(1 << 20, 32000, 0) * 2, many);
	assert_int_equal(fused_head_chunk_rows(1 << 22, 0), 16);
	assert_int_equal(fused_head_chunk_rows(61, 0), FUSED_HEAD_MAX_ROWS);
}

static void logits_are_the_product(void **state)
{
	(void)state;
	enum { n = 3, C = 2, V = 5 };
	const float x[n * C] = {1, 2, -3, 4, 0.5f, -1}, w[V * C] = {1, 0, 0, 1, 2, 3, -1, -1, 4, 0.25f};
	struct ops *ops = test_ops(1, false, &LIMITS);
	void *dx = test_device(ops, x, sizeof x), *dw = test_device(ops, w, sizeof w), *out = zeros(ops, n * V);
	fused_head_logits(ops, dx, dw, DTYPE_F32, n, C, V, out);
	float *got = host_of(ops, out, n * V * 4);
	for (int i = 0; i < n * V; i++)
		assert_close(got[i], x[i / V * C] * w[i % V * C] + x[i / V * C + 1] * w[i % V * C + 1], 1e-6, 0);
	free(got);
	ops->release(ops, dx);
	ops->release(ops, dw);
	ops_cpu_close(ops);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equals_autograd),
		cmocka_unit_test(equals_autograd_in_bf16),
		cmocka_unit_test(one_wrong_element_is_seen),
		cmocka_unit_test(rows_without_weight_leave_no_trace),
		cmocka_unit_test(scratch_does_not_grow_with_rows),
		cmocka_unit_test(logits_are_the_product),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

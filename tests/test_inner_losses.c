/* losses/hidden_loss.c and losses/relation_loss.c against tests/golden/inner.py (float64 autograd) and finite differences:
 * losses, gradients of the student and of projections. Sizes and shapes: tests/test_inner_sizes.c */
#include "tests/testing.h"

#include "losses/hidden_loss.h"
#include "losses/relation_loss.h"
#include "tests/device.h"

static const char *const CASES[] = {
	"cosine_equal", "cosine_kept", "cosine_projected", "mse_equal", "mse_kept", "mse_projected", "relations_equal",
	"relations_gqa", "relations_wider_teacher", "relations_finer_than_heads", "relations_chunks",
};
enum { N_CASES = sizeof CASES / sizeof CASES[0] };

struct bounds {
	double nmse, worst;
};
static const struct bounds F32_BOUNDS = {F32_NMSE, F32_WORST};

/* One golden case: its tensors on the device, and what a loss writes. One of the two losses is set up. */
struct inner {
	const struct safetensors *golden;
	const char *name;
	struct ops *ops;
	bool relations;
	struct hidden_loss hidden;
	struct relation_loss relation;
	float *student, *projection, *dstudent, *dprojection, *loss; /* device; NULL where the case has none */
	void *others[4], *scratch;
	size_t n_rows, n_student, n_projection;
};

static void *device_of(const struct inner *x, const char *key)
{
	const struct safetensor *t = test_golden_find(x->golden, x->name, key);
	return t ? test_device(x->ops, t->data, t->n_bytes) : NULL;
}

static size_t elements(const struct inner *x, const char *key)
{
	const struct safetensor *t = test_golden_find(x->golden, x->name, key);
	return t ? t->n_elems : 0;
}

/* Shapes alone: what the limits and scratch depend on. */
static struct inner shapes_of(const struct safetensors *golden, const char *name)
{
	struct inner x = {.golden = golden, .name = name, .relations = !strncmp(name, "relations", 9)};
	const struct safetensor *student = test_golden(golden, name, "student"), *teacher = test_golden(golden, name, "teacher");
	x.n_rows = test_golden(golden, name, "weight")->n_elems;
	x.n_student = student->n_elems;
	x.n_projection = elements(&x, "projection");
	if (x.relations) {
		int32_t s[7];
		memcpy(s, test_golden(golden, name, "shape")->data, sizeof s);
		x.relation = (struct relation_loss){.B = (int)student->dims[0], .T = (int)student->dims[1], .R = s[6],
						    .student = {s[0], s[1], s[2]}, .teacher = {s[3], s[4], s[5]}};
	} else {
		x.hidden = (struct hidden_loss){.kind = strstr(name, "cosine") ? HIDDEN_COSINE : HIDDEN_MSE, .N = (int)x.n_rows,
						.C_s = (int)student->dims[1], .C_t = (int)teacher->dims[1]};
	}
	return x;
}

static struct ops_limits limits_of(const struct inner *x)
{
	const struct relation_loss *r = &x->relation;
	const struct hidden_loss *h = &x->hidden;
	return x->relations ? relation_loss_limits(r->T, r->R, r->student, r->teacher)
			    : hidden_loss_limits(h->N, h->C_s, h->C_t, x->n_projection > 0);
}

static size_t scratch_of(const struct inner *x)
{
	const struct relation_loss *r = &x->relation;
	const struct hidden_loss *h = &x->hidden;
	return x->relations ? relation_loss_scratch(x->ops, r->T, r->R, r->student, r->teacher)
			    : hidden_loss_scratch(x->ops, h->N, h->C_s, h->C_t, x->n_projection > 0);
}

/* Reserves what the loss asks for and no more. Scratch holds NaNs: nobody may count on zeros. */
static struct inner inner_open(const struct safetensors *golden, const char *name, int n_threads, bool bf16)
{
	struct inner x = shapes_of(golden, name);
	struct ops_limits limits = limits_of(&x);
	if (!bf16)
		limits.max_operand_elems = 0;
	x.ops = test_ops(n_threads, bf16, &limits);
	x.student = device_of(&x, "student");
	x.projection = device_of(&x, "projection");
	x.dstudent = test_device(x.ops, NULL, x.n_student * 4);
	x.dprojection = x.projection ? test_device(x.ops, NULL, x.n_projection * 4) : NULL;
	x.loss = test_device(x.ops, NULL, x.n_rows * 4);
	memset(x.loss, 0xff, x.n_rows * 4);
	void *teacher = x.others[0] = device_of(&x, "teacher"), *weight = x.others[1] = device_of(&x, "weight");
	void *columns = x.others[2] = device_of(&x, "columns"), *start = x.others[3] = device_of(&x, "start");
	size_t n_bytes = scratch_of(&x);
	x.scratch = n_bytes ? test_device(x.ops, NULL, n_bytes) : NULL;
	if (n_bytes)
		memset(x.scratch, 0xff, n_bytes);
	struct relation_loss *r = &x.relation;
	r->student_qkv = x.student;
	r->teacher_qkv = teacher;
	r->start = start;
	struct hidden_loss *h = &x.hidden;
	h->student = x.student;
	h->teacher = teacher;
	h->columns = columns;
	h->projection = x.projection;
	h->dprojection = x.dprojection;
	r->weight = h->weight = weight;
	r->scale = h->scale = 1;
	r->loss = h->loss = x.loss;
	r->dqkv = h->dstudent = x.dstudent;
	r->scratch = h->scratch = x.scratch;
	return x;
}

static void inner_close(struct inner *x)
{
	void *all[] = {x->student, x->projection, x->dstudent, x->dprojection, x->loss, x->scratch};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		if (all[i])
			x->ops->release(x->ops, all[i]);
	for (int i = 0; i < 4; i++)
		if (x->others[i])
			x->ops->release(x->ops, x->others[i]);
	ops_cpu_close(x->ops);
}

static void run(struct inner *x)
{
	if (x->relations)
		relation_loss_run(x->ops, &x->relation);
	else
		hidden_loss_run(x->ops, &x->hidden);
}

static struct test_distance distance(const struct inner *x, const char *key, const float *got)
{
	const struct safetensor *want = test_golden(x->golden, x->name, key);
	return test_distance_of(got, NULL, want->data, want->n_elems);
}

static void check(const struct inner *x, const char *key, const float *got, struct bounds b)
{
	char what[128];
	snprintf(what, sizeof what, "%s/%s", x->name, key);
	test_distance_check(distance(x, key, got), b.nmse, b.worst, what, __FILE__, __LINE__);
}

static void check_all(const struct inner *x, struct bounds b)
{
	check(x, "loss", x->loss, b);
	check(x, "dstudent", x->dstudent, b);
	if (x->projection)
		check(x, "dprojection", x->dprojection, b);
}

static struct safetensors *golden_open(void)
{
	struct safetensors *f;
	struct err e;
	assert_ok(safetensors_open(&f, test_source("tests/golden/inner.safetensors").text, &e), &e);
	return f;
}

static void equals_autograd(void **state)
{
	(void)state;
	struct safetensors *f = golden_open();
	for (int i = 0; i < 2 * N_CASES; i++) {
		struct inner x = inner_open(f, CASES[i / 2], i % 2 + 1, false);
		run(&x);
		check_all(&x, F32_BOUNDS);
		inner_close(&x);
	}
	safetensors_close(f);
}

/* bf16 products round operands and dS to 8 bits: measured are NMSE 9e-6 and 0.015 of an element. */
static const struct bounds ROUNDED = {BF16_NMSE, 2 * BF16_WORST};

static void equals_autograd_in_bf16(void **state)
{
	(void)state;
	struct safetensors *f = golden_open();
	bool bf16 = true;
	for (int i = 0; i < N_CASES && bf16; i++) {
		struct inner x = inner_open(f, CASES[i], 2, true);
		bf16 = x.ops->matmul_bf16;
		if (bf16) {
			run(&x);
			check_all(&x, ROUNDED);
		}
		inner_close(&x);
	}
	safetensors_close(f);
	if (bf16)
		return;
	print_message("SKIP: this processor has no bf16 products\n");
	skip();
}

static void see_wrong(const struct inner *x, const char *key, float *got, size_t n)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += (double)got[i] * (double)got[i];
	struct test_distance right = distance(x, key, got);
	float kept = got[n / 3];
	got[n / 3] += 3 * F32_WORST * (fabsf(kept) + (float)sqrt(sum / (double)n));
	struct test_distance wrong = distance(x, key, got);
	got[n / 3] = kept;
	assert_true(right.worst < F32_WORST / 4 && wrong.worst > F32_WORST && wrong.at == n / 3);
}

static void one_wrong_element_is_seen(void **state)
{
	(void)state;
	struct safetensors *f = golden_open();
	for (int i = 0; i < N_CASES; i++) {
		struct inner x = inner_open(f, CASES[i], 1, false);
		run(&x);
		see_wrong(&x, "loss", x.loss, x.n_rows);
		see_wrong(&x, "dstudent", x.dstudent, x.n_student);
		if (x.projection)
			see_wrong(&x, "dprojection", x.dprojection, x.n_projection);
		inner_close(&x);
	}
	safetensors_close(f);
}

/* scale * sum_n weight_n loss_n, without a gradient */
static double value_of(const struct inner *x)
{
	struct relation_loss r = x->relation;
	struct hidden_loss h = x->hidden;
	r.dqkv = h.dstudent = h.dprojection = NULL;
	if (x->relations)
		relation_loss_run(x->ops, &r);
	else
		hidden_loss_run(x->ops, &h);
	double sum = 0;
	for (size_t n = 0; n < x->n_rows; n++)
		sum += (double)h.weight[n] * (double)x->loss[n];
	return (double)h.scale * sum;
}

/* Central differences of order 4 of a loss in fp32: at this h both their own error and rounding stay below
 * 4e-5 of (the slope + rms). */
static double slope(const struct inner *x, float *at)
{
	const float kept = *at, h = 0x1p-4f;
	double d[4];
	for (int i = 0; i < 4; i++) {
		*at = kept + (float)(i < 2 ? i - 2 : i - 1) * h;
		d[i] = value_of(x);
	}
	*at = kept;
	return (d[0] - 8 * d[1] + 8 * d[2] - d[3]) / (12 * (double)h);
}

#define SLOPE_NMSE 1e-9
#define SLOPE_WORST 2e-4

static void check_slopes(const struct inner *x, float *at, const float *got, size_t n)
{
	double *want = calloc(n, sizeof *want);
	for (size_t i = 0; i < n; i++)
		want[i] = slope(x, at + i);
	test_distance_check(test_distance_of(got, want, NULL, n), SLOPE_NMSE, SLOPE_WORST, x->name, __FILE__, __LINE__);
	want[n / 3] += 4 * SLOPE_WORST * (fabs(want[n / 3]) + 1);
	assert_true(test_distance_of(got, want, NULL, n).worst > SLOPE_WORST);
	free(want);
}

static void equals_differences(void **state)
{
	(void)state;
	static const char *const cases[] = {"relations_equal", "cosine_projected", "mse_projected", "cosine_kept", "mse_equal"};
	struct safetensors *f = golden_open();
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct inner x = inner_open(f, cases[i], 1, false);
		x.hidden.scale = x.relation.scale = 0.5f;
		run(&x);
		check_slopes(&x, x.student, x.dstudent, x.n_student);
		if (x.projection)
			check_slopes(&x, x.projection, x.dprojection, x.n_projection);
		inner_close(&x);
	}
	safetensors_close(f);
}

/* A second run adds the same again, and a run without gradients leaves the same losses. */
static void gradients_accumulate(void **state)
{
	(void)state;
	struct safetensors *f = golden_open();
	for (int i = 0; i < N_CASES; i++) {
		struct inner x = inner_open(f, CASES[i], 2, false);
		run(&x);
		run(&x);
		for (size_t k = 0; k < x.n_student; k++)
			x.dstudent[k] /= 2;
		for (size_t k = 0; k < x.n_projection; k++)
			x.dprojection[k] /= 2;
		check_all(&x, F32_BOUNDS);
		memset(x.loss, 0xff, x.n_rows * 4);
		value_of(&x);
		check(&x, "loss", x.loss, F32_BOUNDS);
		inner_close(&x);
	}
	safetensors_close(f);
}

/* A student that is its own teacher, and a batch that counts for nothing: no loss, no gradient. */
static void nothing_to_learn(void **state)
{
	(void)state;
	static const char *const cases[] = {"cosine_equal", "mse_equal", "relations_equal"};
	struct safetensors *f = golden_open();
	for (int i = 0; i < 6; i++) {
		struct inner x = inner_open(f, cases[i / 2], 2, false);
		if (i % 2)
			memset(x.others[1], 0, x.n_rows * 4);
		else
			x.hidden.teacher = x.relation.teacher_qkv = x.student;
		run(&x);
		for (size_t k = 0; k < x.n_rows; k++)
			assert_close(x.loss[k], 0, i % 2 ? 0 : 1e-6, 0);
		for (size_t k = 0; k < x.n_student; k++)
			assert_close(x.dstudent[k], 0, i % 2 ? 0 : 1e-6, 0);
		inner_close(&x);
	}
	safetensors_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equals_autograd),
		cmocka_unit_test(equals_autograd_in_bf16),
		cmocka_unit_test(one_wrong_element_is_seen),
		cmocka_unit_test(equals_differences),
		cmocka_unit_test(gradients_accumulate),
		cmocka_unit_test(nothing_to_learn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

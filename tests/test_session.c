/* recipes/session.c: what is priced is what is allocated, to the byte, for every kind of phase; the micro-batch that fits. */
#include "tests/testing.h"

#include "recipes/session.h"

static size_t n_allocated;
static int (*plain_alloc)(struct ops *, size_t, void **, struct err *);
static bool refuse;

static int counting_alloc(struct ops *ops, size_t n_bytes, void **out, struct err *e)
{
	n_allocated += n_bytes;
	return refuse ? err_run(e, "out of memory: %zu bytes", n_bytes) : plain_alloc(ops, n_bytes, out, e);
}

struct bench {
	struct ops *ops, *eval_ops;
	struct hf_model student, teacher;
};

static void bench_open(struct bench *b, bool two_backends)
{
	struct err e;
	assert_ok(ops_cpu_open(&b->ops, &(struct ops_options){.n_threads = 2}, &e), &e);
	b->eval_ops = b->ops;
	if (two_backends)
		assert_ok(ops_cpu_open(&b->eval_ops, &(struct ops_options){.n_threads = 2}, &e), &e);
	plain_alloc = b->ops->alloc;
	b->ops->alloc = b->eval_ops->alloc = counting_alloc;
	assert_ok(hf_open(&b->student, test_source("tests/golden/adamw/student").text, &e), &e);
	assert_ok(hf_open(&b->teacher, test_source("tests/golden/adamw/teacher").text, &e), &e);
}

static void bench_close(struct bench *b)
{
	hf_close(&b->student);
	hf_close(&b->teacher);
	if (b->eval_ops != b->ops)
		ops_cpu_close(b->eval_ops);
	ops_cpu_close(b->ops);
}

static struct session_options options(const struct bench *b, bool distils, bool masked)
{
	struct session_options o = {.ops = b->ops, .eval_ops = b->eval_ops, .arch = &b->student.layout.arch, .masked = masked,
				    .n_teachers = distils, .teachers = {{.model = &b->teacher, .ops = b->ops}},
				    .student = student_default(), .eval_sequence_length = 32};
	o.student.n_terms = distils;
	o.student.B = 3;
	o.student.T = 16;
	return o;
}

static void price_is_what_is_allocated(void **state)
{
	(void)state;
	for (int kind = 0; kind < 8; kind++) {
		struct bench b;
		struct session s;
		struct err e;
		size_t price[MEMORY_OWNERS];
		bool distils = kind & 1, masked = kind & 2;
		bench_open(&b, kind & 4);
		struct session_options o = options(&b, distils, masked);
		n_allocated = 0;
		assert_ok(session_price(&o, price, &e), &e);
		assert_int_equal(n_allocated, 0);
		assert_ok(session_open(&s, &o, &e), &e);
		assert_int_equal(n_allocated, session_total(price) - price[MEMORY_BACKEND]);
		assert_memory_equal(s.bytes, price, sizeof price);
		assert_true(price[MEMORY_WEIGHTS] > 0 && price[MEMORY_EVALUATION] > 0);
		assert_int_equal(price[MEMORY_MOMENTS], 2 * price[MEMORY_GRADIENTS]);
		assert_int_equal(price[MEMORY_TEACHER_WEIGHTS] > 0, distils);
		assert_int_equal(price[MEMORY_MASKS] > 0, masked);
		struct params p = session_fp32(&s);
		assert_int_equal(p.type, DTYPE_F32);
		session_close(&s);
		session_close(&s);
		bench_close(&b);
	}
}

static void memory_that_is_refused_is_given_back(void **state)
{
	(void)state;
	struct bench b;
	struct session s;
	struct err e;
	bench_open(&b, false);
	struct session_options o = options(&b, true, true);
	refuse = true;
	assert_fails(session_open(&s, &o, &e), &e, "weights: out of memory");
	refuse = false;
	session_close(&s);
	bench_close(&b);
}

static size_t total_at(const struct session_options *options, int B)
{
	struct session_options o = *options;
	struct err e;
	size_t bytes[MEMORY_OWNERS];
	o.student.B = B;
	assert_ok(session_price(&o, bytes, &e), &e);
	return session_total(bytes);
}

static void the_micro_batch_fits(void **state)
{
	(void)state;
	struct bench b;
	struct err e;
	int B;
	bench_open(&b, false);
	struct session_options o = options(&b, true, false);
	assert_ok(session_micro_batch(&o, 12, SIZE_MAX, &B, &e), &e);
	assert_int_equal(B, 12);
	assert_ok(session_micro_batch(&o, 12, total_at(&o, 12), &B, &e), &e);
	assert_int_equal(B, 12);
	assert_ok(session_micro_batch(&o, 12, total_at(&o, 12) - 1, &B, &e), &e);
	assert_int_equal(B, 6);
	assert_ok(session_micro_batch(&o, 12, total_at(&o, 5), &B, &e), &e); /* 5 does not divide 12 */
	assert_int_equal(B, 4);
	assert_ok(session_micro_batch(&o, 12, total_at(&o, 1), &B, &e), &e);
	assert_int_equal(B, 1);
	assert_fails(session_micro_batch(&o, 12, total_at(&o, 1) - 1, &B, &e), &e, "one sequence of 16 tokens needs");
	assert_non_null(strstr(e.line, "teacher"));
	assert_null(strchr(e.line, '\n'));
	assert_ok(session_micro_batch(&o, 512, SIZE_MAX, &B, &e), &e); /* 4096 tokens are enough */
	assert_int_equal(B, 256);
	assert_ok(session_micro_batch(&o, 1009, SIZE_MAX, &B, &e), &e); /* a prime */
	assert_int_equal(B, 1);
	bench_close(&b);
}

static void owners_have_names(void **state)
{
	(void)state;
	for (int i = 0; i < MEMORY_OWNERS; i++)
		for (int k = 0; k < i; k++)
			assert_string_not_equal(memory_owner_name((enum memory_owner)i), memory_owner_name((enum memory_owner)k));
	assert_true(memory_available() > 1 << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(price_is_what_is_allocated),
		cmocka_unit_test(memory_that_is_refused_is_given_back),
		cmocka_unit_test(the_micro_batch_fits),
		cmocka_unit_test(owners_have_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

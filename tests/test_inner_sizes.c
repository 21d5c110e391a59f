/* The inner losses at other sizes: rows cut into chunks, scratch that is bounded, which relation heads fit. */
#include "tests/testing.h"

#include "base/rng.h"
#include "losses/hidden_loss.h"
#include "losses/relation_loss.h"
#include "tests/device.h"

enum { MANY = HIDDEN_LOSS_ROWS + 37, WIDTH_S = 5, WIDTH_T = 9 };

struct many { /* a projected loss of more rows than a chunk has */
	float student[MANY * WIDTH_S], teacher[MANY * WIDTH_T], projection[WIDTH_T * WIDTH_S], weight[MANY];
	float loss[MANY], dstudent[MANY * WIDTH_S], dprojection[WIDTH_T * WIDTH_S];
};

static void many_run(struct many *m, struct ops *ops, int row, int n)
{
	struct hidden_loss l = {.kind = HIDDEN_COSINE, .N = n, .C_s = WIDTH_S, .C_t = WIDTH_T, .student = m->student + row * WIDTH_S,
				.teacher = m->teacher + row * WIDTH_T, .projection = m->projection, .weight = m->weight + row,
				.scale = 1, .loss = m->loss + row, .dstudent = m->dstudent + row * WIDTH_S,
				.dprojection = m->dprojection};
	l.scratch = test_device(ops, NULL, hidden_loss_scratch(ops, n, WIDTH_S, WIDTH_T, true));
	hidden_loss_run(ops, &l);
	ops->release(ops, l.scratch);
}

/* Rows in chunks are the rows in two halves. */
static void projection_in_chunks(void **state)
{
	(void)state;
	struct ops *ops = test_ops(2, false, &(struct ops_limits){0});
	struct many *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
	float *inputs = a->student;
	size_t n_inputs = offsetof(struct many, loss) / sizeof(float);
	for (size_t i = 0; i < n_inputs; i++)
		inputs[i] = rng_normal(9, RNG_TEST, 0, i);
	for (int i = 0; i < MANY; i++)
		a->weight[i] = fabsf(a->weight[i]);
	*b = *a;
	many_run(a, ops, 0, MANY);
	many_run(b, ops, 0, 500);
	many_run(b, ops, 500, MANY - 500);
	assert_floats(a->loss, b->loss, MANY, F32_NMSE, F32_WORST);
	assert_floats(a->dstudent, b->dstudent, MANY * WIDTH_S, F32_NMSE, F32_WORST);
	assert_floats(a->dprojection, b->dprojection, WIDTH_T * WIDTH_S, F32_NMSE, F32_WORST);
	free(a);
	free(b);
	ops_cpu_close(ops);
}

static void scratch_is_bounded(void **state)
{
	(void)state;
	struct ops *ops = test_ops(1, false, &(struct ops_limits){0});
	assert_int_equal(hidden_loss_scratch(ops, 1 << 20, 64, 96, false), 0);
	assert_int_equal(hidden_loss_scratch(ops, 1 << 20, 64, 96, true), 2 * HIDDEN_LOSS_ROWS * 96 * 4);
	const struct relation_shape s = {8, 2, 64}, t = {32, 8, 128};
	size_t few = relation_loss_scratch(ops, 512, 4, s, t), many = relation_loss_scratch(ops, 1 << 15, 4, s, t);
	size_t packed = (size_t)(128 + 1024 + 1) * 4; /* bytes a position */
	assert_true(few <= 2 * 4 * 512 * RELATION_MAX_ROWS + 512 * packed + 4096);
	assert_true(many <= 2 * RELATION_CHUNK_BYTES + ((size_t)1 << 15) * packed + 4096);
	ops_cpu_close(ops);
}

static void relation_heads(void **state)
{
	(void)state;
	const struct relation_shape s = {4, 2, 6}, t = {6, 3, 8}, one = {8, 1, 16}, wide = {32, 8, 64};
	assert_int_equal(relation_heads_default(s, s), 2);     /* whole heads */
	assert_int_equal(relation_heads_default(wide, wide), 8);
	assert_int_equal(relation_heads_default(s, t), 4);     /* 24, 12, 48, 24; no count divides 4, 2, 6, 3 */
	assert_int_equal(relation_heads_default(one, wide), 8); /* 128, 16, 2048, 512 */
	assert_int_equal(relation_heads_default((struct relation_shape){3, 1, 5}, wide), 1);
	assert_true(relation_heads_fit(12, s, t));
	assert_true(relation_heads_fit(1, s, t));
	assert_false(relation_heads_fit(24, s, t));
	assert_false(relation_heads_fit(8, s, t));
	assert_false(relation_heads_fit(0, s, t));
	assert_false(relation_heads_fit(-2, s, t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(projection_in_chunks),
		cmocka_unit_test(scratch_is_bounded),
		cmocka_unit_test(relation_heads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

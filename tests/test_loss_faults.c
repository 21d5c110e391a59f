/* Faults that other distillation toolkits were reported for, one test each, on the loss rows and on the fused head. One more,
 * averaging over micro-batches instead of tokens, is in tests/test_student.c (accumulation_averages_over_tokens). */
#include "tests/testing.h"

#include "losses/fused_head.h"
#include "tests/device.h"

static const struct ops_limits LIMITS = {.max_operand_elems = 1 << 16, .max_columns = 256};
enum { MAX_ROWS = 4, MAX_V = 64, MAX_ELEMS = MAX_ROWS * MAX_V };

/* Rows of logits, no cross-entropy, one divergence, and what comes back. */
struct rows {
	int n, V;
	float s[MAX_ELEMS], t[MAX_ELEMS], weight[MAX_ROWS];
	float divergence[MAX_ROWS], grad[MAX_ELEMS];
};

static void run_rows(struct rows *r, struct divergence_term term, const struct sparse_targets *host)
{
	struct ops *ops = test_ops(1, false, &LIMITS);
	size_t n_bytes = (size_t)(r->n * r->V) * sizeof(float), row_bytes = (size_t)r->n * sizeof(float);
	struct loss_rows l = {.n_rows = r->n, .V = r->V, .ld = r->V, .n_terms = 1, .terms = &term, .ld_grad = r->V, .grad_type = DTYPE_F32};
	struct sparse_targets sparse;
	void *held[8] = {test_device(ops, r->s, n_bytes), test_device(ops, r->t, n_bytes), test_device(ops, r->weight, row_bytes),
			 test_device(ops, NULL, row_bytes), test_device(ops, NULL, n_bytes)};
	l.s = held[0];
	l.kd_weight = held[2];
	l.divergence = held[3];
	l.grad = held[4];
	if (host) {
		sparse = *host;
		sparse.ids = held[5] = test_device(ops, host->ids, (size_t)(r->n * host->K) * sizeof(int32_t));
		sparse.log_p = held[6] = test_device(ops, host->log_p, (size_t)(r->n * host->K) * sizeof(float));
		sparse.tail = held[7] = test_device(ops, host->tail, row_bytes);
		l.sparse = &sparse;
	} else {
		l.t = held[1];
	}
	ops->loss_rows(ops, &l);
	ops->download(ops, r->divergence, l.divergence, row_bytes);
	ops->download(ops, r->grad, l.grad, n_bytes);
	for (int i = 0; i < 8; i++)
		if (held[i])
			ops->release(ops, held[i]);
	ops_cpu_close(ops);
}

/* One row of two logits lists. */
static struct rows row_of_three(float s0, float s1, float s2, float t0, float t1, float t2)
{
	return (struct rows){.n = 1, .V = 3, .s = {s0, s1, s2}, .t = {t0, t1, t2}, .weight = {1}};
}

static struct divergence_term term(enum divergence kind, float a)
{
	return (struct divergence_term){.kind = kind, .weight = 1, .tau = 1, .a = a, .b = 0.5f};
}

static void jsd_where_both_underflow_is_finite(void **state)
{
	(void)state;
	static const float betas[] = {1e-3f, 0.1f, 0.5f, 0.9f, 0.999f};
	for (int i = 0; i < 5; i++) {
		double b = (double)betas[i];
		struct rows same = row_of_three(0, -1e4f, -2e4f, 0, -2e4f, -1e4f);
		run_rows(&same, term(DIVERGENCE_JSD, betas[i]), NULL);
		assert_close(same.divergence[0], 0, 1e-7, 0);
		for (int j = 0; j < 3; j++)
			assert_close(same.grad[j], 0, 1e-7, 0);
		/* The last class has nothing on either side, the others all of one: the entropy of (beta, 1-beta). */
		struct rows apart = row_of_three(0, -1e4f, -1e4f, -1e4f, 0, -1e4f);
		run_rows(&apart, term(DIVERGENCE_JSD, betas[i]), NULL);
		assert_close(apart.divergence[0], -b * log(b) - (1 - b) * log(1 - b), 1e-6, 1e-5);
		for (int j = 0; j < 3; j++)
			assert_close(apart.grad[j], 0, 1e-6, 0);
	}
}

/* K = 2 of 6 columns; q's mass outside is about 4 e^-gap, p's is 0.3. The log-probability of the rest is what it is, and the
 * gradient spreads the 0.3 over the columns outside by q. */
static void check_tail(float gap)
{
	const float p[2] = {0.5f, 0.2f}, tail = 0.3f, log_p[2] = {logf(p[0]), logf(p[1])};
	const int32_t ids[2] = {1, 4};
	const struct sparse_targets sparse = {.K = 2, .missing = MISSING_TAIL, .tau = 1, .ids = ids, .log_p = log_p, .tail = &tail};
	struct rows r = {.n = 1, .V = 6, .s = {-gap, 0, -gap - 1, -gap, 0, -gap - 2}, .weight = {1}};
	run_rows(&r, term(DIVERGENCE_FORWARD_KL, 0), &sparse);
	double outside = 2 + exp(-1) + exp(-2), z = 2 + outside * exp(-(double)gap);
	double log_q = -log(z), log_rest = log(outside) - (double)gap - log(z), want = 0.3 * (log(0.3) - log_rest);
	for (int k = 0; k < 2; k++)
		want += (double)p[k] * (log((double)p[k]) - log_q);
	assert_close(r.divergence[0], want, 1e-6, 1e-5);
	for (int j = 0; j < 6; j++) {
		double q = exp((double)r.s[j] - log(z)), share = exp((double)r.s[j] + (double)gap) / outside;
		double g = j == 1 ? q - 0.5 : j == 4 ? q - 0.2 : q - 0.3 * share;
		assert_close(r.grad[j], g, 1e-6, 1e-5);
	}
}

static void tail_gradient_is_bounded_however_small_the_tail(void **state)
{
	(void)state;
	static const float gaps[] = {-30, 0, 5, 12, 17, 20, 40, 80};
	for (size_t i = 0; i < sizeof gaps / sizeof gaps[0]; i++)
		check_tail(gaps[i]);
}

/* Past what fp32 and double can hold: finite, and no column is pushed harder than by a whole probability. */
static void tail_that_underflows_is_finite(void **state)
{
	(void)state;
	const float log_p[2] = {logf(0.5f), logf(0.2f)}, tails[] = {0.3f, 1e-30f, 0};
	const int32_t ids[2] = {0, 1};
	for (int i = 0; i < 3; i++)
		for (int kind = 0; kind < DIVERGENCE_LOGIT_MSE; kind++) {
			struct sparse_targets sparse = {.K = 2, .missing = MISSING_TAIL, .tau = 1, .ids = ids, .log_p = log_p, .tail = &tails[i]};
			struct rows r = {.n = 1, .V = 5, .s = {0, 0, -1e4f, -2e4f, -1e4f}, .weight = {1}};
			run_rows(&r, term((enum divergence)kind, 0.5f), &sparse);
			assert_true(isfinite(r.divergence[0]));
			for (int j = 0; j < 5; j++)
				assert_true(fabsf(r.grad[j]) <= 1e4f);
			if (kind == DIVERGENCE_FORWARD_KL)
				for (int j = 0; j < 5; j++)
					assert_true(fabsf(r.grad[j]) <= 1);
		}
}

/* Rows 1 and 2 do not count and hold what no softmax survives. */
static void masked_rows_leave_no_trace_in_any_divergence(void **state)
{
	(void)state;
	for (int kind = 0; kind < DIVERGENCES; kind++) {
		struct rows r = {.n = 4, .V = 5, .weight = {1, 0, 0, 0.5f}}, alone = {.n = 2, .V = 5, .weight = {1, 0.5f}};
		for (int j = 0; j < 5; j++) {
			r.s[j] = alone.s[j] = 0.3f * (float)j - 1;
			r.t[j] = alone.t[j] = 0.1f * (float)(j * j);
			r.s[5 + j] = j % 2 ? NAN : -INFINITY;
			r.t[5 + j] = NAN;
			r.s[10 + j] = r.t[10 + j] = -INFINITY;
			r.s[15 + j] = alone.s[5 + j] = j == 2 ? 3 : 0;
			r.t[15 + j] = alone.t[5 + j] = j == 3 ? 2 : 0.5f * (float)j;
		}
		run_rows(&r, term((enum divergence)kind, 0.5f), NULL);
		run_rows(&alone, term((enum divergence)kind, 0.5f), NULL);
		assert_true(r.divergence[1] == 0 && r.divergence[2] == 0);
		for (int j = 5; j < 15; j++)
			assert_true(r.grad[j] == 0);
		assert_true(r.divergence[0] == alone.divergence[0] && r.divergence[3] == alone.divergence[1]);
		assert_memory_equal(r.grad, alone.grad, 5 * sizeof(float));
		assert_memory_equal(r.grad + 15, alone.grad + 5, 5 * sizeof(float));
		assert_true(alone.divergence[0] > 0 && alone.divergence[1] > 0);
	}
}

/* ---- padded vocabularies, through the fused head ---- */

enum { N = 20, C = 4, V = 24, PAD = 8 };
struct padded {
	float hidden[N * C], head[(V + PAD) * C], teacher_hidden[N * C], teacher_head[(V + PAD) * C];
	float ce_weight, divergence[N], dhidden[N * C], dhead[(V + PAD) * C];
};

static void fill(struct padded *p)
{
	unsigned x = 12345;
	float *all[] = {p->hidden, p->head, p->teacher_hidden, p->teacher_head};
	int n[] = {N * C, (V + PAD) * C, N * C, (V + PAD) * C};
	for (int i = 0; i < 4; i++)
		for (int j = 0; j < n[i]; j++) {
			x = x * 1664525u + 1013904223u;
			all[i][j] = (float)(x >> 16) / 32768 - 1;
		}
}

static void run_padded(struct padded *p, int student_V, int teacher_V, struct divergence_term d)
{
	struct ops *ops = test_ops(2, false, &LIMITS);
	int32_t target[N];
	float ce_weight[N], weight[N];
	for (int i = 0; i < N; i++) {
		target[i] = i;
		ce_weight[i] = p->ce_weight;
		weight[i] = 1;
	}
	struct soft_targets soft = {.kind = SOFT_TARGETS_DENSE, .V = teacher_V, .C = C, .head_type = DTYPE_F32};
	void *held[] = {test_device(ops, p->hidden, sizeof p->hidden), test_device(ops, p->head, sizeof p->head),
			test_device(ops, p->teacher_hidden, sizeof p->teacher_hidden),
			test_device(ops, p->teacher_head, sizeof p->teacher_head), test_device(ops, target, sizeof target),
			test_device(ops, ce_weight, sizeof ce_weight), test_device(ops, weight, sizeof weight),
			test_device(ops, NULL, sizeof weight), test_device(ops, NULL, sizeof p->dhidden),
			test_device(ops, NULL, sizeof p->dhead), test_device(ops, NULL, sizeof weight), NULL};
	soft.hidden = held[2];
	soft.head = held[3];
	struct head_loss l = {.N = N, .C = C, .V = student_V, .hidden = held[0], .head = held[1], .head_type = DTYPE_F32,
			      .target = held[4], .ce_weight = held[5], .n_terms = 1, .terms = &d, .n_teachers = 1,
			      .dhidden = held[8], .dhead = held[9], .ce = held[10]};
	l.teachers[0] = (struct head_teacher){.soft = &soft, .weight = held[6], .divergence = held[7]};
	struct fused_head_options o = {.max_rows = N, .V = student_V, .C = C, .teacher_V = teacher_V, .n_teachers = 1};
	struct arena arena = arena_dry();
	struct fused_head *head;
	struct err e;
	assert_ok(fused_head_init(&head, ops, &o, &arena, &e), &e);
	fused_head_free(head);
	test_arena_back(ops, &arena);
	assert_ok(fused_head_init(&head, ops, &o, &arena, &e), &e);
	fused_head_run(head, ops, &l);
	ops->download(ops, p->divergence, held[7], sizeof p->divergence);
	ops->download(ops, p->dhidden, held[8], sizeof p->dhidden);
	ops->download(ops, p->dhead, held[9], sizeof p->dhead);
	fused_head_free(head);
	ops->release(ops, arena.base);
	for (int i = 0; held[i]; i++)
		ops->release(ops, held[i]);
	ops_cpu_close(ops);
}

/* A student padded past its teacher, or the reverse: the divergences are those of the common columns, whatever the padded
 * ones hold; a row of the output matrix that only padding has is not moved by them. */
static void padded_ids_get_no_probability(void **state)
{
	(void)state;
	for (int kind = 0; kind < DIVERGENCES; kind++) {
		static struct padded common, student, teacher;
		fill(&common);
		for (int i = V * C; i < (V + PAD) * C; i++)
			common.head[i] *= 50, common.teacher_head[i] *= 50;
		student = teacher = common;
		struct divergence_term d = term((enum divergence)kind, 0.5f);
		run_padded(&common, V, V, d);
		run_padded(&student, V + PAD, V, d);
		run_padded(&teacher, V, V + PAD, d);
		assert_memory_equal(student.divergence, common.divergence, sizeof common.divergence);
		assert_memory_equal(teacher.divergence, common.divergence, sizeof common.divergence);
		assert_floats(student.dhidden, common.dhidden, N * C, F32_NMSE, F32_WORST);
		assert_memory_equal(teacher.dhidden, common.dhidden, sizeof common.dhidden);
		assert_floats(student.dhead, common.dhead, V * C, F32_NMSE, F32_WORST);
		assert_memory_equal(teacher.dhead, common.dhead, (size_t)(V * C) * sizeof(float));
		for (int i = V * C; i < (V + PAD) * C; i++)
			assert_true(student.dhead[i] == 0);
	}
}

/* The cross-entropy does see the padded columns: a student learns not to say them. */
static void padded_ids_count_in_the_cross_entropy(void **state)
{
	(void)state;
	static struct padded p;
	fill(&p);
	p.ce_weight = 1;
	run_padded(&p, V + PAD, V, term(DIVERGENCE_FORWARD_KL, 0));
	double sum = 0;
	for (int i = V * C; i < (V + PAD) * C; i++)
		sum += fabs((double)p.dhead[i]);
	assert_true(sum > 1e-2);
}

/* ---- the ends of the generalised JSD ---- */

static float value_at(enum divergence kind, float a, float grad[3])
{
	struct rows r = row_of_three(0.5f, -1, 2, 1, 0.25f, -2);
	run_rows(&r, term(kind, a), NULL);
	memcpy(grad, r.grad, 3 * sizeof(float));
	return r.divergence[0];
}

/* Its true limit is 0, like beta (1-beta), not the KL that others put there. */
static void jsd_goes_to_zero_smoothly(void **state)
{
	(void)state;
	float g[3], kl_g[3], kl = value_at(DIVERGENCE_FORWARD_KL, 0, kl_g), reverse = value_at(DIVERGENCE_REVERSE_KL, 0, kl_g);
	for (int end = 0; end < 2; end++) {
		assert_true(value_at(DIVERGENCE_JSD, (float)end, g) == 0);
		assert_true(g[0] == 0 && g[1] == 0 && g[2] == 0);
	}
	for (float a = 1e-2f; a > 1e-4f; a /= 10) {
		assert_close(value_at(DIVERGENCE_JSD, a, g) / a, kl, 0, 10 * (double)a);
		assert_close(value_at(DIVERGENCE_JSD, 1 - a, g) / a, reverse, 0, 10 * (double)a);
	}
}

static void normalised_jsd_is_continuous_at_its_ends(void **state)
{
	(void)state;
	float g[3], want[3];
	for (float a = 1e-2f; a > 1e-7f; a /= 10)
		for (int end = 0; end < 2; end++) {
			float kl = value_at(end ? DIVERGENCE_REVERSE_KL : DIVERGENCE_FORWARD_KL, 0, want);
			assert_close(value_at(DIVERGENCE_JSD_NORMALIZED, end ? 1 - a : a, g), kl, 1e-4, 10 * (double)a);
			for (int j = 0; j < 3; j++)
				assert_close(g[j], want[j], 1e-4 + 20 * (double)a, 0);
		}
	for (int end = 0; end < 2; end++) {
		float kl = value_at(end ? DIVERGENCE_REVERSE_KL : DIVERGENCE_FORWARD_KL, 0, want);
		assert_close(value_at(DIVERGENCE_JSD_NORMALIZED, (float)end, g), kl, 0, 1e-6);
		for (int j = 0; j < 3; j++)
			assert_close(g[j], want[j], 1e-7, 1e-6);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jsd_where_both_underflow_is_finite),
		cmocka_unit_test(tail_gradient_is_bounded_however_small_the_tail),
		cmocka_unit_test(tail_that_underflows_is_finite),
		cmocka_unit_test(masked_rows_leave_no_trace_in_any_divergence),
		cmocka_unit_test(padded_ids_get_no_probability),
		cmocka_unit_test(padded_ids_count_in_the_cross_entropy),
		cmocka_unit_test(jsd_goes_to_zero_smoothly),
		cmocka_unit_test(normalised_jsd_is_continuous_at_its_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

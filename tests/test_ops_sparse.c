/* Sparse targets of loss_rows: every divergence under the four conventions for the missing mass, against the categories
 * written out in double precision; all columns given against dense targets; tails that underflow; unused slots. */
#include "tests/loss_case.h"

static const struct loss_case SIZES[] = {
	{.n_rows = 3, .V = 37, .ld = 40, .spread = 2, .ce = true, .K = 5},
	{.n_rows = 1, .V = 700, .ld = 704, .spread = 3, .ce = true, .add = true, .K = 67},
	{.n_rows = 3, .V = 3, .ld = 8, .spread = 1, .add = true, .K = 2},
	{.n_rows = 3, .V = 129, .ld = 129, .spread = 3, .K = 33},
	{.n_rows = 1, .V = 1, .ld = 1, .spread = 1, .ce = true, .K = 1},
};
static const float TAUS[] = {1, 2.5f, 0.7f};
enum { N_SIZES = sizeof SIZES / sizeof *SIZES };

/* Infinite under ZERO, where p is 0 outside the ids. */
static bool weighs_reverse(const struct divergence_term *term)
{
	switch (term->kind) {
	case DIVERGENCE_REVERSE_KL:
	case DIVERGENCE_ADAPTIVE_KL:
		return true;
	case DIVERGENCE_SYMMETRIC_KL:
		return term->a > 0;
	case DIVERGENCE_JSD_NORMALIZED:
		return term->a == 1;
	case DIVERGENCE_SKEW_REVERSE_KL:
	case DIVERGENCE_ALPHA_BETA:
		return term->a == 0;
	default:
		return false;
	}
}

/* Two sizes for each divergence, by turns, and the list's first temperature for all of its terms. */
static int fill_cases(struct loss_case *cases, enum missing_mass missing)
{
	int n = 0;
	for (int i = 0; i < 2 * REFERENCE_N_TERMS; i++) {
		struct divergence_term term = REFERENCE_TERMS[i / 2];
		if (term.kind == DIVERGENCE_LOGIT_MSE || (missing == MISSING_ZERO && weighs_reverse(&term)) ||
		    (missing == MISSING_SAMPLED && term.kind != DIVERGENCE_FORWARD_KL))
			continue;
		cases[n] = SIZES[(i + i / N_SIZES) % N_SIZES];
		cases[n].missing = missing;
		cases[n].n_terms = 1;
		cases[n].terms[0] = term;
		cases[n].terms[0].tau = TAUS[i % 3];
		cases[n++].terms[0].weight = i % 4 ? 1 : 0.25f;
	}
	return n;
}

static void run_convention(enum missing_mass missing)
{
	static struct loss_case cases[2 * REFERENCE_N_TERMS];
	ops_cases_of(loss_run, cases, (size_t)fill_cases(cases, missing), sizeof *cases, false);
}
static void test_renormalise(void **state)
{
	(void)state;
	run_convention(MISSING_RENORMALISE);
}
static void test_zero(void **state)
{
	(void)state;
	run_convention(MISSING_ZERO);
}
static void test_tail(void **state)
{
	(void)state;
	run_convention(MISSING_TAIL);
}

static void test_sampled(void **state)
{
	(void)state;
	static struct loss_case cases[2 * N_SIZES];
	for (int i = 0; i < 2 * N_SIZES; i++) {
		cases[i] = SIZES[i % N_SIZES];
		cases[i].missing = MISSING_SAMPLED;
		cases[i].n_terms = 1;
		cases[i].terms[0] = (struct divergence_term){DIVERGENCE_FORWARD_KL, 0.7f, TAUS[i / N_SIZES], 0, 0};
	}
	OPS_CASES(loss_run, cases);
}

static void test_lists(void **state)
{
	(void)state;
	static struct loss_case cases[3];
	for (int i = 0; i < 3; i++)
		cases[i] = (struct loss_case){
			.n_rows = 3, .V = 129, .ld = 136, .spread = 2, .ce = true, .K = 20, .missing = i == 2 ? MISSING_RENORMALISE : MISSING_TAIL,
			.n_terms = 4, .terms = {{DIVERGENCE_FORWARD_KL, 0.5f, i ? 2 : 1, 0, 0}, {DIVERGENCE_JSD, 1, i ? 2 : 1, 0.3f, 0},
						{DIVERGENCE_REVERSE_KL, 0, i ? 2 : 1, 0, 0}, {DIVERGENCE_ADAPTIVE_KL, 2, i ? 2 : 1, 0.5f, 0}}};
	OPS_CASES(loss_run, cases);
}

/* ---- rows made by hand ---- */

enum { N_MAX = 1600 };
struct hand {
	float value, ce, grad[N_MAX];
};
static struct hand hand_row(struct ops *ops, const float *s, const float *t, const struct sparse_targets *sparse, int V,
			    struct divergence_term term)
{
	static float logits[N_MAX];
	struct hand r;
	float one = 1;
	int32_t target = V - 1;
	memcpy(logits, s, (size_t)V * sizeof *s);
	ops->loss_rows(ops, &(struct loss_rows){.n_rows = 1, .V = V, .ld = V, .s = logits, .t = t, .sparse = sparse, .target = &target,
						.ce_weight = &one, .ce = &r.ce, .kd_weight = &one, .n_terms = 1, .terms = &term,
						.divergence = &r.value, .grad = r.grad, .grad_type = DTYPE_F32, .ld_grad = V});
	return r;
}

/* Every column an id, the tail empty: whatever the convention, what dense targets give. */
static void check_all_columns(struct ops *ops, int V)
{
	static struct loss_world w;
	struct ops_case t = {.ops = ops, .seed = (uint64_t)V};
	for (int k = 0; k < REFERENCE_N_TERMS; k++)
		for (int missing = MISSING_RENORMALISE; missing <= MISSING_TAIL; missing++) {
			struct loss_case c = {.n_rows = 1, .V = V, .ld = V, .spread = 2, .missing = (enum missing_mass)missing,
					      .K = V, .n_terms = 1, .terms = {REFERENCE_TERMS[k]}};
			if (c.terms[0].kind == DIVERGENCE_LOGIT_MSE)
				continue;
			c.terms[0].tau = 1.5f;
			loss_world_init(&w, &t, &c);
			w.tail[0] = 0;
			struct hand dense = hand_row(ops, w.s, w.t, NULL, V, c.terms[0]);
			struct hand sparse = hand_row(ops, w.s, NULL, &w.sparse, V, c.terms[0]);
			assert_close(sparse.ce, dense.ce, 1e-6, 1e-6);
			assert_close(sparse.value, dense.value, 2e-6, 2e-5);
			assert_floats(sparse.grad, dense.grad, (size_t)V, 1e-9, 1e-4);
			ops_case_release(&t);
			t = (struct ops_case){.ops = ops, .seed = (uint64_t)V};
		}
}

static void test_all_columns(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	check_all_columns(ops, 3);
	check_all_columns(ops, 37);
	check_all_columns(ops, 515);
	ops_cpu_close(ops);
}

static struct sparse_targets pair_of(enum missing_mass missing, const int32_t *ids, const float *log_p, const float *tail)
{
	return (struct sparse_targets){2, missing, 1, ids, log_p, tail};
}

/* The student has e^-1e4 outside the ids, the teacher a tenth: a loss of about 1e3, and the tail's gradient dealt out by the
 * student's shares there. Teachers elsewhere that clamp multiply it by 1e8. */
static void test_tail_of_student_underflows(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	const float s[5] = {0, 1, -1e4f, -1e4f + 1, -INFINITY}, log_p[2] = {logf(0.6f), logf(0.3f)}, tail = 0.1f;
	const int32_t ids[2] = {0, 1};
	struct sparse_targets targets = pair_of(MISSING_TAIL, ids, log_p, &tail);
	float one = 1, value, grad[5], copy[5];
	memcpy(copy, s, sizeof s);
	ops->loss_rows(ops, &(struct loss_rows){.n_rows = 1, .V = 5, .ld = 5, .s = copy, .sparse = &targets, .kd_weight = &one,
						.n_terms = 1, .terms = &(struct divergence_term){DIVERGENCE_FORWARD_KL, 1, 1, 0, 0},
						.divergence = &value, .grad = grad, .grad_type = DTYPE_F32, .ld_grad = 5});
	double lse_s = log1p(exp(1)), lse_rest = -1e4 + lse_s; /* log(1 + e), twice */
	double want = 0.6 * (log(0.6) + lse_s) + 0.3 * (log(0.3) - 1 + lse_s) + 0.1 * (log(0.1) - lse_rest + lse_s);
	assert_close(value, want, 0, 1e-6);
	assert_close(grad[0], exp(-lse_s) - 0.6, 1e-6, 0);
	assert_close(grad[1], exp(1 - lse_s) - 0.3, 1e-6, 0);
	assert_close(grad[2], -0.1 * exp(-lse_s), 0, 1e-5);
	assert_close(grad[3], -0.1 * exp(1 - lse_s), 0, 1e-5);
	assert_true(grad[4] == 0);
	ops_cpu_close(ops);
}

/* A teacher whose tail is 0 in fp32: forward KL as without it; reverse KL finite. */
static void test_mass_of_one(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	const float s[4] = {0.5f, 1, -1, 0}, log_p[2] = {logf(0.7f), logf(0.3f)}, zero = 0;
	const int32_t ids[2] = {3, 0};
	struct sparse_targets tail = pair_of(MISSING_TAIL, ids, log_p, &zero), none = pair_of(MISSING_ZERO, ids, log_p, &zero);
	for (int k = 0; k < REFERENCE_N_TERMS; k++) {
		struct divergence_term term = REFERENCE_TERMS[k];
		if (term.kind == DIVERGENCE_LOGIT_MSE)
			continue;
		struct hand with = hand_row(ops, s, NULL, &tail, 4, term);
		assert_true(isfinite(with.value));
		for (int v = 0; v < 4; v++)
			assert_true(isfinite(with.grad[v]));
		struct hand without = hand_row(ops, s, NULL, &none, 4, term);
		assert_true(isinf(without.value) == (weighs_reverse(&term) || (term.kind == DIVERGENCE_ALPHA_BETA && term.a == 0)));
		if (isinf(without.value) || (term.kind == DIVERGENCE_ALPHA_BETA && term.a < 1)) /* (1e-45)^a is not small */
			continue;
		assert_close(with.value, without.value, 1e-5, 1e-5);
		for (int v = 0; v < 4; v++)
			assert_close(with.grad[v], without.grad[v], 1e-5, 0);
	}
	ops_cpu_close(ops);
}

/* No slot in use: no divergence, and the cross-entropy's gradient alone; under TAIL one category, which is all of both. */
static void test_no_ids(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	const float s[4] = {0.5f, 1, -1, 0}, log_p[2] = {NAN, NAN}, one = 1;
	const int32_t ids[2] = {-1, 5};
	for (int missing = MISSING_RENORMALISE; missing <= MISSING_SAMPLED; missing++)
		for (int k = 0; k < 2; k++) {
			struct sparse_targets targets = pair_of((enum missing_mass)missing, ids, log_p, &one);
			struct divergence_term term = {!k || missing == MISSING_SAMPLED ? DIVERGENCE_FORWARD_KL : DIVERGENCE_TOTAL_VARIATION,
						       1, 1, 0, 0};
			struct hand r = hand_row(ops, s, NULL, &targets, 4, term);
			double lse = reference_lse((double[]){0.5, 1, -1, 0}, 4, 1);
			assert_close(r.value, 0, 1e-7, 0);
			assert_close(r.ce, lse, 0, 1e-6);
			for (int v = 0; v < 4; v++)
				assert_close(r.grad[v], exp((double)s[v] - lse) - (v == 3), 1e-6, 0);
		}
	ops_cpu_close(ops);
}

/* Ids that the student gives e^-1e4 of its mass: under RENORMALISE only they count, and their gradient is that of two columns. */
static void test_unlikely_ids(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	const float s[4] = {1e4f, -1e4f, -1e4f + 2, 0}, log_p[2] = {logf(0.25f), logf(0.25f)}, tail = 0.5f;
	const int32_t ids[2] = {2, 1};
	struct sparse_targets targets = pair_of(MISSING_RENORMALISE, ids, log_p, &tail);
	struct hand r = hand_row(ops, s, NULL, &targets, 4, (struct divergence_term){DIVERGENCE_FORWARD_KL, 1, 1, 0, 0});
	double q = 1 / (1 + exp(-2));
	assert_close(r.value, 0.5 * log(0.5 / q) + 0.5 * log(0.5 / (1 - q)), 0, 1e-6);
	assert_close(r.grad[2], q - 0.5, 0, 1e-6);
	assert_close(r.grad[1], 0.5 - q, 0, 1e-6);
	assert_close(r.grad[0], 1, 0, 1e-6); /* of the cross-entropy, target 3 */
	assert_close(r.grad[3], -1, 0, 1e-6);
	ops_cpu_close(ops);
}

/* Rubbish must not pass for a loss: in an id, outside, in the whole outside. */
static void test_not_finite(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	const float log_p[2] = {logf(0.6f), logf(0.3f)}, tail = 0.1f;
	const int32_t ids[2] = {2, 1};
	for (int missing = MISSING_ZERO; missing <= MISSING_TAIL; missing++)
		for (int k = 0; k < REFERENCE_N_TERMS; k++)
			for (int at = 0; at < 6; at++) {
				const struct divergence_term *term = &REFERENCE_TERMS[k];
				if (term->kind == DIVERGENCE_LOGIT_MSE || (term->kind == DIVERGENCE_JSD && (term->a == 0 || term->a == 1)))
					continue;
				float s[3] = {0, 1, 2};
				s[at % 3] = at < 3 ? NAN : INFINITY;
				struct sparse_targets targets = pair_of((enum missing_mass)missing, ids, log_p, &tail);
				struct hand r = hand_row(ops, s, NULL, &targets, 3, *term);
				assert_false(isfinite(r.value) || isfinite(r.ce));
			}
	ops_cpu_close(ops);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_renormalise), cmocka_unit_test(test_zero), cmocka_unit_test(test_tail),
		cmocka_unit_test(test_sampled), cmocka_unit_test(test_lists), cmocka_unit_test(test_all_columns),
		cmocka_unit_test(test_tail_of_student_underflows), cmocka_unit_test(test_mass_of_one), cmocka_unit_test(test_no_ids),
		cmocka_unit_test(test_unlikely_ids), cmocka_unit_test(test_not_finite),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

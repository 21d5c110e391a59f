/* Every divergence of loss_rows on dense targets: values and gradients against a double-precision reference, lists of terms,
 * ranges of columns, the ends of the parameters, and inputs that break other implementations. */
#include "tests/loss_case.h"

static const struct loss_case SIZES[] = {
	{.n_rows = 1, .V = 1, .ld = 1, .spread = 1, .ce = true}, {.n_rows = 3, .V = 3, .ld = 8, .spread = 1, .ce = true},
	{.n_rows = 3, .V = 37, .ld = 37, .spread = 2, .add = true}, {.n_rows = 3, .V = 129, .ld = 144, .spread = 3, .ce = true, .add = true},
	{.n_rows = 1, .V = 1500, .ld = 1504, .spread = 2}, /* wider: p and q part, and h - qH cancels to 1e-3 of h in fp32 */
};
static const float TAUS[] = {1, 2.5f, 0.7f};
enum { N_SIZES = sizeof SIZES / sizeof *SIZES };

static void test_every_divergence(void **state)
{
	(void)state;
	static struct loss_case cases[REFERENCE_N_TERMS * N_SIZES];
	for (int i = 0; i < REFERENCE_N_TERMS * N_SIZES; i++) {
		cases[i] = SIZES[i % N_SIZES];
		cases[i].n_terms = 1;
		cases[i].terms[0] = REFERENCE_TERMS[i / N_SIZES];
		cases[i].terms[0].tau = TAUS[i % 3];
		cases[i].terms[0].weight = i % 2 ? 1 : 0.25f;
	}
	OPS_CASES(loss_run, cases);
}

/* Terms share temperatures or have their own; one has no weight and is reported all the same. */
static void test_lists(void **state)
{
	(void)state;
	static const struct loss_case cases[] = {
		{.n_rows = 3, .V = 37, .ld = 40, .spread = 2, .ce = true, .n_terms = 2,
		 .terms = {{DIVERGENCE_FORWARD_KL, 0.5f, 2, 0, 0}, {DIVERGENCE_REVERSE_KL, 2, 2, 0, 0}}},
		{.n_rows = 3, .V = 129, .ld = 129, .spread = 2, .ce = true, .add = true, .n_terms = 8,
		 .terms = {{DIVERGENCE_FORWARD_KL, 0.5f, 1, 0, 0}, {DIVERGENCE_JSD, 1, 2, 0.3f, 0}, {DIVERGENCE_LOGIT_MSE, 0.1f, 3, 0, 0},
			   {DIVERGENCE_ADAPTIVE_KL, 1, 1, 0.5f, 0}, {DIVERGENCE_TOTAL_VARIATION, 1, 0.5f, 0, 0},
			   {DIVERGENCE_REVERSE_KL, 0, 2, 0, 0}, {DIVERGENCE_ALPHA_BETA, 1, 4, 0.3f, 0.3f},
			   {DIVERGENCE_SKEW_REVERSE_KL, 0.7f, 2, 0.2f, 0}}},
		{.n_rows = 1, .V = 700, .ld = 704, .spread = 2, .n_terms = 2,
		 .terms = {{DIVERGENCE_SKEW_FORWARD_KL, 1, 2, 0.1f, 0}, {DIVERGENCE_SYMMETRIC_KL, 1, 1, 0.5f, 0}}},
	};
	OPS_CASES(loss_run, cases);
}

/* ---- one small row ---- */

struct small {
	float value, grad[8];
};
static struct small small_row(struct ops *ops, const float *s, const float *t, int V, struct divergence_term term)
{
	struct small r = {0};
	float one = 1, logits[8];
	memcpy(logits, s, (size_t)V * sizeof *s);
	term.weight = 1;
	term.tau = term.tau > 0 ? term.tau : 1;
	ops->loss_rows(ops, &(struct loss_rows){.n_rows = 1, .V = V, .ld = V, .s = logits, .t = t, .kd_weight = &one, .n_terms = 1,
						.terms = &term, .divergence = &r.value, .grad = r.grad, .grad_type = DTYPE_F32,
						.ld_grad = V});
	return r;
}

/* Near its ends the normalised JSD is the KL that it is at them, and the plain one goes to 0 in proportion. */
static void test_ends(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	const float s[5] = {0.3f, -1, 2, 0.1f, -4}, t[5] = {1, 0, -2, 0.5f, 0.2f};
	const enum divergence ends[2] = {DIVERGENCE_FORWARD_KL, DIVERGENCE_REVERSE_KL};
	for (int end = 0; end < 2; end++) {
		struct small want = small_row(ops, s, t, 5, (struct divergence_term){.kind = ends[end]});
		for (float gap = 1e-3f; gap > 5e-7f; gap /= 10) {
			float a = end ? 1 - gap : gap;
			struct small near = small_row(ops, s, t, 5, (struct divergence_term){.kind = DIVERGENCE_JSD_NORMALIZED, .a = a});
			struct small plain = small_row(ops, s, t, 5, (struct divergence_term){.kind = DIVERGENCE_JSD, .a = a});
			assert_close(near.value, want.value, 0, 20 * gap + 2e-6f);
			assert_close(plain.value, want.value * gap, 0, 20 * gap + 2e-6f + 1e-7f / gap); /* 1 - gap is rounded */
			for (int v = 0; v < 5; v++) {
				assert_close(near.grad[v], want.grad[v], 20 * gap + 2e-6f, 0);
				assert_close(plain.grad[v], 0, 2 * gap, 0);
			}
		}
	}
	ops_cpu_close(ops);
}

/* A student equal to its teacher: nothing to learn, to rounding; total variation's sign does not flicker. */
static void test_equal(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	const float s[8] = {0.3f, -1, 2, 0.1f, -4, 0, 7, -INFINITY};
	for (int k = 0; k < REFERENCE_N_TERMS; k++) {
		struct divergence_term term = REFERENCE_TERMS[k];
		term.tau = 1.5f;
		struct small r = small_row(ops, s, s, 8, term);
		assert_true(r.value >= 0 && r.value < 1e-6f);
		for (int v = 0; v < 8; v++)
			assert_close(r.grad[v], 0, 2e-6, 0);
	}
	struct small r = small_row(ops, s, s, 8, (struct divergence_term){.kind = DIVERGENCE_TOTAL_VARIATION});
	for (int v = 0; v < 8; v++)
		assert_true(r.grad[v] == 0);
	ops_cpu_close(ops);
}

/* Divergences that stay finite whatever the logits: everything but what weighs a logarithm of the ratio. */
static bool is_bounded(const struct divergence_term *term)
{
	bool inside = term->a > 0 && term->a < 1;
	switch (term->kind) {
	case DIVERGENCE_JSD:
	case DIVERGENCE_TOTAL_VARIATION:
		return true;
	case DIVERGENCE_JSD_NORMALIZED:
	case DIVERGENCE_SKEW_FORWARD_KL:
	case DIVERGENCE_SKEW_REVERSE_KL:
		return inside;
	case DIVERGENCE_ALPHA_BETA:
		return term->a > 0 && term->b > 0;
	default:
		return false;
	}
}

/* Logits of 1e4 either way, classes that one side or both lack: the limits, never a NaN. */
static void test_extremes(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	static const float rows[][2][4] = {
		{{1e4f, -1e4f, 0, 0}, {-1e4f, 1e4f, 0, 0}},
		{{-1e4f, -1e4f, 0, 1}, {-1e4f, -1e4f, 1, 0}},  /* both underflow */
		{{0, 1, -200, 2}, {1, 0, 3, -200}},
		{{-INFINITY, 0, 1, 2}, {-INFINITY, 3, 1, 2}},  /* neither has it */
		{{0, 1, 2, 3}, {-INFINITY, 3, 1, 2}},          /* p = 0 */
		{{-INFINITY, 0, 1, 2}, {1, 3, 1, 2}},          /* q = 0 */
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		static struct reference_pair pair;
		pair.n = 4;
		for (int k = 0; k < REFERENCE_N_TERMS; k++) {
			struct divergence_term term = REFERENCE_TERMS[k];
			double s[4], t[4];
			for (int v = 0; v < 4; v++) {
				s[v] = (double)rows[i][0][v];
				t[v] = (double)rows[i][1][v];
			}
			if (term.kind == DIVERGENCE_LOGIT_MSE || (i >= 3 && !is_bounded(&term)))
				continue;
			for (int v = 0; v < 4; v++) {
				pair.log_p[v] = t[v] - reference_lse(t, 4, 1);
				pair.log_q[v] = s[v] - reference_lse(s, 4, 1);
			}
			struct small r = small_row(ops, rows[i][0], rows[i][1], 4, term);
			assert_close(r.value, reference_divergence(&term, &pair, &(struct reference_weights){0}), 1e-6, 1e-5);
			for (int v = 0; v < 4; v++)
				assert_true(isfinite(r.grad[v]));
		}
	}
	ops_cpu_close(ops);
}

/* p = 0 costs forward KL nothing, and reverse KL everything; the other way round for q = 0. */
static void test_infinite(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	const float full[3] = {0, 1, 2}, lacking[3] = {-INFINITY, 2, 1};
	const struct divergence_term forward = {.kind = DIVERGENCE_FORWARD_KL}, reverse = {.kind = DIVERGENCE_REVERSE_KL};
	struct small r = small_row(ops, full, lacking, 3, forward);
	assert_true(isfinite(r.value) && isfinite(r.grad[0]));
	assert_true(isinf(small_row(ops, full, lacking, 3, reverse).value));
	assert_true(isinf(small_row(ops, lacking, full, 3, forward).value));
	r = small_row(ops, lacking, full, 3, reverse);
	assert_true(isfinite(r.value) && r.grad[0] == 0);
	ops_cpu_close(ops);
}

/* Rubbish must not pass for a loss. */
static void test_not_finite(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	for (int k = 0; k < REFERENCE_N_TERMS; k++)
		for (int i = 0; i < 8; i++) {
			const struct divergence_term *term = &REFERENCE_TERMS[k];
			if (term->kind == DIVERGENCE_JSD && (term->a == 0 || term->a == 1))
				continue;
			float bad[4] = {0, 1, 2, 3}, good[4] = {3, 2, 1, 0};
			bad[i % 4] = i < 4 ? NAN : INFINITY;
			assert_false(isfinite(small_row(ops, bad, good, 4, *term).value));
			assert_false(isfinite(small_row(ops, good, bad, 4, *term).value));
		}
	ops_cpu_close(ops);
}

/* Wide rows whose head set is found through the histogram: flat, peaked, all equal, two values. */
static void test_adaptive_wide(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	enum { V = 2000 };
	static struct loss_world w;
	static float s[V], t[V];
	static double reference_s[V];
	const struct loss_case c = {.n_rows = 1, .V = V, .ld = V, .n_terms = 1};
	for (int shape = 0; shape < 6; shape++)
		for (float mass = 0.1f; mass < 1; mass += 0.2f) {
			for (int v = 0; v < V; v++) {
				float x = rng_normal(7, RNG_TEST, (uint64_t)shape, (uint64_t)v);
				reference_s[v] = (double)(s[v] = rng_normal(8, RNG_TEST, (uint64_t)shape, (uint64_t)v));
				t[v] = shape == 0 ? x : shape == 1 ? 6 * x : shape == 2 ? 0.5f : shape == 3 ? (float)(v % 2) : shape == 4 ? 1e-4f * x : 30 * x;
			}
			struct loss_case adaptive = c;
			adaptive.terms[0] = (struct divergence_term){DIVERGENCE_ADAPTIVE_KL, 1, 1, mass, 0};
			w = (struct loss_world){.c = &adaptive, .t = t, .reference_s = reference_s};
			float one = 1, value;
			ops->loss_rows(ops, &(struct loss_rows){.n_rows = 1, .V = V, .ld = V, .s = s, .t = t, .kd_weight = &one,
								.n_terms = 1, .terms = adaptive.terms, .divergence = &value});
			assert_close(value, loss_value(&w, 0, 0), 0, 1e-4); /* a class more or less in the head: 5e-4 */
		}
	ops_cpu_close(ops);
}

/* A range of columns is a row of its own, as in a call of that width; outside it `add` alone. */
static void test_ranges(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	enum { N = 7, LD = 48 };
	const int32_t first[N] = {0, 0, 3, 40, 5, 9, 0}, last[N] = {47, 0, 29, 47, 5, 8, 16}; /* both included; row 5 has none */
	const struct divergence_term terms[2] = {{DIVERGENCE_FORWARD_KL, 1, 1, 0, 0}, {DIVERGENCE_JSD, 0.5f, 2, 0.4f, 0}};
	float s[N * LD], t[N * LD], add[N * LD], grad[N * LD], divergence[2 * N], weight[N] = {1, 0.5f, 2, 1, 1, 1, 0};
	for (int i = 0; i < N * LD; i++) {
		s[i] = rng_normal(3, RNG_TEST, 0, (uint64_t)i);
		t[i] = rng_normal(4, RNG_TEST, 0, (uint64_t)i);
		add[i] = rng_normal(5, RNG_TEST, 0, (uint64_t)i);
	}
	ops->loss_rows(ops, &(struct loss_rows){.n_rows = N, .V = LD, .ld = LD, .s = s, .t = t, .kd_weight = weight, .n_terms = 2,
						.terms = terms, .first = first, .last = last, .divergence = divergence,
						.grad = grad, .grad_type = DTYPE_F32, .ld_grad = LD, .add = add});
	for (int n = 0; n < N; n++) {
		float want[LD], value[2] = {0, 0};
		int at = n * LD + first[n], width = last[n] - first[n] + 1;
		memcpy(want, add + n * LD, sizeof want);
		if (width && weight[n] != 0)
			ops->loss_rows(ops, &(struct loss_rows){.n_rows = 1, .V = width, .ld = width, .s = s + at, .t = t + at,
								.kd_weight = weight + n, .n_terms = 2, .terms = terms,
								.divergence = value, .grad = want + first[n], .grad_type = DTYPE_F32,
								.ld_grad = width, .add = add + at});
		for (int k = 0; k < 2; k++)
			assert_close(divergence[2 * n + k], value[k], 2e-7, 2e-6);
		for (int v = 0; v < LD; v++)
			assert_close(grad[n * LD + v], want[v], v < first[n] || v > last[n] || weight[n] == 0 ? 0 : 2e-6, 0);
	}
	ops_cpu_close(ops);
}

/* The teacher's own cross-entropy is at temperature 1, where the divergence has a weight and the target is a column. */
static void test_teacher_ce(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	const float t[4] = {1, 0, -2, 0.5f};
	double x[4] = {1, 0, -2, 0.5};
	for (int target = 0; target < 5; target++)
		for (int k = 0; k < 3; k++) {
			float s[4] = {0.3f, -1, 2, 0.1f}, ce = 7, divergence, weight = k < 2;
			int32_t where = target;
			ops->loss_rows(ops, &(struct loss_rows){.n_rows = 1, .V = 4, .ld = 4, .s = s, .t = t, .target = &where,
								.kd_weight = &weight, .n_terms = 1, .divergence = &divergence,
								.terms = &(struct divergence_term){DIVERGENCE_REVERSE_KL, 1, k ? 3 : 1, 0, 0},
								.teacher_ce = &ce});
			assert_close(ce, k < 2 && target < 4 ? reference_lse(x, 4, 1) - x[target] : 0, 1e-6, 1e-6);
		}
	ops_cpu_close(ops);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_divergence), cmocka_unit_test(test_lists), cmocka_unit_test(test_ends),
		cmocka_unit_test(test_equal), cmocka_unit_test(test_extremes), cmocka_unit_test(test_infinite),
		cmocka_unit_test(test_not_finite), cmocka_unit_test(test_adaptive_wide), cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_teacher_ce),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

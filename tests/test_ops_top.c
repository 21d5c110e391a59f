/* top_rows against a sort in double precision: every size, ties, top_p at its edges, tails far below rounding, hard logits. */
#include "tests/ops_testing.h"

enum shape_of { NORMAL, RISING, EQUAL, QUANTISED, PEAKED, HUGE_LOGITS };
struct top_case {
	int n_rows, V, ld, K;
	float tau, top_p, spread;
	enum shape_of shape;
	bool no_target;
};
static const struct top_case CASES[] = {
	{1, 1, 1, 1, 1, 0, 1, NORMAL, false},         {3, 3, 8, 1, 1, 1, 1, NORMAL, false},
	{3, 3, 3, 3, 2, 0, 1, NORMAL, true},          {5, 37, 48, 8, 0.5f, 0, 2, NORMAL, false},
	{4, 37, 37, 37, 1, 0, 2, QUANTISED, false},   {3, 129, 144, 128, 1, 0, 3, NORMAL, false},
	{3, 129, 129, 20, 1, 0, 1, EQUAL, false},     {3, 1500, 1504, 32, 1.5f, 0, 4, NORMAL, false},
	{2, 1500, 1500, 700, 1, 0, 2, NORMAL, false}, {2, 1500, 1500, 512, 1, 0, 1, QUANTISED, false},
	{2, 1500, 1500, 1500, 1, 0, 3, NORMAL, true}, {2, 1500, 1500, 1499, 1, 0, 3, RISING, false},
	{2, 32000, 32000, 8, 1, 0, 3, NORMAL, false}, {2, 32000, 32000, 128, 1, 0, 3, QUANTISED, false},
	{2, 32000, 32000, 600, 1, 0, 3, RISING, false}, {2, 32000, 32000, 64, 1, 0, 3, RISING, false},
	{2, 3000, 3000, 50, 1, 0, 1, EQUAL, false},   {2, 1500, 1500, 3, 1, 0, 1, PEAKED, false},
	{2, 37, 37, 5, 1, 0, 1, PEAKED, false},       {3, 129, 129, 4, 1, 0, 1, HUGE_LOGITS, false},
	{2, 37, 37, 37, 0.25f, 0, 1, HUGE_LOGITS, false}, {3, 1500, 1500, 1500, 1, 0.9f, 4, NORMAL, false},
	{3, 1500, 1504, 40, 2, 0.5f, 6, NORMAL, false}, {3, 1500, 1500, 10, 1, 0.99f, 1, NORMAL, false},
	{3, 129, 129, 129, 1, 1e-30f, 3, NORMAL, false}, {3, 129, 129, 129, 1, 0.999999f, 8, NORMAL, false},
	{2, 64, 64, 60, 1, 0.5f, 1, EQUAL, false},    {2, 4096, 4096, 256, 1, 0.95f, 5, NORMAL, false},
};

static float *logits_of(struct ops_case *t, const struct top_case *c)
{
	float *x = ops_normal(t, (size_t)c->n_rows * (size_t)c->ld);
	for (int i = 0; i < c->n_rows * c->ld; i++) {
		int v = i % c->ld;
		const float by_shape[] = {
			[NORMAL] = x[i] * c->spread, [RISING] = (float)v * c->spread / (float)c->V, [EQUAL] = 1.25f,
			[QUANTISED] = rintf(x[i] * c->spread), [PEAKED] = v == 20 || v == 7 || v == 29 ? x[i] : x[i] - 32,
			[HUGE_LOGITS] = v % 7 == 3 ? 1e4f + x[i] : x[i] * 1e4f / 4,
		};
		x[i] = v < c->V ? by_shape[c->shape] : NAN; /* columns past V are not read */
	}
	return x;
}

/* ---- reference ---- */

struct column {
	float t;
	int v;
};
static int by_rank(const void *a, const void *b)
{
	const struct column *x = a, *y = b;
	return x->t != y->t ? (x->t < y->t) - (x->t > y->t) : x->v - y->v;
}

struct top_reference {
	int kept;
	double lse, lse_1, tail;
	struct column *sorted; /* (V) */
};

static double sum_from(const struct column *sorted, int from, int V, double lse, double tau)
{
	double sum = 0;
	for (int i = V - 1; i >= from; i--)
		sum += exp((double)sorted[i].t / tau - lse);
	return sum;
}

static struct top_reference reference(const struct top_case *c, const float *t, struct column *room)
{
	struct top_reference r = {.kept = c->K, .sorted = room};
	double tau = (double)c->tau;
	for (int v = 0; v < c->V; v++)
		room[v] = (struct column){t[v], v};
	qsort(room, (size_t)c->V, sizeof *room, by_rank);
	double max = (double)room[0].t;
	r.lse = max / tau + log(sum_from(room, 0, c->V, max / tau, tau));
	r.lse_1 = max + log(sum_from(room, 0, c->V, max, 1));
	if (c->top_p > 0 && c->top_p < 1) {
		double sum = 0, goal = (double)c->top_p * (1 - 1e-13); /* equal numbers that reach it exactly */
		for (r.kept = 0; r.kept < c->K && sum < goal; r.kept++)
			sum += exp((double)room[r.kept].t / tau - r.lse);
	}
	r.tail = sum_from(room, r.kept, c->V, r.lse, tau);
	return r;
}

/* ---- check ---- */

static void check_relative(const char *what, float got, double want, double rtol)
{
	if (!(fabs((double)got - want) <= rtol * fabs(want)))
		fail_msg("%s = %.9g, expected %.9g", what, (double)got, want);
	float wrong = (float)(want * (1 + 3 * rtol));
	if (want != 0 && fabs((double)wrong - want) <= rtol * fabs(want))
		fail_msg("%s: a wrong value was not seen", what);
}

static void check_row(const struct top_case *c, const struct top_reference *r, const struct top_rows *a, int n)
{
	const int32_t *ids = a->ids + n * c->K;
	const float *log_p = a->log_p + n * c->K;
	for (int k = 0; k < c->K; k++) {
		assert_int_equal(ids[k], k < r->kept ? r->sorted[k].v : -1);
		if (k < r->kept)
			assert_close(log_p[k], (double)r->sorted[k].t / (double)c->tau - r->lse, 3e-7, 1e-7);
	}
	check_relative("tail", a->tail[n], r->tail, 3e-6);
	assert_close(a->lse[n], r->lse, 3e-7, 1e-7);
	bool given = a->target && a->target[n] >= 0;
	double ce = given ? r->lse_1 - (double)a->t[(size_t)n * (size_t)c->ld + (size_t)a->target[n]] : 0;
	assert_close(a->ce[n], ce, 1e-6, 1e-6);
}

static void run_top(struct ops_case *t, const void *given)
{
	const struct top_case *c = given;
	size_t n = (size_t)c->n_rows, slots = n * (size_t)c->K;
	int32_t *target = ops_indices(t, n, (uint32_t)c->V);
	if (n > 2)
		target[1] = -1;
	float *logits = logits_of(t, c);
	struct top_rows a = {.n_rows = c->n_rows, .V = c->V, .ld = c->ld, .K = c->K, .t = logits, .tau = c->tau, .top_p = c->top_p,
			     .target = c->no_target ? NULL : target, .ids = ops_bytes(t, slots * 4), .log_p = ops_floats(t, slots),
			     .tail = ops_floats(t, n), .lse = ops_floats(t, n), .ce = ops_floats(t, n)};
	t->ops->top_rows(t->ops, &a);
	struct column *room = malloc((size_t)c->V * sizeof *room);
	for (int i = 0; i < c->n_rows; i++) {
		struct top_reference r = reference(c, logits + (size_t)i * (size_t)c->ld, room);
		check_row(c, &r, &a, i);
	}
	free(room);
	ops_hash(t, a.ids, slots * 4);
	ops_hash(t, a.log_p, slots * 4);
	ops_hash(t, a.tail, n * 4);
}

static void test_top(void **state)
{
	(void)state;
	OPS_CASES(run_top, CASES);
}

/* ---- by hand ---- */

struct hand {
	int32_t ids[8];
	float log_p[8], tail, lse, ce;
};
static struct hand by_hand(struct ops *ops, const float *t, int V, int K, float top_p, int32_t target)
{
	struct hand h;
	ops->top_rows(ops, &(struct top_rows){.n_rows = 1, .V = V, .ld = V, .K = K, .t = t, .tau = 1, .top_p = top_p, .target = &target,
					      .ids = h.ids, .log_p = h.log_p, .tail = &h.tail, .lse = &h.lse, .ce = &h.ce});
	return h;
}

static void test_tail_below_rounding(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	float t[130] = {0};
	for (int v = 1; v < 130; v++)
		t[v] = -32.5f;
	struct hand h = by_hand(ops, t, 130, 1, 0, 0);
	check_relative("tail of 129 columns", h.tail, 129 * exp(-32.5), 1e-6); /* 1e-12: 1 - p is 0 in fp32 */
	assert_true(h.log_p[0] == 0 || fabsf(h.log_p[0]) < 2e-12f);
	h = by_hand(ops, t, 130, 8, 0.5f, 0);
	check_relative("tail past top_p", h.tail, 129 * exp(-32.5), 1e-6);
	assert_int_equal(h.ids[0], 0);
	assert_int_equal(h.ids[1], -1);
	ops_cpu_close(ops);
}

static void test_top_p_edges(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	const float four[] = {2, 2, 2, 2};
	const struct {
		float top_p;
		int kept;
	} CASES_P[] = {{0.25f, 1}, {0.5f, 2}, {0.75f, 3}, {0.7500001f, 4}, {1e-20f, 1}, {0.9999999f, 4}, {1, 4}, {0, 4}};
	for (size_t i = 0; i < sizeof CASES_P / sizeof *CASES_P; i++) {
		struct hand h = by_hand(ops, four, 4, 4, CASES_P[i].top_p, 0);
		for (int k = 0; k < 4; k++)
			assert_int_equal(h.ids[k], k < CASES_P[i].kept ? k : -1);
		assert_close(h.tail, 1 - 0.25 * CASES_P[i].kept, 0, 1e-6);
	}
	ops_cpu_close(ops);
}

static void test_hard_logits(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	const float inf = INFINITY, some[] = {1, NAN, 3, NAN, 2}, none[] = {NAN, NAN, NAN}, floor_[] = {-inf, 0, -inf, -inf};
	struct hand h = by_hand(ops, some, 5, 5, 0, 1);
	assert_true(h.ids[0] == 2 && h.ids[1] == 4 && h.ids[2] == 0 && h.ids[3] == -1 && h.ids[4] == -1);
	assert_true(isnan(h.lse) && isnan(h.tail) && isnan(h.ce) && isnan(h.log_p[0]));
	h = by_hand(ops, some, 5, 2, 0.9f, 1);
	assert_true(h.ids[0] == 2 && h.ids[1] == 4 && isnan(h.tail));
	h = by_hand(ops, none, 3, 2, 0.5f, 0);
	assert_true(h.ids[0] == -1 && h.ids[1] == -1 && isnan(h.lse));
	h = by_hand(ops, floor_, 4, 3, 0, 1);
	assert_true(h.ids[0] == 1 && h.ids[1] == 0 && h.ids[2] == 2 && h.tail == 0 && h.lse == 0 && h.ce == 0);
	assert_true(h.log_p[0] == 0 && h.log_p[1] == -inf);
	ops_cpu_close(ops);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_top),
		cmocka_unit_test(test_tail_below_rounding),
		cmocka_unit_test(test_top_p_edges),
		cmocka_unit_test(test_hard_logits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

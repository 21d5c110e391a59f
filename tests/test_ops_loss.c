/* loss_rows against a double-precision reference; gradients against finite differences of it; hard inputs. */
#include "tests/ops_testing.h"

struct loss_case {
	int n_rows, V, ld;
	float tau;
	bool teacher, ce; /* ce false: every cross-entropy weight 0 */
	float spread;
};
static const struct loss_case CASES[] = {
	{1, 1, 1, 1, false, true, 1},    {3, 3, 8, 1, true, true, 1},       {5, 37, 37, 2.5f, true, true, 1},
	{3, 129, 144, 1, true, false, 3}, {3, 129, 129, 0.5f, true, false, 2}, {4, 37, 48, 1, false, true, 5},
	{2, 600, 608, 1, true, true, 2}, {2, 1100, 1100, 4, true, true, 4},
};

struct loss_reference {
	const struct loss_case *c;
	const float *ce_weight, *kd_weight;
	const int32_t *target;
	double *s, *t, *ce, *kl; /* s, t (n_rows, V) */
};

static double log_sum_exp(const double *x, int V, double tau)
{
	double max = -INFINITY, sum = 0;
	for (int v = 0; v < V; v++)
		max = x[v] > max ? x[v] : max;
	for (int v = 0; v < V; v++)
		sum += exp((x[v] - max) / tau);
	return max / tau + log(sum);
}

static double loss_of(const void *context)
{
	const struct loss_reference *r = context;
	double loss = 0;
	for (int n = 0; n < r->c->n_rows; n++) {
		const double *s = r->s + n * r->c->V, *t = r->t + n * r->c->V, tau = (double)r->c->tau;
		r->ce[n] = r->ce_weight[n] != 0 ? log_sum_exp(s, r->c->V, 1) - s[r->target[n]] : 0;
		r->kl[n] = 0;
		double lse_s = log_sum_exp(s, r->c->V, tau), lse_t = log_sum_exp(t, r->c->V, tau);
		for (int v = 0; r->kd_weight && r->kd_weight[n] != 0 && v < r->c->V; v++)
			r->kl[n] += tau * tau * exp(t[v] / tau - lse_t) * (t[v] / tau - lse_t - s[v] / tau + lse_s);
		loss += (double)r->ce_weight[n] * r->ce[n] + (r->kd_weight ? (double)r->kd_weight[n] * r->kl[n] : 0);
	}
	return loss;
}

/* Rows ld apart to rows V apart. */
static double *packed(struct ops_case *t, const float *x, const struct loss_case *c)
{
	double *d = ops_doubles(t, NULL, (size_t)(c->n_rows * c->V));
	for (int i = 0; i < c->n_rows * c->V; i++)
		d[i] = x ? (double)x[i / c->V * c->ld + i % c->V] : 0;
	return d;
}

static float *logits(struct ops_case *t, const struct loss_case *c)
{
	float *x = ops_normal(t, (size_t)(c->n_rows * c->ld));
	for (int i = 0; i < c->n_rows * c->ld; i++)
		x[i] = i % c->ld < c->V ? x[i] * c->spread : NAN; /* columns past V are not read */
	return x;
}

/* Row 1, if there is one, counts for nothing and holds rubbish. */
static float *weights(struct ops_case *t, int n, bool any)
{
	float *w = ops_normal(t, (size_t)n);
	for (int i = 0; i < n; i++)
		w[i] = any && i != 1 ? fabsf(w[i]) + 0.1f : 0;
	return w;
}

/* (n_rows, V) of a gradient as floats; asserts that the columns up to ld are 0. */
static float *unpacked(struct ops_case *t, const struct loss_case *c, const void *grad, enum dtype type, int ld_grad)
{
	float *g = ops_floats(t, (size_t)(c->n_rows * c->V));
	for (int n = 0; n < c->n_rows; n++) {
		float row[2048];
		dtype_convert(row, DTYPE_F32, (const char *)grad + (size_t)(n * ld_grad) * dtype_size(type), type, (size_t)c->ld);
		memcpy(g + n * c->V, row, (size_t)c->V * sizeof *g);
		for (int v = c->V; v < c->ld; v++)
			assert_true(row[v] == 0);
	}
	return g;
}

static void check_losses(struct ops_case *t, const struct loss_reference *r, const struct loss_rows *a)
{
	OPS_CHECK(t, a->ce, r->ce, (size_t)r->c->n_rows);
	if (a->divergence)
		ops_check(t, "kl", a->divergence, r->kl, (size_t)r->c->n_rows, 1e-9, F32_WORST);
}

static void run_loss(struct ops_case *t, const void *given)
{
	const struct loss_case *c = given;
	size_t n = (size_t)c->n_rows, V = (size_t)c->V, n_logits = n * (size_t)c->ld;
	float *s = logits(t, c), *teacher = c->teacher ? logits(t, c) : NULL;
	float *ce_weight = weights(t, c->n_rows, c->ce), *kd_weight = c->teacher ? weights(t, c->n_rows, true) : NULL;
	int32_t *target = ops_indices(t, n, (uint32_t)V), *best_s = ops_bytes(t, 4 * n), *best_t = ops_bytes(t, 4 * n);
	struct loss_reference r = {c, ce_weight, kd_weight, target, packed(t, s, c), packed(t, teacher, c),
				   ops_doubles(t, NULL, n), ops_doubles(t, NULL, n)};
	double *want = ops_differences(t, loss_of, &r, r.s, n * V, NULL);
	for (size_t i = 0; n > 1 && i < V; i++)
		s[(size_t)c->ld + i] = i % 2 ? NAN : INFINITY;
	if (n > 1)
		target[1] = -1;
	float *grad = ops_floats(t, n_logits);
	struct loss_rows a = {.n_rows = c->n_rows, .V = c->V, .ld = c->ld, .s = s, .t = teacher, .target = target,
			      .ce_weight = ce_weight, .kd_weight = kd_weight, .n_terms = c->teacher,
			      .terms = &(struct divergence_term){.kind = DIVERGENCE_FORWARD_KL, .weight = 1, .tau = c->tau}, .ce = ops_floats(t, n),
			      .divergence = c->teacher ? ops_floats(t, n) : NULL, .grad = grad, .grad_type = DTYPE_F32, .ld_grad = c->ld,
			      .top1 = true, .argmax_s = best_s, .argmax_t = c->teacher ? best_t : NULL};
	t->ops->loss_rows(t->ops, &a);
	check_losses(t, &r, &a);
	OPS_CHECK(t, unpacked(t, c, grad, DTYPE_F32, c->ld), want, n * V);
	for (size_t i = 0; i < V; i++)
		assert_false(s[i] > s[best_s[0]] || (s[i] == s[best_s[0]] && (int)i < best_s[0]));
	float *in_place = ops_copy(t, s, n_logits);
	a.s = in_place; /* BF16 over the logits */
	a.grad = in_place;
	a.grad_type = DTYPE_BF16;
	a.ld_grad = 2 * c->ld;
	t->ops->loss_rows(t->ops, &a);
	check_losses(t, &r, &a);
	ops_check(t, "bf16 in place", unpacked(t, c, in_place, DTYPE_BF16, a.ld_grad), want, n * V, BF16_NMSE, BF16_WORST);
	a.s = s; /* fp32 over the logits */
	a.grad = s;
	a.grad_type = DTYPE_F32;
	a.ld_grad = c->ld;
	t->ops->loss_rows(t->ops, &a);
	OPS_CHECK(t, unpacked(t, c, s, DTYPE_F32, c->ld), want, n * V);
}

static void test_loss(void **state)
{
	(void)state;
	OPS_CASES(run_loss, CASES);
}

struct hard_row {
	float ce, kl, grad[4];
	int32_t best;
};
static struct hard_row hard(struct ops *ops, const float s[4], const float *t, int32_t target, float tau)
{
	struct hard_row r;
	float one = 1, logits_s[4];
	memcpy(logits_s, s, sizeof logits_s);
	ops->loss_rows(ops, &(struct loss_rows){.n_rows = 1, .V = 4, .ld = 4, .s = logits_s, .t = t, .target = &target,
						.ce_weight = &one, .kd_weight = t ? &one : NULL, .n_terms = t != NULL,
						.terms = &(struct divergence_term){.kind = DIVERGENCE_FORWARD_KL, .weight = 1, .tau = tau}, .ce = &r.ce,
						.divergence = t ? &r.kl : NULL, .grad = r.grad, .grad_type = DTYPE_F32, .ld_grad = 4,
						.top1 = true, .argmax_s = &r.best});
	return r;
}

/* Logits of 1e4 either way: exact limits, no overflow. A shift of all logits changes nothing. */
static void test_extremes(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	struct hard_row r = hard(ops, (float[]){1e4f, -1e4f, 0, 0}, (float[]){-1e4f, 1e4f, 0, 0}, 1, 1);
	assert_close(r.ce, 2e4, 0, 1e-6);
	assert_close(r.kl, 2e4, 0, 1e-6);
	assert_close(r.grad[0], 2, 0, 1e-6);
	assert_close(r.grad[1], -2, 0, 1e-6);
	r = hard(ops, (float[]){1e4f, 1e4f + 1, 1e4f, 1e4f - 1}, (float[]){1, 2, 1, 0}, 1, 1);
	struct hard_row plain = hard(ops, (float[]){0, 1, 0, -1}, (float[]){-9999, -9998, -9999, -10000}, 1, 1);
	assert_close(r.ce, plain.ce, 0, 1e-6);
	assert_close(r.kl, 0, 1e-6, 0);
	assert_close(plain.kl, 0, 1e-6, 0);
	r = hard(ops, (float[]){-INFINITY, 0, 0, 0}, (float[]){-INFINITY, 1, 2, 3}, 1, 2);
	assert_true(isfinite(r.ce) && isfinite(r.kl) && r.grad[0] == 0);
	ops_cpu_close(ops);
}

/* Rubbish must not pass for a loss. */
static void test_not_finite(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	for (int i = 0; i < 4; i++) {
		float bad[4] = {0, 1, 2, 3}, good[4] = {3, 2, 1, 0};
		bad[i] = NAN;
		assert_false(isfinite(hard(ops, bad, good, 0, 1).ce));
		assert_false(isfinite(hard(ops, bad, good, 0, 2).kl));
		assert_false(isfinite(hard(ops, good, bad, 0, 2).kl));
		bad[i] = INFINITY;
		assert_false(isfinite(hard(ops, bad, NULL, 0, 1).ce));
		assert_false(isfinite(hard(ops, good, bad, 0, 1).kl));
	}
	ops_cpu_close(ops);
}

static void test_argmax(void **state)
{
	(void)state;
	struct ops *ops = ops_for_test(1, false);
	assert_int_equal(hard(ops, (float[]){1, 3, 3, 2}, NULL, 0, 1).best, 1);
	assert_int_equal(hard(ops, (float[]){-5, -5, -5, -5}, NULL, 0, 1).best, 0);
	assert_int_equal(hard(ops, (float[]){-INFINITY, -INFINITY, -7, 4}, NULL, 0, 1).best, 3);
	float many[1500], z = 0, ce;
	int32_t best = -1, target = 0;
	for (int i = 0; i < 1500; i++)
		many[i] = (float)(i % 700);
	ops->loss_rows(ops, &(struct loss_rows){.n_rows = 1, .V = 1500, .ld = 1500, .s = many, .target = &target, .ce_weight = &z,
						.ce = &ce, .top1 = true, .argmax_s = &best});
	assert_int_equal(best, 699);
	assert_true(ce == 0);
	ops_cpu_close(ops);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_loss), cmocka_unit_test(test_extremes),
					   cmocka_unit_test(test_not_finite), cmocka_unit_test(test_argmax)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

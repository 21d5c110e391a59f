/* sample_rows: how often ids come against the proposal, expectations of the weights against p, what draws depend on, the form
 * of a row, hard logits. Bounds are five standard deviations of what is measured, and a probability that is a little off is
 * shown to break them. */
#include "tests/ops_testing.h"

struct drawn {
	int n_rows, K;
	int32_t *ids, *argmax;
	float *log_w, *lse, *ce;
};
struct sample_case {
	int n_rows, V, K;
	float tau, power, spread;
};

static struct drawn draw(struct ops_case *t, const struct sample_case *c, const float *logits, const uint64_t *keys,
			 const int32_t *target)
{
	size_t n = (size_t)c->n_rows, slots = n * (size_t)c->K;
	struct drawn d = {c->n_rows, c->K, ops_bytes(t, slots * 4), ops_bytes(t, n * 4), ops_floats(t, slots), ops_floats(t, n),
			  ops_floats(t, n)};
	t->ops->sample_rows(t->ops, &(struct sample_rows){.n_rows = c->n_rows, .V = c->V, .ld = c->V, .K = c->K, .t = logits,
							  .tau = c->tau, .power = c->power, .seed = 17, .keys = keys, .target = target,
							  .ids = d.ids, .log_w = d.log_w, .argmax = d.argmax, .lse = d.lse, .ce = d.ce});
	ops_hash(t, d.ids, slots * 4);
	ops_hash(t, d.log_w, slots * 4);
	ops_hash(t, d.lse, n * 4);
	return d;
}

static uint64_t *keys_of(struct ops_case *t, int n, uint64_t first)
{
	uint64_t *keys = ops_bytes(t, (size_t)n * sizeof *keys);
	for (int i = 0; i < n; i++)
		keys[i] = (first + (uint64_t)i) * 0x9E3779B97F4A7Cu >> 8;
	return keys;
}

/* p(V) = softmax(factor x); returns the log-sum-exp. */
static double softmax(double *p, const float *x, int V, double factor)
{
	double max = -INFINITY, sum = 0;
	for (int v = 0; v < V; v++)
		max = fmax(max, factor * (double)x[v]);
	for (int v = 0; v < V; v++)
		sum += p[v] = exp(factor * (double)x[v] - max);
	for (int v = 0; v < V; v++)
		p[v] /= sum;
	return max + log(sum);
}

/* ---- one row ---- */

static void check_form(const struct drawn *d, int n, int V, bool itself)
{
	const int32_t *ids = d->ids + n * d->K;
	const float *w = d->log_w + n * d->K;
	double sum = 0;
	int k = 0;
	for (; k < d->K && ids[k] >= 0; k++) {
		assert_in_range(ids[k], 0, V - 1);
		for (int j = 0; j < k; j++)
			assert_int_not_equal(ids[j], ids[k]);
		assert_false(k && (w[k] > w[k - 1] || (w[k] == w[k - 1] && ids[k] < ids[k - 1])));
		sum += exp((double)w[k]);
		if (itself)
			assert_close(exp((double)w[k]) * d->K, rint(exp((double)w[k]) * d->K), 1e-5, 0);
	}
	assert_true(k > 0);
	for (; k < d->K; k++)
		assert_int_equal(ids[k], -1);
	if (itself)
		assert_close(sum, 1, 1e-5, 0);
}

static void run_form(struct ops_case *t, const void *given)
{
	const struct sample_case *c = given;
	size_t n = (size_t)c->n_rows, V = (size_t)c->V;
	float *x = ops_normal(t, n * V);
	for (size_t i = 0; i < n * V; i++)
		x[i] *= c->spread;
	int32_t *target = ops_indices(t, n, (uint32_t)V);
	target[0] = -1;
	struct drawn d = draw(t, c, x, keys_of(t, c->n_rows, 5), target);
	double *p = ops_doubles(t, NULL, V);
	for (int i = 0; i < c->n_rows; i++) {
		const float *row = x + (size_t)i * V;
		check_form(&d, i, c->V, c->power == 1);
		for (int v = 0; v < c->V; v++)
			assert_false(row[v] > row[d.argmax[i]] || (row[v] == row[d.argmax[i]] && v < d.argmax[i]));
		assert_close(d.ce[i], i ? softmax(p, row, c->V, 1) - (double)row[target[i]] : 0, 1e-6, 1e-6);
		assert_close(d.lse[i], softmax(p, row, c->V, 1 / (double)c->tau), 3e-7, 1e-7);
	}
}

static void test_form(void **state)
{
	(void)state;
	const struct sample_case CASES[] = {
		{1, 1, 1, 1, 1, 1},           {3, 1, 8, 2, 0.5f, 1},      {3, 3, 8, 1, 1, 1},       {3, 37, 50, 0.5f, 0.5f, 2},
		{2, 129, 16, 1, 0.7f, 3},     {3, 1500, 64, 2, 1, 3},     {2, 32000, 128, 1, 1, 3}, {2, 32000, 50, 1.5f, 0.5f, 4},
		{2, 33001, 64, 1, 1, 3},      {2, 70000, 64, 1, 1, 0.1f},
	};
	OPS_CASES(run_form, CASES);
}

/* ---- many rows of the same logits ---- */

struct tally {
	double draws[64], weight[64]; /* by id, over all rows */
	double n_draws;
};

/* Ids fall into 64 bins. r: the proposal, p: the teacher, both by id. */
static struct tally tally_of(const struct drawn *d, const double *p, const double *r)
{
	struct tally s = {0};
	for (int i = 0; i < d->n_rows * d->K; i++) {
		if (d->ids[i] < 0)
			continue;
		double w = exp((double)d->log_w[i]), count = w * d->K * r[d->ids[i]] / p[d->ids[i]];
		assert_close(count, rint(count), 1e-3, 0);
		s.draws[d->ids[i] % 64] += rint(count);
		s.n_draws += rint(count);
		s.weight[d->ids[i] % 64] += w;
	}
	return s;
}

/* Chi-square of the bins' draws against r, in standard deviations above its mean. */
static double surprise(const struct tally *s, const double *r, int V)
{
	double want[64] = {0}, chi = 0;
	int bins = 0;
	for (int v = 0; v < V; v++)
		want[v % 64] += r[v] * s->n_draws;
	for (int b = 0; b < 64; b++)
		if (want[b] > 0) {
			chi += (s->draws[b] - want[b]) * (s->draws[b] - want[b]) / want[b];
			bins++;
		}
	return (chi - (bins - 1)) / sqrt(2.0 * (bins - 1));
}

/* Largest gap of a bin's mean weight from p, in its own standard deviations. */
static double worst_mean(const struct tally *s, const double *p, const double *r, int V)
{
	double want[64] = {0}, square[64] = {0}, worst = 0;
	for (int v = 0; v < V; v++) {
		want[v % 64] += p[v];
		square[v % 64] += p[v] * p[v] / r[v];
	}
	for (int b = 0; b < 64 && b < V; b++) { /* a draw adds p/r with probability r: its mean and variance */
		double sd = sqrt((square[b] - want[b] * want[b]) / s->n_draws);
		worst = fmax(worst, fabs(s->weight[b] - want[b]) / sd);
	}
	return worst;
}

static void run_rates(struct ops_case *t, const void *given)
{
	const struct sample_case *c = given;
	float *row = ops_normal(t, (size_t)c->V);
	float *x = ops_floats(t, (size_t)c->n_rows * (size_t)c->V);
	for (int i = 0; i < c->n_rows * c->V; i++)
		x[i] = row[i % c->V] * c->spread;
	double *p = ops_doubles(t, NULL, (size_t)c->V), *r = ops_doubles(t, NULL, (size_t)c->V);
	softmax(p, x, c->V, 1 / (double)c->tau);
	softmax(r, x, c->V, (double)c->power / (double)c->tau);
	struct drawn d = draw(t, c, x, keys_of(t, c->n_rows, 1000), NULL);
	struct tally s = tally_of(&d, p, r);
	for (int b = 0; b < 64; b++)
		s.weight[b] /= c->n_rows;
	assert_close(s.n_draws, (double)c->n_rows * c->K, 0, 0);
	assert_true(surprise(&s, r, c->V) < 5);
	assert_true(worst_mean(&s, p, r, c->V) < 5);
	int top = 0;
	for (int v = 0; v < c->V; v++)
		top = r[v] > r[top] ? v : top;
	p[top] *= 1.1; /* both bounds see it */
	r[top] *= 1.1;
	assert_true(surprise(&s, r, c->V) > 5);
	assert_true(worst_mean(&s, p, r, c->V) > 5);
}

static void test_rates(void **state)
{
	(void)state;
	const struct sample_case CASES[] = {
		{900, 37, 64, 1, 1, 2},   {1800, 37, 64, 2, 0.5f, 3},   {900, 3, 50, 1, 0.5f, 1}, {150, 1500, 500, 1, 1, 3},
		{60, 20000, 1500, 1, 0.8f, 4},
	};
	OPS_CASES(run_rates, CASES);
}

/* ---- what draws depend on ---- */

static void test_keys(void **state)
{
	(void)state;
	enum { ROWS = 7, V = 1500, K = 40 };
	const struct sample_case c = {ROWS, V, K, 1, 0.8f, 3};
	struct drawn first = {0};
	struct ops_case t = {.seed = 5};
	for (int n_threads = 1; n_threads <= 3; n_threads++) {
		t.ops = ops_for_test(n_threads, false);
		t.seed = 5;
		float *x = ops_normal(&t, ROWS * V), *turned = ops_floats(&t, ROWS * V);
		uint64_t *keys = keys_of(&t, ROWS, 9), *turned_keys = ops_bytes(&t, sizeof *keys * ROWS);
		for (int i = 0; i < ROWS; i++) {
			memcpy(turned + i * V, x + (ROWS - 1 - i) * V, V * sizeof *x);
			turned_keys[i] = keys[ROWS - 1 - i];
		}
		struct drawn a = draw(&t, &c, x, keys, NULL), b = draw(&t, &c, turned, turned_keys, NULL);
		first = n_threads == 1 ? a : first;
		assert_memory_equal(a.ids, first.ids, ROWS * K * 4);
		assert_memory_equal(a.log_w, first.log_w, ROWS * K * 4);
		for (int i = 0; i < ROWS; i++) {
			assert_memory_equal(a.ids + i * K, b.ids + (ROWS - 1 - i) * K, K * 4);
			assert_memory_equal(a.log_w + i * K, b.log_w + (ROWS - 1 - i) * K, K * 4);
		}
		turned_keys[0]++;
		struct drawn other = draw(&t, &c, turned, turned_keys, NULL);
		assert_true(memcmp(other.ids, b.ids, K * 4) != 0);
		assert_memory_equal(other.ids + K, b.ids + K, (ROWS - 1) * K * 4);
		ops_cpu_close(t.ops);
	}
	ops_case_release(&t);
}

static void test_hard_logits(void **state)
{
	(void)state;
	enum { V = 70, K = 20 };
	struct ops_case t = {.ops = ops_for_test(1, false)};
	const struct sample_case c = {2, V, K, 1, 0.5f, 1};
	float *x = ops_zeros(&t, 2 * V);
	for (int v = 0; v < V; v++) {
		x[v] = v == 40 || v == 69 ? 1e4f : -1e4f; /* two are possible, half each */
		x[V + v] = v == 3 ? NAN : 1;
	}
	struct drawn d = draw(&t, &c, x, keys_of(&t, 2, 1), NULL);
	check_form(&d, 0, V, true);
	for (int k = 0; k < 2; k++)
		assert_true(d.ids[k] == 40 || d.ids[k] == 69);
	assert_int_equal(d.ids[2], -1);
	assert_int_equal(d.argmax[0], 40);
	assert_close(d.lse[0], 1e4 + log(2), 1e-3, 0);
	assert_int_equal(d.ids[K], -1); /* a NaN leaves no distribution to draw from */
	assert_true(isnan(d.lse[1]));
	for (int v = 0; v < V; v++)
		x[v] = NAN, x[V + v] = -INFINITY;
	d = draw(&t, &c, x, keys_of(&t, 2, 1), NULL);
	assert_true(d.ids[0] == -1 && d.ids[K] == -1 && d.argmax[0] == 0);
	ops_cpu_close(t.ops);
	ops_case_release(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_hard_logits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* teacher/cache with a real teacher: what is read is what it says. (What a student learns from it: tests/test_cache_learn.c;
 * the file itself: tests/test_cache_file.c, tests/test_cache_damage.c.) */
#include "tests/testing.h"

#include "tests/cache_teacher.h"

#include "losses/fused_head.h"

/* p (N, columns) at tau; ce (N) at the batch's targets. */
static void probabilities(struct world *w, double tau, double *p, double *ce)
{
	struct soft_targets soft = online_targets(w);
	int n = w->columns;
	float *logits = test_device(w->ops, NULL, (size_t)(N * n) * sizeof *logits);
	fused_head_logits(w->ops, soft.hidden, soft.head, soft.head_type, N, C, n, logits);
	for (int row = 0; row < N; row++) {
		const float *t = logits + row * n;
		double sum = 0, plain = 0;
		for (int v = 0; v < n; v++) {
			sum += exp((double)t[v] / tau);
			plain += exp((double)t[v]);
		}
		for (int v = 0; v < n; v++)
			p[row * n + v] = exp((double)t[v] / tau) / sum;
		ce[row] = w->targets[row] < 0 ? 0 : log(plain) - (double)t[w->targets[row]];
	}
	w->ops->release(w->ops, logits);
}

static void check_sparse_row(const struct soft_targets *soft, const double *p, int row, int n, double *kept)
{
	int K = soft->sparse.K;
	const int32_t *ids = soft->sparse.ids + row * K;
	*kept = 0;
	for (int i = 0; i < K && ids[i] >= 0; i++) {
		assert_in_range(ids[i], 0, n - 1);
		assert_close(soft->sparse.log_p[row * K + i], log(p[ids[i]]), 2e-5, 0);
		assert_true(!i || soft->sparse.log_p[row * K + i] <= soft->sparse.log_p[row * K + i - 1]);
		*kept += p[ids[i]];
	}
	assert_close(soft->sparse.tail[row], 1 - *kept, 2e-6, 0);
}

static void check_top(struct world *w, enum cache_kind kind, int K)
{
	double p[N * V], ce[N], kept, mass = 0;
	struct cache_spec spec = spec_of(kind, K, 2);
	struct cache *c = open_cache(w, cache_kind_name(kind), &spec);
	struct reader r;
	probabilities(w, 2, p, ce);
	write_batch(w, c);
	open_reader(w, &r, c, MISSING_TAIL);
	make_batch(w, true); /* read in another order than written */
	probabilities(w, 2, p, ce);
	struct soft_targets soft = cached_targets(w, &r);
	assert_true(soft.kind == SOFT_TARGETS_SPARSE && soft.V == w->columns && soft.sparse.tau == 2 && soft.sparse.K == K);
	for (int row = 0; row < N; row++) {
		const double *of_row = p + row * w->columns;
		int last = 0;
		check_sparse_row(&soft, of_row, row, w->columns, &kept);
		assert_close(soft.ce[row], ce[row], 1e-5, 1e-5);
		assert_int_equal(soft.argmax[row], soft.sparse.ids[row * K]);
		while (last + 1 < K && soft.sparse.ids[row * K + last + 1] >= 0)
			last++;
		if (kind == CACHE_TOP_P)
			assert_true(kept >= 0.8 - 1e-6 && kept - of_row[soft.sparse.ids[row * K + last]] < 0.8 + 1e-6);
		else
			assert_int_equal(last, K - 1);
		mass += kept;
	}
	assert_close(cache_stats(c).mass, mass / N, 1e-5, 0);
	close_reader(w, &r);
	cache_close(c);
}

static void top_k_and_top_p_are_the_teachers(void **state)
{
	check_top(*state, CACHE_TOP_K, 8);
	make_batch(*state, false);
	check_top(*state, CACHE_TOP_P, V - 3);
}

static void hidden_states_equal_online_exactly(void **state)
{
	struct world *w = *state;
	struct cache_spec spec = spec_of(CACHE_HIDDEN, 0, 0);
	struct cache *c = open_cache(w, "hidden", &spec);
	struct reader r;
	float want[N * C];
	write_batch(w, c);
	open_reader(w, &r, c, MISSING_TAIL);
	struct soft_targets online = online_targets(w);
	w->ops->download(w->ops, want, online.hidden, sizeof want);
	struct soft_targets soft = cached_targets(w, &r);
	assert_true(soft.kind == SOFT_TARGETS_DENSE && soft.C == C && soft.V == w->columns && soft.head_type == DTYPE_F32);
	assert_memory_equal(soft.hidden, want, sizeof want);
	assert_memory_equal(soft.head, online.head, (size_t)(w->columns * C) * sizeof(float));
	assert_null(soft.ce);
	close_reader(w, &r);
	cache_close(c);
}

static void what_is_absent_is_one_line(void **state)
{
	struct world *w = *state;
	struct cache_spec spec = spec_of(CACHE_TOP_K, 4, 1);
	struct cache *c = open_cache(w, "absent", &spec);
	struct reader r;
	struct soft_targets soft;
	struct err e;
	write_batch(w, c);
	open_reader(w, &r, c, MISSING_ZERO);
	w->tokens[7] ^= 1;
	struct teacher_batch batch = {&w->batch, w->tokens, w->targets, w->start};
	assert_fails(teacher_targets(&r.teacher, &batch, &soft, &e), &e, "absent: holds no record of a document of 8 tokens");
	close_reader(w, &r);
	cache_close(c);
}

/* A cache that lost its second half is filled with the same bytes. */
static void going_on_gives_the_same_bytes(void **state)
{
	struct world *w = *state;
	struct cache_spec spec = spec_of(CACHE_SAMPLED, 8, 1);
	struct test_path dir = test_join(&w->dir, "again"), records = test_join(&dir, "records");
	struct err e;
	char *want, *got;
	size_t n_want, n_got;
	struct cache *c = open_cache(w, "again", &spec);
	write_batch(w, c);
	cache_close(c);
	assert_ok(fsio_read_file(records.text, 1 << 20, &want, &n_want, &e), &e);
	assert_ok(fsio_truncate_to(records.text, n_want / 2, &e), &e);
	c = open_cache(w, "again", &spec);
	assert_in_range(cache_missing(c, &w->rows, NULL), 1, N - 1);
	write_batch(w, c);
	cache_close(c);
	assert_ok(fsio_read_file(records.text, 1 << 20, &got, &n_got, &e), &e);
	assert_int_equal(n_got, n_want);
	assert_memory_equal(got, want, n_want);
	free(got);
	free(want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(top_k_and_top_p_are_the_teachers, setup, teardown),
		cmocka_unit_test_setup_teardown(hidden_states_equal_online_exactly, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_absent_is_one_line, setup, teardown),
		cmocka_unit_test_setup_teardown(going_on_gives_the_same_bytes, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

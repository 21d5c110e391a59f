/* prune/refit.c, compensate.c, cholesky.c: against torch's solution (golden/importance.py), and on planted structure: what a
 * kept unit can say for a dropped one is said exactly.
 * Measured noise floor of the golden comparison: NMSE 6e-10, worst element 8e-5 (Gram matrices are fp32, the ridge 1e-2). */
#include "tests/tiny_model.h"

#include "prune/cholesky.h"
#include "prune/compensate.h"
#include "prune/refit.h"

#define REFIT_NMSE 1e-8
#define REFIT_WORST 5e-4

/* ---- Cholesky ---- */

static double *random_doubles(size_t n, uint64_t seed)
{
	double *x = calloc(n, sizeof *x);
	assert_non_null(x);
	for (size_t i = 0; i < n; i++)
		x[i] = (double)rng_normal(seed, RNG_TEST, 0, i);
	return x;
}

/* x x^T + I, x (n, n): positive definite. */
static double *random_system(size_t n)
{
	double *x = random_doubles(n * n, n), *a = calloc(n * n, sizeof *a);
	assert_non_null(a);
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			a[i * n + j] = i == j;
			for (size_t k = 0; k < n; k++)
				a[i * n + j] += x[i * n + k] * x[j * n + k];
		}
	free(x);
	return a;
}

static void solutions_satisfy_their_systems(void **state)
{
	const size_t sizes[] = {1, 3, 48, 49, 129, 310}, n_rows = 19;
	(void)state;
	for (size_t c = 0; c < sizeof sizes / sizeof *sizes; c++) {
		size_t n = sizes[c];
		double *a = random_system(n), *want = random_doubles(n_rows * n, 7), *solved[2];
		for (int t = 0; t < 2; t++) {
			double *l = calloc(n * n, sizeof *l);
			solved[t] = calloc(n_rows * n, sizeof **solved);
			memcpy(l, a, n * n * sizeof *l);
			memcpy(solved[t], want, n_rows * n * sizeof *want);
			assert_int_equal(cholesky_factor(l, n, 1 + 2 * t), 0);
			cholesky_solve(l, n, solved[t], n_rows, 1 + 2 * t);
			free(l);
		}
		assert_memory_equal(solved[0], solved[1], n_rows * n * sizeof *want);
		for (size_t r = 0; r < n_rows; r++)
			for (size_t j = 0; j < n; j++) {
				double sum = 0;
				for (size_t k = 0; k < n; k++)
					sum += solved[0][r * n + k] * a[k * n + j];
				assert_close(sum, want[r * n + j], 1e-9, 1e-9);
			}
		free(a);
		free(want);
		free(solved[0]);
		free(solved[1]);
	}
}

static void what_is_not_positive_is_refused(void **state)
{
	double a[] = {1, 2, 2, 4}, b[] = {NAN};
	(void)state;
	assert_int_equal(cholesky_factor(a, 2, 1), -1);
	assert_int_equal(cholesky_factor(b, 1, 1), -1);
}

/* ---- one model, cut ---- */

struct refit_case {
	struct tiny t;
	struct arch target_arch;
	struct param_layout target;
	struct kept kept;
	float *dst;
};

/* heads (L, n_heads), ffn (L, n_ffn): what stays; NULL: all of it. Groups stay as they are, or, where each head has its own,
 * go with it. */
static void case_open(struct refit_case *c, const char *name, const int32_t *heads, int n_heads, const int32_t *ffn, int n_ffn)
{
	struct err e;
	tiny_open(&c->t, name, ACTIVATIONS_INFER, 2);
	const struct shape *s = c->t.shape;
	bool own_groups = heads && s->NH == s->NKV;
	c->target_arch = c->t.hf.layout.arch;
	struct shape *t = &c->target_arch.shape;
	t->NH = heads ? n_heads : s->NH;
	t->NKV = own_groups ? n_heads : s->NKV;
	t->F = ffn ? n_ffn : s->F;
	assert_ok(param_layout_init(&c->target, &c->target_arch, &e), &e);
	assert_ok(kept_alloc(&c->kept, t, &e), &e);
	for (int i = 0; i < t->C; i++)
		c->kept.hidden[i] = i;
	for (int l = 0; l < t->L; l++) {
		c->kept.layers[l] = l;
		for (int i = 0; i < t->NH; i++)
			c->kept.heads[l * t->NH + i] = heads ? heads[l * t->NH + i] : i;
		for (int i = 0; i < t->NKV; i++)
			c->kept.groups[l * t->NKV + i] = own_groups ? heads[l * t->NH + i] : i;
		for (int i = 0; i < t->F; i++)
			c->kept.ffn[l * t->F + i] = ffn ? ffn[l * t->F + i] : i;
	}
	c->dst = calloc(c->target.n_elems, sizeof *c->dst);
	assert_non_null(c->dst);
}

static void case_close(struct refit_case *c)
{
	kept_release(&c->kept);
	param_layout_release(&c->target);
	free(c->dst);
	tiny_close(&c->t);
}

static void cut(struct refit_case *c)
{
	prune_cut(&c->t.hf.layout, c->t.host, &c->target, c->dst, &c->kept, NULL);
	c->t.ops->upload(c->t.ops, c->t.weights, c->t.host, c->t.n_elems * sizeof(float));
}

/* Layers [first, first + n) in one run. */
static void fit_run(struct refit_case *c, int first, int n, double ridge)
{
	const struct refit_options o = {.first = first, .n_layers = n, .ridge = ridge};
	struct arena arena = arena_dry();
	struct refit *r;
	struct err e;
	assert_true(refit_needed(&c->t.hf.layout.arch, &c->target_arch, &c->kept));
	assert_ok(refit_open(&r, c->t.ops, &c->t.hf.layout, &c->target, &c->kept, &o, &arena, &e), &e);
	refit_close(r);
	test_arena_back(c->t.ops, &arena);
	assert_ok(refit_open(&r, c->t.ops, &c->t.hf.layout, &c->target, &c->kept, &o, &arena, &e), &e);
	refit_batch(r, TINY_N);
	free(tiny_forward(&c->t, NULL, refit_taps(r)));
	assert_ok(refit_apply(r, c->t.host, c->dst, &e), &e);
	refit_close(r);
	c->t.ops->release(c->t.ops, arena.base);
}

/* The cut model's final hidden states (N, C), the caller's. */
static float *cut_forward(struct refit_case *c)
{
	struct tiny *t = &c->t;
	struct params params = {.layout = &c->target, .type = DTYPE_F32, .master = c->dst, .copy = c->dst, .vectors = c->dst};
	struct arena arena = arena_dry();
	struct activations *act;
	struct err e;
	assert_ok(activations_init(&act, t->ops, &c->target_arch, TINY_B, TINY_T, ACTIVATIONS_INFER, &arena, &e), &e);
	activations_free(act);
	test_arena_back(t->ops, &arena);
	assert_ok(activations_init(&act, t->ops, &c->target_arch, TINY_B, TINY_T, ACTIVATIONS_INFER, &arena, &e), &e);
	activations_upload_tables(act, t->ops, &c->target_arch);
	size_t n_bytes = TINY_N * (size_t)t->shape->C * sizeof(float);
	float *final = malloc(n_bytes);
	t->ops->download(t->ops, final, transformer_forward(t->ops, &params, act, &t->batch, NULL, NULL), n_bytes);
	activations_free(act);
	t->ops->release(t->ops, arena.base);
	return final;
}

/* How far the cut model is from the whole one. */
static struct test_distance damage(struct refit_case *c)
{
	float *want = tiny_forward(&c->t, NULL, NULL), *got = cut_forward(c);
	struct test_distance d = test_distance_of(got, NULL, want, TINY_N * (size_t)c->t.shape->C);
	free(want);
	free(got);
	return d;
}

/* ---- against torch ---- */

static const int32_t *ids(const struct safetensors *f, const char *model, const char *key)
{
	return test_golden(f, model, key)->data;
}

static void check(const struct refit_case *c, const struct safetensors *f, const char *model, enum param_kind kind, const char *key)
{
	const struct safetensor *want = test_golden(f, model, key);
	size_t n = want->n_elems / (size_t)c->target_arch.shape.L;
	for (int l = 0; l < c->target_arch.shape.L; l++) {
		float *got = c->dst + c->target.offsets[(size_t)(l + 1) * PARAM_KINDS + kind];
		const float *expected = (const float *)want->data + (size_t)l * n;
		struct test_distance d = test_distance_of(got, NULL, expected, n);
		test_distance_check(d, REFIT_NMSE, REFIT_WORST, key, __FILE__, __LINE__);
		float largest = 0;
		for (size_t i = 0; i < n; i++)
			largest = fmaxf(largest, fabsf(got[i]));
		got[n / 2] += 0.01f * largest;
		assert_true(test_distance_of(got, NULL, expected, n).worst > REFIT_WORST);
	}
}

static void fits_agree_with_torch(void **state)
{
	struct safetensors *f;
	struct err e;
	(void)state;
	assert_ok(safetensors_open(&f, test_source("tests/golden/importance.safetensors").text, &e), &e);
	for (int i = 0; i < TINY_MODELS; i++)
		for (int runs = 1; runs <= 2; runs++) {
			struct refit_case c;
			const char *name = tiny_names[i];
			int n_heads = (int)test_golden(f, name, "refit.heads")->dims[1];
			int n_ffn = (int)test_golden(f, name, "refit.ffn")->dims[1];
			case_open(&c, name, ids(f, name, "refit.heads"), n_heads, ids(f, name, "refit.ffn"), n_ffn);
			cut(&c);
			for (int r = 0; r < runs; r++) /* both layers at once, or one at a time */
				fit_run(&c, r, 2 / runs, 1e-2);
			check(&c, f, name, PARAM_O, "refit.o");
			check(&c, f, name, PARAM_DOWN, "refit.down");
			case_close(&c);
		}
	safetensors_close(f);
}

/* ---- planted structure ---- */

static float *row_of(struct refit_case *c, enum param_kind kind, int layer, int row, int n_cols)
{
	return params_in(&c->t.hf.layout, c->t.host, kind, layer) + row * n_cols;
}

static void copy_row(struct refit_case *c, enum param_kind kind, int layer, int to, int from, int n_cols)
{
	memcpy(row_of(c, kind, layer, to, n_cols), row_of(c, kind, layer, from, n_cols), (size_t)n_cols * sizeof(float));
}

/* Channels 20 to 39 say again what 0 to 19 say, and are read by other weights. */
static void duplicated_channels_are_made_up_for(void **state)
{
	struct refit_case c;
	int32_t first[2 * 20];
	(void)state;
	for (int i = 0; i < 40; i++)
		first[i] = i % 20;
	case_open(&c, "llama_bias", NULL, 0, first, 20);
	int C = c.t.shape->C, F = c.t.shape->F;
	assert_int_equal(F, 40);
	for (int l = 0; l < 2; l++)
		for (int i = 0; i < 20; i++) {
			copy_row(&c, PARAM_GATE_UP, l, 20 + i, i, C);
			copy_row(&c, PARAM_GATE_UP, l, F + 20 + i, F + i, C);
			copy_row(&c, PARAM_GATE_UP_BIAS, l, 20 + i, i, 1);
			copy_row(&c, PARAM_GATE_UP_BIAS, l, F + 20 + i, F + i, 1);
		}
	cut(&c);
	double before = damage(&c).nmse;
	fit_run(&c, 0, 2, 1e-7);
	struct test_distance after = damage(&c);
	print_message("measured: NMSE %.2g before, %.2g after, worst element %.2g\n", before, after.nmse, after.worst);
	assert_true(before > 1e-2 && after.nmse < 1e-6 && after.worst < 1e-2);
	case_close(&c);
}

/* Every head says what head 0 says, and is read by other weights. */
static void duplicated_heads_are_made_up_for(void **state)
{
	struct refit_case c;
	int32_t first[2] = {0, 0};
	(void)state;
	case_open(&c, "llama_bias", first, 1, NULL, 0);
	const struct shape *s = c.t.shape;
	assert_true(s->NH == s->NKV);
	for (int l = 0; l < s->L; l++)
		for (int row = s->HD; row < 3 * s->NH * s->HD; row++) { /* q, k, v of every head are those of its part's first */
			int from = row / (s->NH * s->HD) * s->NH * s->HD + row % s->HD;
			copy_row(&c, PARAM_QKV, l, row, from, s->C);
			copy_row(&c, PARAM_QKV_BIAS, l, row, from, 1);
		}
	cut(&c);
	double before = damage(&c).nmse;
	fit_run(&c, 0, 2, 1e-7);
	struct test_distance after = damage(&c);
	print_message("measured: NMSE %.2g before, %.2g after, worst element %.2g\n", before, after.nmse, after.worst);
	assert_true(before > 1e-2 && after.nmse < 1e-6 && after.worst < 1e-2);
	case_close(&c);
}

/* A refit of what random units go with helps the hidden states on the text it saw. */
static void a_fit_repairs_part_of_a_random_cut(void **state)
{
	struct refit_case c;
	int32_t heads[2 * 2] = {0, 2, 1, 3}, ffn[2 * 30];
	(void)state;
	for (int i = 0; i < 60; i++)
		ffn[i] = i % 30;
	case_open(&c, "qwen3", heads, 2, ffn, 30);
	cut(&c);
	double before = damage(&c).nmse;
	fit_run(&c, 0, 2, REFIT_RIDGE);
	assert_true(damage(&c).nmse < 0.5 * before);
	case_close(&c);
}

static void inputs_that_are_not_finite_are_refused(void **state)
{
	const struct refit_options o = {.n_layers = 2, .ridge = REFIT_RIDGE};
	struct refit_case c;
	struct arena arena = arena_dry();
	struct refit *r;
	struct err e;
	int32_t ffn[2] = {0, 1};
	(void)state;
	case_open(&c, "qwen2", NULL, 0, ffn, 1);
	cut(&c);
	assert_ok(refit_open(&r, c.t.ops, &c.t.hf.layout, &c.target, &c.kept, &o, &arena, &e), &e);
	refit_close(r);
	test_arena_back(c.t.ops, &arena);
	assert_ok(refit_open(&r, c.t.ops, &c.t.hf.layout, &c.target, &c.kept, &o, &arena, &e), &e);
	float *w = params_in(&c.t.hf.layout, c.t.weights, PARAM_GATE_UP, 1);
	w[0] = NAN;
	refit_batch(r, TINY_N);
	free(tiny_forward(&c.t, NULL, refit_taps(r)));
	assert_fails(refit_apply(r, c.t.host, c.dst, &e), &e, "the down projection of layer 1 cannot be fitted");
	refit_close(r);
	c.t.ops->release(c.t.ops, arena.base);
	case_close(&c);
}

/* ---- compensation ---- */

/* Channels that say the same for every token leave a bias behind. */
static void constant_channels_become_bias(void **state)
{
	struct refit_case c;
	struct scores x;
	struct err e;
	int32_t ffn[2 * 37];
	(void)state;
	for (int i = 0; i < 2 * 37; i++)
		ffn[i] = i % 37;
	case_open(&c, "llama_bias", NULL, 0, ffn, 37);
	int C = c.t.shape->C, F = c.t.shape->F;
	assert_true(compensate_possible(&c.target_arch));
	assert_ok(scores_alloc(&x, &c.t.hf.layout.arch, true, &e), &e);
	for (int l = 0; l < 2; l++)
		for (int i = 37; i < F; i++) {
			memset(row_of(&c, PARAM_GATE_UP, l, i, C), 0, (size_t)C * sizeof(float));
			memset(row_of(&c, PARAM_GATE_UP, l, F + i, C), 0, (size_t)C * sizeof(float));
			float g = *row_of(&c, PARAM_GATE_UP_BIAS, l, i, 1), u = *row_of(&c, PARAM_GATE_UP_BIAS, l, F + i, 1);
			x.ffn_mean[l * F + i] = g / (1 + expf(-g)) * u;
		}
	cut(&c);
	struct test_distance before = damage(&c);
	compensate(&c.t.hf.layout, c.t.host, &c.target, c.dst, &c.kept, &x);
	struct test_distance after = damage(&c);
	print_message("measured: NMSE %.2g before, %.2g after, worst element %.2g\n", before.nmse, after.nmse, after.worst);
	assert_true(before.worst > 1e-2 && after.nmse < 1e-10 && after.worst < 1e-4);
	scores_release(&x);
	case_close(&c);
}

static void dropped_heads_leave_their_mean(void **state)
{
	struct refit_case c;
	struct scores x;
	struct err e;
	int32_t heads[2] = {1, 2};
	(void)state;
	case_open(&c, "llama_bias", heads, 1, NULL, 0);
	const struct shape *s = c.t.shape;
	int H = s->NH * s->HD;
	assert_ok(scores_alloc(&x, &c.t.hf.layout.arch, true, &e), &e);
	for (int i = 0; i < 2 * H; i++)
		x.context_mean[i] = rng_normal(1, RNG_TEST, 0, (uint64_t)i);
	cut(&c);
	compensate(&c.t.hf.layout, c.t.host, &c.target, c.dst, &c.kept, &x);
	for (int l = 0; l < 2; l++)
		for (int i = 0; i < s->C; i++) {
			const float *row = row_of(&c, PARAM_O, l, i, H);
			double want = (double)*row_of(&c, PARAM_O_BIAS, l, i, 1);
			for (int j = 0; j < H; j++)
				want += j / s->HD == heads[l] ? 0 : (double)row[j] * (double)x.context_mean[l * H + j];
			assert_close(params_in(&c.target, c.dst, PARAM_O_BIAS, l)[i], want, 1e-6, 1e-6);
		}
	scores_release(&x);
	case_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(solutions_satisfy_their_systems),
		cmocka_unit_test(what_is_not_positive_is_refused),
		cmocka_unit_test(fits_agree_with_torch),
		cmocka_unit_test(duplicated_channels_are_made_up_for),
		cmocka_unit_test(duplicated_heads_are_made_up_for),
		cmocka_unit_test(a_fit_repairs_part_of_a_random_cut),
		cmocka_unit_test(inputs_that_are_not_finite_are_refused),
		cmocka_unit_test(constant_channels_become_bias),
		cmocka_unit_test(dropped_heads_leave_their_mean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

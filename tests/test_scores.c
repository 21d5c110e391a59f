/* prune/select.c, scores.c: the best units and exactly the target's counts; masked == cut for every family
 * and target; planted dead units are found by every method that claims to. The file: tests/test_scores_file.c */
#include "tests/cut_world.h"

#include "prune/importance.h"
#include "prune/scores.h"

static const struct target targets[] = {
	{.hidden = 12},
	{.layers = 2},
	{.heads = 4},
	{.heads = 3, .kv_heads = 1},
	{.heads = 2, .kv_heads = 1},
	{.intermediate = 7},
	{.layers = 1, .hidden = 12, .heads = 2, .kv_heads = 1, .intermediate = 5},
};
enum { N_TARGETS = sizeof targets / sizeof *targets };

static void random_scores(struct scores *x, const struct arch *a, uint64_t seed)
{
	const struct shape *s = &a->shape;
	size_t n = (size_t)(s->C + s->L * (1 + s->NKV + s->NH + s->F));
	struct err e;
	assert_ok(scores_alloc(x, a, false, &e), &e);
	for (size_t i = 0; i < n; i++)
		x->hidden[i] = rng_uniform(seed, RNG_TEST, 0, i);
}

static const struct select_options drop = {0}, merge = {.merge_kv = true};

/* ---- selection ---- */

static void assert_units(const int *got, int n, const int *want)
{
	for (int i = 0; i < n; i++)
		assert_int_equal(got[i], want[i]);
}

static void the_best_units_stay(void **state)
{
	struct arch source = arch_of(&variants[0]), target;
	struct scores x;
	struct kept k;
	struct err e;
	(void)state;
	assert_ok(target_arch(&target, &source, &(struct target){.layers = 1, .hidden = 6, .heads = 2, .kv_heads = 1, .intermediate = 4}, &e), &e);
	assert_ok(scores_alloc(&x, &source, false, &e), &e);
	for (int i = 0; i < 6; i++)
		x.hidden[23 - 4 * i] = (float)(i + 1);
	x.layers[1] = 0.5f;
	x.layers[2] = 0.25f;
	x.groups[2 + 1] = 1;                         /* layer 1, group 1: heads 3 to 5 */
	x.heads[6] = x.heads[7] = 9;                 /* better heads, in a group that goes */
	x.heads[6 + 5] = 2;
	x.heads[6 + 3] = x.heads[6 + 4] = 1;         /* equal: the lower stays */
	x.ffn[20 + 7] = x.ffn[20 + 19] = 3;          /* two that are better, the rest equal */
	assert_ok(kept_from_scores(&k, &source, &target, &x, &drop, &e), &e);
	assert_units(k.layers, 1, (int[]){1});
	assert_units(k.hidden, 6, (int[]){3, 7, 11, 15, 19, 23});
	assert_units(k.groups, 1, (int[]){1});
	assert_units(k.heads, 2, (int[]){3, 5});
	assert_units(k.ffn, 4, (int[]){0, 1, 7, 19});
	assert_int_equal(k.merge, 1);
	kept_release(&k);
	scores_release(&x);
}

static void open_units(float *z, size_t n, const int *units, int n_kept)
{
	memset(z, 0, n * sizeof *z);
	for (int i = 0; i < n_kept; i++)
		z[units[i]] = 1;
}

/* Masks of ones and zeros with the same units (kept->merge of 1 only): arrays that are NULL in out stay so. */
static void kept_to_masks(const struct kept *k, const struct arch *source, const struct arch *target, struct host_masks *out)
{
	const struct shape *s = &source->shape, *t = &target->shape;
	BUG_ON(k->merge != 1);
	if (out->hidden)
		open_units(out->hidden, (size_t)s->C, k->hidden, t->C);
	if (out->layers)
		open_units(out->layers, (size_t)s->L, k->layers, t->L);
	if (out->heads)
		memset(out->heads, 0, (size_t)s->L * (size_t)s->NH * sizeof *out->heads);
	if (out->ffn)
		memset(out->ffn, 0, (size_t)s->L * (size_t)s->F * sizeof *out->ffn);
	for (int i = 0; i < t->L; i++) {
		size_t l = (size_t)k->layers[i], n = (size_t)i;
		if (out->heads)
			open_units(out->heads + l * (size_t)s->NH, (size_t)s->NH, k->heads + n * (size_t)t->NH, t->NH);
		if (out->ffn)
			open_units(out->ffn + l * (size_t)s->F, (size_t)s->F, k->ffn + n * (size_t)t->F, t->F);
	}
}

static void masked_equals_cut_for_every_family_and_target(void **state)
{
	struct bench b = bench_open();
	float masked[N * V], cut[N * V], hidden[24], layers[3], heads[18], ffn[60];
	struct test_distance worst = {0};
	(void)state;
	for (int v = 0; v < N_VARIANTS; v++)
		for (int t = 0; t < N_TARGETS; t++) {
			struct arch source = arch_of(&variants[v]), target;
			struct host_masks z = {hidden, layers, heads, ffn};
			struct param_layout from, to;
			struct scores x;
			struct kept k, back;
			struct err e;
			assert_ok(target_arch(&target, &source, &targets[t], &e), &e);
			assert_ok(param_layout_init(&from, &source, &e), &e);
			assert_ok(param_layout_init(&to, &target, &e), &e);
			random_scores(&x, &source, (uint64_t)(10 * v + t));
			assert_ok(kept_from_scores(&k, &source, &target, &x, &drop, &e), &e);
			kept_to_masks(&k, &source, &target, &z);
			assert_ok(kept_from_masks(&back, &source, &target, &z, &e), &e);
			size_t n_units = (size_t)(target.shape.C + target.shape.L * (1 + target.shape.NKV + target.shape.NH + target.shape.F));
			assert_memory_equal(k.block, back.block, n_units * sizeof(int));
			float *src = random_weights(&from), *dst = malloc(to.n_elems * sizeof *dst);
			prune_cut(&from, src, &to, dst, &k, NULL);
			logits_of(&b, &from, src, &z, masked);
			logits_of(&b, &to, dst, NULL, cut);
			struct test_distance d = test_distance_of(cut, NULL, masked, N * V);
			if (!(d.nmse <= CUT_NMSE && d.worst <= CUT_WORST))
				fail_msg("%s, target %d: NMSE %.3g, worst %.3g", variants[v].name, t, d.nmse, d.worst);
			worst.nmse = fmax(worst.nmse, d.nmse);
			worst.worst = fmax(worst.worst, d.worst);
			kept_release(&k);
			kept_release(&back);
			scores_release(&x);
			param_layout_release(&from);
			param_layout_release(&to);
			free(src);
			free(dst);
		}
	print_message("measured: NMSE %.2g, worst element %.2g\n", worst.nmse, worst.worst);
	bench_close(&b);
}

/* ---- merging ---- */

/* Group 1 of every layer says what group 0 says. */
static void twin_groups(const struct param_layout *p, float *w)
{
	const struct shape *s = &p->arch.shape;
	size_t HD = (size_t)s->HD, q = (size_t)s->NH * HD, kv = (size_t)s->NKV * HD;
	for (int l = 0; l < s->L; l++)
		for (int k = 0; k < 2; k++) {
			float *rows = params_in(p, w, k ? PARAM_QKV_BIAS : PARAM_QKV, l);
			size_t C = k ? 1 : (size_t)s->C;
			for (int kind = 0; rows && kind < 2; kind++)
				memcpy(rows + (q + (size_t)kind * kv + HD) * C, rows + (q + (size_t)kind * kv) * C, HD * C * sizeof *rows);
		}
}

static void merged_twins_change_nothing(void **state)
{
	struct bench b = bench_open();
	float whole[N * V], merged[N * V], apart[N * V];
	struct err e;
	(void)state;
	for (int v = 0; v < N_VARIANTS; v++) {
		struct arch source = arch_of(&variants[v]), target;
		struct param_layout from, to;
		struct scores x;
		struct kept k;
		assert_fails(target_arch(&target, &source, &(struct target){.kv_heads = 1}, &e), &e, "groups of 6 query heads");
		assert_ok(target_arch_merged(&target, &source, &(struct target){.kv_heads = 1}, &e), &e);
		assert_ok(param_layout_init(&from, &source, &e), &e);
		assert_ok(param_layout_init(&to, &target, &e), &e);
		random_scores(&x, &source, 1);
		float *src = random_weights(&from), *dst = malloc(to.n_elems * sizeof *dst);
		assert_ok(kept_from_scores(&k, &source, &target, &x, &merge, &e), &e);
		prune_cut(&from, src, &to, dst, &k, NULL);
		const struct shape *s = &source.shape;
		const float *keys = params_in(&from, src, PARAM_QKV, 2) + s->NH * s->HD * s->C;
		float *mean = params_in(&to, dst, PARAM_QKV, 2) + s->NH * s->HD * s->C;
		for (int i = 0; i < s->HD * s->C; i++)
			assert_close(mean[i], 0.5f * keys[i] + 0.5f * keys[s->HD * s->C + i], 1e-7, 1e-7);
		logits_of(&b, &from, src, NULL, whole);
		logits_of(&b, &to, dst, NULL, apart);
		assert_true(test_distance_of(apart, NULL, whole, N * V).worst > 100 * CUT_WORST);
		twin_groups(&from, src);
		prune_cut(&from, src, &to, dst, &k, NULL);
		logits_of(&b, &from, src, NULL, whole);
		logits_of(&b, &to, dst, NULL, merged);
		assert_floats(merged, whole, N * V, CUT_NMSE, CUT_WORST);
		kept_release(&k);
		scores_release(&x);
		param_layout_release(&from);
		param_layout_release(&to);
		free(src);
		free(dst);
	}
	bench_close(&b);
}

static void merged_runs_keep_their_best_heads(void **state)
{
	struct arch source = arch_of(&variants[0]), target;
	struct scores x;
	struct kept k;
	struct err e;
	(void)state;
	assert_ok(target_arch_merged(&target, &source, &(struct target){.heads = 4, .kv_heads = 1}, &e), &e);
	assert_ok(scores_alloc(&x, &source, false, &e), &e);
	for (int l = 0; l < 3; l++)
		for (int h = 0; h < 6; h++)
			x.heads[6 * l + h] = (float)((h + l) % 6);
	assert_ok(kept_from_scores(&k, &source, &target, &x, &merge, &e), &e);
	assert_int_equal(k.merge, 2);
	assert_units(k.heads, 12, (int[]){2, 3, 4, 5, 1, 2, 3, 4, 0, 1, 2, 3});
	assert_units(k.groups, 3, (int[]){0, 0, 0});
	kept_release(&k);
	source.shape.NKV = 3;
	target = source;
	target.shape.NKV = 2;
	assert_fails(kept_from_scores(&k, &source, &target, &x, &merge, &e), &e, "kv_heads 2 does not divide the source's 3");
	assert_fails(target_arch_merged(&target, &source, &(struct target){.kv_heads = 2}, &e), &e, "kv_heads 2 does not divide");
	scores_release(&x);
}

/* ---- planted structure ---- */

static const struct target planted = {.layers = 2, .hidden = 16, .heads = 2, .kv_heads = 1, .intermediate = 13};

static bool dead_hidden(int i)
{
	return i % 3 == 1;
}
static bool dead_ffn(int l, int i)
{
	return (i + l) % 3 == 1 && (i + l) / 3 < 7;
}
static int live_group(int l)
{
	return l % 2;
}
static bool dead_head(int l, int h)
{
	return h / 3 != live_group(l) || h % 3 == (l + 1) % 3;
}

static void silence(const struct param_layout *p, float *w, enum param_kind kind, int l, int n_rows, int n_cols,
		    bool (*row)(int, int), bool (*col)(int, int))
{
	float *at = params_in(p, w, kind, l);
	for (int r = 0; at && r < n_rows; r++)
		for (int c = 0; c < n_cols; c++)
			if ((row && row(l, r)) || (col && col(l, c)))
				at[r * n_cols + c] = 0;
}
static bool hidden_unit(int l, int i)
{
	(void)l;
	return dead_hidden(i);
}
static bool context_unit(int l, int i)
{
	return dead_head(l, i / 4);
}
static bool qkv_unit(int l, int i)
{
	return i < 24 ? dead_head(l, i / 4) : (i - 24) / 4 % 2 != live_group(l);
}
static bool gate_up_unit(int l, int i)
{
	return dead_ffn(l, i % 20);
}
static bool ffn_unit(int l, int i)
{
	return dead_ffn(l, i);
}
/* Every weight of the dead units is 0; layer 1 is dead altogether. */
static float *plant(const struct param_layout *p)
{
	float *w = random_weights(p);
	silence(p, w, PARAM_EMBED, -1, V, 24, NULL, hidden_unit);
	if (!p->arch.tied)
		silence(p, w, PARAM_HEAD, -1, V, 24, NULL, hidden_unit);
	silence(p, w, PARAM_FINAL_NORM, -1, 24, 1, hidden_unit, NULL);
	for (int l = 0; l < 3; l++) {
		const enum param_kind vectors[] = {PARAM_ATTN_NORM, PARAM_O_BIAS, PARAM_FFN_NORM, PARAM_DOWN_BIAS};
		for (int k = 0; k < 4; k++)
			silence(p, w, vectors[k], l, 24, 1, hidden_unit, NULL);
		silence(p, w, PARAM_QKV, l, 40, 24, qkv_unit, hidden_unit);
		silence(p, w, PARAM_QKV_BIAS, l, 40, 1, qkv_unit, NULL);
		silence(p, w, PARAM_O, l, 24, 24, hidden_unit, context_unit);
		silence(p, w, PARAM_GATE_UP, l, 40, 24, gate_up_unit, hidden_unit);
		silence(p, w, PARAM_GATE_UP_BIAS, l, 40, 1, gate_up_unit, NULL);
		silence(p, w, PARAM_DOWN, l, 24, 20, hidden_unit, ffn_unit);
	}
	for (int i = 0; i < p->n_tensors; i++) {
		const struct hf_tensor *t = &p->tensors[i];
		if (t->layer == 1)
			memset(w + t->offset, 0, t->rows * (t->cols ? t->cols : 1) * sizeof *w);
	}
	return w;
}

/* Listens to one forward pass over the bench's tokens. */
static void score(const struct bench *b, const struct param_layout *p, float *w, enum importance_method method,
		  enum layers_method layers, struct scores *out)
{
	const struct importance_options o = {.method = method, .layers_method = layers, .max_rows = N};
	const struct params params = {.layout = p, .master = w, .copy = w, .vectors = w};
	const struct batch batch = {.B = B, .T = T, .tokens = b->tokens, .pos = b->pos, .start = b->start};
	struct arena arena = arena_dry();
	struct activations *act;
	struct importance *m;
	struct err e;
	for (int real = 0; real < 2; real++) {
		assert_ok(activations_init(&act, b->ops, &p->arch, B, T, ACTIVATIONS_INFER, &arena, &e), &e);
		assert_ok(importance_open(&m, b->ops, p, &o, &arena, &e), &e);
		if (real)
			break;
		activations_free(act);
		importance_close(m);
		test_arena_back(b->ops, &arena);
	}
	activations_upload_tables(act, b->ops, &p->arch);
	importance_batch(m, B, T, NULL);
	transformer_forward(b->ops, &params, act, &batch, NULL, importance_taps(m));
	if (importance_needs_gradients(method)) {
		float *g = malloc(p->n_elems * sizeof *g);
		for (size_t i = 0; i < p->n_elems; i++)
			g[i] = rng_normal(8, RNG_TEST, 0, i);
		importance_gradients(m, w, g);
		free(g);
	}
	assert_ok(importance_finish(m, w, out, &e), &e);
	importance_close(m);
	activations_free(act);
	b->ops->release(b->ops, arena.base);
}

/* Layers are compared by the units that they keep; heads are only asked for of methods that see what reads them: the
 * context of a head whose o columns are 0 is as loud as before. */
static void assert_planted(const struct kept *k, bool heads, const char *what)
{
	bool right = k->layers[0] == 0 && k->layers[1] == 2;
	for (int i = 0; i < 16; i++)
		right = right && !dead_hidden(k->hidden[i]);
	for (int i = 0; i < 2 && right; i++) {
		right = k->groups[i] == live_group(2 * i);
		for (int f = 0; f < 13; f++)
			right = right && !dead_ffn(2 * i, k->ffn[13 * i + f]);
		for (int h = 0; heads && h < 2; h++)
			right = right && !dead_head(2 * i, k->heads[2 * i + h]);
	}
	if (!right)
		fail_msg("%s: a dead unit was kept, or a live one dropped", what);
}

static void dead_units_are_found(void **state)
{
	struct bench b = bench_open();
	struct err e;
	(void)state;
	for (int v = 0; v < N_VARIANTS; v++) {
		struct arch source = arch_of(&variants[v]), target;
		struct param_layout p;
		assert_ok(target_arch(&target, &source, &planted, &e), &e);
		assert_ok(param_layout_init(&p, &source, &e), &e);
		float *w = plant(&p);
		for (int m = 0; m < IMPORTANCE_RANDOM; m++)
			for (int layers = m == IMPORTANCE_ACTIVATION ? LAYERS_INFLUENCE : LAYERS_OWN; layers <= LAYERS_INFLUENCE; layers++) {
				struct scores x;
				struct kept k;
				char what[120];
				snprintf(what, sizeof what, "%s, %s, layers %s", variants[v].name, importance_method_name((enum importance_method)m),
					 layers_method_name((enum layers_method)layers));
				score(&b, &p, w, (enum importance_method)m, (enum layers_method)layers, &x);
				assert_ok(kept_from_scores(&k, &source, &target, &x, &drop, &e), &e);
				assert_planted(&k, m != IMPORTANCE_ACTIVATION, what);
				kept_release(&k);
				scores_release(&x);
			}
		free(w);
		param_layout_release(&p);
	}
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_best_units_stay),
		cmocka_unit_test(masked_equals_cut_for_every_family_and_target),
		cmocka_unit_test(merged_twins_change_nothing),
		cmocka_unit_test(merged_runs_keep_their_best_heads),
		cmocka_unit_test(dead_units_are_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* prune/space.c and space_pick.c: the shapes within a budget, against a search that looks at every one. */
#include "tests/testing.h"

#include "prune/space.h"

#include <math.h>

static struct arch source_of(const char *family)
{
	return (struct arch){.family = family, .shape = {.L = 5, .C = 96, .F = 160, .NH = 6, .NKV = 3, .HD = 16, .V = 300}, .max_positions = 256,
			     .norm_eps = 1e-5f, .init_std = 0.02f, .tied = true, .rope_theta = 1e4, .dtype = DTYPE_BF16};
}

/* ---- costs ---- */

static void costs_are_what_they_say(void **state)
{
	(void)state;
	struct arch a = source_of("llama");
	struct time_model time = {.prefill.weight = {1, 2}, .decode.weight = {0, 0, 3}};
	struct space_options o = space_default(&a);
	double cost[SPACE_MEASURES];
	o.length = 100;
	o.batch = 7;
	space_cost(&a, &o, cost);
	/* Embedding; per layer q, k, v, o, three of the FFN and two norms; the last norm. */
	double parameters = 300 * 96 + 5 * (12 * 16 * 96 + 96 * 96 + 3 * 160 * 96 + 2 * 96) + 96;
	assert_true(cost[SPACE_PARAMETERS] == parameters);
	assert_true(cost[SPACE_MEMORY] == 2 * (parameters + 2.0 * 5 * 3 * 16 * 100 * 7));
	assert_close(cost[SPACE_FLOPS], arch_flops_per_token(&a, 100), 0, 1e-12);
	assert_true(cost[SPACE_PREFILL_MS] == 0 && cost[SPACE_DECODE_MS] == 0);
	a.window = 30; /* the cache holds no more */
	o.time = &time;
	space_cost(&a, &o, cost);
	assert_true(cost[SPACE_MEMORY] == 2 * (parameters + 2.0 * 5 * 3 * 16 * 30 * 7));
	assert_true(cost[SPACE_PREFILL_MS] == 11 && cost[SPACE_DECODE_MS] == 288);
}

static void multiples_are_powers_of_two(void **state)
{
	(void)state;
	static const int want[][2] = {{4096, 256}, {11008, 256}, {2048, 128}, {576, 32}, {192, 8}, {31, 1}, {1, 1}};
	for (size_t i = 0; i < sizeof want / sizeof *want; i++)
		assert_int_equal(space_multiple(want[i][0]), want[i][1]);
}

static void balance_is_nought_for_one_factor_and_grows_with_the_spread(void **state)
{
	(void)state;
	const struct shape s = {.L = 8, .C = 64, .NH = 8, .F = 128};
	const struct shape half = {.L = 4, .C = 32, .NH = 4, .F = 64}, shallow = {.L = 4, .C = 64, .NH = 8, .F = 128};
	const struct shape shallower = {.L = 2, .C = 64, .NH = 8, .F = 128};
	assert_close(space_balance(&half, &s), 0, 1e-15, 0);
	assert_close(space_balance(&shallow, &s), log(2) * sqrt(3) / 4, 0, 1e-12);
	assert_close(space_balance(&shallower, &s), log(4) * sqrt(3) / 4, 0, 1e-12);
}

/* ---- against brute force ---- */

struct brute {
	struct space_shape shapes[100000];
	int n;
};

static bool on_grid(int size, int source, int pinned, int multiple)
{
	return pinned ? size == pinned : size == source || size % multiple == 0;
}

static bool wanted_heads(const struct arch *a, const struct shape *from, const struct target *p)
{
	int group = from->NH / from->NKV;
	const struct shape *s = &a->shape;
	if (!p->heads && !p->kv_heads)
		return s->NH == s->NKV * group;
	if (p->heads && p->kv_heads)
		return s->NH == p->heads && s->NKV == p->kv_heads;
	if (p->heads)
		return s->NH == p->heads && s->NKV == (p->heads % group ? from->NKV : p->heads / group);
	return s->NKV == p->kv_heads && s->NH == p->kv_heads * group;
}

static void look_at(struct brute *b, const struct arch *a, const struct arch *source, const struct space_options *o, double slack)
{
	const struct shape *s = &a->shape, *from = &source->shape;
	struct space_shape x = {.shape = *s, .balance = space_balance(s, from)};
	struct target t = {.layers = s->L, .hidden = s->C, .heads = s->NH, .kv_heads = s->NKV, .intermediate = s->F};
	struct load_finding found[16];
	struct arch ignored;
	struct err e;
	double most = 0;
	if (!wanted_heads(a, from, &o->pinned) || target_arch(&ignored, source, &t, &e) < 0)
		return;
	for (int i = arch_check_loadable(a, found, 16) - 1; i >= 0; i--)
		if (found[i].level == LOAD_MISREAD)
			return;
	space_cost(a, o, x.cost);
	for (int m = 0; m < SPACE_MEASURES; m++)
		if (o->limit[m] > 0)
			most = fmax(most, x.cost[m] / o->limit[m]);
	if (most <= 1 && most >= 1 - slack)
		b->shapes[b->n++] = x;
}

static void look_at_every_one(struct brute *b, const struct arch *source, const struct space_options *o, double slack)
{
	const struct shape *from = &source->shape;
	struct arch a = *source;
	int hidden = o->hidden_multiple ? o->hidden_multiple : space_multiple(from->C);
	int ffn = o->intermediate_multiple ? o->intermediate_multiple : space_multiple(from->F);
	b->n = 0;
	for (a.shape.L = 1; a.shape.L <= from->L; a.shape.L++)
		for (a.shape.C = 1; a.shape.C <= from->C; a.shape.C++)
			for (a.shape.F = 1; a.shape.F <= from->F; a.shape.F++)
				for (a.shape.NH = 1; a.shape.NH <= from->NH; a.shape.NH++)
					for (a.shape.NKV = 1; a.shape.NKV <= from->NKV; a.shape.NKV++)
						if (on_grid(a.shape.L, from->L, o->pinned.layers, 1) && on_grid(a.shape.C, from->C, o->pinned.hidden, hidden) &&
						    on_grid(a.shape.F, from->F, o->pinned.intermediate, ffn))
							look_at(b, &a, source, o, slack);
}

static const struct space_shape *find(const struct space *space, const struct shape *s)
{
	for (int i = 0; i < space->n; i++)
		if (!memcmp(&space->shapes[i].shape, s, sizeof *s))
			return &space->shapes[i];
	return NULL;
}

static void assert_same(const struct space *space, const struct brute *b)
{
	assert_int_equal(space->n, b->n);
	for (int i = 0; i < b->n; i++) {
		const struct space_shape *own = find(space, &b->shapes[i].shape);
		assert_non_null(own);
		assert_memory_equal(own->cost, b->shapes[i].cost, sizeof own->cost);
	}
	for (int i = 1; i < space->n; i++)
		assert_true(space->shapes[i - 1].balance <= space->shapes[i].balance);
}

static void every_shape_within_the_budget_is_found(void **state)
{
	(void)state;
	static struct brute brute;
	static const struct time_model time = {.prefill.weight = {1, 0.5, 0.01, 1e-3, 1e-6, 2e-6}, .decode.weight = {0.1, 0.05, 0, 1e-4, 1e-7, 1e-7}};
	static const struct {
		const char *family;
		double limit[SPACE_MEASURES];
		struct target pinned;
		int hidden_multiple, intermediate_multiple;
		double slack;
	} cases[] = {
		{"llama", {150000}, {0}, 0, 0, 0.05},
		{"mistral", {150000}, {0}, 0, 0, 0.05},
		{"qwen3", {0, 300000}, {0}, 0, 0, 0.1},
		{"llama", {200000, 0, 250000}, {0}, 8, 16, 0.2},
		{"llama", {0, 0, 0, 4}, {0}, 0, 0, 0.05},
		{"qwen2", {0, 350000, 0, 5, 0.4}, {0}, 0, 0, 0.02},
		{"llama", {150000}, {.layers = 3}, 0, 0, 0.05},
		{"llama", {150000}, {.hidden = 72, .intermediate = 100}, 0, 0, 0.2},
		{"llama", {150000}, {.heads = 4}, 0, 0, 0.05},
		{"mistral", {150000}, {.heads = 3}, 0, 0, 0.05},
		{"llama", {150000}, {.kv_heads = 1}, 0, 0, 0.05},
		{"llama", {150000}, {.heads = 2, .kv_heads = 2}, 0, 0, 0.05},
		{"llama", {150000}, {0}, 0, 0, 1},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct arch source = source_of(cases[i].family);
		struct space_options o = space_default(&source);
		struct space space;
		struct err e;
		memcpy(o.limit, cases[i].limit, sizeof o.limit);
		o.pinned = cases[i].pinned;
		o.hidden_multiple = cases[i].hidden_multiple;
		o.intermediate_multiple = cases[i].intermediate_multiple;
		o.slack = cases[i].slack;
		o.time = &time;
		assert_ok(space_open(&space, &source, &o, &e), &e);
		look_at_every_one(&brute, &source, &o, space.slack);
		assert_same(&space, &brute);
		if (space.slack > o.slack) { /* it grew because it had to */
			look_at_every_one(&brute, &source, &o, space.slack / 2);
			assert_int_equal(brute.n, 0);
		}
		space_close(&space);
	}
}

static void the_slack_grows_until_there_is_a_shape(void **state)
{
	(void)state;
	const struct arch source = source_of("llama");
	struct space_options o = space_default(&source);
	struct space space;
	struct err e;
	o.limit[SPACE_PARAMETERS] = 150000;
	o.pinned = (struct target){.hidden = 48, .heads = 2, .intermediate = 160}; /* depth alone is left: coarse steps */
	o.slack = 0.01;
	assert_ok(space_open(&space, &source, &o, &e), &e);
	assert_int_equal(space.n, 1);
	assert_true(space.slack > 0.01);
	assert_int_equal(space.shapes[0].shape.L, 4);
	space_close(&space);
}

/* ---- refusals ---- */

static void assert_refused(const struct space_options *o, const char *part)
{
	const struct arch source = source_of("llama");
	struct space space;
	struct err e;
	assert_fails(space_open(&space, &source, o, &e), &e, part);
	assert_int_equal(e.status, ERR_USER);
	assert_null(strchr(e.line, '\n'));
	assert_null(space.shapes);
}

static void a_budget_that_nothing_meets_names_the_nearest(void **state)
{
	(void)state;
	const struct arch source = source_of("llama");
	struct space_options o = space_default(&source);
	o.limit[SPACE_PARAMETERS] = 1000;
	/* 300*4 of the embedding, 4*16*4 + 32*4 of attention, 3*8*4 of the FFN, three norms of 4. */
	assert_refused(&o, "target: no shape has parameters at most 1000; the nearest, 1 layers x 4, 2/1 heads, ffn 8, has 1692");
	o.limit[SPACE_MEMORY] = 2000; /* the tighter one is named */
	assert_refused(&o, "has memory at most 2000");
	o.limit[SPACE_PARAMETERS] = 1e9;
	o.limit[SPACE_MEMORY] = 0;
	assert_refused(&o, "the budget removes nothing, 5 layers x 96, 6/3 heads, ffn 160 meet it");
	o.pinned.layers = 6;
	assert_refused(&o, "layers 6 is larger than the source's 5");
	o.limit[SPACE_PARAMETERS] = 150000;
	o.pinned = (struct target){.hidden = 95, .heads = 2};
	assert_refused(&o, "no shape with these sizes loads elsewhere");
}

static void nobody_has_timed_anything_yet(void **state)
{
	(void)state;
	const struct arch source = source_of("llama");
	struct space_options o = space_default(&source);
	struct space space;
	struct err e;
	o.limit[SPACE_DECODE_MS] = 1;
	o.pinned.layers = 3;
	assert_ok(space_open(&space, &source, &o, &e), &e);
	assert_int_equal(space.n, 1);
	assert_int_equal(space.shapes[0].shape.L, 3);
	assert_int_equal(space.shapes[0].shape.C, 96);
	space_close(&space);
	o.limit[SPACE_PARAMETERS] = 100000; /* this one can be looked at */
	assert_ok(space_open(&space, &source, &o, &e), &e);
	assert_true(space.n > 1 && space.shapes[0].cost[SPACE_PARAMETERS] <= 100000);
	space_close(&space);
}

/* ---- picking ---- */

static bool neighbours(const struct shape *a, const struct shape *b, const struct shape *s, double distance)
{
	return abs(a->L - b->L) <= distance * s->L && abs(a->C - b->C) <= distance * s->C && abs(a->NH - b->NH) <= distance * s->NH &&
	       abs(a->F - b->F) <= distance * s->F;
}

static void the_best_that_are_no_neighbours_are_picked(void **state)
{
	(void)state;
	const struct arch source = source_of("llama");
	struct space_options o = space_default(&source);
	struct space space;
	struct err e;
	int chosen[6];
	o.limit[SPACE_PARAMETERS] = 150000;
	assert_ok(space_open(&space, &source, &o, &e), &e);
	double *loss = malloc((size_t)space.n * sizeof *loss);
	for (int i = 0; i < space.n; i++)
		loss[i] = fabs(space.shapes[i].shape.L - 3.2) + 1e-3 * abs(space.shapes[i].shape.C - 64);
	assert_int_equal(space_pick(&space, &source.shape, loss, 6, chosen), 6);
	for (int i = 0; i < space.n; i++) {
		bool mine = false, near = false;
		assert_true(loss[i] >= loss[chosen[0]]);
		for (int k = 0; k < 6; k++) {
			mine |= chosen[k] == i;
			near |= neighbours(&space.shapes[i].shape, &space.shapes[chosen[k]].shape, &source.shape, 0.1) && loss[chosen[k]] <= loss[i];
		}
		assert_true(mine || near || loss[i] >= loss[chosen[5]]); /* a better one was left out for a reason */
	}
	for (int i = 1; i < 6; i++)
		for (int k = 0; k < i; k++)
			assert_false(neighbours(&space.shapes[chosen[i]].shape, &space.shapes[chosen[k]].shape, &source.shape, 0.1));
	free(loss);
	space_close(&space);
}

static void a_small_space_is_picked_whole(void **state)
{
	(void)state;
	struct space_shape shapes[] = {{.shape = {.L = 4, .C = 100, .NH = 4, .F = 100}}, {.shape = {.L = 4, .C = 100, .NH = 4, .F = 99}},
				       {.shape = {.L = 4, .C = 100, .NH = 4, .F = 91}}};
	const struct space space = {.shapes = shapes, .n = 3};
	const struct shape source = {.L = 8, .C = 200, .NH = 8, .F = 1000};
	int chosen[9];
	assert_int_equal(space_pick(&space, &source, (double[]){1, 2, 3}, 9, chosen), 3);
	assert_true(chosen[0] == 0 && chosen[1] == 2 && chosen[2] == 1); /* the farther one first: it is no neighbour longer */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(costs_are_what_they_say),
		cmocka_unit_test(multiples_are_powers_of_two),
		cmocka_unit_test(balance_is_nought_for_one_factor_and_grows_with_the_spread),
		cmocka_unit_test(every_shape_within_the_budget_is_found),
		cmocka_unit_test(the_slack_grows_until_there_is_a_shape),
		cmocka_unit_test(a_budget_that_nothing_meets_names_the_nearest),
		cmocka_unit_test(nobody_has_timed_anything_yet),
		cmocka_unit_test(the_best_that_are_no_neighbours_are_picked),
		cmocka_unit_test(a_small_space_is_picked_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

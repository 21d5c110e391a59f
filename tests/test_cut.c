/* prune/cut.c, prune/kept.c: the cut model's logits equal the masked model's, with soft z, for every family, tied and untied,
 * and one wrong factor anywhere shows. Measured noise floor of the comparison: worst element 3e-6, NMSE 1e-12. */
#include "tests/cut_world.h"

/* ---- one case: source, target, masks, cut ---- */

struct cut_case {
	struct arch source_arch, target_arch;
	struct param_layout source, target;
	float *src, *dst;
	struct soft_masks masks;
	struct kept kept;
};

static void case_open(struct cut_case *c, const struct variant *v, const struct target *t, uint64_t seed)
{
	struct err e;
	c->source_arch = arch_of(v);
	assert_ok(target_arch(&c->target_arch, &c->source_arch, t, &e), &e);
	assert_ok(param_layout_init(&c->source, &c->source_arch, &e), &e);
	assert_ok(param_layout_init(&c->target, &c->target_arch, &e), &e);
	c->src = random_weights(&c->source);
	c->dst = malloc(c->target.n_elems * sizeof *c->dst);
	assert_non_null(c->dst);
	memset(c->dst, 0xff, c->target.n_elems * sizeof *c->dst);
	random_masks(&c->masks, &c->source_arch.shape, &c->target_arch.shape, seed);
	assert_ok(kept_from_masks(&c->kept, &c->source_arch, &c->target_arch, &c->masks.z, &e), &e);
	prune_cut(&c->source, c->src, &c->target, c->dst, &c->kept, &c->masks.z);
}

static void case_close(struct cut_case *c)
{
	kept_release(&c->kept);
	param_layout_release(&c->source);
	param_layout_release(&c->target);
	free(c->src);
	free(c->dst);
}

static void masked_equals_cut_for_every_family_and_target(void **state)
{
	struct bench b = bench_open();
	float masked[N * V], cut[N * V];
	struct test_distance worst = {0};
	(void)state;
	for (int v = 0; v < N_VARIANTS; v++)
		for (int t = 0; t < N_CUT_TARGETS; t++) {
			struct cut_case c;
			case_open(&c, &variants[v], &cut_targets[t], 1000 * (uint64_t)v + 17 * (uint64_t)t);
			logits_of(&b, &c.source, c.src, &c.masks.z, masked);
			logits_of(&b, &c.target, c.dst, NULL, cut);
			struct test_distance d = test_distance_of(cut, NULL, masked, N * V);
			if (!(d.nmse <= CUT_NMSE && d.worst <= CUT_WORST))
				fail_msg("%s, target %d: NMSE %.3g, worst %.3g", variants[v].name, t, d.nmse, d.worst);
			worst.nmse = fmax(worst.nmse, d.nmse);
			worst.worst = fmax(worst.worst, d.worst);
			case_close(&c);
		}
	print_message("measured: NMSE %.2g, worst element %.2g\n", worst.nmse, worst.worst);
	bench_close(&b);
}

static float *largest(float *x, size_t n)
{
	size_t at = 0;
	for (size_t i = 1; i < n; i++)
		at = fabsf(x[i]) > fabsf(x[at]) ? i : at;
	return x + at;
}

/* Every tensor of every family matters to the comparison: one element of the wrong sign is seen. */
static void one_wrong_element_is_seen(void **state)
{
	struct bench b = bench_open();
	float masked[N * V], cut[N * V];
	(void)state;
	for (int v = 0; v < N_VARIANTS; v++) {
		struct cut_case c;
		case_open(&c, &variants[v], &cut_targets[6], 5);
		logits_of(&b, &c.source, c.src, &c.masks.z, masked);
		for (int i = 0; i < c.target.n_tensors; i++) {
			const struct hf_tensor *t = &c.target.tensors[i];
			float *element = largest(c.dst + t->offset, t->rows * (t->cols ? t->cols : 1));
			*element = -*element;
			logits_of(&b, &c.target, c.dst, NULL, cut);
			*element = -*element;
			struct test_distance d = test_distance_of(cut, NULL, masked, N * V);
			if (d.nmse <= CUT_NMSE && d.worst <= CUT_WORST)
				fail_msg("%s: a wrong %s is not seen: NMSE %.3g, worst %.3g", variants[v].name, t->name, d.nmse,
					 d.worst);
		}
		case_close(&c);
	}
	bench_close(&b);
}

/* The faults of the reference: z twice at a tied head, z at an untied one. */
static void a_head_folded_twice_is_seen(void **state)
{
	struct bench b = bench_open();
	float masked[N * V], cut[N * V];
	(void)state;
	for (int v = 0; v < 2; v++) {
		struct cut_case c;
		case_open(&c, &variants[v], &cut_targets[0], 5);
		logits_of(&b, &c.source, c.src, &c.masks.z, masked);
		float *norm = params_in(&c.target, c.dst, PARAM_FINAL_NORM, -1);
		for (int i = 0; i < c.target_arch.shape.C; i++)
			norm[i] *= c.masks.z.hidden[c.kept.hidden[i]];
		logits_of(&b, &c.target, c.dst, NULL, cut);
		assert_true(test_distance_of(cut, NULL, masked, N * V).worst > 100 * CUT_WORST);
		case_close(&c);
	}
	bench_close(&b);
}

static void kept_layers_are_copied_whole(void **state)
{
	const int layers[] = {0, 2};
	struct bench b = bench_open();
	float dropped[N * V], cut[N * V], z[] = {1, 0, 1};
	(void)state;
	for (int v = 0; v < N_VARIANTS; v++) {
		struct arch source = arch_of(&variants[v]), target = source;
		struct param_layout from, to;
		struct kept kept;
		struct err e;
		target.shape.L = 2;
		assert_ok(param_layout_init(&from, &source, &e), &e);
		assert_ok(param_layout_init(&to, &target, &e), &e);
		float *src = random_weights(&from), *dst = malloc(to.n_elems * sizeof *dst);
		assert_ok(kept_from_layers(&kept, &source, layers, 2, &e), &e);
		prune_cut(&from, src, &to, dst, &kept, NULL);
		for (int kind = PARAM_ATTN_NORM; kind < PARAM_KINDS; kind++) {
			size_t at = from.offsets[3 * PARAM_KINDS + kind];
			if (at != SIZE_MAX)
				assert_memory_equal(dst + to.offsets[2 * PARAM_KINDS + kind], src + at, 4 * sizeof *src);
		}
		logits_of(&b, &from, src, &(struct host_masks){.layers = z}, dropped);
		logits_of(&b, &to, dst, NULL, cut);
		assert_floats(cut, dropped, N * V, CUT_NMSE, CUT_WORST);
		kept_release(&kept);
		param_layout_release(&from);
		param_layout_release(&to);
		free(src);
		free(dst);
	}
	bench_close(&b);
}

static void nothing_cut_is_a_copy(void **state)
{
	(void)state;
	for (int v = 0; v < N_VARIANTS; v++) {
		struct cut_case c;
		case_open(&c, &variants[v], &(struct target){0}, 1);
		assert_memory_equal(c.dst, c.src, c.source.n_elems * sizeof *c.src);
		case_close(&c);
	}
}

/* ---- masks that do not fit ---- */

static void assert_misfit(struct soft_masks *m, const char *part)
{
	struct arch source = arch_of(&variants[0]), target;
	struct kept kept;
	struct err e;
	assert_ok(target_arch(&target, &source, &cut_targets[6], &e), &e);
	assert_fails(kept_from_masks(&kept, &source, &target, &m->z, &e), &e, part);
	assert_int_equal(e.status, ERR_USER);
	assert_null(kept.block);
}

static struct soft_masks *fitting(struct soft_masks *m)
{
	struct arch source = arch_of(&variants[0]), target;
	struct err e;
	assert_ok(target_arch(&target, &source, &cut_targets[6], &e), &e);
	random_masks(m, &source.shape, &target.shape, 3);
	for (int l = 0; l < 3; l++)
		m->layers[l] = l < 2 ? 0.5f : 0;
	return m;
}

static void set_all(float *z, int n, float value)
{
	for (int i = 0; i < n; i++)
		z[i] = value;
}

static void wrong_counts_are_refused_by_name(void **state)
{
	struct soft_masks m;
	(void)state;
	set_all(fitting(&m)->hidden, 24, 1);
	assert_misfit(&m, "hidden keeps 24 of 24, the target wants 16");
	set_all(fitting(&m)->layers, 3, 1);
	assert_misfit(&m, "layers keeps 3 of 3, the target wants 2");
	set_all(fitting(&m)->ffn + 20, 20, 0);
	assert_misfit(&m, "ffn of layer 1 keeps 0 of 20, the target wants 13");
	set_all(fitting(&m)->heads + 9, 3, 0.5f);
	assert_misfit(&m, "heads of layer 1, group 1, keeps 3 of 3, the target wants 2");
	set_all(fitting(&m)->heads + 9, 3, 0);
	assert_misfit(&m, "heads of layer 1 keeps 1 of 2 key-value groups, the target wants 2");
	fitting(&m)->z.hidden = NULL;
	assert_misfit(&m, "hidden keeps 24 of 24, the target wants 16");
}

static void rows_of_dropped_layers_do_not_count(void **state)
{
	struct arch source = arch_of(&variants[0]), target;
	struct soft_masks m;
	struct kept kept;
	struct err e;
	(void)state;
	assert_ok(target_arch(&target, &source, &cut_targets[6], &e), &e);
	set_all(fitting(&m)->ffn + 40, 20, 1);
	assert_ok(kept_from_masks(&kept, &source, &target, &m.z, &e), &e);
	assert_int_equal(kept.layers[1], 1);
	kept_release(&kept);
}

static void bad_layer_lists_are_refused(void **state)
{
	const struct arch source = arch_of(&variants[0]);
	struct kept kept;
	struct err e;
	(void)state;
	assert_fails(kept_from_layers(&kept, &source, NULL, 0, &e), &e, "none listed");
	assert_fails(kept_from_layers(&kept, &source, (int[]){0, 3}, 2, &e), &e, "3 is not a layer of the source, which has 0 to 2");
	assert_fails(kept_from_layers(&kept, &source, (int[]){-1}, 1, &e), &e, "-1 is not a layer");
	assert_fails(kept_from_layers(&kept, &source, (int[]){1, 1}, 2, &e), &e, "1 after 1");
	assert_fails(kept_from_layers(&kept, &source, (int[]){2, 0}, 2, &e), &e, "0 after 2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(masked_equals_cut_for_every_family_and_target),
		cmocka_unit_test(one_wrong_element_is_seen),
		cmocka_unit_test(a_head_folded_twice_is_seen),
		cmocka_unit_test(kept_layers_are_copied_whole),
		cmocka_unit_test(nothing_cut_is_a_copy),
		cmocka_unit_test(wrong_counts_are_refused_by_name),
		cmocka_unit_test(rows_of_dropped_layers_do_not_count),
		cmocka_unit_test(bad_layer_lists_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

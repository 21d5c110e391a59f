/* recipes/calibrate.c: what a pass over several batches finds is what its batches found, and the gradients of taylor ask for no
 * more memory than a training step. The scores of one batch: tests/test_importance.c */
#include "tests/cut_world.h"

#include "recipes/calibrate.h"

/* ---- memory ---- */

/* Without evaluation and backend, which both have. */
static size_t learning(const size_t bytes[MEMORY_OWNERS])
{
	return session_total(bytes) - bytes[MEMORY_EVALUATION] - bytes[MEMORY_BACKEND];
}

static const struct {
	int L, C, F, NH, NKV, V, sequences, T;
} sizes[] = {{3, 24, 20, 6, 2, 61, 1, 5}, {3, 24, 20, 6, 2, 61, 8, 64}, {6, 192, 512, 6, 2, 4096, 8, 256}, {2, 128, 2048, 4, 4, 300, 4, 33}, {1, 64, 64, 2, 1, 32000, 2, 16}};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static void taylor_needs_no_more_than_a_training_step(void **state)
{
	struct bench b = bench_open();
	struct err e;
	double closest = 0;
	(void)state;
	for (int v = 0; v < N_VARIANTS; v++)
		for (int i = 0; i < N_SIZES; i++)
			for (int layers = 0; layers < LAYERS_METHODS; layers++) {
				struct arch a = arch_of(&variants[v]);
				struct param_layout p;
				size_t taylor[MEMORY_OWNERS], step[MEMORY_OWNERS];
				double flops;
				a.shape = (struct shape){.L = sizes[i].L, .C = sizes[i].C, .F = sizes[i].F, .NH = sizes[i].NH, .NKV = sizes[i].NKV,
							 .HD = sizes[i].C / sizes[i].NH, .V = sizes[i].V};
				a.max_positions = sizes[i].T;
				assert_ok(param_layout_init(&p, &a, &e), &e);
				struct calibration c = {.ops = b.ops, .layout = &p, .T = sizes[i].T, .sequences = sizes[i].sequences, .n_batches = 1};
				struct session_options o = {.ops = b.ops, .eval_ops = b.ops, .arch = &a, .student = student_default(), .eval_sequence_length = sizes[i].T};
				o.student.B = sizes[i].sequences;
				o.student.T = sizes[i].T;
				assert_ok(calibrate_price(&c, IMPORTANCE_TAYLOR, (enum layers_method)layers, taylor, &flops, &e), &e);
				assert_ok(session_price(&o, step, &e), &e);
				double share = (double)learning(taylor) / (double)learning(step);
				if (share > 1)
					fail_msg("%s, size %d, layers by %s: taylor owns %.2f times the bytes of a training step", variants[v].name, i,
						 layers_method_name((enum layers_method)layers), share);
				closest = fmax(closest, share);
				/* gradients are there, on the device and for the scores */
				assert_true(layers != LAYERS_OWN || taylor[MEMORY_GRADIENTS] >= 2 * p.n_elems * sizeof(float));
				param_layout_release(&p);
			}
	print_message("measured: at most %.2f of a training step\n", closest);
	bench_close(&b);
}

/* ---- batches ---- */

static const char text[] = "sequence_length: 32\nheldout_tokens: 512\ntokenizer: {train_vocabulary: 300}\n"
			   "domains: {made: {generate: {seed: 3, documents: 60, eval_documents: 5}}}\n";

struct world {
	struct test_path dir;
	struct yaml_tree tree;
	struct pool pool;
	struct corpus corpus;
	struct ops *ops;
	struct param_layout layout;
	float *weights;
};

static void world_open(struct world *w)
{
	struct arch a = arch_of(&variants[3]);
	struct data_spec *spec;
	struct err e;
	*w = (struct world){.dir = test_dir_make()};
	assert_ok(yaml_parse_text(&w->tree, "data.yaml", text, strlen(text), &e), &e);
	assert_ok(section_parse((void **)&spec, &data_section, w->tree.root, &w->pool, &e), &e);
	assert_ok(corpus_open(&w->corpus, spec, w->dir.text, NULL, &e), &e);
	a.shape.V = 300;
	assert_ok(param_layout_init(&w->layout, &a, &e), &e);
	w->weights = random_weights(&w->layout);
	assert_ok(ops_cpu_open(&w->ops, &(struct ops_options){.n_threads = 1}, &e), &e);
}

static void world_close(struct world *w)
{
	ops_cpu_close(w->ops);
	param_layout_release(&w->layout);
	free(w->weights);
	corpus_close(&w->corpus);
	yaml_release(&w->tree);
	pool_release(&w->pool);
	test_dir_remove(&w->dir);
}

/* Batches [first, first + n) of four sequences. */
static struct scores scores_of(const struct world *w, enum importance_method m, enum layers_method layers, int first, int n)
{
	const struct calibration c = {.ops = w->ops, .layout = &w->layout, .weights = w->weights, .corpus = &w->corpus, .seed = 5,
				      .skip_tokens = first * 4 * 32, .T = 32, .sequences = 4, .n_batches = n};
	struct scores x;
	struct err e;
	assert_ok(calibrate_scores(&c, m, layers, &x, &e), &e);
	assert_int_equal(x.tokens, calibrate_needs_text(m, layers) ? n * 4 * 32 : 0);
	return x;
}

/* FFN channels: taylor is a sum over batches, an activation norm is L2 over sequences, influence a mean over rows. */
static void batches_add_up(void **state)
{
	const enum importance_method methods[] = {IMPORTANCE_TAYLOR, IMPORTANCE_ACTIVATION};
	struct world w;
	(void)state;
	world_open(&w);
	for (int k = 0; k < 2; k++) {
		struct scores one = scores_of(&w, methods[k], LAYERS_INFLUENCE, 0, 1), two = scores_of(&w, methods[k], LAYERS_INFLUENCE, 1, 1);
		struct scores both = scores_of(&w, methods[k], LAYERS_INFLUENCE, 0, 2);
		int apart = 0;
		for (int i = 0; i < source_shape.L * source_shape.F; i++) {
			double a = (double)one.ffn[i], b = (double)two.ffn[i];
			assert_close(both.ffn[i], k ? sqrt(a * a + b * b) : a + b, 0, 1e-5);
			apart += fabs(a - b) > 1e-3 * a;
		}
		assert_true(apart > source_shape.L * source_shape.F / 2);
		for (int l = 0; l < source_shape.L; l++)
			assert_close(both.layers[l], 0.5f * one.layers[l] + 0.5f * two.layers[l], 0, 1e-5);
		scores_release(&one);
		scores_release(&two);
		scores_release(&both);
	}
	world_close(&w);
}

/* Layers are left out in a pass of their own: beside gradients or none, the same text gives the same bits. */
static void layers_are_left_out_beside_any_method(void **state)
{
	const enum importance_method methods[] = {IMPORTANCE_MAGNITUDE, IMPORTANCE_WANDA, IMPORTANCE_TAYLOR};
	struct world w;
	(void)state;
	world_open(&w);
	struct scores one = scores_of(&w, IMPORTANCE_RANDOM, LAYERS_KL, 0, 1), two = scores_of(&w, IMPORTANCE_RANDOM, LAYERS_KL, 1, 1);
	for (int k = 0; k < 3; k++) {
		struct scores both = scores_of(&w, methods[k], LAYERS_KL, 0, 2), own = scores_of(&w, methods[k], LAYERS_OWN, 0, 2);
		for (int l = 0; l < source_shape.L; l++) {
			assert_true(one.layers[l] > 0 && one.layers[l] != two.layers[l]);
			assert_close(both.layers[l], 0.5f * one.layers[l] + 0.5f * two.layers[l], 0, 1e-5);
		}
		assert_memory_equal(both.ffn, own.ffn, (size_t)(source_shape.L * source_shape.F) * sizeof *both.ffn);
		scores_release(&both);
		scores_release(&own);
	}
	scores_release(&one);
	scores_release(&two);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taylor_needs_no_more_than_a_training_step),
		cmocka_unit_test(batches_add_up),
		cmocka_unit_test(layers_are_left_out_beside_any_method),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

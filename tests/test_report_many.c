/* results/report*.c, figures.c, figure_cache.c, sections.c with many students of several seeds, distilled and cached. */
#include "tests/report_world.h"

#include "base/json.h"
#include "results/plot.h"

enum { N_SEEDS = 3 };

/* One result of a student of the same start, seed 17 + k. */
static struct result *add_seed(struct world *w, const char *name, double nll, int k)
{
	struct result *r = add(w, name, "layers", nll + 0.012 * noise(77, (uint64_t)w->n), false);
	r->seed = 17 + (uint64_t)k;
	strcpy(r->init_id, "5e1f");
	return r;
}

static void distil(struct result *r, const char *text, double ce)
{
	r->distill = (struct result_distill){.present = true, .teacher_ce = 1.52, .ce = ce, .agree = 0.61};
	snprintf(r->distill.text, sizeof r->distill.text, "%s", text);
}

static void add_teacher(struct world *w)
{
	struct result *t = add(w, "teacher", "", 1.78, false);
	strcpy(t->role, "teacher");
	t->trained = false;
	t->metrics[0] = '\0';
	t->heldout_nll = 1.79;
}

static void fill_losses(struct world *w)
{
	static const char *const names[] = {"forward_kl", "reverse_kl", "symmetric_kl", "jsd", "jsd_normalized", "skew_forward_kl",
					    "skew_reverse_kl", "adaptive_kl", "alpha_beta", "total_variation", "logit_mse",
					    "hidden_cosine", "hidden_mse", "relations", "distilbert"};
	add_teacher(w);
	for (int k = 0; k < N_SEEDS; k++)
		add_seed(w, "text", 2.60, k);
	for (int i = 0; i < 15; i++)
		for (int k = 0; k < N_SEEDS; k++) {
			char text[200];
			double nll = 2.40 + 0.02 * i - 0.05 * (i % 3);
			snprintf(text, sizeof text, i < 11 ? "%s w 0.9 tau 1" : "ce 0.1; forward_kl w 0.9 tau 1; %s w 1 layers 3", names[i]);
			distil(add_seed(w, names[i], nll, k), text, nll - 0.1);
		}
}

static void fill_caches(struct world *w)
{
	static const struct {
		const char *name, *text;
		double bytes, mass, loss;
	} caches[] = {{"k8_tail", "top_k 8, tail", 33, 0.91, 0.03}, {"k8_zero", "top_k 8, zero", 33, 0.91, 0.08},
		      {"k32_zero", "top_k 32, zero", 110, 0.97, 0.03}, {"k128_tail", "top_k 128, tail", 400, 0.993, 0.001},
		      {"k32_tail", "top_k 32, tail", 110, 0.97, 0.008}, {"sampled_32", "samples 32", 120, 0, 0.02},
		      {"sampled_128", "samples 128", 420, 0, 0.004}, {"hidden_bf16", "hidden, bf16", 300, 1, 0}};
	add_teacher(w);
	for (int k = 0; k < N_SEEDS; k++) {
		add_seed(w, "text", 2.60, k);
		distil(add_seed(w, "online", 2.40, k), "forward_kl w 0.9 tau 1", 2.3);
		for (size_t i = 0; i < sizeof caches / sizeof *caches; i++) {
			struct result *r = add_seed(w, caches[i].name, 2.40 + caches[i].loss, k);
			distil(r, "forward_kl w 0.9 tau 1", 2.3);
			r->distill.cached = true;
			snprintf(r->distill.cache, sizeof r->distill.cache, "%s", caches[i].text);
			r->distill.cache_bytes_per_token = caches[i].bytes;
			r->distill.cache_mass = caches[i].mass;
		}
	}
}

static void write_report(struct world *w)
{
	struct err e;
	struct comparison *c = compare(w);
	struct report_options o = report_default();
	o.title = "many";
	o.dir = w->dir.text;
	assert_ok(report_write(c, &o, &e), &e);
	compare_free(c);
}

static char *print_summary(struct world *w)
{
	struct err e;
	char *text;
	size_t n;
	struct comparison *c = compare(w);
	FILE *f = open_memstream(&text, &n);
	assert_ok(compare_print(c, f, &e), &e);
	fclose(f);
	compare_free(c);
	return text;
}

static void every_loss(void **state)
{
	struct world *w = *state;
	fill_losses(w);
	write_report(w);
	char *md = read_text(w, "report.md"), *html = read_text(w, "report.html"), *summary = print_summary(w);
	static const char *const parts[] = {"Did distillation help?", "kl w 0.9 tau 1", "s.d. of seeds", "What it cost", "Seeds",
					    "text", "teacher's CE"};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		assert_holds(md, parts[i]);
		assert_holds(summary, parts[i]);
	}
	assert_holds(html, "Did distillation help?");
	assert_holds(md, "Distillation beat text alone at equal tokens in ");
	assert_holds(html, "Distillation beat text alone at equal tokens in ");
	assert_null(strstr(md, "Teacher cache"));
	assert_null(strstr(summary, "Learning rates"));
	assert_holds(md, "Learning rates");
	free(md);
	free(html);
	free(summary);
}

static void caches(void **state)
{
	struct world *w = *state;
	json_t *j;
	struct err e;
	fill_caches(w);
	write_report(w);
	char *md = read_text(w, "report.md");
	assert_holds(md, "## Teacher cache");
	assert_holds(md, "top\\_k 8, tail");
	if (plot_available()) {
		char *svg = read_text(w, "cache.svg");
		assert_holds(svg, "top_k, tail<");
		assert_holds(svg, "top_k, zero<");
		assert_holds(svg, "samples<");
		assert_holds(svg, "hidden, bf16<");
		assert_holds(svg, "online<");
		assert_holds(md, "(cache.svg)");
		assert_holds(md, "(cache-1.svg)");
		free(svg);
	}
	free(md);
	assert_ok(json_read_file(test_join(&w->dir, "report.json").text, &j, &e), &e);
	assert_non_null(strstr(json_string_value(json_object_get(j, "distillation")), "beat text alone"));
	json_t *pairs = json_object_get(j, "caches"), *first = json_array_get(pairs, 0);
	assert_int_equal(json_array_size(pairs), 8);
	assert_int_equal(json_array_size(json_object_get(j, "controls")), 9);
	assert_string_equal(json_string_value(json_object_get(first, "student")), "k8_tail");
	assert_string_equal(json_string_value(json_object_get(first, "other")), "online");
	json_t *cell = json_object_get(json_object_get(first, "difference"), "stories");
	assert_true(json_number_value(json_object_get(cell, "deviation")) > 0);
	assert_int_equal(json_array_size(json_object_get(cell, "interval")), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(j, "controls"), 0), "other")), "text");
	json_decref(j);
}

/* Students of one init and seed have the same masks: one figure, which names them. */
static void shared_masks_are_drawn_once(void **state)
{
	struct world *w = *state;
	static const char *const names[] = {"sheared", "sheared_ce"};
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 2; k++)
			add(w, names[i], "masks", 2, true)->seed = (uint64_t)k;
	struct comparison *c = compare(w);
	struct curves s;
	struct err e;
	char list[64];
	test_write(test_join(&w->dir, w->results[1]->masks_metrics).text, "step,hidden_target,hidden_expected\n0,192,192\n1,128,150\n");
	test_write(test_join(&w->dir, w->results[3]->masks_metrics).text, "step,hidden_target,hidden_expected\n0,192,192\n1,128,150\n");
	assert_ok(curves_read(&s, c, &e), &e);
	assert_ptr_equal(figure_masks_of(&s, 0), w->results[0]);
	assert_ptr_equal(figure_masks_of(&s, 1), w->results[1]);
	assert_null(figure_masks_of(&s, 2));
	assert_int_equal(s.n_masks, 4);
	curves_masks_names(&s, w->results[1], list, sizeof list);
	assert_string_equal(list, "sheared, sheared_ce");
	curves_release(&s);
	compare_free(c);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(every_loss),
		WORLD_TEST(caches),
		WORLD_TEST(shared_masks_are_drawn_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Results with metrics, as a run leaves them, for the tests of the report. */
#ifndef TESTS_REPORT_WORLD_H
#define TESTS_REPORT_WORLD_H

#include "tests/results_world.h"

#include "base/rng.h"
#include "results/report.h"

static inline double noise(uint64_t a, uint64_t b)
{
	return (double)rng_normal(4, RNG_TEST, a, b);
}

static inline void score(struct result_eval *v, const char *domain, size_t n, double nll, uint64_t seed)
{
	struct err e;
	snprintf(v->domain, sizeof v->domain, "%s", domain);
	v->scores = (struct evaluation){.sequence_length = 512, .stride = 256, .data_hash = n, .dtype = "fp32", .has_teacher = true,
					.seconds = 1.5, .rows = 40000, .memory_bytes = 9 << 20};
	for (uint32_t i = 0; i < n; i++) {
		uint32_t tokens = 80 + rng_below(4, RNG_TEST, 0, i, 200);
		struct document_score d = {.nll = tokens * (nll + 0.35 * noise(1, i) + 0.04 * noise(2 + seed, i)), .tokens = tokens,
					   .kl = 0.3 * tokens, .agree = tokens / 2, .bytes = 4 * tokens};
		assert_ok(evaluation_add(&v->scores, &d, &e), &e);
	}
	assert_ok(evaluation_finish(&v->scores, &e), &e);
}

static inline void write_metrics(const struct world *w, const struct result *r, double last)
{
	struct err e;
	struct fsio_writer f;
	assert_ok(fsio_writer_open(&f, test_join(&w->dir, r->metrics).text, &e), &e);
	fsio_printf(&f, &e, "step,tokens,lr,loss,ce,kl,grad_norm,agree,heldout_nll,tokens_per_s\n");
	double budget = r->train.tokens - r->train.init_tokens;
	for (int i = 0; i <= 200; i++) {
		double x = i / 200.0, nll = last + (8.3 - last) * exp(-9 * x) * (r->init[0] == 'r' ? 1 : 0.3) + 0.3 * (1 - x);
		fsio_printf(&f, &e, "%d,%.0f,0.001,%.4f,%.4f,,1.0,,", i, x * budget, nll, nll);
		fsio_printf(&f, &e, i % 10 ? ",1000\n" : "%.4f,1000\n", nll);
	}
	assert_ok(fsio_writer_commit(&f, &e), &e);
}

static inline void write_masks(const struct world *w, const struct result *r)
{
	struct err e;
	struct fsio_writer f;
	assert_ok(fsio_writer_open(&f, test_join(&w->dir, r->masks_metrics).text, &e), &e);
	fsio_printf(&f, &e, "step,tokens,loss,ce,heldout_nll,unmasked_nll,hidden_target,hidden_expected,hidden_lambda1,layers_target,"
		    "layers_expected,ffn_target,ffn_expected,lonely_target\n");
	for (int i = 0; i < 300; i++) {
		double warm = fmin(1, i / 60.0), lag = fmin(1, fmax(0, (i - 20) / 80.0));
		fsio_printf(&f, &e, "%d,%d,3,3,%.4f,2,%.2f,%.2f,0.1,%.3f,%.3f,%.1f,%.1f,1\n", i, i * 5000, 2.4 + 0.6 * lag,
			    192 - 64 * warm, 192 - 64 * lag + noise(1, (uint64_t)i), 6 - 2 * warm, 6 - 2 * lag, 512 - 192 * warm,
			    512 - 192 * lag + 4 * noise(2, (uint64_t)i));
	}
	assert_ok(fsio_writer_commit(&f, &e), &e);
}

static inline struct result *add(struct world *w, const char *name, const char *init, double nll, bool masks)
{
	struct result *r = result_new();
	uint64_t id = (uint64_t)w->n;
	w->results[w->n++] = r;
	snprintf(r->name, sizeof r->name, "%s", name);
	snprintf(r->init, sizeof r->init, "%s", init);
	snprintf(r->dir, sizeof r->dir, "%s", w->dir.text);
	snprintf(r->metrics, sizeof r->metrics, "metrics-%d.csv", w->n);
	r->seed = 17;
	r->shape = (struct shape){.L = 4, .C = 128, .F = 320, .NH = 4, .NKV = 2, .HD = 32, .V = 4096};
	r->parameters = 1214720;
	r->bytes = 4859000;
	r->flops_per_token = 2.6e6;
	r->tokens_per_s = 51234;
	r->trained = true;
	r->train = (struct result_train){.tokens = 5e6, .init_tokens = masks ? 1.5e6 : 0, .unique_tokens = 1.05e6, .epochs = 4.76,
					 .total_flops = 9.1e13, .lr = 2e-3, .n_candidates = 3,
					 .candidates = {{1e-3, nll + 0.1}, {2e-3, nll}, {4e-3, nll + 0.05}}};
	r->stamp = (struct result_stamp){.commit = "0123456789ab", .device = "a processor, AVX-512", .dtype = "fp32",
					 .started = "2026-01-01T00:00:00Z", .recipe = "stories3m", .recipe_hash = "00ff", .threads = 2};
	score(&r->evals[0], "stories", 400, nll, id);
	score(&r->evals[1], "books", 21, nll + 1.2, id + 10);
	r->n_evals = 2;
	write_metrics(w, r, nll);
	if (masks) {
		snprintf(r->masks_metrics, sizeof r->masks_metrics, "masks-%d.csv", w->n);
		write_masks(w, r);
	}
	return r;
}

static inline struct comparison *compare(struct world *w)
{
	struct comparison *c;
	struct err e;
	struct compare_options o = compare_default();
	o.bootstrap.resamples = 1000;
	assert_ok(compare_results(&c, w->results, w->n, &o, &e), &e);
	return c;
}

static inline char *read_text(const struct world *w, const char *file)
{
	char *text;
	struct err e;
	assert_ok(fsio_read_file(test_join(&w->dir, file).text, 64 << 20, &text, NULL, &e), &e);
	return text;
}

static inline void assert_holds(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("not in the report: %s", part);
}

#endif

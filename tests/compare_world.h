/* Students with scores made by hand, and their comparison. */
#ifndef TESTS_COMPARE_WORLD_H
#define TESTS_COMPARE_WORLD_H

#include "tests/results_world.h"

#include "base/rng.h"
#include "results/compare.h"

/* Document i is as hard for everybody; a student is `worse` nat per token worse, give or take noise. */
static inline void score_documents(struct result_eval *v, const char *domain, size_t n, double worse, uint64_t noise, uint64_t data)
{
	struct err e;
	snprintf(v->domain, sizeof v->domain, "%s", domain);
	v->scores = (struct evaluation){.sequence_length = 256, .stride = 128, .data_hash = data, .dtype = "fp32"};
	for (uint32_t i = 0; i < n; i++) {
		uint32_t tokens = 50 + rng_below(9, RNG_TEST, 0, i, 200);
		double hard = 2 + 0.5 * (double)rng_normal(9, RNG_TEST, 1, i);
		double own = worse + 0.01 * (double)rng_normal(9, RNG_TEST, 2 + noise, i);
		struct document_score d = {.nll = tokens * (hard + own), .tokens = tokens, .bytes = 4 * tokens};
		assert_ok(evaluation_add(&v->scores, &d, &e), &e);
	}
	assert_ok(evaluation_finish(&v->scores, &e), &e);
}

static inline struct result *add_student(struct world *w, const char *name, uint64_t seed, size_t parameters, double worse)
{
	struct result *r = result_new();
	assert_non_null(r);
	w->results[w->n++] = r;
	snprintf(r->name, sizeof r->name, "%s", name);
	snprintf(r->init, sizeof r->init, "%s", strstr(name, "scratch") ? "random" : "masks");
	snprintf(r->model, sizeof r->model, "model");
	snprintf(r->metrics, sizeof r->metrics, "metrics.csv");
	snprintf(r->dir, sizeof r->dir, "%s", name);
	r->seed = seed;
	r->shape = (struct shape){.L = 4, .C = 128, .F = 320, .NH = 4, .NKV = 2, .HD = 32, .V = 4096};
	r->parameters = parameters;
	r->bytes = 4 * parameters;
	r->flops_per_token = 2.5 * (double)parameters;
	r->tokens_per_s = 12345;
	r->trained = true;
	r->train = (struct result_train){.tokens = 5e6, .init_tokens = 1.5e6, .unique_tokens = 1e6, .epochs = 3.5,
					 .total_flops = 1e14, .lr = 1e-3, .n_candidates = 2,
					 .candidates = {{1e-3, 1.9}, {2e-3, NAN}}};
	r->stamp = (struct result_stamp){.commit = "abc", .device = "a CPU", .dtype = "fp32", .threads = 2, .seed = seed};
	score_documents(&r->evals[0], "stories", 100, worse, w->n == 1 ? 50 : (uint64_t)w->n, 77);
	r->n_evals = 1;
	return r;
}

static inline struct comparison *compare(struct world *w, const char *reference)
{
	struct comparison *c;
	struct err e;
	struct compare_options o = compare_default();
	o.bootstrap.resamples = 1000;
	o.references = &reference;
	o.n_references = reference != NULL;
	assert_ok(compare_results(&c, w->results, w->n, &o, &e), &e);
	return c;
}

static inline const struct compare_row *row_of(const struct comparison *c, const char *name)
{
	for (int i = 0; i < c->n_rows; i++)
		if (!strcmp(c->rows[i].name, name))
			return &c->rows[i];
	fail_msg("no row %s", name);
	return NULL;
}

static inline bool noted(const struct comparison *c, const char *part)
{
	for (int i = 0; i < c->n_notes; i++)
		if (strstr(c->notes[i], part))
			return true;
	return false;
}

#endif

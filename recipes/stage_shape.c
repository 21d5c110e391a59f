#include "recipes/stage_shape.h"

#include "base/fsio.h"
#include "base/hash.h"
#include "base/log.h"
#include "recipes/init_importance.h"
#include "recipes/shape_choice.h"
#include "recipes/shape_sensitivity.h"
#include "recipes/shape_times.h"
#include "recipes/shape_trial.h"
#include "recipes/stage.h"
#include "results/shape_search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)SPACE_MEASURES == (int)SHAPE_SEARCH_MEASURES && (int)SPACE_DECODE_MS == (int)SHAPE_SEARCH_DECODE_MS, "one list of measures");

struct searching {
	const struct run *run;
	const struct source *from;
	const struct shape_spec *spec;
	const struct arch *source; /* from's */
	char *dir, *scores_file;
	uint64_t seed;
	struct scores scores;
	float *weights;            /* (source's n_elems) */
	struct space_options options;
	struct time_model line;
	struct shape_times times;
	struct space space;
	struct sensitivity sensitivity;
	double *predicted;         /* (space.n) */
	int picked[SHAPE_SEARCH_MAX];
	struct shape_search *found;
};

/* ---- identity ---- */

static const struct shape_spec *budget_of(const struct run *run, const struct init_spec *init)
{
	if (!init->masks && !init->importance && !init->random)
		return NULL;
	const struct shape_spec *s = target_spec(run->spec, init_target(init));
	return shape_is_budget(s) ? s : NULL;
}

static char *search_dir(const struct run *run, uint64_t key)
{
	return path_format("%s/shapes/%08x", run->dir, (unsigned)key);
}

char *stage_shape_file(const struct run *run, const struct init_spec *init, const struct arch *source)
{
	const struct shape_spec *s = budget_of(run, init);
	if (!s)
		return NULL;
	char *dir = search_dir(run, shape_key(run->spec, s, source)), *file = path_format("%s/shape.json", dir);
	free(dir);
	return file;
}

static int add_scores(json_t *inputs, const char *file, struct err *e)
{
	uint64_t hash;
	if (!file)
		return 0;
	if (hash_file(file, &hash, e) < 0)
		return -1;
	json_object_set_new(inputs, "scores", stage_hash_json(hash));
	return 0;
}

static json_t *search_inputs(const struct searching *s, struct err *e)
{
	const struct run *run = s->run;
	struct batches *b = NULL;
	if (corpus_batches(&run->corpus, s->seed, &b, e) < 0)
		return NULL;
	json_t *inputs = json_pack("{s:o,s:o,s:o,s:o,s:I,s:I,s:s}", "budget", stage_hash_json(shape_key(run->spec, s->spec, s->source)), "source",
				   stage_hash_json(s->from->hash), "data", stage_hash_json(batches_hash(b)), "teachers",
				   stage_hash_json(phase_teachers_hash(run, s->spec->search->train->distill)), "seed", (json_int_t)s->seed,
				   "spent_tokens", (json_int_t)s->from->spent_tokens, "compute", run->spec->compute == COMPUTE_BF16 ? "bf16" : "fp32");
	batches_close(b);
	if (add_scores(inputs, s->spec->search->init->scores, e) < 0) {
		json_decref(inputs);
		return NULL;
	}
	return inputs;
}

/* ---- what is known before anything is trained ---- */

static int take_scores(struct searching *s, struct err *e)
{
	const struct importance_spec *spec = s->spec->search->init;
	struct importance_price price;
	s->weights = malloc(s->from->model->layout.n_elems * sizeof *s->weights);
	if (!s->weights)
		return err_run(e, "out of memory: %zu bytes for the weights of %s", s->from->model->layout.n_elems * sizeof *s->weights, s->from->dir);
	hf_read_f32(s->from->model, s->weights);
	if (importance_scores(s->run, s->from, spec, s->weights, s->seed, s->dir, &s->scores, e) < 0 ||
	    importance_price(s->run, s->from, spec, &price, e) < 0)
		return -1;
	s->found->tokens += (double)price.tokens;
	s->found->flops += price.flops;
	return 0;
}

static bool is_timed(const struct searching *s)
{
	return s->options.limit[SPACE_PREFILL_MS] > 0 || s->options.limit[SPACE_DECODE_MS] > 0;
}

static int time_some(struct searching *s, struct err *e)
{
	struct arch probes[TIME_PROBES];
	const struct space_options *o = &s->options;
	int hidden = o->hidden_multiple ? o->hidden_multiple : space_multiple(s->source->shape.C), ignored;
	int ffn = o->intermediate_multiple ? o->intermediate_multiple : space_multiple(s->source->shape.F);
	if (!is_timed(s))
		return 0;
	time_probes(s->source, hidden, ffn, probes);
	TRY(shape_times_open(&s->times, s->run, s->dir, s->options.length, s->options.batch, e));
	for (int i = 0; i < TIME_PROBES; i++)
		TRY(shape_times_take(&s->times, &probes[i], &ignored, e));
	s->options.time = &s->line;
	return 0;
out:
	return -1;
}

static int open_space(struct searching *s, struct err *e)
{
	struct err why;
	space_close(&s->space);
	if (is_timed(s))
		shape_times_fit(&s->times, &s->line);
	if (space_open(&s->space, s->source, &s->options, &why) < 0)
		return yaml_caret(e, s->spec->at, "%s", why.line);
	return 0;
}

/* ---- candidates ---- */

static struct arch arch_of(const struct searching *s, const struct shape *shape)
{
	struct arch a = *s->source;
	a.shape = *shape;
	return a;
}

static int predict(struct searching *s, struct err *e)
{
	free(s->predicted);
	s->predicted = malloc((size_t)s->space.n * sizeof *s->predicted);
	if (!s->predicted)
		return err_run(e, "out of memory: predictions for %d shapes", s->space.n);
	for (int i = 0; i < s->space.n; i++)
		s->predicted[i] = s->sensitivity.source_nll + sensitivity_predict(&s->sensitivity, &s->space.shapes[i].shape);
	return 0;
}

static void list_candidate(struct searching *s, int i)
{
	const struct space_shape *x = &s->space.shapes[i];
	struct shape_candidate *c = &s->found->candidates[s->found->n++];
	*c = (struct shape_candidate){.shape = x->shape, .predicted_nll = s->predicted[i]};
	memcpy(c->predicted, x->cost, sizeof c->predicted);
	memcpy(c->achieved, x->cost, SHAPE_SEARCH_PREFILL_MS * sizeof *c->achieved);
}

static int time_candidate(struct searching *s, struct shape_candidate *c, struct err *e)
{
	const struct arch a = arch_of(s, &c->shape);
	int i;
	if (!is_timed(s))
		return 0;
	if (shape_times_take(&s->times, &a, &i, e) < 0)
		return -1;
	c->achieved[SHAPE_SEARCH_PREFILL_MS] = s->times.prefill_ms[i];
	c->achieved[SHAPE_SEARCH_DECODE_MS] = s->times.decode_ms[i];
	for (int m = SHAPE_SEARCH_PREFILL_MS; m < SHAPE_SEARCH_MEASURES; m++)
		c->missed |= s->options.limit[m] > 0 && c->achieved[m] > (1 + SHAPE_TIME_TOLERANCE) * s->options.limit[m];
	return 0;
}

/* Returns how many miss the budget. */
static int pick(struct searching *s, struct err *e)
{
	int k = (int)s->spec->search->candidates, missed = 0;
	if (predict(s, e) < 0)
		return -1;
	int n = space_pick(&s->space, &s->source->shape, s->predicted, k, s->picked);
	s->found->n = 0;
	for (int i = 0; i < n; i++) {
		list_candidate(s, s->picked[i]);
		if (time_candidate(s, &s->found->candidates[i], e) < 0)
			return -1;
		missed += s->found->candidates[i].missed;
	}
	return missed;
}

static int find_candidates(struct searching *s, struct err *e)
{
	char *file = path_format("%s/sensitivity.json", s->dir);
	int rc = -1, missed = 0;
	TRY(time_some(s, e));
	TRY(open_space(s, e));
	TRY(sensitivity_measure(&s->sensitivity, s->run, s->from, &s->space, &s->scores, s->weights, file, e));
	for (int round = 0; round == 0 || (missed && round < SHAPE_ROUNDS); round++) {
		if (round)
			TRY(open_space(s, e));
		missed = pick(s, e);
		TRY(missed);
	}
	if (missed == s->found->n) {
		err_run(e, "none of the %d candidates keeps the budget when it is timed: raise the limit, or search.candidates", missed);
		goto out;
	}
	s->found->n_shapes = s->space.n;
	s->found->slack = s->space.slack;
	s->found->source_nll = s->sensitivity.source_nll;
	s->found->flops += s->sensitivity.flops;
	rc = 0;
out:
	free(file);
	return rc;
}

/* ---- trials ---- */

static char *trial_dir(const struct searching *s, const struct shape *x)
{
	return path_format("%s/%dx%d-%d-%d-%d", s->dir, x->L, x->C, x->NH, x->NKV, x->F);
}

static int try_candidate(struct searching *s, int i, struct err *e)
{
	struct shape_candidate *c = &s->found->candidates[i];
	char *dir = trial_dir(s, &c->shape);
	struct shape_trial t = {.run = s->run, .from = s->from, .spec = s->spec->search, .scores = s->scores_file, .dir = dir,
				.arch = arch_of(s, &c->shape), .seed = s->seed, .number = i + 1, .of = s->found->n};
	int rc = shape_trial_run(&t, e);
	free(dir);
	c->achieved[SPACE_PARAMETERS] = t.parameters;
	c->nll = t.nll;
	c->trained_nll = t.trained_nll;
	s->found->tokens += t.tokens;
	s->found->flops += t.flops;
	return rc;
}

/* Trained ones by their loss, of equal losses the better prediction first; then those that were not trained. */
static int by_loss(const void *pa, const void *pb)
{
	const struct shape_candidate *a = pa, *b = pb;
	if (a->missed != b->missed)
		return a->missed - b->missed;
	if (a->trained_nll != b->trained_nll)
		return a->trained_nll < b->trained_nll ? -1 : 1;
	return (a->predicted_nll > b->predicted_nll) - (a->predicted_nll < b->predicted_nll);
}

static int rank(struct shape_search *f, struct err *e)
{
	qsort(f->candidates, (size_t)f->n, sizeof *f->candidates, by_loss);
	if (!isfinite(f->candidates[0].trained_nll))
		return err_run(e, "the loss of every candidate diverges: lower search.train.lr");
	f->candidates[0].chosen = true;
	for (int i = 0; i < f->n && !f->candidates[i].missed; i++)
		f->candidates[i].rank = i + 1;
	return 0;
}

static int try_all(struct searching *s, struct err *e)
{
	for (int i = 0; i < s->found->n; i++)
		if (!s->found->candidates[i].missed && try_candidate(s, i, e) < 0)
			return -1;
	return rank(s->found, e);
}

static int clear(const struct searching *s, struct err *e)
{
	for (int i = 0; i < s->found->n; i++) {
		char *dir = trial_dir(s, &s->found->candidates[i].shape);
		int rc = shape_trial_clear(dir, e);
		free(dir);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* ---- the stage ---- */

static void describe(struct searching *s, uint64_t id)
{
	struct shape_search *f = s->found;
	hash_hex(id, f->id);
	hash_hex(s->from->hash, f->source_hash);
	f->source = s->source->shape;
	f->source_parameters = (double)arch_n_params(s->source);
	memcpy(f->limit, s->options.limit, sizeof f->limit);
	f->length = s->options.length;
	f->batch = s->options.batch;
	f->seed = s->seed;
}

static int search(struct searching *s, const char *file, struct err *e)
{
	char budget[160];
	shape_search_budget(s->found, budget, sizeof budget);
	log_line("searching the shape for %s", budget);
	TRY(take_scores(s, e));
	TRY(find_candidates(s, e));
	log_line("shape search: %d shape%s, %d candidate%s", s->found->n_shapes, s->found->n_shapes == 1 ? "" : "s", s->found->n, s->found->n == 1 ? "" : "s");
	TRY(try_all(s, e));
	TRY(shape_search_write(s->found, file, e));
	TRY(clear(s, e));
	return stage_finish(s->dir, e);
out:
	return -1;
}

static int choose(const struct searching *s, uint64_t key, const char *file, struct err *e)
{
	for (int i = 0; i < s->found->n; i++) {
		const struct shape_candidate *c = &s->found->candidates[i];
		if (!c->chosen)
			continue;
		log_line("shape: %d layers, hidden %d, %d/%d heads, intermediate %d", c->shape.L, c->shape.C, c->shape.NH, c->shape.NKV, c->shape.F);
		return shape_choose(s->run->shapes, key, &c->shape, e);
	}
	return err_run(e, "%s: no candidate is chosen: remove it, and the search runs again", file);
}

static uint64_t hash_of(const json_t *inputs)
{
	char *text = json_dumps(inputs, JSON_COMPACT | JSON_SORT_KEYS);
	BUG_ON(!text);
	uint64_t h = hash_bytes(text, strlen(text));
	free(text);
	return h;
}

static int run_search(struct searching *s, uint64_t key, struct err *e)
{
	char *file = path_format("%s/shape.json", s->dir);
	json_t *inputs = search_inputs(s, e);
	bool done;
	int rc = -1;
	if (!inputs)
		goto out;
	describe(s, hash_of(inputs));
	TRY(stage_begin(s->dir, inputs, &done, e));
	if (done) {
		free(s->found);
		TRY(shape_search_read(&s->found, file, e));
	} else {
		TRY(search(s, file, e));
	}
	TRY(choose(s, key, file, e));
	rc = 0;
out:
	free(file);
	return rc;
}

static void release(struct searching *s)
{
	shape_times_close(&s->times);
	space_close(&s->space);
	scores_release(&s->scores);
	free(s->predicted);
	free(s->weights);
	free(s->scores_file);
	free(s->dir);
	free(s->found);
	free(s);
}

int stage_shape(const struct run *run, const struct source *from, const struct init_spec *init, struct err *e)
{
	const struct arch *source = &from->model->layout.arch;
	if (!budget_of(run, init) || !init_stands_in(run, init, source))
		return 0;
	const struct shape_spec *spec = budget_of(run, init);
	uint64_t key = shape_key(run->spec, spec, source);
	struct searching *s = calloc(1, sizeof *s);
	BUG_ON(!s);
	*s = (struct searching){.run = run, .from = from, .spec = spec, .source = source, .dir = search_dir(run, key),
				.seed = (uint64_t)run->spec->seeds.v[0], .options = shape_space(run->spec, spec, source),
				.found = calloc(1, sizeof *s->found)};
	BUG_ON(!s->found);
	s->scores_file = path_format("%s/importance.safetensors", s->dir);
	int rc = run_search(s, key, e);
	if (rc < 0 && !run_interrupted())
		err_prefix(e, "shape search");
	release(s);
	return rc;
}

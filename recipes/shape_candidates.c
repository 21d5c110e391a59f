/* What a search for a shape does, in order. Test: tests/test_run_shapes.c through the program. */
#include "recipes/shape_searching.h"

#include "recipes/init_importance.h"
#include "recipes/shape_trial.h"
#include "recipes/stage.h"
#include "recipes/stage_shape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)SPACE_MEASURES == (int)SHAPE_SEARCH_MEASURES && (int)SPACE_DECODE_MS == (int)SHAPE_SEARCH_DECODE_MS, "one list of measures");

/* ---- what is known before anything is trained ---- */

int searching_scores(struct searching *s, struct err *e)
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
		s->predicted[i] = sensitivity_predict(&s->sensitivity, &s->space.shapes[i].shape);
	return 0;
}

/* Shapes of the space whose cut has been scored, as a space of their own. */
struct screened {
	struct space space;
	double *nll, *predicted; /* (space.n) */
};

static void list_candidate(struct searching *s, const struct screened *x, int i)
{
	const struct space_shape *shape = &x->space.shapes[i];
	struct shape_candidate *c = &s->found->candidates[s->found->n++];
	*c = (struct shape_candidate){.shape = shape->shape, .predicted_nll = x->predicted[i]};
	memcpy(c->predicted, shape->cost, sizeof c->predicted);
	memcpy(c->achieved, shape->cost, SHAPE_SEARCH_PREFILL_MS * sizeof *c->achieved);
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

static int screen_size(const struct searching *s)
{
	int n = SHAPE_SCREENED * (int)s->spec->search->candidates;
	return n < s->space.n ? n : s->space.n;
}

/* The most promising, apart from each other; their cuts are scored, the prediction fitted to them, and once more. picked: (screen_size),
 * the last round's. Returns how many. */
static int screen(struct searching *s, int *picked, struct err *e)
{
	int n = 0;
	for (int round = 0; round < SHAPE_SCREENINGS; round++) {
		double nll;
		if (predict(s, e) < 0)
			return -1;
		n = space_pick(&s->space, &s->source->shape, s->predicted, screen_size(s), picked);
		for (int i = 0; i < n; i++)
			if (sensitivity_score(&s->sensitivity, &s->space.shapes[picked[i]].shape, &nll, e) < 0)
				return -1;
		sensitivity_fit(&s->sensitivity);
	}
	return n;
}

static int fill_screened(struct searching *s, struct screened *x, const int *picked, int n, struct err *e)
{
	for (int i = 0; i < n; i++) {
		x->space.shapes[i] = s->space.shapes[picked[i]];
		x->predicted[i] = sensitivity_predict(&s->sensitivity, &x->space.shapes[i].shape);
		if (sensitivity_score(&s->sensitivity, &x->space.shapes[i].shape, &x->nll[i], e) < 0)
			return -1;
	}
	x->space.n = n;
	return 0;
}

/* Returns how many miss the budget. */
static int list_best(struct searching *s, const struct screened *x, struct err *e)
{
	int picked[SHAPE_SEARCH_MAX], missed = 0;
	int n = space_pick(&x->space, &s->source->shape, x->nll, (int)s->spec->search->candidates, picked);
	s->found->n = 0;
	for (int i = 0; i < n; i++) {
		list_candidate(s, x, picked[i]);
		if (time_candidate(s, &s->found->candidates[i], e) < 0)
			return -1;
		missed += s->found->candidates[i].missed;
	}
	return missed;
}

/* Returns how many miss the budget. */
static int pick(struct searching *s, struct err *e)
{
	size_t most = (size_t)screen_size(s);
	struct screened x = {{malloc(most * sizeof *x.space.shapes), 0, 0}, malloc(most * sizeof *x.nll), malloc(most * sizeof *x.predicted)};
	int *picked = malloc(most * sizeof *picked), missed = -1;
	if (!x.space.shapes || !x.nll || !x.predicted || !picked) {
		err_run(e, "out of memory: %zu shapes", most);
		goto out;
	}
	int n = screen(s, picked, e);
	if (n >= 0 && fill_screened(s, &x, picked, n, e) == 0)
		missed = list_best(s, &x, e);
out:
	free(picked);
	free(x.predicted);
	free(x.nll);
	free(x.space.shapes);
	return missed;
}

int searching_candidates(struct searching *s, struct err *e)
{
	char *file = path_format("%s/sensitivity.json", s->dir);
	int rc = -1, missed = 0;
	TRY(time_some(s, e));
	TRY(open_space(s, e));
	TRY(sensitivity_open(&s->sensitivity, s->run, s->from, &s->space, &s->scores, s->weights, file, e));
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

int searching_trials(struct searching *s, struct err *e)
{
	for (int i = 0; i < s->found->n; i++)
		if (!s->found->candidates[i].missed && try_candidate(s, i, e) < 0)
			return -1;
	return rank(s->found, e);
}

int searching_clear(const struct searching *s, struct err *e)
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

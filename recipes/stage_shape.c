#include "recipes/stage_shape.h"

#include "base/hash.h"
#include "base/log.h"
#include "recipes/shape_choice.h"
#include "recipes/shape_searching.h"
#include "recipes/stage.h"

#include <stdlib.h>
#include <string.h>

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

bool stage_shape_price(const struct run *run, const struct source *from, const struct init_spec *init, struct shape_price *out)
{
	const struct arch *source = &from->model->layout.arch;
	const struct shape_spec *s = budget_of(run, init);
	struct space space = {0};
	struct err ignored;
	if (!s || !init_stands_in(run, init, source))
		return false;
	const struct space_options o = shape_space(run->spec, s, source);
	*out = (struct shape_price){.spec = s->search, .key = shape_key(run->spec, s, source)};
	if (space_open(&space, source, &o, &ignored) == 0 && !(o.limit[SPACE_PREFILL_MS] > 0) && !(o.limit[SPACE_DECODE_MS] > 0)) {
		int passes = sensitivity_passes(source, &space), screened = SHAPE_SCREENED * (int)s->search->candidates;
		struct arch middle = *source;
		screened = screened < space.n ? screened : space.n;
		middle.shape = space.shapes[0].shape;
		out->n_shapes = space.n;
		out->n_points = passes - 1 + screened;
		out->tokens = (passes + screened) * run->spec->data->heldout_tokens * run->spec->data->domains.n;
		out->flops = sensitivity_flops(run, source, &space) + screened * arch_flops_per_token(&middle, (int)run->spec->data->sequence_length) *
								      (double)run->spec->data->heldout_tokens * run->spec->data->domains.n;
	}
	space_close(&space);
	return true;
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
	TRY(searching_scores(s, e));
	TRY(searching_candidates(s, e));
	log_line("shape search: %d shape%s, %d candidate%s", s->found->n_shapes, s->found->n_shapes == 1 ? "" : "s", s->found->n, s->found->n == 1 ? "" : "s");
	TRY(searching_trials(s, e));
	TRY(shape_search_write(s->found, file, e));
	TRY(searching_clear(s, e));
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
	sensitivity_close(&s->sensitivity);
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

/* Scores, choice, cut, repair. */
#include "recipes/init_importance.h"

#include "base/fsio.h"
#include "prune/compensate.h"
#include "recipes/phase.h"
#include "recipes/shape_choice.h"
#include "recipes/stage.h"

#include <stdlib.h>
#include <string.h>

/* ---- before anything runs ---- */

/* The file of spec->scores, which must be of this source. */
static int load_given(const struct source *from, const struct importance_spec *spec, struct scores *out, struct err *e)
{
	if (scores_load(spec->scores, &from->model->layout.arch, out, e) < 0)
		return -1;
	if (out->teacher == from->hash)
		return 0;
	scores_release(out);
	return err_user(e, "%s: scores of another model than %s; remove `scores` to measure them", spec->scores, from->dir);
}

int importance_arch(const struct run *run, const struct source *from, const struct importance_spec *spec, struct arch *out, struct err *e)
{
	const struct shape_spec *own = spec->target;
	const struct arch *source = &from->model->layout.arch;
	struct scores given = {0};
	struct target target;
	struct err why;
	if (run_target(run, own, source, &target, e) < 0)
		return -1;
	if ((spec->merge_kv ? target_arch_merged(out, source, &target, &why) : target_arch(out, source, &target, &why)) < 0)
		return yaml_caret(e, target_spec(run->spec, own)->at, "%s", why.line);
	if (spec->scores && !fsio_exists(spec->scores)) /* of a source that is still to be made nothing more can be asked */
		return yaml_caret(e, yaml_get(spec->at, "scores"), "%s: no such file", spec->scores);
	if (spec->scores && from->hash && load_given(from, spec, &given, &why) < 0)
		return yaml_caret(e, yaml_get(spec->at, "scores"), "%s", why.line);
	scores_release(&given);
	return 0;
}

static bool needs_text(const struct importance_spec *spec)
{
	return !spec->scores && calibrate_needs_text((enum importance_method)spec->method, (enum layers_method)spec->layers);
}

int64_t importance_tokens(const struct recipe_spec *r, const struct importance_spec *spec)
{
	int64_t batch = spec->sequences * r->data->sequence_length;
	return needs_text(spec) || spec->refit ? spec->tokens / batch * batch : 0;
}

/* How the source is looked at: all but its weights. */
static struct calibration calibration_of(const struct run *run, const struct source *from, const struct importance_spec *spec, uint64_t seed)
{
	int64_t T = run->spec->data->sequence_length;
	return (struct calibration){.ops = run->eval_ops, .layout = &from->model->layout, .corpus = &run->corpus, .seed = seed,
				    .skip_tokens = from->spent_tokens, .T = (int)T, .sequences = (int)spec->sequences, .n_batches = (int)(spec->tokens / (spec->sequences * T))};
}

int importance_price(const struct run *run, const struct source *from, const struct importance_spec *spec, struct importance_price *out, struct err *e)
{
	struct calibration c = calibration_of(run, from, spec, 0);
	double per_token = 0;
	*out = (struct importance_price){.tokens = importance_tokens(run->spec, spec)};
	if (!spec->scores &&
	    calibrate_price(&c, (enum importance_method)spec->method, (enum layers_method)spec->layers, out->bytes, &per_token, e) < 0)
		return -1;
	if (spec->refit)
		per_token += arch_flops_per_token(&c.layout->arch, c.T);
	out->flops = per_token * (double)out->tokens;
	return 0;
}

const char *importance_warning(const struct source *from, const struct importance_spec *spec)
{
	if (spec->scores || spec->method != IMPORTANCE_FLUCTUATION || spec->refit || !spec->compensate)
		return NULL;
	if (compensate_possible(&from->model->layout.arch))
		return NULL;
	return "importance: the family has no bias on the output projections: what dropped inputs gave on average is lost, not compensated";
}

/* ---- the stage ---- */

static char *scores_path(const char *dir)
{
	return path_format("%s/importance.safetensors", dir);
}

/* The scores of this stage, made when they are not there yet. */
static int take_scores(const struct run *run, const struct source *from, const struct importance_spec *spec, const struct calibration *c,
		       const char *dir, struct scores *out, struct err *e)
{
	char *path = scores_path(dir);
	struct batches *text = NULL;
	int rc = -1;
	if (fsio_exists(path)) {
		rc = scores_load(path, &c->layout->arch, out, e);
		goto out;
	}
	if (spec->scores) {
		TRY(load_given(from, spec, out, e));
	} else {
		TRY(calibrate_scores(c, (enum importance_method)spec->method, (enum layers_method)spec->layers, out, e));
		out->teacher = from->hash;
		if (needs_text(spec)) {
			TRY(corpus_batches(&run->corpus, c->seed, &text, e));
			out->data = batches_hash(text);
		}
	}
	TRY(scores_save(path, &c->layout->arch, out, e));
	rc = 0;
out:
	if (rc < 0)
		scores_release(out);
	batches_close(text);
	free(path);
	return rc;
}

int importance_scores(const struct run *run, const struct source *from, const struct importance_spec *spec, const float *weights, uint64_t seed,
		      const char *dir, struct scores *out, struct err *e)
{
	struct calibration c = calibration_of(run, from, spec, seed);
	c.weights = weights;
	return take_scores(run, from, spec, &c, dir, out, e);
}

static int select_units(const struct source *from, const struct importance_spec *spec, const struct arch *arch, const struct scores *x,
			struct kept *kept, struct err *e)
{
	return kept_from_scores(kept, &from->model->layout.arch, arch, x, &(struct select_options){.merge_kv = spec->merge_kv}, e);
}

/* What may be done for the cut's output projections. */
static int repair(const struct importance_spec *spec, const struct calibration *c, const struct param_layout *target, float *dst,
		  const struct kept *kept, const struct scores *x, struct err *e)
{
	if (spec->refit)
		return calibrate_refit(c, target, kept, dst, e);
	if (spec->compensate && x->method == IMPORTANCE_FLUCTUATION)
		compensate(c->layout, c->weights, target, dst, kept, x);
	return 0;
}

static int save_model(const struct run *run, const struct source *from, const struct param_layout *layout, const float *flat, const char *dir, struct err *e)
{
	const struct hf_save_options o = {.dtype = DTYPE_F32, .copy_from = run_files_from(run), .config_from = from->model->config};
	char *path = path_format("%s/model", dir);
	int rc = fsio_remove_tree(path, e) < 0 ? -1 : hf_save(path, layout, flat, &o, e);
	free(path);
	return rc;
}

int importance_run(const struct run *run, const struct source *from, const struct importance_spec *spec, const struct arch *arch, uint64_t seed,
		   const char *dir, struct err *e)
{
	struct calibration c = calibration_of(run, from, spec, seed);
	struct param_layout layout = {0};
	struct scores x = {0};
	struct kept kept = {0};
	float *weights = malloc(c.layout->n_elems * sizeof *weights), *flat = NULL;
	int rc = -1;
	TRY(param_layout_init(&layout, arch, e));
	flat = malloc(layout.n_elems * sizeof *flat);
	if (!weights || !flat) {
		err_run(e, "out of memory: %zu bytes for the source's weights and the cut model's", (c.layout->n_elems + layout.n_elems) * sizeof *flat);
		goto out;
	}
	hf_read_f32(from->model, weights);
	c.weights = weights;
	TRY(take_scores(run, from, spec, &c, dir, &x, e));
	TRY(select_units(from, spec, arch, &x, &kept, e));
	prune_cut(c.layout, weights, &layout, flat, &kept, NULL);
	TRY(repair(spec, &c, &layout, flat, &kept, &x, e));
	TRY(save_model(run, from, &layout, flat, dir, e));
	rc = 0;
out:
	kept_release(&kept);
	scores_release(&x);
	param_layout_release(&layout);
	free(weights);
	free(flat);
	return rc;
}

int importance_kept(const struct source *from, const struct importance_spec *spec, const struct arch *arch, const char *dir, struct kept *kept, struct err *e)
{
	char *path = scores_path(dir);
	struct scores x = {0};
	int rc = scores_load(path, &from->model->layout.arch, &x, e);
	if (rc == 0)
		rc = select_units(from, spec, arch, &x, kept, e);
	scores_release(&x);
	free(path);
	return rc;
}

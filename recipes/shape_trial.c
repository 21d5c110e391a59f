#include "recipes/shape_trial.h"

#include "base/fsio.h"
#include "base/json.h"
#include "kernels/ops.h"
#include "recipes/heldout.h"
#include "recipes/init_importance.h"
#include "recipes/phase.h"
#include "recipes/stage.h"

#include <stdlib.h>
#include <string.h>

/* The cut model in dir/cut/model, with its scores beside it. */
static int cut(const struct shape_trial *t, const char *dir, struct err *e)
{
	const struct shape *s = &t->arch.shape;
	char *scores = path_format("%s/importance.safetensors", dir);
	bool done;
	int rc = -1;
	TRY(stage_begin(dir, json_pack("{s:[i,i,i,i,i]}", "shape", s->L, s->C, s->NH, s->NKV, s->F), &done, e));
	if (!done) {
		TRY(fsio_copy_file(t->scores, scores, e));
		TRY(importance_run(t->run, t->from, t->spec->init, &t->arch, t->seed, dir, e));
		TRY(stage_finish(dir, e));
	}
	rc = 0;
out:
	free(scores);
	return rc;
}

/* Which of the first teacher's layers and dimensions are left, for losses that compare hidden states. */
static int take_kept(const struct shape_trial *t, const char *dir, struct kept *out, struct start *start, struct err *e)
{
	struct kept own = {0};
	if (!t->from->from_teacher)
		return 0;
	if (importance_kept(t->from, t->spec->init, &t->arch, dir, &own, e) < 0)
		return -1;
	source_kept(t->from, &own, &t->arch.shape, out);
	kept_release(&own);
	start->kept = out;
	return 0;
}

static int score_cut(struct shape_trial *t, const char *model, struct start *start, struct err *e)
{
	struct ops_limits limits = heldout_limits(t->run, &t->arch);
	struct loaded_model m = {0};
	int rc = -1;
	TRY(ops_cpu_reserve(t->run->eval_ops, &limits, e));
	TRY(loaded_model_open(&m, t->run->eval_ops, model, e));
	start->hash = hf_hash(&m.hf);
	t->parameters = (double)arch_n_params(&m.hf.layout.arch);
	TRY(heldout_nll(t->run, &m, &t->nll, e));
	rc = 0;
out:
	loaded_model_close(&m);
	return rc;
}

static int train(struct shape_trial *t, const struct start *start, struct err *e)
{
	const struct train_spec *spec = t->spec->train;
	char *dir = path_format("%s/train", t->dir), label[48];
	snprintf(label, sizeof label, "shape %d of %d", t->number, t->of);
	struct phase p = {.run = t->run, .dir = dir, .label = label, .spec = spec, .start = start, .seed = t->seed, .lr = spec->lr.v[0],
			  .tokens = spec->tokens / spec->batch_tokens * spec->batch_tokens};
	int rc = phase_train(&p, e);
	free(dir);
	t->trained_nll = p.heldout_nll;
	t->tokens += (double)p.tokens;
	t->flops += p.flops;
	return rc;
}

int shape_trial_run(struct shape_trial *t, struct err *e)
{
	struct start start = {.arch = t->arch, .spent_tokens = t->from->spent_tokens, .config = t->from->model->config};
	char *dir = path_format("%s/cut", t->dir), *model = path_format("%s/model", dir);
	struct kept kept = {0};
	int rc = -1;
	if (t->spec->init->refit) {
		int64_t tokens = importance_tokens(t->run->spec, t->spec->init);
		t->flops += (double)tokens * arch_flops_per_token(&t->from->model->layout.arch, (int)t->run->spec->data->sequence_length);
	}
	TRY(fsio_mkdirs(t->dir, e));
	TRY(cut(t, dir, e));
	start.dir = model;
	TRY(take_kept(t, dir, &kept, &start, e));
	TRY(score_cut(t, model, &start, e));
	TRY(train(t, &start, e));
	rc = 0;
out:
	kept_release(&kept);
	free(model);
	free(dir);
	return rc;
}

int shape_trial_clear(const char *dir, struct err *e)
{
	char *cut_dir = path_format("%s/cut", dir);
	int rc = fsio_remove_tree(cut_dir, e);
	free(cut_dir);
	return rc;
}

#include "recipes/init.h"

#include "base/fsio.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "model/public_shapes.h"
#include "prune/cut.h"
#include "recipes/check.h"
#include "recipes/init_importance.h"
#include "recipes/init_parts.h"
#include "recipes/shape_choice.h"
#include "recipes/stage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool init_is_cut(const struct init_spec *spec)
{
	return spec->masks || spec->layers.n || spec->importance;
}

int64_t init_tokens(const struct recipe_spec *r, const struct init_spec *spec)
{
	const struct masks_spec *m = spec->masks;
	return m ? m->tokens / m->batch_tokens * m->batch_tokens : spec->importance ? importance_tokens(r, spec->importance) : 0;
}

/* ---- shapes ---- */

static int fresh_arch(const struct run *run, const struct random_spec *r, struct arch *out, struct err *e)
{
	const struct shape *named = r->target->shape ? public_shape(r->target->shape) : NULL;
	struct target s;
	if (shape_sizes(r->target, NULL, &s, e) < 0)
		return -1;
	int64_t head_dim = r->head_dim ? r->head_dim : named ? named->HD : s.heads ? s.hidden / s.heads : 0;
	int64_t positions = r->max_positions ? r->max_positions : run->spec->data->sequence_length;
	if (!s.layers || !s.hidden || !s.heads || !s.intermediate)
		return yaml_caret(e, r->target->at, "a teacher made from nothing needs layers, hidden, heads and intermediate");
	json_t *config = json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:b,s:s,s:s}", "model_type", r->family, "hidden_size",
				   (json_int_t)s.hidden, "intermediate_size", (json_int_t)s.intermediate, "num_hidden_layers",
				   (json_int_t)s.layers, "num_attention_heads", (json_int_t)s.heads, "num_key_value_heads",
				   (json_int_t)(s.kv_heads ? s.kv_heads : s.heads), "head_dim", (json_int_t)head_dim, "vocab_size",
				   (json_int_t)(run->corpus.tokenizer ? tokenizer_vocab_size(run->corpus.tokenizer) : run->spec->data->tokenizer->train_vocabulary), "max_position_embeddings", (json_int_t)positions,
				   "rms_norm_eps", 1e-5, "rope_theta", r->rope_theta, "tie_word_embeddings", (int)r->tied, "hidden_act", "silu",
				   "torch_dtype", "float32");
	int rc = arch_from_config(out, config, "teacher.init.random", e);
	json_decref(config);
	return rc;
}

enum { MAX_LAYERS = 1000 };

static int kept_layers(struct kept *kept, const struct source *from, const struct init_spec *spec, struct err *e)
{
	int layers[MAX_LAYERS];
	if (spec->layers.n > MAX_LAYERS)
		return err_user(e, "layers: more than %d", MAX_LAYERS);
	for (int i = 0; i < spec->layers.n; i++)
		layers[i] = (int)spec->layers.v[i];
	return kept_from_layers(kept, &from->model->layout.arch, layers, spec->layers.n, e);
}

static int layers_arch(const struct source *from, const struct init_spec *spec, struct arch *out, struct err *e)
{
	struct kept k;
	struct err why;
	if (kept_layers(&k, from, spec, &why) < 0)
		return yaml_caret(e, check_place(spec->at, "layers"), "%s", why.line);
	kept_release(&k);
	*out = from->model->layout.arch;
	out->shape.L = spec->layers.n;
	return 0;
}

int init_arch(const struct run *run, const struct source *from, const struct init_spec *spec, struct arch *out, struct err *e)
{
	if (spec->model) {
		struct hf_model hf;
		if (hf_open(&hf, spec->model, e) < 0)
			return -1;
		*out = hf.layout.arch;
		hf_close(&hf);
		return 0;
	}
	if (spec->student) {
		*out = from->model->layout.arch;
		return 0;
	}
	if (!from->dir)
		return fresh_arch(run, spec->random, out, e);
	if (spec->layers.n)
		return layers_arch(from, spec, out, e);
	if (spec->importance)
		return importance_arch(run, from, spec->importance, out, e);
	const struct shape_spec *own = spec->masks ? spec->masks->target : spec->random->target;
	struct target target;
	struct err why;
	if (run_target(run, own, &from->model->layout.arch, &target, e) < 0)
		return -1;
	if (target_arch(out, &from->model->layout.arch, &target, &why) < 0)
		return yaml_caret(e, target_spec(run->spec, own)->at, "%s", why.line);
	return 0;
}

/* The first layers and dimensions, as many as the shape has. */
static int first_units(struct kept *k, const struct shape *s, struct err *e)
{
	if (kept_alloc(k, s, e) < 0)
		return -1;
	for (int l = 0; l < s->L; l++)
		k->layers[l] = l;
	for (int c = 0; c < s->C; c++)
		k->hidden[c] = c;
	return 0;
}

int init_kept(const struct source *from, const struct init_spec *spec, const struct arch *arch, struct kept *out, struct err *e)
{
	struct kept own = {0};
	*out = (struct kept){0};
	if (!(init_is_cut(spec) || spec->student) || !from->from_teacher)
		return 0;
	if ((spec->layers.n ? kept_layers(&own, from, spec, e) : first_units(&own, &arch->shape, e)) < 0)
		return -1;
	source_kept(from, &own, &arch->shape, out);
	kept_release(&own);
	return 0;
}

/* ---- warnings ---- */

void init_warn(struct init *in, const char *fmt, ...)
{
	char line[sizeof in->warnings[0]];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	log_warn("%s", line);
	if (in->n_warnings < INIT_MAX_WARNINGS)
		snprintf(in->warnings[in->n_warnings++], sizeof line, "%s", line);
}

/* ---- cut ---- */

int init_save_cut(const struct run *run, const struct source *from, const struct start *start, const struct kept *kept, const struct host_masks *z,
		  const char *dir, const float *weights, struct err *e)
{
	struct hf_save_options o = {.dtype = DTYPE_F32, .copy_from = run_files_from(run), .config_from = from->model->config};
	struct param_layout layout = {0};
	float *flat = NULL;
	int rc = -1;
	TRY(param_layout_init(&layout, &start->arch, e));
	flat = malloc(layout.n_elems * sizeof *flat);
	if (!flat) {
		err_run(e, "out of memory: %zu bytes for the cut model", layout.n_elems * sizeof *flat);
		goto out;
	}
	prune_cut(&from->model->layout, weights, &layout, flat, kept, z);
	TRY(fsio_remove_tree(dir, e));
	TRY(hf_save(dir, &layout, flat, &o, e));
	rc = 0;
out:
	free(flat);
	param_layout_release(&layout);
	return rc;
}

static int cut_layers(struct init *in, const struct run *run, const struct source *from, const struct init_spec *spec, const char *model, struct err *e)
{
	size_t n = from->model->layout.n_elems;
	float *weights = malloc(n * sizeof *weights);
	int rc = -1;
	struct kept kept = {0};
	if (!weights)
		return err_run(e, "out of memory: %zu bytes for the weights of %s", n * sizeof *weights, from->dir);
	TRY(kept_layers(&kept, from, spec, e));
	hf_read_f32(from->model, weights);
	TRY(init_save_cut(run, from, &in->start, &kept, NULL, model, weights, e));
	TRY(stage_finish(in->dir, e));
	rc = 0;
out:
	kept_release(&kept);
	free(weights);
	return rc;
}

/* ---- stage ---- */

static json_t *init_inputs(const struct init *in, const struct run *run, const struct source *from, const struct init_spec *spec, uint64_t seed, struct err *e)
{
	struct batches *b = NULL;
	const struct shape *s = &in->start.arch.shape;
	uint64_t data = 0;
	if (spec->masks || (spec->importance && importance_tokens(run->spec, spec->importance))) {
		if (corpus_batches(&run->corpus, seed, &b, e) < 0)
			return NULL;
		data = batches_hash(b);
		batches_close(b);
	}
	json_t *inputs = json_pack("{s:o,s:o,s:o,s:I,s:s,s:[i,i,i,i,i]}", "init", stage_hash_json(section_hash(&init_section, spec)), "teacher",
			 stage_hash_json(from->hash), "data", stage_hash_json(data), "seed", (json_int_t)seed, "compute",
				   run->spec->compute == COMPUTE_BF16 ? "bf16" : "fp32", "shape", s->L, s->C, s->NH, s->NKV, s->F);
	uint64_t teachers = phase_teachers_hash(run, spec->masks ? spec->masks->distill : NULL);
	if (teachers && teachers != from->hash)
		json_object_set_new(inputs, "teachers", stage_hash_json(teachers));
	if (data && from->spent_tokens)
		json_object_set_new(inputs, "spent_tokens", json_integer((json_int_t)from->spent_tokens));
	if (spec->importance && spec->importance->scores) {
		uint64_t scores;
		if (hash_file(spec->importance->scores, &scores, e) < 0) {
			json_decref(inputs);
			return NULL;
		}
		json_object_set_new(inputs, "scores", stage_hash_json(scores));
	}
	if (spec->masks && run->spec->report->metrics == METRICS_JSONL)
		json_object_set_new(inputs, "metrics", json_string("jsonl"));
	return inputs;
}

static int run_stage(struct init *in, const struct run *run, const struct source *from, const struct init_spec *spec, const char *dir, uint64_t seed, struct err *e)
{
	char *model = path_format("%s/model", dir);
	json_t *inputs = init_inputs(in, run, from, spec, spec->layers.n ? 0 : seed, e); /* nothing random in kept layers: shared by seeds */
	bool done;
	int rc = -1;
	in->dir = strdup(dir);
	if (!inputs || !in->dir)
		goto out;
	TRY(stage_begin(dir, inputs, &done, e));
	if (!done && spec->importance) {
		TRY(importance_run(run, from, spec->importance, &in->start.arch, seed, dir, e));
		TRY(stage_finish(dir, e));
	} else if (!done)
		TRY(spec->masks ? init_learn_masks(in, run, from, spec->masks, seed, model, e) : cut_layers(in, run, from, spec, model, e));
	else if (spec->masks)
		TRY(init_read_masks(in, e));
	loop_forget(dir);
	in->start.dir = model;
	model = NULL;
	rc = 0;
out:
	free(model);
	return rc;
}

/* Which of the first teacher's layers and dimensions are left, for losses that compare hidden states. */
static int what_was_kept(struct init *in, const struct source *from, const struct init_spec *spec, struct err *e)
{
	const struct arch *source = &from->model->layout.arch;
	char *path = path_format("%s/masks.safetensors", in->dir);
	struct host_masks z = {0};
	struct kept own = {0};
	void *block = NULL;
	int rc = -1;
	if (spec->layers.n) {
		TRY(kept_layers(&own, from, spec, e));
	} else if (spec->importance) {
		TRY(importance_kept(from, spec->importance, &in->start.arch, in->dir, &own, e));
	} else {
		TRY(masks_load(path, source, &z, &block, e));
		TRY(kept_from_masks(&own, source, &in->start.arch, &z, e));
	}
	if (from->from_teacher) {
		source_kept(from, &own, &in->start.arch.shape, &in->kept);
		in->start.kept = &in->kept;
	}
	rc = 0;
out:
	kept_release(&own);
	free(block);
	free(path);
	return rc;
}

static int add_price(struct start *start, const struct run *run, const struct source *from, const struct init_spec *spec, struct err *e)
{
	struct importance_price price = {.tokens = 0};
	if (spec->importance && importance_price(run, from, spec->importance, &price, e) < 0)
		return -1;
	if (spec->masks) {
		price.tokens = init_tokens(run->spec, spec);
		price.flops = phase_flops(run, &from->model->layout.arch, spec->masks->distill != NULL, price.tokens);
	}
	start->spent_tokens = from->spent_tokens + price.tokens;
	start->spent_flops = from->spent_flops + price.flops;
	return 0;
}

int init_open(struct init *in, const struct run *run, const struct source *from, const struct init_spec *spec, const char *dir, uint64_t seed,
	      struct err *e)
{
	int rc = -1;
	memset(in, 0, sizeof *in);
	BUG_ON(init_stands_in(run, spec, &from->model->layout.arch)); /* its search comes first */
	TRY(init_arch(run, from, spec, &in->start.arch, e));
	if (spec->importance && importance_warning(from, spec->importance))
		init_warn(in, "%s", importance_warning(from, spec->importance));
	if (init_is_cut(spec) && (run_stage(in, run, from, spec, dir, seed, e) < 0 || what_was_kept(in, from, spec, e) < 0))
		goto out;
	if (spec->model || spec->student)
		in->start.dir = strdup(spec->model ? spec->model : from->dir);
	if (spec->student)
		in->start.kept = from->kept;
	TRY(add_price(&in->start, run, from, spec, e));
	if (in->start.dir) {
		TRY(hf_open(&in->model, in->start.dir, e));
		in->start.hash = hf_hash(&in->model);
		in->start.config = in->model.config;
	} else if (from->dir)
		in->start.config = from->model->config;
	rc = 0;
out:
	if (rc < 0)
		init_close(in);
	return rc;
}

void init_close(struct init *in)
{
	hf_close(&in->model);
	kept_release(&in->kept);
	free((char *)(uintptr_t)in->start.dir);
	free(in->dir);
	memset(in, 0, sizeof *in);
}

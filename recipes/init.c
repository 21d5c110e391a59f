#include "recipes/init.h"

#include "base/fsio.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "prune/cut.h"
#include "recipes/init_importance.h"
#include "recipes/stage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- shapes ---- */

static int fresh_arch(const struct run *run, const struct random_spec *r, struct arch *out, struct err *e)
{
	const struct shape_spec *s = r->target;
	int64_t head_dim = r->head_dim ? r->head_dim : s->heads ? s->hidden / s->heads : 0;
	int64_t positions = r->max_positions ? r->max_positions : run->spec->data->sequence_length;
	if (!s->layers || !s->hidden || !s->heads || !s->intermediate)
		return yaml_caret(e, s->at, "a teacher made from nothing needs layers, hidden, heads and intermediate");
	json_t *config = json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:b,s:s,s:s}", "model_type", r->family, "hidden_size",
				   (json_int_t)s->hidden, "intermediate_size", (json_int_t)s->intermediate, "num_hidden_layers",
				   (json_int_t)s->layers, "num_attention_heads", (json_int_t)s->heads, "num_key_value_heads",
				   (json_int_t)(s->kv_heads ? s->kv_heads : s->heads), "head_dim", (json_int_t)head_dim, "vocab_size",
				   (json_int_t)(run->corpus.tokenizer ? tokenizer_vocab_size(run->corpus.tokenizer) : run->spec->data->tokenizer->train_vocabulary), "max_position_embeddings", (json_int_t)positions,
				   "rms_norm_eps", 1e-5, "rope_theta", r->rope_theta, "tie_word_embeddings", (int)r->tied, "hidden_act", "silu",
				   "torch_dtype", "float32");
	int rc = arch_from_config(out, config, "teacher.init.random", e);
	json_decref(config);
	return rc;
}

enum { MAX_LAYERS = 1000 };

static int kept_layers(struct kept *kept, const struct run *run, const struct init_spec *spec, struct err *e)
{
	int layers[MAX_LAYERS];
	if (spec->layers.n > MAX_LAYERS)
		return err_user(e, "layers: more than %d", MAX_LAYERS);
	for (int i = 0; i < spec->layers.n; i++)
		layers[i] = (int)spec->layers.v[i];
	return kept_from_layers(kept, &run->teachers[0].model.layout.arch, layers, spec->layers.n, e);
}

static int layers_arch(const struct run *run, const struct init_spec *spec, struct arch *out, struct err *e)
{
	struct kept k;
	if (kept_layers(&k, run, spec, e) < 0)
		return -1;
	kept_release(&k);
	*out = run->teachers[0].model.layout.arch;
	out->shape.L = spec->layers.n;
	return 0;
}

int init_arch(const struct run *run, const struct init_spec *spec, struct arch *out, struct err *e)
{
	if (spec->model) {
		struct hf_model hf;
		if (hf_open(&hf, spec->model, e) < 0)
			return -1;
		*out = hf.layout.arch;
		hf_close(&hf);
		return 0;
	}
	if (!run->teachers[0].dir)
		return fresh_arch(run, spec->random, out, e);
	if (spec->layers.n)
		return layers_arch(run, spec, out, e);
	if (spec->importance)
		return importance_arch(run, spec->importance, out, e);
	const struct shape_spec *own = spec->masks ? spec->masks->target : spec->random->target;
	struct target target = recipe_target(own, run->spec->target);
	struct err why;
	if (target_arch(out, &run->teachers[0].model.layout.arch, &target, &why) < 0)
		return yaml_caret(e, own ? own->at : run->spec->target->at, "%s", why.line);
	return 0;
}

int init_kept(const struct run *run, const struct init_spec *spec, const struct arch *arch, struct kept *out, struct err *e)
{
	const struct shape *s = &arch->shape;
	*out = (struct kept){0};
	if (spec->layers.n)
		return kept_layers(out, run, spec, e);
	if (!spec->masks && !spec->importance)
		return 0;
	out->block = out->layers = calloc((size_t)(s->L + s->C), sizeof *out->layers);
	BUG_ON(!out->block);
	out->hidden = out->layers + s->L;
	for (int l = 0; l < s->L; l++)
		out->layers[l] = l;
	for (int c = 0; c < s->C; c++)
		out->hidden[c] = c;
	return 0;
}

/* ---- cut ---- */

static int save_cut(const struct run *run, const struct start *start, const struct kept *kept, const struct host_masks *z, const char *dir,
		    const float *source, struct err *e)
{
	struct hf_save_options o = {.dtype = DTYPE_F32, .copy_from = run_files_from(run), .config_from = run->teachers[0].model.config};
	struct param_layout layout = {0};
	float *flat = NULL;
	int rc = -1;
	TRY(param_layout_init(&layout, &start->arch, e));
	flat = malloc(layout.n_elems * sizeof *flat);
	if (!flat) {
		err_run(e, "out of memory: %zu bytes for the cut model", layout.n_elems * sizeof *flat);
		goto out;
	}
	prune_cut(&run->teachers[0].model.layout, source, &layout, flat, kept, z);
	TRY(fsio_remove_tree(dir, e));
	TRY(hf_save(dir, &layout, flat, &o, e));
	rc = 0;
out:
	free(flat);
	param_layout_release(&layout);
	return rc;
}

static int cut_layers(struct init *in, const struct run *run, const struct init_spec *spec, const char *model, struct err *e)
{
	const struct param_layout *layout = &run->teachers[0].model.layout;
	float *source = malloc(layout->n_elems * sizeof *source);
	int rc = -1;
	struct kept kept = {0};
	if (!source)
		return err_run(e, "out of memory: %zu bytes for the teacher's weights", layout->n_elems * sizeof *source);
	TRY(kept_layers(&kept, run, spec, e));
	hf_read_f32(&run->teachers[0].model, source);
	TRY(save_cut(run, &in->start, &kept, NULL, model, source, e));
	TRY(stage_finish(in->dir, e));
	rc = 0;
out:
	kept_release(&kept);
	free(source);
	return rc;
}

/* ---- the mask phase ---- */

enum { MAX_WARNINGS = sizeof ((struct init *)0)->warnings / sizeof ((struct init *)0)->warnings[0] };

static void warn(struct init *in, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void warn(struct init *in, const char *fmt, ...)
{
	char line[sizeof in->warnings[0]];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	log_warn("%s", line);
	if (in->n_warnings < MAX_WARNINGS)
		snprintf(in->warnings[in->n_warnings++], sizeof line, "%s", line);
}

static void warn_of_deviation(struct init *in)
{
	for (int k = 0; k < MASK_STRUCTURES; k++) {
		const char *name = mask_structure_name((enum mask_structure)k);
		double target = in->report.final_target[k], off = in->report.expected[k] / target - 1;
		if (target > 0 && fabs(off) > MASK_TOLERANCE)
			warn(in, "masks: the expected size of %s is %.2f before the cut, %.1f %% off its target %.0f", name, in->report.expected[k],
			     100 * off, target);
		else if (target > 0 && in->report.worst_row[k] > MASK_TOLERANCE)
			warn(in, "masks: a row of %s is %.1f %% off its target %.0f before the cut (their mean is %.2f)", name,
			     100 * in->report.worst_row[k], target, in->report.expected[k]);
	}
}

static json_t *report_json(const struct init *in)
{
	json_t *structures = json_object(), *warnings = json_array();
	const struct mask_report *r = &in->report;
	for (int k = 0; k < MASK_STRUCTURES; k++)
		if (r->final_target[k] > 0)
			json_object_set_new(structures, mask_structure_name((enum mask_structure)k),
					    json_pack("{s:i,s:i,s:f,s:f,s:f}", "units", r->units[k], "target", r->final_target[k], "expected",
						      r->expected[k], "worst_row", r->worst_row[k], "saturated", r->saturated[k]));
	for (int i = 0; i < in->n_warnings; i++)
		json_array_append_new(warnings, json_string(in->warnings[i]));
	return json_pack("{s:s,s:f,s:f,s:o,s:o}", "cut", in->soft ? "soft" : "hard", "soft_nll", in->soft_nll, "hard_nll", in->hard_nll,
			 "structures", structures, "warnings", warnings);
}

static int read_report(struct init *in, struct err *e)
{
	char *path = path_format("%s/masks.json", in->dir);
	json_t *o = NULL, *structures;
	const char *cut;
	int rc = -1;
	TRY(json_read_file(path, &o, e));
	TRY(json_get_string(o, path, "cut", "soft", &cut, e));
	in->soft = !strcmp(cut, "soft");
	TRY(json_get_double(o, path, "soft_nll", 0, 0, 1e9, &in->soft_nll, e));
	TRY(json_get_double(o, path, "hard_nll", 0, 0, 1e9, &in->hard_nll, e));
	structures = json_object_get(o, "structures");
	for (int k = 0; k < MASK_STRUCTURES; k++) {
		const json_t *s = json_object_get(structures, mask_structure_name((enum mask_structure)k));
		in->report.final_target[k] = s ? (int)json_integer_value(json_object_get(s, "target")) : -1;
		in->report.units[k] = s ? (int)json_integer_value(json_object_get(s, "units")) : 0;
		in->report.expected[k] = s ? json_number_value(json_object_get(s, "expected")) : 0;
		in->report.worst_row[k] = s ? json_number_value(json_object_get(s, "worst_row")) : 0;
	}
	const json_t *warnings = json_object_get(o, "warnings");
	for (size_t i = 0; i < json_array_size(warnings) && in->n_warnings < MAX_WARNINGS; i++)
		snprintf(in->warnings[in->n_warnings++], sizeof in->warnings[0], "%s", json_string_value(json_array_get(warnings, i)));
	rc = 0;
out:
	json_decref(o);
	free(path);
	return rc;
}

/* Both cuts are measured under masks on held-out text; the better one, or the one that was asked for, is made. */
static int choose_and_cut(struct init *in, const struct run *run, const struct masks_spec *spec, struct session *session,
			  struct mask_learner *learner, const char *model, struct err *e)
{
	struct host_masks z = {0};
	struct kept kept = {0};
	void *block = NULL;
	size_t n = session->student.layout.n_elems;
	float *source = malloc(n * sizeof *source);
	char *masks_path = path_format("%s/masks.safetensors", in->dir), *json_path = path_format("%s/masks.json", in->dir);
	json_t *report = NULL;
	int rc = -1;
	if (!source) {
		err_run(e, "out of memory: %zu bytes for the masked weights", n * sizeof *source);
		goto out;
	}
	TRY(host_masks_alloc(&z, &block, learner, e));
	mask_learner_final(learner, false, &z);
	TRY(loop_heldout(run, session, &z, &in->hard_nll, e));
	mask_learner_final(learner, true, &z);
	TRY(loop_heldout(run, session, &z, &in->soft_nll, e));
	in->soft = spec->cut == CUT_SOFT || (spec->cut == CUT_BEST && in->soft_nll < in->hard_nll);
	mask_learner_final(learner, in->soft, &z);
	log_line("masks: held-out loss of the soft cut %.4f, of the hard cut %.4f: the %s one is made", in->soft_nll, in->hard_nll,
		 in->soft ? "soft" : "hard");
	TRY(kept_from_masks(&kept, &session->student.layout.arch, &in->start.arch, &z, e));
	TRY(masks_save(masks_path, &session->student.layout.arch, &z, e));
	student_weights(&session->student, source);
	TRY(save_cut(run, &in->start, &kept, &z, model, source, e));
	warn_of_deviation(in);
	report = report_json(in);
	TRY(json_write_file(json_path, report, e));
	rc = 0;
out:
	json_decref(report);
	kept_release(&kept);
	free(block);
	free(source);
	free(masks_path);
	free(json_path);
	return rc;
}

static struct schedule masks_schedule(const struct masks_spec *m)
{
	int steps = (int)(m->tokens / m->batch_tokens);
	return (struct schedule){.kind = (enum schedule_kind)m->schedule, .peak = (float)m->lr, .final_fraction = (float)m->final_lr,
				 .total_steps = steps, .warmup_steps = (int)lround(m->warmup * steps), .decay_steps = (int)lround(0.2 * steps)};
}

static int learn_masks(struct init *in, const struct run *run, const struct masks_spec *spec, uint64_t seed, const char *model, struct err *e)
{
	const struct arch *source = &run->teachers[0].model.layout.arch;
	struct session session = {0};
	struct supply *supply = NULL;
	struct schedule schedule = masks_schedule(spec);
	struct mask_options options = mask_default(schedule.total_steps);
	struct mask_learner *learner = NULL;
	struct start from = {.arch = *source, .dir = run->teachers[0].dir};
	int rc = -1;
	if (schedule.total_steps < MASK_FEW_STEPS)
		warn(in, "masks: %d steps are few, %d and more order the units better: raise tokens or lower batch_tokens", schedule.total_steps,
		     MASK_FEW_STEPS);
	options.seed = seed;
	options.warmup_fraction = (float)spec->mask_warmup;
	TRY(mask_learner_open(&learner, source, &in->start.arch, &options, e));
	if (spec->distill)
		TRY(supply_open(&supply, run, spec->distill, source, NULL, e));
	struct session_options o = phase_session(run, NULL, spec, source, supply);
	o.student.projection_seed = seed;
	if (supply)
		supply_log(supply, "masks");
	TRY(phase_micro_batch(run, in->dir, &o, spec->batch_tokens, e));
	if (supply)
		TRY(supply_fill(supply, &(struct supply_stream){seed, 0, schedule.total_steps * spec->batch_tokens, "masks"}, &o, e));
	TRY(session_open(&session, &o, e));
	TRY(phase_load(&session.student, &from, seed, e));
	struct loop loop = {.run = run, .dir = in->dir, .label = "masks", .session = &session, .masks = learner, .supply = supply,
			    .schedule = schedule, .seed = seed, .batch_tokens = spec->batch_tokens, .eval_every = spec->eval_every,
			    .checkpoint_every = spec->checkpoint_every};
	TRY(loop_run(&loop, e));
	in->report = loop.report;
	TRY(choose_and_cut(in, run, spec, &session, learner, model, e));
	TRY(stage_finish(in->dir, e));
	rc = 0;
out:
	session_close(&session);
	supply_close(supply);
	mask_learner_close(learner);
	return rc;
}

/* ---- stage ---- */

static json_t *init_inputs(const struct init *in, const struct run *run, const struct init_spec *spec, uint64_t seed, struct err *e)
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
			 stage_hash_json(run->teachers[0].hash), "data", stage_hash_json(data), "seed", (json_int_t)seed, "compute",
				   run->spec->compute == COMPUTE_BF16 ? "bf16" : "fp32", "shape", s->L, s->C, s->NH, s->NKV, s->F);
	uint64_t teachers = phase_teachers_hash(run, spec->masks ? spec->masks->distill : NULL);
	if (teachers && teachers != run->teachers[0].hash)
		json_object_set_new(inputs, "teachers", stage_hash_json(teachers));
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

static int run_stage(struct init *in, const struct run *run, const struct init_spec *spec, const char *dir, uint64_t seed, struct err *e)
{
	char *model = path_format("%s/model", dir);
	json_t *inputs = init_inputs(in, run, spec, spec->layers.n ? 0 : seed, e); /* nothing random in kept layers: shared by seeds */
	bool done;
	int rc = -1;
	in->dir = strdup(dir);
	if (!inputs || !in->dir)
		goto out;
	TRY(stage_begin(dir, inputs, &done, e));
	if (!done && spec->importance) {
		TRY(importance_run(run, spec->importance, &in->start.arch, seed, dir, e));
		TRY(stage_finish(dir, e));
	} else if (!done)
		TRY(spec->masks ? learn_masks(in, run, spec->masks, seed, model, e) : cut_layers(in, run, spec, model, e));
	else if (spec->masks)
		TRY(read_report(in, e));
	loop_forget(dir);
	in->start.dir = model;
	model = NULL;
	rc = 0;
out:
	free(model);
	return rc;
}

/* Which of the teacher's layers and dimensions the cut left, for losses that compare hidden states. */
static int what_was_kept(struct init *in, const struct run *run, const struct init_spec *spec, struct err *e)
{
	const struct arch *source = &run->teachers[0].model.layout.arch;
	char *path = path_format("%s/masks.safetensors", in->dir);
	struct host_masks z = {0};
	void *block = NULL;
	int rc = -1;
	if (spec->layers.n) {
		rc = kept_layers(&in->kept, run, spec, e);
	} else if (spec->importance) {
		rc = importance_kept(run, spec->importance, &in->start.arch, in->dir, &in->kept, e);
	} else {
		TRY(masks_load(path, source, &z, &block, e));
		rc = kept_from_masks(&in->kept, source, &in->start.arch, &z, e);
	}
	in->start.kept = &in->kept;
out:
	free(block);
	free(path);
	return rc;
}

int init_open(struct init *in, const struct run *run, const struct init_spec *spec, const char *dir, uint64_t seed, struct err *e)
{
	int rc = -1;
	memset(in, 0, sizeof *in);
	TRY(init_arch(run, spec, &in->start.arch, e));
	if (spec->importance && importance_warning(run, spec->importance))
		warn(in, "%s", importance_warning(run, spec->importance));
	if (spec->masks || spec->layers.n || spec->importance)
		if (run_stage(in, run, spec, dir, seed, e) < 0 || what_was_kept(in, run, spec, e) < 0)
			goto out;
	if (spec->model)
		in->start.dir = strdup(spec->model);
	if (spec->masks) {
		int64_t steps = spec->masks->tokens / spec->masks->batch_tokens;
		in->start.spent_tokens = steps * spec->masks->batch_tokens;
		in->start.spent_flops = phase_flops(run, &run->teachers[0].model.layout.arch, spec->masks->distill != NULL, in->start.spent_tokens);
	}
	if (spec->importance) {
		struct importance_price price;
		TRY(importance_price(run, spec->importance, &price, e));
		in->start.spent_tokens = price.tokens;
		in->start.spent_flops = price.flops;
	}
	if (in->start.dir) {
		TRY(hf_open(&in->model, in->start.dir, e));
		in->start.hash = hf_hash(&in->model);
		in->start.config = in->model.config;
	} else if (run->teachers[0].dir)
		in->start.config = run->teachers[0].model.config;
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

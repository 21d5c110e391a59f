#include "recipes/phase.h"

#include "base/fsio.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "recipes/stage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *run_files_from(const struct run *run)
{
	if (run->corpus.tokenizer_dir)
		return run->corpus.tokenizer_dir;
	return run->teachers[0].dir ? run->teachers[0].dir : run->spec->teacher->init->model; /* the latter while it is corrected */
}

double phase_flops(const struct run *run, const struct arch *arch, bool distil, int64_t tokens)
{
	int T = (int)run->spec->data->sequence_length;
	double per_token = 3 * arch_flops_per_token(arch, T);
	if (distil)
		per_token += arch_flops_per_token(&run->teachers[0].model.layout.arch, T);
	return per_token * (double)tokens;
}

struct schedule phase_schedule(const struct train_spec *t, double lr, int64_t tokens)
{
	int steps = (int)(tokens / t->batch_tokens);
	return (struct schedule){.kind = (enum schedule_kind)t->schedule, .peak = (float)lr, .final_fraction = (float)t->final_lr,
				 .total_steps = steps, .warmup_steps = (int)lround(t->warmup * steps), .decay_steps = (int)lround(t->decay * steps)};
}

struct session_options phase_session(const struct run *run, const struct train_spec *t, const struct masks_spec *m,
				     const struct arch *arch)
{
	struct session_options o = {.ops = run->ops, .eval_ops = run->eval_ops, .arch = arch, .masked = m != NULL,
				    .eval_sequence_length = (int)run->spec->data->sequence_length, .student = student_default()};
	struct student_options *s = &o.student;
	if (t ? t->distill != NULL : m->distill != NULL)
		o.teacher = &run->teachers[0].model;
	if (o.eval_sequence_length > arch->max_positions)
		o.eval_sequence_length = arch->max_positions;
	s->T = (int)run->spec->data->sequence_length;
	s->B = 1;
	s->beta1 = (float)(t ? t->beta1 : m->beta1);
	s->beta2 = (float)(t ? t->beta2 : m->beta2);
	s->eps = (float)(t ? t->eps : m->eps);
	s->weight_decay = (float)(t ? t->weight_decay : m->weight_decay);
	s->clip_norm = (float)(t ? t->clip : m->clip);
	return o;
}

static int chosen_micro_batch(const struct run *run, struct session_options *o, int64_t batch_tokens, struct err *e)
{
	int rows = (int)(batch_tokens / o->student.T);
	if (!run->spec->micro_batch)
		return session_micro_batch(o, rows, (size_t)(0.9 * (double)memory_available()), &o->student.B, e);
	BUG_ON(rows % run->spec->micro_batch); /* recipe.c refuses it */
	o->student.B = (int)run->spec->micro_batch;
	return 0;
}

/* What the first start took, unless the recipe has changed its mind. */
static int agree_on_micro_batch(const struct run *run, const char *path, int64_t old, int *B, struct err *e)
{
	int64_t wanted = run->spec->micro_batch;
	if (wanted && wanted != old && !run->allow_drift)
		return err_user(e, "%s says micro_batch %lld from the first start, the recipe %lld: results would not repeat to the bit; remove one of the two, or --allow-drift takes the new one",
				path, (long long)old, (long long)wanted);
	*B = (int)(wanted ? wanted : old);
	return 0;
}

int phase_micro_batch(const struct run *run, const char *dir, struct session_options *o, int64_t batch_tokens, struct err *e)
{
	char *path = path_format("%s/session.json", dir);
	json_t *old = NULL;
	int64_t B;
	int rc = -1;
	if (fsio_exists(path)) {
		TRY(json_read_file(path, &old, e));
		TRY(json_get_int64(old, path, "micro_batch", 1, 1, 1 << 20, &B, e));
		TRY(agree_on_micro_batch(run, path, B, &o->student.B, e));
	} else {
		B = 0;
		TRY(chosen_micro_batch(run, o, batch_tokens, e));
	}
	if (o->student.B != B) {
		json_decref(old);
		old = json_pack("{s:i}", "micro_batch", o->student.B);
		TRY(json_write_file(path, old, e));
	}
	rc = 0;
out:
	json_decref(old);
	free(path);
	return rc;
}

int phase_load(struct student *s, const struct start *start, uint64_t seed, struct err *e)
{
	struct hf_model hf = {0};
	float *flat = NULL;
	int rc = -1;
	if (!start->dir) {
		student_randomise(s, seed);
		return 0;
	}
	TRY(hf_open(&hf, start->dir, e));
	flat = malloc(hf.layout.n_elems * sizeof *flat);
	if (!flat) {
		err_run(e, "out of memory: %zu bytes for the weights of %s", hf.layout.n_elems * sizeof *flat, start->dir);
		goto out;
	}
	hf_read_f32(&hf, flat);
	student_load(s, flat);
	rc = 0;
out:
	free(flat);
	hf_close(&hf);
	return rc;
}

int phase_save_model(const struct run *run, const struct student *s, const struct start *start, const char *dir, enum dtype dtype,
		     struct err *e)
{
	struct hf_save_options o = {.dtype = dtype, .copy_from = run_files_from(run), .config_from = start->config};
	char *config = path_format("%s/config.json", dir);
	float *flat = malloc(s->layout.n_elems * sizeof *flat);
	int rc = -1;
	if (!flat) {
		err_run(e, "out of memory: %zu bytes for the weights", s->layout.n_elems * sizeof *flat);
		goto out;
	}
	if (!fsio_exists(config)) {
		student_weights(s, flat);
		TRY(fsio_remove_tree(dir, e));
		TRY(hf_save(dir, &s->layout, flat, &o, e));
	}
	rc = 0;
out:
	free(flat);
	free(config);
	return rc;
}

/* Of everything that the architecture says: sizes, family, rotary embeddings, tied or not. */
static uint64_t architecture_hash(const struct start *start)
{
	json_t *config = arch_to_config(&start->arch, start->config);
	char *text = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
	BUG_ON(!text);
	uint64_t h = hash_bytes(text, strlen(text));
	free(text);
	json_decref(config);
	return h;
}

static json_t *phase_inputs(const struct phase *p)
{
	const struct run *run = p->run;
	struct train_spec spec = *p->spec;
	struct batches *b = NULL;
	struct err ignored;
	spec.lr = (struct real_list){&(double){p->lr}, 1}; /* the others of a search do not matter here */
	uint64_t data = corpus_batches(&run->corpus, p->seed, &b, &ignored) < 0 ? 0 : batches_hash(b);
	batches_close(b);
	json_t *inputs = json_pack("{s:o,s:f,s:I,s:I,s:I,s:o,s:o,s:o,s:s,s:o}", "train", stage_hash_json(section_hash(&train_section, &spec)),
			 "lr", p->lr, "tokens", (json_int_t)p->tokens, "spent_tokens", (json_int_t)p->start->spent_tokens, "seed", (json_int_t)p->seed,
			 "start", stage_hash_json(p->start->hash), "data", stage_hash_json(data),
			 "teacher", stage_hash_json(p->spec->distill ? run->teachers[0].hash : 0),
			 "compute", run->spec->compute == COMPUTE_BF16 ? "bf16" : "fp32", "architecture",
			 stage_hash_json(architecture_hash(p->start)));
	if (run->spec->report->metrics == METRICS_JSONL) /* its files are part of the stage */
		json_object_set_new(inputs, "metrics", json_string("jsonl"));
	return inputs;
}

static int write_results(const struct phase *p, struct err *e)
{
	char *path = path_format("%s/phase.json", p->dir);
	json_t *o = json_pack("{s:o,s:f,s:f,s:f,s:f}", "heldout_nll", p->diverged ? json_null() : json_real(p->heldout_nll), "flops", p->flops, "epochs", p->epochs, "unique_tokens",
			      p->unique_tokens, "seconds", p->seconds);
	int rc = json_write_file(path, o, e);
	json_decref(o);
	free(path);
	return rc;
}

static int read_results(struct phase *p, struct err *e)
{
	char *path = path_format("%s/phase.json", p->dir);
	json_t *o = NULL;
	int rc = -1;
	TRY(json_read_file(path, &o, e));
	TRY(json_get_double(o, path, "heldout_nll", -1, 0, 1e9, &p->heldout_nll, e));
	p->diverged = p->heldout_nll < 0;
	if (p->diverged)
		p->heldout_nll = INFINITY;
	TRY(json_get_double(o, path, "flops", 0, 0, 1e30, &p->flops, e));
	TRY(json_get_double(o, path, "epochs", 0, 0, 1e12, &p->epochs, e));
	TRY(json_get_double(o, path, "unique_tokens", 0, 0, 1e18, &p->unique_tokens, e));
	TRY(json_get_double(o, path, "seconds", 0, 0, 1e12, &p->seconds, e));
	rc = 0;
out:
	json_decref(o);
	free(path);
	return rc;
}

/* A candidate of a search that runs away has a result all the same: nobody takes it. */
static bool is_a_result(const struct phase *p, const struct loop *loop, struct err *e)
{
	if (!loop->diverged || p->keep)
		return false;
	log_line("%s diverges: %s", p->label, e->line);
	return true;
}

static int train(struct phase *p, struct err *e)
{
	const struct run *run = p->run;
	struct session_options o = phase_session(run, p->spec, NULL, &p->start->arch);
	struct session session = {0};
	char *model = path_format("%s/model", p->dir);
	int rc = -1;
	TRY(phase_micro_batch(run, p->dir, &o, p->spec->batch_tokens, e));
	TRY(session_open(&session, &o, e));
	TRY(phase_load(&session.student, p->start, p->seed, e));
	struct loop loop = {.run = run, .dir = p->dir, .label = p->label, .session = &session, .distill = p->spec->distill,
			    .schedule = phase_schedule(p->spec, p->lr, p->tokens), .seed = p->seed, .skip_tokens = p->start->spent_tokens,
			    .batch_tokens = p->spec->batch_tokens, .eval_every = p->spec->eval_every, .checkpoint_every = p->spec->checkpoint_every};
	if (loop_run(&loop, e) < 0) {
		if (!is_a_result(p, &loop, e))
			goto out;
		p->diverged = true;
		loop.heldout_nll = INFINITY;
	}
	p->heldout_nll = loop.heldout_nll;
	p->epochs = loop.epochs;
	p->unique_tokens = loop.unique_tokens;
	p->seconds = loop.seconds;
	p->flops = phase_flops(run, &p->start->arch, p->spec->distill != NULL, loop.schedule.total_steps * p->spec->batch_tokens);
	if (p->keep)
		TRY(phase_save_model(run, &session.student, p->start, model, p->start->arch.dtype, e));
	TRY(write_results(p, e));
	TRY(stage_finish(p->dir, e));
	rc = 0;
out:
	session_close(&session);
	free(model);
	return rc;
}

int phase_train(struct phase *p, struct err *e)
{
	bool done;
	if (stage_begin(p->dir, phase_inputs(p), &done, e) < 0)
		return -1;
	int rc = done ? read_results(p, e) : train(p, e);
	if (rc == 0)
		loop_forget(p->dir); /* also where we were killed just before */
	return rc;
}

int phase_price(const struct run *run, const struct train_spec *t, const struct masks_spec *m, const struct arch *arch, int64_t tokens,
		struct phase_price *out, struct err *e)
{
	struct session_options o = phase_session(run, t, m, arch);
	bool distil = t ? t->distill != NULL : m->distill != NULL;
	memset(out, 0, sizeof *out);
	if (chosen_micro_batch(run, &o, t ? t->batch_tokens : m->batch_tokens, e) < 0 || session_price(&o, out->bytes, e) < 0)
		return -1;
	out->micro_batch = o.student.B;
	out->flops = phase_flops(run, arch, distil, tokens);
	out->checkpoint_bytes = 3 * (out->bytes[MEMORY_MOMENTS] / 2);
	return 0;
}

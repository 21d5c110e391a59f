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
	for (int i = 0; i < run->n_teachers && distil; i++)
		per_token += arch_flops_per_token(&run->teachers[i].model.layout.arch, T);
	return per_token * (double)tokens;
}

struct schedule phase_schedule(const struct train_spec *t, double lr, int64_t tokens)
{
	int steps = (int)(tokens / t->batch_tokens);
	return (struct schedule){.kind = (enum schedule_kind)t->schedule, .peak = (float)lr, .final_fraction = (float)t->final_lr,
				 .total_steps = steps, .warmup_steps = (int)lround(t->warmup * steps), .decay_steps = (int)lround(t->decay * steps)};
}

uint64_t phase_teachers_hash(const struct run *run, const struct distill_spec *distill)
{
	struct hash h;
	if (!distill)
		return 0;
	if (run->n_teachers == 1 && run->teachers[0].ops == run->ops)
		return run->teachers[0].hash;
	hash_init(&h);
	for (int i = 0; i < run->n_teachers; i++) {
		const struct run_teacher *t = &run->teachers[i];
		int bf16 = t->ops->matmul_bf16;
		hash_update(&h, &t->hash, sizeof t->hash);
		hash_update(&h, t->share, (size_t)run->corpus.n_domains * sizeof *t->share);
		hash_update(&h, &bf16, sizeof bf16);
	}
	return hash_final(&h);
}

struct session_options phase_session(const struct run *run, const struct train_spec *t, const struct masks_spec *m,
				     const struct arch *arch, struct supply *supply)
{
	struct session_options o = {.ops = run->ops, .eval_ops = run->eval_ops, .arch = arch, .masked = m != NULL,
				    .eval_sequence_length = (int)run->spec->data->sequence_length, .student = student_default()};
	struct student_options *s = &o.student;
	if (supply)
		supply_session(supply, &o);
	if (o.eval_sequence_length > arch->max_positions)
		o.eval_sequence_length = arch->max_positions;
	s->T = (int)run->spec->data->sequence_length;
	s->B = 1;
	s->beta1 = (float)(t ? t->beta1 : m->beta1);
	s->beta2 = (float)(t ? t->beta2 : m->beta2);
	s->eps = (float)(t ? t->eps : m->eps);
	s->weight_decay = (float)(t ? t->weight_decay : m->weight_decay);
	s->clip_norm = (float)(t ? t->clip : m->clip);
	s->frozen = m && m->weights == WEIGHTS_FROZEN;
	return o;
}

/* Filling a cache comes before the session and needs room too: the teacher that fills it runs on the same micro-batch. */
static int shrink_for_filling(struct supply *supply, int rows, size_t limit, struct student_options *o, struct err *e)
{
	size_t bytes[MEMORY_OWNERS] = {0};
	for (; o->B; o->B--) {
		if (rows % o->B)
			continue;
		if (supply_price_filling(supply, o->B, o->T, bytes, e) < 0)
			return -1;
		if (session_total(bytes) <= limit)
			return 0;
	}
	return err_run(e, "the teacher that fills the cache needs %.1f MiB for one sequence of %d tokens, %.1f MiB are free",
		       (double)session_total(bytes) / 1048576, o->T, (double)limit / 1048576);
}

static int chosen_micro_batch(const struct run *run, struct supply *supply, struct session_options *o, int64_t batch_tokens, struct err *e)
{
	int rows = (int)(batch_tokens / o->student.T);
	size_t limit = (size_t)(0.9 * (double)memory_available());
	if (!run->spec->micro_batch) {
		if (session_micro_batch(o, rows, limit, &o->student.B, e) < 0)
			return -1;
		return supply && supply->plan.cache ? shrink_for_filling(supply, rows, limit, &o->student, e) : 0;
	}
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

int phase_micro_batch(const struct run *run, const char *dir, struct supply *supply, struct session_options *o, int64_t batch_tokens, struct err *e)
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
		TRY(chosen_micro_batch(run, supply, o, batch_tokens, e));
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

/* Of everything but where a cache lies and who may fill it: that does not change what is learned. */
static uint64_t train_hash(const struct train_spec *spec)
{
	struct train_spec t = *spec;
	struct distill_spec d;
	struct cache_section c;
	if (t.distill && t.distill->cache) {
		c = *t.distill->cache;
		c.dir = NULL;
		c.write = true;
		d = *t.distill;
		d.cache = &c;
		t.distill = &d;
	}
	return section_hash(&train_section, &t);
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
	json_t *inputs = json_pack("{s:o,s:f,s:I,s:I,s:I,s:o,s:o,s:o,s:s,s:o}", "train", stage_hash_json(train_hash(&spec)),
			 "lr", p->lr, "tokens", (json_int_t)p->tokens, "spent_tokens", (json_int_t)p->start->spent_tokens, "seed", (json_int_t)p->seed,
			 "start", stage_hash_json(p->start->hash), "data", stage_hash_json(data),
			 "teacher", stage_hash_json(phase_teachers_hash(run, p->spec->distill)),
			 "compute", run->spec->compute == COMPUTE_BF16 ? "bf16" : "fp32", "architecture",
			 stage_hash_json(architecture_hash(p->start)));
	if (run->spec->report->metrics == METRICS_JSONL) /* its files are part of the stage */
		json_object_set_new(inputs, "metrics", json_string("jsonl"));
	return inputs;
}

struct saved { /* in phase.json, beside heldout_nll */
	const char *name;
	double *value;
	double max;
};
enum { N_SAVED = 7 };

static void list_saved(struct phase *p, struct saved out[N_SAVED])
{
	const struct saved list[N_SAVED] = {
		{"flops", &p->flops, 1e30}, {"epochs", &p->epochs, 1e12}, {"unique_tokens", &p->unique_tokens, 1e18}, {"seconds", &p->seconds, 1e12},
		{"cache_bytes_per_token", &p->cache_bytes_per_token, 1e9}, {"cache_mass", &p->cache_mass, 1}, {"cache_tokens", &p->cache_tokens, 1e18},
	};
	memcpy(out, list, sizeof list);
}

static int write_results(struct phase *p, struct err *e)
{
	struct saved saved[N_SAVED];
	char *path = path_format("%s/phase.json", p->dir);
	json_t *o = json_pack("{s:o}", "heldout_nll", p->diverged ? json_null() : json_real(p->heldout_nll));
	list_saved(p, saved);
	for (int i = 0; i < N_SAVED; i++)
		json_object_set_new(o, saved[i].name, json_real(*saved[i].value));
	int rc = json_write_file(path, o, e);
	json_decref(o);
	free(path);
	return rc;
}

static int read_results(struct phase *p, struct err *e)
{
	struct saved saved[N_SAVED];
	char *path = path_format("%s/phase.json", p->dir);
	json_t *o = NULL;
	int rc = -1;
	TRY(json_read_file(path, &o, e));
	TRY(json_get_double(o, path, "heldout_nll", -1, 0, 1e9, &p->heldout_nll, e));
	p->diverged = p->heldout_nll < 0;
	if (p->diverged)
		p->heldout_nll = INFINITY;
	list_saved(p, saved);
	for (int i = 0; i < N_SAVED; i++)
		TRY(json_get_double(o, path, saved[i].name, 0, 0, saved[i].max, saved[i].value, e));
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

/* Of the first teacher's cache, which is as large per token as the others'. */
static void take_cache_stats(struct phase *p, const struct supply *supply)
{
	if (!supply->plan.cache)
		return;
	struct cache_stats stats = cache_stats(supply->caches[0]);
	p->cache_tokens = (double)stats.tokens;
	p->cache_bytes_per_token = stats.tokens ? (double)stats.bytes / (double)stats.tokens : 0;
	p->cache_mass = stats.mass;
}

/* Session, weights, loop, results. */
static int train_in(struct phase *p, struct session *session, const struct session_options *o, const struct supply *supply, struct err *e)
{
	const struct run *run = p->run;
	char *model = path_format("%s/model", p->dir);
	int rc = -1;
	TRY(session_open(session, o, e));
	TRY(phase_load(&session->student, p->start, p->seed, e));
	struct loop loop = {.run = run, .dir = p->dir, .label = p->label, .session = session, .supply = supply,
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
	p->flops = phase_flops(run, &p->start->arch, supply != NULL, loop.schedule.total_steps * p->spec->batch_tokens);
	if (p->keep)
		TRY(phase_save_model(run, &session->student, p->start, model, p->start->arch.dtype, e));
	rc = 0;
out:
	free(model);
	return rc;
}

static int train(struct phase *p, struct err *e)
{
	const struct run *run = p->run;
	struct session session = {0};
	struct supply *supply = NULL;
	int rc = -1;
	if (p->spec->distill)
		TRY(supply_open(&supply, run, p->spec->distill, &p->start->arch, p->start->kept, e));
	struct session_options o = phase_session(run, p->spec, NULL, &p->start->arch, supply);
	o.student.projection_seed = p->seed;
	TRY(phase_micro_batch(run, p->dir, supply, &o, p->spec->batch_tokens, e));
	if (supply) {
		supply_log(supply, p->label);
		int64_t steps = p->tokens / p->spec->batch_tokens;
		TRY(supply_fill(supply, &(struct supply_stream){p->seed, p->start->spent_tokens, steps * p->spec->batch_tokens, p->label}, &o, e));
		take_cache_stats(p, supply);
	}
	TRY(train_in(p, &session, &o, supply, e));
	TRY(write_results(p, e));
	TRY(stage_finish(p->dir, e));
	rc = 0;
out:
	session_close(&session);
	supply_close(supply);
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

int phase_price(const struct run *run, const struct train_spec *t, const struct masks_spec *m, const struct arch *arch,
		const struct kept *kept, int64_t tokens, struct phase_price *out, struct err *e)
{
	const struct distill_spec *distill = t ? t->distill : m->distill;
	struct supply *supply = NULL;
	int rc = -1;
	memset(out, 0, sizeof *out);
	if (distill)
		TRY(supply_open(&supply, run, distill, arch, kept, e));
	struct session_options o = phase_session(run, t, m, arch, supply);
	TRY(chosen_micro_batch(run, supply, &o, t ? t->batch_tokens : m->batch_tokens, e));
	TRY(session_price(&o, out->bytes, e));
	out->micro_batch = o.student.B;
	out->flops = phase_flops(run, arch, distill != NULL, tokens);
	out->checkpoint_bytes = out->bytes[MEMORY_GRADIENTS] + out->bytes[MEMORY_MOMENTS]; /* the masters are as large as the gradients */
	if (supply && supply->plan.cache) {
		TRY(supply_price_filling(supply, o.student.B, o.student.T, out->filling, e));
		out->cache_row_bytes = supply_cache_row_bytes(supply);
		supply_cache_text(supply, out->cache, sizeof out->cache);
		char *dir = supply_cache_dir(supply, 0);
		out->cache_id = hash_bytes(dir, strlen(dir));
		free(dir);
	}
	rc = 0;
out:
	supply_close(supply);
	return rc;
}

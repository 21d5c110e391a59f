#include "recipes/loop.h"

#include "base/clock.h"
#include "base/fsio.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "recipes/metrics.h"
#include "recipes/rows.h"
#include "recipes/stage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert((int)TARGET_IS_SEPARATOR == (int)TRAIN_TARGET_IS_SEPARATOR, "batches go to the student as they come");

struct state { /* what one call of loop_run owns */
	struct batches *batches;
	struct metrics metrics;
	char names[MASK_STRUCTURES * 6][40]; /* of the columns of masks */
	char loss_columns[STUDENT_MAX_TERMS + STUDENT_MAX_INNER][40]; /* of the plan's terms, then of its inner losses */
	char *checkpoint;
	struct rows rows;
	float *share[RECIPE_MAX_TEACHERS]; /* (B*T) of each teacher, where there are several */
	/* running means that balance inner losses: of the divergences' sum, then of each inner loss of the plan; 0: not yet known */
	double magnitude[1 + STUDENT_MAX_INNER];
	struct host_masks z, dz;
	void *z_block, *dz_block;
	float *mask_state;
	size_t n_mask_state;
	double earlier_s, begin_s;
};

/* ---- held-out loss ---- */

static void upload_masks(struct session *s, const struct host_masks *z, struct masks *out)
{
	const struct shape *sh = &s->options.arch->shape;
	struct ops *ops = s->options.ops;
	size_t L = (size_t)sh->L;
	*out = s->masks;
	const float *host[] = {z->hidden, z->layers, z->heads, z->ffn};
	const float **device[] = {&out->hidden, &out->attn, &out->heads, &out->ffn};
	size_t n[] = {(size_t)sh->C, L, L * (size_t)sh->NH, L * (size_t)sh->F};
	for (int i = 0; i < 4; i++)
		if (host[i])
			ops->upload(ops, (float *)(uintptr_t)*device[i], host[i], n[i] * sizeof(float));
		else
			*device[i] = NULL;
	out->ffn_block = out->attn;
}

static bool is_finite(const struct evaluation *v)
{
	for (size_t i = 0; i < v->n_documents; i++)
		if (!isfinite(v->documents[i].nll))
			return false;
	return true;
}

int loop_heldout(const struct run *run, struct session *s, const struct host_masks *z, double *nll, struct err *e)
{
	struct params params = session_fp32(s);
	struct masks masks;
	struct evaluated model = {.params = &params};
	double sum = 0;
	if (z) {
		upload_masks(s, z, &masks);
		model.masks = &masks;
	}
	for (int i = 0; i < run->corpus.n_domains; i++) {
		struct shard_documents docs = {0};
		struct document_source source = corpus_heldout(&run->corpus, i, &docs);
		struct evaluation found = {0};
		int rc = evaluator_run(s->evaluator, &model, &source, &found, NULL, NULL, e);
		sum += found.nll;
		if (rc < 0 && !is_finite(&found))
			*nll = INFINITY;
		evaluation_release(&found);
		shard_documents_close(&docs);
		if (rc < 0)
			return err_prefix(e, "held-out documents of domain '%s'", run->corpus.domains[i].name);
	}
	*nll = sum / run->corpus.n_domains;
	return 0;
}

/* ---- metrics ---- */

/* "forward_kl", and "forward_kl_2" where the list names it again. */
static void name_column(const struct state *s, int n_before, const char *name, char out[40])
{
	int same = 1;
	for (int i = 0; i < n_before; i++)
		same += !strncmp(s->loss_columns[i], name, strlen(name)) && strchr("_", s->loss_columns[i][strlen(name)]);
	if (same == 1)
		snprintf(out, 40, "%s", name);
	else
		snprintf(out, 40, "%s_%d", name, same);
}

static int loss_columns(const struct loop *l, struct state *s, const char **columns, int n)
{
	const struct distill_plan *p = &l->supply->plan;
	columns[n++] = "teacher_ce";
	columns[n++] = "agree";
	for (int i = 0; i < p->n_terms + p->n_inner; i++) {
		int loss = i < p->n_terms ? (int)p->terms[i].kind : LOSS_HIDDEN_COSINE + (int)p->inner[i - p->n_terms].kind;
		name_column(s, i, loss_names[loss], s->loss_columns[i]);
		columns[n++] = s->loss_columns[i];
	}
	return n;
}

static int open_metrics(const struct loop *l, struct state *s, uint64_t n_bytes, struct err *e)
{
	static const char *const common[] = {"step", "tokens", "lr", "loss", "ce", "ce_text", "grad_norm", "heldout_nll", "tokens_per_s"};
	static const char *const fields[] = {"target", "expected", "final", "lambda1", "lambda2", "saturated"};
	const char *columns[METRICS_MAX_COLUMNS];
	int n = 0;
	for (size_t i = 0; i < sizeof common / sizeof *common; i++)
		columns[n++] = common[i];
	if (l->supply)
		n = loss_columns(l, s, columns, n);
	if (l->masks)
		columns[n++] = "unmasked_nll";
	for (int k = 0; l->masks && k < MASK_STRUCTURES; k++)
		for (int f = 0; f < 6 && mask_learner_prunes(l->masks, (enum mask_structure)k); f++) {
			snprintf(s->names[k * 6 + f], sizeof s->names[0], "%s_%s", mask_structure_name((enum mask_structure)k), fields[f]);
			columns[n++] = s->names[k * 6 + f];
		}
	bool jsonl = l->run->spec->report->metrics == METRICS_JSONL;
	char *path = path_format("%s/metrics.%s", l->dir, jsonl ? "jsonl" : "csv");
	int rc = metrics_open(&s->metrics, path, jsonl, columns, n, n_bytes, e);
	free(path);
	return rc;
}

static void set_mask_metrics(const struct loop *l, struct metrics *m)
{
	const struct mask_report *r = &l->report;
	for (int k = 0; k < MASK_STRUCTURES; k++) {
		double values[] = {r->target[k], r->expected[k], r->final_target[k], r->lambda1[k], r->lambda2[k], r->saturated[k]};
		static const char *const fields[] = {"target", "expected", "final", "lambda1", "lambda2", "saturated"};
		for (int f = 0; f < 6 && mask_learner_prunes(l->masks, (enum mask_structure)k); f++) {
			char name[40];
			snprintf(name, sizeof name, "%s_%s", mask_structure_name((enum mask_structure)k), fields[f]);
			metrics_set(m, name, values[f]);
		}
	}
}

/* ---- checkpoints ---- */

static json_t *position(const struct state *s)
{
	uint64_t state[64];
	int n = batches_n_state(s->batches);
	BUG_ON(n > 64);
	batches_get_state(s->batches, state);
	json_t *list = json_array();
	for (int i = 0; i < n; i++)
		json_array_append_new(list, json_integer((json_int_t)state[i]));
	json_t *magnitude = json_array();
	for (size_t i = 0; i < sizeof s->magnitude / sizeof *s->magnitude; i++)
		json_array_append_new(magnitude, json_real(s->magnitude[i]));
	return json_pack("{s:o,s:o,s:I,s:f}", "batches", list, "magnitude", magnitude, "metrics_bytes", (json_int_t)s->metrics.n_bytes, "seconds",
			 s->earlier_s + clock_now_s() - s->begin_s);
}

static int save(const struct loop *l, const struct state *s, struct err *e)
{
	struct checkpoint_array extra = {"masks", s->mask_state, s->n_mask_state * sizeof(float)};
	json_t *where = position(s);
	char *text = json_dumps(where, JSON_COMPACT);
	if (l->masks)
		mask_learner_get_state(l->masks, s->mask_state);
	int rc = metrics_sync(&s->metrics, e) < 0 ? -1 : checkpoint_save(s->checkpoint, &l->session->student, text, &extra, l->masks ? 1 : 0, e);
	free(text);
	json_decref(where);
	return rc;
}

static int restore(struct loop *l, struct state *s, struct err *e)
{
	struct checkpoint_array extra = {"masks", s->mask_state, s->n_mask_state * sizeof(float)};
	uint64_t state[64];
	char *text = NULL;
	json_t *where = NULL;
	int64_t metrics_bytes;
	int rc = -1;
	TRY(checkpoint_load(s->checkpoint, &l->session->student, &text, &extra, l->masks ? 1 : 0, e));
	TRY(json_parse(text, strlen(text), s->checkpoint, &where, e));
	if (l->masks)
		mask_learner_set_state(l->masks, s->mask_state);
	json_t *list = json_object_get(where, "batches");
	if ((int)json_array_size(list) != batches_n_state(s->batches)) {
		err_run(e, "%s: holds the positions of %zu domains, expected %d", s->checkpoint, json_array_size(list), batches_n_state(s->batches));
		goto out;
	}
	for (size_t i = 0; i < json_array_size(list); i++)
		state[i] = (uint64_t)json_integer_value(json_array_get(list, i));
	TRY(batches_set_state(s->batches, state, e));
	for (size_t i = 0; i < sizeof s->magnitude / sizeof *s->magnitude; i++)
		s->magnitude[i] = json_number_value(json_array_get(json_object_get(where, "magnitude"), i));
	TRY(json_get_int64(where, s->checkpoint, "metrics_bytes", 0, 1, INT64_MAX, &metrics_bytes, e));
	TRY(json_get_double(where, s->checkpoint, "seconds", 0, 0, 1e12, &s->earlier_s, e));
	TRY(open_metrics(l, s, (uint64_t)metrics_bytes, e));
	log_line("%s goes on at step %d of %d", l->label, l->session->student.step, l->schedule.total_steps);
	rc = 0;
out:
	free(text);
	json_decref(where);
	return rc;
}

/* ---- one step ---- */

static void sample_masks(struct loop *l, struct state *s, int micro, struct masks *masks, struct mask_grads *grads)
{
	const struct shape *sh = &l->session->options.arch->shape;
	struct ops *ops = l->session->options.ops;
	size_t L = (size_t)sh->L;
	mask_learner_sample(l->masks, l->session->student.step, micro, &s->z);
	upload_masks(l->session, &s->z, masks);
	*grads = l->session->mask_grads;
	const float *z[] = {masks->hidden, masks->attn, masks->heads, masks->ffn};
	float **dz[] = {&grads->hidden, &grads->attn, &grads->heads, &grads->ffn};
	size_t n[] = {(size_t)sh->C, L, L * (size_t)sh->NH, L * (size_t)sh->F};
	for (int i = 0; i < 4; i++)
		if (z[i])
			ops->zero(ops, *dz[i], n[i] * sizeof(float));
		else
			*dz[i] = NULL;
	grads->ffn_block = grads->attn;
}

static void return_mask_grads(struct loop *l, struct state *s, const struct mask_grads *grads)
{
	const struct shape *sh = &l->session->options.arch->shape;
	struct ops *ops = l->session->options.ops;
	size_t L = (size_t)sh->L;
	const float *device[] = {grads->hidden, grads->attn, grads->heads, grads->ffn};
	float *host[] = {s->dz.hidden, s->dz.layers, s->dz.heads, s->dz.ffn};
	size_t n[] = {(size_t)sh->C, L, L * (size_t)sh->NH, L * (size_t)sh->F};
	for (int i = 0; i < 4; i++)
		if (device[i])
			ops->download(ops, host[i], device[i], n[i] * sizeof(float));
	mask_learner_backward(l->masks, &s->dz);
}

/* What every teacher weighs in each row: by the domain that the row's sequence is of. */
static void set_shares(const struct loop *l, struct state *s)
{
	size_t T = (size_t)s->rows.T;
	for (int m = 0; m < l->session->n_teachers; m++)
		for (size_t i = 0; i < (size_t)s->rows.B * T; i++)
			s->share[m][i] = (float)l->run->teachers[m].share[s->rows.domain[i / T]];
}

static int ask_teachers(struct loop *l, struct state *s, const struct batch *device, struct soft_targets *soft, struct step_teacher *out,
			struct err *e)
{
	struct session *se = l->session;
	struct teacher_batch rows = {device, s->rows.tokens, s->rows.targets, s->rows.start};
	if (se->n_teachers > 1)
		set_shares(l, s);
	for (int m = 0; m < se->n_teachers; m++) {
		if (teacher_targets(&se->teachers[m], &rows, &soft[m], e) < 0)
			return -1;
		out[m] = (struct step_teacher){&soft[m], se->n_teachers > 1 ? s->share[m] : NULL};
	}
	return 0;
}

static int microbatch(struct loop *l, struct state *s, int micro, const struct step_loss *loss, struct step_sums *sums,
		      struct err *e)
{
	struct session *se = l->session;
	struct soft_targets soft[RECIPE_MAX_TEACHERS];
	struct step_teacher teachers[RECIPE_MAX_TEACHERS];
	struct masks masks;
	struct mask_grads grads;
	rows_next(&s->rows, s->batches);
	const struct batch *device = student_upload(&se->student, &(struct train_batch){s->rows.tokens, s->rows.targets, s->rows.pos,
											s->rows.start, s->rows.flags});
	if (ask_teachers(l, s, device, soft, teachers, e) < 0)
		return -1;
	if (l->masks)
		sample_masks(l, s, micro, &masks, &grads);
	student_microbatch(&se->student, loss, se->n_teachers, teachers, l->masks ? &masks : NULL, l->masks ? &grads : NULL, NULL, sums);
	if (l->masks)
		return_mask_grads(l, s, &grads);
	return 0;
}

static double mean(double sum, size_t n)
{
	return n ? sum / (double)n : NAN;
}

/* The mean of an inner loss of the plan over its pairs of layers; *at goes on to the next one's. */
static double inner_mean(const struct distill_inner *item, const struct step_sums *sums, int *at)
{
	double sum = 0;
	for (int k = 0; k < item->n_pairs; k++)
		sum += sums->inner[(*at)++];
	return mean(sum / item->n_pairs, sums->kd_tokens);
}

static double divergences(const struct step_loss *loss, const struct step_sums *sums)
{
	double sum = 0;
	for (int k = 0; k < loss->n_terms; k++)
		sum += (double)loss->terms[k].weight * sums->terms[k];
	return mean(sum, sums->kd_tokens);
}

/* Inner losses on the scale of the divergences (of cross-entropy where there are none): each weight is multiplied by the
 * ratio of running means. The first step has none and leaves them out. */
static void balance(const struct loop *l, const struct state *s, struct step_loss *loss)
{
	const struct distill_plan *p = &l->supply->plan;
	for (int i = 0, at = 0; i < p->n_inner; i++)
		for (int k = 0; k < p->inner[i].n_pairs; k++, at++)
			loss->inner_weight[at] *= s->magnitude[1 + i] > 0 ? (float)(s->magnitude[0] / s->magnitude[1 + i]) : 0;
}

static void follow(double *running, double value)
{
	const double keep = 0.9;
	if (isfinite(value))
		*running = *running > 0 ? keep * *running + (1 - keep) * value : value;
}

static void follow_magnitudes(const struct loop *l, struct state *s, const struct step_loss *loss, const struct step_sums *sums)
{
	const struct distill_plan *p = &l->supply->plan;
	follow(&s->magnitude[0], loss->n_terms ? divergences(loss, sums) : mean(sums->ce, sums->tokens));
	for (int i = 0, at = 0; i < p->n_inner; i++)
		follow(&s->magnitude[1 + i], inner_mean(&p->inner[i], sums, &at));
}

static void set_loss_metrics(const struct loop *l, struct state *s, const struct step_sums *sums)
{
	const struct distill_plan *p = &l->supply->plan;
	metrics_set(&s->metrics, "teacher_ce", mean(sums->teacher_ce, sums->kd_tokens));
	metrics_set(&s->metrics, "agree", mean((double)sums->agree, sums->kd_tokens));
	for (int k = 0; k < p->n_terms; k++)
		metrics_set(&s->metrics, s->loss_columns[k], mean(sums->terms[k], sums->kd_tokens));
	for (int i = 0, at = 0; i < p->n_inner; i++)
		metrics_set(&s->metrics, s->loss_columns[p->n_terms + i], inner_mean(&p->inner[i], sums, &at));
}

/* The loss whose gradient was taken: rows without soft targets count with cross-entropy alone. */
static double total_loss(const struct step_loss *loss, const struct step_sums *sums, int n_inner)
{
	double kd_ce = loss->kd_skip_separators ? sums->ce_text : sums->ce, sum = sums->ce;
	if (!sums->kd_tokens)
		return mean(sums->ce, sums->tokens);
	sum += (double)(loss->ce_weight - 1) * kd_ce + divergences(loss, sums) * (double)sums->kd_tokens;
	for (int i = 0; i < n_inner; i++)
		sum += (double)loss->inner_weight[i] * sums->inner[i];
	return mean(sum, sums->tokens);
}

static void set_metrics(const struct loop *l, struct state *s, int step, double loss, const struct step_sums *sums, double lr, double norm)
{
	struct metrics *m = &s->metrics;
	metrics_set(m, "step", step + 1);
	metrics_set(m, "tokens", (double)(step + 1) * (double)l->batch_tokens);
	metrics_set(m, "lr", lr);
	metrics_set(m, "loss", loss);
	metrics_set(m, "ce", mean(sums->ce, sums->tokens));
	metrics_set(m, "ce_text", mean(sums->ce_text, sums->text_tokens));
	metrics_set(m, "grad_norm", norm);
	if (l->supply)
		set_loss_metrics(l, s, sums);
	if (l->masks)
		set_mask_metrics(l, m);
}

static int one_step(struct loop *l, struct state *s, double *loss_out, struct err *e)
{
	struct student *student = &l->session->student;
	int step = student->step, n_inner = l->supply ? l->supply->n_inner : 0;
	struct step_loss loss = {.step_tokens = (size_t)l->batch_tokens};
	struct step_sums sums = {0};
	float lr = schedule_lr(&l->schedule, step), norm = 0;
	int n_micro = (int)(l->batch_tokens / ((int64_t)student->options.B * student->options.T));
	if (l->supply)
		distill_at(&l->supply->plan, step, l->schedule.total_steps, &loss);
	if (l->supply && l->supply->plan.balance)
		balance(l, s, &loss);
	student_begin(student);
	for (int micro = 0; micro < n_micro; micro++)
		if (microbatch(l, s, micro, &loss, &sums, e) < 0)
			return -1;
	if (student_update(student, lr, &norm, e) < 0) {
		l->diverged = true;
		return -1;
	}
	if (l->masks)
		mask_learner_update(l->masks, step, &l->report);
	if (l->supply && l->supply->plan.balance)
		follow_magnitudes(l, s, &loss, &sums);
	*loss_out = total_loss(&loss, &sums, n_inner);
	set_metrics(l, s, step, *loss_out, &sums, (double)lr, (double)norm);
	return 0;
}

/* ---- the loop ---- */

static int evaluate(struct loop *l, struct state *s, struct err *e)
{
	int rc = -1;
	l->heldout_nll = l->masked_nll = 0;
	TRY(loop_heldout(l->run, l->session, NULL, &l->heldout_nll, e));
	if (!l->masks) {
		metrics_set(&s->metrics, "heldout_nll", l->heldout_nll);
		return 0;
	}
	metrics_set(&s->metrics, "unmasked_nll", l->heldout_nll);
	mask_learner_final(l->masks, false, &s->z);
	TRY(loop_heldout(l->run, l->session, &s->z, &l->masked_nll, e));
	metrics_set(&s->metrics, "heldout_nll", l->masked_nll);
	rc = 0;
out:
	l->diverged |= isinf(l->heldout_nll) || isinf(l->masked_nll);
	return rc;
}

static int begin(struct loop *l, struct state *s, struct err *e)
{
	const struct student_options *o = &l->session->options.student;
	int rc = -1;
	s->begin_s = clock_now_s();
	s->checkpoint = path_format("%s/checkpoint.safetensors", l->dir);
	TRY(corpus_batches(&l->run->corpus, l->seed, &s->batches, e));
	TRY(rows_init(&s->rows, o->B, o->T, e));
	for (int m = 0; m < l->session->n_teachers && l->session->n_teachers > 1; m++) {
		s->share[m] = calloc((size_t)o->B * (size_t)o->T, sizeof(float));
		BUG_ON(!s->share[m]);
	}
	if (l->masks) {
		TRY(host_masks_alloc(&s->z, &s->z_block, l->masks, e));
		TRY(host_masks_alloc(&s->dz, &s->dz_block, l->masks, e));
		s->n_mask_state = mask_learner_n_state(l->masks);
		s->mask_state = calloc(s->n_mask_state, sizeof(float));
		BUG_ON(!s->mask_state);
	}
	if (fsio_exists(s->checkpoint)) {
		TRY(restore(l, s, e));
	} else {
		rows_skip(&s->rows, s->batches, l->skip_tokens / o->T);
		TRY(open_metrics(l, s, 0, e));
	}
	rc = 0;
out:
	return rc;
}

static int every(int64_t tokens, const struct loop *l)
{
	int64_t n = l->schedule.total_steps, steps = tokens ? (tokens + l->batch_tokens - 1) / l->batch_tokens : n / 20;
	return steps < 1 ? 1 : (int)(steps < n ? steps : n);
}

static int steps_loop(struct loop *l, struct state *s, struct err *e)
{
	int n = l->schedule.total_steps, eval_steps = every(l->eval_every, l), save_steps = every(l->checkpoint_every, l);
	struct student *student = &l->session->student;
	struct progress bar;
	char note[64] = "";
	int rc = -1;
	progress_init(&bar, l->label, "tokens", (uint64_t)student->step * (uint64_t)l->batch_tokens, (uint64_t)n * (uint64_t)l->batch_tokens);
	while (student->step < n) {
		double loss, t = clock_now_s();
		TRY(one_step(l, s, &loss, e));
		metrics_set(&s->metrics, "tokens_per_s", (double)l->batch_tokens / (clock_now_s() - t));
		bool last = student->step == n;
		if (last || student->step % eval_steps == 0)
			TRY(evaluate(l, s, e));
		TRY(metrics_row(&s->metrics, e));
		bool stop = run_interrupted() && !last;
		if (last || stop || student->step % save_steps == 0)
			TRY(save(l, s, e));
		snprintf(note, sizeof note, "loss %.4f", loss);
		progress_update(&bar, (uint64_t)student->step * (uint64_t)l->batch_tokens, note);
		if (stop) {
			err_run(e, "interrupted after step %d of %d of %s; the same command goes on", student->step, n, l->label);
			goto out;
		}
	}
	snprintf(note, sizeof note, "held-out %.4f", l->heldout_nll);
	rc = 0;
out:
	progress_finish(&bar, note);
	return rc;
}

void loop_forget(const char *dir)
{
	char *checkpoint = path_format("%s/checkpoint.safetensors", dir);
	unlink(checkpoint);
	free(checkpoint);
}

int loop_run(struct loop *l, struct err *e)
{
	struct state s = {0};
	bool resumed_at_end;
	int rc = -1;
	TRY(begin(l, &s, e));
	resumed_at_end = l->session->student.step == l->schedule.total_steps;
	if (resumed_at_end) { /* killed between the last checkpoint and DONE: its row is there, its figures are not */
		if (l->masks)
			mask_learner_report(l->masks, l->session->student.step, &l->report);
		TRY(evaluate(l, &s, e));
	}
	TRY(steps_loop(l, &s, e));
	l->seconds = s.earlier_s + clock_now_s() - s.begin_s;
	l->epochs = batches_epochs(s.batches, 0);
	l->unique_tokens = 0;
	for (int i = 0; i < l->run->corpus.n_domains; i++) {
		double epochs = batches_epochs(s.batches, i);
		l->unique_tokens += fmin(epochs, 1) * (double)batches_epoch_tokens(s.batches, i);
		l->epochs = fmax(l->epochs, epochs);
	}
	rc = 0;
out:
	batches_close(s.batches);
	metrics_close(&s.metrics);
	free(s.checkpoint);
	rows_release(&s.rows);
	for (int m = 0; m < RECIPE_MAX_TEACHERS; m++)
		free(s.share[m]);
	free(s.z_block);
	free(s.dz_block);
	free(s.mask_state);
	return rc;
}

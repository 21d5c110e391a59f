#include "recipes/loop.h"

#include "base/clock.h"
#include "base/fsio.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "recipes/loop_parts.h"
#include "recipes/stage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert((int)TARGET_IS_SEPARATOR == (int)TRAIN_TARGET_IS_SEPARATOR, "batches go to the student as they come");

/* ---- checkpoints ---- */

static json_t *position(const struct loop_state *s)
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

static int save(const struct loop *l, const struct loop_state *s, struct err *e)
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

static int restore(struct loop *l, struct loop_state *s, struct err *e)
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
	TRY(loop_open_metrics(l, s, (uint64_t)metrics_bytes, e));
	log_line("%s goes on at step %d of %d", l->label, l->session->student.step, l->schedule.total_steps);
	rc = 0;
out:
	free(text);
	json_decref(where);
	return rc;
}

/* ---- one step ---- */

static void sample_masks(struct loop *l, struct loop_state *s, int micro, struct masks *masks, struct mask_grads *grads)
{
	const struct shape *sh = &l->session->options.arch->shape;
	struct ops *ops = l->session->options.ops;
	size_t L = (size_t)sh->L;
	mask_learner_sample(l->masks, l->session->student.step, micro, &s->z);
	loop_upload_masks(l->session, &s->z, masks);
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

static void return_mask_grads(struct loop *l, struct loop_state *s, const struct mask_grads *grads)
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
static void set_shares(const struct loop *l, struct loop_state *s)
{
	size_t T = (size_t)s->rows.T;
	for (int m = 0; m < l->session->n_teachers; m++)
		for (size_t i = 0; i < (size_t)s->rows.B * T; i++)
			s->share[m][i] = (float)l->run->teachers[m].share[s->rows.domain[i / T]];
}

static int ask_teachers(struct loop *l, struct loop_state *s, const struct batch *device, struct soft_targets *soft, struct step_teacher *out,
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

static int microbatch(struct loop *l, struct loop_state *s, int micro, const struct step_loss *loss, struct step_sums *sums,
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

static int one_step(struct loop *l, struct loop_state *s, double *loss_out, struct err *e)
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
		loop_balance(l, s, &loss);
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
		loop_follow_magnitudes(l, s, &loss, &sums);
	*loss_out = loop_total_loss(&loss, &sums, n_inner);
	loop_set_metrics(l, s, step, *loss_out, &sums, (double)lr, (double)norm);
	return 0;
}

/* ---- the loop ---- */

static int evaluate(struct loop *l, struct loop_state *s, struct err *e)
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

static int begin(struct loop *l, struct loop_state *s, struct err *e)
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
		TRY(loop_open_metrics(l, s, 0, e));
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

static int steps_loop(struct loop *l, struct loop_state *s, struct err *e)
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
	struct loop_state s = {0};
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

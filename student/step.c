/* One training step: micro-batches that add gradients, then clipping and AdamW. Test: tests/test_student.c */
#include "student/buffers.h"

#include <math.h>

/* A cross-entropy weight that asks for the value and leaves the gradient as it is: far below fp32's resolution of the KL's. */
#define WATCH_ONLY 1e-16f

void student_begin(struct student *s)
{
	s->ops->zero(s->ops, s->grads, s->layout.n_elems * sizeof(float));
	s->buffers->loss_sum = 0;
}

const struct batch *student_upload(struct student *s, const struct train_batch *from)
{
	struct student_buffers *b = s->buffers;
	size_t n_bytes = (size_t)b->N * sizeof(int32_t);
	for (int i = 0; i < b->N; i++) {
		bool counted = from->targets[i] >= 0;
		b->kinds[i] = (struct row_kind){counted, from->flags && (from->flags[i] & TRAIN_TARGET_IS_SEPARATOR)};
		b->host_s[i] = counted ? from->targets[i] : 0;
	}
	s->ops->upload(s->ops, b->targets, b->host_s, n_bytes);
	s->ops->upload(s->ops, b->tokens, from->tokens, n_bytes);
	s->ops->upload(s->ops, b->pos, from->pos, n_bytes);
	s->ops->upload(s->ops, b->start, from->start, n_bytes);
	return &b->batch;
}

static bool distils(const struct row_kind *row, const struct step_loss *loss)
{
	return row->counted && !(loss->kd_skip_separators && row->separator);
}

static void upload_weights(struct student *s, const struct step_loss *loss, bool kd)
{
	struct student_buffers *b = s->buffers;
	float one = 1.0f / (float)loss->step_tokens;
	for (int i = 0; i < b->N; i++) {
		bool row_kd = kd && distils(&b->kinds[i], loss);
		float ce = row_kd ? fmaxf(loss->ce_weight, WATCH_ONLY) : 1.0f;
		b->host_ce[i] = b->kinds[i].counted ? ce * one : 0.0f;
		b->host_kl[i] = row_kd ? one : 0.0f;
	}
	s->ops->upload(s->ops, b->ce_weight, b->host_ce, (size_t)b->N * sizeof(float));
	if (kd)
		s->ops->upload(s->ops, b->kd_weight, b->host_kl, (size_t)b->N * sizeof(float));
}

static void run_head(struct student *s, const struct step_loss *loss, const struct soft_targets *soft, const void *hidden)
{
	struct student_buffers *b = s->buffers;
	bool kd = soft != NULL;
	struct head_loss l = {
		.N = b->N, .C = s->layout.arch.shape.C, .V = s->layout.arch.shape.V, .hidden = hidden,
		.head = params_matrix(&s->params, PARAM_HEAD, -1), .head_type = s->params.type, .target = b->targets,
		.ce_weight = b->ce_weight, .n_terms = kd ? loss->n_terms : 0, .terms = loss->terms, .n_teachers = kd,
		.dhidden = b->dhidden, .dhead = params_in(&s->layout, s->grads, PARAM_HEAD, -1), .ce = b->ce,
		.argmax_s = kd ? b->argmax_s : NULL,
	};
	if (kd)
		l.teachers[0] = (struct head_teacher){.soft = soft, .weight = b->kd_weight, .divergence = b->kl, .argmax = b->argmax_t};
	fused_head_run(s->head, s->ops, &l);
}

static void add_kd_row(const struct student_buffers *b, int i, struct step_sums *sums)
{
	sums->terms[0] += (double)b->host_kl[i];
	sums->kd_tokens++;
	sums->agree += b->host_s[i] == b->host_t[i];
}

static void add_row(const struct student_buffers *b, int i, struct step_sums *sums)
{
	sums->ce += (double)b->host_ce[i];
	sums->tokens++;
	if (!b->kinds[i].separator) {
		sums->ce_text += (double)b->host_ce[i];
		sums->text_tokens++;
	}
}

static void add_sums(struct student *s, const struct step_loss *loss, bool kd, struct step_sums *sums)
{
	struct student_buffers *b = s->buffers;
	size_t n_bytes = (size_t)b->N * 4;
	s->ops->download(s->ops, b->host_ce, b->ce, n_bytes);
	if (kd) {
		s->ops->download(s->ops, b->host_kl, b->kl, n_bytes);
		s->ops->download(s->ops, b->host_s, b->argmax_s, n_bytes);
		s->ops->download(s->ops, b->host_t, b->argmax_t, n_bytes);
	}
	for (int i = 0; i < b->N; i++) {
		if (b->kinds[i].counted)
			add_row(b, i, sums);
		if (kd && distils(&b->kinds[i], loss))
			add_kd_row(b, i, sums);
	}
	b->loss_sum += sums->ce + sums->terms[0];
}

void student_microbatch(struct student *s, const struct step_loss *loss, int n_teachers, const struct step_teacher *teachers,
			const struct masks *masks, const struct mask_grads *mask_grads, const struct taps *taps,
			struct step_sums *sums)
{
	struct student_buffers *b = s->buffers;
	bool kd = n_teachers && teachers[0].soft->kind != SOFT_TARGETS_NONE;
	BUG_ON(n_teachers > s->options.n_teachers || loss->step_tokens == 0);
	void *hidden = transformer_forward(s->ops, &s->params, s->act, &b->batch, masks, taps);
	upload_weights(s, loss, kd);
	run_head(s, loss, kd ? teachers[0].soft : NULL, hidden);
	add_sums(s, loss, kd, sums);
	transformer_backward(s->ops, &s->params, s->act, &b->batch, masks, taps, b->dhidden, s->grads, mask_grads);
}

static double sum_squares(struct student *s, const float *x, size_t n_elems)
{
	double sum;
	s->ops->sum_squares(s->ops, s->buffers->norm, x, n_elems);
	s->ops->download(s->ops, &sum, s->buffers->norm, sizeof sum);
	return sum;
}

/* The line for a step that must not be applied. */
static int not_finite(struct student *s, struct err *e)
{
	const struct hf_tensor *first = NULL;
	for (int i = 0; i < s->layout.n_tensors && !first; i++) {
		const struct hf_tensor *t = &s->layout.tensors[i];
		if (!isfinite(sum_squares(s, s->grads + t->offset, t->rows * (t->cols ? t->cols : 1))))
			first = t;
	}
	const char *loss = isfinite(s->buffers->loss_sum) ? "finite" : "not finite";
	if (!first)
		return err_run(e, "step %d: the loss is not finite (all gradients are); the weights are as after step %d; lower the "
			       "learning rate or look at the data", s->step + 1, s->step);
	return err_run(e, "step %d: the gradient of %s is not finite (the loss is %s); the weights are as after step %d; lower the "
		       "learning rate or look at the data", s->step + 1, first->name, loss, s->step);
}

static void apply_run(struct student *s, const struct run *r, float lr)
{
	const struct student_options *o = &s->options;
	struct params *p = &s->params;
	bool copy = r->matrices && p->copy != p->master;
	s->ops->adamw(s->ops, &(struct adamw){
		.n_elems = r->n_elems, .p = p->master + r->offset, .m = s->m + r->offset, .v = s->v + r->offset,
		.grad = s->grads + r->offset, .grad_scale = s->buffers->grad_scale,
		.copy = copy ? (char *)p->copy + r->offset * dtype_size(p->type) : NULL, .copy_type = p->type,
		.lr = lr, .beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps,
		.weight_decay = r->matrices ? o->weight_decay : 0, .step = s->step,
	});
}

int student_update(struct student *s, float lr, float *grad_norm, struct err *e)
{
	struct student_buffers *b = s->buffers;
	double norm = sqrt(sum_squares(s, s->grads, s->layout.n_elems));
	if (!isfinite(norm) || !isfinite(b->loss_sum))
		return not_finite(s, e);
	if (grad_norm)
		*grad_norm = (float)norm;
	double clip = s->options.clip_norm;
	float scale = clip > 0 && clip < norm + 1e-6 ? (float)(clip / (norm + 1e-6)) : 1.0f;
	s->ops->upload(s->ops, b->grad_scale, &scale, sizeof scale);
	s->step++;
	for (int i = 0; i < b->n_runs; i++)
		apply_run(s, &b->runs[i], lr);
	return 0;
}

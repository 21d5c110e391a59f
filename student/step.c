/* One micro-batch of a training step: row weights, the pass through model and head, the sums. What ends a step is in
 * student/update.c. Test: tests/test_student.c, tests/test_student_distil.c */
#include "student/buffers.h"
#include "student/inner.h"

#include <math.h>
#include <string.h>

/* A cross-entropy weight that asks for the value and leaves the gradient as it is: far below fp32's resolution of the KL's. */
#define WATCH_ONLY 1e-16f

/* What a micro-batch is given. */
struct micro {
	struct student *student;
	const struct step_loss *loss;
	int n_teachers;
	const struct step_teacher *teachers;
};

void student_begin(struct student *s)
{
	s->ops->zero(s->ops, s->grads, s->layout.n_elems * sizeof(float));
	if (s->projections)
		s->ops->zero(s->ops, s->projections->grads, s->projections->n_elems * sizeof(float));
	s->buffers->loss_sum = 0;
}

const struct batch *student_upload(struct student *s, const struct train_batch *from)
{
	struct student_buffers *b = s->buffers;
	size_t n_bytes = (size_t)b->N * sizeof(int32_t);
	for (int i = 0; i < b->N; i++) {
		bool counted = from->targets[i] >= 0, separator = from->flags && (from->flags[i] & TRAIN_TARGET_IS_SEPARATOR);
		b->kinds[i] = (struct row_kind){.counted = counted, .separator = separator};
		b->host_s[i] = counted ? from->targets[i] : 0;
	}
	s->ops->upload(s->ops, b->targets, b->host_s, n_bytes);
	s->ops->upload(s->ops, b->tokens, from->tokens, n_bytes);
	s->ops->upload(s->ops, b->pos, from->pos, n_bytes);
	s->ops->upload(s->ops, b->start, from->start, n_bytes);
	return &b->batch;
}

/* ---- row weights ---- */

static float share_of(const struct step_teacher *t, int row)
{
	if (t->soft->kind == SOFT_TARGETS_NONE)
		return 0;
	return t->share ? t->share[row] : 1;
}

static bool has_soft_targets(const struct micro *m, int row)
{
	const struct row_kind *kind = &m->student->buffers->kinds[row];
	if (!kind->counted || (m->loss->kd_skip_separators && kind->separator))
		return false;
	for (int k = 0; k < m->n_teachers; k++)
		if (share_of(&m->teachers[k], row) > 0)
			return true;
	return false;
}

static void upload_rows(const struct micro *m, float *device)
{
	struct ops *ops = m->student->ops;
	ops->upload(ops, device, m->student->buffers->host_rows, (size_t)m->student->buffers->N * sizeof(float));
}

/* Returns whether any row has a gradient in the output head. */
static bool upload_ce_weights(const struct micro *m, float one)
{
	struct student_buffers *b = m->student->buffers;
	bool learns = false;
	for (int i = 0; i < b->N; i++) {
		bool soft = b->kinds[i].soft;
		float ce = soft ? fmaxf(m->loss->ce_weight, WATCH_ONLY) : 1.0f;
		b->host_rows[i] = b->kinds[i].counted ? ce * one : 0.0f;
		learns |= b->kinds[i].counted && (!soft || m->loss->ce_weight > 0 || m->loss->n_terms > 0);
	}
	upload_rows(m, b->ce_weight);
	return learns;
}

/* As upload_ce_weights returns. */
static bool upload_weights(const struct micro *m)
{
	struct student_buffers *b = m->student->buffers;
	float one = 1.0f / (float)m->loss->step_tokens;
	for (int i = 0; i < b->N; i++)
		b->kinds[i].soft = has_soft_targets(m, i);
	for (int k = 0; k < m->n_teachers; k++) {
		if (m->teachers[k].soft->kind == SOFT_TARGETS_NONE)
			continue;
		for (int i = 0; i < b->N; i++)
			b->host_rows[i] = b->kinds[i].soft ? share_of(&m->teachers[k], i) * one : 0.0f;
		upload_rows(m, b->teachers[k].weight);
	}
	return upload_ce_weights(m, one);
}

/* The taps of this micro-batch: the caller's, and the inner losses' in front of them. */
static const struct taps *taps_of(const struct micro *m, const struct taps *outer)
{
	const struct student *s = m->student;
	struct student_buffers *b = s->buffers;
	if (!s->inner || !m->n_teachers || m->teachers[0].soft->kind == SOFT_TARGETS_NONE)
		return outer;
	BUG_ON(!m->teachers[0].soft->inner);
	for (int i = 0; i < b->N; i++)
		b->host_rows[i] = b->kinds[i].soft ? 1.0f / (float)m->loss->step_tokens : 0.0f;
	return inner_taps(s->inner, &(struct inner_batch){.start = b->start, .weights = m->loss->inner_weight,
							  .targets = m->teachers[0].soft->inner, .outer = outer},
			  b->host_rows);
}

/* ---- the head ---- */

static struct head_teacher head_teacher_of(const struct soft_targets *soft, const struct teacher_rows *rows)
{
	bool dense = soft->kind == SOFT_TARGETS_DENSE; /* sparse targets bring these with them */
	return (struct head_teacher){.soft = soft, .weight = rows->weight, .divergence = rows->divergence,
				     .ce = dense ? rows->ce : NULL, .argmax = dense ? rows->argmax : NULL};
}

/* `learns` false: the cross-entropy is watched and nothing flows back. */
static void run_head(const struct micro *m, const void *hidden, bool learns)
{
	struct student *s = m->student;
	struct student_buffers *b = s->buffers;
	int C = s->layout.arch.shape.C;
	struct head_loss l = {
		.N = b->N, .C = C, .V = s->layout.arch.shape.V, .hidden = hidden,
		.head = params_matrix(&s->params, PARAM_HEAD, -1), .head_type = s->params.type, .target = b->targets,
		.ce_weight = b->ce_weight, .terms = m->loss->terms, .dhidden = learns ? b->dhidden : NULL,
		.dhead = learns ? params_in(&s->layout, s->grads, PARAM_HEAD, -1) : NULL, .ce = b->ce,
	};
	for (int k = 0; k < m->n_teachers; k++)
		if (m->teachers[k].soft->kind != SOFT_TARGETS_NONE)
			l.teachers[l.n_teachers++] = head_teacher_of(m->teachers[k].soft, &b->teachers[k]);
	if (l.n_teachers) {
		l.n_terms = m->loss->n_terms;
		l.argmax_s = b->argmax_s;
	}
	if (!learns)
		s->ops->zero(s->ops, b->dhidden, (size_t)b->N * (size_t)C * dtype_size(s->ops->act));
	fused_head_run(s->head, s->ops, &l);
}

/* ---- sums ---- */

static void add_ce(const struct student_buffers *b, struct step_sums *sums)
{
	for (int i = 0; i < b->N; i++) {
		if (!b->kinds[i].counted)
			continue;
		sums->ce += (double)b->host_rows[i];
		sums->tokens++;
		if (!b->kinds[i].separator) {
			sums->ce_text += (double)b->host_rows[i];
			sums->text_tokens++;
		}
	}
}

/* Teacher k's divergences and cross-entropy; rows where it has the largest share so far keep its argmax. */
static void add_teacher(const struct micro *m, int k, struct step_sums *sums)
{
	struct student_buffers *b = m->student->buffers;
	const struct step_teacher *t = &m->teachers[k];
	struct ops *ops = m->student->ops;
	bool sparse = t->soft->kind == SOFT_TARGETS_SPARSE;
	size_t N = (size_t)b->N, n_terms = (size_t)m->loss->n_terms;
	ops->download(ops, b->host_terms, b->teachers[k].divergence, N * n_terms * sizeof(float));
	ops->download(ops, b->host_rows, sparse ? t->soft->ce : b->teachers[k].ce, N * sizeof(float));
	ops->download(ops, b->host_t, sparse ? t->soft->argmax : b->teachers[k].argmax, N * sizeof(int32_t));
	for (size_t i = 0; i < N; i++) {
		float share = b->kinds[i].soft ? share_of(t, (int)i) : 0;
		if (!(share > 0))
			continue;
		for (size_t j = 0; j < n_terms; j++)
			sums->terms[j] += (double)share * (double)b->host_terms[i * n_terms + j];
		sums->teacher_ce += (double)share * (double)b->host_rows[i];
		if (share > b->largest_share[i]) {
			b->largest_share[i] = share;
			b->agrees[i] = b->host_s[i] == b->host_t[i];
		}
	}
}

static void add_sums(const struct micro *m, struct step_sums *sums)
{
	struct student_buffers *b = m->student->buffers;
	struct ops *ops = m->student->ops;
	bool any = false;
	ops->download(ops, b->host_rows, b->ce, (size_t)b->N * sizeof(float));
	add_ce(b, sums);
	for (int k = 0; k < m->n_teachers; k++) {
		if (m->teachers[k].soft->kind == SOFT_TARGETS_NONE)
			continue;
		if (!any) {
			ops->download(ops, b->host_s, b->argmax_s, (size_t)b->N * sizeof(int32_t));
			memset(b->largest_share, 0, (size_t)b->N * sizeof(float));
			any = true;
		}
		add_teacher(m, k, sums);
	}
	for (int i = 0; any && i < b->N; i++)
		if (b->kinds[i].soft) {
			sums->kd_tokens++;
			sums->agree += b->agrees[i];
		}
	b->loss_sum += sums->ce;
	for (int j = 0; j < m->loss->n_terms; j++)
		b->loss_sum += sums->terms[j];
}

static void add_inner_sums(struct student *s, struct step_sums *sums)
{
	struct student_buffers *b = s->buffers;
	inner_add_sums(s->inner, b->host_rows, sums->inner);
	for (int i = 0; i < s->options.n_inner; i++)
		b->loss_sum += sums->inner[i];
}

void student_microbatch(struct student *s, const struct step_loss *loss, int n_teachers, const struct step_teacher *teachers,
			const struct masks *masks, const struct mask_grads *mask_grads, const struct taps *taps,
			struct step_sums *sums)
{
	struct student_buffers *b = s->buffers;
	struct micro m = {s, loss, n_teachers, teachers};
	BUG_ON(n_teachers > s->options.n_teachers || (n_teachers && loss->n_terms > s->options.n_terms) || loss->step_tokens == 0);
	bool learns = upload_weights(&m);
	const struct taps *all = taps_of(&m, taps);
	void *hidden = transformer_forward(s->ops, &s->params, s->act, &b->batch, masks, all);
	run_head(&m, hidden, learns);
	add_sums(&m, sums);
	transformer_backward(s->ops, &s->params, s->act, &b->batch, masks, all, b->dhidden, s->grads, mask_grads);
	if (all != taps)
		add_inner_sums(s, sums);
}

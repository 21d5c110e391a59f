/* The end of a training step: clipping and AdamW, or the line that says why not. Test: tests/test_student.c */
#include "student/buffers.h"
#include "student/projections.h"

#include <math.h>
#include <stdio.h>

static double sum_squares(struct student *s, const float *x, size_t n_elems)
{
	double sum;
	s->ops->sum_squares(s->ops, s->buffers->norm, x, n_elems);
	s->ops->download(s->ops, &sum, s->buffers->norm, sizeof sum);
	return sum;
}

/* Whether there is a tensor whose gradient is not finite, and the first one's name. */
static bool find_culprit(struct student *s, char *name, size_t n)
{
	for (int i = 0; i < s->layout.n_tensors; i++) {
		const struct hf_tensor *t = &s->layout.tensors[i];
		if (isfinite(sum_squares(s, s->grads + t->offset, t->rows * (t->cols ? t->cols : 1))))
			continue;
		snprintf(name, n, "%s", t->name);
		return true;
	}
	for (int i = 0; s->projections && i < s->projections->n; i++) {
		const struct projection *p = &s->projections->list[i];
		if (isfinite(sum_squares(s, s->projections->grads + p->offset, (size_t)p->rows * (size_t)p->cols)))
			continue;
		snprintf(name, n, "the projection of layer %d", p->layer);
		return true;
	}
	return false;
}

/* The line for a step that must not be applied. */
static int not_finite(struct student *s, struct err *e)
{
	char name[128];
	const char *loss = isfinite(s->buffers->loss_sum) ? "finite" : "not finite";
	if (!find_culprit(s, name, sizeof name))
		return err_run(e, "step %d: the loss is not finite (all gradients are); the weights are as after step %d; lower the "
			       "learning rate or look at the data", s->step + 1, s->step);
	return err_run(e, "step %d: the gradient of %s is not finite (the loss is %s); the weights are as after step %d; lower the "
		       "learning rate or look at the data", s->step + 1, name, loss, s->step);
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

static void apply_projections(struct student *s, float lr)
{
	const struct student_options *o = &s->options;
	const struct projections *p = s->projections;
	s->ops->adamw(s->ops, &(struct adamw){
		.n_elems = p->n_elems, .p = p->w, .m = p->m, .v = p->v, .grad = p->grads, .grad_scale = s->buffers->grad_scale,
		.lr = lr, .beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps, .weight_decay = o->weight_decay, .step = s->step,
	});
}

int student_update(struct student *s, float lr, float *grad_norm, struct err *e)
{
	struct student_buffers *b = s->buffers;
	double squares = sum_squares(s, s->grads, s->layout.n_elems);
	if (s->projections)
		squares += sum_squares(s, s->projections->grads, s->projections->n_elems);
	double norm = sqrt(squares);
	if (!isfinite(norm) || !isfinite(b->loss_sum))
		return not_finite(s, e);
	if (grad_norm)
		*grad_norm = (float)norm;
	double clip = s->options.clip_norm;
	float scale = clip > 0 && clip < norm + 1e-6 ? (float)(clip / (norm + 1e-6)) : 1.0f;
	s->ops->upload(s->ops, b->grad_scale, &scale, sizeof scale);
	s->step++;
	for (int i = 0; i < b->n_runs && !s->options.frozen; i++)
		apply_run(s, &b->runs[i], lr);
	if (s->projections)
		apply_projections(s, lr);
	return 0;
}

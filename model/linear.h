/* y = x W^T + b and its backward, on a layer's parameters. Private to model/. */
#ifndef MODEL_LINEAR_H
#define MODEL_LINEAR_H

#include "kernels/ops.h"
#include "model/params.h"

/* One product of the model: which weight, and how wide. bias is PARAM_KINDS when no family has one. */
struct linear {
	enum param_kind weight, bias;
	int layer, n_in, n_out;
};

static inline struct linear linear_qkv(const struct shape *s, int layer)
{
	return (struct linear){PARAM_QKV, PARAM_QKV_BIAS, layer, s->C, (s->NH + 2 * s->NKV) * s->HD};
}
static inline struct linear linear_o(const struct shape *s, int layer)
{
	return (struct linear){PARAM_O, PARAM_O_BIAS, layer, s->NH * s->HD, s->C};
}
static inline struct linear linear_gate_up(const struct shape *s, int layer)
{
	return (struct linear){PARAM_GATE_UP, PARAM_GATE_UP_BIAS, layer, s->C, 2 * s->F};
}
static inline struct linear linear_down(const struct shape *s, int layer)
{
	return (struct linear){PARAM_DOWN, PARAM_DOWN_BIAS, layer, s->F, s->C};
}

/* y (N, n_out) = x (N, n_in) W^T + b, written. */
void linear_forward(struct ops *, const struct params *, const struct linear *, int N, const void *x, void *y);
/* dx (N, n_in) written; dW and db inside grads += . */
void linear_backward(struct ops *, const struct params *, const struct linear *, int N, const void *x, const void *dy,
                     void *dx, float *grads);

#endif

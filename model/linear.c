/* The products of the model. Test: tests/test_transformer.c */
#include "model/linear.h"

void linear_forward(struct ops *ops, const struct params *p, const struct linear *l, int N, const void *x, void *y)
{
	ops->matmul(ops, &(struct matmul){
		.kind = MATMUL_NT, .m = N, .n = l->n_out, .k = l->n_in, .a = x, .b = params_matrix(p, l->weight, l->layer),
		.c = y, .a_type = ops->act, .b_type = p->type, .c_type = ops->act, .lda = l->n_in, .ldb = l->n_in,
		.ldc = l->n_out, .bias = params_vector(p, l->bias, l->layer),
	});
}

void linear_backward(struct ops *ops, const struct params *p, const struct linear *l, int N, const void *x,
		     const void *dy, void *dx, float *grads)
{
	float *db = params_in(p->layout, grads, l->bias, l->layer);
	ops->matmul(ops, &(struct matmul){
		.kind = MATMUL_NN, .m = N, .n = l->n_in, .k = l->n_out, .a = dy,
		.b = params_matrix(p, l->weight, l->layer), .c = dx, .a_type = ops->act, .b_type = p->type,
		.c_type = ops->act, .lda = l->n_out, .ldb = l->n_in, .ldc = l->n_in,
	});
	ops->matmul(ops, &(struct matmul){
		.kind = MATMUL_TN, .m = l->n_out, .n = l->n_in, .k = N, .a = dy, .b = x,
		.c = params_in(p->layout, grads, l->weight, l->layer), .a_type = ops->act, .b_type = ops->act,
		.c_type = DTYPE_F32, .lda = l->n_out, .ldb = l->n_in, .ldc = l->n_in, .accumulate = true,
	});
	if (db)
		ops->bias_backward(ops, db, dy, N, l->n_out);
}

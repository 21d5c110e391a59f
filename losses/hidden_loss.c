/* Distances of hidden states as a composition of table entries; a learned projection goes by chunks of rows, so that its
 * scratch does not grow with the batch. May not know a model. Test: tests/test_inner_losses.c */
#include "losses/hidden_loss.h"

#include "base/arena.h"

struct scratch {
	float *x, *dx; /* (rows, C_t) */
};

static int chunk_rows(int N)
{
	return N < HIDDEN_LOSS_ROWS ? N : HIDDEN_LOSS_ROWS;
}

static struct scratch lay_out(struct arena *a, int N, int C_t)
{
	size_t n_bytes = (size_t)chunk_rows(N) * (size_t)C_t * sizeof(float);
	struct scratch s;
	s.x = arena_alloc(a, n_bytes);
	s.dx = arena_alloc(a, n_bytes);
	return s;
}

size_t hidden_loss_scratch(const struct ops *ops, int N, int C_s, int C_t, bool projected)
{
	(void)ops;
	(void)C_s;
	struct arena a = arena_dry();
	if (projected)
		lay_out(&a, N, C_t);
	return a.used;
}

struct ops_limits hidden_loss_limits(int N, int C_s, int C_t, bool projected)
{
	if (!projected)
		return (struct ops_limits){0};
	size_t rows = (size_t)chunk_rows(N), s = (size_t)C_s, t = (size_t)C_t, values = rows * (s > t ? s : t);
	return (struct ops_limits){.max_operand_elems = values > s * t ? values : s * t};
}

static void *row_of(const void *base, enum dtype type, int row, int width)
{
	return (char *)(uintptr_t)base + (size_t)row * (size_t)width * dtype_size(type);
}

/* The rows [row, row+n), all but the student's side. */
static struct hidden_rows rows_of(const struct ops *ops, const struct hidden_loss *l, int row, int n)
{
	return (struct hidden_rows){.kind = l->kind, .n_rows = n, .y = row_of(l->teacher, ops->act, row, l->C_t), .ld_y = l->C_t,
				    .columns = l->columns, .weight = l->weight + row, .scale = l->scale, .loss = l->loss + row};
}

static void run_plain(struct ops *ops, const struct hidden_loss *l)
{
	struct hidden_rows r = rows_of(ops, l, 0, l->N);
	r.C = l->C_s;
	r.x = l->student;
	r.x_type = ops->act;
	r.dx = l->dstudent;
	r.accumulate = true;
	ops->hidden_rows(ops, &r);
}

/* dW += dx^T h and dh += dx W. */
static void project_backward(struct ops *ops, const struct hidden_loss *l, const float *dx, int row, int n)
{
	if (l->dprojection)
		ops->matmul(ops, &(struct matmul){.kind = MATMUL_TN, .m = l->C_t, .n = l->C_s, .k = n, .a = dx,
						  .b = row_of(l->student, ops->act, row, l->C_s), .c = l->dprojection,
						  .a_type = DTYPE_F32, .b_type = ops->act, .c_type = DTYPE_F32, .lda = l->C_t,
						  .ldb = l->C_s, .ldc = l->C_s, .accumulate = true});
	ops->matmul(ops, &(struct matmul){.kind = MATMUL_NN, .m = n, .n = l->C_s, .k = l->C_t, .a = dx, .b = l->projection,
					  .c = row_of(l->dstudent, ops->act, row, l->C_s), .a_type = DTYPE_F32,
					  .b_type = DTYPE_F32, .c_type = ops->act, .lda = l->C_t, .ldb = l->C_s, .ldc = l->C_s,
					  .accumulate = true});
}

static void run_projected(struct ops *ops, const struct hidden_loss *l, const struct scratch *s, int row, int n)
{
	ops->matmul(ops, &(struct matmul){.kind = MATMUL_NT, .m = n, .n = l->C_t, .k = l->C_s,
					  .a = row_of(l->student, ops->act, row, l->C_s), .b = l->projection, .c = s->x,
					  .a_type = ops->act, .b_type = DTYPE_F32, .c_type = DTYPE_F32, .lda = l->C_s,
					  .ldb = l->C_s, .ldc = l->C_t});
	struct hidden_rows r = rows_of(ops, l, row, n);
	r.C = l->C_t;
	r.x = s->x;
	r.x_type = DTYPE_F32;
	r.dx = l->dstudent ? s->dx : NULL;
	ops->hidden_rows(ops, &r);
	if (l->dstudent)
		project_backward(ops, l, s->dx, row, n);
}

void hidden_loss_run(struct ops *ops, const struct hidden_loss *l)
{
	BUG_ON(l->projection ? l->columns != NULL : !l->columns && l->C_s != l->C_t);
	BUG_ON(l->dprojection && (!l->projection || !l->dstudent));
	if (!l->projection) {
		run_plain(ops, l);
		return;
	}
	struct arena a = {.base = l->scratch, .capacity = hidden_loss_scratch(ops, l->N, l->C_s, l->C_t, true)};
	struct scratch s = lay_out(&a, l->N, l->C_t);
	int rows = chunk_rows(l->N);
	for (int row = 0; row < l->N; row += rows)
		run_projected(ops, l, &s, row, l->N - row < rows ? l->N - row : rows);
}

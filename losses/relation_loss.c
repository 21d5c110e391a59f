/* Relations as a composition of table entries. Per sequence, kind and relation head: Y = X / sqrt(d), packed; then by
 * chunks of rows S = X Y^T on both sides, KL and dS in place over each row's window, dX += dS Y + dS^T Y. A chunk has no
 * columns past its last row, which saves almost half of the products. May not know a model.
 * Test: tests/test_inner_losses.c */
#include "losses/relation_loss.h"

#include "base/arena.h"

#include <math.h>

enum { KINDS = 3 /* queries, keys, values */ };

struct scratch {
	float *s, *t;      /* (rows, T) scores of student and teacher; s becomes dS */
	void *y_s, *y_t;   /* (T, d) in the products' type */
	int32_t *last;     /* (T) 0, 1, … */
	float *divergence; /* (rows) */
};

/* One relation head of one sequence, on one side. */
struct side {
	size_t at; /* elements before its first row's first column in qkv */
	const void *qkv;
	int ld, d;
	void *y;
};

static int total_width(struct relation_shape s)
{
	return (s.NH + 2 * s.NKV) * s.HD;
}

static int kind_width(struct relation_shape s, int kind)
{
	return (kind == 0 ? s.NH : s.NKV) * s.HD;
}

static int kind_offset(struct relation_shape s, int kind)
{
	return kind == 0 ? 0 : (s.NH + (kind - 1) * s.NKV) * s.HD;
}

static bool divides_widths(int R, struct relation_shape s)
{
	return s.NH * s.HD % R == 0 && s.NKV * s.HD % R == 0;
}

bool relation_heads_fit(int R, struct relation_shape student, struct relation_shape teacher)
{
	return R > 0 && divides_widths(R, student) && divides_widths(R, teacher);
}

static bool divides_counts(int R, struct relation_shape s)
{
	return s.NH % R == 0 && s.NKV % R == 0;
}

int relation_heads_default(struct relation_shape student, struct relation_shape teacher)
{
	for (int R = student.NH; R > 1; R--)
		if (divides_counts(R, student) && divides_counts(R, teacher))
			return R;
	for (int R = student.NH; R > 1; R--)
		if (relation_heads_fit(R, student, teacher))
			return R;
	return 1;
}

static int chunk_rows(int T)
{
	int rows = (int)(RELATION_CHUNK_BYTES / ((size_t)T * sizeof(float)) / 16) * 16;
	rows = rows < 16 ? 16 : rows > RELATION_MAX_ROWS ? RELATION_MAX_ROWS : rows;
	return rows < T ? rows : T;
}

/* Of the products' operands; activations are converted to it where they differ. */
static enum dtype product_type(const struct ops *ops)
{
	return ops->matmul_bf16 ? DTYPE_BF16 : DTYPE_F32;
}

/* Queries are never fewer than keys. */
static size_t packed_bytes(const struct ops *ops, int T, int R, struct relation_shape s)
{
	return (size_t)T * (size_t)(s.NH * s.HD / R) * dtype_size(product_type(ops));
}

static struct scratch lay_out(const struct ops *ops, struct arena *a, int T, int R, struct relation_shape student,
			      struct relation_shape teacher)
{
	size_t rows = (size_t)chunk_rows(T), n_bytes = rows * (size_t)T * sizeof(float);
	struct scratch s;
	s.s = arena_alloc(a, n_bytes);
	s.t = arena_alloc(a, n_bytes);
	s.y_s = arena_alloc(a, packed_bytes(ops, T, R, student));
	s.y_t = arena_alloc(a, packed_bytes(ops, T, R, teacher));
	s.last = arena_alloc(a, (size_t)T * sizeof *s.last);
	s.divergence = arena_alloc(a, rows * sizeof *s.divergence);
	return s;
}

size_t relation_loss_scratch(const struct ops *ops, int T, int R, struct relation_shape student, struct relation_shape teacher)
{
	struct arena a = arena_dry();
	lay_out(ops, &a, T, R, student, teacher);
	return a.used;
}

/* Only the rows of X are converted: Y and dS are written in the products' type. */
struct ops_limits relation_loss_limits(int T, int R, struct relation_shape student, struct relation_shape teacher)
{
	int s = student.NH * student.HD / R, t = teacher.NH * teacher.HD / R;
	return (struct ops_limits){.max_operand_elems = (size_t)chunk_rows(T) * (size_t)(s > t ? s : t)};
}

static void number_rows(struct ops *ops, int32_t *last, int T)
{
	int32_t piece[RELATION_MAX_ROWS];
	for (int at = 0; at < T; at += RELATION_MAX_ROWS) {
		int n = T - at < RELATION_MAX_ROWS ? T - at : RELATION_MAX_ROWS;
		for (int i = 0; i < n; i++)
			piece[i] = at + i;
		ops->upload(ops, last + at, piece, (size_t)n * sizeof *piece);
	}
}

static void *element(const void *base, enum dtype type, size_t at)
{
	return (char *)(uintptr_t)base + at * dtype_size(type);
}

static struct side side_of(const struct relation_loss *l, struct relation_shape shape, const void *qkv, void *y, int b, int kind,
			   int r)
{
	int ld = total_width(shape), d = kind_width(shape, kind) / l->R;
	return (struct side){.at = (size_t)b * (size_t)l->T * (size_t)ld + (size_t)(kind_offset(shape, kind) + r * d),
			     .qkv = qkv, .ld = ld, .d = d, .y = y};
}

/* Y = X / sqrt(d) */
static void pack(struct ops *ops, const struct side *x, int T)
{
	ops->scale_rows(ops, &(struct scale_rows){.n_rows = T, .C = x->d, .factor = (float)(1 / sqrt(x->d)),
						  .x = element(x->qkv, ops->act, x->at), .x_type = ops->act, .ld_x = x->ld,
						  .y = x->y, .y_type = product_type(ops), .ld_y = x->d});
}

/* out(n, n_columns) = rows [row, row+n) of X Y^T */
static void scores(struct ops *ops, const struct side *x, int row, int n, int n_columns, float *out)
{
	const void *a = element(x->qkv, ops->act, x->at + (size_t)row * (size_t)x->ld);
	ops->matmul(ops, &(struct matmul){.kind = MATMUL_NT, .m = n, .n = n_columns, .k = x->d, .a = a, .b = x->y, .c = out,
					  .a_type = ops->act, .b_type = product_type(ops), .c_type = DTYPE_F32, .lda = x->ld,
					  .ldb = x->d, .ldc = n_columns});
}

/* dX(rows [row, row+n)) += dS Y, dX(first n_columns rows) += dS^T Y(rows [row, row+n)) */
static void scores_backward(struct ops *ops, const struct side *x, const void *ds, int ld_ds, void *dqkv, int row, int n,
			    int n_columns)
{
	enum dtype type = product_type(ops);
	void *dx = element(dqkv, ops->act, x->at);
	ops->matmul(ops, &(struct matmul){.kind = MATMUL_NN, .m = n, .n = x->d, .k = n_columns, .a = ds, .b = x->y,
					  .c = element(dx, ops->act, (size_t)row * (size_t)x->ld), .a_type = type,
					  .b_type = type, .c_type = ops->act, .lda = ld_ds, .ldb = x->d, .ldc = x->ld,
					  .accumulate = true});
	ops->matmul(ops, &(struct matmul){.kind = MATMUL_TN, .m = n_columns, .n = x->d, .k = n, .a = ds,
					  .b = element(x->y, type, (size_t)row * (size_t)x->d), .c = dx, .a_type = type,
					  .b_type = type, .c_type = ops->act, .lda = ld_ds, .ldb = x->d, .ldc = x->ld,
					  .accumulate = true});
}

/* Rows [row, row+n) of the sequence that begins at row `first` of the batch. */
static void run_chunk(struct ops *ops, const struct relation_loss *l, const struct scratch *c, const struct side *s,
		      const struct side *t, int first, int row, int n)
{
	int n_columns = row + n, ld_ds = product_type(ops) == DTYPE_BF16 ? 2 * n_columns : n_columns;
	float mean = 1.0f / (float)(KINDS * l->R);
	const struct divergence_term kl = {.kind = DIVERGENCE_FORWARD_KL, .weight = l->scale * mean, .tau = 1};
	scores(ops, s, row, n, n_columns, c->s);
	scores(ops, t, row, n, n_columns, c->t);
	ops->loss_rows(ops, &(struct loss_rows){.n_rows = n, .V = n_columns, .ld = n_columns, .s = c->s, .t = c->t,
						.kd_weight = l->weight + first + row, .n_terms = 1, .terms = &kl,
						.first = l->start + first + row, .last = c->last + row,
						.divergence = c->divergence, .grad = l->dqkv ? c->s : NULL,
						.grad_type = product_type(ops), .ld_grad = ld_ds});
	ops->scale_rows(ops, &(struct scale_rows){.n_rows = 1, .C = n, .factor = mean, .x = c->divergence, .x_type = DTYPE_F32,
						  .ld_x = n, .y = l->loss + first + row, .y_type = DTYPE_F32, .ld_y = n,
						  .accumulate = true});
	if (l->dqkv)
		scores_backward(ops, s, c->s, ld_ds, l->dqkv, row, n, n_columns);
}

static void run_head(struct ops *ops, const struct relation_loss *l, const struct scratch *c, int b, int kind, int r)
{
	struct side s = side_of(l, l->student, l->student_qkv, c->y_s, b, kind, r);
	struct side t = side_of(l, l->teacher, l->teacher_qkv, c->y_t, b, kind, r);
	pack(ops, &s, l->T);
	pack(ops, &t, l->T);
	int rows = chunk_rows(l->T);
	for (int row = 0; row < l->T; row += rows)
		run_chunk(ops, l, c, &s, &t, b * l->T, row, l->T - row < rows ? l->T - row : rows);
}

void relation_loss_run(struct ops *ops, const struct relation_loss *l)
{
	BUG_ON(l->B < 1 || l->T < 1 || !relation_heads_fit(l->R, l->student, l->teacher));
	struct arena a = {.base = l->scratch, .capacity = relation_loss_scratch(ops, l->T, l->R, l->student, l->teacher)};
	struct scratch c = lay_out(ops, &a, l->T, l->R, l->student, l->teacher);
	ops->zero(ops, l->loss, (size_t)l->B * (size_t)l->T * sizeof *l->loss);
	number_rows(ops, c.last, l->T);
	for (int b = 0; b < l->B; b++)
		for (int kind = 0; kind < KINDS; kind++)
			for (int r = 0; r < l->R; r++)
				run_head(ops, l, &c, b, kind, r);
}

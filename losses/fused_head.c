/* The fused output head as a composition of table entries: per chunk of rows, logits by products, losses and their
 * gradient in place, then the two products of the backward pass. May not know a model. Test: tests/test_fused_head.c */
#include "losses/fused_head.h"

#include <stdlib.h>

struct fused_head {
	int rows;            /* of a chunk */
	int V, C, n_teachers;
	float *s;            /* (rows, V) student logits, then their gradient */
	float *t;            /* (rows, V) logits of one teacher after the other; NULL when none is dense */
	float *g;            /* (rows, V) gradient of the teachers before the last; NULL when the last is the only one */
};

int fused_head_chunk_rows(int V, size_t chunk_bytes)
{
	BUG_ON(V < 1);
	size_t limit = chunk_bytes ? chunk_bytes : FUSED_HEAD_CHUNK_BYTES;
	size_t rows = limit / (2 * sizeof(float) * (size_t)V) / 16 * 16;
	if (rows > FUSED_HEAD_MAX_ROWS)
		rows = FUSED_HEAD_MAX_ROWS;
	return rows < 16 ? 16 : (int)rows;
}

int fused_head_init(struct fused_head **out, struct ops *ops, const struct fused_head_options *o, struct arena *device,
		    struct err *e)
{
	(void)ops;
	*out = NULL;
	BUG_ON(o->max_rows < 1 || o->V < 1 || o->C < 1 || o->teacher_V < 0);
	BUG_ON(o->n_teachers < (o->teacher_V > 0) || o->n_teachers > FUSED_HEAD_MAX_TEACHERS);
	struct fused_head *head = calloc(1, sizeof *head);
	if (!head)
		return err_run(e, "out of memory for the output head's state (%zu bytes)", sizeof *head);
	int rows = fused_head_chunk_rows(o->V, o->chunk_bytes);
	*head = (struct fused_head){.rows = rows < o->max_rows ? rows : o->max_rows, .V = o->V, .C = o->C,
				    .n_teachers = o->n_teachers};
	size_t n_bytes = (size_t)head->rows * (size_t)head->V * sizeof(float);
	bool dense = o->teacher_V > 0, narrow = dense ? o->teacher_V < o->V : o->n_teachers > 0;
	head->s = arena_alloc(device, n_bytes);
	if (dense)
		head->t = arena_alloc(device, n_bytes);
	if (o->n_teachers > 1 || narrow)
		head->g = arena_alloc(device, n_bytes);
	*out = head;
	return 0;
}

void fused_head_free(struct fused_head *head)
{
	free(head);
}

static const void *row_of(const void *base, enum dtype type, int row, int width)
{
	return (const char *)base + (size_t)row * (size_t)width * dtype_size(type);
}

/* c(n, V) = x(n, C) w^T for the first V rows of w; rows of c have ld columns. */
static void logits(struct ops *ops, const void *x, const void *w, enum dtype w_type, int n, int C, int V, int ld, float *c)
{
	ops->matmul(ops, &(struct matmul){.kind = MATMUL_NT, .m = n, .n = V, .k = C, .a = x, .b = w, .c = c,
					  .a_type = ops->act, .b_type = w_type, .c_type = DTYPE_F32, .lda = C, .ldb = C,
					  .ldc = ld});
}

void fused_head_logits(struct ops *ops, const void *hidden, const void *head, enum dtype head_type, int n, int C, int V,
		       float *out)
{
	logits(ops, hidden, head, head_type, n, C, V, V, out);
}

/* The rows [row, row+n) of a batch. */
struct chunk {
	const struct head_loss *loss;
	int row, n;
	enum dtype grad_type; /* a bf16 gradient feeds bf16 products without a conversion */
	bool summed;          /* g holds something */
};

static int columns_of(const struct fused_head *head, const struct head_teacher *m)
{
	return m->soft->V < head->V ? m->soft->V : head->V;
}

/* Nothing is asked of this teacher's distribution (only its inner targets are of use). */
static bool is_idle(const struct head_loss *l, const struct head_teacher *m)
{
	return !l->n_terms && !m->ce && !m->argmax;
}

/* The teacher whose divergences are taken in one sweep with the cross-entropy, which runs over all columns. */
static int last_teacher(const struct fused_head *head, const struct head_loss *l)
{
	for (int i = l->n_teachers - 1; i >= 0; i--)
		if (!is_idle(l, &l->teachers[i]) && columns_of(head, &l->teachers[i]) == head->V)
			return i;
	return -1;
}

static struct loss_rows student_rows(const struct fused_head *head, const struct chunk *c, int columns)
{
	return (struct loss_rows){.n_rows = c->n, .V = columns, .ld = head->V, .s = head->s,
				  .target = c->loss->target + c->row};
}

static struct sparse_targets sparse_rows(const struct sparse_targets *all, int row)
{
	struct sparse_targets s = *all;
	s.ids += (size_t)row * (size_t)s.K;
	s.log_p += (size_t)row * (size_t)s.K;
	if (s.tail)
		s.tail += row;
	return s;
}

static void dense_logits(const struct fused_head *head, struct ops *ops, const struct chunk *c, const struct head_teacher *m)
{
	const struct soft_targets *t = m->soft;
	logits(ops, row_of(t->hidden, ops->act, c->row, t->C), t->head, t->head_type, c->n, t->C, columns_of(head, m), head->V,
	       head->t);
}

/* The divergences of one teacher join r. `sparse` stays the caller's, as long as r. */
static void add_teacher(const struct fused_head *head, struct ops *ops, const struct chunk *c, const struct head_teacher *m,
			struct loss_rows *r, struct sparse_targets *sparse)
{
	const struct head_loss *l = c->loss;
	r->n_terms = l->n_terms;
	r->terms = l->terms;
	r->kd_weight = m->weight + c->row;
	r->divergence = l->n_terms ? m->divergence + (size_t)c->row * (size_t)l->n_terms : NULL;
	if (m->soft->kind == SOFT_TARGETS_SPARSE) {
		*sparse = sparse_rows(&m->soft->sparse, c->row);
		r->sparse = sparse;
		return;
	}
	dense_logits(head, ops, c, m);
	r->t = head->t;
	r->teacher_ce = m->ce ? m->ce + c->row : NULL;
	r->argmax_t = m->argmax ? m->argmax + c->row : NULL;
	r->top1 |= r->argmax_t != NULL;
}

/* A teacher whose gradient is kept in g until the last. */
static void teacher_losses(const struct fused_head *head, struct ops *ops, struct chunk *c, const struct head_teacher *m)
{
	struct loss_rows r = student_rows(head, c, columns_of(head, m));
	struct sparse_targets sparse;
	add_teacher(head, ops, c, m, &r, &sparse);
	if (c->loss->dhidden && r.n_terms) {
		BUG_ON(!head->g);
		r.grad = head->g;
		r.grad_type = DTYPE_F32;
		r.ld_grad = head->V;
		r.add = c->summed ? head->g : NULL;
		c->summed = true;
	}
	ops->loss_rows(ops, &r);
}

/* The cross-entropy with the divergences of teacher m, or NULL: the gradient of everything takes the logits' place. */
static void last_losses(const struct fused_head *head, struct ops *ops, const struct chunk *c, const struct head_teacher *m,
			int32_t *argmax_s)
{
	const struct head_loss *l = c->loss;
	struct loss_rows r = student_rows(head, c, head->V);
	struct sparse_targets sparse;
	r.ce_weight = l->ce_weight + c->row;
	r.ce = l->ce + c->row;
	r.argmax_s = argmax_s;
	r.top1 = argmax_s != NULL;
	if (m)
		add_teacher(head, ops, c, m, &r, &sparse);
	if (l->dhidden) {
		r.grad = head->s;
		r.grad_type = c->grad_type;
		r.ld_grad = c->grad_type == DTYPE_BF16 ? 2 * head->V : head->V;
		r.add = c->summed ? head->g : NULL;
	}
	ops->loss_rows(ops, &r);
}

/* The student's arg-maxima among the columns that all know; NULL: where those are all, the last sweep finds them. */
static int32_t *narrow_argmax(const struct fused_head *head, struct ops *ops, const struct chunk *c)
{
	const struct head_loss *l = c->loss;
	int columns = head->V;
	for (int i = 0; i < l->n_teachers; i++)
		if (columns_of(head, &l->teachers[i]) < columns)
			columns = columns_of(head, &l->teachers[i]);
	int32_t *argmax_s = l->argmax_s ? l->argmax_s + c->row : NULL;
	if (columns == head->V || !argmax_s)
		return argmax_s;
	struct loss_rows r = student_rows(head, c, columns);
	r.argmax_s = argmax_s;
	r.top1 = true;
	ops->loss_rows(ops, &r);
	return NULL;
}

/* dW += g^T x and dx = g W, g in the logits' place. */
static void products_backward(const struct fused_head *head, struct ops *ops, const struct chunk *c)
{
	const struct head_loss *l = c->loss;
	int V = head->V, C = head->C, ld = c->grad_type == DTYPE_BF16 ? 2 * V : V;
	void *dx = (void *)row_of(l->dhidden, ops->act, c->row, C);
	ops->matmul(ops, &(struct matmul){.kind = MATMUL_TN, .m = V, .n = C, .k = c->n, .a = head->s,
					  .b = row_of(l->hidden, ops->act, c->row, C), .c = l->dhead,
					  .a_type = c->grad_type, .b_type = ops->act, .c_type = DTYPE_F32, .lda = ld,
					  .ldb = C, .ldc = C, .accumulate = true});
	ops->matmul(ops, &(struct matmul){.kind = MATMUL_NN, .m = c->n, .n = C, .k = V, .a = head->s, .b = l->head, .c = dx,
					  .a_type = c->grad_type, .b_type = l->head_type, .c_type = ops->act, .lda = ld,
					  .ldb = C, .ldc = C});
}

static void run_chunk(const struct fused_head *head, struct ops *ops, struct chunk *c)
{
	const struct head_loss *l = c->loss;
	const void *x = row_of(l->hidden, ops->act, c->row, head->C);
	logits(ops, x, l->head, l->head_type, c->n, head->C, head->V, head->V, head->s);
	int last = last_teacher(head, l);
	for (int i = 0; i < l->n_teachers; i++)
		if (i != last && !is_idle(l, &l->teachers[i]))
			teacher_losses(head, ops, c, &l->teachers[i]);
	int32_t *argmax_s = narrow_argmax(head, ops, c);
	last_losses(head, ops, c, last < 0 ? NULL : &l->teachers[last], argmax_s);
	if (l->dhidden)
		products_backward(head, ops, c);
}

static void check_teacher(const struct fused_head *head, const struct head_loss *l, const struct head_teacher *m)
{
	BUG_ON(m->soft->kind == SOFT_TARGETS_NONE || m->soft->V < 1 || (l->n_terms && !m->divergence));
	BUG_ON(m->soft->kind == SOFT_TARGETS_DENSE && !head->t);
	BUG_ON(m->soft->kind == SOFT_TARGETS_SPARSE && (m->ce || m->argmax));
}

void fused_head_run(struct fused_head *head, struct ops *ops, const struct head_loss *l)
{
	BUG_ON(l->V != head->V || l->C != head->C || !l->dhidden != !l->dhead || l->N < 0 || l->n_terms < 0);
	BUG_ON(l->n_teachers < 0 || l->n_teachers > head->n_teachers);
	for (int i = 0; i < l->n_teachers; i++)
		check_teacher(head, l, &l->teachers[i]);
	for (int row = 0; row < l->N; row += head->rows) {
		int left = l->N - row;
		struct chunk c = {.loss = l, .row = row, .n = left < head->rows ? left : head->rows,
				  .grad_type = ops->matmul_bf16 ? DTYPE_BF16 : DTYPE_F32};
		run_chunk(head, ops, &c);
	}
}

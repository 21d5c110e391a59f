/* The fused output head as a composition of table entries: per chunk of rows, logits by a product, loss and gradient in
 * place, then the two products of the backward pass. May not know a model. Test: tests/test_fused_head.c */
#include "losses/fused_head.h"

#include <stdlib.h>

struct fused_head {
	int rows;            /* of a chunk */
	int V, C, teacher_V;
	float *s;            /* (rows, V) student logits, then their gradient */
	float *t;            /* (rows, V) teacher logits; NULL without a teacher */
	float *g;            /* (rows, V) gradient of the KL alone; NULL unless the teacher's vocabulary is the smaller */
	float *no_weight;    /* (rows) zeros, with g */
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
	*out = NULL;
	BUG_ON(o->max_rows < 1 || o->V < 1 || o->C < 1 || o->teacher_V < 0);
	struct fused_head *head = calloc(1, sizeof *head);
	if (!head)
		return err_run(e, "out of memory for the output head's state (%zu bytes)", sizeof *head);
	int rows = fused_head_chunk_rows(o->V, o->chunk_bytes);
	*head = (struct fused_head){.rows = rows < o->max_rows ? rows : o->max_rows, .V = o->V, .C = o->C,
				    .teacher_V = o->teacher_V};
	size_t n_bytes = (size_t)head->rows * (size_t)head->V * sizeof(float);
	head->s = arena_alloc(device, n_bytes);
	if (o->teacher_V)
		head->t = arena_alloc(device, n_bytes);
	if (o->teacher_V && o->teacher_V < o->V) {
		head->g = arena_alloc(device, n_bytes);
		head->no_weight = arena_alloc(device, (size_t)head->rows * sizeof(float));
		if (!arena_is_dry(device))
			ops->zero(ops, head->no_weight, (size_t)head->rows * sizeof(float));
	}
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
	bool kd;
	enum dtype grad_type; /* a bf16 gradient feeds bf16 products without a conversion */
};

static struct loss_rows rows_of(const struct fused_head *head, const struct chunk *c)
{
	const struct head_loss *l = c->loss;
	return (struct loss_rows){
		.n_rows = c->n, .V = head->V, .ld = head->V, .s = head->s,
		.target = l->target + c->row, .ce_weight = l->ce_weight + c->row,
		.ce = l->ce + c->row,
		.grad = l->dhidden ? head->s : NULL, .grad_type = c->grad_type,
		.ld_grad = c->grad_type == DTYPE_BF16 ? 2 * head->V : head->V,
		.top1 = l->argmax_s || (l->n_teachers && l->teachers[0].argmax),
		.argmax_s = l->argmax_s ? l->argmax_s + c->row : NULL,
	};
}

static void add_teacher(const struct fused_head *head, const struct chunk *c, struct loss_rows *r)
{
	const struct head_loss *l = c->loss;
	r->t = head->t;
	const struct head_teacher *m = &l->teachers[0];
	r->n_terms = l->n_terms;
	r->terms = l->terms;
	r->kd_weight = m->weight + c->row;
	r->divergence = m->divergence + (size_t)c->row * (size_t)l->n_terms;
	r->argmax_t = m->argmax ? m->argmax + c->row : NULL;
}

/* The student has columns that the teacher lacks: the KL runs over the common ones, the cross-entropy over all. */
static void split_losses(const struct fused_head *head, struct ops *ops, const struct chunk *c)
{
	struct loss_rows kl = rows_of(head, c);
	add_teacher(head, c, &kl);
	kl.V = head->teacher_V;
	kl.ce_weight = head->no_weight;
	if (kl.grad)
		kl.grad = head->g;
	ops->loss_rows(ops, &kl);
	struct loss_rows ce = rows_of(head, c);
	ce.top1 = false;
	ce.argmax_s = NULL;
	ops->loss_rows(ops, &ce);
}

static void chunk_losses(const struct fused_head *head, struct ops *ops, const struct chunk *c)
{
	if (c->kd && head->g) {
		split_losses(head, ops, c);
		return;
	}
	struct loss_rows r = rows_of(head, c);
	if (c->kd)
		add_teacher(head, c, &r);
	ops->loss_rows(ops, &r);
}

/* dW += g^T x and dx = g W (or += when `accumulate`). */
static void products_backward(const struct fused_head *head, struct ops *ops, const struct chunk *c, const float *g,
			      bool accumulate)
{
	const struct head_loss *l = c->loss;
	int V = head->V, C = head->C, ld = c->grad_type == DTYPE_BF16 ? 2 * V : V;
	void *dx = (void *)row_of(l->dhidden, ops->act, c->row, C);
	ops->matmul(ops, &(struct matmul){.kind = MATMUL_TN, .m = V, .n = C, .k = c->n, .a = g,
					  .b = row_of(l->hidden, ops->act, c->row, C), .c = l->dhead,
					  .a_type = c->grad_type, .b_type = ops->act, .c_type = DTYPE_F32, .lda = ld,
					  .ldb = C, .ldc = C, .accumulate = true});
	ops->matmul(ops, &(struct matmul){.kind = MATMUL_NN, .m = c->n, .n = C, .k = V, .a = g, .b = l->head, .c = dx,
					  .a_type = c->grad_type, .b_type = l->head_type, .c_type = ops->act, .lda = ld,
					  .ldb = C, .ldc = C, .accumulate = accumulate});
}

static void run_chunk(const struct fused_head *head, struct ops *ops, const struct chunk *c)
{
	const struct head_loss *l = c->loss;
	const void *x = row_of(l->hidden, ops->act, c->row, head->C);
	logits(ops, x, l->head, l->head_type, c->n, head->C, head->V, head->V, head->s);
	if (c->kd) {
		const struct soft_targets *soft = l->teachers[0].soft;
		int V = soft->V < head->V ? soft->V : head->V;
		logits(ops, row_of(soft->hidden, ops->act, c->row, soft->C), soft->head, soft->head_type, c->n, soft->C, V,
		       head->V, head->t);
	}
	chunk_losses(head, ops, c);
	if (!l->dhidden)
		return;
	if (c->kd && head->g)
		products_backward(head, ops, c, head->g, false);
	products_backward(head, ops, c, head->s, c->kd && head->g);
}

void fused_head_run(struct fused_head *head, struct ops *ops, const struct head_loss *l)
{
	bool kd = l->n_teachers > 0;
	BUG_ON(l->V != head->V || l->C != head->C || !l->dhidden != !l->dhead || l->N < 0);
	BUG_ON(kd && (l->n_teachers > 1 || l->teachers[0].soft->kind != SOFT_TARGETS_DENSE || l->teachers[0].soft->V != head->teacher_V));
	for (int row = 0; row < l->N; row += head->rows) {
		int left = l->N - row;
		struct chunk c = {.loss = l, .row = row, .n = left < head->rows ? left : head->rows, .kd = kd,
				  .grad_type = ops->matmul_bf16 ? DTYPE_BF16 : DTYPE_F32};
		run_chunk(head, ops, &c);
	}
}

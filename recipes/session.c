#include "recipes/session.h"

#include <stdio.h>
#include <string.h>

const char *memory_owner_name(enum memory_owner o)
{
	static const char *const names[] = {"weights", "gradients", "moments", "activations", "loss", "teacher weights",
					    "teacher activations", "masks", "evaluation", "backend"};
	return names[o];
}

size_t session_total(const size_t bytes[MEMORY_OWNERS])
{
	size_t sum = 0;
	for (int i = 0; i < MEMORY_OWNERS; i++)
		sum += bytes[i];
	return sum;
}

static void lay_out_masks(struct session *s, struct arena *a)
{
	const struct shape *sh = &s->options.arch->shape;
	size_t L = (size_t)sh->L, n[] = {(size_t)sh->C, L, L * (size_t)sh->NH, L * (size_t)sh->F};
	float *z[4], *dz[4];
	for (int i = 0; i < 4; i++) {
		z[i] = arena_alloc(a, n[i] * sizeof(float));
		dz[i] = arena_alloc(a, n[i] * sizeof(float));
	}
	s->masks = (struct masks){.hidden = z[0], .attn = z[1], .ffn_block = z[1], .heads = z[2], .ffn = z[3]};
	s->mask_grads = (struct mask_grads){.hidden = dz[0], .attn = dz[1], .ffn_block = dz[1], .heads = dz[2], .ffn = dz[3]};
}

/* What each backend must reserve: the largest of all that it will be asked for. */
struct reservation {
	struct ops *ops[2 + FUSED_HEAD_MAX_TEACHERS];
	struct ops_limits limits[2 + FUSED_HEAD_MAX_TEACHERS];
	int n;
};

static void want_as_is(struct reservation *r, struct ops *ops, struct ops_limits l)
{
	int i = 0;
	while (i < r->n && r->ops[i] != ops)
		i++;
	if (i == r->n)
		r->ops[r->n++] = ops;
	r->limits[i] = ops_limits_max(r->limits[i], l);
}

/* fp32 operands of fp32 products: nothing is converted. */
static void want(struct reservation *r, struct ops *ops, struct ops_limits l)
{
	if (!ops->matmul_bf16)
		l.max_operand_elems = 0;
	want_as_is(r, ops, l);
}

static void want_for_teacher(struct reservation *r, const struct session_options *o, const struct session_teacher *t)
{
	const struct arch *a = &t->model->layout.arch;
	struct ops_limits l = transformer_limits(a, o->student.B * o->student.T, fused_head_chunk_rows(a->shape.V, FUSED_HEAD_CHUNK_BYTES));
	struct ops_limits head = {.max_operand_elems = (size_t)a->shape.V * (size_t)a->shape.C};
	want(r, t->ops, l);
	if (t->ops->matmul_bf16 != o->ops->matmul_bf16) /* its output matrix is an operand of the student's products */
		want_as_is(r, o->ops, head);
	else
		want(r, o->ops, l);
}

static struct reservation reservation_of(const struct session_options *o)
{
	const struct evaluator_options eo = {.sequence_length = o->eval_sequence_length};
	struct reservation r = {.n = 0};
	want(&r, o->ops, student_limits(o->arch, &o->student));
	want(&r, o->eval_ops, evaluator_limits(o->arch, &eo));
	for (int i = 0; i < o->n_teachers; i++)
		want_for_teacher(&r, o, &o->teachers[i]);
	return r;
}

static size_t reservation_bytes(const struct session_options *o)
{
	struct reservation r = reservation_of(o);
	size_t n = 0;
	for (int i = 0; i < r.n; i++)
		n += ops_cpu_reserve_bytes(r.ops[i], &r.limits[i]);
	return n;
}

static int reserve(const struct session_options *o, struct err *e)
{
	struct reservation r = reservation_of(o);
	for (int i = 0; i < r.n; i++)
		if (ops_cpu_reserve(r.ops[i], &r.limits[i], e) < 0)
			return -1;
	return 0;
}

/* The smallest vocabulary of those that give dense targets; 0: none does. */
static int dense_V(const struct session_options *o)
{
	int V = 0;
	for (int i = 0; i < o->n_teachers; i++) {
		const struct session_teacher *t = &o->teachers[i];
		int own = t->model->layout.arch.shape.V;
		if (t->cached && t->options.cache.kind != CACHE_HIDDEN)
			continue;
		if (t->options.columns && t->options.columns < own)
			own = t->options.columns;
		V = V && V < own ? V : own;
	}
	return V;
}

static int lay_out_teacher(struct session *s, int i, struct arena *weights, struct arena *activations, struct err *e)
{
	struct session_teacher *t = &s->options.teachers[i];
	t->options.type = t->ops->matmul_bf16 ? DTYPE_BF16 : DTYPE_F32;
	t->options.B = s->options.student.B;
	t->options.T = s->options.student.T;
	if (t->cached)
		TRY(teacher_init_cached(&s->teachers[i], t->ops, t->model, t->cache, &t->options, weights, activations, e));
	else
		TRY(teacher_init(&s->teachers[i], t->ops, t->model, &t->options, weights, activations, e));
	s->n_teachers++;
	return 0;
out:
	return -1;
}

/* The one walk over all owners: dry when the arenas are, real when they have memory behind them. */
static int lay_out(struct session *s, struct arena a[MEMORY_OWNERS], struct err *e)
{
	struct session_options *o = &s->options;
	struct student_arenas sa = {a[MEMORY_WEIGHTS], a[MEMORY_GRADIENTS], a[MEMORY_MOMENTS], a[MEMORY_ACTIVATIONS], a[MEMORY_LOSS]};
	struct evaluator_options eo = {.sequence_length = o->eval_sequence_length};
	o->student.mode = o->masked ? ACTIVATIONS_MASKED : ACTIVATIONS_TRAIN;
	o->student.type = o->ops->matmul_bf16 ? DTYPE_BF16 : DTYPE_F32;
	o->student.n_teachers = o->n_teachers;
	o->student.teacher_V = dense_V(o);
	if (student_init(&s->student, o->ops, o->arch, &o->student, &sa, e) < 0)
		return -1;
	a[MEMORY_WEIGHTS] = sa.weights;
	a[MEMORY_GRADIENTS] = sa.gradients;
	a[MEMORY_MOMENTS] = sa.moments;
	a[MEMORY_ACTIVATIONS] = sa.activations;
	a[MEMORY_LOSS] = sa.loss;
	for (int i = 0; i < o->n_teachers; i++)
		if (lay_out_teacher(s, i, &a[MEMORY_TEACHER_WEIGHTS], &a[MEMORY_TEACHER_ACTIVATIONS], e) < 0)
			return -1;
	if (o->masked)
		lay_out_masks(s, &a[MEMORY_MASKS]);
	return evaluator_init(&s->evaluator, o->eval_ops, o->arch, &eo, &a[MEMORY_EVALUATION], e);
}

static void release_parts(struct session *s)
{
	evaluator_free(s->evaluator);
	s->evaluator = NULL;
	for (int i = 0; i < s->n_teachers; i++)
		teacher_release(&s->teachers[i]);
	s->n_teachers = 0;
	student_release(&s->student);
	memset(&s->student, 0, sizeof s->student);
}

int session_price(const struct session_options *options, size_t bytes[MEMORY_OWNERS], struct err *e)
{
	struct session s = {.options = *options};
	struct arena a[MEMORY_OWNERS] = {0};
	int rc = lay_out(&s, a, e);
	release_parts(&s);
	for (int i = 0; i < MEMORY_OWNERS; i++)
		bytes[i] = a[i].used;
	bytes[MEMORY_BACKEND] = reservation_bytes(options);
	return rc;
}

int session_open(struct session *s, const struct session_options *options, struct err *e)
{
	struct arena a[MEMORY_OWNERS] = {0};
	int rc = -1;
	*s = (struct session){.options = *options};
	TRY(session_price(options, s->bytes, e));
	TRY(reserve(options, e));
	for (int i = 0; i < MEMORY_BACKEND; i++) {
		struct ops *ops = i == MEMORY_EVALUATION ? options->eval_ops : options->ops;
		if (!s->bytes[i])
			continue;
		if (ops->alloc(ops, s->bytes[i], &s->blocks[i], e) < 0) {
			err_prefix(e, "%s", memory_owner_name((enum memory_owner)i));
			goto out;
		}
		a[i] = (struct arena){s->blocks[i], 0, s->bytes[i]};
	}
	TRY(lay_out(s, a, e));
	for (int i = 0; i < MEMORY_BACKEND; i++)
		BUG_ON(a[i].used != s->bytes[i]);
	rc = 0;
out:
	if (rc < 0)
		session_close(s);
	return rc;
}

void session_close(struct session *s)
{
	if (!s->options.ops)
		return;
	release_parts(s);
	for (int i = 0; i < MEMORY_OWNERS; i++) {
		struct ops *ops = i == MEMORY_EVALUATION ? s->options.eval_ops : s->options.ops;
		if (s->blocks[i])
			ops->release(ops, s->blocks[i]);
	}
	memset(s, 0, sizeof *s);
}

struct params session_fp32(const struct session *s)
{
	struct params p = s->student.params;
	p.type = DTYPE_F32;
	p.copy = p.master;
	p.vectors = p.master;
	return p;
}

int session_micro_batch(const struct session_options *options, int rows, size_t limit, int *out, struct err *e)
{
	struct session_options o = *options;
	size_t bytes[MEMORY_OWNERS] = {0};
	for (int B = rows; B >= 1; B--) {
		if (rows % B || (B > 1 && (int64_t)B * o.student.T > 4096))
			continue;
		o.student.B = B;
		if (session_price(&o, bytes, e) < 0)
			return -1;
		if (session_total(bytes) <= limit) {
			*out = B;
			return 0;
		}
	}
	return err_run(e, "one sequence of %d tokens needs %.1f MiB (weights %.1f, gradients and moments %.1f, activations %.1f, teacher %.1f), %.1f MiB are free: "
			  "shorten data.sequence_length or take a smaller model",
		       o.student.T, (double)session_total(bytes) / 1048576, (double)bytes[MEMORY_WEIGHTS] / 1048576,
		       (double)(bytes[MEMORY_GRADIENTS] + bytes[MEMORY_MOMENTS]) / 1048576, (double)bytes[MEMORY_ACTIVATIONS] / 1048576,
		       (double)(bytes[MEMORY_TEACHER_WEIGHTS] + bytes[MEMORY_TEACHER_ACTIVATIONS]) / 1048576, (double)limit / 1048576);
}

size_t memory_available(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[256];
	unsigned long long kib = 1ull << 40;
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return (size_t)kib * 1024;
}

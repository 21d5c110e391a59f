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

static struct ops_limits max_limits(struct ops_limits a, struct ops_limits b)
{
	if (b.max_operand_elems > a.max_operand_elems)
		a.max_operand_elems = b.max_operand_elems;
	if (b.max_columns > a.max_columns)
		a.max_columns = b.max_columns;
	return a;
}

/* fp32 operands of fp32 products: nothing is converted. */
static struct ops_limits needed(const struct ops *ops, struct ops_limits l)
{
	if (!ops->matmul_bf16)
		l.max_operand_elems = 0;
	return l;
}

/* What each backend must reserve; both are the larger of the two where one backend serves both. */
struct reservation {
	struct ops_limits train, eval;
};

static struct reservation reservation_of(const struct session_options *o)
{
	const struct evaluator_options eo = {.sequence_length = o->eval_sequence_length};
	int N = o->student.B * o->student.T;
	struct ops_limits train = transformer_limits(o->arch, N, fused_head_chunk_rows(o->arch->shape.V, FUSED_HEAD_CHUNK_BYTES));
	if (o->teacher) {
		const struct arch *t = &o->teacher->layout.arch;
		train = max_limits(train, transformer_limits(t, N, fused_head_chunk_rows(t->shape.V, FUSED_HEAD_CHUNK_BYTES)));
	}
	struct reservation r = {needed(o->ops, train), needed(o->eval_ops, evaluator_limits(o->arch, &eo))};
	if (o->eval_ops == o->ops)
		r.train = r.eval = max_limits(r.train, r.eval);
	return r;
}

static size_t reservation_bytes(const struct session_options *o)
{
	struct reservation r = reservation_of(o);
	size_t n = ops_cpu_reserve_bytes(o->ops, &r.train);
	return o->eval_ops == o->ops ? n : n + ops_cpu_reserve_bytes(o->eval_ops, &r.eval);
}

static int reserve(const struct session_options *o, struct err *e)
{
	struct reservation r = reservation_of(o);
	if (o->eval_ops != o->ops && ops_cpu_reserve(o->eval_ops, &r.eval, e) < 0)
		return -1;
	return ops_cpu_reserve(o->ops, &r.train, e);
}

/* The one walk over all owners: dry when the arenas are, real when they have memory behind them. */
static int lay_out(struct session *s, struct arena a[MEMORY_OWNERS], struct err *e)
{
	struct session_options *o = &s->options;
	struct student_arenas sa = {a[MEMORY_WEIGHTS], a[MEMORY_GRADIENTS], a[MEMORY_MOMENTS], a[MEMORY_ACTIVATIONS], a[MEMORY_LOSS]};
	struct evaluator_options eo = {.sequence_length = o->eval_sequence_length};
	o->student.mode = o->masked ? ACTIVATIONS_MASKED : ACTIVATIONS_TRAIN;
	o->student.type = o->ops->matmul_bf16 ? DTYPE_BF16 : DTYPE_F32;
	o->student.teacher_V = o->teacher ? o->teacher->layout.arch.shape.V : 0;
	o->student.n_teachers = o->student.n_terms = o->teacher != NULL;
	if (student_init(&s->student, o->ops, o->arch, &o->student, &sa, e) < 0)
		return -1;
	a[MEMORY_WEIGHTS] = sa.weights;
	a[MEMORY_GRADIENTS] = sa.gradients;
	a[MEMORY_MOMENTS] = sa.moments;
	a[MEMORY_ACTIVATIONS] = sa.activations;
	a[MEMORY_LOSS] = sa.loss;
	if (o->teacher) {
		struct teacher_options to = {.type = o->student.type, .B = o->student.B, .T = o->student.T};
		if (teacher_init(&s->teacher, o->ops, o->teacher, &to, &a[MEMORY_TEACHER_WEIGHTS],
				 &a[MEMORY_TEACHER_ACTIVATIONS], e) < 0)
			return -1;
		s->has_teacher = true;
	}
	if (o->masked)
		lay_out_masks(s, &a[MEMORY_MASKS]);
	return evaluator_init(&s->evaluator, o->eval_ops, o->arch, &eo, &a[MEMORY_EVALUATION], e);
}

static void release_parts(struct session *s)
{
	evaluator_free(s->evaluator);
	s->evaluator = NULL;
	if (s->has_teacher)
		teacher_release(&s->teacher);
	s->has_teacher = false;
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

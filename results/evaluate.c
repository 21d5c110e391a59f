/* Evaluation: packs windows, runs the model, spends the logits, adds up per document.
 * Knows no files and no tokenizer: documents come from a source. Test: tests/test_evaluate.c */
#include "results/evaluate.h"

#include "base/clock.h"
#include "base/hash.h"
#include "results/windows.h"

#include <stdlib.h>

struct evaluator {
	struct ops *ops;
	struct shape shape;
	int S, teacher_V;
	struct activations *act, *own_act;
	struct fused_head *head, *own_head;
	size_t memory_bytes;
	struct packing packing;
	void *host;     /* the packing's arrays, and those below */
	float *ce, *kl; /* (N) host */
	int32_t *argmax_s, *argmax_t;
	struct { /* (N) device */
		int32_t *tokens, *targets, *pos, *start, *argmax_s, *argmax_t;
		float *weight, *ce, *kl;
	} device;
};

int evaluator_sequence_length(const struct arch *a)
{
	return a->max_positions < 2048 ? a->max_positions : 2048;
}

struct evaluator_options evaluator_resolve(const struct arch *a, const struct evaluator_options *options)
{
	struct evaluator_options o = *options;
	if (!o.sequence_length)
		o.sequence_length = evaluator_sequence_length(a);
	if (!o.B)
		o.B = 1;
	if (!o.T)
		o.T = o.sequence_length > 2048 ? o.sequence_length : 2048;
	return o;
}

struct ops_limits evaluator_limits(const struct arch *a, const struct evaluator_options *options)
{
	struct evaluator_options o = evaluator_resolve(a, options);
	return transformer_limits(a, o.B * o.T, fused_head_chunk_rows(a->shape.V, FUSED_HEAD_CHUNK_BYTES));
}

/* n elements of `size` bytes out of one block: the first pass counts, the second hands out. */
static void *slice(struct arena *a, size_t n, size_t size)
{
	return arena_alloc(a, n * size);
}

static void lay_out_host(struct evaluator *v, struct arena *a)
{
	struct packing *p = &v->packing;
	size_t N = (size_t)p->B * (size_t)p->T;
	p->filled = slice(a, (size_t)p->B, sizeof *p->filled);
	p->tokens = slice(a, N, sizeof *p->tokens);
	p->targets = slice(a, N, sizeof *p->targets);
	p->pos = slice(a, N, sizeof *p->pos);
	p->start = slice(a, N, sizeof *p->start);
	p->weight = slice(a, N, sizeof *p->weight);
	p->document = slice(a, N, sizeof *p->document);
	v->ce = slice(a, N, sizeof *v->ce);
	v->kl = slice(a, N, sizeof *v->kl);
	v->argmax_s = slice(a, N, sizeof *v->argmax_s);
	v->argmax_t = slice(a, N, sizeof *v->argmax_t);
}

static void lay_out_device(struct evaluator *v, struct arena *a)
{
	size_t N = (size_t)v->packing.B * (size_t)v->packing.T;
	v->device.tokens = slice(a, N, sizeof(int32_t));
	v->device.targets = slice(a, N, sizeof(int32_t));
	v->device.pos = slice(a, N, sizeof(int32_t));
	v->device.start = slice(a, N, sizeof(int32_t));
	v->device.weight = slice(a, N, sizeof(float));
	v->device.ce = slice(a, N, sizeof(float));
	if (!v->teacher_V)
		return;
	v->device.kl = slice(a, N, sizeof(float));
	v->device.argmax_s = slice(a, N, sizeof(int32_t));
	v->device.argmax_t = slice(a, N, sizeof(int32_t));
}

static int allocate_host(struct evaluator *v, struct err *e)
{
	struct arena a = arena_dry();
	lay_out_host(v, &a);
	size_t n_bytes = (a.used + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
	v->host = aligned_alloc(ARENA_ALIGN, n_bytes);
	if (!v->host)
		return err_run(e, "evaluation: no memory for %zu bytes of tokens", n_bytes);
	a = (struct arena){.base = v->host, .capacity = n_bytes};
	lay_out_host(v, &a);
	return 0;
}

static int check(const struct evaluator_options *o, struct err *e)
{
	if (o->sequence_length < 2)
		return err_user(e, "sequence_length: expected at least 2, found %d", o->sequence_length);
	if (o->T < o->sequence_length - 1)
		return err_user(e, "sequence_length: %d tokens do not fit into a batch of %d positions", o->sequence_length, o->T);
	return 0;
}

int evaluator_init(struct evaluator **out, struct ops *ops, const struct arch *arch, const struct evaluator_options *options,
		   struct arena *device, struct err *e)
{
	int rc = -1;
	*out = NULL;
	struct evaluator_options o = evaluator_resolve(arch, options);
	if (check(&o, e) < 0)
		return -1;
	struct evaluator *v = calloc(1, sizeof *v);
	if (!v)
		return err_run(e, "evaluation: out of memory");
	*v = (struct evaluator){.ops = ops, .shape = arch->shape, .S = o.sequence_length, .teacher_V = o.teacher_V, .act = o.act,
				.head = o.head, .packing = {.B = o.B, .T = o.T}};
	size_t before = device->used;
	if (!v->act) {
		TRY(activations_init(&v->own_act, ops, arch, o.B, o.T, ACTIVATIONS_INFER, device, e));
		v->act = v->own_act;
		if (!arena_is_dry(device))
			activations_upload_tables(v->act, ops, arch);
	}
	if (!v->head) {
		struct fused_head_options h = {.max_rows = o.B * o.T, .V = arch->shape.V, .C = arch->shape.C, .teacher_V = o.teacher_V,
						  .n_teachers = o.teacher_V > 0};
		TRY(fused_head_init(&v->own_head, ops, &h, device, e));
		v->head = v->own_head;
	}
	lay_out_device(v, device);
	v->memory_bytes = device->used - before;
	if (!arena_is_dry(device))
		TRY(allocate_host(v, e));
	*out = v;
	v = NULL;
	rc = 0;
out:
	evaluator_free(v);
	return rc;
}

void evaluator_free(struct evaluator *v)
{
	if (!v)
		return;
	activations_free(v->own_act);
	fused_head_free(v->own_head);
	free(v->host);
	free(v);
}

static struct batch upload(struct evaluator *v, size_t n)
{
	struct ops *ops = v->ops;
	ops->upload(ops, v->device.tokens, v->packing.tokens, n * sizeof(int32_t));
	ops->upload(ops, v->device.targets, v->packing.targets, n * sizeof(int32_t));
	ops->upload(ops, v->device.pos, v->packing.pos, n * sizeof(int32_t));
	ops->upload(ops, v->device.start, v->packing.start, n * sizeof(int32_t));
	ops->upload(ops, v->device.weight, v->packing.weight, n * sizeof(float));
	return (struct batch){.B = v->packing.B, .T = v->packing.used_T, .tokens = v->device.tokens, .pos = v->device.pos,
			      .start = v->device.start};
}

static void run_model(struct evaluator *v, const struct evaluated *m, int N)
{
	struct ops *ops = v->ops;
	struct batch batch = upload(v, (size_t)N);
	struct soft_targets soft = {.kind = SOFT_TARGETS_NONE};
	if (m->teacher) {
		const struct shape *t = &m->teacher->layout->arch.shape;
		soft = (struct soft_targets){
			.kind = SOFT_TARGETS_DENSE, .C = t->C, .V = t->V,
			.hidden = transformer_forward(ops, m->teacher, m->teacher_act, &batch, NULL, NULL),
			.head = params_matrix(m->teacher, PARAM_HEAD, -1), .head_type = m->teacher->type,
		};
	}
	struct head_loss loss = {
		.N = N, .C = v->shape.C, .V = v->shape.V,
		.hidden = transformer_forward(ops, m->params, v->act, &batch, m->masks, NULL),
		.head = params_matrix(m->params, PARAM_HEAD, -1), .head_type = m->params->type,
		.target = v->device.targets, .ce_weight = v->device.weight,
		.ce = v->device.ce, .argmax_s = m->teacher ? v->device.argmax_s : NULL,
	};
	const struct divergence_term kl = {.kind = DIVERGENCE_FORWARD_KL, .weight = 1, .tau = 1};
	if (m->teacher) {
		loss.n_terms = loss.n_teachers = 1;
		loss.terms = &kl;
		loss.teachers[0] = (struct head_teacher){.soft = &soft, .weight = v->device.weight, .divergence = v->device.kl,
							 .argmax = v->device.argmax_t};
	}
	fused_head_run(v->head, ops, &loss);
	ops->sync(ops);
}

static void download(struct evaluator *v, size_t n, bool teacher)
{
	struct ops *ops = v->ops;
	ops->download(ops, v->ce, v->device.ce, n * sizeof(float));
	if (!teacher)
		return;
	ops->download(ops, v->kl, v->device.kl, n * sizeof(float));
	ops->download(ops, v->argmax_s, v->device.argmax_s, n * sizeof(int32_t));
	ops->download(ops, v->argmax_t, v->device.argmax_t, n * sizeof(int32_t));
}

static void add_rows(const struct evaluator *v, size_t n, bool teacher, struct evaluation *out)
{
	for (size_t i = 0; i < n; i++) {
		if (v->packing.weight[i] == 0)
			continue;
		struct document_score *d = &out->documents[v->packing.document[i]];
		d->nll += (double)v->ce[i];
		d->tokens++;
		if (teacher) {
			d->kl += (double)v->kl[i];
			d->agree += v->argmax_s[i] == v->argmax_t[i];
		}
	}
}

static void flush(struct evaluator *v, const struct evaluated *m, struct evaluation *out)
{
	struct packing *p = &v->packing;
	size_t n = (size_t)p->B * (size_t)p->used_T;
	if (n) {
		for (int b = 0; b < p->B; b++)
			out->rows += (size_t)p->filled[b];
		packing_close(p);
		double begin = clock_now_s();
		run_model(v, m, (int)n);
		download(v, n, m->teacher);
		out->seconds += clock_now_s() - begin;
		add_rows(v, n, m->teacher, out);
	}
	packing_clear(p);
}

static int check_ids(const struct evaluator *v, const int32_t *ids, size_t n, size_t document, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (ids[i] < 0 || ids[i] >= v->shape.V)
			return err_user(e, "document %zu: token %zu has id %d, but the model's vocabulary has %d rows: the "
					"tokenizer is not the model's", document, i, ids[i], v->shape.V);
	return 0;
}

static int add_document(struct evaluator *v, const struct evaluated *m, const int32_t *ids, size_t n, size_t n_bytes,
			struct evaluation *out, struct err *e)
{
	struct window w;
	size_t document = out->n_documents;
	if (check_ids(v, ids, n, document, e) < 0)
		return -1;
	if (n_bytes > UINT32_MAX || n > UINT32_MAX)
		return err_user(e, "document %zu: %zu bytes are more than 4 GiB", document, n_bytes);
	if (evaluation_add(out, &(struct document_score){.bytes = (uint32_t)n_bytes}, e) < 0)
		return -1;
	for (size_t k = 0; window_at(n, v->S, k, &w); k++) {
		if (packing_add(&v->packing, ids, &w, document))
			continue;
		flush(v, m, out);
		packing_add(&v->packing, ids, &w, document);
	}
	return 0;
}

static void stamp(const struct evaluator *v, const struct evaluated *m, struct evaluation *out)
{
	*out = (struct evaluation){.sequence_length = v->S, .stride = v->S / 2, .has_teacher = m->teacher,
				   .memory_bytes = v->memory_bytes};
	bool bf16 = v->ops->matmul_bf16 || m->params->type == DTYPE_BF16;
	snprintf(out->dtype, sizeof out->dtype, "%s", bf16 ? "bf16" : "fp32");
}

int evaluator_run(struct evaluator *v, const struct evaluated *m, const struct document_source *source, struct evaluation *out,
		  void (*progress)(void *user, size_t rows), void *user, struct err *e)
{
	const int32_t *ids;
	size_t n, n_bytes;
	struct hash hash;
	int got;
	BUG_ON(!v->host || (m->teacher && !v->teacher_V));
	stamp(v, m, out);
	hash_init(&hash);
	packing_clear(&v->packing);
	while ((got = source->next(source->user, &ids, &n, &n_bytes, e)) > 0) {
		uint64_t length = n;
		hash_update(&hash, &length, sizeof length);
		hash_update(&hash, ids, n * sizeof *ids);
		if (add_document(v, m, ids, n, n_bytes, out, e) < 0)
			return -1;
		if (progress)
			progress(user, out->rows);
	}
	if (got < 0)
		return -1;
	flush(v, m, out);
	out->data_hash = hash_final(&hash);
	return evaluation_finish(out, e);
}

/* From a directory to weights on the device, and one evaluation of them. Test: tests/test_evaluate.c */
#include "results/loaded_model.h"

#include <stdlib.h>

/* host: (layout.n_elems) */
static int upload(struct loaded_model *m, const float *host, struct err *e)
{
	size_t n = m->hf.layout.n_elems;
	void *device = NULL;
	if (m->ops->alloc(m->ops, n * sizeof *host, &device, e) < 0)
		return -1;
	m->ops->upload(m->ops, device, host, n * sizeof *host);
	m->ops->sync(m->ops);
	m->weights = device;
	m->params = (struct params){.layout = &m->hf.layout, .type = DTYPE_F32, .master = m->weights, .copy = m->weights,
				    .vectors = m->weights};
	return 0;
}

static int upload_file(struct loaded_model *m, struct err *e)
{
	size_t n = m->hf.layout.n_elems;
	float *host = malloc(n * sizeof *host);
	if (!host)
		return err_run(e, "%s: no memory for %zu bytes of weights", m->hf.dir, n * sizeof *host);
	hf_read_f32(&m->hf, host);
	int rc = upload(m, host, e);
	free(host);
	return rc < 0 ? err_prefix(e, "%s", m->hf.dir) : 0;
}

int loaded_model_open(struct loaded_model *m, struct ops *ops, const char *dir, struct err *e)
{
	*m = (struct loaded_model){.ops = ops};
	if (hf_open(&m->hf, dir, e) < 0)
		return -1;
	if (upload_file(m, e) < 0) {
		loaded_model_close(m);
		return -1;
	}
	return 0;
}

int loaded_model_from(struct loaded_model *m, struct ops *ops, const struct param_layout *layout, const float *flat, struct err *e)
{
	*m = (struct loaded_model){.ops = ops};
	if (param_layout_init(&m->hf.layout, &layout->arch, e) < 0 || upload(m, flat, e) < 0) {
		loaded_model_close(m);
		return -1;
	}
	return 0;
}

void loaded_model_close(struct loaded_model *m)
{
	if (m->weights)
		m->ops->release(m->ops, m->weights);
	hf_close(&m->hf);
	*m = (struct loaded_model){0};
}

/* The evaluator, and room for the teacher's forward pass when there is one: dry or real, as the arena is. */
static int lay_out(struct loaded_model *m, struct loaded_model *teacher, const struct evaluator_options *options, struct arena *arena,
		   struct evaluator **v, struct activations **act, struct err *e)
{
	struct evaluator_options o = evaluator_resolve(&m->hf.layout.arch, options);
	o.teacher_V = teacher ? teacher->hf.layout.arch.shape.V : 0;
	if (evaluator_init(v, m->ops, &m->hf.layout.arch, &o, arena, e) < 0)
		return -1;
	return teacher ? activations_init(act, m->ops, &teacher->hf.layout.arch, o.B, o.T, ACTIVATIONS_INFER, arena, e) : 0;
}

int loaded_model_evaluate(struct loaded_model *m, struct loaded_model *teacher, const struct evaluator_options *o,
			  const struct document_source *source, struct evaluation *out, void (*progress)(void *user, size_t rows),
			  void *user, struct err *e)
{
	int rc = -1;
	struct evaluator *v = NULL;
	struct activations *act = NULL;
	void *memory = NULL;
	struct arena arena = arena_dry();
	struct evaluated model = {.params = &m->params};
	*out = (struct evaluation){0};
	TRY(lay_out(m, teacher, o, &arena, &v, &act, e));
	evaluator_free(v);
	v = NULL;
	activations_free(act);
	act = NULL;
	TRY(m->ops->alloc(m->ops, arena.used, &memory, e));
	arena = (struct arena){.base = memory, .capacity = arena.used};
	TRY(lay_out(m, teacher, o, &arena, &v, &act, e));
	if (teacher) {
		activations_upload_tables(act, m->ops, &teacher->hf.layout.arch);
		model.teacher = &teacher->params;
		model.teacher_act = act;
	}
	rc = evaluator_run(v, &model, source, out, progress, user, e);
out:
	evaluator_free(v);
	activations_free(act);
	if (memory)
		m->ops->release(m->ops, memory);
	return rc;
}

/* ---- speed ---- */

enum { SPEED_TOKENS = 256, SPEED_DOCUMENTS = 8, SPEED_RUNS = 5 };

static int ascending(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;
	return (a > b) - (a < b);
}

static int time_once(struct loaded_model *m, const int32_t *ids, double *tokens_per_s, struct err *e)
{
	size_t offsets[SPEED_DOCUMENTS + 1], n_bytes[SPEED_DOCUMENTS] = {0};
	struct evaluator_options o = {.sequence_length = SPEED_TOKENS};
	struct evaluation v;
	for (size_t i = 0; i <= SPEED_DOCUMENTS; i++)
		offsets[i] = i * SPEED_TOKENS;
	struct array_documents a = {.ids = ids, .offsets = offsets, .n_bytes = n_bytes, .n = SPEED_DOCUMENTS};
	struct document_source source = array_documents_open(&a);
	int rc = loaded_model_evaluate(m, NULL, &o, &source, &v, NULL, NULL, e);
	*tokens_per_s = rc < 0 ? 0 : (double)v.rows / v.seconds;
	evaluation_release(&v);
	return rc;
}

int loaded_model_speed(struct loaded_model *m, double *tokens_per_s, struct err *e)
{
	int32_t ids[SPEED_TOKENS * SPEED_DOCUMENTS];
	double runs[SPEED_RUNS];
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
		ids[i] = (int32_t)(i * 7919 % (size_t)m->hf.layout.arch.shape.V);
	for (int i = -1; i < SPEED_RUNS; i++)
		if (time_once(m, ids, &runs[i < 0 ? 0 : i], e) < 0)
			return -1;
	qsort(runs, SPEED_RUNS, sizeof *runs, ascending);
	*tokens_per_s = runs[SPEED_RUNS / 2];
	return 0;
}

struct logits_buffers {
	struct activations *act;
	int32_t *tokens, *pos, *start; /* (T) device */
	float *logits;                 /* (rows, V) device */
};

static int lay_out_logits(struct loaded_model *m, int T, int rows, struct arena *arena, struct logits_buffers *b, struct err *e)
{
	size_t V = (size_t)m->hf.layout.arch.shape.V, n = (size_t)T * sizeof(int32_t);
	b->tokens = arena_alloc(arena, n);
	b->pos = arena_alloc(arena, n);
	b->start = arena_alloc(arena, n);
	b->logits = arena_alloc(arena, (size_t)rows * V * sizeof(float));
	return activations_init(&b->act, m->ops, &m->hf.layout.arch, 1, T, ACTIVATIONS_INFER, arena, e);
}

static void run_logits(struct loaded_model *m, struct logits_buffers *b, const int32_t *ids, int32_t *pos, int T, int rows, float *logits)
{
	struct ops *ops = m->ops;
	int C = m->hf.layout.arch.shape.C, V = m->hf.layout.arch.shape.V;
	size_t n = (size_t)T * sizeof *ids;
	for (int i = 0; i < T; i++)
		pos[i] = i;
	ops->upload(ops, b->tokens, ids, n);
	ops->upload(ops, b->pos, pos, n);
	ops->zero(ops, b->start, n);
	activations_upload_tables(b->act, ops, &m->hf.layout.arch);
	struct batch batch = {.B = 1, .T = T, .tokens = b->tokens, .pos = b->pos, .start = b->start};
	const char *hidden = transformer_forward(ops, &m->params, b->act, &batch, NULL, NULL);
	for (int at = 0; at < T; at += rows) {
		int k = T - at < rows ? T - at : rows;
		fused_head_logits(ops, hidden + (size_t)at * (size_t)C * dtype_size(ops->act), params_matrix(&m->params, PARAM_HEAD, -1), DTYPE_F32, k,
				  C, V, b->logits);
		ops->download(ops, logits + (size_t)at * (size_t)V, b->logits, (size_t)k * (size_t)V * sizeof *logits);
	}
}

int loaded_model_logits(struct loaded_model *m, const int32_t *ids, int T, float *logits, struct err *e)
{
	int rows = T < 64 ? T : 64, rc = -1;
	struct logits_buffers b = {0};
	struct arena arena = arena_dry();
	void *memory = NULL;
	int32_t *pos = malloc((size_t)T * sizeof *pos);
	TRY(pos ? 0 : err_run(e, "out of memory"));
	TRY(lay_out_logits(m, T, rows, &arena, &b, e));
	activations_free(b.act);
	b.act = NULL;
	TRY(m->ops->alloc(m->ops, arena.used, &memory, e));
	arena = (struct arena){.base = memory, .capacity = arena.used};
	TRY(lay_out_logits(m, T, rows, &arena, &b, e));
	run_logits(m, &b, ids, pos, T, rows, logits);
	rc = 0;
out:
	activations_free(b.act);
	if (memory)
		m->ops->release(m->ops, memory);
	free(pos);
	return rc;
}

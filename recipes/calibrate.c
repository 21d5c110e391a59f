/* One pass: buffers priced and allocated, the text batch by batch, whoever listens. */
#include "recipes/calibrate.h"

#include "base/progress.h"
#include "prune/importance.h"
#include "prune/leave_out.h"
#include "recipes/rows.h"
#include "recipes/run.h"

#include <stdlib.h>
#include <string.h>

struct pass {
	const struct calibration *of;
	enum importance_method method; /* of scores */
	enum layers_method layers;
	bool scores, gradients, leaves_out; /* one at a time: scores, by gradients or not, or leaving layers out, or a re-fit */
	const struct param_layout *target; /* of a re-fit of layers [first, first + n) */
	const struct kept *kept;
	struct refit_options run;
	struct params params;
	struct activations *act;
	struct fused_head *head;           /* gradients */
	struct importance *importance;
	struct leave_out *leave_out;
	struct refit *refit;
	struct batches *text;
	struct batch batch;
	struct rows rows;
	int32_t *ids;                      /* device (4, N): tokens, targets, pos, start, as the rows' block */
	float *ones, *mean;                /* device (N): 1, and 1/N: weights of the loss */
	float *grads, *host_grads;         /* (n_elems): device, and what the scores read */
	float *dhidden, *ce;
	size_t bytes[MEMORY_OWNERS];
	void *block;
};

static int rows_of(const struct calibration *c)
{
	return c->sequences * c->T;
}

bool calibrate_needs_text(enum importance_method m, enum layers_method layers)
{
	return importance_needs_forward(m, layers) || importance_needs_gradients(m) || layers == LAYERS_LOSS || layers == LAYERS_KL;
}

/* ---- memory ---- */

static void drop_parts(struct pass *p)
{
	activations_free(p->act);
	fused_head_free(p->head);
	importance_close(p->importance);
	leave_out_close(p->leave_out);
	refit_close(p->refit);
	p->act = NULL;
	p->head = NULL;
	p->importance = NULL;
	p->leave_out = NULL;
	p->refit = NULL;
}

/* Bytes that `a` handed out since `before` are the owner's. */
static void charge(struct pass *p, enum memory_owner owner, const struct arena *a, size_t *before)
{
	p->bytes[owner] += a->used - *before;
	*before = a->used;
}

static int lay_out_listeners(struct pass *p, struct arena *a, struct err *e)
{
	const struct calibration *c = p->of;
	const struct importance_options o = {.method = p->method, .layers_method = p->layers, .max_rows = rows_of(c), .seed = c->seed,
					     .before = p->dhidden}; /* which is written when the forward pass is over */
	if (p->scores && importance_open(&p->importance, c->ops, c->layout, &o, a, e) < 0)
		return -1;
	if (p->leaves_out && leave_out_open(&p->leave_out, c->ops, &c->layout->arch, rows_of(c), a, e) < 0)
		return -1;
	if (p->target && refit_open(&p->refit, c->ops, c->layout, p->target, p->kept, &p->run, a, e) < 0)
		return -1;
	return 0;
}

static int lay_out_gradients(struct pass *p, struct arena *a, struct err *e)
{
	const struct shape *s = &p->of->layout->arch.shape;
	const struct fused_head_options o = {.max_rows = rows_of(p->of), .V = s->V, .C = s->C};
	size_t N = (size_t)rows_of(p->of);
	p->dhidden = arena_alloc(a, N * (size_t)s->C * sizeof *p->dhidden);
	p->ce = arena_alloc(a, N * sizeof *p->ce);
	return fused_head_init(&p->head, p->of->ops, &o, a, e);
}

static int lay_out(struct pass *p, struct arena *a, struct err *e)
{
	const struct calibration *c = p->of;
	size_t before = a->used, N = (size_t)rows_of(c), n = c->layout->n_elems;
	memset(p->bytes, 0, sizeof p->bytes);
	float *weights = arena_alloc(a, n * sizeof *weights);
	p->params = (struct params){.layout = c->layout, .type = DTYPE_F32, .master = weights, .copy = weights, .vectors = weights};
	charge(p, MEMORY_WEIGHTS, a, &before);
	p->grads = p->gradients ? arena_alloc(a, n * sizeof *p->grads) : NULL;
	charge(p, MEMORY_GRADIENTS, a, &before);
	p->bytes[MEMORY_GRADIENTS] += p->gradients ? n * sizeof *p->host_grads : 0;
	p->ids = arena_alloc(a, 4 * N * sizeof *p->ids);
	p->ones = arena_alloc(a, N * sizeof *p->ones);
	p->mean = arena_alloc(a, N * sizeof *p->mean);
	if (activations_init(&p->act, c->ops, &c->layout->arch, c->sequences, c->T, p->gradients ? ACTIVATIONS_TRAIN : ACTIVATIONS_INFER, a, e) < 0)
		return -1;
	charge(p, MEMORY_ACTIVATIONS, a, &before);
	if ((p->gradients && lay_out_gradients(p, a, e) < 0) || lay_out_listeners(p, a, e) < 0)
		return -1;
	charge(p, MEMORY_LOSS, a, &before);
	return 0;
}

static struct ops_limits limits_of(const struct pass *p)
{
	const struct arch *a = &p->of->layout->arch;
	return transformer_limits(a, rows_of(p->of), fused_head_chunk_rows(a->shape.V, 0));
}

static void upload_constants(struct pass *p)
{
	struct ops *ops = p->of->ops;
	size_t N = (size_t)rows_of(p->of);
	float *host = (float *)p->rows.tokens; /* not in use yet */
	for (int k = 0; k < 2; k++) {
		for (size_t i = 0; i < N; i++)
			host[i] = k ? 1 / (float)N : 1;
		ops->upload(ops, k ? p->mean : p->ones, host, N * sizeof *host);
	}
	ops->upload(ops, p->params.master, p->of->weights, p->of->layout->n_elems * sizeof(float));
	activations_upload_tables(p->act, ops, &p->of->layout->arch);
	p->batch = (struct batch){.B = p->of->sequences, .T = p->of->T, .tokens = p->ids, .pos = p->ids + 2 * N, .start = p->ids + 3 * N};
}

static void pass_close(struct pass *p)
{
	drop_parts(p);
	batches_close(p->text);
	rows_release(&p->rows);
	free(p->host_grads);
	if (p->block)
		p->of->ops->release(p->of->ops, p->block);
}

static int pass_open(struct pass *p, struct err *e)
{
	struct arena a = arena_dry();
	struct ops *ops = p->of->ops;
	struct ops_limits limits = limits_of(p);
	if (lay_out(p, &a, e) < 0)
		return -1;
	drop_parts(p);
	if (ops->alloc(ops, a.used, &p->block, e) < 0)
		return -1;
	a = (struct arena){.base = p->block, .capacity = a.used};
	p->host_grads = calloc(p->gradients ? p->of->layout->n_elems : 1, sizeof *p->host_grads);
	if (!p->host_grads)
		return err_run(e, "out of memory for a calibration pass");
	if (rows_init(&p->rows, p->of->sequences, p->of->T, e) < 0 || lay_out(p, &a, e) < 0 || ops_cpu_reserve(ops, &limits, e) < 0 ||
	    corpus_batches(p->of->corpus, p->of->seed, &p->text, e) < 0)
		return -1;
	rows_skip(&p->rows, p->text, p->of->skip_tokens / p->of->T);
	upload_constants(p);
	return 0;
}

/* ---- one batch ---- */

static void read_batch(struct pass *p)
{
	rows_next(&p->rows, p->text);
	p->of->ops->upload(p->of->ops, p->ids, p->rows.tokens, 4 * (size_t)rows_of(p->of) * sizeof *p->ids);
}

/* The gradient of the batch's mean loss, which the scores then take. */
static void add_gradients(struct pass *p)
{
	const struct calibration *c = p->of;
	const struct shape *s = &c->layout->arch.shape;
	size_t n_bytes = c->layout->n_elems * sizeof(float), N = (size_t)rows_of(c);
	c->ops->zero(c->ops, p->grads, n_bytes);
	struct head_loss loss = {.N = (int)N, .C = s->C, .V = s->V,
				 .hidden = transformer_forward(c->ops, &p->params, p->act, &p->batch, NULL, importance_taps(p->importance)),
				 .head = params_matrix(&p->params, PARAM_HEAD, -1), .head_type = DTYPE_F32, .target = p->ids + N,
				 .ce_weight = p->mean, .dhidden = p->dhidden, .dhead = params_in(c->layout, p->grads, PARAM_HEAD, -1), .ce = p->ce};
	fused_head_run(p->head, c->ops, &loss);
	transformer_backward(c->ops, &p->params, p->act, &p->batch, NULL, NULL, p->dhidden, p->grads, NULL);
	c->ops->download(c->ops, p->host_grads, p->grads, n_bytes);
	importance_gradients(p->importance, c->weights, p->host_grads);
}

static void spend_batch(struct pass *p)
{
	const struct calibration *c = p->of;
	if (p->importance)
		importance_batch(p->importance, c->sequences, c->T, NULL);
	if (p->refit)
		refit_batch(p->refit, rows_of(c));
	if (p->gradients)
		add_gradients(p);
	else if (p->refit || (p->importance && importance_needs_forward(p->method, p->layers)))
		transformer_forward(c->ops, &p->params, p->act, &p->batch, NULL, p->refit ? refit_taps(p->refit) : importance_taps(p->importance));
	if (p->leave_out)
		leave_out_batch(p->leave_out, &p->params, p->act, &p->batch, p->ids + rows_of(c), p->ones);
}

static int read_text(struct pass *p, const char *label, struct err *e)
{
	struct progress bar;
	size_t N = (size_t)rows_of(p->of), n_batches = (size_t)p->of->n_batches;
	progress_init(&bar, label, "tokens", 0, N * n_batches);
	for (size_t i = 0; i < n_batches; i++) {
		if (run_interrupted()) {
			progress_finish(&bar, "interrupted");
			return err_run(e, "interrupted in the %s pass; the same command begins it anew", label);
		}
		read_batch(p);
		spend_batch(p);
		progress_update(&bar, N * (i + 1), NULL);
	}
	progress_finish(&bar, NULL);
	return 0;
}

/* ---- the passes ---- */

static struct pass scores_pass(const struct calibration *c, enum importance_method m, enum layers_method layers)
{
	return (struct pass){.of = c, .scores = true, .method = m, .layers = layers, .gradients = importance_needs_gradients(m)};
}

static struct pass leave_out_pass(const struct calibration *c, enum layers_method layers)
{
	return (struct pass){.of = c, .layers = layers, .leaves_out = true};
}

static bool leaves_layers_out(enum layers_method layers)
{
	return layers == LAYERS_LOSS || layers == LAYERS_KL;
}

/* A pass of its own: with a gradient's buffers beside it, it would need more memory than a training step. */
static int leave_layers_out(const struct calibration *c, enum layers_method layers, struct scores *out, struct err *e)
{
	struct pass p = leave_out_pass(c, layers);
	int L = c->layout->arch.shape.L, rc = -1;
	double *values = calloc((size_t)L, sizeof *values);
	if (!values)
		return err_run(e, "out of memory for %d layers", L);
	TRY(pass_open(&p, e));
	TRY(read_text(&p, "layers left out", e));
	leave_out_finish(p.leave_out, layers == LAYERS_LOSS ? values : NULL, layers == LAYERS_KL ? values : NULL);
	for (int l = 0; l < L; l++)
		out->layers[l] = (float)values[l];
	rc = 0;
out:
	pass_close(&p);
	free(values);
	return rc;
}

int calibrate_scores(const struct calibration *c, enum importance_method m, enum layers_method layers, struct scores *out, struct err *e)
{
	struct pass p = scores_pass(c, m, layers);
	int rc = -1;
	*out = (struct scores){0};
	TRY(pass_open(&p, e));
	if (importance_needs_forward(m, layers) || p.gradients)
		TRY(read_text(&p, "importance", e));
	TRY(importance_finish(p.importance, c->weights, out, e));
	pass_close(&p);
	p = (struct pass){.of = c};
	if (leaves_layers_out(layers)) {
		TRY(leave_layers_out(c, layers, out, e));
		out->tokens = (int64_t)rows_of(c) * c->n_batches;
	}
	rc = 0;
out:
	pass_close(&p);
	if (rc < 0)
		scores_release(out);
	return rc;
}

/* Layers whose Gram matrices fit into a quarter of what memory is left, one at least. */
static int layers_at_once(const struct calibration *c, int L)
{
	const struct shape *s = &c->layout->arch.shape;
	size_t H = (size_t)s->NH * (size_t)s->HD, F = (size_t)s->F, n = memory_available() / 4 / (sizeof(float) * (H * H + F * F));
	return n < 1 ? 1 : n < (size_t)L ? (int)n : L;
}

int calibrate_refit(const struct calibration *c, const struct param_layout *target, const struct kept *kept, float *dst, struct err *e)
{
	int L = target->arch.shape.L, at_once = layers_at_once(c, L);
	if (!refit_needed(&c->layout->arch, &target->arch, kept))
		return 0;
	for (int first = 0; first < L; first += at_once) {
		struct pass p = {.of = c, .target = target, .kept = kept,
				 .run = {.first = first, .n_layers = L - first < at_once ? L - first : at_once, .ridge = REFIT_RIDGE}};
		int rc = pass_open(&p, e);
		if (rc == 0)
			rc = read_text(&p, "refit", e);
		if (rc == 0)
			rc = refit_apply(p.refit, c->weights, dst, e);
		pass_close(&p);
		if (rc < 0)
			return -1;
	}
	return 0;
}

int calibrate_price(const struct calibration *c, enum importance_method m, enum layers_method layers, size_t bytes[MEMORY_OWNERS], double *flops,
		    struct err *e)
{
	struct pass p[2] = {scores_pass(c, m, layers), leave_out_pass(c, layers)};
	struct ops_limits limits = limits_of(&p[0]);
	double forward = arch_flops_per_token(&c->layout->arch, c->T), passes = p[0].gradients ? 3 : importance_needs_forward(m, layers) ? 1 : 0;
	bool two = leaves_layers_out(layers);
	int rc = 0;
	for (int i = 0; i < 1 + two && rc == 0; i++) {
		struct arena a = arena_dry();
		rc = lay_out(&p[i], &a, e);
		drop_parts(&p[i]);
	}
	memcpy(bytes, p[session_total(p[1].bytes) > session_total(p[0].bytes)].bytes, sizeof p[0].bytes);
	bytes[MEMORY_BACKEND] = ops_cpu_reserve_bytes(c->ops, &limits);
	*flops = forward * (passes + (two ? c->layout->arch.shape.L + 1 : 0));
	return rc;
}

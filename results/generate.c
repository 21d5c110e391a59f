/* Generation. Test: tests/test_generate.c */
#include "results/generate.h"

#include "base/rng.h"
#include "losses/fused_head.h"
#include "model/decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct generate_options generate_default(const struct tokenizer *t)
{
	return (struct generate_options){.max_tokens = 128, .top_p = 1, .stop = {tokenizer_eos(t), tokenizer_bos(t)}};
}

static int context_of(const struct arch *a, const struct generate_options *o)
{
	return o->context ? o->context : evaluator_sequence_length(a);
}

/* Of the prompt, in one forward pass: activations stay small however long the context is. */
static int rows_of(int context)
{
	return context < 256 ? context : 256;
}

struct ops_limits generate_limits(const struct arch *a, const struct generate_options *o)
{
	return transformer_limits(a, rows_of(context_of(a, o)), 1);
}

/* ---- one token out of logits ---- */

static int32_t largest(const float *logits, int V)
{
	int32_t best = 0;
	for (int32_t v = 1; v < V; v++)
		if (logits[v] > logits[best])
			best = v;
	return best;
}

static void swap(int32_t *a, int32_t *b)
{
	int32_t t = *a;
	*a = *b;
	*b = t;
}

static bool before(const float *logits, int32_t a, int32_t b)
{
	return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

/* A heap over order (n) whose root is the likeliest: ids come out in falling order, as many as are asked for. */
static void sift(const float *logits, int32_t *order, int n, int i)
{
	for (int child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && before(logits, order[child + 1], order[child]))
			child++;
		if (before(logits, order[i], order[child]))
			return;
		swap(&order[i], &order[child]);
	}
}

static double weight_of(const float *logits, int32_t v, float top, double temperature)
{
	return exp(((double)logits[v] - (double)top) / temperature);
}

/* Moves the nucleus to the end of order, likeliest last; returns its size. mass: what it must reach. */
static int nucleus(const float *logits, int V, double temperature, float top, double mass, int32_t *order, double *sum)
{
	int n = V;
	for (int i = V / 2; i-- > 0;)
		sift(logits, order, V, i);
	*sum = 0;
	do {
		swap(&order[0], &order[--n]);
		*sum += weight_of(logits, order[n], top, temperature);
		sift(logits, order, n, 0);
	} while (n && *sum < mass);
	return V - n;
}

int32_t generate_pick(const float *logits, int V, const struct generate_options *o, uint64_t index, int32_t *order)
{
	int32_t best = largest(logits, V);
	if (o->temperature == 0)
		return best;
	double all = 0, sum;
	for (int32_t v = 0; v < V; v++) {
		order[v] = v;
		all += weight_of(logits, v, logits[best], o->temperature);
	}
	int n = nucleus(logits, V, o->temperature, logits[best], o->top_p < 1 ? o->top_p * all : INFINITY, order, &sum);
	double left = (double)rng_uniform(o->seed, RNG_SAMPLE, 0, index) * sum;
	for (int i = 0; i < n; i++) {
		int32_t v = order[V - 1 - i];
		left -= weight_of(logits, v, logits[best], o->temperature);
		if (left <= 0)
			return v;
	}
	return order[V - n];
}

/* ---- forward passes ---- */

struct generator {
	struct loaded_model *model;
	int context;
	struct decoder *decoder;
	void *memory;       /* device */
	float *logits;      /* (V) device */
	float *host_logits; /* (V) */
	int32_t *order;     /* (V) host */
};

static int lay_out(struct generator *g, struct arena *a, struct err *e)
{
	const struct arch *arch = &g->model->hf.layout.arch;
	g->logits = arena_alloc(a, (size_t)arch->shape.V * sizeof *g->logits);
	return decoder_init(&g->decoder, g->model->ops, arch, 1, g->context, rows_of(g->context), a, e);
}

static int allocate(struct generator *g, struct err *e)
{
	struct ops *ops = g->model->ops;
	size_t V = (size_t)g->model->hf.layout.arch.shape.V;
	struct arena a = arena_dry();
	if (lay_out(g, &a, e) < 0)
		return -1;
	decoder_free(g->decoder);
	g->decoder = NULL;
	if (ops->alloc(ops, a.used, &g->memory, e) < 0)
		return -1;
	a = (struct arena){.base = g->memory, .capacity = a.used};
	g->host_logits = malloc(V * sizeof *g->host_logits);
	g->order = malloc(V * sizeof *g->order);
	if (!g->host_logits || !g->order)
		return err_run(e, "generation: out of memory");
	if (lay_out(g, &a, e) < 0)
		return -1;
	decoder_upload_tables(g->decoder);
	return 0;
}

static void release(struct generator *g)
{
	decoder_free(g->decoder);
	if (g->memory)
		g->model->ops->release(g->model->ops, g->memory);
	free(g->host_logits);
	free(g->order);
}

/* How many of the last ids the model must read when n_new follow those that it holds: them alone while there is room. */
static int to_read(struct generator *g, size_t n_new)
{
	int filled = decoder_filled(g->decoder), half = g->context > 1 ? g->context / 2 : 1;
	if ((size_t)filled + n_new <= (size_t)g->context)
		return (int)n_new;
	decoder_rewind(g->decoder, 0);
	return filled ? half : g->context;
}

/* Logits of what follows ids, whose last n_new are new, into host_logits. */
static void next_logits(struct generator *g, const struct ids *ids, size_t n_new)
{
	struct ops *ops = g->model->ops;
	const struct params *params = &g->model->params;
	const struct shape *s = &g->model->hf.layout.arch.shape;
	int n = to_read(g, n_new);
	const void *hidden = decoder_append(g->decoder, params, ids->v + (ids->n - (size_t)n), n);
	fused_head_logits(ops, hidden, params_matrix(params, PARAM_HEAD, -1), params->type, 1, s->C, s->V, g->logits);
	ops->sync(ops);
	ops->download(ops, g->host_logits, g->logits, (size_t)s->V * sizeof *g->host_logits);
}

static int check(const struct loaded_model *m, const struct generate_options *o, const struct ids *ids, struct err *e)
{
	int V = m->hf.layout.arch.shape.V;
	if (o->max_tokens < 0 || o->context < 0)
		return err_user(e, "generate: max_tokens and context must not be negative, found %d and %d", o->max_tokens, o->context);
	if (!(o->temperature >= 0) || !isfinite(o->temperature))
		return err_user(e, "generate: temperature must be 0 or more, found %g", o->temperature);
	if (!(o->top_p > 0 && o->top_p <= 1))
		return err_user(e, "generate: top_p must be in (0, 1], found %g", o->top_p);
	if (!ids->n)
		return err_user(e, "generate: the prompt is empty and the tokenizer adds no BOS: give a prompt");
	for (size_t i = 0; i < ids->n; i++)
		if (ids->v[i] < 0 || ids->v[i] >= V)
			return err_user(e, "generate: token %zu of the prompt has id %d, but the model's vocabulary has %d rows", i,
					ids->v[i], V);
	return 0;
}

int generate_ids(struct loaded_model *m, const struct generate_options *o, struct ids *ids,
		 int (*on_token)(void *user, const struct ids *), void *user, struct err *e)
{
	int rc = -1, V = m->hf.layout.arch.shape.V;
	struct generator g = {.model = m, .context = context_of(&m->hf.layout.arch, o)};
	if (check(m, o, ids, e) < 0)
		return -1;
	TRY(allocate(&g, e));
	for (int i = 0; i < o->max_tokens; i++) {
		next_logits(&g, ids, i ? 1 : ids->n);
		int32_t id = generate_pick(g.host_logits, V, o, (uint64_t)i, g.order);
		if (!isfinite(g.host_logits[id])) {
			err_run(e, "generate: the logits are not finite; the model's weights or activations overflow");
			goto out;
		}
		if (id == o->stop[0] || id == o->stop[1])
			break;
		TRY(ids_append(ids, &id, 1, e));
		if (on_token && on_token(user, ids))
			break;
	}
	rc = 0;
out:
	release(&g);
	return rc;
}

/* ---- text ---- */

struct stream {
	const struct tokenizer *tokenizer;
	struct bytes text; /* of prompt and new ids together */
	size_t given;      /* bytes of it that the listener has, the prompt's included */
	void (*on_text)(void *user, const char *text, size_t n_bytes);
	void *user;
	int rc;
	struct err *e;
};

static int decode(struct stream *s, const struct ids *ids)
{
	s->text.n = 0;
	return tokenizer_decode(s->tokenizer, ids->v, ids->n, true, &s->text, s->e);
}

/* Bytes at the end that may still become another character: U+FFFD of a broken one. */
static size_t unfinished(const struct bytes *b)
{
	size_t n = 0;
	while (b->n >= n + 3 && !memcmp(b->v + b->n - n - 3, "\xef\xbf\xbd", 3))
		n += 3;
	return n;
}

static void give(struct stream *s, size_t end)
{
	if (end <= s->given)
		return;
	s->on_text(s->user, s->text.v + s->given, end - s->given);
	s->given = end;
}

static int stream_token(void *user, const struct ids *ids)
{
	struct stream *s = user;
	s->rc = decode(s, ids);
	if (!s->rc)
		give(s, s->text.n - unfinished(&s->text));
	return s->rc;
}

int generate_text(struct loaded_model *m, struct tokenizer *t, const struct generate_options *o, const char *prompt,
		  void (*on_text)(void *user, const char *text, size_t n_bytes), void *user, struct err *e)
{
	int rc = -1;
	int32_t bos = documents_bos(t);
	struct ids ids = {0};
	struct stream s = {.tokenizer = t, .on_text = on_text, .user = user, .e = e};
	if (bos >= 0)
		TRY(ids_append(&ids, &bos, 1, e));
	TRY(tokenizer_encode(t, prompt, strlen(prompt), &ids, e));
	TRY(decode(&s, &ids));
	s.given = s.text.n;
	TRY(generate_ids(m, o, &ids, stream_token, &s, e));
	TRY(s.rc);
	give(&s, s.text.n);
	rc = 0;
out:
	ids_release(&ids);
	bytes_release(&s.text);
	return rc;
}

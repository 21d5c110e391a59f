/* Listens to forward passes and adds up; formulas become scores in importance_finish. */
#include "prune/importance.h"

#include "base/rng.h"
#include "prune/unit_sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct importance {
	struct ops *ops;
	const struct param_layout *layout;
	struct importance_options options;
	struct taps taps;
	int B, T; /* of the batch that is listened to */
	bool all_rows;
	int64_t n_rows; /* that counted */
	int n_gradients;
	double *mean_squares, *sum, *squares; /* device (read_size), those that the method needs */
	float *weight, *before, *distance;    /* device (N), (N, C), (N): block influence */
	float *host_rows;                     /* (N) */
	double *influence;                    /* (L) host */
	struct unit_sums batch, total;        /* TAYLOR */
};

static bool listens(enum importance_method m)
{
	return m == IMPORTANCE_ACTIVATION || m == IMPORTANCE_WANDA || m == IMPORTANCE_FLUCTUATION;
}

bool importance_needs_forward(enum importance_method m, enum layers_method layers)
{
	return listens(m) || layers == LAYERS_INFLUENCE;
}

bool importance_needs_gradients(enum importance_method m)
{
	return m == IMPORTANCE_TAYLOR;
}

/* ---- taps ---- */

static void add_columns(struct importance *m, enum read_site site, int layer, const void *x, int W, int width)
{
	size_t at = read_offset(&m->layout->arch.shape, site, layer);
	m->ops->column_stats(m->ops, &(struct column_stats){
		.n_blocks = m->B, .block_rows = m->T, .W = W, .width = width, .x = x, .weight = m->all_rows ? NULL : m->weight,
		.mean_squares = m->mean_squares ? m->mean_squares + at : NULL,
		.sum = m->sum ? m->sum + at : NULL, .squares = m->squares ? m->squares + at : NULL});
}

static void keep_stream(struct importance *m, const void *x)
{
	size_t n_elems = (size_t)m->B * (size_t)m->T * (size_t)m->layout->arch.shape.C;
	m->ops->copy(m->ops, m->before, x, n_elems * dtype_size(m->ops->act));
}

/* How far the layer turned every row. */
static void add_influence(struct importance *m, int layer, const void *after)
{
	int N = m->B * m->T, C = m->layout->arch.shape.C;
	m->ops->hidden_rows(m->ops, &(struct hidden_rows){.kind = HIDDEN_COSINE, .n_rows = N, .C = C, .x = after, .y = m->before,
							  .x_type = m->ops->act, .ld_y = C, .weight = m->weight, .scale = 1,
							  .loss = m->distance});
	m->ops->download(m->ops, m->host_rows, m->distance, (size_t)N * sizeof *m->host_rows);
	for (int n = 0; n < N; n++)
		m->influence[layer] += (double)m->host_rows[n];
	if (layer + 1 < m->layout->arch.shape.L)
		keep_stream(m, after);
}

static void listen(void *user, enum tap_point point, int layer, const void *x)
{
	struct importance *m = user;
	const struct shape *s = &m->layout->arch.shape;
	bool stats = listens(m->options.method), influence = m->options.layers_method == LAYERS_INFLUENCE;
	if (stats && point == TAP_ATTN_NORM)
		add_columns(m, READ_ATTN_NORM, layer, x, s->C, 1);
	else if (stats && point == TAP_HEADS)
		add_columns(m, READ_CONTEXT, layer, x, s->NH * s->HD, m->mean_squares ? s->HD : 1);
	else if (stats && point == TAP_FFN_NORM)
		add_columns(m, READ_FFN_NORM, layer, x, s->C, 1);
	else if (stats && point == TAP_FFN)
		add_columns(m, READ_FFN, layer, x, s->F, 1);
	else if (stats && point == TAP_FINAL)
		add_columns(m, READ_ATTN_NORM, layer, x, s->C, 1);
	else if (influence && point == TAP_EMBED)
		keep_stream(m, x);
	else if (influence && point == TAP_HIDDEN)
		add_influence(m, layer, x);
}

const struct taps *importance_taps(struct importance *m)
{
	return &m->taps;
}

void importance_batch(struct importance *m, int B, int T, const float *weight)
{
	int N = B * T, n_rows = 0;
	BUG_ON(N > m->options.max_rows || B < 1 || T < 1);
	for (int n = 0; n < N; n++) {
		m->host_rows[n] = !weight || weight[n] != 0;
		n_rows += m->host_rows[n] != 0;
	}
	m->B = B;
	m->T = T;
	m->all_rows = n_rows == N;
	m->n_rows += n_rows;
	if (m->weight)
		m->ops->upload(m->ops, m->weight, m->host_rows, (size_t)N * sizeof *m->host_rows);
}

void importance_gradients(struct importance *m, const float *weights, const float *grads)
{
	BUG_ON(m->options.method != IMPORTANCE_TAYLOR);
	unit_sums_clear(&m->batch);
	unit_sums_owned(&m->batch, m->layout, weights, grads);
	for (size_t i = 0; i < m->total.n; i++)
		m->total.hidden[i] += fabs(m->batch.hidden[i]);
	m->n_gradients++;
}

/* ---- memory ---- */

static double *doubles(const struct importance *m, struct arena *device, size_t n)
{
	double *at = arena_alloc(device, n * sizeof *at);
	if (!arena_is_dry(device))
		m->ops->zero(m->ops, at, n * sizeof *at);
	return at;
}

static void lay_out(struct importance *m, struct arena *device)
{
	enum importance_method method = m->options.method;
	size_t n = read_size(&m->layout->arch.shape), N = (size_t)m->options.max_rows, C = (size_t)m->layout->arch.shape.C;
	if (method == IMPORTANCE_ACTIVATION)
		m->mean_squares = doubles(m, device, n);
	if (method == IMPORTANCE_FLUCTUATION)
		m->sum = doubles(m, device, n);
	if (method == IMPORTANCE_FLUCTUATION || method == IMPORTANCE_WANDA)
		m->squares = doubles(m, device, n);
	if (importance_needs_forward(method, m->options.layers_method))
		m->weight = arena_alloc(device, N * sizeof *m->weight);
	if (m->options.layers_method == LAYERS_INFLUENCE) {
		m->distance = arena_alloc(device, N * sizeof *m->distance);
		m->before = m->options.before ? m->options.before : arena_alloc(device, N * C * dtype_size(m->ops->act));
	}
}

int importance_open(struct importance **out, struct ops *ops, const struct param_layout *layout,
		    const struct importance_options *options, struct arena *device, struct err *e)
{
	struct importance *m;
	int rc = -1;
	*out = NULL;
	BUG_ON(options->max_rows < 1);
	if (options->method == IMPORTANCE_ACTIVATION && options->layers_method == LAYERS_OWN)
		return err_user(e, "importance: activation has no scores of layers of its own; choose influence, loss or kl for layers");
	m = calloc(1, sizeof *m);
	if (!m)
		return err_run(e, "importance: out of memory");
	*m = (struct importance){.ops = ops, .layout = layout, .options = *options, .taps = {.user = m, .forward = listen}};
	lay_out(m, device);
	m->host_rows = calloc((size_t)options->max_rows, sizeof *m->host_rows);
	m->influence = calloc((size_t)layout->arch.shape.L, sizeof *m->influence);
	if (!m->host_rows || !m->influence) {
		err_run(e, "importance: out of memory for %d rows", options->max_rows);
		goto out;
	}
	if (options->method == IMPORTANCE_TAYLOR) {
		TRY(unit_sums_alloc(&m->batch, &layout->arch, e));
		TRY(unit_sums_alloc(&m->total, &layout->arch, e));
	}
	*out = m;
	m = NULL;
	rc = 0;
out:
	importance_close(m);
	return rc;
}

void importance_close(struct importance *m)
{
	if (!m)
		return;
	unit_sums_release(&m->batch);
	unit_sums_release(&m->total);
	free(m->host_rows);
	free(m->influence);
	free(m);
}

/* ---- scores ---- */

/* ACTIVATION's sums, from the mean squares (read_size) of every place. */
static void activation_scores(const struct importance *m, const double *mean_squares, struct unit_sums *u)
{
	const struct shape *s = &m->layout->arch.shape;
	for (int l = 0; l <= s->L; l++)
		for (int site = READ_ATTN_NORM; site <= (l < s->L ? READ_FFN_NORM : READ_ATTN_NORM); site += READ_FFN_NORM)
			for (int i = 0; i < s->C; i++)
				u->hidden[i] += sqrt(mean_squares[read_offset(s, (enum read_site)site, l) + (size_t)i]);
	for (int i = 0; i < s->L * s->NH; i++) {
		double norm = sqrt(mean_squares[read_offset(s, READ_CONTEXT, i / s->NH) + (size_t)(i % s->NH)]);
		u->heads[i] = norm;
		u->groups[i / (s->NH / s->NKV)] += norm;
	}
	for (int i = 0; i < s->L * s->F; i++)
		u->ffn[i] = sqrt(mean_squares[read_offset(s, READ_FFN, i / s->F) + (size_t)(i % s->F)]);
}

/* In place: squares become sqrt(squares) or variances, sums become means. */
static void reduce(const struct importance *m, double *sum, double *squares, size_t n)
{
	double N = (double)m->n_rows, freedom = m->n_rows > 1 ? N - 1 : 1;
	for (size_t i = 0; i < n; i++) {
		if (!sum) {
			squares[i] = sqrt(squares[i]);
			continue;
		}
		sum[i] /= N;
		double variance = (squares[i] - N * sum[i] * sum[i]) / freedom;
		/* The rounding of a constant is no fluctuation. */
		squares[i] = variance > 1e-12 * sum[i] * sum[i] ? variance : 0;
	}
}

static void copy_means(const struct shape *s, const double *mean, struct scores *out)
{
	size_t H = (size_t)s->NH * (size_t)s->HD, F = (size_t)s->F;
	for (int l = 0; l < s->L; l++) {
		for (size_t i = 0; i < H; i++)
			out->context_mean[(size_t)l * H + i] = (float)mean[read_offset(s, READ_CONTEXT, l) + i];
		for (size_t i = 0; i < F; i++)
			out->ffn_mean[(size_t)l * F + i] = (float)mean[read_offset(s, READ_FFN, l) + i];
	}
}

/* The methods that listen: statistics come to the host and meet the weights. */
static int heard_scores(const struct importance *m, const float *weights, struct unit_sums *u, struct scores *out, struct err *e)
{
	const struct shape *s = &m->layout->arch.shape;
	size_t n = read_size(s);
	double *host = calloc(2 * n, sizeof *host), *sum = m->sum ? host + n : NULL;
	if (!host)
		return err_run(e, "importance: out of memory for %zu statistics", 2 * n);
	m->ops->download(m->ops, host, m->mean_squares ? m->mean_squares : m->squares, n * sizeof *host);
	if (sum)
		m->ops->download(m->ops, sum, m->sum, n * sizeof *sum);
	if (m->mean_squares) {
		activation_scores(m, host, u);
	} else {
		reduce(m, sum, host, n);
		unit_sums_read(u, m->layout, weights, host, sum);
	}
	if (sum)
		copy_means(s, sum, out);
	free(host);
	return 0;
}

static void random_scores(const struct importance *m, struct unit_sums *u)
{
	for (size_t i = 0; i < u->n; i++)
		u->hidden[i] = (double)rng_uniform(m->options.seed, RNG_IMPORTANCE, 0, i);
}

static int method_scores(const struct importance *m, const float *weights, struct unit_sums *u, struct scores *out, struct err *e)
{
	switch (m->options.method) {
	case IMPORTANCE_MAGNITUDE:
		unit_sums_owned(u, m->layout, weights, NULL);
		for (size_t i = 0; i < u->n; i++)
			u->hidden[i] = sqrt(u->hidden[i]);
		return 0;
	case IMPORTANCE_TAYLOR:
		memcpy(u->hidden, m->total.hidden, u->n * sizeof *u->hidden);
		return 0;
	case IMPORTANCE_RANDOM:
		random_scores(m, u);
		return 0;
	default:
		return heard_scores(m, weights, u, out, e);
	}
}

static void narrow(float *to, const double *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (float)from[i];
}

static void store(const struct importance *m, const struct unit_sums *u, struct scores *out)
{
	const struct shape *s = &m->layout->arch.shape;
	size_t L = (size_t)s->L;
	narrow(out->hidden, u->hidden, (size_t)s->C);
	narrow(out->groups, u->groups, L * (size_t)s->NKV);
	narrow(out->heads, u->heads, L * (size_t)s->NH);
	narrow(out->ffn, u->ffn, L * (size_t)s->F);
	if (m->options.layers_method == LAYERS_OWN)
		narrow(out->layers, u->layers, L);
	for (size_t l = 0; l < L && m->options.layers_method == LAYERS_INFLUENCE; l++)
		out->layers[l] = (float)(m->influence[l] / (double)m->n_rows);
	out->method = m->options.method;
	out->layers_method = m->options.layers_method;
	out->tokens = m->n_rows;
	out->seed = m->options.seed;
}

int importance_finish(struct importance *m, const float *weights, struct scores *out, struct err *e)
{
	struct unit_sums u = {0};
	int rc = -1;
	*out = (struct scores){0};
	BUG_ON(importance_needs_forward(m->options.method, m->options.layers_method) && !m->n_rows);
	BUG_ON(m->options.method == IMPORTANCE_TAYLOR && !m->n_gradients);
	TRY(unit_sums_alloc(&u, &m->layout->arch, e));
	TRY(scores_alloc(out, &m->layout->arch, m->options.method == IMPORTANCE_FLUCTUATION, e));
	TRY(method_scores(m, weights, &u, out, e));
	store(m, &u, out);
	rc = 0;
out:
	unit_sums_release(&u);
	if (rc < 0)
		scores_release(out);
	return rc;
}

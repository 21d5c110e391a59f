/* Gram matrices on the device, normal equations on the host. */
#include "prune/refit.h"

#include "prune/cholesky.h"

#include <math.h>
#include <stdlib.h>

enum site { SITE_CONTEXT, SITE_FFN, SITES };

struct refit {
	struct ops *ops;
	const struct param_layout *source, *target;
	const struct kept *kept;
	struct refit_options options;
	struct taps taps;
	int N;
	float **grams; /* (n_layers, SITES) device (W, W), or NULL where nothing goes */
};

static int site_width(const struct shape *s, enum site site)
{
	return site == SITE_FFN ? s->F : s->NH * s->HD;
}

static bool fits(const struct arch *source, const struct arch *target, const struct kept *kept, enum site site)
{
	if (site == SITE_CONTEXT && kept->merge > 1)
		return false;
	return site_width(&target->shape, site) < site_width(&source->shape, site);
}

bool refit_needed(const struct arch *source, const struct arch *target, const struct kept *kept)
{
	return fits(source, target, kept, SITE_CONTEXT) || fits(source, target, kept, SITE_FFN);
}

/* ---- listening ---- */

static void add_gram(struct refit *r, float *gram, int W, const void *x)
{
	r->ops->matmul(r->ops, &(struct matmul){.kind = MATMUL_TN, .m = W, .n = W, .k = r->N, .a = x, .b = x, .c = gram,
						.a_type = r->ops->act, .b_type = r->ops->act, .c_type = DTYPE_F32,
						.lda = W, .ldb = W, .ldc = W, .accumulate = true});
}

static void listen(void *user, enum tap_point point, int layer, const void *x)
{
	struct refit *r = user;
	if (point != TAP_HEADS && point != TAP_FFN)
		return;
	enum site site = point == TAP_FFN ? SITE_FFN : SITE_CONTEXT;
	for (int i = 0; i < r->options.n_layers; i++) {
		float *gram = r->grams[i * SITES + (int)site];
		if (gram && r->kept->layers[r->options.first + i] == layer)
			add_gram(r, gram, site_width(&r->source->arch.shape, site), x);
	}
}

const struct taps *refit_taps(struct refit *r)
{
	return &r->taps;
}

void refit_batch(struct refit *r, int N)
{
	BUG_ON(N < 1);
	r->N = N;
}

int refit_open(struct refit **out, struct ops *ops, const struct param_layout *source, const struct param_layout *target,
	       const struct kept *kept, const struct refit_options *o, struct arena *device, struct err *e)
{
	struct refit *r = calloc(1, sizeof *r);
	*out = NULL;
	BUG_ON(o->first < 0 || o->n_layers < 1 || o->first + o->n_layers > target->arch.shape.L || !(o->ridge > 0));
	if (r)
		r->grams = calloc((size_t)o->n_layers * SITES, sizeof(float *));
	if (!r || !r->grams) {
		free(r);
		return err_run(e, "refit: out of memory");
	}
	r->ops = ops;
	r->source = source;
	r->target = target;
	r->kept = kept;
	r->options = *o;
	r->taps = (struct taps){.user = r, .forward = listen};
	for (int i = 0; i < o->n_layers * SITES; i++) {
		enum site site = (enum site)(i % SITES);
		size_t W = (size_t)site_width(&source->arch.shape, site);
		if (!fits(&source->arch, &target->arch, kept, site))
			continue;
		r->grams[i] = arena_alloc(device, W * W * sizeof(float));
		if (!arena_is_dry(device))
			ops->zero(ops, r->grams[i], W * W * sizeof(float));
	}
	*out = r;
	return 0;
}

void refit_close(struct refit *r)
{
	if (!r)
		return;
	free(r->grams);
	free(r);
}

/* ---- fitting ---- */

/* One matrix: which inputs stay and which go, and the arrays of its normal equations. */
struct system {
	size_t W, K, D, C; /* inputs, kept, dropped; kept rows */
	int *kept, *dropped;
	float *gram;    /* (W, W) */
	double *normal; /* (K, K) G_kk + lambda I, then its factor */
	double *across; /* (D, K) G_dk */
	double *delta;  /* (C, K) */
};

static void system_release(struct system *s)
{
	free(s->kept);
	free(s->gram);
	free(s->normal);
	free(s->across);
	free(s->delta);
}

static int system_alloc(struct system *s, struct err *e)
{
	s->kept = calloc(s->W, sizeof *s->kept);
	s->gram = calloc(s->W * s->W, sizeof *s->gram);
	s->normal = calloc(s->K * s->K, sizeof *s->normal);
	s->across = calloc(s->D * s->K, sizeof *s->across);
	s->delta = calloc(s->C * s->K, sizeof *s->delta);
	if (!s->kept || !s->gram || !s->normal || !s->across || !s->delta)
		return err_run(e, "refit: out of memory for %zu inputs", s->W);
	s->dropped = s->kept + s->K;
	return 0;
}

/* units (n, ascending) of `width` inputs each stay, the rest goes. */
static void split(struct system *s, const int *units, size_t width)
{
	size_t n_kept = 0, n_dropped = 0;
	for (size_t i = 0; i < s->W; i++) {
		if (n_kept < s->K && (size_t)units[n_kept / width] == i / width)
			s->kept[n_kept++] = (int)i;
		else
			s->dropped[n_dropped++] = (int)i;
	}
	BUG_ON(n_kept != s->K || n_dropped != s->D);
}

/* Returns the mean of G_kk's diagonal. */
static double gather(struct system *s, double ridge)
{
	double mean = 0;
	for (size_t k = 0; k < s->K; k++)
		mean += (double)s->gram[(size_t)s->kept[k] * s->W + (size_t)s->kept[k]] / (double)s->K;
	for (size_t k = 0; k < s->K; k++)
		for (size_t j = 0; j < s->K; j++)
			s->normal[k * s->K + j] = (double)s->gram[(size_t)s->kept[k] * s->W + (size_t)s->kept[j]] +
						  (j == k ? ridge * mean : 0);
	for (size_t d = 0; d < s->D; d++)
		for (size_t k = 0; k < s->K; k++)
			s->across[d * s->K + k] = (double)s->gram[(size_t)s->dropped[d] * s->W + (size_t)s->kept[k]];
	return mean;
}

/* delta rows [first, last) = W_dropped G_dk; a row of G_dk serves all of them while it is in cache. */
static void spread(struct system *s, const float *weights, const int *rows, size_t first, size_t last)
{
	for (size_t d = 0; d < s->D; d++)
		for (size_t c = first; c < last; c++) {
			double w = (double)weights[(size_t)rows[c] * s->W + (size_t)s->dropped[d]], *to = s->delta + c * s->K;
			const double *from = s->across + d * s->K;
#pragma omp simd
			for (size_t k = 0; k < s->K; k++)
				to[k] += w * from[k];
		}
}

/* weights: the source's (…, W); rows (C): its kept rows; out (C, K). */
static int solve(struct system *s, const float *weights, const int *rows, double ridge, int n_threads, float *out)
{
	enum { TILE = 16 };
	size_t n_tiles = (s->C + TILE - 1) / TILE;
	double mean = gather(s, ridge);
	if (mean == 0) /* inputs that are always 0 carry nothing */
		return 0;
	if (!isfinite(mean) || cholesky_factor(s->normal, s->K, n_threads) < 0)
		return -1;
#pragma omp parallel for schedule(static) num_threads(n_threads)
	for (size_t t = 0; t < n_tiles; t++)
		spread(s, weights, rows, t * TILE, (t + 1) * TILE < s->C ? (t + 1) * TILE : s->C);
	cholesky_solve(s->normal, s->K, s->delta, s->C, n_threads);
	for (size_t i = 0; i < s->C * s->K; i++)
		if (!isfinite(s->delta[i]))
			return -1;
	for (size_t i = 0; i < s->C * s->K; i++)
		out[i] = (float)((double)out[i] + s->delta[i]);
	return 0;
}

static int fit(struct refit *r, int i, enum site site, const float *src, float *dst, struct err *e)
{
	const struct shape *from = &r->source->arch.shape, *to = &r->target->arch.shape;
	int layer = r->options.first + i, source_layer = r->kept->layers[layer];
	enum param_kind kind = site == SITE_FFN ? PARAM_DOWN : PARAM_O;
	struct system s = {.W = (size_t)site_width(from, site), .K = (size_t)site_width(to, site), .C = (size_t)to->C};
	const int *units = site == SITE_FFN ? r->kept->ffn + (size_t)layer * (size_t)to->F
					    : r->kept->heads + (size_t)layer * (size_t)to->NH;
	int rc = -1;
	s.D = s.W - s.K;
	TRY(system_alloc(&s, e));
	split(&s, units, site == SITE_FFN ? 1 : (size_t)from->HD);
	r->ops->download(r->ops, s.gram, r->grams[i * SITES + (int)site], s.W * s.W * sizeof *s.gram);
	const float *weights = src + r->source->offsets[(size_t)(source_layer + 1) * PARAM_KINDS + kind];
	float *out = dst + r->target->offsets[(size_t)(layer + 1) * PARAM_KINDS + kind];
	if (solve(&s, weights, r->kept->hidden, r->options.ridge, r->ops->n_threads, out) < 0) {
		err_run(e, "refit: the %s of layer %d cannot be fitted: its inputs on the calibration text are not finite, or the ridge "
			"%g is too small for them", site == SITE_FFN ? "down projection" : "output projection", source_layer,
			r->options.ridge);
		goto out;
	}
	rc = 0;
out:
	system_release(&s);
	return rc;
}

int refit_apply(struct refit *r, const float *src, float *dst, struct err *e)
{
	BUG_ON(!r->N);
	for (int i = 0; i < r->options.n_layers; i++)
		for (int site = 0; site < SITES; site++)
			if (r->grams[i * SITES + site] && fit(r, i, (enum site)site, src, dst, e) < 0)
				return -1;
	return 0;
}

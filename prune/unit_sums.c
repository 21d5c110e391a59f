/* One pass over each parameter gives its sums by rows and by columns; what a row or a column is decides who gets them. */
#include "prune/unit_sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int unit_sums_alloc(struct unit_sums *u, const struct arch *a, struct err *e)
{
	const struct shape *s = &a->shape;
	size_t L = (size_t)s->L, C = (size_t)s->C, F = (size_t)s->F, NH = (size_t)s->NH, NKV = (size_t)s->NKV, V = (size_t)s->V;
	size_t H = NH * (size_t)s->HD, Q = H + 2 * NKV * (size_t)s->HD, wide = C > F ? C : F, tall = V > Q ? V : Q;
	*u = (struct unit_sums){.n = C + L * (1 + NKV + NH + F)};
	wide = wide > H ? wide : H;
	tall = tall > 2 * F ? tall : 2 * F;
	tall = tall > C ? tall : C;
	u->hidden = calloc(u->n + wide + tall, sizeof *u->hidden);
	if (!u->hidden)
		return err_run(e, "importance: out of memory for %zu units", u->n);
	u->layers = u->hidden + C;
	u->groups = u->layers + L;
	u->heads = u->groups + L * NKV;
	u->ffn = u->heads + L * NH;
	u->cols = u->hidden + u->n;
	u->rows = u->cols + wide;
	return 0;
}

void unit_sums_release(struct unit_sums *u)
{
	free(u->hidden);
	*u = (struct unit_sums){0};
}

void unit_sums_clear(struct unit_sums *u)
{
	memset(u->hidden, 0, u->n * sizeof *u->hidden);
}

/* ---- the sums of one parameter ---- */

enum value { VALUE_ABS, VALUE_SQUARE, VALUE_PRODUCT };

struct walk {
	struct unit_sums *sums;
	const struct param_layout *layout;
	const float *weights, *grads; /* grads: VALUE_PRODUCT */
	enum value value;
};

static double value_of(const struct walk *w, size_t i)
{
	double x = (double)w->weights[i];
	if (w->value == VALUE_PRODUCT)
		return x * (double)w->grads[i];
	return w->value == VALUE_ABS ? fabs(x) : x * x;
}

/* Fills rows (n_rows) and cols (n_cols). False: the family lacks it. */
static bool add_up(const struct walk *w, enum param_kind kind, int layer, size_t n_rows, size_t n_cols)
{
	size_t at = w->layout->offsets[(size_t)(layer + 1) * PARAM_KINDS + kind];
	double *rows = w->sums->rows, *cols = w->sums->cols;
	if (at == SIZE_MAX)
		return false;
	memset(cols, 0, n_cols * sizeof *cols);
	for (size_t r = 0; r < n_rows; r++) {
		double sum = 0;
		for (size_t c = 0; c < n_cols; c++) {
			double v = value_of(w, at + r * n_cols + c);
			sum += v;
			cols[c] += v;
		}
		rows[r] = sum;
	}
	return true;
}

/* ---- who gets them ---- */

/* units[i / width] += sums[i] */
static void give(double *units, const double *sums, size_t n, size_t width)
{
	for (size_t i = 0; i < n; i++)
		units[i / width] += sums[i];
}

static void give_layer(const struct walk *w, int layer, const double *sums, size_t n)
{
	give(w->sums->layers + layer, sums, n, n);
}

/* Sums by columns of the context, or by rows of q. */
static void give_heads(const struct walk *w, int layer, const double *sums)
{
	const struct shape *s = &w->layout->arch.shape;
	size_t HD = (size_t)s->HD, NH = (size_t)s->NH, NKV = (size_t)s->NKV, l = (size_t)layer;
	give(w->sums->heads + l * NH, sums, NH * HD, HD);
	give(w->sums->groups + l * NKV, sums, NH * HD, HD * (NH / NKV));
}

static void own_vector(const struct walk *w, enum param_kind kind, int layer, size_t n, double *hidden)
{
	if (!add_up(w, kind, layer, n, 1))
		return;
	if (layer >= 0)
		give_layer(w, layer, w->sums->rows, n);
	if (hidden)
		give(hidden, w->sums->rows, n, 1);
}

static void own_qkv(const struct walk *w, enum param_kind kind, int layer, size_t n_cols)
{
	const struct shape *s = &w->layout->arch.shape;
	size_t HD = (size_t)s->HD, q = (size_t)s->NH * HD, kv = (size_t)s->NKV * HD;
	double *rows = w->sums->rows, *groups = w->sums->groups + (size_t)layer * (size_t)s->NKV;
	if (!add_up(w, kind, layer, q + 2 * kv, n_cols))
		return;
	give_layer(w, layer, rows, q + 2 * kv);
	give_heads(w, layer, rows);
	give(groups, rows + q, kv, HD);
	give(groups, rows + q + kv, kv, HD);
	if (param_is_matrix(kind))
		give(w->sums->hidden, w->sums->cols, n_cols, 1);
}

static void own_gate_up(const struct walk *w, enum param_kind kind, int layer, size_t n_cols)
{
	size_t F = (size_t)w->layout->arch.shape.F;
	double *rows = w->sums->rows, *ffn = w->sums->ffn + (size_t)layer * F;
	if (!add_up(w, kind, layer, 2 * F, n_cols))
		return;
	give_layer(w, layer, rows, 2 * F);
	give(ffn, rows, F, 1);
	give(ffn, rows + F, F, 1);
	if (param_is_matrix(kind))
		give(w->sums->hidden, w->sums->cols, n_cols, 1);
}

static void own_layer(const struct walk *w, int layer)
{
	const struct shape *s = &w->layout->arch.shape;
	struct unit_sums *u = w->sums;
	size_t C = (size_t)s->C, F = (size_t)s->F, H = (size_t)s->NH * (size_t)s->HD;
	own_vector(w, PARAM_ATTN_NORM, layer, C, u->hidden);
	own_qkv(w, PARAM_QKV, layer, C);
	own_qkv(w, PARAM_QKV_BIAS, layer, 1);
	own_vector(w, PARAM_Q_NORM, layer, (size_t)s->HD, NULL);
	own_vector(w, PARAM_K_NORM, layer, (size_t)s->HD, NULL);
	add_up(w, PARAM_O, layer, C, H);
	give_layer(w, layer, u->rows, C);
	give(u->hidden, u->rows, C, 1);
	give_heads(w, layer, u->cols);
	own_vector(w, PARAM_O_BIAS, layer, C, u->hidden);
	own_vector(w, PARAM_FFN_NORM, layer, C, u->hidden);
	own_gate_up(w, PARAM_GATE_UP, layer, C);
	own_gate_up(w, PARAM_GATE_UP_BIAS, layer, 1);
	add_up(w, PARAM_DOWN, layer, C, F);
	give_layer(w, layer, u->rows, C);
	give(u->hidden, u->rows, C, 1);
	give(u->ffn + (size_t)layer * F, u->cols, F, 1);
	own_vector(w, PARAM_DOWN_BIAS, layer, C, u->hidden);
}

void unit_sums_owned(struct unit_sums *u, const struct param_layout *layout, const float *weights, const float *grads)
{
	const struct shape *s = &layout->arch.shape;
	const struct walk w = {.sums = u, .layout = layout, .weights = weights, .grads = grads,
			       .value = grads ? VALUE_PRODUCT : VALUE_SQUARE};
	const enum param_kind words[] = {PARAM_EMBED, PARAM_HEAD};
	size_t C = (size_t)s->C;
	for (int i = 0; i < 2; i++)
		if (add_up(&w, words[i], -1, (size_t)s->V, C))
			give(u->hidden, u->cols, C, 1);
	own_vector(&w, PARAM_FINAL_NORM, -1, C, u->hidden);
	for (int l = 0; l < s->L; l++)
		own_layer(&w, l);
}

/* ---- reads ---- */

static size_t site_size(const struct shape *s, enum read_site site)
{
	switch (site) {
	case READ_CONTEXT:
		return (size_t)s->NH * (size_t)s->HD;
	case READ_FFN:
		return (size_t)s->F;
	default:
		return (size_t)s->C;
	}
}

size_t read_offset(const struct shape *s, enum read_site site, int layer)
{
	size_t per_layer = 0, at = 0;
	for (int i = 0; i < READ_SITES; i++) {
		at += i < (int)site ? site_size(s, (enum read_site)i) : 0;
		per_layer += site_size(s, (enum read_site)i);
	}
	return (size_t)layer * per_layer + at;
}

size_t read_size(const struct shape *s)
{
	return read_offset(s, READ_ATTN_NORM, s->L) + (size_t)s->C;
}

/* cols (n_cols) = the reads of one matrix. */
static const double *reads(const struct walk *w, enum param_kind kind, int layer, size_t n_rows, size_t n_cols, const double *stats)
{
	BUG_ON(!add_up(w, kind, layer, n_rows, n_cols));
	for (size_t c = 0; c < n_cols; c++)
		w->sums->cols[c] *= stats[c];
	if (layer >= 0)
		give_layer(w, layer, w->sums->cols, n_cols);
	return w->sums->cols;
}

static void read_layer(const struct walk *w, int layer, const double *stats)
{
	const struct shape *s = &w->layout->arch.shape;
	size_t C = (size_t)s->C, F = (size_t)s->F, H = (size_t)s->NH * (size_t)s->HD, Q = H + 2 * (size_t)s->NKV * (size_t)s->HD;
	const double *cols = reads(w, PARAM_QKV, layer, Q, C, stats + read_offset(s, READ_ATTN_NORM, layer));
	give(w->sums->hidden, cols, C, 1);
	cols = reads(w, PARAM_O, layer, C, H, stats + read_offset(s, READ_CONTEXT, layer));
	give_heads(w, layer, cols);
	cols = reads(w, PARAM_GATE_UP, layer, 2 * F, C, stats + read_offset(s, READ_FFN_NORM, layer));
	give(w->sums->hidden, cols, C, 1);
	cols = reads(w, PARAM_DOWN, layer, C, F, stats + read_offset(s, READ_FFN, layer));
	give(w->sums->ffn + (size_t)layer * F, cols, F, 1);
}

void unit_sums_read(struct unit_sums *u, const struct param_layout *layout, const float *weights, const double *stats, bool squared)
{
	const struct shape *s = &layout->arch.shape;
	const struct walk w = {.sums = u, .layout = layout, .weights = weights, .value = squared ? VALUE_SQUARE : VALUE_ABS};
	enum param_kind head = layout->arch.tied ? PARAM_EMBED : PARAM_HEAD;
	const double *cols = reads(&w, head, -1, (size_t)s->V, (size_t)s->C, stats + read_offset(s, READ_ATTN_NORM, s->L));
	give(u->hidden, cols, (size_t)s->C, 1);
	for (int l = 0; l < s->L; l++)
		read_layer(&w, l, stats);
}

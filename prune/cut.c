/* Moving the numbers: every parameter is rows by columns of kept units, each with its factor. */
#include "prune/cut.h"

#include <string.h>

/* The target's entries along one side of a matrix: entry i belongs to unit units[i / width] (NULL: unit i / width) + shift of
 * the source, and carries its z (NULL: 1). */
struct axis {
	size_t n, width;
	const int *units;
	const float *z;
	size_t shift;
};

static size_t source_of(const struct axis *a, size_t i, float *factor)
{
	size_t unit = (a->units ? (size_t)a->units[i / a->width] : i / a->width) + a->shift;
	*factor *= a->z ? a->z[unit] : 1;
	return unit * a->width + i % a->width;
}

/* dst (rows->n, cols->n) = factors * rows and columns of src (…, src_cols); += where the rows are shifted. */
static void copy_part(float *dst, const struct axis *rows, const struct axis *cols, const float *src, size_t src_cols,
		      float scale)
{
	for (size_t r = 0; r < rows->n; r++) {
		float row_factor = scale;
		const float *from = src + source_of(rows, r, &row_factor) * src_cols;
		for (size_t c = 0; c < cols->n; c++) {
			float factor = row_factor;
			size_t at = source_of(cols, c, &factor);
			float *to = &dst[r * cols->n + c];
			*to = rows->shift ? *to + factor * from[at] : factor * from[at];
		}
	}
}

/* One layer's (or the globals') view of both models. */
struct cut {
	const struct param_layout *source, *target;
	const float *src;
	float *dst;
	int from, to;   /* layer of the source and of the target; -1: globals */
	int merge;      /* groups of the source in one of the target */
	float layer_z;
	struct axis hidden, hidden_z, q, k, context, ffn, ffn_z; /* kept units; _z and context: with their factors */
};

static const struct axis one_column = {1, 1, NULL, NULL, 0};

/* Copies rows of a parameter that the family may lack. The part starts at row src_row of the source, dst_row of the target. */
static void copy_rows(const struct cut *c, enum param_kind kind, size_t src_row, size_t dst_row, const struct axis *rows,
		      const struct axis *cols, size_t src_cols, float scale)
{
	size_t from = c->source->offsets[(size_t)(c->from + 1) * PARAM_KINDS + kind];
	size_t to = c->target->offsets[(size_t)(c->to + 1) * PARAM_KINDS + kind];
	if (from == SIZE_MAX)
		return;
	copy_part(c->dst + to + dst_row * cols->n, rows, cols, c->src + from + src_row * src_cols, src_cols, scale);
}

static void copy_vector(const struct cut *c, enum param_kind kind, const struct axis *rows, float scale)
{
	copy_rows(c, kind, 0, 0, rows, &one_column, 1, scale);
}

/* (q | k | v) rows of the weight, or, with one column, of the bias. */
static void copy_qkv(const struct cut *c, enum param_kind kind, const struct axis *cols, size_t src_cols)
{
	const struct shape *s = &c->source->arch.shape;
	size_t HD = (size_t)s->HD, src_q = (size_t)s->NH * HD, src_kv = (size_t)s->NKV * HD;
	copy_rows(c, kind, 0, 0, &c->q, cols, src_cols, 1);
	for (int i = 0; i < c->merge; i++) { /* the mean of a run of groups */
		struct axis k = c->k;
		k.shift = (size_t)i;
		copy_rows(c, kind, src_q, c->q.n, &k, cols, src_cols, 1 / (float)c->merge);
		copy_rows(c, kind, src_q + src_kv, c->q.n + c->k.n, &k, cols, src_cols, 1 / (float)c->merge);
	}
}

static void copy_gate_up(const struct cut *c, enum param_kind kind, const struct axis *cols, size_t src_cols)
{
	copy_rows(c, kind, 0, 0, &c->ffn, cols, src_cols, 1);
	copy_rows(c, kind, (size_t)c->source->arch.shape.F, c->ffn.n, &c->ffn, cols, src_cols, 1);
}

static void cut_globals(const struct cut *c)
{
	const struct shape *s = &c->source->arch.shape;
	const struct axis words = {(size_t)s->V, 1, NULL, NULL, 0};
	size_t C = (size_t)s->C;
	copy_rows(c, PARAM_EMBED, 0, 0, &words, &c->hidden_z, C, 1);
	copy_rows(c, PARAM_HEAD, 0, 0, &words, &c->hidden, C, 1);
	/* A tied head already carries z through the embedding. */
	copy_vector(c, PARAM_FINAL_NORM, c->source->arch.tied ? &c->hidden : &c->hidden_z, 1);
}

static void cut_layer(const struct cut *c)
{
	const struct shape *s = &c->source->arch.shape;
	const struct axis head_width = {(size_t)s->HD, 1, NULL, NULL, 0};
	size_t C = (size_t)s->C;
	copy_vector(c, PARAM_ATTN_NORM, &c->hidden_z, 1);
	copy_qkv(c, PARAM_QKV, &c->hidden, C);
	copy_qkv(c, PARAM_QKV_BIAS, &one_column, 1);
	copy_vector(c, PARAM_Q_NORM, &head_width, 1);
	copy_vector(c, PARAM_K_NORM, &head_width, 1);
	copy_rows(c, PARAM_O, 0, 0, &c->hidden_z, &c->context, (size_t)s->NH * (size_t)s->HD, c->layer_z);
	copy_vector(c, PARAM_O_BIAS, &c->hidden_z, c->layer_z);
	copy_vector(c, PARAM_FFN_NORM, &c->hidden_z, 1);
	copy_gate_up(c, PARAM_GATE_UP, &c->hidden, C);
	copy_gate_up(c, PARAM_GATE_UP_BIAS, &one_column, 1);
	copy_rows(c, PARAM_DOWN, 0, 0, &c->hidden_z, &c->ffn_z, (size_t)s->F, c->layer_z);
	copy_vector(c, PARAM_DOWN_BIAS, &c->hidden_z, c->layer_z);
}

/* The kept units of the layer that becomes layer i. */
static void enter_layer(struct cut *c, int i, const struct kept *kept, const struct host_masks *z)
{
	const struct shape *s = &c->source->arch.shape, *t = &c->target->arch.shape;
	size_t HD = (size_t)s->HD, n = (size_t)i, l = (size_t)kept->layers[i];
	c->to = i;
	c->from = kept->layers[i];
	c->layer_z = z->layers ? z->layers[l] : 1;
	c->q = (struct axis){(size_t)t->NH * HD, HD, kept->heads + n * (size_t)t->NH, NULL, 0};
	c->k = (struct axis){(size_t)t->NKV * HD, HD, kept->groups + n * (size_t)t->NKV, NULL, 0};
	c->context = c->q;
	c->context.z = z->heads ? z->heads + l * (size_t)s->NH : NULL;
	c->ffn = (struct axis){(size_t)t->F, 1, kept->ffn + n * (size_t)t->F, NULL, 0};
	c->ffn_z = c->ffn;
	c->ffn_z.z = z->ffn ? z->ffn + l * (size_t)s->F : NULL;
}

void prune_cut(const struct param_layout *source, const float *src, const struct param_layout *target, float *dst,
	       const struct kept *kept, const struct host_masks *z)
{
	static const struct host_masks ones = {0};
	size_t C = (size_t)target->arch.shape.C;
	struct cut c = {.source = source, .target = target, .src = src, .dst = dst, .from = -1, .to = -1, .merge = kept->merge};
	BUG_ON(source->arch.shape.HD != target->arch.shape.HD || source->arch.shape.V != target->arch.shape.V);
	BUG_ON(source->arch.tied != target->arch.tied || kept->merge < 1);
	if (!z)
		z = &ones;
	c.hidden = (struct axis){C, 1, kept->hidden, NULL, 0};
	c.hidden_z = (struct axis){C, 1, kept->hidden, z->hidden, 0};
	memset(dst, 0, target->n_elems * sizeof *dst);
	cut_globals(&c);
	for (int i = 0; i < target->arch.shape.L; i++) {
		enter_layer(&c, i, kept, z);
		cut_layer(&c);
	}
}

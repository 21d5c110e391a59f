/* Which numbers go where: the rows and columns of every tensor, and whence they come; prune/cut_part.c moves them. */
#include "prune/cut.h"

#include "base/fsio.h"
#include "prune/cut_part.h"

#include <string.h>

#define SPAN_BYTES ((size_t)4 << 20)

struct cut {
	const struct param_layout *source, *target;
	const struct kept *kept;
	struct host_masks z;
	const struct hf_model *files; /* where the source lies when it is streamed */
};

static struct cut_axis all_of(int n)
{
	return (struct cut_axis){(size_t)n, 1, NULL, NULL};
}

static struct cut_axis hidden_axis(const struct cut *c, bool with_z)
{
	return (struct cut_axis){(size_t)c->target->arch.shape.C, 1, c->kept->hidden, with_z ? c->z.hidden : NULL};
}

/* Columns and rows of query heads, in layer i of the target and `from` of the source. */
static struct cut_axis head_axis(const struct cut *c, int i, int from, bool with_z)
{
	const struct shape *s = &c->source->arch.shape, *t = &c->target->arch.shape;
	const float *z = with_z && c->z.heads ? c->z.heads + (size_t)from * (size_t)s->NH : NULL;
	return (struct cut_axis){(size_t)t->NH * (size_t)t->HD, (size_t)t->HD, c->kept->heads + (size_t)i * (size_t)t->NH, z};
}

static struct cut_axis group_axis(const struct cut *c, int i)
{
	const struct shape *t = &c->target->arch.shape;
	return (struct cut_axis){(size_t)t->NKV * (size_t)t->HD, (size_t)t->HD, c->kept->groups + (size_t)i * (size_t)t->NKV, NULL};
}

static struct cut_axis ffn_axis(const struct cut *c, int i, int from, bool with_z)
{
	size_t F = (size_t)c->target->arch.shape.F;
	const float *z = with_z && c->z.ffn ? c->z.ffn + (size_t)from * (size_t)c->source->arch.shape.F : NULL;
	return (struct cut_axis){F, 1, c->kept->ffn + (size_t)i * F, z};
}

/* The tensor of the source that becomes tensor i of the target. Both lists have the same names: embedding, layer by layer, the
 * rest. */
static int source_tensor(const struct cut *c, int i)
{
	int layer = c->target->tensors[i].layer, n_rest = c->source->arch.tied ? 1 : 2;
	int per_layer = (c->target->n_tensors - 1 - n_rest) / c->target->arch.shape.L;
	if (layer >= 0)
		return i + (c->kept->layers[layer] - layer) * per_layer;
	return i == 0 ? 0 : i + c->source->n_tensors - c->target->n_tensors;
}

/* q is the first tensor of the fused ones, k and v are made of groups. */
static void project_qkv(const struct cut *c, const struct hf_tensor *t, int from, struct cut_part *out)
{
	bool q = t->offset == c->target->offsets[(size_t)(t->layer + 1) * PARAM_KINDS + t->kind];
	out->rows = q ? head_axis(c, t->layer, from, false) : group_axis(c, t->layer);
	out->merge = q ? 1 : c->kept->merge;
	out->scale = 1 / (float)out->merge;
}

static struct cut_part part_of(const struct cut *c, int i)
{
	const struct hf_tensor *t = &c->target->tensors[i], *s = &c->source->tensors[source_tensor(c, i)];
	int from = t->layer < 0 ? -1 : c->kept->layers[t->layer];
	float layer_z = t->layer >= 0 && c->z.layers ? c->z.layers[from] : 1;
	struct cut_part p = {.cols = t->cols ? hidden_axis(c, false) : all_of(1), .src_cols = s->cols ? s->cols : 1, .scale = 1, .merge = 1};
	switch (t->kind) {
	case PARAM_EMBED:
		p.rows = all_of(c->source->arch.shape.V);
		p.cols = hidden_axis(c, true);
		break;
	case PARAM_HEAD:
		p.rows = all_of(c->source->arch.shape.V);
		break;
	case PARAM_FINAL_NORM: /* a tied head already carries z through the embedding */
		p.rows = hidden_axis(c, !c->source->arch.tied);
		break;
	case PARAM_ATTN_NORM:
	case PARAM_FFN_NORM:
		p.rows = hidden_axis(c, true);
		break;
	case PARAM_QKV:
	case PARAM_QKV_BIAS:
		project_qkv(c, t, from, &p);
		break;
	case PARAM_Q_NORM:
	case PARAM_K_NORM:
		p.rows = all_of(c->source->arch.shape.HD);
		break;
	case PARAM_GATE_UP:
	case PARAM_GATE_UP_BIAS:
		p.rows = ffn_axis(c, t->layer, from, false);
		break;
	case PARAM_O:
	case PARAM_DOWN:
		p.cols = t->kind == PARAM_O ? head_axis(c, t->layer, from, true) : ffn_axis(c, t->layer, from, true);
		p.rows = hidden_axis(c, true);
		p.scale = layer_z;
		break;
	case PARAM_O_BIAS:
	case PARAM_DOWN_BIAS:
		p.rows = hidden_axis(c, true);
		p.scale = layer_z;
		break;
	case PARAM_KINDS:
		BUG_ON(true);
	}
	return p;
}

static struct cut cut_of(const struct param_layout *source, const struct param_layout *target, const struct kept *kept,
			 const struct host_masks *z)
{
	BUG_ON(source->arch.shape.HD != target->arch.shape.HD || source->arch.shape.V != target->arch.shape.V);
	BUG_ON(source->arch.tied != target->arch.tied || kept->merge < 1);
	return (struct cut){.source = source, .target = target, .kept = kept, .z = z ? *z : (struct host_masks){0}};
}

void prune_cut(const struct param_layout *source, const float *src, const struct param_layout *target, float *dst,
	       const struct kept *kept, const struct host_masks *z)
{
	struct cut c = cut_of(source, target, kept, z);
	memset(dst, 0, target->n_elems * sizeof *dst);
	for (int i = 0; i < target->n_tensors; i++) {
		struct cut_part p = part_of(&c, i);
		const float *from = src + source->tensors[source_tensor(&c, i)].offset;
		cut_part_rows(&p, from, DTYPE_F32, 0, p.rows.n, dst + target->tensors[i].offset, DTYPE_F32);
	}
}

/* In spans of the source; what was read is given back at once, so that the source never becomes resident. */
static void stream_rows(void *user, int tensor, size_t first, size_t n, void *out, enum dtype type)
{
	const struct cut *c = user;
	const struct safetensor *from = c->files->tensors[source_tensor(c, tensor)];
	struct cut_part p = part_of(c, tensor);
	size_t n_line = p.src_cols * dtype_size(from->dtype), step = SPAN_BYTES / n_line + 1;
	for (size_t i = 0; i < n; i += step) {
		size_t k = n - i < step ? n - i : step;
		size_t last = cut_axis_source(&p.rows, first + i + k - 1) + (size_t)(p.merge - 1) * p.rows.width;
		cut_part_rows(&p, from->data, from->dtype, first + i, k, (char *)out + i * p.cols.n * dtype_size(type), type);
		fsio_map_forget(from->data, (last + 1) * n_line);
	}
}

int prune_cut_files(const struct hf_model *source, const struct arch *target, const struct kept *kept, const struct host_masks *z,
		    const char *dir, const struct hf_save_options *o, struct err *e)
{
	struct param_layout layout;
	struct cut c;
	if (param_layout_init(&layout, target, e) < 0)
		return -1;
	c = cut_of(&source->layout, &layout, kept, z);
	c.files = source;
	int rc = hf_save_rows(dir, &layout, &(struct hf_rows){stream_rows, &c}, o, e);
	param_layout_release(&layout);
	return rc;
}

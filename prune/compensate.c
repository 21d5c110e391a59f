/* Sums over dropped columns, in double. */
#include "prune/compensate.h"

/* One output projection: its columns come in units of `width`, those of kept (n_kept, ascending) stay. */
struct projection {
	enum param_kind weight, bias;
	size_t n_inputs, width, n_kept;
	const int *kept;
	const float *mean; /* (n_inputs) */
};

bool compensate_possible(const struct arch *a)
{
	return a->o_bias || a->mlp_bias;
}

/* sum over dropped j of row_j mean_j */
static double lost(const struct projection *p, const float *row)
{
	double sum = 0;
	size_t at = 0;
	for (size_t unit = 0; unit < p->n_inputs / p->width; unit++) {
		if (at < p->n_kept && (size_t)p->kept[at] == unit) {
			at++;
			continue;
		}
		for (size_t j = unit * p->width; j < (unit + 1) * p->width; j++)
			sum += (double)row[j] * (double)p->mean[j];
	}
	return sum;
}

void compensate(const struct param_layout *source, const float *src, const struct param_layout *target, float *dst,
		const struct kept *kept, const struct scores *x)
{
	const struct shape *s = &source->arch.shape, *t = &target->arch.shape;
	size_t H = (size_t)s->NH * (size_t)s->HD, F = (size_t)s->F;
	BUG_ON(!x->context_mean || !x->ffn_mean);
	for (int i = 0; i < t->L; i++) {
		size_t from = (size_t)kept->layers[i], to = (size_t)i;
		const struct projection projections[] = {
			{PARAM_O, PARAM_O_BIAS, H, (size_t)s->HD, (size_t)t->NH, kept->heads + to * (size_t)t->NH, x->context_mean + from * H},
			{PARAM_DOWN, PARAM_DOWN_BIAS, F, 1, (size_t)t->F, kept->ffn + to * (size_t)t->F, x->ffn_mean + from * F},
		};
		for (int k = kept->merge > 1 ? 1 : 0; k < 2; k++) {
			const struct projection *p = &projections[k];
			size_t bias = target->offsets[(to + 1) * PARAM_KINDS + p->bias];
			if (bias == SIZE_MAX)
				continue;
			const float *weights = src + source->offsets[(from + 1) * PARAM_KINDS + p->weight];
			for (size_t c = 0; c < (size_t)t->C; c++)
				dst[bias + c] = (float)((double)dst[bias + c] + lost(p, weights + (size_t)kept->hidden[c] * p->n_inputs));
		}
	}
}

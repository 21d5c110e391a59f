/* One AdamW step: 16 bytes read and 12 (14 with a BF16 copy) written per parameter; bound by memory. */
#include "kernels/cpu/cpu.h"

#include <math.h>

struct step {
	float shrink, scale, beta1, beta2, rate, inv_correction2, eps;
};

static void update(const struct adamw *a, const struct step *k, size_t at, size_t n)
{
	float *p = a->p + at, *m = a->m + at, *v = a->v + at;
	const float *grad = a->grad + at;
	const struct step s = *k;
#pragma omp simd
	for (size_t i = 0; i < n; i++) {
		float g = grad[i] * s.scale;
		float m1 = m[i] + (g - m[i]) * (1.0f - s.beta1);
		float v1 = v[i] * s.beta2 + g * g * (1.0f - s.beta2);
		m[i] = m1;
		v[i] = v1;
		p[i] = p[i] * s.shrink - s.rate * m1 / (sqrtf(v1) * s.inv_correction2 + s.eps);
	}
	if (a->copy)
		cpu_narrow((char *)a->copy + at * dtype_size(a->copy_type), a->copy_type, p, n);
}

void cpu_adamw(struct ops *o, const struct adamw *a)
{
	double correction1 = 1 - pow((double)a->beta1, a->step), correction2 = 1 - pow((double)a->beta2, a->step);
	struct step k = {
		.shrink = (float)(1 - (double)a->lr * (double)a->weight_decay),
		.scale = a->grad_scale[0],
		.beta1 = a->beta1,
		.beta2 = a->beta2,
		.rate = (float)((double)a->lr / correction1),
		.inv_correction2 = (float)(1 / sqrt(correction2)),
		.eps = a->eps,
	};
	const size_t block = 4096;
	int64_t n_blocks = (int64_t)((a->n_elems + block - 1) / block);
#pragma omp parallel for schedule(static) num_threads(o->n_threads) if (n_blocks > 4)
	for (int64_t b = 0; b < n_blocks; b++) {
		size_t at = (size_t)b * block;
		update(a, &k, at, a->n_elems - at < block ? a->n_elems - at : block);
	}
}

/* Gated linear unit: one read and one write of the rows, exp in registers. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpu_math.h"

static void forward_row(const struct swiglu_forward *a, int n)
{
	const float *g = (const float *)a->gu + (size_t)n * 2 * (size_t)a->F, *u = g + a->F, *z = a->z;
	float *out = (float *)a->a + (size_t)n * (size_t)a->F;
	if (z) {
#pragma omp simd
		for (int i = 0; i < a->F; i++)
			out[i] = g[i] * cpu_sigmoid(g[i]) * u[i] * z[i];
	} else {
#pragma omp simd
		for (int i = 0; i < a->F; i++)
			out[i] = g[i] * cpu_sigmoid(g[i]) * u[i];
	}
}

void cpu_swiglu_forward(struct ops *o, const struct swiglu_forward *a)
{
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
	for (int n = 0; n < a->N; n++)
		forward_row(a, n);
}

static void backward_row(const struct swiglu_backward *a, int n)
{
	const float *g = (const float *)a->gu + (size_t)n * 2 * (size_t)a->F, *u = g + a->F;
	const float *da = (const float *)a->da + (size_t)n * (size_t)a->F;
	float *dg = (float *)a->dgu + (size_t)n * 2 * (size_t)a->F, *du = dg + a->F;
#pragma omp simd
	for (int i = 0; i < a->F; i++) {
		float x = g[i], y = u[i], d = da[i], s = cpu_sigmoid(x);
		dg[i] = d * y * s * (1.0f + x * (1.0f - s));
		du[i] = d * x * s;
	}
}

static void backward_row_masked(const struct swiglu_backward *a, int n, float *dz)
{
	const float *g = (const float *)a->gu + (size_t)n * 2 * (size_t)a->F, *u = g + a->F, *z = a->z;
	const float *da = (const float *)a->da + (size_t)n * (size_t)a->F;
	float *dg = (float *)a->dgu + (size_t)n * 2 * (size_t)a->F, *du = dg + a->F;
#pragma omp simd
	for (int i = 0; i < a->F; i++) {
		float x = g[i], y = u[i], d = da[i], s = cpu_sigmoid(x), silu = x * s;
		dz[i] += d * silu * y;
		d *= z[i];
		dg[i] = d * y * s * (1.0f + x * (1.0f - s));
		du[i] = d * silu;
	}
}

void cpu_swiglu_backward(struct ops *o, const struct swiglu_backward *a)
{
	struct cpu *c = cpu_of(o);
#pragma omp parallel for schedule(static, 1) num_threads(o->n_threads)
	for (int s = 0; s < o->n_threads; s++) {
		float *dz = a->z ? cpu_partial(c, s, a->F) : NULL;
		for (int n = cpu_slot(a->N, o->n_threads, s); n < cpu_slot(a->N, o->n_threads, s + 1); n++)
			if (dz)
				backward_row_masked(a, n, dz);
			else
				backward_row(a, n);
	}
	if (!a->dz)
		return;
	const float *sum = cpu_partial_sum(c, a->F);
	for (int i = 0; i < a->F; i++)
		a->dz[i] += sum[i];
}

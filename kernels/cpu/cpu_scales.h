/* What the loops of the dense divergences keep in registers. */
#ifndef KERNELS_CPU_CPU_SCALES_H
#define KERNELS_CPU_CPU_SCALES_H

#include "kernels/cpu/cpu_loss.h"
#include "kernels/cpu/cpu_math.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

struct scales {
	float inv_tau, max_s, max_t;
	float cs, ct;         /* 1/zs, 1/zt */
	float log_zs, log_zt;
	float shift;          /* log p - log q = y - x + shift */
};

static inline struct scales scales_of(const struct loss_temperature *h, const struct loss_block *k)
{
	return (struct scales){.inv_tau = h->inv_tau, .max_s = k->max_s, .max_t = k->max_t, .cs = (float)(1 / h->zs),
			       .ct = (float)(1 / h->zt), .log_zs = (float)h->log_zs, .log_zt = (float)h->log_zt,
			       .shift = (float)(h->log_zs - h->log_zt)};
}
ALWAYS_INLINE float x_of(const struct scales *v, float s)
{
	return (s - v->max_s) * v->inv_tau;
}
ALWAYS_INLINE float y_of(const struct scales *v, float t)
{
	return (t - v->max_t) * v->inv_tau;
}

#endif

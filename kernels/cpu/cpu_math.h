/* Elementary functions that gcc and clang can vectorise inside a loop: no branches, no calls, no tables. */
#ifndef KERNELS_CPU_CPU_MATH_H
#define KERNELS_CPU_CPU_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* e^x = p 2^n with x = n ln2 + r, |r| <= ln2/2: returns p, the minimax polynomial of degree 6 (relative error 2e-8),
 * and n in the low bits of *n_bits. */
static inline float cpu_exp_parts(float x, uint32_t *n_bits)
{
	const float shift = 0x1.8p23f; /* adding it rounds to an integer, which then stands in the low bits */
	float t = x * 1.44269504088896341f + shift, n = t - shift;
	float r = x - n * 0.693359375f + n * 2.12194440e-4f; /* ln2 in two parts, the first exact in products */
	float p = 0x1.6ae6e0p-10f;
	p = p * r + 0x1.1267d8p-7f;
	p = p * r + 0x1.555824p-5f;
	p = p * r + 0x1.555418p-3f;
	p = p * r + 0x1.fffffcp-2f;
	p = p * r + 1.0f;
	p = p * r + 1.0f;
	memcpy(n_bits, &t, 4);
	return p;
}

static inline float cpu_from_bits(uint32_t bits)
{
	float f;
	memcpy(&f, &bits, 4);
	return f;
}

/* e^x for x <= 80, as softmax needs it: relative error <= 2e-7, 0 below -86.5, NaN stays NaN (tests/test_ops_update.c). */
static inline float cpu_exp_low(float x)
{
	uint32_t n;
	float p = cpu_exp_parts(x, &n), y = p * cpu_from_bits((n << 23) + 0x3f800000u);
	return x < -86.5f ? 0.0f : y;
}

/* The same for any x; above 88.72 infinity. 2^n is built in two halves, so that n = 128 does not overflow. */
static inline float cpu_exp(float x)
{
	uint32_t n;
	float p = cpu_exp_parts(x, &n), y = p * cpu_from_bits((n << 23) + 0x3f000000u) * 2.0f;
	y = x < -86.5f ? 0.0f : y;
	return x > 88.7228f ? INFINITY : y;
}

static inline float cpu_sigmoid(float x)
{
	return 1.0f / (1.0f + cpu_exp(-x));
}

#endif

/* Elementary functions that gcc and clang can vectorise inside a loop: no branches, no calls, no tables. */
#ifndef KERNELS_CPU_CPU_MATH_H
#define KERNELS_CPU_CPU_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* x = n ln2 + r, |r| <= ln2/2: returns r, and n in the low bits of *n_bits. */
static inline float cpu_exp_reduce(float x, uint32_t *n_bits)
{
	const float shift = 0x1.8p23f; /* adding it rounds to an integer, which then stands in the low bits */
	float t = x * 1.44269504088896341f + shift, n = t - shift;
	memcpy(n_bits, &t, 4);
	return x - n * 0.693359375f + n * 2.12194440e-4f; /* ln2 in two parts, the first exact in products */
}

/* (e^r - 1) / r for |r| <= ln2/2: from the minimax polynomial of degree 6 for e^r (relative error 2e-8). */
static inline float cpu_exp_slope(float r)
{
	float p = 0x1.6ae6e0p-10f;
	p = p * r + 0x1.1267d8p-7f;
	p = p * r + 0x1.555824p-5f;
	p = p * r + 0x1.555418p-3f;
	p = p * r + 0x1.fffffcp-2f;
	return p * r + 1.0f;
}

/* e^x = p 2^n: returns p, and n in the low bits of *n_bits. */
static inline float cpu_exp_parts(float x, uint32_t *n_bits)
{
	float r = cpu_exp_reduce(x, n_bits);
	return cpu_exp_slope(r) * r + 1.0f;
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

/* e^x and, in *minus_one, e^x - 1, for x <= 80: relative error <= 4e-7 in both; 0 and -1 below -86.5; NaN stays NaN
 * (tests/test_ops_update.c). */
static inline float cpu_exp_both(float x, float *minus_one)
{
	uint32_t n;
	float r = cpu_exp_reduce(x, &n), scale = cpu_from_bits((n << 23) + 0x3f800000u), p = scale * (cpu_exp_slope(r) * r);
	*minus_one = x < -86.5f ? -1.0f : p + (scale - 1.0f);
	return x < -86.5f ? 0.0f : p + scale;
}

/* log(v) for v in [1e-37, 3e38], given also x = v - 1 as exactly as it is known: relative error <= 3e-7; a NaN may be lost
 * (tests/test_ops_update.c). v = 2^n (1 + f), 1 + f in [sqrt(1/2), sqrt(2)); where n = 0, f is x. */
static inline float cpu_log_near(float v, float x)
{
	uint32_t bits;
	memcpy(&bits, &v, 4);
	int32_t n = (int32_t)(bits - 0x3f3504f3u) >> 23;
	float f = n ? cpu_from_bits(bits - ((uint32_t)n << 23)) - 1.0f : x;
	float f2 = f * f, f4 = f2 * f2; /* minimax: f - f^2/2 + f^3 p(f), relative error 6e-9; in pairs, a short chain */
	float low = (-0x1.000228p-2f * f + 0x1.555554p-2f) + f2 * (-0x1.547242p-3f * f + 0x1.99a008p-3f);
	float high = (-0x1.0d855ap-3f * f + 0x1.22da24p-3f) + f2 * (-0x1.38b48ep-4f * f + 0x1.055b3ep-3f);
	float p = high * f4 + low;
	return f + f2 * (p * f - 0.5f) + (float)n * 0.693147180559945f;
}

/* log(1 + x) for x in [-0.5, 3e38]. */
static inline float cpu_log1p(float x)
{
	return cpu_log_near(1.0f + x, x);
}

static inline float cpu_sigmoid(float x)
{
	return 1.0f / (1.0f + cpu_exp(-x));
}

#endif

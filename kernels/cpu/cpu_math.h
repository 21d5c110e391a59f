/* Elementary functions that gcc and clang can vectorise inside a loop: no branches, no calls, no tables. */
#ifndef KERNELS_CPU_CPU_MATH_H
#define KERNELS_CPU_CPU_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* e^x, relative error <= 2e-7 (tests/test_ops.c). Below -86.5 the result is 0, above 88.72 infinity; NaN stays NaN.
 * Cody-Waite reduction x = n ln2 + r with |r| <= ln2/2, then a polynomial; 2^n is built from bits in two halves, so
 * that n = 128 does not overflow. */
static inline float cpu_exp(float x)
{
	const float shift = 0x1.8p23f; /* adding it rounds to an integer, which then stands in the low bits */
	float t = x * 1.44269504088896341f + shift, n = t - shift;
	float r = x - n * 0.693359375f + n * 2.12194440e-4f;
	float p = 1.9875691500e-4f;
	p = p * r + 1.3981999507e-3f;
	p = p * r + 8.3334519073e-3f;
	p = p * r + 4.1665795894e-2f;
	p = p * r + 1.6666665459e-1f;
	p = p * r + 5.0000001201e-1f;
	p = p * r * r + r + 1.0f;
	uint32_t bits;
	memcpy(&bits, &t, 4);
	bits = (bits - 0x4b400000u + 126u) << 23;
	float half_scale;
	memcpy(&half_scale, &bits, 4);
	float y = p * half_scale * 2.0f;
	y = x < -86.5f ? 0.0f : y;
	return x > 88.7228f ? INFINITY : y;
}

static inline float cpu_sigmoid(float x)
{
	return 1.0f / (1.0f + cpu_exp(-x));
}

#endif

#include "kernels/dtype.h"

#include "base/err.h"

static const struct {
	const char *name, *torch_name;
} names[] = {
	[DTYPE_F32] = {"F32", "float32"},
	[DTYPE_BF16] = {"BF16", "bfloat16"},
	[DTYPE_F16] = {"F16", "float16"},
};

const char *dtype_name(enum dtype t)
{
	return names[t].name;
}

const char *dtype_torch_name(enum dtype t)
{
	return names[t].torch_name;
}

int dtype_parse(const char *name, enum dtype *out)
{
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (!strcmp(name, names[i].name)) {
			*out = (enum dtype)i;
			return 0;
		}
	return -1;
}

static float f32_from_bits(uint32_t u)
{
	float f;
	memcpy(&f, &u, 4);
	return f;
}

float f16_to_f32(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff;
	if (exponent == 31)
		return f32_from_bits(sign | 0x7f800000u | fraction << 13);
	if (exponent == 0) { /* zero or subnormal: fraction * 2^-24, exact in fp32 */
		float magnitude = (float)fraction * 0x1p-24f;
		return sign ? -magnitude : magnitude;
	}
	return f32_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

/* Shifts right by n in [1,31], rounding to nearest even. A carry out of the fraction raises the exponent, as it should. */
static uint32_t shift_round(uint32_t u, int n)
{
	uint32_t half = 1u << (n - 1), odd = u >> n & 1;
	return (u + half - 1 + odd) >> n;
}

uint16_t f16_from_f32(float f)
{
	uint32_t u;
	memcpy(&u, &f, 4);
	uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
	u &= 0x7fffffffu;
	if (u > 0x7f800000u) /* NaN: quiet, the payload's high bits kept */
		return (uint16_t)(sign | 0x7e00 | (u >> 13 & 0x3ff));
	if (u >= 0x477ff000u) /* 65520 and above round to infinity */
		return (uint16_t)(sign | 0x7c00);
	if (u >= 0x38800000u) /* normal */
		return (uint16_t)(sign | shift_round(u - 0x38000000u, 13));
	if (u < 0x33000000u) /* below half of the smallest subnormal */
		return sign;
	uint32_t fraction = (u & 0x7fffffu) | 0x800000u;
	return (uint16_t)(sign | shift_round(fraction, 126 - (int)(u >> 23)));
}

static float load(const void *src, enum dtype t, size_t i)
{
	switch (t) {
	case DTYPE_F32:
		return ((const float *)src)[i];
	case DTYPE_BF16:
		return bf16_to_f32(((const uint16_t *)src)[i]);
	case DTYPE_F16:
		break;
	}
	return f16_to_f32(((const uint16_t *)src)[i]);
}

static void store(void *dst, enum dtype t, size_t i, float f)
{
	switch (t) {
	case DTYPE_F32:
		((float *)dst)[i] = f;
		return;
	case DTYPE_BF16:
		((uint16_t *)dst)[i] = bf16_from_f32(f);
		return;
	case DTYPE_F16:
		((uint16_t *)dst)[i] = f16_from_f32(f);
		return;
	}
}

void dtype_convert(void *dst, enum dtype to, const void *src, enum dtype from, size_t n_elems)
{
	if (to == from) {
		if (dst != src && n_elems)
			memmove(dst, src, n_elems * dtype_size(to));
		return;
	}
	BUG_ON(dst == src && n_elems);
	for (size_t i = 0; i < n_elems; i++)
		store(dst, to, i, load(src, from, i));
}

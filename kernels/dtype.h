/* Storage types: a run-time tag. Sums are fp32 whatever the tag. Test: tests/test_dtype.c */
#ifndef KERNELS_DTYPE_H
#define KERNELS_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_F16 };

static inline size_t dtype_size(enum dtype t)
{
	return t == DTYPE_F32 ? 4 : 2;
}
/* "F32", "BF16", "F16": safetensors' names. dtype_parse returns -1 for any other. */
const char *dtype_name(enum dtype t);
int dtype_parse(const char *name, enum dtype *out);
/* "float32", "bfloat16", "float16": torch_dtype in config.json. */
const char *dtype_torch_name(enum dtype t);

static inline float bf16_to_f32(uint16_t b)
{
	uint32_t u = (uint32_t)b << 16;
	float f;
	memcpy(&f, &u, 4);
	return f;
}
/* Round to nearest even; a NaN stays a NaN (quiet, payload's high bits kept). */
static inline uint16_t bf16_from_f32(float f)
{
	uint32_t u;
	memcpy(&u, &f, 4);
	if ((u & 0x7fffffffu) > 0x7f800000u)
		return (uint16_t)(u >> 16 | ((u & 0x007f0000u) ? 0 : 0x40));
	return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}
float f16_to_f32(uint16_t h);
uint16_t f16_from_f32(float f); /* round to nearest even, overflow to infinity */

/* Host conversion of n elements between any two types; dst and src may be equal only when the types are. */
void dtype_convert(void *dst, enum dtype to, const void *src, enum dtype from, size_t n_elems);

#endif

/* Between storage types, vectorised. F16 is rare (loading only) and goes through dtype.h. */
#include "kernels/cpu/cpu.h"

static void widen_bf16(float *dst, const uint16_t *src, size_t n)
{
#pragma omp simd
	for (size_t i = 0; i < n; i++)
		dst[i] = bf16_to_f32(src[i]);
}

/* bf16_from_f32 without branches. */
static void narrow_bf16(uint16_t *dst, const float *src, size_t n)
{
#pragma omp simd
	for (size_t i = 0; i < n; i++) {
		uint32_t u;
		memcpy(&u, src + i, 4);
		uint32_t rounded = (u + 0x7fffu + (u >> 16 & 1)) >> 16;
		uint32_t nan = u >> 16 | ((u & 0x007f0000u) ? 0u : 0x40u);
		dst[i] = (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
	}
}

void cpu_widen(float *dst, const void *src, enum dtype from, size_t n_elems)
{
	if (from == DTYPE_BF16)
		widen_bf16(dst, src, n_elems);
	else
		dtype_convert(dst, DTYPE_F32, src, from, n_elems);
}

void cpu_narrow(void *dst, enum dtype to, const float *src, size_t n_elems)
{
	if (to == DTYPE_BF16)
		narrow_bf16(dst, src, n_elems);
	else
		dtype_convert(dst, to, src, DTYPE_F32, n_elems);
}

static void convert_part(void *dst, enum dtype to, const void *src, enum dtype from, size_t at, size_t n)
{
	char *d = (char *)dst + at * dtype_size(to);
	const char *s = (const char *)src + at * dtype_size(from);
	if (to == DTYPE_F32)
		cpu_widen((float *)d, s, from, n);
	else if (from == DTYPE_F32)
		cpu_narrow(d, to, (const float *)s, n);
	else
		dtype_convert(d, to, s, from, n);
}

void cpu_convert(struct ops *o, void *dst, enum dtype to, const void *src, enum dtype from, size_t n_elems)
{
	if (dst == src && to == from)
		return;
	BUG_ON(dst == src && n_elems);
	const size_t block = 16384;
	int64_t n_blocks = (int64_t)((n_elems + block - 1) / block);
#pragma omp parallel for schedule(static) num_threads(o->n_threads) if (n_blocks > 4)
	for (int64_t b = 0; b < n_blocks; b++) {
		size_t at = (size_t)b * block;
		convert_part(dst, to, src, from, at, n_elems - at < block ? n_elems - at : block);
	}
}

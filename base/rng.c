/* Philox4x32-10. Test: tests/test_rng.c */
#include "base/rng.h"

#include "base/err.h"

#include <math.h>

void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
	uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
	for (int round = 0; round < 10; round++) {
		uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
		c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
		c1 = (uint32_t)p1;
		c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
		c3 = (uint32_t)p0;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* The stream sits in the step's top byte: steps stay below 2^56. */
static void draw(uint64_t seed, enum rng_stream stream, uint64_t step, uint64_t index, uint32_t out[4])
{
	BUG_ON(step >> 56);
	uint64_t high = step | (uint64_t)stream << 56;
	const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)high, (uint32_t)(high >> 32)};
	const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
	rng_philox(counter, key, out);
}

static float unit(uint32_t bits)
{
	return ((float)(bits >> 9) + 0.5f) * 0x1p-23f;
}

uint32_t rng_u32(uint64_t seed, enum rng_stream stream, uint64_t step, uint64_t index)
{
	uint32_t r[4];
	draw(seed, stream, step, index, r);
	return r[0];
}

uint64_t rng_u64(uint64_t seed, enum rng_stream stream, uint64_t step, uint64_t index)
{
	uint32_t r[4];
	draw(seed, stream, step, index, r);
	return (uint64_t)r[1] << 32 | r[0];
}

float rng_uniform(uint64_t seed, enum rng_stream stream, uint64_t step, uint64_t index)
{
	return unit(rng_u32(seed, stream, step, index));
}

float rng_normal(uint64_t seed, enum rng_stream stream, uint64_t step, uint64_t index)
{
	uint32_t r[4];
	draw(seed, stream, step, index, r);
	double radius = sqrt(-2.0 * log((double)unit(r[0])));
	return (float)(radius * cos(6.283185307179586 * (double)unit(r[1])));
}

uint32_t rng_below(uint64_t seed, enum rng_stream stream, uint64_t step, uint64_t index, uint32_t n)
{
	BUG_ON(n == 0);
	uint32_t r[4];
	draw(seed, stream, step, index, r);
	/* The high half of a 64 x 32 bit product: the bias is n / 2^64. */
	uint64_t low = (uint64_t)r[0] * n, high = (uint64_t)r[1] * n;
	return (uint32_t)((high + (low >> 32)) >> 32);
}

void rng_permutation(uint64_t seed, enum rng_stream stream, uint64_t step, uint32_t n, uint32_t *out)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t j = rng_below(seed, stream, step, i, i + 1);
		if (j != i)
			out[i] = out[j];
		out[j] = i;
	}
}

/* Counter-based randomness: a draw is a pure function of (seed, stream, step, index), so that resume, device and
 * thread count cannot change it. Philox4x32-10. Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
 * No state, hence nothing to save. Test: tests/test_rng.c */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

enum rng_stream {
	RNG_INIT = 1,   /* fresh weights; index = element */
	RNG_SHUFFLE,    /* document order; step = epoch */
	RNG_DOMAIN,     /* which domain a sequence comes from; step = sequence */
	RNG_MASK,       /* hard-concrete samples; step = training step, index = mask unit (+ micro-batch in the high bits) */
	RNG_BOOTSTRAP,  /* resampling of documents */
	RNG_GRAMMAR,    /* the generated corpus */
	RNG_SAMPLE,     /* text generation */
	RNG_TEST,       /* whatever a test needs */
	RNG_TEACHER_SAMPLE, /* importance-sampled soft targets; step = row's key, index = draw */
	RNG_PROJECTION, /* learned projections of hidden states; step = projection, index = element */
	RNG_IMPORTANCE, /* random scores; index = unit */
};

/* The function itself: 128 bits of counter and 64 of key to 128 bits. */
void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* step < 2^56 in all that follow: counter = (index, step, stream in the top byte), key = seed. */

/* 32 uniform bits. */
uint32_t rng_u32(uint64_t seed, enum rng_stream stream, uint64_t step, uint64_t index);
/* 64 of them; the low half is rng_u32's. */
uint64_t rng_u64(uint64_t seed, enum rng_stream stream, uint64_t step, uint64_t index);
/* Uniform in (0, 1): (top 23 bits + 0.5) / 2^23, exact in a float, never 0 and never 1. */
float rng_uniform(uint64_t seed, enum rng_stream stream, uint64_t step, uint64_t index);
/* N(0,1) by Box-Muller from the two halves of one draw. */
float rng_normal(uint64_t seed, enum rng_stream stream, uint64_t step, uint64_t index);
/* Uniform integer in [0, n), n > 0, without modulo bias worth speaking of (64-bit multiply-shift). */
uint32_t rng_below(uint64_t seed, enum rng_stream stream, uint64_t step, uint64_t index, uint32_t n);
/* Writes a permutation of 0..n-1 (Fisher-Yates over the counter). */
void rng_permutation(uint64_t seed, enum rng_stream stream, uint64_t step, uint32_t n, uint32_t *out);

#endif

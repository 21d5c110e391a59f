/* What this folder was compiled for; data only, so that reading it runs no instruction of that set. */
#include "kernels/cpu/cpu_backend.h"

const unsigned cpu_isa_built = 0
#ifdef __SSE4_2__
	| CPU_ISA_SSE42
#endif
#ifdef __AVX2__
	| CPU_ISA_AVX2
#endif
#ifdef __FMA__
	| CPU_ISA_FMA
#endif
#ifdef __AVX512F__
	| CPU_ISA_AVX512F
#endif
#if defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
	| CPU_ISA_AVX512_BW_DQ_VL
#endif
#ifdef __AVX512BF16__
	| CPU_ISA_AVX512_BF16
#endif
	;

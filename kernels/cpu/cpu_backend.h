/* Between kernels/cpu_open.c, which is compiled for any processor, and kernels/cpu, which is compiled for the build's. */
#ifndef KERNELS_CPU_CPU_BACKEND_H
#define KERNELS_CPU_CPU_BACKEND_H

#include "kernels/ops.h"

/* Instruction sets that kernels/cpu was compiled for. */
enum cpu_isa {
	CPU_ISA_SSE42 = 1,
	CPU_ISA_AVX2 = 2,
	CPU_ISA_FMA = 4,
	CPU_ISA_AVX512F = 8,
	CPU_ISA_AVX512_BW_DQ_VL = 16,
	CPU_ISA_AVX512_BF16 = 32,
};
extern const unsigned cpu_isa_built;

/* ops_cpu_open after the probe. processor: its name in words. */
int cpu_backend_open(struct ops **out, const struct ops_options *options, const char *processor, struct err *e);

#endif

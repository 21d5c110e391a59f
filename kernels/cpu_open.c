/* Opens the CPU backend after asking the processor whether it can run it. Compiled for any processor of the family. */
#include "kernels/cpu/cpu_backend.h"
#include "kernels/ops.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* The processor's own name, blanks trimmed. */
static void processor_name(char *out, size_t n)
{
	unsigned words[12] = {0};
	for (unsigned i = 0; i < 3; i++)
		__get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
	char name[sizeof words + 1] = "";
	memcpy(name, words, sizeof words);
	const char *start = name + strspn(name, " ");
	size_t length = strlen(start);
	while (length && start[length - 1] == ' ')
		length--;
	if (!length) {
		start = "x86-64 processor";
		length = strlen(start);
	}
	if (length > n - 1)
		length = n - 1;
	memcpy(out, start, length);
	out[length] = '\0';
}

/* The first instruction set that the build uses and this processor lacks; NULL when it has them all. */
static const char *missing_isa(void)
{
	__builtin_cpu_init();
	unsigned built = cpu_isa_built;
	if (built & CPU_ISA_SSE42 && !__builtin_cpu_supports("sse4.2"))
		return "SSE4.2";
	if (built & CPU_ISA_AVX2 && !__builtin_cpu_supports("avx2"))
		return "AVX2";
	if (built & CPU_ISA_FMA && !__builtin_cpu_supports("fma"))
		return "FMA";
	if (built & CPU_ISA_AVX512F && !__builtin_cpu_supports("avx512f"))
		return "AVX-512F";
	if (built & CPU_ISA_AVX512_BW_DQ_VL &&
	    !(__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")))
		return "AVX-512 BW/DQ/VL";
	if (built & CPU_ISA_AVX512_BF16 && !__builtin_cpu_supports("avx512bf16"))
		return "AVX-512 bf16";
	return NULL;
}
#else
static void processor_name(char *out, size_t n)
{
	strncpy(out, "processor", n - 1);
	out[n - 1] = '\0';
}

static const char *missing_isa(void)
{
	return NULL;
}
#endif

int ops_cpu_open(struct ops **out, const struct ops_options *options, struct err *e)
{
	char processor[64];
	processor_name(processor, sizeof processor);
	const char *missing = missing_isa();
	if (missing)
		return err_run(e, "%s lacks %s, for which this program was built: build it here, or with -DESPALIER_MARCH=x86-64-v2",
			       processor, missing);
	return cpu_backend_open(out, options, processor, e);
}

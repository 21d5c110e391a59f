/* The numbers of the models' config.json files. */
#include "model/public_shapes.h"

#include <string.h>

const char *const public_shape_names[] = {
	"llama-2-7b", "llama-3.1-8b", "llama-3.2-1b", "llama-3.2-3b", "minitron-4b-depth", "minitron-4b-width", "mistral-7b", "qwen2.5-0.5b",
	"qwen2.5-1.5b", "qwen2.5-3b", "qwen2.5-7b", "qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "sheared-llama-1.3b", "sheared-llama-2.7b",
	"smollm2-1.7b", "smollm2-135m", "smollm2-360m", "tinyllama-1.1b", NULL,
};
_Static_assert(sizeof public_shape_names / sizeof *public_shape_names == PUBLIC_SHAPES + 1, "as many names as shapes");

static const struct shape shapes[PUBLIC_SHAPES] = {
	{.L = 32, .C = 4096, .F = 11008, .NH = 32, .NKV = 32, .HD = 128, .V = 32000},
	{.L = 32, .C = 4096, .F = 14336, .NH = 32, .NKV = 8, .HD = 128, .V = 128256},
	{.L = 16, .C = 2048, .F = 8192, .NH = 32, .NKV = 8, .HD = 64, .V = 128256},
	{.L = 28, .C = 3072, .F = 8192, .NH = 24, .NKV = 8, .HD = 128, .V = 128256},
	{.L = 16, .C = 4096, .F = 14336, .NH = 32, .NKV = 8, .HD = 128, .V = 128256},
	{.L = 32, .C = 3072, .F = 9216, .NH = 32, .NKV = 8, .HD = 128, .V = 128256},
	{.L = 32, .C = 4096, .F = 14336, .NH = 32, .NKV = 8, .HD = 128, .V = 32000},
	{.L = 24, .C = 896, .F = 4864, .NH = 14, .NKV = 2, .HD = 64, .V = 151936},
	{.L = 28, .C = 1536, .F = 8960, .NH = 12, .NKV = 2, .HD = 128, .V = 151936},
	{.L = 36, .C = 2048, .F = 11008, .NH = 16, .NKV = 2, .HD = 128, .V = 151936},
	{.L = 28, .C = 3584, .F = 18944, .NH = 28, .NKV = 4, .HD = 128, .V = 152064},
	{.L = 28, .C = 1024, .F = 3072, .NH = 16, .NKV = 8, .HD = 128, .V = 151936},
	{.L = 28, .C = 2048, .F = 6144, .NH = 16, .NKV = 8, .HD = 128, .V = 151936},
	{.L = 36, .C = 2560, .F = 9728, .NH = 32, .NKV = 8, .HD = 128, .V = 151936},
	{.L = 24, .C = 2048, .F = 5504, .NH = 16, .NKV = 16, .HD = 128, .V = 32000},
	{.L = 32, .C = 2560, .F = 6912, .NH = 20, .NKV = 20, .HD = 128, .V = 32000},
	{.L = 24, .C = 2048, .F = 8192, .NH = 32, .NKV = 32, .HD = 64, .V = 49152},
	{.L = 30, .C = 576, .F = 1536, .NH = 9, .NKV = 3, .HD = 64, .V = 49152},
	{.L = 32, .C = 960, .F = 2560, .NH = 15, .NKV = 5, .HD = 64, .V = 49152},
	{.L = 22, .C = 2048, .F = 5632, .NH = 32, .NKV = 4, .HD = 64, .V = 32000},
};

const struct shape *public_shape(const char *name)
{
	for (int i = 0; i < PUBLIC_SHAPES; i++)
		if (!strcmp(public_shape_names[i], name))
			return &shapes[i];
	return NULL;
}

/* Any bytes as a safetensors file: an error or tensors that lie inside it. Corpus: corpus/safetensors. */
#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct safetensors *s;
	struct err e;
	if (safetensors_open_memory(&s, data, size, "fuzz", &e) < 0)
		return 0;
	for (int i = 0; i < safetensors_count(s); i++) {
		const struct safetensor *t = safetensors_at(s, i);
		const uint8_t *bytes = t->data;
		size_t zeros = 0;
		for (size_t j = 0; j < t->n_bytes; j++)
			zeros += !bytes[j]; /* a sanitizer watches */
		BUG_ON(zeros > t->n_bytes);
		BUG_ON(safetensors_find(s, t->name) == NULL);
	}
	safetensors_metadata(s, "format");
	safetensors_close(s);
	return 0;
}

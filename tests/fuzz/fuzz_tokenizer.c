/* A tokenizer.json, a NUL, and a text: parse, encode, decode. Whatever is in them: an error or ids that decode. */
#include <stdint.h>
#include <string.h>

#include "data/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *json = (const char *)data, *nul = memchr(json, '\0', size);
	size_t n = nul ? (size_t)(nul - json) : size;
	const char *text = nul ? nul + 1 : json;
	struct tokenizer *t;
	struct ids ids = {0};
	struct bytes back = {0};
	struct err e;
	if (tokenizer_parse(&t, "fuzz", json, n, NULL, 0, &e) == 0 &&
	    tokenizer_encode_document(t, text, nul ? size - n - 1 : size, &ids, &e) == 0)
		tokenizer_decode(t, ids.v, ids.n, size & 1, &back, &e);
	ids_release(&ids);
	bytes_release(&back);
	tokenizer_free(t);
	return 0;
}

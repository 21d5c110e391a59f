/* Any bytes as a file of documents: the first byte chooses the ending. Whatever comes out is stripped UTF-8. */
#include "base/err.h"
#include "data/text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <utf8proc.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text, size_t n)
{
	BUG_ON(n == 0 || text[0] == ' ' || text[0] == '\n' || text[n - 1] == ' ' || text[n - 1] == '\n');
	for (size_t i = 0; i < n;) {
		int32_t c;
		utf8proc_ssize_t step = utf8proc_iterate((const uint8_t *)text + i, (utf8proc_ssize_t)(n - i), &c);
		BUG_ON(step < 1);
		i += (size_t)step;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const endings[] = { "txt", "jsonl", "txt.gz", "jsonl.gz" };
	const char *root = getenv("TMPDIR"), *text;
	char path[512];
	struct text_reader *r;
	struct err e;
	size_t n;
	if (size < 1)
		return 0;
	snprintf(path, sizeof path, "%s/espalier-fuzz-%ld.%s", root ? root : "/tmp", (long)getpid(), endings[data[0] % 4]);
	FILE *f = fopen(path, "wb");
	BUG_ON(!f || fwrite(data + 1, 1, size - 1, f) != size - 1);
	fclose(f);
	if (text_open(&r, path, &e) == 0) {
		while (text_next(r, &text, &n, &e) == 1)
			check(text, n);
		text_close(r);
	}
	unlink(path);
	return 0;
}

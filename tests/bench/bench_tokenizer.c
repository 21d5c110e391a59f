/* Tokenizing speed on one core: MB/s over a file of text, cut into documents at lines "<|endoftext|>". Median of 5 after a
 * warm-up that fills the cache, and the first pass by itself.
 *     bench_tokenizer TOKENIZER FILE... (plain text) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fsio.h"
#include "data/tokenizer.h"

#define SEPARATOR "<|endoftext|>"

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int encode_documents(struct tokenizer *t, const char *text, size_t n, struct ids *out, struct err *e)
{
	for (const char *s = text, *end = text + n; s < end;) {
		const char *stop = memmem(s, (size_t)(end - s), SEPARATOR, strlen(SEPARATOR));
		if (!stop)
			stop = end;
		if (tokenizer_encode(t, s, (size_t)(stop - s), out, e) < 0)
			return -1;
		s = stop + strlen(SEPARATOR);
	}
	return 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static int bench_file(struct tokenizer *t, const char *path, struct err *e)
{
	char *text = NULL;
	size_t n;
	double took[6];
	struct ids ids = {0};
	int rc = -1;
	TRY(fsio_read_file(path, (size_t)1 << 30, &text, &n, e));
	for (int i = 0; i < 6; i++) {
		double start = seconds();
		ids.n = 0;
		TRY(encode_documents(t, text, n, &ids, e));
		took[i] = seconds() - start;
	}
	qsort(took + 1, 5, sizeof *took, by_value);
	printf("%s: %.1f MB, %zu ids, first pass %.1f MB/s, median of 5 %.1f MB/s\n", path, (double)n / 1e6, ids.n,
	       (double)n / 1e6 / took[0], (double)n / 1e6 / took[3]);
	rc = 0;
out:
	ids_release(&ids);
	free(text);
	return rc;
}

int main(int argc, char **argv)
{
	struct tokenizer *t = NULL;
	struct err e;
	int rc = -1;
	if (argc < 3) {
		fprintf(stderr, "usage: bench_tokenizer TOKENIZER FILE...\n");
		return 2;
	}
	double start = seconds();
	TRY(tokenizer_open(&t, argv[1], &e));
	printf("%s: opened in %.0f ms\n", argv[1], 1e3 * (seconds() - start));
	for (int i = 2; i < argc; i++)
		TRY(bench_file(t, argv[i], &e));
	rc = 0;
out:
	if (rc < 0)
		fprintf(stderr, "bench_tokenizer: %s\n", e.line);
	tokenizer_free(t);
	return rc < 0;
}

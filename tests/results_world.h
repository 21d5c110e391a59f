/* What the tests of comparison and report start from: a directory and room for results. */
#ifndef TESTS_RESULTS_WORLD_H
#define TESTS_RESULTS_WORLD_H

#include "tests/testing.h"

#include "results/result_file.h"

enum { MAX_RESULTS = 64 };
struct world {
	struct test_path dir;
	struct result *results[MAX_RESULTS];
	int n;
};

static inline int world_open(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	w->dir = test_dir_make();
	*state = w;
	return 0;
}

static inline int world_close(void **state)
{
	struct world *w = *state;
	for (int i = 0; i < w->n; i++)
		result_free(w->results[i]);
	test_dir_remove(&w->dir);
	free(w);
	return 0;
}

#endif

/* The backend that tests of evaluation and generation ask models with. */
#ifndef TESTS_EVAL_OPS_H
#define TESTS_EVAL_OPS_H

#include "tests/testing.h"

#include "kernels/ops.h"

static inline struct ops *open_ops(void)
{
	struct ops *ops;
	struct err e;
	struct ops_options o = {.n_threads = 2};
	struct ops_limits limits = {.max_operand_elems = 1 << 21, .max_columns = 1 << 12}; /* of the largest model here */
	assert_ok(ops_cpu_open(&ops, &o, &e), &e);
	assert_ok(ops_cpu_reserve(ops, &limits, &e), &e);
	return ops;
}

#endif

/* What `inspect --latency` measures and shows. Test: tests/test_verbs.c through the program. */
#ifndef RECIPES_INSPECT_LATENCY_H
#define RECIPES_INSPECT_LATENCY_H

#include "recipes/cli.h"
#include "results/latency.h"

/* Measures arch with the verb's --length, --batch and --threads:
 * {"length", "batch", "dtype", "device", "prefill_ms", "decode_ms", "prefill_spread", "decode_spread", "bytes"}. The caller's. */
int latency_json(json_t **out, const struct cli_args *, const struct arch *, struct err *);
void latency_print(const json_t *);

#endif

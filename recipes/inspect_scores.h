/* What `inspect --scores` shows of a file of importance scores. Test: tests/test_run_importance.c through the program. */
#ifndef RECIPES_INSPECT_SCORES_H
#define RECIPES_INSPECT_SCORES_H

#include "prune/scores.h"

#include <jansson.h>

/* {"method", "layers_method", "tokens", "teacher", "layers": […], "groups": [[…]], "heads": [[…]],
 *  "hidden": {"least", "median", "most"}, "ffn": [{…}]}: layers in order. The caller's. */
json_t *scores_json(const struct arch *, const struct scores *);
/* That as text, a line per layer. */
void scores_print(const json_t *);

#endif

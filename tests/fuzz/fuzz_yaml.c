/* Any bytes as a recipe: a tree or an error. What parses is dumped, and the dump must parse. */
#include "base/yaml.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
	struct yaml_tree t, again;
	char *dump;
	if (yaml_parse_text(&t, "fuzz", (const char *)data, n_bytes, NULL) == 0 && yaml_dump_text(t.root, &dump, &n_bytes, NULL) == 0) {
		BUG_ON(n_bytes <= YAML_MAX_BYTES && yaml_parse_text(&again, "dump", dump, n_bytes, NULL) < 0);
		if (n_bytes <= YAML_MAX_BYTES)
			yaml_release(&again);
		free(dump);
	}
	yaml_release(&t);
	return 0;
}

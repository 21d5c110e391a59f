/* Shapes in files of results. Test: tests/test_compare.c */
#include "results/shape_json.h"

#include <limits.h>

json_t *shape_to_json(const struct shape *s)
{
	return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "layers", s->L, "hidden", s->C, "heads", s->NH, "kv_heads",
			 s->NKV, "head_dim", s->HD, "intermediate", s->F, "vocab", s->V);
}

int shape_from_json(struct shape *s, const json_t *o, const char *path, struct err *e)
{
	const struct {
		const char *key;
		int *size;
	} list[] = {{"layers", &s->L}, {"hidden", &s->C}, {"heads", &s->NH}, {"kv_heads", &s->NKV}, {"head_dim", &s->HD},
		    {"intermediate", &s->F}, {"vocab", &s->V}};
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		int64_t x;
		if (json_get_int64(o, path, list[i].key, 0, 0, INT_MAX, &x, e) < 0)
			return -1;
		*list[i].size = (int)x;
	}
	return 0;
}

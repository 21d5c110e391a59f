/* Scores as JSON, and the JSON as a table. */
#include "recipes/inspect_scores.h"

#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static json_t *spread_json(const float *x, int n)
{
	float *sorted = malloc((size_t)n * sizeof *sorted);
	BUG_ON(!sorted);
	memcpy(sorted, x, (size_t)n * sizeof *sorted);
	qsort(sorted, (size_t)n, sizeof *sorted, ascending);
	json_t *o = json_pack("{s:f,s:f,s:f}", "least", (double)sorted[0], "median", (double)sorted[n / 2], "most", (double)sorted[n - 1]);
	free(sorted);
	return o;
}

static json_t *row_json(const float *x, int n)
{
	json_t *row = json_array();
	for (int i = 0; i < n; i++)
		json_array_append_new(row, json_real((double)x[i]));
	return row;
}

json_t *scores_json(const struct arch *a, const struct scores *x)
{
	const struct shape *s = &a->shape;
	json_t *groups = json_array(), *heads = json_array(), *ffn = json_array();
	char teacher[17];
	hash_hex(x->teacher, teacher);
	for (int l = 0; l < s->L; l++) {
		size_t at = (size_t)l;
		json_array_append_new(groups, row_json(x->groups + at * (size_t)s->NKV, s->NKV));
		json_array_append_new(heads, row_json(x->heads + at * (size_t)s->NH, s->NH));
		json_array_append_new(ffn, spread_json(x->ffn + at * (size_t)s->F, s->F));
	}
	return json_pack("{s:s,s:s,s:I,s:s,s:o,s:o,s:o,s:o,s:o}", "method", importance_method_name(x->method), "layers_method",
			 layers_method_name(x->layers_method), "tokens", (json_int_t)x->tokens, "teacher", teacher, "layers", row_json(x->layers, s->L),
			 "groups", groups, "heads", heads, "hidden", spread_json(x->hidden, s->C), "ffn", ffn);
}

static void print_spread(const char *what, const json_t *o)
{
	printf("%s %.3g … %.3g … %.3g", what, json_number_value(json_object_get(o, "least")), json_number_value(json_object_get(o, "median")),
	       json_number_value(json_object_get(o, "most")));
}

static void print_row(const char *what, const json_t *row)
{
	const json_t *x;
	size_t i;
	printf("  %s", what);
	json_array_foreach(row, i, x)
		printf(" %.3g", json_number_value(x));
}

void scores_print(const json_t *o)
{
	const json_t *layer;
	size_t l;
	printf("importance: %s, layers by %s, %lld tokens, teacher %s (least … median … most)\n", json_string_value(json_object_get(o, "method")),
	       json_string_value(json_object_get(o, "layers_method")), (long long)json_integer_value(json_object_get(o, "tokens")),
	       json_string_value(json_object_get(o, "teacher")));
	print_spread("  hidden", json_object_get(o, "hidden"));
	putchar('\n');
	json_array_foreach(json_object_get(o, "layers"), l, layer) {
		printf("  layer %zu: %.3g ", l, json_number_value(layer));
		print_spread(" ffn", json_array_get(json_object_get(o, "ffn"), l));
		print_row("groups", json_array_get(json_object_get(o, "groups"), l));
		print_row("heads", json_array_get(json_object_get(o, "heads"), l));
		putchar('\n');
	}
}

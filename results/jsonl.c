/* JSON lines as a table: the columns are all keys that occur, in the order of their first line. Test: tests/test_compare.c */
#include "results/csv.h"

#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Every complete line's object. */
static int parse_lines(json_t *rows, const char *text, size_t n_bytes, const char *path, struct err *e)
{
	const char *end = text + n_bytes, *line_end;
	for (size_t line = 1; (line_end = memchr(text, '\n', (size_t)(end - text))); line++, text = line_end + 1) {
		json_t *j;
		if (json_parse(text, (size_t)(line_end - text), path, &j, e) < 0)
			return err_user(e, "%s:%zu: not valid JSON", path, line);
		if (!json_is_object(j)) {
			json_decref(j);
			return err_user(e, "%s:%zu: expected an object", path, line);
		}
		if (json_array_append_new(rows, j) < 0)
			return err_run(e, "%s: out of memory", path);
	}
	return 0;
}

/* The union of all keys, with the column as value; n_bytes: of their names. */
static json_t *columns_of(const json_t *rows, size_t *n_bytes)
{
	json_t *columns = json_object(), *row, *value;
	const char *key;
	size_t i;
	*n_bytes = 0;
	json_array_foreach(rows, i, row)
		json_object_foreach(row, key, value)
			if (!json_object_get(columns, key)) {
				json_object_set_new(columns, key, json_integer((json_int_t)json_object_size(columns)));
				*n_bytes += strlen(key) + 1;
			}
	return columns;
}

static int allocate(struct csv *c, const json_t *rows, const json_t *columns, size_t n_bytes)
{
	c->n_rows = json_array_size(rows);
	c->n_columns = json_object_size(columns);
	c->text = malloc(n_bytes + 1);
	c->names = malloc((c->n_columns + 1) * sizeof *c->names);
	c->values = malloc((c->n_rows * c->n_columns + 1) * sizeof *c->values);
	return c->text && c->names && c->values ? 0 : -1;
}

static void fill(struct csv *c, const json_t *rows, json_t *columns)
{
	json_t *row, *value;
	const char *key;
	char *at = c->text;
	size_t i;
	json_object_foreach(columns, key, value) {
		c->names[json_integer_value(value)] = strcpy(at, key);
		at += strlen(key) + 1;
	}
	for (i = 0; i < c->n_rows * c->n_columns; i++)
		c->values[i] = NAN;
	json_array_foreach(rows, i, row)
		json_object_foreach(row, key, value)
			if (json_is_number(value)) {
				size_t column = (size_t)json_integer_value(json_object_get(columns, key));
				c->values[i * c->n_columns + column] = json_number_value(value);
			}
}

int jsonl_parse(struct csv *c, const char *text, size_t n_bytes, const char *path, struct err *e)
{
	int rc = -1;
	size_t n_names;
	json_t *rows = json_array(), *columns = NULL;
	if (parse_lines(rows, text, n_bytes, path, e) < 0)
		goto out;
	columns = columns_of(rows, &n_names);
	if (allocate(c, rows, columns, n_names) < 0) {
		err_run(e, "%s: out of memory", path);
		goto out;
	}
	fill(c, rows, columns);
	rc = 0;
out:
	json_decref(rows);
	json_decref(columns);
	return rc;
}

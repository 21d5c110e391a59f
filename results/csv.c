/* Reading of metrics. Test: tests/test_compare.c */
#include "results/csv.h"

#include "base/fsio.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CSV_MAX_BYTES = 1 << 30 };

static size_t count(const char *text, char c, const char *end)
{
	size_t n = 0;
	for (; text < end; text++)
		n += *text == c;
	return n;
}

static double number(const char *field)
{
	char *end;
	double x = strtod(field, &end);
	return end == field || *end ? NAN : x;
}

/* Cuts one line into exactly n fields, in place. */
static int split(char *line, char **fields, size_t n)
{
	size_t i = 0;
	for (char *at = line; at; i++) {
		if (i == n)
			return -1;
		fields[i] = at;
		at = strchr(at, ',');
		if (at)
			*at++ = '\0';
	}
	return i == n ? 0 : -1;
}

static char *cut_line(char *line)
{
	char *end = strchr(line, '\n');
	*end = '\0';
	if (end > line && end[-1] == '\r')
		end[-1] = '\0';
	return end + 1;
}

static int read_rows(struct csv *c, char *line, char **fields, const char *path, struct err *e)
{
	for (size_t row = 0; row < c->n_rows; row++) {
		char *next = cut_line(line);
		if (split(line, fields, c->n_columns) < 0)
			return err_user(e, "%s:%zu: expected %zu fields, as the header has", path, row + 2, c->n_columns);
		for (size_t i = 0; i < c->n_columns; i++)
			c->values[row * c->n_columns + i] = number(fields[i]);
		line = next;
	}
	return 0;
}

static int parse(struct csv *c, size_t n_bytes, const char *path, struct err *e)
{
	size_t n_lines = count(c->text, '\n', c->text + n_bytes);
	if (!n_lines || c->text[0] == '\n' || memchr(c->text, '\0', n_bytes))
		return err_user(e, "%s: expected a line of column names", path);
	c->n_rows = n_lines - 1;
	char *rows = cut_line(c->text);
	c->n_columns = 1 + count(c->text, ',', c->text + strlen(c->text));
	c->names = malloc(c->n_columns * sizeof *c->names);
	c->values = malloc((c->n_rows * c->n_columns + 1) * sizeof *c->values);
	char **fields = malloc(c->n_columns * sizeof *fields);
	int rc = -1;
	if (!c->names || !fields || !c->values) {
		err_run(e, "%s: out of memory", path);
		goto out;
	}
	split(c->text, c->names, c->n_columns);
	rc = read_rows(c, rows, fields, path, e);
out:
	free(fields);
	return rc;
}

int csv_read(struct csv *c, const char *path, struct err *e)
{
	size_t n_bytes, n = strlen(path);
	*c = (struct csv){0};
	if (fsio_read_file(path, CSV_MAX_BYTES, &c->text, &n_bytes, e) < 0)
		return -1;
	int rc;
	if (n > 6 && !strcmp(path + n - 6, ".jsonl")) {
		char *text = c->text;
		c->text = NULL;
		rc = jsonl_parse(c, text, n_bytes, path, e);
		free(text);
	} else {
		rc = parse(c, n_bytes, path, e);
	}
	if (rc < 0)
		csv_release(c);
	return rc;
}

void csv_release(struct csv *c)
{
	free(c->names);
	free(c->values);
	free(c->text);
	*c = (struct csv){0};
}

int csv_column(const struct csv *c, const char *name)
{
	for (size_t i = 0; i < c->n_columns; i++)
		if (!strcmp(c->names[i], name))
			return (int)i;
	return -1;
}

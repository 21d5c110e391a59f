#include "recipes/metrics.h"

#include "base/fsio.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void clear(struct metrics *m)
{
	for (int i = 0; i < m->n_columns; i++)
		m->values[i] = NAN;
}

static int append(struct metrics *m, const char *text, size_t n, struct err *e)
{
	if (fsio_append(m->path, text, n, e) < 0)
		return -1;
	m->n_bytes += n;
	return 0;
}

static int write_header(struct metrics *m, struct err *e)
{
	char line[2048];
	size_t n = 0;
	if (fsio_write_file(m->path, "", 0, e) < 0)
		return -1;
	if (m->jsonl)
		return 0;
	for (int i = 0; i < m->n_columns; i++)
		n += (size_t)snprintf(line + n, sizeof line - n, "%s%s", i ? "," : "", m->columns[i]);
	BUG_ON(n + 1 >= sizeof line);
	line[n++] = '\n';
	return append(m, line, n, e);
}

int metrics_open(struct metrics *m, const char *path, bool jsonl, const char *const *columns, int n_columns, uint64_t n_bytes,
		 struct err *e)
{
	BUG_ON(n_columns > METRICS_MAX_COLUMNS);
	*m = (struct metrics){.path = strdup(path), .jsonl = jsonl, .n_columns = n_columns, .n_bytes = n_bytes};
	if (!m->path)
		return err_run(e, "out of memory");
	memcpy(m->columns, columns, (size_t)n_columns * sizeof *columns);
	clear(m);
	return n_bytes ? fsio_truncate_to(path, n_bytes, e) : write_header(m, e);
}

void metrics_close(struct metrics *m)
{
	free(m->path);
	memset(m, 0, sizeof *m);
}

void metrics_set(struct metrics *m, const char *column, double value)
{
	for (int i = 0; i < m->n_columns; i++)
		if (!strcmp(m->columns[i], column)) {
			m->values[i] = value;
			return;
		}
	BUG_ON(1);
}

int metrics_row(struct metrics *m, struct err *e)
{
	char line[4096];
	size_t n = 0;
	bool first = true;
	if (m->jsonl)
		line[n++] = '{';
	for (int i = 0; i < m->n_columns; i++) {
		double v = m->values[i];
		if (m->jsonl && isfinite(v))
			n += (size_t)snprintf(line + n, sizeof line - n, "%s\"%s\": %.9g", first ? "" : ", ", m->columns[i], v);
		else if (!m->jsonl)
			n += isfinite(v) ? (size_t)snprintf(line + n, sizeof line - n, "%s%.9g", i ? "," : "", v) :
					   (size_t)snprintf(line + n, sizeof line - n, "%s", i ? "," : "");
		first &= !isfinite(v);
	}
	n += (size_t)snprintf(line + n, sizeof line - n, m->jsonl ? "}\n" : "\n");
	BUG_ON(n >= sizeof line);
	clear(m);
	return append(m, line, n, e);
}

int metrics_sync(const struct metrics *m, struct err *e)
{
	return fsio_truncate_to(m->path, m->n_bytes, e);
}

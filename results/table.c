/* Columns of text. Knows nothing of what they mean. Test: tests/test_report.c */
#include "results/table.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { LONG_TEXT = 30 }; /* bytes; longer text may be broken into lines */

int table_init(struct table *t, int n_columns, struct err *e)
{
	*t = (struct table){.n_columns = n_columns};
	t->left = calloc((size_t)n_columns, sizeof *t->left);
	return t->left ? 0 : err_run(e, "a table: out of memory");
}

void table_release(struct table *t)
{
	free(t->left);
	free(t->cells);
	free(t->strong);
	*t = (struct table){0};
}

static int grow(struct table *t)
{
	int capacity = t->capacity ? 2 * t->capacity : 8;
	void *cells = realloc(t->cells, (size_t)capacity * (size_t)t->n_columns * sizeof *t->cells);
	if (cells)
		t->cells = cells;
	void *strong = realloc(t->strong, (size_t)capacity * sizeof *t->strong);
	if (strong)
		t->strong = strong;
	if (!cells || !strong)
		return -1;
	t->capacity = capacity;
	return 0;
}

static const char *cell(const struct table *t, int row, int column)
{
	return t->cells[row * t->n_columns + column];
}

int table_row(struct table *t, struct err *e)
{
	if (t->n_rows == t->capacity && grow(t) < 0)
		return err_run(e, "a table: out of memory");
	memset(t->cells[t->n_rows * t->n_columns], 0, (size_t)t->n_columns * sizeof *t->cells);
	t->strong[t->n_rows++] = false;
	return 0;
}

void table_set(struct table *t, int column, const char *fmt, ...)
{
	va_list args;
	char *at = t->cells[(t->n_rows - 1) * t->n_columns + column];
	va_start(args, fmt);
	int n = vsnprintf(at, TABLE_CELL, fmt, args);
	va_end(args);
	if (n >= TABLE_CELL) /* not in the middle of a character */
		for (int i = TABLE_CELL - 1; i-- > 0 && (at[i] & 0xc0) == 0x80;)
			at[i] = '\0';
}

/* Columns on a terminal: one per code point, which is true of all that we print. */
static int width(const char *text)
{
	int n = 0;
	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

static int column_width(const struct table *t, int column)
{
	int most = 0;
	for (int r = 0; r < t->n_rows; r++) {
		int w = width(cell(t, r, column));
		most = w > most ? w : most;
	}
	return most;
}

static void print_cell(FILE *f, const char *text, int columns, bool left)
{
	int pad = columns > width(text) ? columns - width(text) : 0;
	if (left)
		fprintf(f, "%s%*s", text, pad, "");
	else
		fprintf(f, "%*s%s", pad, "", text);
}

void table_print(const struct table *t, FILE *f)
{
	for (int r = 0; r < t->n_rows; r++) {
		for (int c = 0; c < t->n_columns; c++) {
			fputs(c ? "  " : "", f);
			bool last_left = c == t->n_columns - 1 && t->left[c];
			print_cell(f, cell(t, r, c), last_left ? 0 : column_width(t, c), t->left[c]);
		}
		fputc('\n', f);
	}
}

static void markdown_cell(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (strchr("|\\`*_<>[]", *text))
			fputc('\\', f);
		fputc(*text, f);
	}
}

void table_print_markdown(const struct table *t, FILE *f)
{
	for (int r = 0; r < t->n_rows; r++) {
		for (int c = 0; c < t->n_columns; c++) {
			fputs(c ? " | " : "| ", f);
			fputs(t->strong[r] && r && *cell(t, r, c) ? "**" : "", f);
			markdown_cell(f, cell(t, r, c));
			fputs(t->strong[r] && r && *cell(t, r, c) ? "**" : "", f);
		}
		fputs(" |\n", f);
		for (int c = 0; !r && c < t->n_columns; c++)
			fputs(t->left[c] ? "|:--" : "|--:", f);
		fputs(r ? "" : "|\n", f);
	}
}

void table_html_text(FILE *f, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&': fputs("&amp;", f); break;
		case '<': fputs("&lt;", f); break;
		case '>': fputs("&gt;", f); break;
		case '"': fputs("&quot;", f); break;
		case '\'': fputs("&#39;", f); break;
		default: fputc(*text, f);
		}
	}
}

void table_print_html(const struct table *t, FILE *f)
{
	fputs("<div class=\"scroll\"><table>\n", f);
	for (int r = 0; r < t->n_rows; r++) {
		const char *tag = r ? "td" : "th";
		fputs(t->strong[r] && r ? "<tr class=\"strong\">" : "<tr>", f);
		for (int c = 0; c < t->n_columns; c++) {
			const char *class = !t->left[c] ? "" : strlen(cell(t, r, c)) > LONG_TEXT ? " class=\"text long\"" : " class=\"text\"";
			fprintf(f, "<%s%s>", tag, class);
			table_html_text(f, cell(t, r, c));
			fprintf(f, "</%s>", tag);
		}
		fputs("</tr>\n", f);
	}
	fputs("</table></div>\n", f);
}

const char *table_count(double n, char out[32])
{
	static const struct {
		double unit;
		const char *name;
	} prefixes[] = {{1e15, " P"}, {1e12, " T"}, {1e9, " G"}, {1e6, " M"}, {1e3, " k"}};
	if (isnan(n))
		return strcpy(out, "–");
	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
		if (fabs(n) < 0.9995 * prefixes[i].unit)
			continue;
		double x = n / prefixes[i].unit;
		snprintf(out, 32, "%.*f%s", fabs(x) < 9.995 ? 2 : fabs(x) < 99.95 ? 1 : 0, x, prefixes[i].name);
		return out;
	}
	snprintf(out, 32, "%.4g", n);
	return out;
}

/* What every way of making a student gives: the loss before training and after it, a colour for each size, as a gnuplot script.
 * Test: tests/test_ways.c */
#include "results/plot.h"

#include <math.h>
#include <string.h>

enum panel { AFTER_CUT, IN_THE_END };

static const struct compare_row *row_of(const struct comparison *c, int way, int group)
{
	int row = c->ways[way].rows[group];
	return row < 0 ? NULL : &c->rows[row];
}

/* One line a student: y, loss, mean over the seeds. Returns how many. */
static int write_means(struct plot *p, const struct comparison *c, enum panel panel, int d, int group)
{
	int n = 0;
	fprintf(p->file, "$m%d_%d << EOD\n", (int)panel, group);
	for (int i = 0; i < c->n_ways; i++) {
		const struct compare_row *row = row_of(c, i, group);
		double x = !row ? NAN : panel == IN_THE_END ? row->cells[d].score.mean : compare_start_nll(row);
		if (isfinite(x))
			fprintf(p->file, "%d %.9g\n", -i, x);
		n += isfinite(x);
	}
	fputs("EOD\n", p->file);
	return n;
}

/* The same seed by seed, where there are several. */
static int write_seeds(struct plot *p, const struct comparison *c, enum panel panel, int d, int group)
{
	int n = 0;
	fprintf(p->file, "$s%d_%d << EOD\n", (int)panel, group);
	for (int i = 0; i < c->n_ways && !c->domains[d].in_bits; i++) {
		const struct compare_row *row = row_of(c, i, group);
		for (int s = 0; row && row->n_seeds > 1 && s < row->n_seeds; s++) {
			double x = panel == IN_THE_END ? row->cells[d].seed_nll[s] : row->seeds[s]->start_nll;
			if (x > 0)
				fprintf(p->file, "%d %.9g\n", -i, x);
			n += x > 0;
		}
	}
	fputs("EOD\n", p->file);
	return n;
}

/* ---- names ---- */

enum { LINE_CHARACTERS = 60, CHARACTER_PX = 7 };

/* One line of a way's name: up to an arrow, and no longer than it may be. */
struct line {
	const char *begin, *next; /* next: where the following one begins; NULL: there is none */
	int n_bytes, n_characters;
	bool cut;
};
static struct line line_of(const char *text)
{
	const char *arrow = strstr(text, "→ "), *end = arrow ? arrow + strlen("→ ") : text + strlen(text);
	struct line line = {.begin = text, .next = arrow ? end : NULL};
	for (const char *at = text; at < end; at++) {
		bool starts = ((unsigned char)*at & 0xc0) != 0x80;
		line.cut |= starts && line.n_characters == LINE_CHARACTERS;
		if (line.cut)
			break;
		line.n_characters += starts;
		line.n_bytes++;
	}
	return line;
}

static int widest_line(const struct comparison *c)
{
	int most = 0;
	for (int i = 0; i < c->n_ways; i++)
		for (const char *at = c->ways[i].text; at;) {
			struct line line = line_of(at);
			most = line.n_characters > most ? line.n_characters : most;
			at = line.next;
		}
	return most;
}

static void print_name(struct plot *p, const char *text)
{
	char copy[4 * LINE_CHARACTERS + 8];
	for (const char *at = text; at;) {
		struct line line = line_of(at);
		snprintf(copy, sizeof copy, "%.*s%s", line.n_bytes, line.begin, line.cut ? "…" : "");
		plot_text(p, copy);
		fputs(line.next ? ".\"\\n\"." : "", p->file);
		at = line.next;
	}
}

/* Ways by name in the first panel of the picture. */
static void way_tics(struct plot *p, const struct comparison *c, bool named)
{
	fputs("set ytics (", p->file);
	for (int i = 0; i < c->n_ways; i++) {
		fputs(i ? ", " : "", p->file);
		print_name(p, named ? c->ways[i].text : "");
		fprintf(p->file, " %d", -i);
	}
	fputs(")\n", p->file);
}

/* ---- panels ---- */

static void write_panel(struct plot *p, const struct comparison *c, enum panel panel, int d, int *means, int *seeds)
{
	for (int g = 0; g < c->n_groups; g++) {
		means[g] = write_means(p, c, panel, d, g);
		seeds[g] = write_seeds(p, c, panel, d, g);
	}
}

static void plot_panel(struct plot *p, const struct comparison *c, enum panel panel, int d)
{
	int means[COMPARE_MAX_ROWS], seeds[COMPARE_MAX_ROWS];
	char size[32];
	write_panel(p, c, panel, d, means, seeds);
	fprintf(p->file, "set xlabel 'loss of the %s%s'\nplot NaN", panel == AFTER_CUT ? "cut, nat/token" : "trained student, ",
		panel == AFTER_CUT ? "" : compare_unit(c, d));
	for (int g = 0; g < c->n_groups; g++) {
		if (seeds[g])
			fprintf(p->file, ", $s%d_%d using 2:1 with points pointtype 6 pointsize 0.5 linewidth 0.8 linecolor rgb '%s'", (int)panel, g,
				plot_color(g));
		if (!means[g])
			continue;
		fprintf(p->file, ", $m%d_%d using 2:1 with points pointtype 7 pointsize 0.7 linecolor rgb '%s' title ", (int)panel, g,
			plot_color(g));
		plot_text(p, panel == IN_THE_END ? table_count((double)c->rows[c->groups[g].reference].seeds[0]->parameters, size) : "");
	}
	fputc('\n', p->file);
}

static bool has_starts(const struct comparison *c)
{
	for (int i = 0; i < c->n_ways; i++)
		for (int g = 0; g < c->n_groups; g++)
			if (row_of(c, i, g) && isfinite(compare_start_nll(row_of(c, i, g))))
				return true;
	return false;
}

static void set_margins(struct plot *p, double left, double right)
{
	fprintf(p->file, "set lmargin at screen %g\nset rmargin at screen %g\n", left, right);
}

int figure_ways(const struct comparison *c, int d, const char *dir, struct err *e)
{
	enum { WIDTH = 1080 };
	struct plot p;
	char name[32];
	bool starts = has_starts(c);
	double left = (widest_line(c) * CHARACTER_PX + 40.0) / WIDTH, middle = left + (0.97 - left) * 0.48;
	if (!compare_has_ways(c))
		return 0;
	snprintf(name, sizeof name, d ? "ways-%d" : "ways", d);
	if (plot_begin(&p, dir, name, WIDTH, 130 + 36 * c->n_ways, e) < 0)
		return -1;
	fprintf(p.file, "set yrange [%g:0.6]\nset tmargin 2.5\nset bmargin 4.5\nset xtics autofreq font ',11'\n"
		"set key outside top right horizontal Left reverse samplen 1\n", -c->n_ways + 0.4);
	if (starts) {
		fputs("set multiplot\n", p.file);
		set_margins(&p, left, middle - 0.02);
		way_tics(&p, c, true);
		plot_panel(&p, c, AFTER_CUT, d);
		left = middle + 0.02;
	}
	set_margins(&p, left, 0.97);
	way_tics(&p, c, !starts);
	plot_panel(&p, c, IN_THE_END, d);
	if (starts)
		fputs("unset multiplot\n", p.file);
	return plot_end(&p, e) < 0 ? -1 : 1;
}

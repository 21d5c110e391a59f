/* What every way of making a student gives: the loss before training and after it, a colour for each size, as a gnuplot script.
 * Test: tests/test_ways.c */
#include "results/plot.h"

#include <math.h>

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

/* Ways by name in the first panel of the picture. */
static void way_tics(struct plot *p, const struct comparison *c, bool named)
{
	fputs("set ytics (", p->file);
	for (int i = 0; i < c->n_ways; i++) {
		fputs(i ? ", " : "", p->file);
		plot_text(p, named ? c->ways[i].text : "");
		fprintf(p->file, " %d", -i);
	}
	fputs(")\n", p->file);
}

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

int figure_ways(const struct comparison *c, int d, const char *dir, struct err *e)
{
	struct plot p;
	char name[32];
	bool starts = has_starts(c);
	if (!compare_has_ways(c))
		return 0;
	snprintf(name, sizeof name, d ? "ways-%d" : "ways", d);
	if (plot_begin(&p, dir, name, starts ? 1080 : 760, 130 + 30 * c->n_ways, e) < 0)
		return -1;
	fprintf(p.file, "set yrange [%g:0.6]\nset tmargin 2.5\nset bmargin 4.5\nset xtics autofreq font ',11'\nset key outside top right horizontal Left reverse samplen 1\n",
		-c->n_ways + 0.4);
	if (starts) {
		fputs("set multiplot\nset size 0.6,1\nset origin 0,0\n", p.file);
		way_tics(&p, c, true);
		plot_panel(&p, c, AFTER_CUT, d);
		fputs("set size 0.4,1\nset origin 0.6,0\n", p.file);
	}
	way_tics(&p, c, !starts);
	plot_panel(&p, c, IN_THE_END, d);
	if (starts)
		fputs("unset multiplot\n", p.file);
	return plot_end(&p, e) < 0 ? -1 : 1;
}

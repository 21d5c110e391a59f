/* The figures of a report, as gnuplot scripts. Test: tests/test_report.c */
#include "results/plot.h"

#include <math.h>
#include <string.h>

/* ---- loss by tokens ---- */

/* Where the curves end is what matters: the top of the picture is 1.5 times that range above the worst of the ends. */
static bool loss_range(const struct comparison *c, const struct curves *s, double *low, double *high)
{
	double bottom = INFINITY, worst = -INFINITY, top = -INFINITY;
	for (int i = 0; i < s->n_loss; i++) {
		const struct curve *curve = &s->loss[i];
		if (!curve->n)
			continue;
		for (size_t k = 0; k < curve->n; k++) {
			bottom = fmin(bottom, curve->nll[k]);
			top = fmax(top, curve->nll[k]);
		}
		if (!curve->in_init)
			worst = fmax(worst, curve->nll[curve->n - 1]);
	}
	if (!isfinite(worst))
		return false;
	double teacher = c->rows[0].teacher ? c->rows[0].seeds[0]->heldout_nll : 0;
	if (teacher > 0)
		bottom = fmin(bottom, teacher);
	double range = fmax(worst - bottom, 0.02 * worst);
	*low = bottom - 0.08 * range;
	*high = fmin(top + 0.05 * range, worst + 1.5 * range);
	return true;
}

static void write_curves(struct plot *p, const struct curves *s)
{
	for (int i = 0; i < s->n_loss; i++) {
		fprintf(p->file, "$c%d << EOD\n", i);
		for (size_t k = 0; k < s->loss[i].n; k++)
			fprintf(p->file, "%.9g %.9g\n", s->loss[i].tokens[k] / 1e6, s->loss[i].nll[k]);
		fputs("EOD\n", p->file);
	}
}

/* One colour a student; further seeds and the masks phase without an entry in the key. */
static void plot_curves(struct plot *p, const struct comparison *c, const struct curves *s)
{
	int titled = -1;
	fputs("plot NaN", p->file);
	for (int i = 0; i < s->n_loss; i++) {
		const struct curve *curve = &s->loss[i];
		if (!curve->n)
			continue;
		fprintf(p->file, ", $c%d using 1:2 with lines linewidth 1.6 dashtype %s linecolor rgb '%s'", i,
			curve->in_init ? "3" : "1", plot_color(curve->row - c->rows[0].teacher));
		if (curve->in_init || curve->row == titled)
			continue;
		titled = curve->row;
		fputs(" title ", p->file);
		plot_text(p, c->rows[curve->row].name);
	}
	double teacher = c->rows[0].teacher ? c->rows[0].seeds[0]->heldout_nll : 0;
	if (teacher > 0) {
		fprintf(p->file, ", %.9g with lines linewidth 1.2 dashtype 2 linecolor rgb '#888888' title ", teacher);
		plot_text(p, c->rows[0].name);
	}
	fputc('\n', p->file);
}

int figure_loss(const struct comparison *c, const struct curves *s, const char *dir, struct err *e)
{
	struct plot p;
	double low, high;
	if (!loss_range(c, s, &low, &high))
		return 0;
	if (plot_begin(&p, dir, "loss", 900, 440, e) < 0)
		return -1;
	fprintf(p.file, "set yrange [%.9g:%.9g]\nset xrange [0:*]\nset xlabel 'tokens of the budget, million'\n"
		"set ylabel 'held-out loss, nat/token'\nset key outside right top Left reverse samplen 2\n", low, high);
	write_curves(&p, s);
	plot_curves(&p, c, s);
	return plot_end(&p, e) < 0 ? -1 : 1;
}

/* ---- scores of one domain ---- */

static bool has_pair(const struct comparison *c, int row, int d)
{
	return c->rows[row].cells[d].paired && !c->rows[row].teacher;
}

/* One line a student, the first on top: y, name, mean, low, high, colour. */
static int write_scores(struct plot *p, const struct comparison *c, int d)
{
	int n = 0;
	fputs("$s << EOD\n", p->file);
	for (int i = 0; i < c->n_rows; i++) {
		const struct compare_cell *cell = &c->rows[i].cells[d];
		if (cell->present)
			fprintf(p->file, "%d %.9g %.9g %.9g %d\n", -i, cell->score.mean, cell->score.low, cell->score.high, i);
		n += cell->present;
	}
	fputs("EOD\n$d << EOD\n", p->file);
	for (int i = 0; i < c->n_rows; i++) {
		const struct interval *x = &c->rows[i].cells[d].difference;
		if (has_pair(c, i, d))
			fprintf(p->file, "%d %.9g %.9g %.9g %d\n", -i, x->mean, x->low, x->high, i);
	}
	fputs("EOD\n", p->file);
	return n;
}

static void name_tics(struct plot *p, const struct comparison *c, int d)
{
	const char *comma = "";
	fputs("set ytics (", p->file);
	for (int i = 0; i < c->n_rows; i++) {
		if (!c->rows[i].cells[d].present)
			continue;
		fputs(comma, p->file);
		plot_text(p, c->rows[i].name);
		fprintf(p->file, " %d", -i);
		comma = ", ";
	}
	fputs(")\n", p->file);
}

static void plot_points(struct plot *p, const struct comparison *c, int d, bool pairs)
{
	const char *comma = "plot ", *data = pairs ? "$d" : "$s";
	for (int i = 0; i < c->n_rows; i++) {
		if (pairs ? !has_pair(c, i, d) : !c->rows[i].cells[d].present)
			continue;
		fprintf(p->file, "%s%s using ($5==%d?$2:NaN):1:3:4 with xerrorbars pointtype 7 pointsize 0.6 linewidth 1.6 "
			"linecolor rgb '%s'", comma, data, i,
			c->rows[i].teacher ? "#888888" : plot_color(i - c->rows[0].teacher));
		comma = ", ";
	}
	fputc('\n', p->file);
}

static bool has_pairs(const struct comparison *c, int d)
{
	for (int i = 0; i < c->n_rows; i++)
		if (has_pair(c, i, d))
			return true;
	return false;
}

static void plot_differences(struct plot *p, const struct comparison *c, int d)
{
	char label[256];
	snprintf(label, sizeof label, "difference to %s, %s (left is better)", c->rows[c->reference].name, compare_unit(c, d));
	fputs("set xlabel ", p->file);
	plot_text(p, label);
	fputs("\nset xrange [*<0:0<*]\n"
	      "set arrow 1 from 0, graph 0 to 0, graph 1 nohead linecolor rgb 'black' linewidth 0.8\n", p->file);
	plot_points(p, c, d, true);
}

int figure_final(const struct comparison *c, int d, const char *dir, struct err *e)
{
	struct plot p;
	char name[32];
	bool pairs = has_pairs(c, d);
	snprintf(name, sizeof name, "final-%d", d);
	if (plot_begin(&p, dir, name, pairs ? 900 : 560, 110 + 34 * c->n_rows, e) < 0)
		return -1;
	write_scores(&p, c, d);
	fprintf(p.file, "set yrange [%g:0.6]\nset xtics autofreq\n", -c->n_rows + 0.4);
	name_tics(&p, c, d);
	if (pairs)
		fputs("set multiplot layout 1,2\n", p.file);
	fprintf(p.file, "set xlabel 'loss, %s, 95 %% interval'\n", compare_unit(c, d));
	plot_points(&p, c, d, false);
	if (pairs) {
		plot_differences(&p, c, d);
		fputs("unset multiplot\n", p.file);
	}
	return plot_end(&p, e) < 0 ? -1 : 1;
}

/* ---- masks ---- */

const struct result *figure_masks_of(const struct curves *s, int i)
{
	const struct result *last = NULL;
	for (int k = 0; k < s->n_masks; k++) {
		if (s->masks[k].of == last)
			continue;
		last = s->masks[k].of;
		if (!i--)
			return last;
	}
	return NULL;
}

/* Shares of the full size, which is the largest target (warm-up starts there), so that one axis serves all. */
static double full_size(const struct mask_curve *curve)
{
	double most = 0;
	for (size_t k = 0; k < curve->n; k++)
		most = fmax(most, fmax(curve->target[k], curve->expected[k]));
	return most > 0 ? most : 1;
}

int figure_masks(const struct curves *s, int i, const char *dir, struct err *e)
{
	struct plot p;
	char name[32];
	const struct result *of = figure_masks_of(s, i);
	if (!of)
		return 0;
	snprintf(name, sizeof name, "masks-%d", i);
	if (plot_begin(&p, dir, name, 900, 380, e) < 0)
		return -1;
	fputs("set xlabel 'step of mask learning'\nset ylabel 'share of the full size'\nset yrange [0:1.05]\n"
	      "set key outside right top Left reverse samplen 2\n", p.file);
	for (int k = 0; k < s->n_masks; k++) {
		const struct mask_curve *curve = &s->masks[k];
		double full = full_size(curve);
		if (curve->of != of)
			continue;
		fprintf(p.file, "$m%d << EOD\n", k);
		for (size_t j = 0; j < curve->n; j++)
			fprintf(p.file, "%.9g %.9g %.9g\n", curve->step[j], curve->target[j] / full, curve->expected[j] / full);
		fputs("EOD\n", p.file);
	}
	fputs("plot NaN", p.file);
	for (int k = 0, color = 0; k < s->n_masks; k++) {
		if (s->masks[k].of != of)
			continue;
		fprintf(p.file, ", $m%d using 1:3 with lines linewidth 1.6 linecolor rgb '%s' title ", k, plot_color(color));
		plot_text(&p, s->masks[k].structure);
		fprintf(p.file, ", $m%d using 1:2 with lines linewidth 1.2 dashtype 3 linecolor rgb '%s'", k, plot_color(color++));
	}
	fputs(", NaN with lines dashtype 3 linecolor rgb '#888888' title 'target'\n", p.file);
	return plot_end(&p, e) < 0 ? -1 : 1;
}

/* The figures of a report, as gnuplot scripts. Test: tests/test_report.c */
#include "results/plot.h"

#include <math.h>
#include <stdlib.h>
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

/* Further seeds of the same student and phase, scored after the same tokens, are drawn as one line: their mean. */
static bool goes_with(const struct curve *a, const struct curve *b)
{
	return a->row == b->row && a->in_init == b->in_init && a->n == b->n && !memcmp(a->tokens, b->tokens, a->n * sizeof *a->tokens);
}

static bool is_drawn(const struct curves *s, int i)
{
	for (int k = 0; k < i; k++)
		if (goes_with(&s->loss[k], &s->loss[i]))
			return false;
	return s->loss[i].n > 0;
}

static double mean_at(const struct curves *s, int i, size_t at)
{
	double sum = 0;
	int n = 0;
	for (int k = i; k < s->n_loss; k++)
		if (goes_with(&s->loss[k], &s->loss[i])) {
			sum += s->loss[k].nll[at];
			n++;
		}
	return sum / n;
}

static void write_curves(struct plot *p, const struct curves *s)
{
	for (int i = 0; i < s->n_loss; i++) {
		if (!is_drawn(s, i))
			continue;
		fprintf(p->file, "$c%d << EOD\n", i);
		for (size_t k = 0; k < s->loss[i].n; k++)
			fprintf(p->file, "%.9g %.9g\n", s->loss[i].tokens[k] / 1e6, mean_at(s, i, k));
		fputs("EOD\n", p->file);
	}
}

/* One colour and dash a student; its masks phase dotted and without an entry in the key. */
static void plot_curves(struct plot *p, const struct comparison *c, const struct curves *s)
{
	int titled = -1;
	fputs("plot NaN", p->file);
	for (int i = 0; i < s->n_loss; i++) {
		const struct curve *curve = &s->loss[i];
		int student = curve->row - c->rows[0].teacher;
		if (!is_drawn(s, i))
			continue;
		fprintf(p->file, ", $c%d using 1:2 with lines linewidth 1.6 dashtype %d linecolor rgb '%s'", i,
			curve->in_init ? 3 : plot_dash(student), plot_color(student));
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
	if (plot_begin(&p, dir, "loss", 900, 440 + (c->n_rows > 16 ? 20 * (c->n_rows - 16) : 0), e) < 0)
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

/* As gnuplot's `rgb variable` reads it. */
static long color_of(const struct comparison *c, int row)
{
	return strtol((c->rows[row].teacher ? "#888888" : plot_color(row - c->rows[0].teacher)) + 1, NULL, 16);
}

/* One line a student, the first on top: y, mean, low, high, colour. */
static void write_scores(struct plot *p, const struct comparison *c, int d, bool pairs)
{
	fputs(pairs ? "$d << EOD\n" : "$s << EOD\n", p->file);
	for (int i = 0; i < c->n_rows; i++) {
		const struct compare_cell *cell = &c->rows[i].cells[d];
		const struct interval *x = pairs ? &cell->difference : &cell->score;
		if (pairs ? has_pair(c, i, d) : cell->present)
			fprintf(p->file, "%d %.9g %.9g %.9g %ld\n", -i, x->mean, x->low, x->high, color_of(c, i));
	}
	fputs("EOD\n", p->file);
}

/* NLL of the same seed of the row's reference; NaN: it has no such seed. */
static double zero_of(const struct comparison *c, const struct compare_row *of, int d, uint64_t seed)
{
	const struct compare_row *row = &c->rows[compare_reference(c, of)];
	for (int s = 0; s < row->n_seeds; s++)
		if (row->seeds[s]->seed == seed)
			return row->cells[d].seed_nll[s];
	return NAN;
}

/* Seeds one by one, where a student has several: y, NLL or its difference to the reference of the same seed, colour. Returns
 * how many. */
static int write_seeds(struct plot *p, const struct comparison *c, int d, bool pairs)
{
	int n = 0;
	fputs(pairs ? "$ds << EOD\n" : "$ss << EOD\n", p->file);
	for (int i = 0; i < c->n_rows && !c->domains[d].in_bits; i++) {
		const struct compare_row *row = &c->rows[i];
		if (row->n_seeds < 2 || (pairs ? !has_pair(c, i, d) : !row->cells[d].present))
			continue;
		for (int s = 0; s < row->n_seeds; s++) {
			double x = row->cells[d].seed_nll[s] - (pairs ? zero_of(c, row, d, row->seeds[s]->seed) : 0);
			if (isfinite(x))
				fprintf(p->file, "%d %.9g %ld\n", -i, x, color_of(c, i));
			n += isfinite(x);
		}
	}
	fputs("EOD\n", p->file);
	return n;
}

/* named: false where the students' names stand beside the neighbour. */
static void row_tics(struct plot *p, const struct comparison *c, int d, bool named)
{
	const char *comma = "";
	fputs("set ytics (", p->file);
	for (int i = 0; i < c->n_rows; i++) {
		if (!c->rows[i].cells[d].present)
			continue;
		fputs(comma, p->file);
		plot_text(p, named ? c->rows[i].name : "");
		fprintf(p->file, " %d", -i);
		comma = ", ";
	}
	fputs(")\n", p->file);
}

static void plot_points(struct plot *p, const struct comparison *c, int d, bool pairs)
{
	const char *data = pairs ? "$d" : "$s";
	write_scores(p, c, d, pairs);
	int n_seeds = write_seeds(p, c, d, pairs);
	row_tics(p, c, d, !pairs);
	fprintf(p->file, "plot %s using 2:1:3:4:5 with xerrorbars pointtype 7 pointsize 0.6 linewidth 1.6 linecolor rgb variable", data);
	if (n_seeds)
		fprintf(p->file, ", %ss using 2:1:3 with points pointtype 6 pointsize 0.45 linewidth 0.8 linecolor rgb variable", data);
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
	snprintf(label, sizeof label, "difference to %s, %s (left is better)", compare_reference_text(c), compare_unit(c, d));
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
	int line = c->n_rows > 10 ? 24 : 34;
	snprintf(name, sizeof name, "final-%d", d);
	if (plot_begin(&p, dir, name, pairs ? 900 : 560, 110 + line * c->n_rows, e) < 0)
		return -1;
	fprintf(p.file, "set yrange [%g:0.6]\nset xtics autofreq font ',11'\n", -c->n_rows + 0.4);
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

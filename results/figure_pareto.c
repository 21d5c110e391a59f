/* Loss by size: every model, the front of those that nothing smaller and better beats, and the candidates of searches for a
 * shape, as a gnuplot script. Test: tests/test_shape_search.c */
#include "results/plot.h"

#include "results/shape_search.h"

#include <math.h>

/* Mean over the seeds, on held-out documents; NaN: not known of all. */
static double loss_of(const struct compare_row *row)
{
	double sum = 0;
	for (int s = 0; s < row->n_seeds; s++) {
		if (!(row->seeds[s]->heldout_nll > 0))
			return NAN;
		sum += row->seeds[s]->heldout_nll;
	}
	return sum / row->n_seeds;
}

static double size_of(const struct compare_row *row)
{
	return (double)row->seeds[0]->parameters;
}

static bool is_beaten(const struct comparison *c, const struct compare_row *row)
{
	for (int i = 0; i < c->n_rows; i++) {
		const struct compare_row *other = &c->rows[i];
		double loss = loss_of(other);
		if (other != row && size_of(other) <= size_of(row) && loss <= loss_of(row) && (size_of(other) < size_of(row) || loss < loss_of(row)))
			return true;
	}
	return false;
}

/* Rows of the front, the smallest first. Returns how many. */
static int find_front(const struct comparison *c, int *out)
{
	int n = 0;
	for (int i = 0; i < c->n_rows; i++) {
		if (!isfinite(loss_of(&c->rows[i])) || is_beaten(c, &c->rows[i]))
			continue;
		int k = n++;
		for (; k > 0 && size_of(&c->rows[out[k - 1]]) > size_of(&c->rows[i]); k--)
			out[k] = out[k - 1];
		out[k] = i;
	}
	return n;
}

static bool has_several_sizes(const struct comparison *c)
{
	const struct compare_row *first = NULL;
	for (int i = 0; i < c->n_rows; i++) {
		const struct compare_row *row = &c->rows[i];
		if (row->teacher || !isfinite(loss_of(row)))
			continue;
		if (!first)
			first = row;
		if (fabs(size_of(row) - size_of(first)) > COMPARE_SIZE_TOLERANCE * size_of(first))
			return true;
	}
	return false;
}

static bool in_one_unit(const struct comparison *c)
{
	for (int d = 0; d < c->n_domains; d++)
		if (c->domains[d].in_bits)
			return false;
	return true;
}

static int write_candidates(struct plot *p, const struct comparison *c)
{
	int n = 0;
	fputs("$c << EOD\n", p->file);
	for (int i = 0; i < c->n_searches; i++)
		for (int k = 0; k < c->searches[i]->n; k++) {
			const struct shape_candidate *x = &c->searches[i]->candidates[k];
			if (!(x->trained_nll > 0) || !isfinite(x->trained_nll))
				continue;
			fprintf(p->file, "%.9g %.9g\n", x->achieved[0], x->trained_nll);
			n++;
		}
	fputs("EOD\n", p->file);
	return n;
}

static void write_front(struct plot *p, const struct comparison *c)
{
	int front[COMPARE_MAX_ROWS], n = find_front(c, front);
	fputs("$f << EOD\n", p->file);
	for (int i = 0; i < n; i++)
		fprintf(p->file, "%.9g %.9g\n", size_of(&c->rows[front[i]]), loss_of(&c->rows[front[i]]));
	fputs("EOD\n", p->file);
}

static void plot_rows(struct plot *p, const struct comparison *c)
{
	int color = 0;
	for (int i = 0; i < c->n_rows; i++) {
		const struct compare_row *row = &c->rows[i];
		if (!isfinite(loss_of(row)))
			continue;
		fprintf(p->file, ", '+' using (%.9g):(%.9g) every 100 with points pointtype %d pointsize 0.9 linewidth 1.6 linecolor rgb '%s' title ", size_of(row),
			loss_of(row), row->teacher ? 13 : color < 8 ? 7 : 9, row->teacher ? "#888888" : plot_color(color));
		plot_text(p, row->name);
		color += !row->teacher;
	}
}

/* Round sizes: a few of them, however far the models are apart. */
static void size_tics(struct plot *p, const struct comparison *c)
{
	static const double close[] = {1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8}, wide[] = {1, 2, 5};
	double low = INFINITY, high = 0;
	const char *comma = "";
	for (int i = 0; i < c->n_rows; i++) {
		low = fmin(low, size_of(&c->rows[i]));
		high = fmax(high, size_of(&c->rows[i]));
	}
	bool few = high > 12 * low;
	fputs("set xtics (", p->file);
	for (double decade = pow(10, floor(log10(low)) - 1); decade <= high; decade *= 10)
		for (int i = 0; i < (few ? 3 : 10); i++) {
			double at = decade * (few ? wide[i] : close[i]);
			char text[32];
			if (at < 0.8 * low || at > 1.25 * high)
				continue;
			fprintf(p->file, "%s'%s' %.9g", comma, table_count(at, text), at);
			comma = ", ";
		}
	fputs(")\n", p->file);
}

int figure_pareto(const struct comparison *c, const char *dir, struct err *e)
{
	struct plot p;
	if ((!has_several_sizes(c) && !c->n_searches) || !in_one_unit(c))
		return 0;
	if (plot_begin(&p, dir, "pareto", 900, 440, e) < 0)
		return -1;
	fputs("set logscale x 2\nset offsets graph 0.05, graph 0.05, graph 0.05, graph 0.05\nset xlabel 'parameters'\n"
	      "set ylabel 'loss on held-out documents, nat/token'\nset key outside right top Left reverse samplen 2\n", p.file);
	size_tics(&p, c);
	write_front(&p, c);
	int n_candidates = write_candidates(&p, c);
	fputs("plot $f using 1:2 with steps linewidth 1.2 dashtype 2 linecolor rgb '#888888' title 'front'", p.file);
	if (n_candidates)
		fputs(", $c using 1:2 with points pointtype 6 pointsize 0.6 linewidth 1.2 linecolor rgb '#555555' title 'candidates, short training'", p.file);
	plot_rows(&p, c);
	fputc('\n', p.file);
	return plot_end(&p, e) < 0 ? -1 : 1;
}

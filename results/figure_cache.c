/* What a cache costs and what it loses: the loss by bytes per token, as a gnuplot script. Test: tests/test_report_many.c */
#include "results/plot.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct point {
	double bytes, loss, low, high;
};
struct series { /* caches that differ in size alone */
	const struct result *of; /* the first of them */
	char kind[96];
	int n;
	struct point points[COMPARE_MAX_ROWS];
};
struct lines {
	int n;
	struct series series[COMPARE_MAX_ROWS];
};

/* "top_k 32, tail" without its first number: "top_k, tail". */
static void kind_of(const char *text, char *out, size_t n)
{
	const char *number = text;
	while (*number && !(number[0] == ' ' && isdigit((unsigned char)number[1])))
		number++;
	size_t length = *number ? 1 + strspn(number + 1, "0123456789.eE+-") : 0;
	snprintf(out, n, "%.*s%s", (int)(number - text), text, number + length);
}

static struct series *series_of(struct lines *x, const struct result *r)
{
	char kind[96];
	kind_of(r->distill.cache, kind, sizeof kind);
	for (int i = 0; i < x->n; i++) {
		const struct result *of = x->series[i].of;
		if (!strcmp(x->series[i].kind, kind) && !strcmp(of->init_id, r->init_id) && !strcmp(of->distill.text, r->distill.text))
			return &x->series[i];
	}
	struct series *s = &x->series[x->n++];
	s->of = r;
	memcpy(s->kind, kind, sizeof kind);
	return s;
}

/* Bars say how sure the loss is beside the online student's: over seeds where there are several, else of the difference. */
static struct point point_of(const struct comparison *c, const struct compare_pair *p, int d)
{
	const struct compare_row *row = &c->rows[p->row];
	const struct compare_cell *cell = &row->cells[d];
	double bytes = row->seeds[0]->distill.cache_bytes_per_token, loss = cell->score.mean;
	const struct interval *gap = p->other >= 0 && p->cells[d].paired ? &p->cells[d].difference : NULL;
	if (isfinite(cell->deviation) && !c->domains[d].in_bits)
		return (struct point){bytes, loss, loss - cell->deviation, loss + cell->deviation};
	if (gap)
		return (struct point){bytes, loss, loss + gap->low - gap->mean, loss + gap->high - gap->mean};
	return (struct point){bytes, loss, cell->score.low, cell->score.high};
}

static int by_bytes(const void *pa, const void *pb)
{
	const struct point *a = pa, *b = pb;
	return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static void collect(struct lines *x, const struct comparison *c, int d)
{
	for (int i = 0; i < c->n_caches; i++) {
		const struct compare_pair *p = &c->caches[i];
		const struct result *r = c->rows[p->row].seeds[0];
		if (!c->rows[p->row].cells[d].present || !(r->distill.cache_bytes_per_token > 0))
			continue;
		struct series *s = series_of(x, r);
		s->points[s->n++] = point_of(c, p, d);
	}
	for (int i = 0; i < x->n; i++)
		qsort(x->series[i].points, (size_t)x->series[i].n, sizeof x->series[i].points[0], by_bytes);
}

/* Of one start and one loss: then these need not be told apart. */
static bool is_one_story(const struct lines *x)
{
	const struct result *first = x->series[0].of;
	for (int i = 1; i < x->n; i++)
		if (strcmp(x->series[i].of->init_id, first->init_id) || strcmp(x->series[i].of->distill.text, first->distill.text))
			return false;
	return true;
}

/* Lines whose caches have the same size stand a little apart, so that their bars can be told from each other. */
static void write_series(struct plot *p, const struct lines *x)
{
	for (int i = 0; i < x->n; i++) {
		double apart = pow(1.015, i - (x->n - 1) / 2.0);
		fprintf(p->file, "$k%d << EOD\n", i);
		for (int k = 0; k < x->series[i].n; k++) {
			const struct point *at = &x->series[i].points[k];
			fprintf(p->file, "%.9g %.9g %.9g %.9g\n", apart * at->bytes, at->loss, at->low, at->high);
		}
		fputs("EOD\n", p->file);
	}
}

static void plot_series(struct plot *p, const struct lines *x)
{
	bool one_story = is_one_story(x);
	fputs("plot NaN", p->file);
	for (int i = 0; i < x->n; i++) {
		const struct series *s = &x->series[i];
		char title[512];
		snprintf(title, sizeof title, one_story ? "%s" : "%s (%s, %s)", s->kind, s->of->init, s->of->distill.text);
		fprintf(p->file, ", $k%d using 1:2:3:4 with yerrorlines pointtype 7 pointsize 0.6 linewidth 1.6 dashtype %d "
			"linecolor rgb '%s' title ", i, plot_dash(i), plot_color(i));
		plot_text(p, title);
	}
}

static void plot_online(struct plot *p, const struct comparison *c, int d)
{
	bool drawn[COMPARE_MAX_ROWS] = {false};
	for (int i = 0; i < c->n_caches; i++) {
		int other = c->caches[i].other;
		if (other < 0 || drawn[other] || !c->rows[other].cells[d].present)
			continue;
		drawn[other] = true;
		fprintf(p->file, ", %.9g with lines linewidth 1.2 dashtype 2 linecolor rgb '#888888' title ",
			c->rows[other].cells[d].score.mean);
		plot_text(p, c->rows[other].name);
	}
	fputc('\n', p->file);
}

int figure_cache(const struct comparison *c, int d, const char *dir, struct err *e)
{
	int rc = 0;
	struct plot p;
	char name[32], label[160];
	struct lines *x = calloc(1, sizeof *x);
	if (!x)
		return err_run(e, "figure of caches: out of memory");
	collect(x, c, d);
	if (!x->n)
		goto out;
	snprintf(name, sizeof name, d ? "cache-%d" : "cache", d);
	rc = plot_begin(&p, dir, name, 900, 440, e);
	if (rc < 0)
		goto out;
	snprintf(label, sizeof label, "loss on %s, %s", c->domains[d].name, compare_unit(c, d));
	fputs("set logscale x 2\nset offsets graph 0.05, graph 0.05, graph 0.05, graph 0.05\nset xlabel 'bytes per token on disk'\n"
	      "set key outside right top Left reverse samplen 2\nset ylabel ", p.file);
	plot_text(&p, label);
	fputc('\n', p.file);
	write_series(&p, x);
	plot_series(&p, x);
	plot_online(&p, c, d);
	rc = plot_end(&p, e) < 0 ? -1 : 1;
out:
	free(x);
	return rc;
}

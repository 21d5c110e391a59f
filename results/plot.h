/* Figures by gnuplot, run as a child process on a script file; no shell in between. Test: tests/test_report.c */
#ifndef RESULTS_PLOT_H
#define RESULTS_PLOT_H

#include "results/curves.h"

/* Is gnuplot there and does it draw SVG? */
bool plot_available(void);

/* A script for one figure, being written: commands go to file. Numbers and plot_text only: names come from recipes. */
struct plot {
	FILE *file;
	char *text;
	size_t n_bytes;
	char path[2048]; /* of the figure */
};
/* Starts the script of <dir>/<name>.svg: terminal, output, style. Sizes in pixels. */
int plot_begin(struct plot *, const char *dir, const char *name, int width, int height, struct err *);
/* 'text' as a gnuplot string that nothing in it can leave. */
void plot_text(struct plot *, const char *text);
/* Runs it. A gnuplot that fails is an error that names the script, which is then left beside the figure. */
int plot_end(struct plot *, struct err *);

/* Colour i of the figures, "#rrggbb": distinct for colour-blind eyes, on white and on black. After Okabe & Ito 2008. */
const char *plot_color(int i);

/* Dash type that goes with colour i: 1 (solid) until the colours begin again, so that i and i + 8 differ. */
int plot_dash(int i);

/* ---- the figures of a report (figures.c, figure_cache.c, figure_ways.c, figure_pareto.c); each returns 1 when drawn, 0 when there is nothing to draw ---- */

/* loss.svg: held-out loss by tokens, all students, the teacher's as a line. */
int figure_loss(const struct comparison *, const struct curves *, const char *dir, struct err *);
/* final-<d>.svg: scores with intervals, and paired differences, of one domain. */
int figure_final(const struct comparison *, int domain, const char *dir, struct err *);
/* cache.svg, for further domains cache-<d>.svg: loss by bytes per token, a line for every kind of cache, the students with the
 * teacher online as horizontal lines. Bars: the deviation over seeds; of one seed the interval of the difference to online. */
int figure_cache(const struct comparison *, int domain, const char *dir, struct err *);
/* ways.svg, for further domains ways-<d>.svg: every way's loss before training and after it, a colour for each size. */
int figure_ways(const struct comparison *, int domain, const char *dir, struct err *);
/* pareto.svg: held-out loss by parameters, mean over seeds, of students of several sizes, the teacher, and the candidates of searches
 * for a shape; a line through those that no smaller or equal one beats. */
int figure_pareto(const struct comparison *, const char *dir, struct err *);
/* masks-<i>.svg: expected and target sizes over steps, of the i-th result that learned masks. */
int figure_masks(const struct curves *, int i, const char *dir, struct err *);
/* The i-th result with mask curves; NULL: no more. */
const struct result *figure_masks_of(const struct curves *, int i);

#endif

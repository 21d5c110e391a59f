#include "recipes/shape_sensitivity.h"

#include "base/fsio.h"
#include "base/json.h"
#include "base/log.h"
#include "recipes/heldout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const axis_names[SHAPE_AXES] = {"layers", "hidden", "heads", "intermediate"};

static int size_on(const struct shape *s, int axis)
{
	const int sizes[SHAPE_AXES] = {s->L, s->C, s->NH, s->F};
	return sizes[axis];
}

/* The source with one axis of another shape's size. */
static struct shape cut_alone(const struct shape *source, const struct shape *to, int axis)
{
	struct shape s = *source;
	if (axis == AXIS_LAYERS)
		s.L = to->L;
	else if (axis == AXIS_HIDDEN)
		s.C = to->C;
	else if (axis == AXIS_HEADS)
		s.NH = to->NH, s.NKV = to->NKV;
	else
		s.F = to->F;
	return s;
}

/* ---- the grid ---- */

/* The largest size below `below` in the space; NULL: none. */
static const struct shape *next_smaller(const struct space *space, int axis, int below)
{
	const struct shape *best = NULL;
	for (int i = 0; i < space->n; i++) {
		const struct shape *s = &space->shapes[i].shape;
		int size = size_on(s, axis);
		if (size < below && (!best || size > size_on(best, axis)))
			best = s;
	}
	return best;
}

/* Shapes with the sizes of an axis' points, falling; returns how many. */
static int grid_of(const struct space *space, const struct shape *source, int axis, struct shape out[SENSITIVITY_POINTS])
{
	int n_sizes = 0, n = 0, k = 0;
	const struct shape *s;
	for (int at = size_on(source, axis); (s = next_smaller(space, axis, at)); n_sizes++)
		at = size_on(s, axis);
	int want = n_sizes < SENSITIVITY_POINTS ? n_sizes : SENSITIVITY_POINTS;
	for (int at = size_on(source, axis); (s = next_smaller(space, axis, at)); k++) {
		at = size_on(s, axis);
		if (n < want && k == (want > 1 ? n * (n_sizes - 1) / (want - 1) : 0))
			out[n++] = cut_alone(source, s, axis);
	}
	return n;
}

int sensitivity_passes(const struct arch *source, const struct space *space)
{
	struct shape grid[SENSITIVITY_POINTS];
	int n = 1;
	for (int axis = 0; axis < SHAPE_AXES; axis++)
		n += grid_of(space, &source->shape, axis, grid);
	return n;
}

/* Of one look at the held-out text. */
static double pass_flops(const struct run *run, const struct arch *a)
{
	return arch_flops_per_token(a, (int)run->spec->data->sequence_length) * (double)run->spec->data->heldout_tokens * run->spec->data->domains.n;
}

double sensitivity_flops(const struct run *run, const struct arch *source, const struct space *space)
{
	double sum = pass_flops(run, source);
	for (int axis = 0; axis < SHAPE_AXES; axis++) {
		struct shape grid[SENSITIVITY_POINTS];
		int n = grid_of(space, &source->shape, axis, grid);
		for (int i = 0; i < n; i++) {
			struct arch a = *source;
			a.shape = grid[i];
			sum += pass_flops(run, &a);
		}
	}
	return sum;
}

/* ---- one point ---- */

static int read_loss(const struct sensitivity *s, const struct param_layout *layout, const float *flat, double *nll, struct err *e)
{
	struct loaded_model m;
	if (loaded_model_from(&m, s->run->eval_ops, layout, flat, e) < 0)
		return -1;
	int rc = heldout_nll(s->run, &m, nll, e);
	loaded_model_close(&m);
	return rc;
}

/* Of the source, cut to its best units. */
static int probe(const struct sensitivity *s, const struct arch *arch, double *nll, struct err *e)
{
	struct param_layout layout = {0};
	struct kept kept = {0};
	float *flat = NULL;
	int rc = -1;
	TRY(param_layout_init(&layout, arch, e));
	flat = malloc(layout.n_elems * sizeof *flat);
	if (!flat) {
		err_run(e, "out of memory: %zu bytes for a cut model", layout.n_elems * sizeof *flat);
		goto out;
	}
	TRY(kept_from_scores(&kept, &s->source->arch, arch, s->scores, &(struct select_options){0}, e));
	prune_cut(s->source, s->weights, &layout, flat, &kept, NULL);
	TRY(read_loss(s, &layout, flat, nll, e));
	rc = 0;
out:
	kept_release(&kept);
	param_layout_release(&layout);
	free(flat);
	return rc;
}

/* From the file, or measured and put there. shape NULL: the source itself. */
static int look(struct sensitivity *s, const char *key, const struct shape *shape, double *nll, struct err *e)
{
	struct arch arch = s->source->arch;
	struct ops_limits limits = heldout_limits(s->run, &arch);
	if (shape)
		arch.shape = *shape;
	s->flops += pass_flops(s->run, &arch);
	if (json_object_get(s->known, key))
		return json_get_double(s->known, s->file, key, 0, 0, 1e9, nll, e);
	if (run_interrupted())
		return err_run(e, "interrupted; the same command goes on");
	if (ops_cpu_reserve(s->run->eval_ops, &limits, e) < 0)
		return -1;
	if ((shape ? probe(s, &arch, nll, e) : read_loss(s, s->source, s->weights, nll, e)) < 0)
		return -1;
	log_line("shape search: %s %s: held-out loss %.4f", shape ? "cut to" : "the", key, *nll);
	json_object_set_new(s->known, key, json_real(*nll));
	return json_write_file(s->file, s->known, e);
}

int sensitivity_score(struct sensitivity *s, const struct shape *shape, double *nll, struct err *e)
{
	char key[96];
	for (int i = 0; i < s->n_scored; i++)
		if (!memcmp(&s->scored[i].shape, shape, sizeof *shape)) {
			*nll = s->scored[i].nll;
			return 0;
		}
	snprintf(key, sizeof key, "%d x %d, %d/%d heads, ffn %d", shape->L, shape->C, shape->NH, shape->NKV, shape->F);
	if (look(s, key, shape, nll, e) < 0)
		return -1;
	struct scored_shape *grown = realloc(s->scored, ((size_t)s->n_scored + 1) * sizeof *grown);
	if (!grown)
		return err_run(e, "out of memory");
	s->scored = grown;
	s->scored[s->n_scored++] = (struct scored_shape){*shape, *nll};
	return 0;
}

/* ---- the axes ---- */

static int fill_axis(struct sensitivity *s, const struct space *space, int axis, struct err *e)
{
	const struct shape *source = &s->source->arch.shape;
	struct shape grid[SENSITIVITY_POINTS];
	struct axis_curve *curve = &s->axes[axis];
	int n = grid_of(space, source, axis, grid);
	curve->n = n + 1;
	curve->size[n] = size_on(source, axis);
	curve->excess[n] = 0;
	for (int i = 0; i < n; i++) {
		char key[48];
		double nll;
		snprintf(key, sizeof key, "%s %d", axis_names[axis], size_on(&grid[i], axis));
		if (look(s, key, &grid[i], &nll, e) < 0)
			return -1;
		curve->size[n - 1 - i] = size_on(&grid[i], axis);
		curve->excess[n - 1 - i] = nll - s->source_nll;
	}
	return 0;
}

int sensitivity_open(struct sensitivity *s, const struct run *run, const struct source *from, const struct space *space,
		     const struct scores *scores, const float *weights, const char *file, struct err *e)
{
	*s = (struct sensitivity){.run = run, .source = &from->model->layout, .scores = scores, .weights = weights, .file = strdup(file), .exponent = 2};
	BUG_ON(!s->file);
	TRY(fsio_exists(file) ? json_read_file(file, &s->known, e) : 0);
	if (!s->known)
		s->known = json_object();
	TRY(look(s, "source", NULL, &s->source_nll, e));
	for (int axis = 0; axis < SHAPE_AXES; axis++)
		TRY(fill_axis(s, space, axis, e));
	return 0;
out:
	return -1;
}

void sensitivity_close(struct sensitivity *s)
{
	json_decref(s->known);
	free(s->file);
	free(s->scored);
	*s = (struct sensitivity){0};
}

/* ---- prediction ---- */

static double between(const struct axis_curve *c, int size)
{
	int i = 0;
	while (i < c->n - 1 && c->size[i + 1] <= size)
		i++;
	if (i == c->n - 1)
		return c->excess[i];
	double share = (double)(size - c->size[i]) / (c->size[i + 1] - c->size[i]);
	return c->excess[i] + share * (c->excess[i + 1] - c->excess[i]);
}

static double predict(const struct sensitivity *s, const struct shape *shape, double p)
{
	double sum = 0;
	for (int axis = 0; axis < SHAPE_AXES; axis++)
		sum += pow(fmax(0, between(&s->axes[axis], size_on(shape, axis))), p);
	return s->source_nll + pow(sum, 1 / p);
}

double sensitivity_predict(const struct sensitivity *s, const struct shape *shape)
{
	return predict(s, shape, s->exponent);
}

/* Sum of the squared errors of what was scored. */
static double misfit(const struct sensitivity *s, double p)
{
	double sum = 0;
	for (int i = 0; i < s->n_scored; i++) {
		double error = predict(s, &s->scored[i].shape, p) - s->scored[i].nll;
		sum += error * error;
	}
	return sum;
}

enum { EXPONENTS = 65 }; /* evenly on the logarithm, from 1/2 to 8: steps of 4.4 % */

void sensitivity_fit(struct sensitivity *s)
{
	double least = INFINITY;
	for (int i = 0; s->n_scored && i < EXPONENTS; i++) {
		double p = exp2(-1 + 4.0 * i / (EXPONENTS - 1)), error = misfit(s, p);
		if (error < least) {
			least = error;
			s->exponent = p;
		}
	}
}

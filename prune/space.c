/* Costs of shapes, and the grid of those within a budget. */
#include "prune/space.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *space_measure_name(enum space_measure m)
{
	static const char *const names[] = {"parameters", "memory", "flops_per_token", "prefill_ms", "decode_ms"};
	return names[m];
}

struct space_options space_default(const struct arch *source)
{
	return (struct space_options){.length = source->max_positions < 512 ? source->max_positions : 512, .batch = 1, .slack = 0.05};
}

int space_multiple(int size)
{
	int m = 1;
	while (m < 256 && 2 * m <= size / 16)
		m *= 2;
	return m;
}

/* ---- costs ---- */

void space_cost(const struct arch *a, const struct space_options *o, double cost[SPACE_MEASURES])
{
	const struct shape *s = &a->shape;
	int seen = a->window && a->window < o->length ? a->window : o->length;
	double values = 2.0 * s->L * s->NKV * s->HD * o->batch * seen, parameters = (double)arch_n_params(a);
	cost[SPACE_PARAMETERS] = parameters;
	cost[SPACE_MEMORY] = (parameters + values) * (double)dtype_size(a->dtype);
	cost[SPACE_FLOPS] = arch_flops_per_token(a, o->length);
	cost[SPACE_PREFILL_MS] = o->time ? time_predict(&o->time->prefill, a) : 0;
	cost[SPACE_DECODE_MS] = o->time ? time_predict(&o->time->decode, a) : 0;
}

/* The largest share of a limit that a cost takes. */
static double used(const double cost[SPACE_MEASURES], const double limit[SPACE_MEASURES])
{
	double most = 0;
	for (int m = 0; m < SPACE_MEASURES; m++)
		if (limit[m] > 0)
			most = fmax(most, cost[m] / limit[m]);
	return most;
}

double space_balance(const struct shape *t, const struct shape *s)
{
	const double log_share[] = {log((double)t->L / s->L), log((double)t->C / s->C), log((double)t->NH / s->NH), log((double)t->F / s->F)};
	double mean = 0, variance = 0;
	for (int i = 0; i < 4; i++)
		mean += log_share[i] / 4;
	for (int i = 0; i < 4; i++)
		variance += (log_share[i] - mean) * (log_share[i] - mean) / 4;
	return sqrt(variance);
}

/* ---- the grid ---- */

struct axis {
	int *sizes, n; /* rising */
};
struct search {
	struct space *out;
	size_t capacity;
	const struct arch *source;
	struct space_options o;
	struct axis hidden, ffn;
	struct shape nearest;   /* of those that miss the budget, for the refusal */
	double nearest_used;
};

static int axis_alloc(struct axis *axis, int source, int pinned, int multiple, struct err *e)
{
	int m = multiple ? multiple : space_multiple(source);
	axis->sizes = malloc(((size_t)(source / m) + 1) * sizeof *axis->sizes);
	axis->n = 0;
	if (!axis->sizes)
		return err_run(e, "out of memory for the sizes of a shape");
	if (pinned)
		axis->sizes[axis->n++] = pinned;
	for (int size = m; !pinned && size < source; size += m)
		axis->sizes[axis->n++] = size;
	if (!pinned)
		axis->sizes[axis->n++] = source;
	return 0;
}

static bool loads(const struct arch *a)
{
	struct load_finding found[16];
	int n = arch_check_loadable(a, found, 16);
	for (int i = 0; i < n; i++)
		if (found[i].level != LOAD_WARN)
			return false;
	return true;
}

static int add(struct search *s, const struct arch *a, const double cost[SPACE_MEASURES], struct err *e)
{
	struct space *out = s->out;
	if ((size_t)out->n == s->capacity) {
		size_t more = s->capacity ? 2 * s->capacity : 256;
		struct space_shape *grown = realloc(out->shapes, more * sizeof *grown);
		if (!grown)
			return err_run(e, "out of memory for %zu shapes", more);
		out->shapes = grown;
		s->capacity = more;
	}
	struct space_shape *shape = &out->shapes[out->n++];
	*shape = (struct space_shape){.shape = a->shape, .balance = space_balance(&a->shape, &s->source->shape)};
	memcpy(shape->cost, cost, sizeof shape->cost);
	return 0;
}

static double use_of(const struct search *s, struct arch *a, int ffn, double cost[SPACE_MEASURES])
{
	a->shape.F = ffn;
	space_cost(a, &s->o, cost);
	return used(cost, s->o.limit);
}

/* Every cost grows with the FFN: the widest that fits is bisected, and those below it are taken as far as the slack goes. */
static int add_widths(struct search *s, struct arch *a, struct err *e)
{
	double cost[SPACE_MEASURES], share;
	int lo = 0, hi = s->ffn.n;
	while (lo < hi) {
		int middle = (lo + hi) / 2;
		if (use_of(s, a, s->ffn.sizes[middle], cost) <= 1)
			lo = middle + 1;
		else
			hi = middle;
	}
	if (!lo && (share = use_of(s, a, s->ffn.sizes[0], cost)) < s->nearest_used) {
		s->nearest = a->shape;
		s->nearest_used = share;
	}
	for (int i = lo - 1; i >= 0 && use_of(s, a, s->ffn.sizes[i], cost) >= 1 - s->out->slack; i--)
		if (add(s, a, cost, e) < 0)
			return -1;
	return 0;
}

/* No rule of another tool looks at layers or FFN to refuse: one question for all of them. */
static int add_depths(struct search *s, struct arch *a, struct err *e)
{
	int pinned = s->o.pinned.layers, last = pinned ? pinned : s->source->shape.L;
	a->shape.L = last;
	a->shape.F = s->ffn.sizes[s->ffn.n - 1];
	if (!loads(a))
		return 0;
	for (int l = pinned ? pinned : 1; l <= last; l++) {
		a->shape.L = l;
		if (add_widths(s, a, e) < 0)
			return -1;
	}
	return 0;
}

static void pinned_heads(const struct target *p, const struct shape *s, int *heads, int *kv_heads)
{
	int group = s->NH / s->NKV;
	*kv_heads = p->kv_heads ? p->kv_heads : p->heads % group ? s->NKV : p->heads / group;
	*heads = p->heads ? p->heads : p->kv_heads * group;
}

static int add_heads(struct search *s, struct arch *a, struct err *e)
{
	const struct shape *from = &s->source->shape;
	const struct target *p = &s->o.pinned;
	if (p->heads || p->kv_heads) {
		pinned_heads(p, from, &a->shape.NH, &a->shape.NKV);
		return add_depths(s, a, e);
	}
	for (int g = 1; g <= from->NKV; g++) {
		a->shape.NKV = g;
		a->shape.NH = g * (from->NH / from->NKV);
		if (add_depths(s, a, e) < 0)
			return -1;
	}
	return 0;
}

static int enumerate(struct search *s, struct err *e)
{
	s->nearest_used = INFINITY;
	for (int c = 0; c < s->hidden.n; c++) {
		struct arch a = *s->source;
		a.shape.C = s->hidden.sizes[c];
		if (add_heads(s, &a, e) < 0)
			return -1;
	}
	return 0;
}

/* ---- the whole ---- */

static int by_balance(const void *pa, const void *pb)
{
	const struct space_shape *a = pa, *b = pb;
	const int of_a[] = {a->shape.L, a->shape.C, a->shape.NH, a->shape.F}, of_b[] = {b->shape.L, b->shape.C, b->shape.NH, b->shape.F};
	if (a->balance != b->balance)
		return a->balance < b->balance ? -1 : 1;
	for (int i = 0; i < 4; i++)
		if (of_a[i] != of_b[i])
			return of_a[i] > of_b[i] ? -1 : 1;
	return 0;
}

static int refuse_nothing_fits(const struct search *s, struct err *e)
{
	const struct shape *t = &s->nearest;
	struct arch a = *s->source;
	double cost[SPACE_MEASURES], worst = 0;
	int at = 0;
	if (isinf(s->nearest_used))
		return err_user(e, "target: no shape with these sizes loads elsewhere; leave one of them to the search");
	a.shape = *t;
	space_cost(&a, &s->o, cost);
	for (int m = 0; m < SPACE_MEASURES; m++)
		if (s->o.limit[m] > 0 && cost[m] / s->o.limit[m] > worst) {
			worst = cost[m] / s->o.limit[m];
			at = m;
		}
	return err_user(e, "target: no shape has %s at most %.10g; the nearest, %d layers x %d, %d/%d heads, ffn %d, has %.10g",
			space_measure_name(at), s->o.limit[at], t->L, t->C, t->NH, t->NKV, t->F, cost[at]);
}

/* The source with the pinned sizes. */
static int largest(struct search *s, struct arch *out, struct err *e)
{
	struct target p = s->o.pinned;
	if (p.heads || p.kv_heads)
		pinned_heads(&s->o.pinned, &s->source->shape, &p.heads, &p.kv_heads);
	return target_sizes(out, s->source, &p, e);
}

static int search_all(struct search *s, struct err *e)
{
	struct arch whole;
	double cost[SPACE_MEASURES];
	bool untimed = !s->o.time && (s->o.limit[SPACE_PREFILL_MS] > 0 || s->o.limit[SPACE_DECODE_MS] > 0);
	if (largest(s, &whole, e) < 0)
		return -1;
	if (!s->o.time)
		s->o.limit[SPACE_PREFILL_MS] = s->o.limit[SPACE_DECODE_MS] = 0;
	space_cost(&whole, &s->o, cost);
	if (used(cost, s->o.limit) <= 1 && loads(&whole))
		return untimed ? add(s, &whole, cost, e) :
				 err_user(e, "target: the budget removes nothing, %d layers x %d, %d/%d heads, ffn %d meet it; lower it, or write those sizes",
					  whole.shape.L, whole.shape.C, whole.shape.NH, whole.shape.NKV, whole.shape.F);
	for (;;) {
		if (enumerate(s, e) < 0)
			return -1;
		if (s->out->n)
			break;
		if (s->out->slack >= 1)
			return refuse_nothing_fits(s, e);
		s->out->slack = s->out->slack > 0 ? fmin(1, 2 * s->out->slack) : 0.01;
	}
	qsort(s->out->shapes, (size_t)s->out->n, sizeof *s->out->shapes, by_balance);
	return 0;
}

int space_open(struct space *out, const struct arch *source, const struct space_options *options, struct err *e)
{
	struct search s = {.out = out, .source = source, .o = *options};
	const struct shape *from = &source->shape;
	int rc = -1;
	*out = (struct space){.slack = options->slack};
	TRY(axis_alloc(&s.hidden, from->C, options->pinned.hidden, options->hidden_multiple, e));
	TRY(axis_alloc(&s.ffn, from->F, options->pinned.intermediate, options->intermediate_multiple, e));
	TRY(search_all(&s, e));
	rc = 0;
out:
	free(s.hidden.sizes);
	free(s.ffn.sizes);
	if (rc < 0)
		space_close(out);
	return rc;
}

void space_close(struct space *s)
{
	free(s->shapes);
	*s = (struct space){0};
}

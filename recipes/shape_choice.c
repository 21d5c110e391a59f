#include "recipes/shape_choice.h"

#include "base/hash.h"
#include "base/suggest.h"
#include "model/public_shapes.h"
#include "recipes/check.h"
#include "recipes/run.h"

#include <stdlib.h>
#include <string.h>

struct shape_choices {
	struct shape_choice {
		uint64_t key;
		struct target target;
	} *list;
	int n;
};

/* ---- budgets ---- */

bool shape_is_budget(const struct shape_spec *s)
{
	return s->parameters || s->memory || s->flops_per_token || s->prefill_ms > 0 || s->decode_ms > 0;
}

static struct target given_sizes(const struct shape_spec *s)
{
	return (struct target){(int)s->layers, (int)s->hidden, (int)s->heads, (int)s->kv_heads, (int)s->intermediate};
}

struct space_options shape_space(const struct recipe_spec *r, const struct shape_spec *s, const struct arch *source)
{
	struct space_options o = space_default(source);
	o.limit[SPACE_PARAMETERS] = (double)s->parameters;
	o.limit[SPACE_MEMORY] = (double)s->memory;
	o.limit[SPACE_FLOPS] = (double)s->flops_per_token;
	o.limit[SPACE_PREFILL_MS] = s->prefill_ms;
	o.limit[SPACE_DECODE_MS] = s->decode_ms;
	o.pinned = given_sizes(s);
	o.length = (int)(s->length ? s->length : r->data->sequence_length);
	o.batch = (int)s->batch;
	o.hidden_multiple = (int)s->search->hidden_multiple;
	o.intermediate_multiple = (int)s->search->intermediate_multiple;
	o.slack = s->search->slack;
	return o;
}

uint64_t shape_key(const struct recipe_spec *r, const struct shape_spec *s, const struct arch *source)
{
	const struct shape *x = &source->shape;
	const uint64_t all[] = {section_hash(&shape_section, s), (uint64_t)r->data->sequence_length, hash_bytes(source->family, strlen(source->family)),
				(uint64_t)source->dtype, (uint64_t)source->window, hash_bytes(x, sizeof *x), source->tied};
	return hash_bytes(all, sizeof all);
}

/* ---- choices ---- */

int shape_choices_init(struct shape_choices **out, struct err *e)
{
	*out = calloc(1, sizeof **out);
	return *out ? 0 : err_run(e, "out of memory");
}

void shape_choices_free(struct shape_choices *c)
{
	if (c)
		free(c->list);
	free(c);
}

static struct shape_choice *find(const struct shape_choices *c, uint64_t key)
{
	for (int i = 0; i < c->n; i++)
		if (c->list[i].key == key)
			return &c->list[i];
	return NULL;
}

const struct target *shape_chosen(const struct shape_choices *c, uint64_t key)
{
	const struct shape_choice *found = find(c, key);
	return found ? &found->target : NULL;
}

static struct target all_sizes(const struct shape *s)
{
	return (struct target){s->L, s->C, s->NH, s->NKV, s->F};
}

int shape_choose(struct shape_choices *c, uint64_t key, const struct shape *s, struct err *e)
{
	struct shape_choice *own = find(c, key);
	if (!own) {
		struct shape_choice *grown = realloc(c->list, ((size_t)c->n + 1) * sizeof *grown);
		if (!grown)
			return err_run(e, "out of memory");
		c->list = grown;
		own = &grown[c->n++];
	}
	*own = (struct shape_choice){key, all_sizes(s)};
	return 0;
}

/* ---- targets ---- */

const struct shape_spec *target_spec(const struct recipe_spec *r, const struct shape_spec *own)
{
	return own ? own : r->target;
}

static int unknown_shape(const struct shape_spec *s, struct err *e)
{
	char all[512] = "";
	const char *near = suggest_nearest(s->shape, public_shape_names, PUBLIC_SHAPES);
	for (int i = 0; i < PUBLIC_SHAPES; i++)
		snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", public_shape_names[i]);
	return yaml_caret(e, check_place(s->at, "shape"), "shape: no public shape is called '%s'%s%s%s", s->shape, near ? "; did you mean '" : "; known are ",
			  near ? near : all, near ? "'?" : "");
}

int shape_sizes(const struct shape_spec *s, const struct arch *source, struct target *out, struct err *e)
{
	const struct shape *named = s->shape ? public_shape(s->shape) : NULL;
	BUG_ON(shape_is_budget(s));
	*out = named ? all_sizes(named) : given_sizes(s);
	if (s->shape && !named)
		return unknown_shape(s, e);
	if (named && source && named->HD != source->shape.HD)
		return yaml_caret(e, check_place(s->at, "shape"), "shape: %s has heads of %d dimensions, the source's have %d; pruning keeps their width", s->shape,
				  named->HD, source->shape.HD);
	return 0;
}

/* The best that is known before a search: the source's proportions. */
static int stand_in(const struct run *run, const struct shape_spec *s, const struct arch *source, struct target *out, struct err *e)
{
	struct space_options o = shape_space(run->spec, s, source);
	struct space space;
	struct err why;
	if (space_open(&space, source, &o, &why) < 0)
		return yaml_caret(e, s->at, "%s", why.line);
	*out = all_sizes(&space.shapes[0].shape);
	space_close(&space);
	return 0;
}

int run_target(const struct run *run, const struct shape_spec *own, const struct arch *source, struct target *out, struct err *e)
{
	const struct shape_spec *s = target_spec(run->spec, own);
	if (!shape_is_budget(s))
		return shape_sizes(s, source, out, e);
	if (s->length > source->max_positions)
		return yaml_caret(e, check_place(s->at, "length"), "length: %lld is more than the %d positions of the source", (long long)s->length,
				  source->max_positions);
	const struct target *chosen = shape_chosen(run->shapes, shape_key(run->spec, s, source));
	if (!chosen)
		return stand_in(run, s, source, out, e);
	*out = *chosen;
	return 0;
}

bool init_stands_in(const struct run *run, const struct init_spec *init, const struct arch *source)
{
	if (!init->masks && !init->importance && !init->random)
		return false;
	const struct shape_spec *s = target_spec(run->spec, init_target(init));
	return shape_is_budget(s) && !shape_chosen(run->shapes, shape_key(run->spec, s, source));
}

/* The flat array of mask units. */
#include "prune/mask_units.h"

#include <string.h>

static void add_block(struct mask_units *u, enum mask_structure which, int n_rows, int n_units, int final_units)
{
	if (n_units == final_units)
		return;
	struct mask_block *b = &u->blocks[which];
	*b = (struct mask_block){n_rows, n_units, final_units, u->n};
	u->n += mask_block_size(b);
	u->max_units = n_units > u->max_units ? n_units : u->max_units;
	u->max_rows = n_rows > u->max_rows ? n_rows : u->max_rows;
}

struct mask_units mask_units_of(const struct arch *source, const struct arch *target)
{
	const struct shape *s = &source->shape, *t = &target->shape;
	struct mask_units u = {.shape = *s};
	add_block(&u, MASK_HIDDEN, 1, s->C, t->C);
	add_block(&u, MASK_LAYERS, 1, s->L, t->L);
	add_block(&u, MASK_GROUPS, s->L, s->NKV, t->NKV);
	add_block(&u, MASK_HEADS, s->L * s->NKV, s->NH / s->NKV, t->NH / t->NKV);
	add_block(&u, MASK_FFN, s->L, s->F, t->F);
	return u;
}

static void check_arrays(const struct mask_units *u, const struct host_masks *m)
{
	BUG_ON(!m->hidden != !u->blocks[MASK_HIDDEN].n_rows);
	BUG_ON(!m->layers != !u->blocks[MASK_LAYERS].n_rows);
	BUG_ON(!m->heads != (!u->blocks[MASK_GROUPS].n_rows && !u->blocks[MASK_HEADS].n_rows));
	BUG_ON(!m->ffn != !u->blocks[MASK_FFN].n_rows);
}

/* Where query head h of layer l stands among the units of its group and its own; SIZE_MAX: not pruned. */
static size_t group_unit(const struct mask_units *u, int l, int h)
{
	const struct mask_block *b = &u->blocks[MASK_GROUPS];
	int per_group = u->shape.NH / u->shape.NKV;
	return b->n_rows ? b->first + (size_t)l * (size_t)b->n_units + (size_t)(h / per_group) : SIZE_MAX;
}

static size_t head_unit(const struct mask_units *u, int l, int h)
{
	const struct mask_block *b = &u->blocks[MASK_HEADS];
	return b->n_rows ? b->first + (size_t)l * (size_t)u->shape.NH + (size_t)h : SIZE_MAX;
}

static void spread_heads(const struct mask_units *u, const float *z, float *heads)
{
	for (int l = 0; l < u->shape.L; l++)
		for (int h = 0; h < u->shape.NH; h++) {
			size_t group = group_unit(u, l, h), own = head_unit(u, l, h);
			heads[(size_t)l * (size_t)u->shape.NH + (size_t)h] =
				(group == SIZE_MAX ? 1 : z[group]) * (own == SIZE_MAX ? 1 : z[own]);
		}
}

static void gather_heads(const struct mask_units *u, const float *z, const float *dheads, float *dunits)
{
	for (int l = 0; l < u->shape.L; l++)
		for (int h = 0; h < u->shape.NH; h++) {
			size_t group = group_unit(u, l, h), own = head_unit(u, l, h);
			float d = dheads[(size_t)l * (size_t)u->shape.NH + (size_t)h];
			if (group != SIZE_MAX)
				dunits[group] += d * (own == SIZE_MAX ? 1 : z[own]);
			if (own != SIZE_MAX)
				dunits[own] += d * (group == SIZE_MAX ? 1 : z[group]);
		}
}

static void copy_block(const struct mask_block *b, float *dst, const float *src)
{
	if (b->n_rows)
		memcpy(dst, src, mask_block_size(b) * sizeof *dst);
}

void mask_units_spread(const struct mask_units *u, const float *z, struct host_masks *out)
{
	const struct mask_block *b = u->blocks;
	check_arrays(u, out);
	copy_block(&b[MASK_HIDDEN], out->hidden, z + b[MASK_HIDDEN].first);
	copy_block(&b[MASK_LAYERS], out->layers, z + b[MASK_LAYERS].first);
	copy_block(&b[MASK_FFN], out->ffn, z + b[MASK_FFN].first);
	if (out->heads)
		spread_heads(u, z, out->heads);
}

void mask_units_gather(const struct mask_units *u, const float *z, const struct host_masks *dz, float *dunits)
{
	const struct mask_block *b = u->blocks;
	check_arrays(u, dz);
	memset(dunits, 0, u->n * sizeof *dunits);
	copy_block(&b[MASK_HIDDEN], dunits + b[MASK_HIDDEN].first, dz->hidden);
	copy_block(&b[MASK_LAYERS], dunits + b[MASK_LAYERS].first, dz->layers);
	copy_block(&b[MASK_FFN], dunits + b[MASK_FFN].first, dz->ffn);
	if (dz->heads)
		gather_heads(u, z, dz->heads, dunits);
}

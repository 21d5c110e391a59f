/* Which units survive: from masks, or from a list of layers. */
#include "prune/cut.h"

#include <stdlib.h>
#include <string.h>

int kept_alloc(struct kept *k, const struct shape *t, struct err *e)
{
	size_t L = (size_t)t->L, C = (size_t)t->C, G = L * (size_t)t->NKV, H = L * (size_t)t->NH, F = L * (size_t)t->F;
	int *at = calloc(L + C + G + H + F, sizeof *at);
	*k = (struct kept){.merge = 1, .block = at};
	if (!at)
		return err_run(e, "cut: out of memory");
	k->layers = at;
	k->hidden = k->layers + L;
	k->groups = k->hidden + C;
	k->heads = k->groups + G;
	k->ffn = k->heads + H;
	return 0;
}

/* Lists the units of z != 0 among n (NULL: all), at most n_wanted of them. Returns how many there are. */
static int list_open(const float *z, int n, int n_wanted, int *out)
{
	int count = 0;
	for (int i = 0; i < n; i++) {
		if (z && z[i] == 0)
			continue;
		if (count < n_wanted)
			out[count] = i;
		count++;
	}
	return count;
}

static int list_row(const char *name, int layer, const float *z, int n, int n_wanted, int *out, struct err *e)
{
	int count = list_open(z, n, n_wanted, out);
	if (count == n_wanted)
		return 0;
	if (layer < 0)
		return err_user(e, "masks: %s keeps %d of %d, the target wants %d", name, count, n, n_wanted);
	return err_user(e, "masks: %s of layer %d keeps %d of %d, the target wants %d", name, layer, count, n, n_wanted);
}

/* Query heads of one layer, group by group; z (NH) or NULL. */
static int list_heads(const struct shape *s, const struct shape *t, int layer, const float *z, int *groups, int *heads,
		      struct err *e)
{
	int size = s->NH / s->NKV, size_kept = t->NH / t->NKV, n_groups = 0;
	for (int g = 0; g < s->NKV; g++) {
		int own[ARCH_MAX_NH];
		int count = list_open(z ? z + g * size : NULL, size, size_kept, own);
		if (!count)
			continue;
		if (count != size_kept)
			return err_user(e, "masks: heads of layer %d, group %d, keeps %d of %d, the target wants %d", layer, g,
					count, size, size_kept);
		if (n_groups < t->NKV) {
			groups[n_groups] = g;
			for (int i = 0; i < size_kept; i++)
				heads[n_groups * size_kept + i] = g * size + own[i];
		}
		n_groups++;
	}
	if (n_groups != t->NKV)
		return err_user(e, "masks: heads of layer %d keeps %d of %d key-value groups, the target wants %d", layer,
				n_groups, s->NKV, t->NKV);
	return 0;
}

int kept_from_masks(struct kept *k, const struct arch *source, const struct arch *target, const struct host_masks *z,
		    struct err *e)
{
	const struct shape *s = &source->shape, *t = &target->shape;
	int rc = -1;
	TRY(kept_alloc(k, t, e));
	TRY(list_row("layers", -1, z->layers, s->L, t->L, k->layers, e));
	TRY(list_row("hidden", -1, z->hidden, s->C, t->C, k->hidden, e));
	for (int i = 0; i < t->L; i++) {
		int l = k->layers[i];
		const float *heads = z->heads ? z->heads + (size_t)l * (size_t)s->NH : NULL;
		const float *ffn = z->ffn ? z->ffn + (size_t)l * (size_t)s->F : NULL;
		TRY(list_heads(s, t, l, heads, k->groups + (size_t)i * (size_t)t->NKV, k->heads + (size_t)i * (size_t)t->NH, e));
		TRY(list_row("ffn", l, ffn, s->F, t->F, k->ffn + (size_t)i * (size_t)t->F, e));
	}
	rc = 0;
out:
	if (rc < 0)
		kept_release(k);
	return rc;
}

int kept_from_layers(struct kept *k, const struct arch *source, const int *layers, int n_layers, struct err *e)
{
	struct arch target = *source;
	const struct host_masks all = {0};
	*k = (struct kept){0};
	if (n_layers < 1)
		return err_user(e, "layers: none listed; at least one must stay");
	for (int i = 0; i < n_layers; i++) {
		if (layers[i] < 0 || layers[i] >= source->shape.L)
			return err_user(e, "layers: %d is not a layer of the source, which has 0 to %d", layers[i],
					source->shape.L - 1);
		if (i > 0 && layers[i] <= layers[i - 1])
			return err_user(e, "layers: %d after %d; list each layer once, in ascending order", layers[i],
					layers[i - 1]);
	}
	/* All other rows are alike in every layer, so that a source of n_layers layers has the right ones. */
	target.shape.L = n_layers;
	if (kept_from_masks(k, &target, &target, &all, e) < 0)
		return -1;
	memcpy(k->layers, layers, (size_t)n_layers * sizeof *layers);
	return 0;
}

void kept_release(struct kept *k)
{
	free(k->block);
	*k = (struct kept){0};
}

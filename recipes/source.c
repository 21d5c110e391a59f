#include "recipes/source.h"

#include <stdlib.h>

struct source source_teacher(const struct run *run)
{
	const struct run_teacher *t = &run->teachers[0];
	return (struct source){.model = &t->model, .dir = t->dir, .hash = t->hash, .from_teacher = true};
}

void source_kept(const struct source *from, const struct kept *own, const struct shape *cut, struct kept *out)
{
	*out = (struct kept){.merge = 1};
	out->block = out->layers = calloc((size_t)(cut->L + cut->C), sizeof *out->layers);
	BUG_ON(!out->block || !from->from_teacher);
	out->hidden = out->layers + cut->L;
	for (int l = 0; l < cut->L; l++)
		out->layers[l] = from->kept ? from->kept->layers[own->layers[l]] : own->layers[l];
	for (int c = 0; c < cut->C; c++)
		out->hidden[c] = from->kept ? from->kept->hidden[own->hidden[c]] : own->hidden[c];
}

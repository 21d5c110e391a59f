/* Names and memory of scores. The file is prune/scores_file.c, the choice prune/select.c. */
#include "prune/scores.h"

#include <stdlib.h>

const char *importance_method_name(enum importance_method m)
{
	static const char *const names[] = {"magnitude", "activation", "wanda", "fluctuation", "taylor", "random"};
	BUG_ON(m < 0 || m >= IMPORTANCE_METHODS);
	return names[m];
}

const char *layers_method_name(enum layers_method m)
{
	static const char *const names[] = {"own", "influence", "loss", "kl"};
	BUG_ON(m < 0 || m >= LAYERS_METHODS);
	return names[m];
}

int scores_alloc(struct scores *x, const struct arch *source, bool with_means, struct err *e)
{
	const struct shape *s = &source->shape;
	size_t L = (size_t)s->L, C = (size_t)s->C, G = L * (size_t)s->NKV, H = L * (size_t)s->NH, F = L * (size_t)s->F;
	size_t means = with_means ? H * (size_t)s->HD + F : 0, n = C + L + G + H + F + means;
	float *at = calloc(n, sizeof *at);
	*x = (struct scores){.block = at};
	if (!at)
		return err_run(e, "importance: out of memory for %zu scores", n);
	x->hidden = at;
	x->layers = x->hidden + C;
	x->groups = x->layers + L;
	x->heads = x->groups + G;
	x->ffn = x->heads + H;
	if (with_means) {
		x->context_mean = x->ffn + F;
		x->ffn_mean = x->context_mean + H * (size_t)s->HD;
	}
	return 0;
}

void scores_release(struct scores *x)
{
	free(x->block);
	*x = (struct scores){0};
}

#include "recipes/search.h"

#include "base/log.h"
#include "recipes/stage.h"

#include <math.h>
#include <stdlib.h>

static int try_rate(struct search *s, struct phase *p, const char *dir, double lr, struct err *e)
{
	char *at = path_format("%s/lr-%.9g", dir, lr), label[48];
	snprintf(label, sizeof label, "%.28s lr %.3g", p->label, lr);
	struct phase one = *p;
	one.dir = at;
	one.label = label;
	one.lr = lr;
	one.keep = false;
	int rc = phase_train(&one, e);
	free(at);
	if (rc < 0)
		return -1;
	int k = s->n++;
	for (; k > 0 && s->tried[k - 1].lr > lr; k--)
		s->tried[k] = s->tried[k - 1];
	s->tried[k] = (struct candidate){lr, isfinite(one.heldout_nll) ? one.heldout_nll : INFINITY};
	return 0;
}

static int best(const struct search *s)
{
	int b = 0;
	for (int i = 1; i < s->n; i++)
		if (s->tried[i].nll < s->tried[b].nll)
			b = i;
	return b;
}

static bool at_an_edge(const struct search *s)
{
	int b = best(s);
	return b == 0 || b == s->n - 1;
}

static void warn_of_the_edge(struct search *s, const struct phase *p)
{
	if (!at_an_edge(s))
		return;
	snprintf(s->warning, sizeof s->warning, "learning rate %.3g is the %s of all %d tried: a better one may lie beyond it", p->lr,
		 best(s) ? "largest" : "smallest", s->n);
	log_warn("%s: %s", p->label, s->warning);
}

int search_rate(struct search *s, struct phase *p, const char *dir, struct err *e)
{
	const struct real_list *rates = &p->spec->lr;
	s->n = 0;
	p->lr = rates->v[0];
	if (rates->n == 1)
		return 0;
	for (int i = 0; i < rates->n; i++)
		if (try_rate(s, p, dir, rates->v[i], e) < 0)
			return -1;
	if (isinf(s->tried[best(s)].nll))
		return err_run(e, "the loss is not finite with any of the %d learning rates, %.3g to %.3g: lower train.lr", s->n, rates->v[0],
			       rates->v[rates->n - 1]);
	for (int k = 0; k < LR_EXTENSIONS && at_an_edge(s); k++) {
		int b = best(s), last = s->n - 1;
		double next = b ? s->tried[last].lr * s->tried[last].lr / s->tried[last - 1].lr :
				  s->tried[0].lr * s->tried[0].lr / s->tried[1].lr;
		if (try_rate(s, p, dir, next, e) < 0)
			return -1;
	}
	p->lr = s->tried[best(s)].lr;
	log_line("%s: learning rate %.3g has the lowest held-out loss %.4f of %d tried", p->label, p->lr, s->tried[best(s)].nll, s->n);
	warn_of_the_edge(s, p);
	return 0;
}

int64_t search_tokens(const struct train_spec *t, int64_t budget)
{
	int64_t n = t->lr_search_tokens ? t->lr_search_tokens : t->tokens / 10;
	if (n > budget)
		n = budget;
	return n < t->batch_tokens ? t->batch_tokens : n / t->batch_tokens * t->batch_tokens;
}

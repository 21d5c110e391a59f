/* A wanted shape against the source's. */
#include "prune/target.h"

struct size_rule {
	const char *key;
	int wanted, source;
	int *out;
};

static int check_sizes(const struct size_rule *rules, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		const struct size_rule *r = &rules[i];
		if (r->wanted < 0)
			return err_user(e, "target: %s %d is negative; leave it out to keep the source's %d", r->key, r->wanted,
					r->source);
		if (r->wanted > r->source)
			return err_user(e, "target: %s %d is larger than the source's %d; pruning only removes", r->key,
					r->wanted, r->source);
		*r->out = r->wanted ? r->wanted : r->source;
	}
	return 0;
}

static int check_groups(const struct shape *t, const struct shape *s, bool merge, struct err *e)
{
	if (t->NH % t->NKV)
		return err_user(e, "target: heads %d is not a multiple of kv_heads %d; every group keeps the same number of "
				"query heads", t->NH, t->NKV);
	if (merge && s->NKV % t->NKV)
		return err_user(e, "target: kv_heads %d does not divide the source's %d; key-value heads are merged in runs of equal "
				"length", t->NKV, s->NKV);
	if (!merge && t->NH / t->NKV > s->NH / s->NKV)
		return err_user(e, "target: heads %d over kv_heads %d makes groups of %d query heads, the source's have %d; ask "
				"for at most %d heads", t->NH, t->NKV, t->NH / t->NKV, s->NH / s->NKV, t->NKV * (s->NH / s->NKV));
	return 0;
}

static int check_loadable(const struct arch *a, struct err *e)
{
	struct load_finding findings[16];
	int n = arch_check_loadable(a, findings, 16);
	for (int i = 0; i < n; i++)
		if (findings[i].level == LOAD_REFUSED)
			return err_user(e, "target: hidden %d with %d heads would not load elsewhere: %s", a->shape.C, a->shape.NH,
					findings[i].line);
	return 0;
}

static int make_arch(struct arch *out, const struct arch *source, const struct target *target, bool merge, bool load, struct err *e)
{
	struct arch a = *source;
	const struct shape *s = &source->shape;
	const struct size_rule rules[] = {
		{"layers", target->layers, s->L, &a.shape.L},
		{"hidden", target->hidden, s->C, &a.shape.C},
		{"heads", target->heads, s->NH, &a.shape.NH},
		{"kv_heads", target->kv_heads, s->NKV, &a.shape.NKV},
		{"intermediate", target->intermediate, s->F, &a.shape.F},
	};
	int rc = -1;
	TRY(check_sizes(rules, sizeof rules / sizeof *rules, e));
	TRY(check_groups(&a.shape, s, merge, e));
	TRY(load ? check_loadable(&a, e) : 0);
	*out = a;
	rc = 0;
out:
	return rc;
}

int target_arch(struct arch *out, const struct arch *source, const struct target *target, struct err *e)
{
	return make_arch(out, source, target, false, true, e);
}

int target_arch_merged(struct arch *out, const struct arch *source, const struct target *target, struct err *e)
{
	return make_arch(out, source, target, true, true, e);
}

int target_sizes(struct arch *out, const struct arch *source, const struct target *target, struct err *e)
{
	return make_arch(out, source, target, false, false, e);
}

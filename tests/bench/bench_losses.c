/* What each divergence and inner loss costs: whole training steps (forward, backward, clipping, AdamW) on random tokens, each
 * in turns with forward KL, in one process.
 *   bench_losses [--dtype fp32|bf16] [--v V] [--threads N] [--steps N] [--part dense|inner]
 * Teacher: Llama of 6 layers, hidden 288, 6 heads, FFN 768; student: half of each; B 8 x T 256; V 32000 by default; CE weight 0.1.
 *   dense  divergences, and lists of two, in the same student beside the same online teacher
 *   inner  hidden states and relations of the last layers beside forward KL, against forward KL alone
 * One JSON line each on stdout, a table on stderr; medians over --steps (default 7) after two steps of warm-up. A ratio above
 * 1 is slower. */
#include "tests/bench/bench_pair.h"

enum { N = PAIR_N };

/* ---- dense divergences ---- */

static struct step_loss loss_of(struct divergence_term first, struct divergence_term second)
{
	struct step_loss l = {.ce_weight = 0.1f, .terms = {first, second}, .step_tokens = N};
	l.n_terms = second.weight > 0 ? 2 : first.weight > 0;
	return l;
}

static struct step_loss forward_kl(void)
{
	return loss_of((struct divergence_term){.kind = DIVERGENCE_FORWARD_KL, .weight = 0.9f, .tau = 1}, (struct divergence_term){0});
}

struct dense_case {
	const char *name;
	double limit;
	struct divergence_term first, second; /* weight 0: none */
};
static const struct dense_case DENSE[] = {
	{"forward_kl", 1.1, {DIVERGENCE_FORWARD_KL, 0.9f, 1, 0, 0}, {0}},
	{"forward_kl tau 2", 1.1, {DIVERGENCE_FORWARD_KL, 0.9f, 2, 0, 0}, {0}},
	{"reverse_kl", 1.1, {DIVERGENCE_REVERSE_KL, 0.9f, 1, 0, 0}, {0}},
	{"symmetric_kl", 1.1, {DIVERGENCE_SYMMETRIC_KL, 0.9f, 1, 0.5f, 0}, {0}},
	{"jsd", 1.15, {DIVERGENCE_JSD, 0.9f, 1, 0.5f, 0}, {0}},
	{"jsd_normalized 0.1", 1.15, {DIVERGENCE_JSD_NORMALIZED, 0.9f, 1, 0.1f, 0}, {0}},
	{"skew_forward_kl", 1.1, {DIVERGENCE_SKEW_FORWARD_KL, 0.9f, 1, 0.1f, 0}, {0}},
	{"skew_reverse_kl", 1.1, {DIVERGENCE_SKEW_REVERSE_KL, 0.9f, 1, 0.1f, 0}, {0}},
	{"adaptive_kl", 1.1, {DIVERGENCE_ADAPTIVE_KL, 0.9f, 1, 0.5f, 0}, {0}},
	{"alpha_beta 0.2 0.7", 0, {DIVERGENCE_ALPHA_BETA, 0.9f, 1, 0.2f, 0.7f}, {0}},
	{"total_variation", 0, {DIVERGENCE_TOTAL_VARIATION, 0.9f, 1, 0, 0}, {0}},
	{"logit_mse", 0, {DIVERGENCE_LOGIT_MSE, 0.9f, 1, 0, 0}, {0}},
	{"forward_kl + reverse_kl", 0, {DIVERGENCE_FORWARD_KL, 0.5f, 1, 0, 0}, {DIVERGENCE_REVERSE_KL, 0.5f, 1, 0, 0}},
	{"forward_kl tau 1 + tau 2", 0, {DIVERGENCE_FORWARD_KL, 0.5f, 1, 0, 0}, {DIVERGENCE_FORWARD_KL, 0.5f, 2, 0, 0}},
	{"forward_kl + jsd", 0, {DIVERGENCE_FORWARD_KL, 0.5f, 1, 0, 0}, {DIVERGENCE_JSD, 0.5f, 1, 0.5f, 0}},
};

enum { DENSE_CASES = sizeof DENSE / sizeof *DENSE };

static int bench_dense(struct bench *b, struct err *e)
{
	struct side s = side_of(&b->world, true);
	struct step_loss base = forward_kl();
	int rc = -1;
	TRY(side_open(&s, e));
	for (int i = 0; i < DENSE_CASES; i++) {
		struct pair p = {.part = "dense", .name = DENSE[i].name, .against = "forward_kl", .limit = DENSE[i].limit};
		struct step_loss own = loss_of(DENSE[i].first, DENSE[i].second);
		TRY(pair_steps(b, &p, &s, &base, &s, &own, e));
	}
	rc = 0;
out:
	side_close(&s);
	return rc;
}

/* ---- inner losses ---- */

struct inner_case {
	const char *name;
	enum inner_kind kind;
	enum projection_kind projection;
};
static const struct inner_case INNER[] = {
	{"hidden cosine, kept columns", INNER_HIDDEN_COSINE, PROJECTION_KEPT},
	{"hidden cosine, projection", INNER_HIDDEN_COSINE, PROJECTION_LEARNED},
	{"hidden mse, kept columns", INNER_HIDDEN_MSE, PROJECTION_KEPT},
	{"hidden mse, projection", INNER_HIDDEN_MSE, PROJECTION_LEARNED},
	{"relations", INNER_RELATIONS, PROJECTION_NONE},
};
enum { INNER_CASES = sizeof INNER / sizeof *INNER };

/* The last layers. */
static struct inner_term term_of(const struct inner_case *c, const int *kept)
{
	struct inner_term t = {.kind = c->kind, .student_layer = 2, .teacher_layer = 5};
	if (c->kind == INNER_RELATIONS) {
		t.teacher_heads = (struct relation_shape){6, 6, 48};
		t.relation_heads = relation_heads_default((struct relation_shape){3, 3, 48}, t.teacher_heads);
		return t;
	}
	t.projection = c->projection;
	t.columns = c->projection == PROJECTION_KEPT ? kept : NULL;
	t.teacher_C = 288;
	return t;
}

static int bench_inner_case(struct bench *b, const struct inner_case *c, struct side *base, struct err *e)
{
	static const bool last[6] = {[5] = true};
	int kept[144]; /* the teacher's columns that a cut would have kept */
	struct side own = side_of(&b->world, true);
	struct pair p = {.part = "inner", .name = c->name, .against = "forward_kl"};
	struct step_loss base_loss = forward_kl(), loss = base_loss;
	int rc = -1;
	for (int i = 0; i < 144; i++)
		kept[i] = 2 * i;
	own.options.n_inner = 1;
	own.options.inner[0] = term_of(c, kept);
	own.teacher_options.keep_hidden = c->kind == INNER_RELATIONS ? NULL : last;
	own.teacher_options.keep_qkv = c->kind == INNER_RELATIONS ? last : NULL;
	loss.inner_weight[0] = 1;
	TRY(side_open(&own, e));
	TRY(pair_steps(b, &p, base, &base_loss, &own, &loss, e));
	rc = 0;
out:
	side_close(&own);
	return rc;
}

static int bench_inner(struct bench *b, struct err *e)
{
	struct side base = side_of(&b->world, true);
	int rc = -1;
	TRY(side_open(&base, e));
	for (int i = 0; i < INNER_CASES; i++)
		TRY(bench_inner_case(b, &INNER[i], &base, e));
	rc = 0;
out:
	side_close(&base);
	return rc;
}

/* All inner terms at once need no less than any. */
static struct ops_limits limits_of(const struct side_world *w)
{
	struct student_options o = student_default();
	struct arch arch = world_half(w->V, PAIR_T);
	o.B = PAIR_B;
	o.T = PAIR_T;
	o.n_inner = INNER_CASES;
	for (int i = 0; i < INNER_CASES; i++)
		o.inner[i] = term_of(&INNER[i], NULL);
	return student_limits(&arch, &o);
}

static int run(struct bench *b, struct err *e)
{
	if (bench_wants(b, "dense") && bench_dense(b, e) < 0)
		return -1;
	return bench_wants(b, "inner") ? bench_inner(b, e) : 0;
}

int main(int argc, char **argv)
{
	struct bench b = {.name = "losses"};
	struct err e;
	bench_parse(&b, argc, argv);
	struct ops_limits limits = limits_of(&b.world);
	int rc = bench_open(&b, &limits, &e) < 0 || run(&b, &e) < 0;
	if (rc)
		fprintf(stderr, "bench_losses: %s\n", e.line);
	bench_close(&b);
	return rc;
}

/* A step's row of metrics: which columns there are, and what stands in them. Test: tests/test_run.c */
#include "recipes/loop_parts.h"

#include "recipes/stage.h"

#include <stdlib.h>

/* Of the plan's i-th column: its terms, then its inner losses. */
static int loss_of(const struct distill_plan *p, int i)
{
	return i < p->n_terms ? (int)p->terms[i].kind : LOSS_HIDDEN_COSINE + (int)p->inner[i - p->n_terms].kind;
}

/* "forward_kl", and "forward_kl_2" where the list names it again. */
static void name_column(const struct distill_plan *p, int i, char out[40])
{
	int same = 1;
	for (int k = 0; k < i; k++)
		same += loss_of(p, k) == loss_of(p, i);
	if (same == 1)
		snprintf(out, 40, "%s", loss_names[loss_of(p, i)]);
	else
		snprintf(out, 40, "%s_%d", loss_names[loss_of(p, i)], same);
}

static int loss_columns(const struct loop *l, struct loop_state *s, const char **columns, int n)
{
	const struct distill_plan *p = &l->supply->plan;
	columns[n++] = "teacher_ce";
	columns[n++] = "agree";
	for (int i = 0; i < p->n_terms + p->n_inner; i++) {
		name_column(p, i, s->loss_columns[i]);
		columns[n++] = s->loss_columns[i];
	}
	return n;
}

int loop_open_metrics(const struct loop *l, struct loop_state *s, uint64_t n_bytes, struct err *e)
{
	static const char *const common[] = {"step", "tokens", "lr", "loss", "ce", "ce_text", "grad_norm", "heldout_nll", "tokens_per_s"};
	static const char *const fields[] = {"target", "expected", "final", "lambda1", "lambda2", "saturated"};
	const char *columns[METRICS_MAX_COLUMNS];
	int n = 0;
	for (size_t i = 0; i < sizeof common / sizeof *common; i++)
		columns[n++] = common[i];
	if (l->supply)
		n = loss_columns(l, s, columns, n);
	if (l->masks)
		columns[n++] = "unmasked_nll";
	for (int k = 0; l->masks && k < MASK_STRUCTURES; k++)
		for (int f = 0; f < 6 && mask_learner_prunes(l->masks, (enum mask_structure)k); f++) {
			snprintf(s->names[k * 6 + f], sizeof s->names[0], "%s_%s", mask_structure_name((enum mask_structure)k), fields[f]);
			columns[n++] = s->names[k * 6 + f];
		}
	bool jsonl = l->run->spec->report->metrics == METRICS_JSONL;
	char *path = path_format("%s/metrics.%s", l->dir, jsonl ? "jsonl" : "csv");
	int rc = metrics_open(&s->metrics, path, jsonl, columns, n, n_bytes, e);
	free(path);
	return rc;
}

static void set_mask_metrics(const struct loop *l, struct metrics *m)
{
	const struct mask_report *r = &l->report;
	for (int k = 0; k < MASK_STRUCTURES; k++) {
		double values[] = {r->target[k], r->expected[k], r->final_target[k], r->lambda1[k], r->lambda2[k], r->saturated[k]};
		static const char *const fields[] = {"target", "expected", "final", "lambda1", "lambda2", "saturated"};
		for (int f = 0; f < 6 && mask_learner_prunes(l->masks, (enum mask_structure)k); f++) {
			char name[40];
			snprintf(name, sizeof name, "%s_%s", mask_structure_name((enum mask_structure)k), fields[f]);
			metrics_set(m, name, values[f]);
		}
	}
}

static void set_loss_metrics(const struct loop *l, struct loop_state *s, const struct step_sums *sums)
{
	const struct distill_plan *p = &l->supply->plan;
	metrics_set(&s->metrics, "teacher_ce", loop_mean(sums->teacher_ce, sums->kd_tokens));
	metrics_set(&s->metrics, "agree", loop_mean((double)sums->agree, sums->kd_tokens));
	for (int k = 0; k < p->n_terms; k++)
		metrics_set(&s->metrics, s->loss_columns[k], loop_mean(sums->terms[k], sums->kd_tokens));
	for (int i = 0, at = 0; i < p->n_inner; i++)
		metrics_set(&s->metrics, s->loss_columns[p->n_terms + i], loop_inner_mean(&p->inner[i], sums, &at));
}

void loop_set_metrics(const struct loop *l, struct loop_state *s, int step, double loss, const struct step_sums *sums, double lr, double norm)
{
	struct metrics *m = &s->metrics;
	metrics_set(m, "step", step + 1);
	metrics_set(m, "tokens", (double)(step + 1) * (double)l->batch_tokens);
	metrics_set(m, "lr", lr);
	metrics_set(m, "loss", loss);
	metrics_set(m, "ce", loop_mean(sums->ce, sums->tokens));
	metrics_set(m, "ce_text", loop_mean(sums->ce_text, sums->text_tokens));
	metrics_set(m, "grad_norm", norm);
	if (l->supply)
		set_loss_metrics(l, s, sums);
	if (l->masks)
		set_mask_metrics(l, m);
}

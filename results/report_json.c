/* report.json: the comparison, every result as it was read, and the curves. Test: tests/test_report.c
 *   {"title", "verdict", "distillation": the sentence on controls | null, "reference", "bootstrap": {"resamples", "level",
 *      "seed"}, "domains": [{"name", "unit", …}],
 *    "students": [{"name", "role", "rank", "other_size", "seeds": […], "eval": {"<domain>": {"nll", "interval": [low, high],
 *      "perplexity", "bits_per_byte", "difference": {"to", "unit", "mean", "interval"} | null, …}}}],
 *    "controls" and "caches": [{"student", "other": "…" | null, "seeds": 1, "difference": {"<domain>": {"unit", "mean", "interval",
 *      "deviation": over the seeds | null} | null}}],
 *    "notes": […], "results": [result.json …], "curves": [{"name", "seed", "phase", "tokens": […], "heldout_nll": […]}],
 *    "masks": [{"name", "seed", "also": […], "structure", "step": […], "target": […], "expected": […]}]} */
#include "results/report.h"

#include "base/json.h"

#include <math.h>

static json_t *number(double x)
{
	return isfinite(x) ? json_real(x) : json_null();
}

static json_t *numbers(const double *x, size_t n)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, number(x[i]));
	return list;
}

static json_t *bounds(const struct interval *x)
{
	return json_pack("[o, o]", number(x->low), number(x->high));
}

static json_t *difference_json(const struct comparison *c, int d, const struct compare_cell *cell)
{
	if (!cell->paired)
		return json_null();
	return json_pack("{s:s, s:s, s:o, s:o}", "to", c->rows[c->reference].name, "unit", compare_unit(c, d), "mean",
			 number(cell->difference.mean), "interval", bounds(&cell->difference));
}

static json_t *cell_json(const struct comparison *c, const struct compare_row *row, int d)
{
	const struct compare_cell *cell = &row->cells[d];
	if (!cell->present)
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "nll", number(cell->nll.mean), "interval",
			 bounds(&cell->nll), "perplexity", number(cell->perplexity), "bits_per_byte",
			 number(cell->bits_per_byte), "documents", (json_int_t)cell->nll.n_documents, "difference",
			 difference_json(c, d, cell), "agreement_top1", number(cell->has_teacher ? cell->agreement_top1 : NAN),
			 "kl", number(cell->has_teacher ? cell->kl : NAN), "nll_by_seed", numbers(cell->seed_nll, (size_t)row->n_seeds),
			 "deviation", number(cell->deviation));
}

static json_t *row_json(const struct comparison *c, const struct compare_row *row)
{
	json_t *eval = json_object(), *seeds = json_array();
	for (int d = 0; d < c->n_domains; d++)
		json_object_set_new(eval, c->domains[d].name, cell_json(c, row, d));
	for (int s = 0; s < row->n_seeds; s++)
		json_array_append_new(seeds, json_integer((json_int_t)row->seeds[s]->seed));
	return json_pack("{s:s, s:s, s:o, s:b, s:b, s:I, s:o, s:o, s:o}", "name", row->name, "role",
			 row->teacher ? "teacher" : "student", "rank", row->rank ? json_integer(row->rank) : json_null(),
			 "reference", row->reference, "other_size", row->other_size, "parameters",
			 (json_int_t)row->seeds[0]->parameters, "flops_per_token", number(row->seeds[0]->flops_per_token), "seeds",
			 seeds, "eval", eval);
}

static json_t *pair_cell_json(const struct comparison *c, const struct compare_pair *p, int d)
{
	if (p->other < 0 || !p->cells[d].paired)
		return json_null();
	const struct compare_pair_cell *cell = &p->cells[d];
	return json_pack("{s:s, s:o, s:o, s:o}", "unit", compare_unit(c, d), "mean", number(cell->difference.mean), "interval",
			 bounds(&cell->difference), "deviation", number(cell->deviation));
}

static json_t *pairs_json(const struct comparison *c, const struct compare_pair *pairs, int n)
{
	json_t *list = json_array();
	for (int i = 0; i < n; i++) {
		const struct compare_pair *p = &pairs[i];
		json_t *difference = json_object();
		for (int d = 0; d < c->n_domains; d++)
			json_object_set_new(difference, c->domains[d].name, pair_cell_json(c, p, d));
		json_array_append_new(list, json_pack("{s:s, s:o, s:i, s:o}", "student", c->rows[p->row].name, "other",
						      p->other < 0 ? json_null() : json_string(c->rows[p->other].name), "seeds",
						      p->n_seeds, "difference", difference));
	}
	return list;
}

static json_t *domains_json(const struct comparison *c)
{
	json_t *list = json_array();
	for (int d = 0; d < c->n_domains; d++) {
		const struct compare_domain *x = &c->domains[d];
		json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:I, s:b}", "name", x->name, "unit", compare_unit(c, d),
						      "documents", (json_int_t)x->n_documents, "tokens", (json_int_t)x->tokens,
						      "bytes", (json_int_t)x->bytes, "few_documents", x->few));
	}
	return list;
}

static json_t *curves_json(const struct curves *s)
{
	json_t *list = json_array();
	for (int i = 0; i < s->n_loss; i++) {
		const struct curve *x = &s->loss[i];
		json_array_append_new(list, json_pack("{s:s, s:I, s:s, s:o, s:o}", "name", x->of->name, "seed",
						      (json_int_t)x->of->seed, "phase", x->in_init ? "masks" : "train", "tokens",
						      numbers(x->tokens, x->n), "heldout_nll", numbers(x->nll, x->n)));
	}
	return list;
}

static json_t *also_json(const struct curves *s, const struct result *of)
{
	json_t *list = json_array();
	for (int i = 0; i < s->n_shared; i++)
		if (s->shared[i].as == of)
			json_array_append_new(list, json_string(s->shared[i].of->name));
	return list;
}

static json_t *masks_json(const struct curves *s)
{
	json_t *list = json_array();
	for (int i = 0; i < s->n_masks; i++) {
		const struct mask_curve *x = &s->masks[i];
		json_array_append_new(list, json_pack("{s:s, s:I, s:o, s:s, s:o, s:o, s:o}", "name", x->of->name, "seed",
						      (json_int_t)x->of->seed, "also", also_json(s, x->of), "structure", x->structure, "step",
						      numbers(x->step, x->n), "target", numbers(x->target, x->n), "expected",
						      numbers(x->expected, x->n)));
	}
	return list;
}

static json_t *notes_json(const struct report *r)
{
	json_t *list = json_array();
	for (int i = 0; i < r->options->n_notes; i++)
		json_array_append_new(list, json_string(r->options->notes[i]));
	for (int i = 0; i < r->comparison->n_notes; i++)
		json_array_append_new(list, json_string(r->comparison->notes[i]));
	return list;
}

static json_t *report_json(const struct report *r)
{
	char verdict[1024], distillation[1024];
	const struct comparison *c = r->comparison;
	json_t *students = json_array(), *results = json_array();
	report_verdict(c, verdict, sizeof verdict);
	bool said = report_verdict_control(c, distillation, sizeof distillation);
	for (int i = 0; i < c->n_rows; i++) {
		json_array_append_new(students, row_json(c, &c->rows[i]));
		for (int s = 0; s < c->rows[i].n_seeds; s++)
			json_array_append_new(results, result_to_json(c->rows[i].seeds[s]));
	}
	return json_pack("{s:s, s:s, s:o, s:s, s:{s:i, s:f, s:I}, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "title", r->options->title, "verdict",
			 verdict, "distillation", said ? json_string(distillation) : json_null(), "reference", c->rows[c->reference].name, "bootstrap", "resamples", c->bootstrap.resamples, "level",
			 c->bootstrap.level, "seed", (json_int_t)c->bootstrap.seed, "domains", domains_json(c), "students",
			 students, "controls", pairs_json(c, c->controls, c->n_controls), "caches",
			 pairs_json(c, c->caches, c->n_caches), "notes", notes_json(r), "results", results, "curves", curves_json(&r->curves), "masks",
			 masks_json(&r->curves));
}

int report_write_json(const struct report *r, struct err *e)
{
	char path[2048];
	snprintf(path, sizeof path, "%s/report.json", r->options->dir);
	json_t *j = report_json(r);
	int rc = j ? json_write_file(path, j, e) : err_run(e, "%s: out of memory, or a name that is not UTF-8", path);
	json_decref(j);
	return rc;
}

/* report.json: the comparison, every result as it was read, and the curves. Test: tests/test_report.c
 *   {"title", "verdicts": a sentence for each size, "distillation": the sentence on controls | null, "reference", "bootstrap": {"resamples", "level",
 *      "seed"}, "domains": [{"name", "unit", …}],
 *    "students": [{"name", "role", "rank", "group": which of the sizes | null, "seeds": […], "eval": {"<domain>": {"nll", "interval": [low, high],
 *      "perplexity", "bits_per_byte", "difference": {"to", "unit", "mean", "interval"} | null, …}}}],
 *    "ways": [{"way", "students": [by size, null: none], "to_best": {"<domain>": [by size: as "difference" below, {"best": true} |
 *      null]}}],
 *    "controls" and "caches": [{"student", "other": "…" | null, "seeds": 1, "difference": {"<domain>": {"unit", "mean", "interval",
 *      "deviation": over the seeds | null} | null}}],
 *    "searches": [for shapes: as results/shape_search.h says], "notes": […], "results": [result.json …], "curves": [{"name", "seed", "phase", "tokens": […], "heldout_nll": […]}],
 *    "masks": [{"name", "seed", "also": […], "structure", "step": […], "target": […], "expected": […]}]} */
#include "results/report.h"

#include "base/json.h"
#include "results/shape_search.h"

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

static json_t *difference_json(const struct comparison *c, const struct compare_row *row, int d)
{
	const struct compare_cell *cell = &row->cells[d];
	if (!cell->paired)
		return json_null();
	return json_pack("{s:s, s:s, s:o, s:o}", "to", c->rows[compare_reference(c, row)].name, "unit", compare_unit(c, d), "mean",
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
			 difference_json(c, row, d), "agreement_top1", number(cell->has_teacher ? cell->agreement_top1 : NAN),
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
	return json_pack("{s:s, s:s, s:o, s:b, s:o, s:I, s:o, s:o, s:o}", "name", row->name, "role",
			 row->teacher ? "teacher" : "student", "rank", row->rank ? json_integer(row->rank) : json_null(),
			 "reference", row->reference, "group", row->group < 0 ? json_null() : json_integer(row->group), "parameters",
			 (json_int_t)row->seeds[0]->parameters, "flops_per_token", number(row->seeds[0]->flops_per_token), "seeds",
			 seeds, "eval", eval);
}

static json_t *pair_cell_json(const struct comparison *c, const struct compare_pair_cell *cell, int d)
{
	if (!cell->paired)
		return json_null();
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
			json_object_set_new(difference, c->domains[d].name, p->other < 0 ? json_null() : pair_cell_json(c, &p->cells[d], d));
		json_array_append_new(list, json_pack("{s:s, s:o, s:i, s:o}", "student", c->rows[p->row].name, "other",
						      p->other < 0 ? json_null() : json_string(c->rows[p->other].name), "seeds",
						      p->other < 0 ? 0 : p->cells[0].n_seeds, "difference", difference));
	}
	return list;
}

static json_t *to_best_json(const struct comparison *c, const struct compare_way *way, int d)
{
	json_t *list = json_array();
	for (int g = 0; g < c->n_groups; g++) {
		const struct compare_cell *cell = way->rows[g] < 0 ? NULL : &c->rows[way->rows[g]].cells[d];
		json_array_append_new(list, !cell ? json_null() : cell->best ? json_pack("{s:b}", "best", 1) : pair_cell_json(c, &cell->to_best, d));
	}
	return list;
}

static json_t *ways_json(const struct comparison *c)
{
	json_t *list = json_array();
	for (int i = 0; i < c->n_ways; i++) {
		const struct compare_way *way = &c->ways[i];
		json_t *students = json_array(), *to_best = json_object();
		for (int g = 0; g < c->n_groups; g++)
			json_array_append_new(students, way->rows[g] < 0 ? json_null() : json_string(c->rows[way->rows[g]].name));
		for (int d = 0; d < c->n_domains; d++)
			json_object_set_new(to_best, c->domains[d].name, to_best_json(c, way, d));
		json_array_append_new(list, json_pack("{s:s, s:o, s:o}", "way", way->text, "students", students, "to_best", to_best));
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

static json_t *searches_json(const struct comparison *c)
{
	json_t *list = json_array();
	for (int i = 0; i < c->n_searches; i++)
		json_array_append_new(list, shape_search_to_json(c->searches[i]));
	return list;
}

static json_t *report_json(const struct report *r)
{
	char verdict[1024], distillation[1024];
	const struct comparison *c = r->comparison;
	json_t *students = json_array(), *results = json_array(), *verdicts = json_array();
	for (int i = 0; report_verdict(c, i, verdict, sizeof verdict); i++)
		json_array_append_new(verdicts, json_string(verdict));
	bool said = report_verdict_control(c, distillation, sizeof distillation);
	for (int i = 0; i < c->n_rows; i++) {
		json_array_append_new(students, row_json(c, &c->rows[i]));
		for (int s = 0; s < c->rows[i].n_seeds; s++)
			json_array_append_new(results, result_to_json(c->rows[i].seeds[s]));
	}
	return json_pack("{s:s, s:o, s:o, s:s, s:{s:i, s:f, s:I}, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "title", r->options->title, "verdicts",
			 verdicts, "distillation", said ? json_string(distillation) : json_null(), "reference", c->rows[c->reference].name, "bootstrap", "resamples", c->bootstrap.resamples, "level",
			 c->bootstrap.level, "seed", (json_int_t)c->bootstrap.seed, "domains", domains_json(c), "students",
			 students, "ways", ways_json(c), "controls", pairs_json(c, c->controls, c->n_controls), "caches",
			 pairs_json(c, c->caches, c->n_caches), "searches", searches_json(c), "notes", notes_json(r), "results", results, "curves", curves_json(&r->curves), "masks",
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

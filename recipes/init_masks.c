/* init.masks: masks are learned with the weights, then cut. Test: tests/test_run.c through the program. */
#include "recipes/init_parts.h"

#include "base/json.h"
#include "base/log.h"
#include "recipes/stage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void warn_of_deviation(struct init *in)
{
	for (int k = 0; k < MASK_STRUCTURES; k++) {
		const char *name = mask_structure_name((enum mask_structure)k);
		double target = in->report.final_target[k], off = in->report.expected[k] / target - 1;
		if (target > 0 && fabs(off) > MASK_TOLERANCE)
			init_warn(in, "masks: the expected size of %s is %.2f before the cut, %.1f %% off its target %.0f", name, in->report.expected[k],
			     100 * off, target);
		else if (target > 0 && in->report.worst_row[k] > MASK_TOLERANCE)
			init_warn(in, "masks: a row of %s is %.1f %% off its target %.0f before the cut (their mean is %.2f)", name,
			     100 * in->report.worst_row[k], target, in->report.expected[k]);
	}
}

static json_t *report_json(const struct init *in)
{
	json_t *structures = json_object(), *warnings = json_array();
	const struct mask_report *r = &in->report;
	for (int k = 0; k < MASK_STRUCTURES; k++)
		if (r->final_target[k] > 0)
			json_object_set_new(structures, mask_structure_name((enum mask_structure)k),
					    json_pack("{s:i,s:i,s:f,s:f,s:f}", "units", r->units[k], "target", r->final_target[k], "expected",
						      r->expected[k], "worst_row", r->worst_row[k], "saturated", r->saturated[k]));
	for (int i = 0; i < in->n_warnings; i++)
		json_array_append_new(warnings, json_string(in->warnings[i]));
	return json_pack("{s:s,s:f,s:f,s:f,s:f,s:o,s:o}", "cut", in->soft ? "soft" : "hard", "soft_nll", in->soft_nll, "hard_nll", in->hard_nll,
			 "unmasked_nll_before", in->unmasked_nll[0], "unmasked_nll_after", in->unmasked_nll[1], "structures", structures,
			 "warnings", warnings);
}

int init_read_masks(struct init *in, struct err *e)
{
	char *path = path_format("%s/masks.json", in->dir);
	json_t *o = NULL, *structures;
	const char *cut;
	int rc = -1;
	TRY(json_read_file(path, &o, e));
	TRY(json_get_string(o, path, "cut", "soft", &cut, e));
	in->soft = !strcmp(cut, "soft");
	TRY(json_get_double(o, path, "soft_nll", 0, 0, 1e9, &in->soft_nll, e));
	TRY(json_get_double(o, path, "hard_nll", 0, 0, 1e9, &in->hard_nll, e));
	TRY(json_get_double(o, path, "unmasked_nll_before", 0, 0, 1e9, &in->unmasked_nll[0], e));
	TRY(json_get_double(o, path, "unmasked_nll_after", 0, 0, 1e9, &in->unmasked_nll[1], e));
	structures = json_object_get(o, "structures");
	for (int k = 0; k < MASK_STRUCTURES; k++) {
		const json_t *s = json_object_get(structures, mask_structure_name((enum mask_structure)k));
		in->report.final_target[k] = s ? (int)json_integer_value(json_object_get(s, "target")) : -1;
		in->report.units[k] = s ? (int)json_integer_value(json_object_get(s, "units")) : 0;
		in->report.expected[k] = s ? json_number_value(json_object_get(s, "expected")) : 0;
		in->report.worst_row[k] = s ? json_number_value(json_object_get(s, "worst_row")) : 0;
	}
	const json_t *warnings = json_object_get(o, "warnings");
	for (size_t i = 0; i < json_array_size(warnings) && in->n_warnings < INIT_MAX_WARNINGS; i++)
		snprintf(in->warnings[in->n_warnings++], sizeof in->warnings[0], "%s", json_string_value(json_array_get(warnings, i)));
	rc = 0;
out:
	json_decref(o);
	free(path);
	return rc;
}

/* Both cuts are measured under masks on held-out text; the better one, or the one that was asked for, is made. */
static int choose_and_cut(struct init *in, const struct run *run, const struct source *from, const struct masks_spec *spec, struct session *session,
			  struct mask_learner *learner, const char *model, struct err *e)
{
	struct host_masks z = {0};
	struct kept kept = {0};
	void *block = NULL;
	size_t n = session->student.layout.n_elems;
	float *weights = malloc(n * sizeof *weights);
	char *masks_path = path_format("%s/masks.safetensors", in->dir), *json_path = path_format("%s/masks.json", in->dir);
	json_t *report = NULL;
	int rc = -1;
	if (!weights) {
		err_run(e, "out of memory: %zu bytes for the masked weights", n * sizeof *weights);
		goto out;
	}
	TRY(host_masks_alloc(&z, &block, learner, e));
	mask_learner_final(learner, false, &z);
	TRY(loop_heldout(run, session, &z, &in->hard_nll, e));
	in->soft_nll = in->hard_nll;
	if (spec->method == METHOD_HARD_CONCRETE) {
		mask_learner_final(learner, true, &z);
		TRY(loop_heldout(run, session, &z, &in->soft_nll, e));
		in->soft = spec->cut == CUT_SOFT || (spec->cut == CUT_BEST && in->soft_nll < in->hard_nll);
		mask_learner_final(learner, in->soft, &z);
		log_line("masks: held-out loss of the soft cut %.4f, of the hard cut %.4f: the %s one is made", in->soft_nll, in->hard_nll,
			 in->soft ? "soft" : "hard");
	}
	log_line("masks: held-out loss of the cut %.4f; of the whole model %.4f before the phase, %.4f after it",
		 in->soft ? in->soft_nll : in->hard_nll, in->unmasked_nll[0], in->unmasked_nll[1]);
	TRY(kept_from_masks(&kept, &session->student.layout.arch, &in->start.arch, &z, e));
	TRY(masks_save(masks_path, &session->student.layout.arch, &z, e));
	student_weights(&session->student, weights);
	TRY(init_save_cut(run, from, &in->start, &kept, &z, model, weights, e));
	warn_of_deviation(in);
	report = report_json(in);
	TRY(json_write_file(json_path, report, e));
	rc = 0;
out:
	json_decref(report);
	kept_release(&kept);
	free(block);
	free(weights);
	free(masks_path);
	free(json_path);
	return rc;
}

static struct schedule masks_schedule(const struct masks_spec *m)
{
	int steps = (int)(m->tokens / m->batch_tokens);
	return (struct schedule){.kind = (enum schedule_kind)m->schedule, .peak = (float)m->lr, .final_fraction = (float)m->final_lr,
				 .total_steps = steps, .warmup_steps = (int)lround(m->warmup * steps), .decay_steps = (int)lround(0.2 * steps)};
}

static struct mask_options options_of(const struct masks_spec *m, int steps, uint64_t seed)
{
	static const enum mask_rule controls[] = {[CONTROL_SOLVED] = MASK_SOLVED, [CONTROL_CODE] = MASK_CODE, [CONTROL_PAPER] = MASK_PAPER};
	struct mask_options o = mask_default(m->method == METHOD_SOFT_TOPK ? MASK_SOFT_TOPK : controls[m->control], steps);
	o.seed = seed;
	if (!isnan(m->mask_warmup))
		o.warmup_fraction = (float)m->mask_warmup;
	return o;
}

int init_learn_masks(struct init *in, const struct run *run, const struct source *from, const struct masks_spec *spec, uint64_t seed,
		     const char *model, struct err *e)
{
	const struct arch *source = &from->model->layout.arch;
	struct session session = {0};
	struct supply *supply = NULL;
	struct schedule schedule = masks_schedule(spec);
	struct mask_options options = options_of(spec, schedule.total_steps, seed);
	struct mask_learner *learner = NULL;
	struct start whole = {.arch = *source, .dir = from->dir};
	int rc = -1;
	if (schedule.total_steps < MASK_FEW_STEPS)
		init_warn(in, "masks: %d steps are few, %d and more order the units better: raise tokens or lower batch_tokens", schedule.total_steps,
		     MASK_FEW_STEPS);
	TRY(mask_learner_open(&learner, source, &in->start.arch, &options, e));
	if (spec->distill)
		TRY(supply_open(&supply, run, spec->distill, source, from->kept, e));
	struct session_options o = phase_session(run, NULL, spec, source, supply);
	o.student.projection_seed = seed;
	if (supply)
		supply_log(supply, "masks");
	TRY(phase_micro_batch(run, in->dir, supply, &o, spec->batch_tokens, e));
	if (supply)
		TRY(supply_fill(supply, &(struct supply_stream){seed, from->spent_tokens, schedule.total_steps * spec->batch_tokens, "masks"}, &o, e));
	TRY(session_open(&session, &o, e));
	TRY(phase_load(&session.student, &whole, seed, e));
	struct loop loop = {.run = run, .dir = in->dir, .label = "masks", .session = &session, .masks = learner, .supply = supply,
			    .schedule = schedule, .seed = seed, .skip_tokens = from->spent_tokens, .batch_tokens = spec->batch_tokens, .eval_every = spec->eval_every,
			    .checkpoint_every = spec->checkpoint_every};
	TRY(loop_heldout(run, &session, NULL, &in->unmasked_nll[0], e));
	TRY(loop_run(&loop, e));
	in->unmasked_nll[1] = loop.heldout_nll;
	in->report = loop.report;
	TRY(choose_and_cut(in, run, from, spec, &session, learner, model, e));
	TRY(stage_finish(in->dir, e));
	rc = 0;
out:
	session_close(&session);
	supply_close(supply);
	mask_learner_close(learner);
	return rc;
}

#include "recipes/distill.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

/* ---- presets ---- */

static const char distilbert[] = "[{ce: 2.0}, {loss: forward_kl, weight: 5.0, temperature: 2.0},"
				 " {loss: hidden_cosine, weight: 1.0, student_layers: [-1], teacher_layers: [-1]}]";

static int refuse_beside_preset(const struct distill_spec *d, struct err *e)
{
	const struct yaml_node *at;
	for (const struct key *k = distill_section.keys; k->name; k++)
		if ((k->unless || !strcmp(k->name, "losses")) && (at = yaml_get(d->at, k->name)) && !yaml_is_null(at))
			return yaml_caret(e, at, "%s: not beside preset, which is a whole list of losses", k->name);
	return 0;
}

static int expand_preset(struct distill_spec *d, struct pool *p, struct err *e)
{
	struct yaml_tree t = {0};
	struct distill_spec *list;
	int rc = -1;
	TRY(refuse_beside_preset(d, e));
	TRY(yaml_parse_text(&t, "preset", distilbert, strlen(distilbert), e));
	TRY(section_parse((void **)&list, &distill_section, t.root, p, e));
	d->losses = list->losses;
	d->preset = PRESET_NONE;
	for (int i = 0; i < d->losses.n; i++)
		((struct loss_spec *)d->losses.v[i])->at = d->losses.at[i] = yaml_get(d->at, "preset");
	rc = 0;
out:
	yaml_release(&t);
	return rc;
}

int distill_finish(struct distill_spec *d, struct pool *p, struct err *e)
{
	if (!d)
		return 0;
	d->one.at = d->at;
	d->one.ce = d->one.ce_end = (double)NAN;
	return d->preset == PRESET_DISTILBERT ? expand_preset(d, p, e) : 0;
}

int distill_n_losses(const struct distill_spec *d)
{
	return d->losses.n ? d->losses.n : 1;
}

const struct loss_spec *distill_loss(const struct distill_spec *d, int i)
{
	return d->losses.n ? d->losses.v[i] : &d->one;
}

/* ---- the plan ---- */

static double or_else(double value, double absent)
{
	return isnan(value) ? absent : value;
}

static double parameter(const struct loss_spec *l)
{
	switch (l->loss) {
	case DIVERGENCE_SYMMETRIC_KL:
		return l->reverse;
	case DIVERGENCE_JSD:
	case DIVERGENCE_JSD_NORMALIZED:
		return or_else(l->beta, 0.5);
	case DIVERGENCE_SKEW_FORWARD_KL:
	case DIVERGENCE_SKEW_REVERSE_KL:
		return l->skew;
	case DIVERGENCE_ADAPTIVE_KL:
		return l->mu;
	case DIVERGENCE_ALPHA_BETA:
		return l->alpha;
	default:
		return 0;
	}
}

static void add_loss(struct distill_plan *p, const struct loss_spec *l)
{
	double weight_end = or_else(l->weight_end, l->weight);
	if (!isnan(l->ce)) {
		p->ce = l->ce;
		p->ce_end = or_else(l->ce_end, l->ce);
		p->ce_schedule = l->schedule;
	} else if (l->loss < DIVERGENCES) {
		BUG_ON(p->n_terms == STUDENT_MAX_TERMS);
		p->terms[p->n_terms++] = (struct distill_term){.kind = (enum divergence)l->loss, .weight = l->weight, .weight_end = weight_end,
			.tau = l->temperature, .tau_end = or_else(l->temperature_end, l->temperature), .a = parameter(l),
			.b = l->loss == DIVERGENCE_ALPHA_BETA ? or_else(l->beta, 0.2) : 0, .schedule = l->schedule};
	} else {
		static const enum inner_kind kinds[] = {INNER_HIDDEN_COSINE, INNER_HIDDEN_MSE, INNER_RELATIONS};
		BUG_ON(p->n_inner == STUDENT_MAX_INNER);
		p->inner[p->n_inner++] = (struct distill_inner){.kind = kinds[l->loss - DIVERGENCES], .weight = l->weight, .weight_end = weight_end,
			.schedule = l->schedule, .spec = l};
	}
}

void distill_plan_from(const struct distill_spec *d, struct distill_plan *p)
{
	*p = (struct distill_plan){.balance = d->balance == BALANCE_MAGNITUDE, .skip_separators = d->skip_separators, .cache = d->cache};
	for (int i = 0; i < distill_n_losses(d); i++)
		add_loss(p, distill_loss(d, i));
	if (!d->losses.n) {
		p->ce = 1 - d->one.weight;
		p->ce_end = 1 - or_else(d->one.weight_end, d->one.weight);
		p->ce_schedule = d->one.schedule;
	}
}

/* ---- layers ---- */

static int layer_of(int64_t layer, int L, const char *whose, const struct distill_inner *in, int *out, struct err *e)
{
	const char *key = whose[0] == 's' ? "student_layers" : "teacher_layers";
	const struct yaml_node *at = yaml_get(in->spec->at, key);
	if (layer < -L || layer >= L)
		return yaml_caret(e, at ? at : in->spec->at, "%s: there is no layer %lld in the %d of the %s", key, (long long)layer, L, whose);
	*out = (int)(layer < 0 ? layer + L : layer);
	return 0;
}

static int teacher_layer(int layer, int student_L, int teacher_L, const int *kept)
{
	int l = (2 * (layer + 1) * teacher_L + student_L) / (2 * student_L) - 1;
	return kept ? kept[layer] : l > 0 ? l : 0;
}

static int map_item(struct distill_inner *in, int room, int student_L, int teacher_L, const int *kept, struct err *e)
{
	const struct int_list *own = &in->spec->student_layers, *theirs = &in->spec->teacher_layers;
	int first = in->kind == INNER_RELATIONS ? student_L - 1 : 0;
	in->n_pairs = own->n ? own->n : student_L - first;
	if (in->n_pairs > room)
		return yaml_caret(e, in->spec->at, "%s: %d layers make more than %d inner losses in all; name fewer in student_layers",
				  loss_names[in->spec->loss], in->n_pairs, STUDENT_MAX_INNER);
	for (int i = 0; i < in->n_pairs; i++) {
		struct layer_pair *pair = &in->pairs[i];
		pair->student = first + i;
		if (own->n && layer_of(own->v[i], student_L, "student", in, &pair->student, e) < 0)
			return -1;
		pair->teacher = teacher_layer(pair->student, student_L, teacher_L, kept);
		if (theirs->n && layer_of(theirs->v[i], teacher_L, "teacher", in, &pair->teacher, e) < 0)
			return -1;
	}
	return 0;
}

int distill_map_layers(struct distill_plan *p, int student_L, int teacher_L, const int *kept, struct err *e)
{
	int room = STUDENT_MAX_INNER;
	for (int i = 0; i < p->n_inner; i++) {
		if (map_item(&p->inner[i], room, student_L, teacher_L, kept, e) < 0)
			return -1;
		room -= p->inner[i].n_pairs;
	}
	return 0;
}

/* ---- a step ---- */

static double on_the_way(int schedule, double start, double end, double x)
{
	const double pi = 3.14159265358979323846;
	if (schedule == DISTILL_CONSTANT || start == end) /* to the bit */
		return start;
	return start + (end - start) * (schedule == DISTILL_COSINE ? (1 - cos(pi * x)) / 2 : x);
}

void distill_at(const struct distill_plan *p, int step, int steps, struct step_loss *out)
{
	BUG_ON(step < 0 || step >= steps);
	double x = steps > 1 ? (double)step / (steps - 1) : 0;
	out->ce_weight = (float)on_the_way(p->ce_schedule, p->ce, p->ce_end, x);
	out->kd_skip_separators = p->skip_separators;
	out->n_terms = p->n_terms;
	for (int i = 0; i < p->n_terms; i++) {
		const struct distill_term *t = &p->terms[i];
		out->terms[i] = (struct divergence_term){.kind = t->kind, .weight = (float)on_the_way(t->schedule, t->weight, t->weight_end, x),
			.tau = (float)on_the_way(t->schedule, t->tau, t->tau_end, x), .a = (float)t->a, .b = (float)t->b};
	}
	int n = 0;
	for (int i = 0; i < p->n_inner; i++) {
		const struct distill_inner *in = &p->inner[i];
		BUG_ON(!in->n_pairs);
		for (int k = 0; k < in->n_pairs; k++)
			out->inner_weight[n++] = (float)(on_the_way(in->schedule, in->weight, in->weight_end, x) / in->n_pairs);
	}
}

/* ---- words ---- */

struct words {
	char *at;
	size_t left;
};

static void say(struct words *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct words *w, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(w->at, w->left, fmt, args);
	va_end(args);
	size_t took = (size_t)n < w->left ? (size_t)n : w->left ? w->left - 1 : 0;
	w->at += took;
	w->left -= took;
}

static void say_value(struct words *w, const char *name, double start, double end, int schedule)
{
	static const char *const curves[] = {"", " linear", " cosine"};
	say(w, "%s%g", name, start);
	if (schedule != DISTILL_CONSTANT && start != end)
		say(w, " to %g%s", end, curves[schedule]);
}

static void say_term(struct words *w, const struct distill_term *t)
{
	static const char *const parameters[DIVERGENCES] = {[DIVERGENCE_SYMMETRIC_KL] = "reverse", [DIVERGENCE_JSD] = "beta",
		[DIVERGENCE_JSD_NORMALIZED] = "beta", [DIVERGENCE_SKEW_FORWARD_KL] = "skew", [DIVERGENCE_SKEW_REVERSE_KL] = "skew",
		[DIVERGENCE_ADAPTIVE_KL] = "mu", [DIVERGENCE_ALPHA_BETA] = "alpha"};
	say(w, "%s", loss_names[t->kind]);
	if (parameters[t->kind])
		say(w, " %s %g", parameters[t->kind], t->a);
	if (t->kind == DIVERGENCE_ALPHA_BETA)
		say(w, " beta %g", t->b);
	say_value(w, " w ", t->weight, t->weight_end, t->schedule);
	say_value(w, " tau ", t->tau, t->tau_end, t->schedule);
}

static void say_layers(struct words *w, const char *name, const struct int_list *list)
{
	for (int i = 0; i < list->n; i++)
		say(w, "%s%s%lld", i ? "," : " ", i ? "" : name, (long long)list->v[i]);
}

static void say_inner(struct words *w, const struct distill_inner *in)
{
	say(w, "%s", loss_names[in->spec->loss]);
	say_layers(w, "layers ", &in->spec->student_layers);
	say_layers(w, "of ", &in->spec->teacher_layers);
	say_value(w, " w ", in->weight, in->weight_end, in->schedule);
}

void distill_text(const struct distill_plan *p, char *text, size_t n_bytes)
{
	struct words w = {text, n_bytes};
	const char *comma = "";
	say(&w, "%s", "");
	for (int i = 0; i < p->n_terms; i++, comma = "; ") {
		say(&w, "%s", comma);
		say_term(&w, &p->terms[i]);
	}
	for (int i = 0; i < p->n_inner; i++, comma = "; ") {
		say(&w, "%s", comma);
		say_inner(&w, &p->inner[i]);
	}
	if (p->ce != 0 || p->ce_end != 0) {
		say(&w, "%s", comma);
		say_value(&w, "ce ", p->ce, p->ce_end, p->ce_schedule);
	}
	if (p->balance)
		say(&w, "; balanced");
	if (!p->skip_separators)
		say(&w, "; separators too");
}

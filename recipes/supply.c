#include "recipes/supply.h"

#include "base/hash.h"
#include "base/log.h"
#include "recipes/stage.h"

#include <stdlib.h>
#include <string.h>

static const struct hf_model *teacher_of(const struct supply *s, int i)
{
	return &s->run->teachers[i].model;
}

/* ---- inner losses ---- */

static enum projection_kind projection_of(const struct loss_spec *spec, int student_C, int teacher_C, const struct kept *kept)
{
	if (spec->projection != PROJECT_AUTO)
		return spec->projection == PROJECT_KEPT ? PROJECTION_KEPT : spec->projection == PROJECT_LEARNED ? PROJECTION_LEARNED : PROJECTION_NONE;
	if (student_C == teacher_C)
		return PROJECTION_NONE;
	return kept ? PROJECTION_KEPT : PROJECTION_LEARNED;
}

static int set_hidden(struct inner_term *t, const struct loss_spec *spec, const struct shape *student, const struct shape *teacher,
		      const struct kept *kept, struct err *e)
{
	t->projection = projection_of(spec, student->C, teacher->C, kept);
	t->teacher_C = teacher->C;
	t->columns = kept ? kept->hidden : NULL;
	if (t->projection == PROJECTION_NONE && student->C != teacher->C)
		return yaml_caret(e, spec->at, "projection: none, but the student has %d hidden dimensions and the teacher %d", student->C, teacher->C);
	if (t->projection == PROJECTION_KEPT && !kept)
		return yaml_caret(e, spec->at, "projection: kept, but the student was not cut from the teacher; expected auto or learned");
	return 0;
}

static int set_relations(struct inner_term *t, const struct loss_spec *spec, const struct shape *student, const struct shape *teacher,
			 struct err *e)
{
	struct relation_shape own = {student->NH, student->NKV, student->HD};
	t->teacher_heads = (struct relation_shape){teacher->NH, teacher->NKV, teacher->HD};
	t->relation_heads = spec->relation_heads ? (int)spec->relation_heads : relation_heads_default(own, t->teacher_heads);
	if (!relation_heads_fit(t->relation_heads, own, t->teacher_heads))
		return yaml_caret(e, spec->at, "relation_heads: %d does not divide the widths of queries and keys of both models", t->relation_heads);
	return 0;
}

static int set_inner(struct supply *s, const struct arch *student, const struct kept *kept, struct err *e)
{
	const struct shape *teacher = &teacher_of(s, 0)->layout.arch.shape;
	if (!s->plan.n_inner)
		return 0;
	TRY(distill_map_layers(&s->plan, student->shape.L, teacher->L, kept ? kept->layers : NULL, e));
	for (int i = 0; i < s->plan.n_inner; i++)
		for (int k = 0; k < s->plan.inner[i].n_pairs; k++) {
			const struct distill_inner *item = &s->plan.inner[i];
			struct inner_term *t = &s->inner[s->n_inner++];
			*t = (struct inner_term){.kind = item->kind, .student_layer = item->pairs[k].student, .teacher_layer = item->pairs[k].teacher};
			if (item->kind == INNER_RELATIONS)
				TRY(set_relations(t, item->spec, &student->shape, teacher, e));
			else
				TRY(set_hidden(t, item->spec, &student->shape, teacher, kept, e));
			(item->kind == INNER_RELATIONS ? s->keep_qkv : s->keep_hidden)[t->teacher_layer] = true;
		}
	return 0;
out:
	return -1;
}

static void log_inner(const struct distill_inner *item, const struct inner_term *first, const char *label)
{
	static const char *const projections[] = {[PROJECTION_NONE] = "", [PROJECTION_KEPT] = ", on the columns that the cut kept",
						  [PROJECTION_LEARNED] = ", through a learned projection"};
	char pairs[512] = "";
	for (int k = 0, n = 0; k < item->n_pairs && n < (int)sizeof pairs - 16; k++)
		n += snprintf(pairs + n, sizeof pairs - (size_t)n, "%s%d of %d", k ? ", " : "", first[k].student_layer, first[k].teacher_layer);
	log_line("%s: %s, student layer of teacher layer: %s%s", label, loss_names[item->spec->loss], pairs,
		 item->kind == INNER_RELATIONS ? "" : projections[first->projection]);
}

void supply_log(const struct supply *s, const char *label)
{
	for (int i = 0, at = 0; i < s->plan.n_inner; at += s->plan.inner[i++].n_pairs)
		log_inner(&s->plan.inner[i], &s->inner[at], label);
}

/* ---- caches ---- */

static void set_cache(struct supply *s)
{
	const struct cache_section *c = s->plan.cache;
	struct cache_spec *out = &s->spec;
	bool top_p = c->top_p > 0 && c->top_p < 1;
	*out = (struct cache_spec){.kind = c->hidden ? CACHE_HIDDEN : c->samples ? CACHE_SAMPLED : top_p ? CACHE_TOP_P : CACHE_TOP_K,
				   .value_type = c->precision == COMPUTE_BF16 ? DTYPE_BF16 : DTYPE_F32};
	s->missing = c->samples ? MISSING_SAMPLED : (enum missing_mass)c->missing;
	if (c->hidden)
		return;
	out->K = (int)(c->samples ? c->samples : c->top_k);
	out->tau = s->plan.terms[0].tau; /* check.c: they are all the same, and do not change */
	if (top_p)
		out->top_p = c->top_p;
	if (c->samples) /* seed 0: what is drawn depends on the text alone, so that runs share it */
		out->power = c->proposal;
}

struct cache_spec supply_cache_spec(const struct run *run, const struct distill_spec *spec)
{
	struct supply s = {.run = run};
	distill_plan_from(spec, &s.plan);
	set_cache(&s);
	return s.spec;
}

static int n_columns(const struct supply *s, int i)
{
	int V = teacher_of(s, i)->layout.arch.shape.V, n = s->run->corpus.tokenizer ? tokenizer_vocab_size(s->run->corpus.tokenizer) : V;
	return n < V ? n : V;
}

/* In bf16 the same checkpoint says something else. */
static uint64_t teacher_identity(const struct run_teacher *t)
{
	uint64_t parts[] = {t->hash, 16};
	return t->ops && t->ops->matmul_bf16 ? hash_bytes(parts, sizeof parts) : t->hash;
}

struct cache_identity supply_cache_identity(const struct supply *s, int i)
{
	const struct run *run = s->run;
	return (struct cache_identity){.teacher = teacher_identity(&run->teachers[i]), .tokenizer = run->corpus.tokenizer ? tokenizer_hash(run->corpus.tokenizer) : 0,
				       .corpus = run->corpus.train_hash, .V = n_columns(s, i), .C = teacher_of(s, i)->layout.arch.shape.C};
}

static int check_columns(const struct supply *s, struct err *e)
{
	for (int i = 0; i < s->run->n_teachers && s->plan.cache; i++)
		if (s->spec.kind != CACHE_HIDDEN && s->spec.K > n_columns(s, i))
			return yaml_caret(e, s->plan.cache->at, "cache: %d tokens of each row, but the vocabulary has %d", s->spec.K, n_columns(s, i));
	return 0;
}

char *supply_cache_dir(const struct supply *s, int i)
{
	const struct cache_section *c = s->plan.cache;
	struct cache_identity id = supply_cache_identity(s, i);
	struct hash h;
	double numbers[] = {s->spec.kind, s->spec.K, s->spec.top_p, s->spec.power, s->spec.tau, s->spec.value_type, (double)s->spec.seed};
	uint64_t hashes[] = {id.teacher, id.tokenizer, id.corpus};
	if (c->dir && s->run->n_teachers == 1)
		return path_format("%s", c->dir);
	if (c->dir)
		return path_format("%s/teacher-%d", c->dir, i);
	hash_init(&h);
	hash_update(&h, numbers, sizeof numbers);
	hash_update(&h, hashes, sizeof hashes);
	return path_format("%s/cache/%s-%08x", s->run->dir, cache_kind_name(s->spec.kind), (unsigned)hash_final(&h));
}

size_t supply_cache_row_bytes(const struct supply *s)
{
	size_t n = 0;
	for (int i = 0; i < s->run->n_teachers; i++) {
		struct cache_identity id = supply_cache_identity(s, i);
		n += cache_row_bytes(&s->spec, &id);
	}
	return n;
}

void supply_cache_text(const struct supply *s, char *text, size_t n_bytes)
{
	static const char *const conventions[] = {"renormalise", "zero", "tail", "sampled"};
	const char *type = s->spec.value_type == DTYPE_BF16 ? ", bf16" : "";
	if (s->spec.kind == CACHE_HIDDEN)
		snprintf(text, n_bytes, "hidden %d%s", teacher_of(s, 0)->layout.arch.shape.C, type);
	else if (s->spec.kind == CACHE_SAMPLED)
		snprintf(text, n_bytes, "samples %d%s", s->spec.K, type);
	else if (s->spec.kind == CACHE_TOP_P)
		snprintf(text, n_bytes, "top_k %d, %s, top_p %g%s", s->spec.K, conventions[s->missing], s->spec.top_p, type);
	else
		snprintf(text, n_bytes, "top_k %d, %s%s", s->spec.K, conventions[s->missing], type);
}

/* ---- the whole ---- */

int supply_open(struct supply **out, const struct run *run, const struct distill_spec *spec, const struct arch *student, const struct kept *kept,
		struct err *e)
{
	struct supply *s = *out = calloc(1, sizeof *s);
	if (!s)
		return err_run(e, "out of memory for the teachers' tables (%zu bytes)", sizeof *s);
	s->run = run;
	distill_plan_from(spec, &s->plan);
	if (s->plan.cache)
		set_cache(s);
	if (set_inner(s, student, kept, e) == 0 && check_columns(s, e) == 0)
		return 0;
	supply_close(s);
	*out = NULL;
	return -1;
}

void supply_session(struct supply *s, struct session_options *o)
{
	o->n_teachers = s->run->n_teachers;
	o->student.n_terms = s->plan.n_terms;
	o->student.n_inner = s->n_inner;
	memcpy(o->student.inner, s->inner, sizeof s->inner);
	for (int i = 0; i < o->n_teachers; i++)
		o->teachers[i] = (struct session_teacher){
			.model = teacher_of(s, i), .ops = s->run->teachers[i].ops, .cached = s->plan.cache != NULL, .cache = s->caches[i],
			.options = {.columns = n_columns(s, i), .cache = s->spec, .missing = s->missing,
				    .keep_hidden = i || !s->n_inner ? NULL : s->keep_hidden, .keep_qkv = i || !s->n_inner ? NULL : s->keep_qkv},
		};
}

void supply_close(struct supply *s)
{
	if (!s)
		return;
	for (int i = 0; i < RECIPE_MAX_TEACHERS; i++)
		cache_close(s->caches[i]);
	free(s);
}

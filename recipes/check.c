/* What the tables of keys cannot say of a recipe, but for its distillation (check_distill.c). Test: tests/test_recipe.c */
#include "recipes/check.h"

#include "base/suggest.h"
#include "prune/scores.h"
#include "recipes/shape_choice.h"
#include "results/compare.h"

#include <string.h>
#include <sys/stat.h>

const struct yaml_node *check_place(const struct yaml_node *section, const char *key)
{
	const struct yaml_node *value = yaml_get(section, key);
	return value ? value : section;
}

/* What counters of steps and rows hold, with room to spare. */
static int check_counts(const struct recipe_spec *r, const struct yaml_node *at, int64_t tokens, int64_t batch_tokens, struct err *e)
{
	const int64_t max_steps = 100000000, max_sequences = 1000000, max_rows = 1 << 30;
	int64_t T = r->data->sequence_length;
	if (batch_tokens / T > max_sequences)
		return yaml_caret(e, check_place(at, "batch_tokens"), "batch_tokens %lld are %lld sequences per step, expected at most %lld",
				  (long long)batch_tokens, (long long)(batch_tokens / T), (long long)max_sequences);
	if (tokens / batch_tokens > max_steps)
		return yaml_caret(e, check_place(at, "tokens"), "tokens %lld are %lld steps of batch_tokens %lld, expected at most %lld", (long long)tokens,
				  (long long)(tokens / batch_tokens), (long long)batch_tokens, (long long)max_steps);
	if (r->micro_batch * T > max_rows)
		return yaml_caret(e, check_place(r->at, "micro_batch"), "micro_batch: %lld sequences of %lld tokens, expected at most %lld tokens",
				  (long long)r->micro_batch, (long long)T, (long long)max_rows);
	return 0;
}

static int check_steps(const struct recipe_spec *r, const struct yaml_node *at, int64_t tokens, int64_t batch_tokens, struct err *e)
{
	int64_t T = r->data->sequence_length;
	if (batch_tokens % T)
		return yaml_caret(e, check_place(at, "batch_tokens"), "batch_tokens %lld is not a multiple of sequence_length %lld", (long long)batch_tokens,
				  (long long)T);
	if (check_counts(r, at, tokens, batch_tokens, e) < 0)
		return -1;
	if (tokens < batch_tokens)
		return yaml_caret(e, check_place(at, "tokens"), "tokens %lld are less than one step of batch_tokens %lld", (long long)tokens,
				  (long long)batch_tokens);
	if (r->micro_batch && batch_tokens / T % r->micro_batch)
		return yaml_caret(e, check_place(r->at, "micro_batch"), "micro_batch: %lld does not divide the %lld sequences of a step",
				  (long long)r->micro_batch, (long long)(batch_tokens / T));
	return 0;
}

int check_train(const struct recipe_spec *r, const struct train_spec *t, struct err *e)
{
	if (check_steps(r, t->at, t->tokens, t->batch_tokens, e) < 0)
		return -1;
	if (!t->lr.n)
		return yaml_caret(e, check_place(t->at, "lr"), "lr: expected at least one rate");
	if (t->lr.n > 8)
		return yaml_caret(e, check_place(t->at, "lr"), "lr: at most 8 rates to search");
	for (int i = 1; i < t->lr.n; i++)
		if (t->lr.v[i] <= t->lr.v[i - 1])
			return yaml_caret(e, check_place(t->at, "lr"), "lr: rates to search are written in rising order");
	return check_distill(t->distill, e);
}

int check_scores(const struct recipe_spec *r, const struct importance_spec *i, struct err *e)
{
	int64_t batch = i->sequences * r->data->sequence_length;
	if (!i->scores && i->method == IMPORTANCE_ACTIVATION && i->layers == LAYERS_OWN)
		return yaml_caret(e, check_place(i->at, "layers"), "layers: activation has no scores of layers of its own; expected influence, loss or kl");
	if (check_counts(r, i->at, i->tokens, batch, e) < 0)
		return -1;
	if (i->tokens < batch)
		return yaml_caret(e, check_place(i->at, "tokens"), "tokens %lld are less than one batch of %lld sequences of %lld", (long long)i->tokens,
				  (long long)i->sequences, (long long)r->data->sequence_length);
	return 0;
}

static int check_importance(const struct recipe_spec *r, const struct importance_spec *i, struct err *e)
{
	const struct shape_spec *target = target_spec(r, i->target);
	if (!target)
		return yaml_caret(e, i->at, "no target: neither here nor at the top of the recipe");
	if (i->merge_kv && shape_is_budget(target))
		return yaml_caret(e, check_place(i->at, "merge_kv"), "merge_kv: not beside a budget, which keeps whole groups of query heads; write the sizes");
	return check_shape(r, i->target, e) < 0 ? -1 : check_scores(r, i, e);
}

int check_init(const struct recipe_spec *r, const struct init_spec *i, struct err *e)
{
	int n = !!i->masks + !!i->layers.n + !!i->importance + !!i->random + !!i->model + !!i->student;
	if (n != 1)
		return yaml_caret(e, i->at, "init: expected exactly one of masks, layers, importance, random, model, student; found %d", n);
	if (i->importance)
		return check_importance(r, i->importance, e);
	if (i->masks && i->masks->method == METHOD_SOFT_TOPK && i->masks->control != CONTROL_SOLVED)
		return yaml_caret(e, check_place(i->masks->at, "control"), "control: %s integrates the multipliers of hard_concrete; soft_topk solves its own: expected solved",
				  i->masks->control == CONTROL_CODE ? "code" : "paper");
	if (i->masks && (check_steps(r, i->masks->at, i->masks->tokens, i->masks->batch_tokens, e) < 0 || check_distill(i->masks->distill, e) < 0))
		return -1;
	if ((i->masks && !i->masks->target && !r->target) || (i->random && !i->random->target && !r->target))
		return yaml_caret(e, i->at, "no target: neither here nor at the top of the recipe");
	return check_shape(r, init_target(i), e);
}

static int check_domain(const struct domain_spec *d, struct err *e)
{
	if (d->generate ? d->train.n || d->eval.n : !d->train.n || !d->eval.n)
		return yaml_caret(e, d->at, "a domain has train and eval files, or generate");
	return 0;
}

static int check_teacher(const struct recipe_spec *r, const struct teacher_spec *t, struct err *e)
{
	if (!!t->model == !!t->init)
		return yaml_caret(e, t->at, "teacher: expected a model directory, or init and train");
	if (t->model)
		return t->train ? yaml_caret(e, t->at, "teacher: a teacher to train further is written {init: {model: DIR}, train: …}") : 0;
	if (!t->train)
		return yaml_caret(e, t->at, "teacher: the key 'train' is missing beside init");
	if (t->train->distill)
		return yaml_caret(e, t->train->at, "teacher: it has no teacher of its own; remove distill");
	if (t->init->masks || t->init->layers.n || t->init->importance || t->init->student)
		return yaml_caret(e, t->init->at, "teacher: init is random or model");
	if (t->init->random && !t->init->random->target)
		return yaml_caret(e, t->init->at, "teacher: random needs a target of its own");
	if (t->init->random && shape_is_budget(t->init->random->target))
		return yaml_caret(e, t->init->random->target->at, "teacher: a budget is searched in a source's shapes; write sizes, or the name of a shape");
	if (check_train(r, t->train, e) < 0)
		return -1;
	return check_init(r, t->init, e);
}

/* One vocabulary for all of the run, made from that of the one teacher. */
static int check_trim(const struct recipe_spec *r, struct err *e)
{
	for (int i = 0; i < r->teachers.n; i++) {
		const struct teacher_spec *t = r->teachers.v[i];
		if (t->trim && r->teachers.n > 1)
			return yaml_caret(e, t->trim->at, "trim: several teachers share one vocabulary, and none is trimmed; trim each beforehand on the same text (espalier trim), or name one");
		if (t->trim && !t->model)
			return yaml_caret(e, t->trim->at, "trim: a teacher that is made here has its vocabulary from data.tokenizer; only a given model is trimmed");
	}
	if (r->teacher->trim && r->data->tokenizer)
		return yaml_caret(e, r->data->tokenizer->at, "tokenizer: the teacher's own is trimmed, and used; remove one of them");
	for (int i = 0; r->teacher->trim && i < r->students.n; i++) {
		const struct init_spec *init = recipe_stage(r->students.v[i], 0)->init; /* a model comes first */
		if (init->model)
			return yaml_caret(e, check_place(init->at, "model"), "model: %s has a vocabulary of its own, the teacher's is trimmed here", init->model);
	}
	return 0;
}

static bool same_directory(const char *a, const char *b)
{
	struct stat sa, sb;
	return !strcmp(a, b) || (!stat(a, &sa) && !stat(b, &sb) && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino);
}

static int check_named_domains(const struct recipe_spec *r, const struct teacher_spec *t, struct err *e)
{
	for (int i = 0; i < t->domains.n; i++) {
		const char *near = suggest_nearest(t->domains.names[i], (const char *const *)r->data->domains.names, (size_t)r->data->domains.n);
		bool found = false;
		for (int k = 0; k < r->data->domains.n; k++)
			found |= !strcmp(t->domains.names[i], r->data->domains.names[k]);
		if (!found)
			return yaml_caret(e, t->domains.at[i], "domains: the data has no domain '%s'%s%s%s", t->domains.names[i], near ? "; did you mean '" : "",
					  near ? near : "", near ? "'?" : "");
	}
	return 0;
}

static int check_shares(const struct recipe_spec *r, struct err *e)
{
	for (int k = 0; k < r->data->domains.n; k++) {
		double sum = 0;
		for (int i = 0; i < r->teachers.n; i++)
			sum += teacher_weight(r->teachers.v[i], r->data->domains.names[k]);
		if (!(sum > 0))
			return yaml_caret(e, r->teacher->at, "teacher: nobody teaches the domain '%s': %s there", r->data->domains.names[k],
					  r->teachers.n > 1 ? "all weights are 0" : "the weight is 0");
	}
	return 0;
}

static int check_teachers(const struct recipe_spec *r, struct err *e)
{
	if (r->teachers.n > RECIPE_MAX_TEACHERS)
		return yaml_caret(e, check_place(r->at, "teacher"), "teacher: at most %d, found %d", RECIPE_MAX_TEACHERS, r->teachers.n);
	for (int i = 0; i < r->teachers.n; i++) {
		const struct teacher_spec *t = r->teachers.v[i];
		if (check_teacher(r, t, e) < 0 || check_named_domains(r, t, e) < 0)
			return -1;
		if (r->teachers.n > 1 && !t->model)
			return yaml_caret(e, t->at, "teacher: one of several is a model directory; only a single one is made here");
		for (int k = 0; k < i; k++) {
			const struct teacher_spec *other = r->teachers.v[k];
			if (same_directory(t->model, other->model))
				return yaml_caret(e, t->at, "teacher: %s is the same model as %s", t->model, other->model);
		}
	}
	return check_shares(r, e);
}

static int check_references(const struct recipe_spec *r, struct err *e)
{
	const struct string_list *references = &r->report->references;
	for (int i = 0; i < references->n; i++) {
		bool found = false;
		for (int k = 0; k < r->students.n; k++)
			found |= !strcmp(references->v[i], r->students.names[k]);
		if (!found)
			return yaml_caret(e, check_place(r->report->at, "reference"), "report.reference: no student is called '%s'", references->v[i]);
	}
	return 0;
}

static int check_students(const struct recipe_spec *r, struct err *e)
{
	for (int i = 0; i < r->students.n; i++) {
		if (check_stages(r, i, e) < 0)
			return -1;
		if (!strcmp(r->students.names[i], "teacher"))
			return yaml_caret(e, r->students.at[i], "the name 'teacher' is taken");
	}
	return check_references(r, e);
}

static int check_seeds(const struct recipe_spec *r, struct err *e)
{
	const struct yaml_node *at = check_place(r->at, "seeds");
	if (!r->seeds.n)
		return yaml_caret(e, at, "seeds: expected at least one");
	for (int i = 1; i < r->seeds.n; i++)
		for (int k = 0; k < i; k++)
			if (r->seeds.v[i] == r->seeds.v[k])
				return yaml_caret(e, at, "seeds: %lld stands twice", (long long)r->seeds.v[i]);
	return 0;
}

/* What the comparison at the end can hold. */
static int check_comparison(const struct recipe_spec *r, struct err *e)
{
	if (r->seeds.n > COMPARE_MAX_SEEDS)
		return yaml_caret(e, check_place(r->at, "seeds"), "seeds: at most %d, found %d", COMPARE_MAX_SEEDS, r->seeds.n);
	if (r->students.n > COMPARE_MAX_ROWS - 1)
		return yaml_caret(e, check_place(r->at, "students"), "students: at most %d, found %d", COMPARE_MAX_ROWS - 1, r->students.n);
	if (r->students.n * r->seeds.n + 1 > RECIPE_MAX_RESULTS)
		return yaml_caret(e, check_place(r->at, "seeds"), "seeds: %d of %d students are %d results, expected at most %d", r->seeds.n, r->students.n,
				  r->students.n * r->seeds.n, RECIPE_MAX_RESULTS - 1);
	return 0;
}

int check_recipe(const struct recipe_spec *r, struct err *e)
{
	for (const char *c = r->name; *c; c++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.", *c) || r->name[0] == '.')
			return yaml_caret(e, yaml_get(r->at, "name"), "name: it becomes a directory: letters, digits, '_', '-' and '.'");
	if (check_seeds(r, e) < 0 || check_comparison(r, e) < 0)
		return -1;
	if (r->report->sequence_length == 1)
		return yaml_caret(e, check_place(r->report->at, "sequence_length"), "report.sequence_length: a window of one token scores nothing; expected 0 or at least 2");
	if (r->data->domains.n > RESULT_MAX_EVALS)
		return yaml_caret(e, check_place(r->data->at, "domains"), "domains: at most %d, found %d", RESULT_MAX_EVALS, r->data->domains.n);
	for (int i = 0; i < r->data->domains.n; i++)
		if (check_domain(r->data->domains.v[i], e) < 0)
			return -1;
	if (check_shape(r, r->target, e) < 0 || check_teachers(r, e) < 0)
		return -1;
	if (r->teacher->init && r->teacher->init->random && !r->data->tokenizer)
		return yaml_caret(e, r->data->at, "data: a teacher made from nothing needs a tokenizer: {train_vocabulary: N} or a path");
	if (r->data->tokenizer && !r->data->tokenizer->path == !r->data->tokenizer->train_vocabulary)
		return yaml_caret(e, r->data->tokenizer->at, "tokenizer: expected a path, or train_vocabulary");
	return check_students(r, e) < 0 ? -1 : check_trim(r, e);
}

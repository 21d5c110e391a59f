/* `plan`: shapes, parameters, FLOPs, memory by owner, disk and time, before anything is made. Test: tests/test_run.c */
#include "base/clock.h"
#include "kernels/ops.h"
#include "recipes/init.h"
#include "recipes/init_importance.h"
#include "recipes/outline.h"
#include "recipes/plan_parts.h"
#include "recipes/search.h"
#include "recipes/shape_choice.h"
#include "recipes/stage_shape.h"
#include "recipes/student_stages.h"
#include "results/compare.h"
#include "results/table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct planned_cache { /* phases that share one fill it once: with all that any of them reads */
	uint64_t id;
	const char *first; /* the student that fills it first */
	char text[96];
	size_t row_bytes;
	double seeds;
	int64_t begin, end; /* tokens of the stream */
};
struct planned_phase {
	const char *who, *part;
	int stage; /* of the student, from 1; 0: it is the only one */
	const struct train_spec *train; /* one of them */
	const struct masks_spec *masks;
	const struct arch *arch;
	const struct kept *kept;
	bool stands_in;              /* the shape is still to be searched */
	int64_t skip, tokens, times; /* of the stream; each candidate of a search reads the same tokens again */
};
enum { PLAN_MAX_CACHES = 2 * RECIPE_MAX_STAGES * COMPARE_MAX_ROWS }; /* of the masks and training of all stages, at most */
enum { PLAN_MAX_SEARCHES = RECIPE_MAX_STAGES * COMPARE_MAX_ROWS };
struct plan {
	struct run *run;
	struct table phases, memory;
	struct planned_cache caches[PLAN_MAX_CACHES];
	int n_caches;
	bool stand_ins;
	uint64_t searches[PLAN_MAX_SEARCHES]; /* for shapes, by their keys */
	int n_searches;
	double times; /* of the phases that are being added: once, or for every seed */
	double flops, disk;
	size_t peak;
};

static double mib(size_t n_bytes)
{
	return (double)n_bytes / 1048576;
}

/* The rate of one training-sized product on this machine, as the yardstick of the time estimate. */
static double measured_flops_per_s(struct ops *ops)
{
	enum { M = 1024, K = 256, N = 256, TIMES = 12 };
	void *a, *b, *c;
	struct err ignored;
	if (ops->alloc(ops, M * K * 4, &a, &ignored) < 0 || ops->alloc(ops, N * K * 4, &b, &ignored) < 0 || ops->alloc(ops, M * N * 4, &c, &ignored) < 0)
		return 0;
	struct matmul m = {.kind = MATMUL_NT, .m = M, .n = N, .k = K, .a = a, .b = b, .c = c, .lda = K, .ldb = K, .ldc = N};
	ops->zero(ops, a, M * K * 4);
	ops->zero(ops, b, N * K * 4);
	double best = 1e9;
	for (int i = 0; i < TIMES; i++) {
		double t = clock_now_s();
		ops->matmul(ops, &m);
		ops->sync(ops);
		t = clock_now_s() - t;
		if (i && t < best)
			best = t;
	}
	ops->release(ops, a);
	ops->release(ops, b);
	ops->release(ops, c);
	return 2.0 * M * N * K / best;
}
/* Share of that rate which whole training steps of small models reach, data, curves and checkpoints included. */
#define STEP_SHARE 0.6

static void add_cache(struct plan *p, const struct planned_phase *phase, const struct phase_price *price)
{
	int i = 0;
	while (i < p->n_caches && p->caches[i].id != price->cache_id)
		i++;
	struct planned_cache *c = &p->caches[i];
	int64_t end = phase->skip + phase->tokens;
	if (i == p->n_caches) {
		BUG_ON(p->n_caches == PLAN_MAX_CACHES);
		p->n_caches++;
		*c = (struct planned_cache){price->cache_id, phase->who, "", price->cache_row_bytes, p->times, phase->skip, end};
		snprintf(c->text, sizeof c->text, "%s", price->cache);
	}
	c->begin = phase->skip < c->begin ? phase->skip : c->begin;
	c->end = end > c->end ? end : c->end;
}

/* "2: train" of a student with several stages. */
static void name_part(struct table *t, const char *part, int stage)
{
	if (stage)
		table_set(t, 1, "%d: %s", stage, part);
	else
		table_set(t, 1, "%s", part);
}

static int add_memory(struct plan *p, const char *who, const char *part, int stage, const size_t bytes[MEMORY_OWNERS], struct err *e)
{
	size_t total = session_total(bytes);
	p->peak = total > p->peak ? total : p->peak;
	if (table_row(&p->memory, e) < 0)
		return -1;
	table_set(&p->memory, 0, "%s", who);
	name_part(&p->memory, part, stage);
	for (int i = 0; i < MEMORY_OWNERS; i++)
		table_set(&p->memory, i + 2, "%.1f", mib(bytes[i]));
	return 0;
}

static int add_phase(struct plan *p, const struct planned_phase *phase, struct err *e)
{
	struct phase_price price;
	const struct shape *s = &phase->arch->shape;
	int64_t batch = phase->train ? phase->train->batch_tokens : phase->masks->batch_tokens, tokens = phase->times * phase->tokens;
	if (phase_price(p->run, phase->train, phase->masks, phase->arch, phase->kept, tokens, &price, e) < 0)
		return err_prefix(e, "%s, %s", phase->who, phase->part);
	p->flops += p->times * price.flops;
	p->disk += p->times * (double)price.checkpoint_bytes;
	if (table_row(&p->phases, e) < 0 || add_memory(p, phase->who, phase->part, phase->stage, price.bytes, e) < 0)
		return -1;
	if (session_total(price.filling) && add_memory(p, phase->who, "cache", phase->stage, price.filling, e) < 0)
		return -1;
	struct table *f = &p->phases;
	table_set(f, 0, "%s", phase->who);
	name_part(f, phase->part, phase->stage);
	table_set(f, 2, "%d x %d, %d/%d heads, ffn %d%s", s->L, s->C, s->NH, s->NKV, s->F, phase->stands_in ? " (stand-in)" : "");
	p->stand_ins |= phase->stands_in;
	table_set(f, 3, "%zu", arch_n_params(phase->arch));
	table_set(f, 4, "%lld", (long long)tokens);
	table_set(f, 5, "%lld", (long long)(tokens / batch));
	table_set(f, 6, "%d", price.micro_batch);
	table_set(f, 7, "%.3g", price.flops);
	table_set(f, 8, "%.1f MiB", mib(session_total(price.bytes)));
	if (price.cache_row_bytes)
		add_cache(p, phase, &price);
	return 0;
}

/* phase: all but part, tokens, times. The search, without the extensions that nobody can foresee, and the training itself. */
static int add_training(struct plan *p, struct planned_phase *phase, int64_t budget, struct err *e)
{
	const struct train_spec *t = phase->train;
	phase->part = "rates";
	phase->tokens = search_tokens(t, budget);
	phase->times = t->lr.n;
	if (t->lr.n > 1 && add_phase(p, phase, e) < 0)
		return -1;
	phase->part = "train";
	phase->tokens = budget / t->batch_tokens * t->batch_tokens;
	phase->times = 1;
	return add_phase(p, phase, e);
}

/* The passes over calibration text; tokens 0: the weights alone are looked at. */
static int add_importance(struct plan *p, const char *who, const char *part, int stage, const struct source *from, const struct importance_spec *spec, struct err *e)
{
	struct importance_price price;
	const struct arch *a = &from->model->layout.arch;
	const struct shape *s = &a->shape;
	if (importance_price(p->run, from, spec, &price, e) < 0)
		return err_prefix(e, "%s, importance", who);
	p->flops += p->times * price.flops;
	if (table_row(&p->phases, e) < 0 || add_memory(p, who, part, stage, price.bytes, e) < 0)
		return -1;
	struct table *f = &p->phases;
	table_set(f, 0, "%s", who);
	name_part(f, part, stage);
	table_set(f, 2, "%d x %d, %d/%d heads, ffn %d", s->L, s->C, s->NH, s->NKV, s->F);
	table_set(f, 3, "%zu", arch_n_params(a));
	table_set(f, 4, "%lld", (long long)price.tokens);
	table_set(f, 5, "%lld", (long long)(price.tokens / (spec->sequences * p->run->spec->data->sequence_length)));
	table_set(f, 6, "%lld", (long long)spec->sequences);
	table_set(f, 7, "%.3g", price.flops);
	table_set(f, 8, "%.1f MiB", mib(session_total(price.bytes)));
	return 0;
}

/* Does an earlier stage, of this student or of one before it, learn the same masks or take the same scores to the same target? */
static bool cut_before(const struct run *run, int student, int stage)
{
	const struct student_spec *s = run->spec->students.v[student];
	uint64_t own = stages_init_id(stages_id(run->spec, s, stage), recipe_stage(s, stage)->init);
	for (int k = 0; k <= student; k++) {
		const struct student_spec *other = run->spec->students.v[k];
		for (int i = 0; i < (k < student ? recipe_n_stages(other) : stage); i++)
			if (stages_init_id(stages_id(run->spec, other, i), recipe_stage(other, i)->init) == own)
				return true;
	}
	return false;
}

/* Cuts of one axis at a time and of whole shapes, whose loss is read. */
static int add_cuts(struct plan *p, const char *who, int stage, const struct arch *source, const struct shape_price *price, struct err *e)
{
	const struct shape *s = &source->shape;
	struct table *f = &p->phases;
	if (!price->n_points)
		return 0;
	if (table_row(f, e) < 0)
		return -1;
	p->flops += p->times * price->flops;
	table_set(f, 0, "%s", who);
	name_part(f, "search: cuts", stage);
	table_set(f, 2, "%d x %d, %d/%d heads, ffn %d, and %d cuts of it", s->L, s->C, s->NH, s->NKV, s->F, price->n_points);
	table_set(f, 4, "%lld", (long long)price->tokens);
	table_set(f, 7, "%.3g", price->flops);
	return 0;
}

/* The search for its shape, once for all seeds: scores, the loss of cuts, a short training of each candidate. */
static int add_search(struct plan *p, const char *who, int stage, const struct source *from, const struct init_spec *init, const struct arch *arch,
		      struct err *e)
{
	struct shape_price price;
	if (!stage_shape_price(p->run, from, init, &price))
		return 0;
	for (int i = 0; i < p->n_searches; i++)
		if (p->searches[i] == price.key)
			return 0;
	p->searches[p->n_searches++] = price.key;
	const struct init_spec cut = {.at = init->at, .importance = price.spec->init};
	const struct train_spec *t = price.spec->train;
	struct kept kept = {0};
	int times = p->times, rc = -1;
	p->times = 1;
	TRY(add_importance(p, who, "search: scores", stage, from, price.spec->init, e));
	TRY(add_cuts(p, who, stage, &from->model->layout.arch, &price, e));
	TRY(init_kept(from, &cut, arch, &kept, e));
	TRY(add_phase(p, &(struct planned_phase){.who = who, .part = "search: candidates", .stage = stage, .train = t, .arch = arch,
						 .kept = kept.block ? &kept : NULL, .stands_in = true, .skip = from->spent_tokens,
						 .tokens = t->tokens / t->batch_tokens * t->batch_tokens, .times = price.spec->candidates}, e));
	rc = 0;
out:
	p->times = times;
	kept_release(&kept);
	return rc;
}

static int add_stage(struct plan *p, int student, int i, const struct source *from, struct err *e)
{
	const char *name = p->run->spec->students.names[student];
	const struct student_spec *s = p->run->spec->students.v[student];
	const struct stage_spec *stage = recipe_stage(s, i);
	const struct init_spec *init = stage->init;
	int number = recipe_n_stages(s) > 1 ? i + 1 : 0;
	int64_t spent = init_tokens(p->run->spec, init);
	struct arch arch;
	struct kept kept = {0};
	if (init_arch(p->run, from, init, &arch, e) < 0)
		return -1;
	struct planned_phase masks = {.who = name, .part = "masks", .stage = number, .masks = init->masks, .arch = &from->model->layout.arch,
				      .kept = from->kept, .skip = from->spent_tokens, .tokens = spent, .times = 1};
	bool again = cut_before(p->run, student, i);
	if (add_search(p, name, number, from, init, &arch, e) < 0)
		return -1;
	if (init->masks && !again && add_phase(p, &masks, e) < 0)
		return -1;
	if (init->importance && !again && add_importance(p, name, "importance", number, from, init->importance, e) < 0)
		return -1;
	if (!stage->train)
		return 0;
	if (init_kept(from, init, &arch, &kept, e) < 0)
		return -1;
	struct planned_phase train = {.who = name, .stage = number, .train = stage->train, .arch = &arch, .kept = kept.block ? &kept : NULL,
				      .stands_in = init_stands_in(p->run, init, &from->model->layout.arch), .skip = from->spent_tokens + spent};
	int rc = add_training(p, &train, stage->train->tokens - spent, e);
	kept_release(&kept);
	return rc;
}

static int add_student(struct plan *p, int student, struct err *e)
{
	const struct student_spec *s = p->run->spec->students.v[student];
	int rc = 0;
	for (int i = 0; i < recipe_n_stages(s) && rc == 0; i++) {
		struct outline from;
		rc = outline_open(&from, p->run, s, i, e);
		if (rc == 0)
			rc = add_stage(p, student, i, &from.source, e);
		outline_close(&from);
	}
	return rc;
}

/* A teacher that does not exist yet: its shape is known, and that is all that prices need. */
static int add_teacher(struct plan *p, const struct teacher_spec *t, struct err *e)
{
	struct run *run = p->run;
	const struct source nothing = source_teacher(run);
	struct arch arch;
	if (init_arch(run, &nothing, t->init, &arch, e) < 0 || param_layout_init(&run->teachers[0].model.layout, &arch, e) < 0)
		return -1;
	run->teachers[0].dir = pool_strdup(&run->recipe.pool, "the teacher");
	return add_training(p, &(struct planned_phase){.who = "teacher", .train = t->train, .arch = &arch}, t->train->tokens, e);
}

static int begin_table(struct table *t, const char *const *head, int n, struct err *e)
{
	if (table_init(t, n, e) < 0 || table_row(t, e) < 0)
		return -1;
	for (int i = 0; i < n; i++) {
		t->left[i] = !strcmp(head[i], "shape");
		table_set(t, i, "%s", head[i]);
	}
	t->left[0] = t->left[1] = true;
	return 0;
}

static int print_caches(struct plan *p, struct err *e)
{
	static const char *const head[] = {"student", "cache", "bytes per token", "tokens", "MiB"};
	struct table t = {0};
	int rc = -1;
	TRY(begin_table(&t, head, sizeof head / sizeof *head, e));
	for (int i = 0; i < p->n_caches; i++) {
		const struct planned_cache *c = &p->caches[i];
		double tokens = c->seeds * (double)(c->end - c->begin), bytes = tokens * (double)c->row_bytes;
		TRY(table_row(&t, e));
		table_set(&t, 0, "%s", c->first);
		table_set(&t, 1, "%s", c->text);
		table_set(&t, 2, "%zu", c->row_bytes);
		table_set(&t, 3, "%.0f", tokens);
		table_set(&t, 4, "%.1f", bytes / 1048576);
		p->disk += bytes;
	}
	if (p->n_caches) {
		printf("\ncaches of soft targets, at most (before compression)\n");
		table_print(&t, stdout);
	}
	rc = 0;
out:
	table_release(&t);
	return rc;
}

int plan_print(struct run *run, struct err *e)
{
	static const char *const phase_head[] = {"student", "phase", "shape", "parameters", "tokens", "steps", "micro-batch", "FLOPs", "memory"};
	const char *memory_head[MEMORY_OWNERS + 2] = {"student", "MiB of"};
	const struct recipe_spec *r = run->spec;
	struct plan p = {.run = run, .times = 1};
	int rc = -1;
	for (int i = 0; i < MEMORY_OWNERS; i++)
		memory_head[i + 2] = memory_owner_name((enum memory_owner)i);
	TRY(begin_table(&p.phases, phase_head, sizeof phase_head / sizeof *phase_head, e));
	TRY(begin_table(&p.memory, memory_head, MEMORY_OWNERS + 2, e));
	printf("recipe %s (%s), %s, %d thread%s, %s\n", r->name, run->recipe.path, run->ops->name, run->ops->n_threads, run->ops->n_threads == 1 ? "" : "s",
	       run->ops->matmul_bf16 ? "bf16 products" : "fp32");
	TRY(plan_data(run, e));
	if (r->teacher->trim)
		printf("the teacher's vocabulary of %d is trimmed once the text is read; prices are those of all of it\n", run->teachers[0].model.layout.arch.shape.V);
	if (r->teacher->init)
		TRY(add_teacher(&p, r->teacher, e));
	p.times = r->seeds.n;
	for (int i = 0; i < r->students.n; i++)
		TRY(add_student(&p, i, e));
	table_print(&p.phases, stdout);
	if (p.stand_ins)
		printf("(stand-in): the run chooses this shape; until then one of the budget with the source's proportions is priced\n");
	printf("\nmemory by owner\n");
	table_print(&p.memory, stdout);
	TRY(print_caches(&p, e));
	double rate = STEP_SHARE * measured_flops_per_s(run->ops), minutes = ceil(p.flops / rate / 60);
	printf("\ntotal: %.3g FLOPs, about %.0f minute%s here (%.0f GFLOP/s in training steps), at most %.1f MiB at a time, %.1f MiB of %s on disk\n",
	       p.flops, minutes, minutes == 1 ? "" : "s", rate / 1e9, mib(p.peak), p.disk / 1048576,
	       p.n_caches ? "checkpoints and caches" : "checkpoints");
	plan_findings(run);
	rc = 0;
out:
	table_release(&p.phases);
	table_release(&p.memory);
	return rc;
}

/* A side of a comparison: a student, where its soft targets come from, and a step of it. */
#ifndef TESTS_BENCH_BENCH_SIDE_H
#define TESTS_BENCH_BENCH_SIDE_H

#include "base/clock.h"
#include "teacher/teacher.h"
#include "tests/bench/bench_world.h"

/* What all sides of one program share. */
struct side_world {
	struct ops *ops;
	enum dtype type;
	int B, T, V;
	struct hf_model *hf; /* the teacher's checkpoint, open */
	size_t n_bytes;      /* allocated for sides so far */
};

struct side {
	struct side_world *world;
	struct student_options options;
	struct student student;
	struct student_arenas arenas;
	bool taught;
	struct teacher_options teacher_options;
	struct teacher teacher;
	struct arena teacher_weights, teacher_activations;
	struct cache *cache; /* NULL: online; closed with the side */
};

/* A student of half the teacher; with a teacher, lists of two divergences at most. */
static inline struct side side_of(struct side_world *w, bool taught)
{
	struct side s = {.world = w, .options = student_default(), .taught = taught,
			 .teacher_options = {.type = w->type, .B = w->B, .T = w->T}};
	s.options.B = w->B;
	s.options.T = w->T;
	s.options.type = w->type;
	s.options.n_teachers = taught;
	s.options.n_terms = taught ? 2 : 0;
	s.options.teacher_V = taught ? w->V : 0;
	return s;
}

static inline int side_init_teacher(struct side *s, struct err *e)
{
	struct arena *w = &s->teacher_weights, *a = &s->teacher_activations;
	if (s->cache)
		return teacher_init_cached(&s->teacher, s->world->ops, s->world->hf, s->cache, &s->teacher_options, w, a, e);
	return teacher_init(&s->teacher, s->world->ops, s->world->hf, &s->teacher_options, w, a, e);
}

static inline int side_open_teacher(struct side *s, struct err *e)
{
	int rc = -1;
	s->teacher_weights = s->teacher_activations = arena_dry();
	TRY(side_init_teacher(s, e));
	teacher_release(&s->teacher);
	TRY(world_back(s->world->ops, &s->teacher_weights, &s->world->n_bytes, e));
	TRY(world_back(s->world->ops, &s->teacher_activations, &s->world->n_bytes, e));
	TRY(side_init_teacher(s, e));
	rc = 0;
out:
	return rc;
}

/* After what side_of gave has been changed to taste. */
static inline int side_open(struct side *s, struct err *e)
{
	struct side_world *w = s->world;
	struct arch arch = world_half(w->V, w->T);
	struct arena *all[] = {&s->arenas.weights, &s->arenas.gradients, &s->arenas.moments, &s->arenas.activations,
			       &s->arenas.loss};
	int rc = -1;
	for (int i = 0; i < 5; i++)
		*all[i] = arena_dry();
	TRY(student_init(&s->student, s->world->ops, &arch, &s->options, &s->arenas, e));
	student_release(&s->student);
	for (int i = 0; i < 5; i++)
		TRY(world_back(s->world->ops, all[i], &s->world->n_bytes, e));
	TRY(student_init(&s->student, s->world->ops, &arch, &s->options, &s->arenas, e));
	student_randomise(&s->student, 1);
	if (s->taught)
		TRY(side_open_teacher(s, e));
	rc = 0;
out:
	return rc;
}

static inline void side_close(struct side *s)
{
	student_release(&s->student);
	teacher_release(&s->teacher);
	const struct arena all[] = {s->arenas.weights, s->arenas.gradients, s->arenas.moments, s->arenas.activations,
				    s->arenas.loss, s->teacher_weights, s->teacher_activations};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		s->world->ops->release(s->world->ops, all[i].base);
	cache_close(s->cache);
}

/* Seconds of one step, -1 when it failed. */
static inline double side_step(struct side *s, const struct world_batch *rows, const struct step_loss *loss, struct err *e)
{
	struct train_batch batch = world_rows(rows);
	struct soft_targets soft = {.kind = SOFT_TARGETS_NONE};
	struct step_sums sums = {0};
	double from = clock_now_s();
	student_begin(&s->student);
	struct teacher_batch asked = {student_upload(&s->student, &batch), rows->tokens, rows->targets, rows->start};
	if (s->taught && teacher_targets(&s->teacher, &asked, &soft, e) < 0)
		return -1;
	student_microbatch(&s->student, loss, s->taught, &(struct step_teacher){&soft, NULL}, NULL, NULL, NULL, &sums);
	if (student_update(&s->student, 3e-4f, NULL, e) < 0)
		return -1;
	return clock_now_s() - from;
}

#endif

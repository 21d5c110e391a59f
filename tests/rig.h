/* A student on the CPU for tests of training: the tiny golden model, its arenas, and the golden batches. */
#ifndef TESTS_RIG_H
#define TESTS_RIG_H

#include "tests/device.h"

#include "student/student.h"
#include "teacher/teacher.h"

enum { RIG_B = 2, RIG_T = 13, RIG_N = RIG_B * RIG_T, RIG_STEPS = 10 };

struct rig {
	struct ops *ops;
	struct hf_model hf;
	struct safetensors *golden;
	struct student_arenas arenas;
	struct student student;
	int32_t pos[RIG_N], start[RIG_N];
};

static inline struct student_options rig_options(void)
{
	struct student_options o = student_default();
	o.B = RIG_B;
	o.T = RIG_T;
	return o;
}

static inline void rig_student(struct student *s, struct ops *ops, const struct arch *arch, const struct student_options *o,
			       struct student_arenas *arenas)
{
	struct err e;
	struct arena *all[] = {&arenas->weights, &arenas->gradients, &arenas->moments, &arenas->activations, &arenas->loss};
	*arenas = (struct student_arenas){0};
	assert_ok(student_init(s, ops, arch, o, arenas, &e), &e);
	student_release(s);
	for (int i = 0; i < 5; i++)
		test_arena_back(ops, all[i]);
	assert_ok(student_init(s, ops, arch, o, arenas, &e), &e);
	for (int i = 0; i < 5; i++)
		assert_int_equal(all[i]->used, all[i]->capacity);
}

static inline void rig_arenas_release(struct ops *ops, struct student_arenas *arenas)
{
	struct arena *all[] = {&arenas->weights, &arenas->gradients, &arenas->moments, &arenas->activations, &arenas->loss};
	for (int i = 0; i < 5; i++)
		ops->release(ops, all[i]->base);
}

/* The golden student's weights in a student of these options. */
static inline void rig_open(struct rig *r, const struct student_options *o, int n_threads)
{
	struct err e;
	*r = (struct rig){0};
	assert_ok(hf_open(&r->hf, test_source("tests/golden/adamw/student").text, &e), &e);
	assert_ok(safetensors_open(&r->golden, test_source("tests/golden/adamw.safetensors").text, &e), &e);
	struct ops_limits limits = transformer_limits(&r->hf.layout.arch, RIG_N, RIG_N);
	limits.max_operand_elems += 1 << 16; /* the teacher is wider */
	limits.max_columns += 256;
	r->ops = test_ops(n_threads, o->type == DTYPE_BF16, &limits);
	rig_student(&r->student, r->ops, &r->hf.layout.arch, o, &r->arenas);
	float *flat = calloc(r->hf.layout.n_elems, sizeof *flat);
	hf_read_f32(&r->hf, flat);
	student_load(&r->student, flat);
	free(flat);
	for (int i = 0; i < RIG_N; i++)
		r->pos[i] = i % RIG_T;
}

static inline void rig_close(struct rig *r)
{
	student_release(&r->student);
	rig_arenas_release(r->ops, &r->arenas);
	ops_cpu_close(r->ops);
	safetensors_close(r->golden);
	hf_close(&r->hf);
}

/* Batch `step` of the golden file. */
static inline struct train_batch rig_batch(const struct rig *r, int step)
{
	size_t at = (size_t)step * RIG_N;
	return (struct train_batch){
		.tokens = (const int32_t *)test_golden(r->golden, "data", "tokens")->data + at,
		.targets = (const int32_t *)test_golden(r->golden, "data", "targets")->data + at,
		.pos = r->pos, .start = r->start,
		.flags = (const uint8_t *)test_golden(r->golden, "data", "flags")->data + at,
	};
}

static inline size_t rig_counted(const struct train_batch *b)
{
	size_t n = 0;
	for (int i = 0; i < RIG_N; i++)
		n += b->targets[i] >= 0;
	return n;
}

/* Gradients of one batch: plain, or distilled when soft comes from a teacher. */
static inline void rig_microbatch(struct rig *r, const struct train_batch *b, const struct step_loss *loss, struct teacher *t,
				  struct step_sums *sums)
{
	struct soft_targets soft = {.kind = SOFT_TARGETS_NONE};
	const struct batch *batch = student_upload(&r->student, b);
	if (t)
		assert_int_equal(teacher_targets(t, &(struct teacher_batch){.device = batch}, &soft, NULL), 0);
	student_microbatch(&r->student, loss, t != NULL, &(struct step_teacher){&soft, NULL}, NULL, NULL, NULL, sums);
}

/* One whole plain step over golden batch `step`; returns the mean loss. */
static inline double rig_step(struct rig *r, int step, float lr, float *norm)
{
	struct err e;
	struct train_batch b = rig_batch(r, step);
	struct step_loss loss = {.step_tokens = rig_counted(&b)};
	struct step_sums sums = {0};
	student_begin(&r->student);
	rig_microbatch(r, &b, &loss, NULL, &sums);
	assert_ok(student_update(&r->student, lr, norm, &e), &e);
	return sums.ce / (double)sums.tokens;
}

/* The flat array on the host, the caller's. */
static inline float *rig_download(const struct rig *r, const float *flat)
{
	size_t n_bytes = r->student.layout.n_elems * sizeof(float);
	float *host = malloc(n_bytes);
	r->ops->download(r->ops, host, flat, n_bytes);
	return host;
}

#endif

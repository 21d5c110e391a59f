/* student/inner.c, student/projections.c: the gradient of the whole loss with inner terms against finite differences,
 * micro-batches, masks, what stops a step, and what a checkpoint keeps. */
#include "tests/testing.h"

#include "tests/soft_rig.h"

#include "student/projections.h"

#define LR 2e-3f
#define H 4e-3f /* of a finite difference, in elements of N(0,1) directions */

enum { COSINE_KEPT, MSE_LEARNED, RELATIONS, COSINE_LEARNED, TERMS };
static const int KEPT[24] = {0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17, 19, 20, 21, 23, 25, 26, 28, 30, 31};

/* Every kind, two terms at one layer, one projection from kept columns and one at random. */
static struct student_options inner_options(void)
{
	struct student_options o = rig_options();
	const struct relation_shape teacher = {SOFT_NH, SOFT_NKV, SOFT_HD};
	o.teacher_V = 61;
	o.n_teachers = o.n_terms = 1;
	o.n_inner = TERMS;
	o.projection_seed = 3;
	o.inner[COSINE_KEPT] = (struct inner_term){.kind = INNER_HIDDEN_COSINE, .student_layer = 0, .teacher_layer = 1,
						   .projection = PROJECTION_KEPT, .columns = KEPT, .teacher_C = SOFT_C};
	o.inner[MSE_LEARNED] = (struct inner_term){.kind = INNER_HIDDEN_MSE, .student_layer = 1, .teacher_layer = 2,
						   .projection = PROJECTION_LEARNED, .columns = KEPT, .teacher_C = SOFT_C};
	o.inner[RELATIONS] = (struct inner_term){.kind = INNER_RELATIONS, .student_layer = 1, .teacher_layer = 0,
						 .teacher_heads = teacher, .relation_heads = 4};
	o.inner[COSINE_LEARNED] = (struct inner_term){.kind = INNER_HIDDEN_COSINE, .student_layer = 0, .teacher_layer = 0,
						      .projection = PROJECTION_LEARNED, .teacher_C = SOFT_C};
	return o;
}

static struct step_loss inner_loss(size_t step_tokens)
{
	return (struct step_loss){.ce_weight = 0.5f, .n_terms = 1, .terms = {{.weight = 0.7f, .tau = 2}},
				  .inner_weight = {0.8f, 0.3f, 2.5f, 1.1f}, .step_tokens = step_tokens};
}

struct world {
	struct rig rig;
	struct soft_rig soft;
	struct train_batch batch;
	int32_t pos[RIG_N], start[RIG_N]; /* a document ends inside the second sequence */
	struct step_loss loss;
	struct masks masks;
	struct mask_grads mask_grads;
	float *z[4], *dz[4]; /* device: hidden, layers, heads, ffn */
	size_t n_z[4];
};

static void world_masks(struct world *w)
{
	const struct shape *s = &w->rig.student.layout.arch.shape;
	const size_t n[] = {(size_t)s->C, (size_t)s->L, (size_t)(s->L * s->NH), (size_t)(s->L * s->F)};
	float host[256];
	for (int i = 0; i < 4; i++) {
		assert_true(n[i] <= 256);
		for (size_t j = 0; j < n[i]; j++)
			host[j] = 0.3f + 0.7f * rng_uniform(9, RNG_TEST, (uint64_t)i, j);
		w->n_z[i] = n[i];
		w->z[i] = test_device(w->rig.ops, host, n[i] * sizeof *host);
		w->dz[i] = test_device(w->rig.ops, NULL, n[i] * sizeof *host);
	}
	w->masks = (struct masks){.hidden = w->z[0], .attn = w->z[1], .ffn_block = w->z[1], .heads = w->z[2], .ffn = w->z[3]};
	w->mask_grads = (struct mask_grads){.hidden = w->dz[0], .attn = w->dz[1], .ffn_block = w->dz[1], .heads = w->dz[2],
					    .ffn = w->dz[3]};
}

static void world_open(struct world *w, const struct student_options *o, int n_threads)
{
	*w = (struct world){0};
	rig_open(&w->rig, o, n_threads);
	soft_open(&w->soft, w->rig.ops, RIG_N, 61, 5);
	w->batch = rig_batch(&w->rig, 0);
	for (int i = 0; i < RIG_N; i++) {
		w->start[i] = i >= RIG_T + 5 ? 5 : 0;
		w->pos[i] = i % RIG_T - w->start[i];
	}
	w->batch.pos = w->pos;
	w->batch.start = w->start;
	w->loss = inner_loss(rig_counted(&w->batch));
	if (o->mode == ACTIVATIONS_MASKED)
		world_masks(w);
}

static void world_close(struct world *w)
{
	for (int i = 0; i < 4; i++) {
		w->rig.ops->release(w->rig.ops, w->z[i]);
		w->rig.ops->release(w->rig.ops, w->dz[i]);
	}
	soft_close(&w->soft);
	rig_close(&w->rig);
}

static struct step_sums microbatch(struct world *w)
{
	struct step_sums sums = {0};
	bool masked = w->masks.hidden;
	for (int i = 0; i < 4 && masked; i++)
		w->rig.ops->zero(w->rig.ops, w->dz[i], w->n_z[i] * sizeof(float));
	student_begin(&w->rig.student);
	student_upload(&w->rig.student, &w->batch);
	student_microbatch(&w->rig.student, &w->loss, 1, &(struct step_teacher){&w->soft.targets, NULL},
			   masked ? &w->masks : NULL, masked ? &w->mask_grads : NULL, NULL, &sums);
	return sums;
}

/* What the gradients are those of. */
static double loss_of(struct world *w)
{
	struct step_sums s = microbatch(w);
	double sum = (double)w->loss.ce_weight * s.ce;
	for (int k = 0; k < w->loss.n_terms; k++)
		sum += (double)w->loss.terms[k].weight * s.terms[k];
	for (int i = 0; i < TERMS; i++)
		sum += (double)w->loss.inner_weight[i] * s.inner[i];
	return sum / (double)w->loss.step_tokens;
}

/* The loss with elements [at, at+n) of a device array moved by x * N(0,1). */
static double loss_at(struct world *w, float *device, size_t at, size_t n, float x)
{
	struct ops *ops = w->rig.ops;
	float *kept = malloc(n * sizeof *kept), *moved = malloc(n * sizeof *moved);
	ops->download(ops, kept, device + at, n * sizeof *kept);
	for (size_t i = 0; i < n; i++)
		moved[i] = kept[i] + x * rng_normal(11, RNG_TEST, 0, at + i);
	ops->upload(ops, device + at, moved, n * sizeof *moved);
	double loss = loss_of(w);
	ops->upload(ops, device + at, kept, n * sizeof *kept);
	free(kept);
	free(moved);
	return loss;
}

/* How far the derivative along a random direction is from what the gradient (host) promises, relative to its norm. */
static double gap_of(struct world *w, float *device, const float *grad, size_t at, size_t n)
{
	const float x[4] = {-2 * H, -H, H, 2 * H};
	double f[4], promised = 0, squares = 0;
	for (int i = 0; i < 4; i++)
		f[i] = loss_at(w, device, at, n, x[i]);
	for (size_t i = 0; i < n; i++) {
		promised += (double)grad[at + i] * (double)rng_normal(11, RNG_TEST, 0, at + i);
		squares += (double)grad[at + i] * (double)grad[at + i];
	}
	double found = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * (double)H);
	return fabs(found - promised) / sqrt(squares);
}

static float *download(const struct world *w, const float *device, size_t n)
{
	float *host = malloc(n * sizeof *host);
	w->rig.ops->download(w->rig.ops, host, device, n * sizeof *host);
	return host;
}

static double worst_gap_of_projections(struct world *w)
{
	struct projections *p = w->rig.student.projections;
	double worst = 0;
	microbatch(w);
	float *grads = download(w, p->grads, p->n_elems);
	for (int i = 0; i < p->n; i++)
		if (w->loss.inner_weight[p->list[i].term] > 0)
			worst = fmax(worst, gap_of(w, p->w, grads, p->list[i].offset, (size_t)(p->list[i].rows * p->list[i].cols)));
	free(grads);
	return worst;
}

/* Worst over all tensors, projections and masks. */
static double worst_gap(struct world *w)
{
	struct student *s = &w->rig.student;
	double worst = worst_gap_of_projections(w);
	microbatch(w);
	float *grads = rig_download(&w->rig, s->grads);
	for (int i = 0; i < s->layout.n_tensors; i++) {
		const struct hf_tensor *t = &s->layout.tensors[i];
		worst = fmax(worst, gap_of(w, s->params.master, grads, t->offset, t->rows * (t->cols ? t->cols : 1)));
	}
	for (int i = 0; i < 4 && w->masks.hidden; i++) {
		microbatch(w);
		float *dz = download(w, w->dz[i], w->n_z[i]);
		worst = fmax(worst, gap_of(w, w->z[i], dz, 0, w->n_z[i]));
		free(dz);
	}
	free(grads);
	return worst;
}

/* Measured: 4e-4; with any one term left out 0.11 and more (every_term_is_in_the_gradient). */
static void gradients_equal_finite_differences(void **state)
{
	(void)state;
	for (int masked = 0; masked < 2; masked++) {
		struct student_options o = inner_options();
		struct world w;
		o.mode = masked ? ACTIVATIONS_MASKED : ACTIVATIONS_TRAIN;
		world_open(&w, &o, 2);
		assert_true(worst_gap(&w) <= 2e-3);
		world_close(&w);
	}
}

/* The same differences against a gradient that lacks one term; its value is watched all the same. */
static void every_term_is_in_the_gradient(void **state)
{
	(void)state;
	struct student_options o = inner_options();
	struct world w;
	world_open(&w, &o, 1);
	const struct student *s = &w.rig.student;
	const struct hf_tensor *t = &s->layout.tensors[2]; /* of layer 0: below them all */
	size_t n = t->rows * t->cols;
	for (int i = 0; i < TERMS; i++) {
		float weight = w.loss.inner_weight[i];
		w.loss.inner_weight[i] = 0;
		struct step_sums without = microbatch(&w);
		float *grads = rig_download(&w.rig, s->grads);
		w.loss.inner_weight[i] = weight;
		assert_true(gap_of(&w, s->params.master, grads, t->offset, n) > 2e-3);
		struct step_sums with = microbatch(&w);
		assert_true(with.inner[i] == without.inner[i] && with.inner[i] > 0);
		free(grads);
	}
	world_close(&w);
}

/* Sums of the step's inner terms on rows that have soft targets, and on no others. */
static void rows_without_soft_targets_have_no_inner_loss(void **state)
{
	(void)state;
	struct student_options o = inner_options();
	struct world w;
	world_open(&w, &o, 1);
	struct step_sums all = microbatch(&w), skipped;
	float share[RIG_N] = {0};
	w.loss.kd_skip_separators = true;
	skipped = microbatch(&w);
	assert_true(skipped.kd_tokens < all.kd_tokens);
	for (int i = 0; i < TERMS; i++)
		assert_true(skipped.inner[i] > 0 && skipped.inner[i] < all.inner[i]);
	struct step_sums none = {0};
	student_begin(&w.rig.student);
	student_upload(&w.rig.student, &w.batch);
	student_microbatch(&w.rig.student, &w.loss, 1, &(struct step_teacher){&w.soft.targets, share}, NULL, NULL, NULL, &none);
	assert_int_equal(none.kd_tokens, 0);
	for (int i = 0; i < TERMS; i++)
		assert_true(none.inner[i] == 0);
	float *grads = rig_download(&w.rig, w.rig.student.grads);
	student_begin(&w.rig.student);
	student_microbatch(&w.rig.student, &w.loss, 0, NULL, NULL, NULL, NULL, &none);
	float *plain = rig_download(&w.rig, w.rig.student.grads);
	assert_memory_equal(grads, plain, w.rig.student.layout.n_elems * sizeof *grads);
	free(grads);
	free(plain);
	world_close(&w);
}

/* Nothing but inner losses: the output head and what lies above the layers that they look at stay as they are. */
static void inner_losses_alone(void **state)
{
	(void)state;
	struct student_options o = inner_options();
	struct world w;
	world_open(&w, &o, 1);
	const struct student *s = &w.rig.student;
	const struct hf_tensor *norm = NULL;
	w.loss.ce_weight = 0;
	w.loss.n_terms = 0;
	w.loss.inner_weight[MSE_LEARNED] = w.loss.inner_weight[RELATIONS] = 0; /* layer 0 has the others */
	struct step_sums sums = microbatch(&w);
	assert_true(sums.ce > 0 && sums.teacher_ce > 0 && sums.terms[0] == 0);
	float *grads = rig_download(&w.rig, s->grads);
	for (int i = 0; i < s->layout.n_tensors; i++) {
		const struct hf_tensor *t = &s->layout.tensors[i];
		double squares = 0;
		for (size_t j = 0; j < t->rows * (t->cols ? t->cols : 1); j++)
			squares += (double)grads[t->offset + j] * (double)grads[t->offset + j];
		assert_true((squares > 0) == (t->layer == 0 || t->kind == PARAM_EMBED));
		norm = t->kind == PARAM_FINAL_NORM ? t : norm;
	}
	assert_non_null(norm);
	assert_true(worst_gap_of_projections(&w) <= 2e-3);
	free(grads);
	world_close(&w);
}

/* ---- a step ---- */

static float *masters(const struct world *w)
{
	return download(w, w->rig.student.projections->w, w->rig.student.projections->n_elems);
}

static void step(struct world *w, int n)
{
	struct err e;
	w->batch.tokens = rig_batch(&w->rig, n).tokens;
	microbatch(w);
	assert_ok(student_update(&w->rig.student, LR, NULL, &e), &e);
}

static void projections_start_as_told(void **state)
{
	(void)state;
	struct student_options o = inner_options();
	struct world w, other;
	world_open(&w, &o, 1);
	o.projection_seed++;
	world_open(&other, &o, 1);
	const struct projections *p = w.rig.student.projections;
	float *a = masters(&w), *b = masters(&other);
	assert_int_equal(p->n, 2);
	double squares = 0;
	for (int i = 0; i < SOFT_C * 24; i++) {
		assert_true(a[p->list[0].offset + (size_t)i] == (KEPT[i % 24] == i / 24));
		squares += (double)a[p->list[1].offset + (size_t)i] * (double)a[p->list[1].offset + (size_t)i];
	}
	assert_close(squares / (SOFT_C * 24), 1.0 / 24, 0, 6 / sqrt(2.0 * SOFT_C * 24));
	assert_memory_equal(a, b, SOFT_C * 24 * sizeof *a);
	assert_memory_not_equal(a + p->list[1].offset, b + p->list[1].offset, SOFT_C * 24 * sizeof *a);
	free(a);
	free(b);
	world_close(&w);
	world_close(&other);
}

/* AdamW of the projections as of any matrix: in the norm, clipped, decayed. */
static void projections_are_updated_like_matrices(void **state)
{
	(void)state;
	struct student_options o = inner_options();
	struct world w;
	struct err e;
	float norm;
	o.weight_decay = 0.25f;
	o.clip_norm = 0.01f;
	world_open(&w, &o, 1);
	struct student *s = &w.rig.student;
	size_t n = s->projections->n_elems;
	microbatch(&w);
	float *grads = rig_download(&w.rig, s->grads), *more = download(&w, s->projections->grads, n), *before = masters(&w);
	double squares = 0, others = 0;
	for (size_t i = 0; i < s->layout.n_elems; i++)
		others += (double)grads[i] * (double)grads[i];
	for (size_t i = 0; i < n; i++)
		squares += (double)more[i] * (double)more[i];
	assert_ok(student_update(s, LR, &norm, &e), &e);
	assert_close(norm, sqrt(squares + others), 0, 1e-6);
	assert_true(fabs(sqrt(others) - (double)norm) > 1e-3 * (double)norm);
	float *after = masters(&w);
	for (size_t i = 0; i < n; i++) {
		double g = (double)more[i] * 0.01 / ((double)norm + 1e-6), p = (double)before[i] * (1 - (double)LR * 0.25);
		assert_close(after[i], p - (double)LR * g / (fabs(g) + (double)o.eps), 1e-6, 1e-5);
	}
	free(grads);
	free(more);
	free(before);
	free(after);
	world_close(&w);
}

static void a_projection_that_is_not_finite_stops_the_step(void **state)
{
	(void)state;
	struct student_options o = inner_options();
	struct world w;
	struct err e;
	const float bad = INFINITY;
	world_open(&w, &o, 1);
	struct student *s = &w.rig.student;
	microbatch(&w);
	s->ops->upload(s->ops, s->projections->grads + s->projections->list[0].offset + 7, &bad, sizeof bad);
	float *before = masters(&w);
	assert_fails(student_update(s, LR, NULL, &e), &e, "the gradient of the projection of layer 1 is not finite");
	float *after = masters(&w);
	assert_memory_equal(before, after, s->projections->n_elems * sizeof *before);
	assert_int_equal(s->step, 0);
	free(before);
	free(after);
	world_close(&w);
}

/* ---- micro-batches ---- */

/* Each sequence by itself, in a student of one sequence, gives the gradient of both at once. */
static void micro_batches_give_the_gradient_of_the_batch(void **state)
{
	(void)state;
	struct student_options o = inner_options(), half = inner_options();
	struct student_arenas arenas;
	struct student small;
	struct world w;
	half.B = 1;
	world_open(&w, &o, 2);
	rig_student(&small, w.rig.ops, &w.rig.hf.layout.arch, &half, &arenas);
	float *flat = rig_download(&w.rig, w.rig.student.params.master);
	student_load(&small, flat);
	struct step_sums one = microbatch(&w), two = {0};
	student_begin(&small);
	for (int b = 0; b < RIG_B; b++) {
		size_t at = (size_t)(b * RIG_T);
		struct soft_rig part = w.soft;
		struct train_batch rows = {w.batch.tokens + at, w.batch.targets + at, w.pos + at, w.start + at, w.batch.flags + at};
		part.targets.hidden = (const float *)w.soft.targets.hidden + at * SOFT_C;
		for (int l = 0; l < SOFT_L; l++) {
			part.hidden[l] = (const float *)w.soft.hidden[l] + at * SOFT_C;
			part.qkv[l] = (const float *)w.soft.qkv[l] + at * SOFT_Q;
		}
		part.inner.hidden = part.hidden;
		part.inner.qkv = part.qkv;
		part.targets.inner = &part.inner;
		student_upload(&small, &rows);
		student_microbatch(&small, &w.loss, 1, &(struct step_teacher){&part.targets, NULL}, NULL, NULL, NULL, &two);
	}
	assert_int_equal(one.kd_tokens, two.kd_tokens);
	for (int i = 0; i < TERMS; i++)
		assert_close(one.inner[i], two.inner[i], 0, 1e-6);
	float *want = rig_download(&w.rig, w.rig.student.grads), *got = rig_download(&w.rig, small.grads);
	assert_floats(got, want, w.rig.student.layout.n_elems, 1e-11, 2e-5); /* measured: 5e-6 */
	float *want_p = download(&w, w.rig.student.projections->grads, small.projections->n_elems);
	float *got_p = download(&w, small.projections->grads, small.projections->n_elems);
	assert_floats(got_p, want_p, small.projections->n_elems, 1e-11, 2e-5);
	got_p[5] += 1e-3f * (fabsf(got_p[5]) + 1e-2f);
	assert_true(test_distance_of(got_p, NULL, want_p, small.projections->n_elems).worst > 2e-5);
	void *owned[] = {flat, want, got, want_p, got_p};
	for (int i = 0; i < 5; i++)
		free(owned[i]);
	student_release(&small);
	rig_arenas_release(w.rig.ops, &arenas);
	world_close(&w);
}

/* bf16 products with no more reserved than student_limits and the teacher's head ask for. Measured: sums 1.2e-3 apart. */
static void bf16_follows(void **state)
{
	(void)state;
	struct student_options o = inner_options();
	struct step_sums sums[2];
	for (int bf16 = 0; bf16 < 2; bf16++) {
		struct world w;
		struct err e;
		o.type = bf16 ? DTYPE_BF16 : DTYPE_F32;
		world_open(&w, &o, 2);
		struct ops_limits limits = student_limits(&w.rig.hf.layout.arch, &o);
		if (limits.max_operand_elems < 61 * SOFT_C)
			limits.max_operand_elems = 61 * SOFT_C;
		assert_ok(ops_cpu_reserve(w.rig.ops, &limits, &e), &e);
		sums[bf16] = microbatch(&w);
		world_close(&w);
	}
	for (int i = 0; i < TERMS; i++)
		assert_close(sums[1].inner[i], sums[0].inner[i], 0, 0.01);
}

/* ---- the caller's taps ---- */

struct counter {
	int forward, backward;
};
static void count_forward(void *user, enum tap_point point, int layer, const void *values)
{
	(void)point, (void)layer, (void)values;
	((struct counter *)user)->forward++;
}
static void count_backward(void *user, enum tap_point point, int layer, void *dvalues)
{
	(void)point, (void)layer, (void)dvalues;
	((struct counter *)user)->backward++;
}

static void the_callers_taps_are_called_too(void **state)
{
	(void)state;
	struct student_options o = inner_options();
	struct counter counts[2] = {0};
	struct world w;
	world_open(&w, &o, 1);
	student_upload(&w.rig.student, &w.batch);
	for (int inner = 0; inner < 2; inner++) {
		struct taps taps = {&counts[inner], count_forward, count_backward};
		struct step_sums sums = {0};
		student_begin(&w.rig.student);
		student_microbatch(&w.rig.student, &w.loss, inner, &(struct step_teacher){&w.soft.targets, NULL}, NULL, NULL, &taps,
				   &sums);
	}
	assert_true(counts[0].forward == 14 && counts[0].backward == 6);
	assert_true(counts[1].forward == 14 && counts[1].backward == 6);
	world_close(&w);
}

/* ---- checkpoints ---- */

static void resumed_equals_undisturbed(void **state)
{
	(void)state;
	struct student_options o = inner_options();
	struct test_path dir = test_dir_make(), path = test_join(&dir, "checkpoint.safetensors");
	struct world w, fresh;
	struct err e;
	char *metadata;
	world_open(&w, &o, 2);
	for (int i = 0; i < 3; i++)
		step(&w, i);
	assert_ok(checkpoint_save(path.text, &w.rig.student, "{}", NULL, 0, &e), &e);
	o.projection_seed++;
	world_open(&fresh, &o, 2);
	step(&fresh, 7);
	assert_ok(checkpoint_load(path.text, &fresh.rig.student, &metadata, NULL, 0, &e), &e);
	free(metadata);
	for (int i = 3; i < 6; i++) {
		step(&w, i);
		step(&fresh, i);
	}
	const struct student *a = &w.rig.student, *b = &fresh.rig.student;
	size_t n = a->projections->n_elems, sizes[] = {n, n, n, a->layout.n_elems, a->layout.n_elems};
	const float *of_a[] = {a->projections->w, a->projections->m, a->projections->v, a->params.master, a->v};
	const float *of_b[] = {b->projections->w, b->projections->m, b->projections->v, b->params.master, b->v};
	for (int i = 0; i < 5; i++) {
		float *got = download(&fresh, of_b[i], sizes[i]), *want = download(&w, of_a[i], sizes[i]);
		assert_memory_equal(got, want, sizes[i] * sizeof *got);
		free(got);
		free(want);
	}
	world_close(&w);
	world_close(&fresh);
	test_dir_remove(&dir);
}

static void other_projections_are_refused(void **state)
{
	(void)state;
	struct student_options o = inner_options(), none = inner_options(), other = inner_options();
	struct test_path dir = test_dir_make(), with = test_join(&dir, "a"), without = test_join(&dir, "b");
	struct world w, plain, moved;
	struct err e;
	char *metadata;
	none.n_inner = 1; /* kept columns: nothing is learned */
	other.inner[MSE_LEARNED].student_layer = 0;
	world_open(&w, &o, 1);
	world_open(&plain, &none, 1);
	world_open(&moved, &other, 1);
	assert_null(plain.rig.student.projections);
	assert_ok(checkpoint_save(with.text, &w.rig.student, "{}", NULL, 0, &e), &e);
	assert_ok(checkpoint_save(without.text, &plain.rig.student, "{}", NULL, 0, &e), &e);
	float *before = masters(&w);
	assert_fails(checkpoint_load(without.text, &w.rig.student, &metadata, NULL, 0, &e), &e,
		     "none; expected layer 1: 32 x 24; layer 0: 32 x 24");
	assert_fails(checkpoint_load(with.text, &plain.rig.student, &metadata, NULL, 0, &e), &e, "expected none");
	assert_fails(checkpoint_load(with.text, &moved.rig.student, &metadata, NULL, 0, &e), &e, "expected layer 0: 32 x 24");
	float *after = masters(&w);
	assert_memory_equal(before, after, w.rig.student.projections->n_elems * sizeof *before);
	free(before);
	free(after);
	world_close(&w);
	world_close(&plain);
	world_close(&moved);
	test_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_equal_finite_differences),
		cmocka_unit_test(every_term_is_in_the_gradient),
		cmocka_unit_test(rows_without_soft_targets_have_no_inner_loss),
		cmocka_unit_test(inner_losses_alone),
		cmocka_unit_test(projections_start_as_told),
		cmocka_unit_test(projections_are_updated_like_matrices),
		cmocka_unit_test(a_projection_that_is_not_finite_stops_the_step),
		cmocka_unit_test(micro_batches_give_the_gradient_of_the_batch),
		cmocka_unit_test(bf16_follows),
		cmocka_unit_test(the_callers_taps_are_called_too),
		cmocka_unit_test(resumed_equals_undisturbed),
		cmocka_unit_test(other_projections_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

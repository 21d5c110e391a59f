/* A case of tests/golden/losses.py on the device: <scene>:<teacher>+<teacher>:<label>, its inputs, and room for what the
 * fused head writes. Include it after tests/testing.h. */
#ifndef TESTS_HEAD_CASE_H
#define TESTS_HEAD_CASE_H

#include "losses/fused_head.h"
#include "tests/device.h"

enum { HEAD_CASE_TEXT = 96, HEAD_CASE_HELD = 96, HEAD_CASE_TERMS = 8 };

struct head_case {
	struct ops *ops;
	const struct safetensors *golden;
	char name[HEAD_CASE_TEXT], scene[HEAD_CASE_TEXT];
	char teacher[FUSED_HEAD_MAX_TEACHERS][2 * HEAD_CASE_TEXT]; /* the prefix of its tensors */
	struct divergence_term terms[HEAD_CASE_TERMS];
	struct soft_targets soft[FUSED_HEAD_MAX_TEACHERS];
	struct head_loss loss; /* ready to run */
	int teacher_V;
	void *held[HEAD_CASE_HELD]; /* device memory */
	int n_held;
};

static inline struct safetensors *head_golden_open(void)
{
	struct safetensors *f;
	struct err e;
	assert_ok(safetensors_open(&f, test_source("tests/golden/losses.safetensors").text, &e), &e);
	return f;
}

static inline void *head_hold(struct head_case *c, void *device)
{
	assert_true(c->n_held < HEAD_CASE_HELD);
	c->held[c->n_held++] = device;
	return device;
}

/* n 32-bit words, all bits set: whoever does not write leaves NaNs. */
static inline void *head_room(struct head_case *c, int n)
{
	void *host = malloc((size_t)n * 4);
	memset(host, 0xff, (size_t)n * 4);
	void *p = head_hold(c, test_device(c->ops, host, (size_t)n * 4));
	free(host);
	return p;
}

static inline void *head_words(struct head_case *c, const char *prefix, const char *key)
{
	const struct safetensor *t = test_golden(c->golden, prefix, key);
	return head_hold(c, test_device(c->ops, t->data, t->n_bytes));
}

static inline void *head_floats(struct head_case *c, const char *prefix, const char *key, enum dtype type)
{
	const struct safetensor *t = test_golden(c->golden, prefix, key);
	void *host = malloc(t->n_bytes);
	dtype_convert(host, type, t->data, DTYPE_F32, t->n_elems);
	void *p = head_hold(c, test_device(c->ops, host, t->n_elems * dtype_size(type)));
	free(host);
	return p;
}

static inline void head_case_terms(struct head_case *c)
{
	const struct safetensor *t = test_golden(c->golden, c->name, "terms");
	assert_true(t->dims[0] <= HEAD_CASE_TERMS);
	for (const float *row = t->data, *end = row + t->n_elems; row < end; row += 5)
		if (row[0] >= 0)
			c->terms[c->loss.n_terms++] = (struct divergence_term){
				.kind = (enum divergence)(int)row[0], .weight = row[1], .tau = row[2], .a = row[3], .b = row[4]};
	c->loss.terms = c->terms;
}

static inline void head_case_sparse(struct head_case *c, const char *prefix, int missing, struct sparse_targets *s)
{
	s->K = (int)test_golden(c->golden, prefix, "ids")->dims[1];
	s->missing = (enum missing_mass)missing;
	memcpy(&s->tau, test_golden(c->golden, prefix, "tau")->data, sizeof s->tau);
	s->ids = head_words(c, prefix, "ids");
	s->log_p = head_words(c, prefix, "log_p");
	s->tail = head_words(c, prefix, "tail");
}

static inline void head_case_teacher(struct head_case *c, const char *name, enum dtype head_type)
{
	int m = c->loss.n_teachers++, N = c->loss.N;
	char *prefix = c->teacher[m];
	snprintf(prefix, sizeof c->teacher[m], "%s/%s", c->scene, name);
	const int32_t *info = test_golden(c->golden, prefix, "info")->data;
	struct soft_targets *soft = &c->soft[m];
	struct head_teacher *t = &c->loss.teachers[m];
	*soft = (struct soft_targets){.kind = info[1] < 0 ? SOFT_TARGETS_DENSE : SOFT_TARGETS_SPARSE, .V = info[0]};
	*t = (struct head_teacher){.soft = soft, .weight = head_words(c, prefix, "weight"),
				   .divergence = c->loss.n_terms ? head_room(c, N * c->loss.n_terms) : NULL};
	if (soft->kind == SOFT_TARGETS_SPARSE) {
		head_case_sparse(c, prefix, info[1], &soft->sparse);
		return;
	}
	soft->C = (int)test_golden(c->golden, prefix, "hidden")->dims[1];
	soft->hidden = head_floats(c, prefix, "hidden", c->ops->act);
	soft->head = head_floats(c, prefix, "head", head_type);
	soft->head_type = head_type;
	t->ce = head_room(c, N);
	t->argmax = head_room(c, N);
	if (!c->teacher_V || soft->V < c->teacher_V)
		c->teacher_V = soft->V;
}

static inline void head_case_open(struct head_case *c, struct ops *ops, const struct safetensors *golden, const char *name,
				  enum dtype head_type)
{
	char teachers[HEAD_CASE_TEXT] = "";
	*c = (struct head_case){.ops = ops, .golden = golden};
	snprintf(c->name, sizeof c->name, "%s", name);
	assert_true(sscanf(name, "%95[^:]:%95[^:]", c->scene, teachers) >= 1);
	const struct safetensor *hidden = test_golden(golden, c->scene, "hidden"), *head = test_golden(golden, c->scene, "head");
	struct head_loss *l = &c->loss;
	*l = (struct head_loss){.N = (int)hidden->dims[0], .C = (int)hidden->dims[1], .V = (int)head->dims[0],
				.head_type = head_type};
	l->hidden = head_floats(c, c->scene, "hidden", ops->act);
	l->head = head_floats(c, c->scene, "head", head_type);
	l->target = head_words(c, c->scene, "target");
	l->ce_weight = head_words(c, c->scene, "ce_weight");
	l->dhidden = head_room(c, l->N * l->C);
	l->dhead = head_hold(c, test_device(ops, NULL, (size_t)(l->V * l->C) * 4));
	l->ce = head_room(c, l->N);
	l->argmax_s = head_room(c, l->N);
	head_case_terms(c);
	char *rest;
	for (char *t = strtok_r(teachers, "+", &rest); t; t = strtok_r(NULL, "+", &rest))
		head_case_teacher(c, t, head_type);
}

static inline void head_case_close(struct head_case *c)
{
	for (int i = 0; i < c->n_held; i++)
		c->ops->release(c->ops, c->held[i]);
}

/* Priced, then run. */
static inline void head_case_run(struct head_case *c, size_t chunk_bytes)
{
	const struct head_loss *l = &c->loss;
	struct fused_head_options o = {.max_rows = l->N, .V = l->V, .C = l->C, .teacher_V = c->teacher_V,
				       .n_teachers = l->n_teachers, .chunk_bytes = chunk_bytes};
	struct arena arena = arena_dry();
	struct fused_head *head;
	struct err e;
	assert_ok(fused_head_init(&head, c->ops, &o, &arena, &e), &e);
	fused_head_free(head);
	test_arena_back(c->ops, &arena);
	assert_ok(fused_head_init(&head, c->ops, &o, &arena, &e), &e);
	assert_int_equal(arena.used, arena.capacity);
	fused_head_run(head, c->ops, l);
	fused_head_free(head);
	c->ops->release(c->ops, arena.base);
}

/* A host copy, the caller's to free. */
static inline void *head_fetch(const struct head_case *c, const void *device, size_t n_bytes)
{
	void *host = malloc(n_bytes);
	c->ops->download(c->ops, host, device, n_bytes);
	return host;
}

#endif

/* Allocation of a student's batch buffers, and the optimizer's ranges. Test: tests/test_student.c */
#include "student/buffers.h"

#include <stdlib.h>

static int compare_offsets(const void *a, const void *b)
{
	const struct run *x = a, *y = b;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* One run per tensor, sorted and then joined where neighbours are of one kind; padding goes with what precedes it. */
static void join_runs(struct student_buffers *b, const struct param_layout *layout)
{
	for (int i = 0; i < layout->n_tensors; i++)
		b->runs[i] = (struct run){.offset = layout->tensors[i].offset, .matrices = param_is_matrix(layout->tensors[i].kind)};
	qsort(b->runs, (size_t)layout->n_tensors, sizeof *b->runs, compare_offsets);
	BUG_ON(layout->n_tensors < 1 || b->runs[0].offset != 0);
	for (int i = 0; i < layout->n_tensors; i++)
		if (b->n_runs == 0 || b->runs[b->n_runs - 1].matrices != b->runs[i].matrices)
			b->runs[b->n_runs++] = b->runs[i];
	for (int i = 0; i < b->n_runs; i++) {
		size_t end = i + 1 < b->n_runs ? b->runs[i + 1].offset : layout->n_elems;
		b->runs[i].n_elems = end - b->runs[i].offset;
	}
}

static void place_teacher(struct teacher_rows *t, size_t N, size_t n_terms, struct arena *device)
{
	t->weight = arena_alloc(device, N * sizeof(float));
	t->divergence = arena_alloc(device, N * n_terms * sizeof(float));
	t->ce = arena_alloc(device, N * sizeof(float));
	t->argmax = arena_alloc(device, N * sizeof(int32_t));
}

static void place_device(struct student_buffers *b, const struct ops *ops, const struct student_options *o,
			 const struct param_layout *layout, struct arena *device)
{
	size_t N = (size_t)b->N;
	int32_t **ids[] = {&b->tokens, &b->pos, &b->start, &b->targets};
	for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
		*ids[i] = arena_alloc(device, N * sizeof(int32_t));
	b->ce_weight = arena_alloc(device, N * sizeof(float));
	b->ce = arena_alloc(device, N * sizeof(float));
	for (int i = 0; i < o->n_teachers; i++)
		place_teacher(&b->teachers[i], N, (size_t)o->n_terms, device);
	if (o->n_teachers)
		b->argmax_s = arena_alloc(device, N * sizeof(int32_t));
	b->dhidden = arena_alloc(device, N * (size_t)layout->arch.shape.C * dtype_size(ops->act));
	b->norm = arena_alloc(device, sizeof(double));
	b->grad_scale = arena_alloc(device, sizeof(float));
}

static bool place_host(struct student_buffers *b, int n_terms, const struct param_layout *layout)
{
	size_t N = (size_t)b->N;
	b->kinds = calloc(N, sizeof *b->kinds);
	b->host_rows = calloc(N, sizeof *b->host_rows);
	b->host_terms = calloc(N, (size_t)(n_terms + 1) * sizeof *b->host_terms); /* never of size 0 */
	b->host_s = calloc(N, sizeof *b->host_s);
	b->host_t = calloc(N, sizeof *b->host_t);
	b->largest_share = calloc(N, sizeof *b->largest_share);
	b->agrees = calloc(N, sizeof *b->agrees);
	b->runs = calloc((size_t)layout->n_tensors, sizeof *b->runs);
	return b->kinds && b->host_rows && b->host_terms && b->host_s && b->host_t && b->largest_share && b->agrees && b->runs;
}

int buffers_init(struct student_buffers **out, struct ops *ops, const struct student_options *o,
		 const struct param_layout *layout, struct arena *device, struct err *e)
{
	*out = NULL;
	BUG_ON(o->n_teachers > FUSED_HEAD_MAX_TEACHERS || o->n_terms > STUDENT_MAX_TERMS);
	struct student_buffers *b = calloc(1, sizeof *b);
	if (b)
		b->N = o->B * o->T;
	if (!b || !place_host(b, o->n_terms, layout)) {
		buffers_free(b);
		return err_run(e, "out of memory for the host's copy of a micro-batch of %d x %d tokens", o->B, o->T);
	}
	place_device(b, ops, o, layout, device);
	join_runs(b, layout);
	b->batch = (struct batch){.B = o->B, .T = o->T, .tokens = b->tokens, .pos = b->pos, .start = b->start};
	*out = b;
	return 0;
}

void buffers_free(struct student_buffers *b)
{
	if (!b)
		return;
	void *owned[] = {b->kinds, b->host_rows, b->host_terms, b->host_s, b->host_t, b->largest_share, b->agrees, b->runs};
	for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
		free(owned[i]);
	free(b);
}

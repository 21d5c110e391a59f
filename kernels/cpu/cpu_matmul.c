/* Matrix products through oneDNN: the only file that sees dnnl.h (API v2 and v3 differ in creation alone).
 * fp32 goes through dnnl_sgemm, bf16 through matmul primitives, made at first use and kept in a table by shape.
 * Row-major everywhere; a transposed operand is the same memory with its strides exchanged. */
#include "kernels/cpu/cpu.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>

enum { N_CACHED = 256, N_PROBES = 8 };

struct product_key {
	int kind, m, n, k, lda, ldb, ldc, accumulate;
};

struct product {
	struct product_key key;
	dnnl_primitive_t primitive; /* NULL: the place is free */
	dnnl_memory_t a, b, c;
};

struct matmul_engine {
	dnnl_engine_t engine;
	dnnl_stream_t stream;
	int n_threads;
	struct product cached[N_CACHED];
};

#define DNNL_TRY(call)                                                                                      \
	do {                                                                                                \
		dnnl_status_t status_ = (call);                                                             \
		if (status_ != dnnl_success) {                                                              \
			err_run(e, "oneDNN: %s failed with status %d", #call, (int)status_);                \
			goto out;                                                                           \
		}                                                                                           \
	} while (0)

int cpu_matmul_open(struct matmul_engine **out, int n_threads, struct err *e)
{
	struct matmul_engine *m = calloc(1, sizeof *m);
	if (!m)
		return err_run(e, "out of memory: %zu bytes for the table of matrix products", sizeof *m);
	m->n_threads = n_threads;
	DNNL_TRY(dnnl_engine_create(&m->engine, dnnl_cpu, 0));
	DNNL_TRY(dnnl_stream_create(&m->stream, m->engine, dnnl_stream_default_flags));
	*out = m;
	return 0;
out:
	cpu_matmul_close(m);
	return -1;
}

static void product_release(struct product *p)
{
	if (p->primitive)
		dnnl_primitive_destroy(p->primitive);
	if (p->a)
		dnnl_memory_destroy(p->a);
	if (p->b)
		dnnl_memory_destroy(p->b);
	if (p->c)
		dnnl_memory_destroy(p->c);
	*p = (struct product){0};
}

void cpu_matmul_close(struct matmul_engine *m)
{
	if (!m)
		return;
	for (int i = 0; i < N_CACHED; i++)
		product_release(m->cached + i);
	if (m->stream)
		dnnl_stream_destroy(m->stream);
	if (m->engine)
		dnnl_engine_destroy(m->engine);
	free(m);
}

bool cpu_matmul_has_bf16(void)
{
	return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

void cpu_matmul_describe(char *out, size_t n)
{
	static const struct {
		int isa;
		const char *name;
	} names[] = {{dnnl_cpu_isa_avx512_core_amx, "AVX-512 AMX"},
		     {dnnl_cpu_isa_avx512_core_bf16, "AVX-512 bf16"},
		     {dnnl_cpu_isa_avx512_core, "AVX-512"},
		     {dnnl_cpu_isa_avx2, "AVX2"},
		     {dnnl_cpu_isa_avx, "AVX"}};
	const dnnl_version_t *v = dnnl_version();
	int isa = (int)dnnl_get_effective_cpu_isa();
	const char *name = "SSE4.1";
	for (size_t i = sizeof names / sizeof *names; i-- > 0;)
		if ((isa & names[i].isa) == names[i].isa)
			name = names[i].name;
	snprintf(out, n, "oneDNN %d.%d.%d, %s", v->major, v->minor, v->patch, name);
}

/* ---- bf16 ---- */

struct side { /* one operand: logical (rows, columns) and its strides */
	dnnl_dims_t dims, strides;
	dnnl_data_type_t type;
};

static struct side side_of(int rows, int columns, int ld, bool transposed, dnnl_data_type_t type)
{
	struct side s = {.dims = {rows, columns}, .type = type};
	s.strides[0] = transposed ? 1 : ld;
	s.strides[1] = transposed ? ld : 1;
	return s;
}

#if DNNL_VERSION_MAJOR >= 3
static int create(struct matmul_engine *m, struct product *p, const struct side s[3], dnnl_primitive_attr_t attr, struct err *e)
{
	int rc = -1;
	dnnl_memory_desc_t d[3] = {NULL, NULL, NULL};
	dnnl_primitive_desc_t pd = NULL;
	for (int i = 0; i < 3; i++)
		DNNL_TRY(dnnl_memory_desc_create_with_strides(&d[i], 2, s[i].dims, s[i].type, s[i].strides));
	DNNL_TRY(dnnl_matmul_primitive_desc_create(&pd, m->engine, d[0], d[1], NULL, d[2], attr));
	DNNL_TRY(dnnl_primitive_create(&p->primitive, pd));
	DNNL_TRY(dnnl_memory_create(&p->a, d[0], m->engine, DNNL_MEMORY_NONE));
	DNNL_TRY(dnnl_memory_create(&p->b, d[1], m->engine, DNNL_MEMORY_NONE));
	DNNL_TRY(dnnl_memory_create(&p->c, d[2], m->engine, DNNL_MEMORY_NONE));
	rc = 0;
out:
	if (pd)
		dnnl_primitive_desc_destroy(pd);
	for (int i = 0; i < 3; i++)
		if (d[i])
			dnnl_memory_desc_destroy(d[i]);
	return rc;
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
	return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
}
#else
static int create(struct matmul_engine *m, struct product *p, const struct side s[3], dnnl_primitive_attr_t attr, struct err *e)
{
	int rc = -1;
	dnnl_memory_desc_t d[3], none = {0};
	dnnl_matmul_desc_t op;
	dnnl_primitive_desc_t pd = NULL;
	for (int i = 0; i < 3; i++)
		DNNL_TRY(dnnl_memory_desc_init_by_strides(&d[i], 2, s[i].dims, s[i].type, s[i].strides));
	DNNL_TRY(dnnl_matmul_desc_init(&op, &d[0], &d[1], &none, &d[2]));
	DNNL_TRY(dnnl_primitive_desc_create(&pd, &op, attr, m->engine, NULL));
	DNNL_TRY(dnnl_primitive_create(&p->primitive, pd));
	DNNL_TRY(dnnl_memory_create(&p->a, &d[0], m->engine, DNNL_MEMORY_NONE));
	DNNL_TRY(dnnl_memory_create(&p->b, &d[1], m->engine, DNNL_MEMORY_NONE));
	DNNL_TRY(dnnl_memory_create(&p->c, &d[2], m->engine, DNNL_MEMORY_NONE));
	rc = 0;
out:
	if (pd)
		dnnl_primitive_desc_destroy(pd);
	return rc;
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
	return dnnl_post_ops_append_sum(ops, 1.0f);
}
#endif

static int product_create(struct matmul_engine *m, struct product *p, const struct product_key *k, struct err *e)
{
	int rc = -1;
	dnnl_primitive_attr_t attr = NULL;
	dnnl_post_ops_t post = NULL;
	struct side s[3] = {side_of(k->m, k->k, k->lda, k->kind == MATMUL_TN, dnnl_bf16),
			    side_of(k->k, k->n, k->ldb, k->kind == MATMUL_NT, dnnl_bf16),
			    side_of(k->m, k->n, k->ldc, false, dnnl_f32)};
	DNNL_TRY(dnnl_primitive_attr_create(&attr));
	if (k->accumulate) {
		DNNL_TRY(dnnl_post_ops_create(&post));
		DNNL_TRY(append_sum(post));
		DNNL_TRY(dnnl_primitive_attr_set_post_ops(attr, post));
	}
	TRY(create(m, p, s, attr, e));
	p->key = *k;
	rc = 0;
out:
	if (post)
		dnnl_post_ops_destroy(post);
	if (attr)
		dnnl_primitive_attr_destroy(attr);
	return rc;
}

static unsigned hash(const struct product_key *k)
{
	const int *v = &k->kind;
	unsigned h = 2166136261u;
	for (size_t i = 0; i < sizeof *k / sizeof *v; i++)
		h = (h ^ (unsigned)v[i]) * 16777619u;
	return h ^ h >> 15;
}

/* The cached product of this shape; made on first use, over the first of its places when all are taken. */
static struct product *product_of(struct matmul_engine *m, const struct product_key *k)
{
	unsigned h = hash(k);
	struct product *p = NULL;
	for (unsigned i = 0; i < N_PROBES; i++) {
		p = m->cached + (h + i) % N_CACHED;
		if (!p->primitive || !memcmp(&p->key, k, sizeof *k))
			break;
		p = NULL;
	}
	if (!p) {
		p = m->cached + h % N_CACHED;
		product_release(p);
	}
	if (!p->primitive) {
		struct err e;
		if (product_create(m, p, k, &e) < 0)
			err_bug(__FILE__, __LINE__, e.line);
	}
	return p;
}

static void bf16_product(struct cpu *c, const struct matmul *a, const void *x, const void *y)
{
	struct matmul_engine *m = c->matmul;
	struct product_key key = {(int)a->kind, a->m, a->n, a->k, a->lda, a->ldb, a->ldc, a->accumulate};
	struct product *p = product_of(m, &key);
	dnnl_memory_set_data_handle(p->a, (void *)(uintptr_t)x);
	dnnl_memory_set_data_handle(p->b, (void *)(uintptr_t)y);
	dnnl_memory_set_data_handle(p->c, a->c);
	dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, p->a}, {DNNL_ARG_WEIGHTS, p->b}, {DNNL_ARG_DST, p->c}};
	dnnl_status_t status = dnnl_primitive_execute(p->primitive, m->stream, 3, args);
	BUG_ON(status != dnnl_success);
	status = dnnl_stream_wait(m->stream);
	BUG_ON(status != dnnl_success);
}

/* ---- both ---- */

static void f32_product(const struct matmul *a, const float *x, const float *y)
{
	dnnl_status_t status = dnnl_sgemm(a->kind == MATMUL_TN ? 'T' : 'N', a->kind == MATMUL_NT ? 'T' : 'N', a->m, a->n, a->k,
					  1.0f, x, a->lda, y, a->ldb, a->accumulate ? 1.0f : 0.0f, a->c, a->ldc);
	BUG_ON(status != dnnl_success);
}

/* The operand in the product's type: itself, or converted row by row into scratch (then *ld is the row's length). */
static const void *operand(struct cpu *c, int which, const void *x, enum dtype from, enum dtype to, int rows, int width, int *ld)
{
	if (from == to)
		return x;
	BUG_ON((size_t)rows * (size_t)width > c->operand_elems);
	char *out = c->operands[which];
	if (*ld == width) {
		cpu_convert(&c->ops, out, to, x, from, (size_t)rows * (size_t)width);
		return out;
	}
	for (int r = 0; r < rows; r++)
		cpu_convert(&c->ops, out + (size_t)r * (size_t)width * dtype_size(to), to,
			    (const char *)x + (size_t)r * (size_t)*ld * dtype_size(from), from, (size_t)width);
	*ld = width;
	return out;
}

static void add_bias(struct ops *o, const struct matmul *a)
{
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
	for (int r = 0; r < a->m; r++) {
		float *row = (float *)a->c + (size_t)r * (size_t)a->ldc;
#pragma omp simd
		for (int i = 0; i < a->n; i++)
			row[i] += a->bias[i];
	}
}

void cpu_matmul(struct ops *o, const struct matmul *given)
{
	struct cpu *c = cpu_of(o);
	struct matmul a = *given;
	BUG_ON(a.c_type != DTYPE_F32 || (a.bias && a.kind != MATMUL_NT));
	if (a.m == 0 || a.n == 0)
		return;
	omp_set_num_threads(c->matmul->n_threads);
	enum dtype type = o->matmul_bf16 ? DTYPE_BF16 : DTYPE_F32;
	int a_rows = a.kind == MATMUL_TN ? a.k : a.m, a_width = a.kind == MATMUL_TN ? a.m : a.k;
	int b_rows = a.kind == MATMUL_NT ? a.n : a.k, b_width = a.kind == MATMUL_NT ? a.k : a.n;
	const void *x = operand(c, 0, a.a, a.a_type, type, a_rows, a_width, &a.lda);
	const void *y = operand(c, 1, a.b, a.b_type, type, b_rows, b_width, &a.ldb);
	if (type == DTYPE_BF16)
		bf16_product(c, &a, x, y);
	else
		f32_product(&a, x, y);
	if (a.bias)
		add_bias(o, &a);
}

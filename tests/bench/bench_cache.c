/* What caches of soft targets cost.
 *   bench_cache [--dtype fp32|bf16] [--v V] [--threads N] [--steps N] [--part read|write]
 * Models and batches as in bench_losses.
 *   read   steps with a cached teacher (forward KL, CE weight 0.1; at the file's own convention), against steps of the same
 *          student on cross-entropy alone; the files are in the page cache
 *   write  filling a cache, against the teacher's forward pass with all of its logits
 * One JSON line each on stdout, a table on stderr, with bytes per token and the mean mass kept; medians over --steps (default 7)
 * after two of warm-up. A ratio above 1 is slower. The last line of `read` is the online teacher's. */
#include "teacher/cache_writer.h"
#include "tests/bench/bench_pair.h"

enum { B = PAIR_B, T = PAIR_T, N = PAIR_N };

struct cache_case {
	const char *name;
	struct cache_spec spec;
	enum missing_mass missing;
	bool same_file; /* as that of the case before: not written again */
};
#define TOP(k) {.kind = CACHE_TOP_K, .K = k, .tau = 1}
static const struct cache_case CACHES[] = {
	{"top 8, tail", TOP(8), MISSING_TAIL, false},
	{"top 32, tail", TOP(32), MISSING_TAIL, false},
	{"top 32, renormalise", TOP(32), MISSING_RENORMALISE, true},
	{"top 32, zero", TOP(32), MISSING_ZERO, true},
	{"top 32 in bf16, tail", {.kind = CACHE_TOP_K, .K = 32, .tau = 1, .value_type = DTYPE_BF16}, MISSING_TAIL, false},
	{"top 128, tail", TOP(128), MISSING_TAIL, false},
	{"top p 0.9 of 128, tail", {.kind = CACHE_TOP_P, .K = 128, .top_p = 0.9, .tau = 1}, MISSING_TAIL, false},
	{"sampled 50", {.kind = CACHE_SAMPLED, .K = 50, .power = 1, .tau = 1}, MISSING_SAMPLED, false},
	{"hidden states", {.kind = CACHE_HIDDEN}, MISSING_TAIL, false},
};
enum { N_CACHES = sizeof CACHES / sizeof *CACHES };

/* An online teacher with a cache to fill. */
struct filler {
	struct bench *bench;
	struct teacher teacher;
	struct cache_writer *writer;
	struct cache *cache;
	struct arena weights, activations, scratch, logits;
	char dir[96];
};

static struct cache_identity identity_of(const struct bench *b)
{
	return (struct cache_identity){.teacher = 1, .tokenizer = 2, .corpus = 3, .V = b->world.V, .C = 288};
}

static int filler_init(struct filler *f, const struct cache_spec *spec, struct err *e)
{
	struct side_world *w = &f->bench->world;
	struct teacher_options o = {.type = w->type, .B = B, .T = T};
	struct cache_writer_options wo = {.spec = *spec, .V = w->V, .C = 288, .B = B, .T = T};
	if (teacher_init(&f->teacher, w->ops, w->hf, &o, &f->weights, &f->activations, e) < 0)
		return -1;
	int rows = fused_head_chunk_rows(w->V, 0);
	arena_alloc(&f->logits, (size_t)rows * (size_t)w->V * sizeof(float));
	return cache_writer_init(&f->writer, w->ops, &wo, &f->scratch, e);
}

static int filler_open(struct filler *f, struct bench *b, const struct cache_spec *spec, struct err *e)
{
	struct arena *all[] = {&f->weights, &f->activations, &f->scratch, &f->logits};
	struct cache_identity id = identity_of(b);
	int rc = -1;
	f->bench = b;
	for (int i = 0; i < 4; i++)
		*all[i] = arena_dry();
	snprintf(f->dir, sizeof f->dir, "%s/cache-XXXXXX", b->dir);
	if (!mkdtemp(f->dir))
		return err_run(e, "%s: cannot be made", f->dir);
	TRY(filler_init(f, spec, e));
	cache_writer_free(f->writer);
	f->writer = NULL;
	teacher_release(&f->teacher);
	for (int i = 0; i < 4; i++)
		TRY(world_back(b->world.ops, all[i], &b->world.n_bytes, e));
	TRY(filler_init(f, spec, e));
	TRY(cache_open(&f->cache, f->dir, spec, &id, true, e));
	TRY(cache_reserve(f->cache, B, T, b->world.ops->n_threads, e));
	rc = 0;
out:
	return rc;
}

static void filler_close(struct filler *f)
{
	struct ops *ops = f->bench->world.ops;
	cache_writer_free(f->writer);
	teacher_release(&f->teacher);
	cache_close(f->cache);
	ops->release(ops, f->weights.base);
	ops->release(ops, f->activations.base);
	ops->release(ops, f->scratch.base);
	ops->release(ops, f->logits.base);
}

static int fill(struct filler *f, const struct world_batch *rows, struct err *e)
{
	struct cache_rows r = {B, T, rows->tokens, rows->targets, rows->start};
	return cache_writer_batch(f->writer, f->cache, &f->teacher, &r, e);
}

/* ---- writing ---- */

/* Seconds of the teacher's forward pass over a batch and of its logits. */
static double forward(struct filler *f, const struct batch *device)
{
	struct side_world *w = &f->bench->world;
	struct soft_targets soft;
	struct err e;
	int rows = fused_head_chunk_rows(w->V, 0);
	double from = clock_now_s();
	BUG_ON(teacher_targets(&f->teacher, &(struct teacher_batch){.device = device}, &soft, &e) < 0);
	for (int at = 0; at < N; at += rows) {
		const char *hidden = (const char *)soft.hidden + (size_t)at * (size_t)soft.C * dtype_size(w->ops->act);
		int n = N - at < rows ? N - at : rows;
		fused_head_logits(w->ops, hidden, soft.head, soft.head_type, n, soft.C, w->V, (float *)f->logits.base);
	}
	return clock_now_s() - from;
}

static int write_pairs(struct filler *f, struct pair *p, struct err *e)
{
	struct bench *b = f->bench;
	for (int i = -PAIR_WARM_UP; i < b->steps; i++) {
		struct world_batch rows = world_batch(B, T, b->world.V, 100 + (uint64_t)(i + PAIR_WARM_UP)); /* none is there yet */
		struct batch device = {.B = B, .T = T, .tokens = rows.tokens, .pos = rows.pos, .start = rows.start};
		double base = forward(f, &device), from = clock_now_s();
		int rc = fill(f, &rows, e);
		double own = clock_now_s() - from;
		free(rows.tokens);
		if (rc < 0)
			return -1;
		if (i >= 0) {
			p->base[i] = base;
			p->own[i] = own;
		}
	}
	return 0;
}

static int bench_write(struct bench *b, const struct cache_case *c, struct err *e)
{
	struct filler f = {0};
	struct pair p = {.part = "write", .name = c->name, .against = "forward", .limit = 1 / 0.9};
	int rc = -1;
	TRY(filler_open(&f, b, &c->spec, e));
	TRY(write_pairs(&f, &p, e));
	pair_print(b, &p);
	struct cache_stats s = cache_stats(f.cache);
	fprintf(stderr, "%43.1f bytes a token of at most %zu, %.4f of the mass\n", (double)s.bytes / (double)s.tokens,
		cache_row_bytes(cache_spec_of(f.cache), cache_identity_of(f.cache)), s.mass);
	rc = 0;
out:
	filler_close(&f);
	return rc;
}

/* ---- reading ---- */

/* The cache on disk, filled with the batches of every step. */
static int prepare(struct bench *b, const struct cache_spec *spec, char dir[96], struct err *e)
{
	struct filler f = {0};
	int rc = -1;
	TRY(filler_open(&f, b, spec, e));
	for (int i = 0; i < PAIR_BATCHES; i++)
		TRY(fill(&f, &b->batches[i], e));
	TRY(cache_sync(f.cache, e));
	memcpy(dir, f.dir, sizeof f.dir);
	rc = 0;
out:
	filler_close(&f);
	return rc;
}

static int open_cached(struct bench *b, const struct cache_case *c, struct side *own, struct err *e)
{
	struct cache_identity id = identity_of(b);
	char dir[96];
	int rc = -1;
	own->options.teacher_V = c->spec.kind == CACHE_HIDDEN ? b->world.V : 0;
	own->teacher_options.cache = c->spec;
	own->teacher_options.missing = c->missing;
	TRY(prepare(b, &c->spec, dir, e));
	TRY(cache_open(&own->cache, dir, &c->spec, &id, false, e));
	TRY(cache_reserve(own->cache, B, T, b->world.ops->n_threads, e));
	TRY(side_open(own, e));
	rc = 0;
out:
	return rc;
}

/* c NULL: online. */
static int bench_read(struct bench *b, const struct cache_case *c, struct side *base, struct err *e)
{
	struct side own = side_of(&b->world, true);
	struct step_loss plain = {.step_tokens = N}, kl = {.ce_weight = 0.1f, .n_terms = 1, .step_tokens = N};
	struct pair p = {.part = "read", .name = c ? c->name : "online", .against = "plain", .limit = c ? 1.05 : 0};
	int rc = -1;
	kl.terms[0] = (struct divergence_term){.kind = DIVERGENCE_FORWARD_KL, .weight = 0.9f, .tau = 1};
	TRY(c ? open_cached(b, c, &own, e) : side_open(&own, e));
	TRY(pair_steps(b, &p, base, &plain, &own, &kl, e));
	rc = 0;
out:
	side_close(&own);
	return rc;
}

static int bench_reads(struct bench *b, struct err *e)
{
	struct side base = side_of(&b->world, false);
	int rc = -1;
	TRY(side_open(&base, e));
	for (int i = 0; i <= N_CACHES; i++)
		TRY(bench_read(b, i < N_CACHES ? &CACHES[i] : NULL, &base, e));
	rc = 0;
out:
	side_close(&base);
	return rc;
}

static int run(struct bench *b, struct err *e)
{
	for (int i = 0; bench_wants(b, "write") && i < N_CACHES; i++)
		if (!CACHES[i].same_file && bench_write(b, &CACHES[i], e) < 0)
			return -1;
	return bench_wants(b, "read") ? bench_reads(b, e) : 0;
}

int main(int argc, char **argv)
{
	struct bench b = {.name = "cache"};
	struct err e;
	bench_parse(&b, argc, argv);
	int rc = bench_open(&b, &(struct ops_limits){0}, &e) < 0 || run(&b, &e) < 0;
	if (rc)
		fprintf(stderr, "bench_cache: %s\n", e.line);
	bench_close(&b);
	return rc;
}
